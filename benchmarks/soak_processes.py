"""Commands of the command line in processes that may be killed, and what they leave behind.

A nursery process imports everything once and forks one child a command, so that a killed run costs
milliseconds and not an import; a share of the commands starts a fresh interpreter all the same. Every
process carries a tag in its environment, by which what outlives its command is found.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TAG = "TRADESPACE_SOAK"
PATIENCE = 60.0
FRESH = "import sys; from tradespace.search.cli import main; main(sys.argv[1:])"
NURSERY = """
import faulthandler, json, os, signal, sys, tempfile
import tradespace, tradespace.search.cli.running, tradespace.search.journal, tradespace.search.static
import tradespace.search.comparison.compare, tradespace.search.cli.report_command, tradespace.solvers.milp
from tradespace.search.cli import main
with tempfile.TemporaryDirectory() as runs:  # what a run imports on its way, figures included
    tradespace.solve(tradespace.problem("knapsack", items=8), "nsga2", seed=3, runs=runs,
                     budget=tradespace.Budget(evaluations=300))

def live(arguments, out, err):
    os.setsid()
    for place, number in ((out, 1), (err, 2)):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.enable()  # told by SIGABRT where it is
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:  # held back since the fork: a command that was struck before it began has nothing to tell
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:
        os._exit(130)
    code = 70
    try:
        main(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        import atexit
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(code)

for line in sys.stdin:
    asked = json.loads(line)
    sys.argv = ["optimize", *asked["arguments"]]
    if os.fork() == 0:  # a keeper, which waits for the command and writes how it ended
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child = os.fork()
        if child == 0:
            live(asked["arguments"], asked["out"], asked["err"])
        with open(asked["pid"] + ".new", "w") as file:
            file.write(str(child))
        os.rename(asked["pid"] + ".new", asked["pid"])
        _, status = os.waitpid(child, 0)
        with open(asked["rc"] + ".new", "w") as file:
            file.write(str(os.waitstatus_to_exitcode(status)))
        os.rename(asked["rc"] + ".new", asked["rc"])
        os._exit(0)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


@dataclass
class Command:
    """One command under way. pid: the process to kill."""

    arguments: tuple[str, ...]
    files: Path
    pid: int
    fresh: subprocess.Popen[bytes] | None = None

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.fresh is not None:
            return self.fresh.poll()
        with contextlib.suppress(FileNotFoundError):
            return int((self.files / "rc").read_text())
        return None

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """The exit code, or None where it still runs after so long."""
        deadline = time.monotonic() + seconds
        while (code := self.code) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return code

    def send(self, number: int) -> bool:
        """Send a signal; whether the process was there to take it."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    @property
    def out(self) -> str:
        """What it printed."""
        return self._text("out")

    @property
    def err(self) -> str:
        """What it said."""
        return self._text("err")

    def _text(self, name: str) -> str:
        with contextlib.suppress(FileNotFoundError):  # killed before it was opened
            return (self.files / name).read_text(errors="replace")
        return ""


class Processes:
    """Starts commands; knows which processes, sockets and temporary files belong to them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tag, self._count = folder, f"{os.getpid()}-{time.time_ns()}", 0
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.environment = {
            **os.environ, TAG: self.tag, "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "TRADESPACE_RUNS": str(folder / "runs"),
        }  # fmt: skip
        self.nursery = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, cwd=folder, env=self.environment
        )

    def start(self, arguments: Sequence[str], fresh: bool = False) -> Command:
        """Run `optimize ARGUMENTS`, from a fresh interpreter where asked."""
        self._count += 1
        files = self.folder / "commands" / f"{self._count:06d}"
        files.mkdir(parents=True)
        if fresh:
            with (files / "out").open("wb") as out, (files / "err").open("wb") as err:
                process = subprocess.Popen(
                    [sys.executable, "-c", FRESH, *arguments], stdin=subprocess.DEVNULL, stdout=out,
                    stderr=err, cwd=self.folder, env=self.environment, start_new_session=True,
                )  # fmt: skip
            return Command(tuple(arguments), files, process.pid, process)
        asked = {name: str(files / name) for name in ("out", "err", "pid", "rc")}
        assert self.nursery.stdin is not None
        self.nursery.stdin.write(json.dumps({**asked, "arguments": [*arguments]}).encode() + b"\n")
        self.nursery.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        while not (files / "pid").exists():
            if time.monotonic() > deadline:
                raise RuntimeError("the nursery does not answer")
            time.sleep(0.002)
        return Command(tuple(arguments), files, int((files / "pid").read_text()))

    def alive(self) -> list[int]:
        """Processes of commands, their workers included."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and int(entry.name) not in {os.getpid(), self.nursery.pid}:
                with contextlib.suppress(OSError):
                    if f"{TAG}={self.tag}".encode() in Path(entry.path, "environ").read_bytes():
                        found.append(int(entry.name))
        return found

    def orphans(self, seconds: float = 10.0) -> list[str]:
        """What still runs after a while though every command has ended: command lines; ended here."""
        deadline = time.monotonic() + seconds
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.02)
        told = []
        for pid in left:
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")[:120]
                told.append(f"{pid}: {line.decode(errors='replace')}")
                os.kill(pid, signal.SIGKILL)
        return told

    def litter(self) -> list[str]:
        """Names in the temporary folder; removed here."""
        import shutil

        left = sorted(p.name for p in self.temporary.iterdir())
        for name in left:
            path = self.temporary / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return left

    def close(self) -> None:
        """End the nursery and whatever is left."""
        assert self.nursery.stdin is not None
        self.nursery.stdin.close()
        self.nursery.wait(10)
        self.orphans(1.0)


def listeners(pids: Sequence[int]) -> Iterator[str]:
    """Addresses on which these processes listen for TCP."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(entry.path)
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    place, port = fields[1].split(":")
                    words = [int(place[i : i + 8], 16) for i in range(0, len(place), 8)]
                    address = socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))
                    yield f"{address}:{int(port, 16)}"


@dataclass(frozen=True)
class Held:
    """What a process holds: open files, threads, child processes, resident MiB."""

    files: int
    threads: int
    children: int
    resident: float


def held() -> Held:
    """What this process holds now."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    children = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                mine = int(state[1]) == os.getpid()
                children += mine and not _standing(Path(entry.path, "cmdline").read_bytes())
    return Held(len(os.listdir("/proc/self/fd")) - 1, len(os.listdir("/proc/self/task")), children, resident)


def _standing(line: bytes) -> bool:
    """Whether a child is one that Python starts once a process and keeps: it is no leak."""
    return b"resource_tracker" in line or b"multiprocessing.forkserver" in line


def is_worker(pid: int) -> bool:
    """Whether a process evaluates rows (a child of a fork server)."""
    with contextlib.suppress(OSError):
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return b"forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes()
    return False


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[bool]:
    """A small disk in memory; whether this user may mount one."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    mounted = os.name == "posix" and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)
