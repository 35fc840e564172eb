"""Random searches, killed at random moments, for minutes: no corrupt run, no lost row, no leak.

    python benchmarks/soak.py                          # 20 minutes
    python benchmarks/soak.py --minutes 2 --seed 7
    python benchmarks/soak.py --seed 7 --first 41 --events 1   # the 42nd event of seed 7 again

An event draws a search (problem, parameters, solver, seed, budget, workers) and what befalls it: SIGKILL,
SIGINT or SIGTERM at a random moment, to one process or to the whole group; a killed worker; other commands
on the run meanwhile; several users on one journal; a disk that is full or read-only (as root). The same seed
draws the same events; the moment of a signal also depends on the machine. After each kill the run's folder
must open undamaged and hold every row that it held before; in the end the resumed search must give the answer
of an undisturbed one. Afterwards no process, file, lock or open port may be left. Exit code 1 where one is.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from soak_cases import USER_FILE, Case, agree, draw, warm_up
from soak_processes import Command, Held, Processes, held, listeners

import tradespace as ts
from tradespace.search.cli.console import console, print_rows
from tradespace.search.folder import RunFolder
from tradespace.search.journal import open_journal
from tradespace.search.result import Result
from tradespace.search.session import Session

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
ENDED = {0, 1}
INTERRUPTED = {0, 1, 130}
REFUSED = 2
KEPT = 8
GROWTH_MIB, GROWTH_FILES = 24.0, 3


class Fault(Exception):
    """Something that must not happen."""


@dataclass
class Ledger:
    """What was done and what was found."""

    events: Counter[str] = field(default_factory=Counter)
    faulty: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    holding: list[Held] = field(default_factory=list)


class Soak:
    """One soak in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.ledger = folder, seed, Ledger()
        self.processes = Processes(folder)
        self.journal = folder / "journal.log"
        self.shared = folder / "runs"
        self.user_file = folder / "user.py"
        self.user_file.write_text(USER_FILE)
        self.finished: list[Path] = []
        self.studies: set[str] = set()
        self.rng = np.random.default_rng(0)
        self.here = folder
        self.killed = False

    # --- one event -------------------------------------------------------------------------------
    def event(self, number: int) -> None:
        """Draw an event by its number, do it, look for what it left."""
        self.rng = np.random.default_rng([self.seed, number])
        names, weights = zip(*EVENTS.items(), strict=True)
        name = str(self.rng.choice(names, p=np.array(weights) / sum(weights)))
        self.here, self.killed = self.folder / f"event{number}", False
        self.here.mkdir(exist_ok=True)
        began = time.monotonic()
        self.ledger.events[name] += 1
        told = []
        try:
            getattr(self, name)()
        except Fault as fault:
            told.append(str(fault))
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
        told += [f"still runs: {line}" for line in self.processes.orphans()]
        litter = self.processes.litter()
        for left in litter if self.killed else ():
            self.ledger.counts[f"temporary files after SIGKILL: {left[:5]}..."] += 1
        if litter and not self.killed:
            told.append(f"temporary files left: {', '.join(litter)}")
        if os.path.lexists(f"{self.journal}.lock"):
            self.ledger.counts["journal locks left by kills"] += 1
            if not self.killed:
                told.append("the journal's lock is left")
        self.ledger.seconds[name] += int(1e3 * (time.monotonic() - began))
        for sentence in told:
            self.ledger.faulty[name] += 1
            self.ledger.faults.append(f"--first {number} --events 1  {name}: {sentence}")
            console(stderr=True).print(f"fault: {self.ledger.faults[-1]}", markup=False)
        if not told:
            self._tidy()
        if number % 5 == 0:
            gc.collect()
            self.ledger.holding.append(held())

    def _tidy(self) -> None:
        """Keep the newest finished runs for other events, remove the rest."""
        while len(self.finished) > KEPT:
            shutil.rmtree(self.finished.pop(0).parents[1], ignore_errors=True)
        if not any(self.here in run.parents for run in self.finished):
            shutil.rmtree(self.here, ignore_errors=True)

    # --- steps of events --------------------------------------------------------------------------
    def start(self, arguments: list[str], runs: Path | None = None) -> Command:
        """A command on this event's runs and the journal of all, a tenth of them fresh processes."""
        self.ledger.counts["commands"] += 1
        writes = arguments[0] in {"run", "resume"}
        places = ["--runs", str(runs or self.here / "runs")]
        places += ["--storage", str(self.journal)] if writes else []
        return self.processes.start([*arguments, *places], fresh=self.rng.random() < 0.1)

    def strike(self, command: Command, low: float, high: float) -> int:
        """A signal at a random moment; which one."""
        number = SIGNALS[int(self.rng.integers(len(SIGNALS)))]
        group = self.rng.random() < 0.4
        time.sleep(self.rng.uniform(low, high))
        for address in listeners(self.processes.alive()):
            if not address.startswith(("127.", "::1")):
                raise Fault(f"listens on {address}: {' '.join(command.arguments)}")
        self.killed |= number == signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            if command.code is None:
                if group:
                    os.killpg(command.pid, number)
                else:
                    os.kill(command.pid, number)
                self.ledger.counts[f"{number.name}{' to the group' if group else ''}"] += 1
        return number

    def ended(self, command: Command, allowed: set[int], struck: bool = False) -> int:
        """The exit code, which must be one of these. struck: a signal was sent."""
        code = command.wait()
        said = " ".join(command.err.split())[-1500:]
        words = " ".join(command.arguments[:2])
        if code is None:
            command.send(signal.SIGABRT)
            command.wait()
            raise Fault(f"'{words}' did not end; where it was: {' '.join(command.err.split())[-3000:]}")
        before_main = command.fresh is not None and not IN_MAIN.search(command.err)
        if before_main and struck and (code < 0 or "KeyboardInterrupt" in said):
            return code  # while Python was still importing
        starting = "SemLock._rebuild" in said  # a worker that started while the others were ended
        self.ledger.counts["workers that started too late and said so"] += starting
        if "Traceback" in command.err and code != -signal.SIGKILL and not starting:
            raise Fault(f"'{words}' told a traceback: {said}")
        if code not in allowed:
            raise Fault(f"'{words}' ended with {code}: {said}")
        if code == REFUSED and "error:" not in command.err and "Usage" not in command.err:
            raise Fault(f"'{words}' ended with 2 and no sentence: {said}")
        return code

    def appears(self, command: Command, runs: Path) -> Path | None:
        """The folder of the run that a command starts, once it holds what was asked."""
        while True:
            ended = command.code is not None
            for record in runs.glob("*/*/run.json"):
                return record.parent
            if ended:
                return None
            time.sleep(0.002)

    def rows(self, run: Path, before: set[bytes] | None = None) -> set[bytes]:
        """The rows that a run holds, none damaged, none gone."""
        damaged: list[str] = []
        found: set[bytes] = set()
        folder = RunFolder(run)
        folder.read_json("run.json")
        for columns in folder.read_rows(damaged):
            names = sorted(n for n in columns if n != "seconds")
            parts = [np.ascontiguousarray(columns[n]).reshape(len(columns["failed"]), -1) for n in names]
            rows = np.concatenate([p.view(np.uint8) for p in parts], axis=1)
            found.update(rows.view(f"V{rows.shape[1]}").ravel().tolist())
        if (run / "sweep.npz").is_file():
            found.update(b"chunk%d" % i for i in range(int(folder.read_arrays("sweep.npz")["cursor"])))
        if damaged:
            raise Fault(f"damaged: {damaged[0]}")
        if before is not None and before - found:
            raise Fault(f"{len(before - found)} of {len(before)} recorded rows vanished")
        return found

    def settled(self, case: Case, run: Path, expected: Result) -> None:
        """A run that has ended: the undisturbed answer, nothing half written, in the journal."""
        found = Result.load(run)
        differs = agree(expected, found, case.exact)
        if differs:
            raise Fault(f"{' '.join(case.arguments)}: {differs}")
        partial = [p.name for p in run.rglob(".*") if p.name != ".lock"]
        if partial:
            raise Fault(f"half-written files left: {', '.join(partial)}")
        unwritten = [n for n in found.notes if "not written" in n]
        if unwritten:
            raise Fault(unwritten[0])
        self.studies.add(f"{found.problem}/{found.solver}/{case.seed}/{run.name}")
        self.finished.append(run)

    def drawn(self, **wanted: Any) -> tuple[Case, Result]:
        """A search and its undisturbed answer; refusals are tried on the command line and drawn again."""
        while True:
            case = draw(self.rng, self.user_file)
            if any(getattr(case, name) != value for name, value in wanted.items()):
                continue
            expected = case.expected()
            if isinstance(expected, Result):
                return case, expected
            self.ledger.counts["searches refused"] += 1
            self.ended(self.start(case.arguments), {REFUSED})

    def go_on(self, case: Case, run: Path, expected: Result) -> None:
        """Resume to the end."""
        code = self.ended(self.start(["resume", str(run), "--json"]), ENDED)
        if (code == 0) != expected.feasible:
            raise Fault(
                f"resume ended with {code}, the answer is {'' if expected.feasible else 'in'}feasible"
            )
        self.settled(case, run, expected)

    # --- events -----------------------------------------------------------------------------------
    def kill(self) -> None:
        """Struck again and again, looked at, resumed."""
        case, expected = self.drawn()
        runs = self.here / "runs"
        run: Path | None = None
        known: set[bytes] = set()
        for _ in range(1 + int(self.rng.geometric(0.5))):
            command = self.start(["resume", str(run), "--json"] if run else case.arguments)
            early = self.rng.random() < 0.15
            if run is None and not early:
                self.appears(command, runs)
            number = self.strike(command, 0.0, 0.3 if early else 1.2 * max(expected.seconds, 0.05))
            allowed = INTERRUPTED | ({-number, REFUSED} if number != signal.SIGINT else set())
            code = self.ended(command, allowed, True)
            if code == REFUSED and "worker process died" not in command.err:
                raise Fault(f"ended with 2: {' '.join(command.err.split())[-200:]}")
            run = run or next((r.parent for r in runs.glob("*/*/run.json")), None)
            if run is not None:
                known = self.rows(run, known)
                if self.rng.random() < 0.3:
                    self.ended(self.start(["regoal", str(run), "--json"]), {0, 1, REFUSED})
        if run is None:
            self.ended(self.start(case.arguments), ENDED)
            run = next(r.parent for r in runs.glob("*/*/run.json"))
        self.go_on(case, run, expected)
        self.rows(run, known)

    def interrupt(self) -> None:
        """In this long-lived process: Ctrl-C in the middle, then resumed; threads or processes."""
        case, expected = self.drawn()
        left = int(self.rng.integers(1, 40))

        def watch(session: Session) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        workers = 1 if self.rng.random() < 0.85 else 2
        result = case.solve(
            runs=self.here / "runs", storage=str(self.journal), observer=watch, workers=workers
        )
        run = result.run_dir
        assert run is not None
        known = self.rows(run)
        if self.rng.random() < 0.3:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(2) as pool:
                ts.resume(run, storage=str(self.journal), executor=pool)
        else:
            ts.resume(run, storage=str(self.journal))
        self.rows(run, known)
        self.settled(case, run, expected)

    def users(self) -> None:
        """Several users at once on one folder of runs and one journal, some struck."""
        begun = []
        for _ in range(int(self.rng.integers(2, 4))):
            case, expected = self.drawn()
            begun.append((case, expected, self.here / f"user{len(begun)}", self.rng.random() < 0.4))
        commands = [self.start(case.arguments, runs) for case, _, runs, _ in begun]
        for command, (_, expected, runs, struck) in zip(commands, begun, strict=True):
            if struck and self.appears(command, runs):
                self.strike(command, 0.0, max(expected.seconds, 0.05))
        for command, (case, expected, runs, struck) in zip(commands, begun, strict=True):
            allowed = INTERRUPTED | {REFUSED, -9, -15} if struck else ENDED
            self.ended(command, allowed, struck=struck)
            run = next((r.parent for r in runs.glob("*/*/run.json")), None)
            if run is None:
                self.ended(self.start(case.arguments, runs), ENDED)
                run = next(r.parent for r in runs.glob("*/*/run.json"))
            if struck:
                self.go_on(case, run, expected)
            else:
                self.settled(case, run, expected)

    def twice(self) -> None:
        """Two resume one run at the same time: one is refused, or comes after the other."""
        case, expected = self.drawn()
        command = self.start(case.arguments)
        run = self.appears(command, self.here / "runs")
        self.strike(command, 0.0, max(expected.seconds, 0.05))
        self.ended(command, INTERRUPTED | {REFUSED, -9, -15}, struck=True)
        run = run or next((r.parent for r in (self.here / "runs").glob("*/*/run.json")), None)
        if run is None:
            return
        both = [self.start(["resume", str(run), "--json"]) for _ in range(2)]
        for command in both:
            if self.ended(command, {*ENDED, REFUSED}) == REFUSED and "another process" not in command.err:
                raise Fault(" ".join(command.err.split())[-200:])
        self.settled(case, run, expected)

    def watched(self) -> None:
        """Other commands read a run while it is written."""
        case, expected = self.drawn()
        command = self.start(case.arguments)
        run = self.appears(command, self.here / "runs")
        while run is not None and command.code is None:
            self.ended(self._look(run), {0, 1, REFUSED})
        self.ended(command, ENDED)
        assert run is not None
        self.settled(case, run, expected)

    def _look(self, run: Path) -> Command:
        """A command that reads a run."""
        out = self.here / f"out{int(self.rng.integers(10**6))}"
        choices = (
            ["regoal", str(run), "--json"],
            ["regoal", str(run), "--pick", "0", "--json"],
            ["export", str(run), "--out", f"{out}.csv"],
            ["export", str(run), "--rows", "--out", f"{out}.csv"],
            ["export", str(run), "--rows", "--out", f"{out}.npz"],
            ["export", str(run), "--out", f"{out}.json"],
            ["export", str(run), "--out", f"{out}.parquet"],
            ["report", str(run), "--out", f"{out}.html"],
            ["report", str(run)],
        )
        return self.start(choices[int(self.rng.integers(len(choices)))])

    def afterwards(self) -> None:
        """Regoal, export, report of a finished run, perhaps struck; what they wrote is whole or not there."""
        if not self.finished:
            self.kill()
        run = self.finished[int(self.rng.integers(len(self.finished)))]
        known = self.rows(run)
        for _ in range(3):
            command = self._look(run)
            struck = self.rng.random() < 0.4
            if struck:
                self.strike(command, 0.0, 1.0)
            allowed = INTERRUPTED | {REFUSED, -9, -15} if struck else {0, 1, REFUSED}
            self.ended(command, allowed, struck=struck)
        self._whole(self.here)
        self._whole(run)
        self.rows(run, known)

    def _whole(self, folder: Path) -> None:
        for path in folder.glob("*"):
            if path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise Fault(f"{path.name} is cut")
            if path.suffix == ".json" and path.name.startswith("out"):
                json.loads(path.read_text())
            if path.suffix == ".npz" and path.name.startswith("out"):
                RunFolder(folder).read_arrays(path.name)
            if path.suffix == ".csv" and len({len(r) for r in csv.reader(path.open(newline=""))}) > 1:
                raise Fault(f"{path.name} is cut")

    def compare(self) -> None:
        """Solvers compared, perhaps struck."""
        case, _ = self.drawn(workers=1)
        name = case.arguments[1 : case.arguments.index("--solver")]
        out = self.here / "compared"
        command = self.start(["compare", *name, "--solvers", "random,sobol,nsga2", "--seeds", "2",
                              "--evals", "150", "--out", str(out)])  # fmt: skip
        struck = self.rng.random() < 0.4
        if struck:
            self.strike(command, 0.0, 3.0)
        self.ended(command, INTERRUPTED | {-9, -15} if struck else ENDED, struck=struck)
        if not struck:
            json.loads((out / "compare.json").read_text())

    def worker(self) -> None:
        """A worker process is killed: a sentence, and the run goes on when resumed."""
        case, expected = self.drawn(workers=2)
        command = self.start(case.arguments)
        run = self.appears(command, self.here / "runs")
        time.sleep(self.rng.uniform(0.0, 0.5))
        workers = [pid for pid in self.processes.alive() if pid != command.pid and _worker(pid)]
        if workers:
            os.kill(workers[int(self.rng.integers(len(workers)))], signal.SIGKILL)
            self.killed = True
            self.ledger.counts["workers killed"] += 1
        code = self.ended(command, {*ENDED, REFUSED})
        if code == REFUSED and "worker process died" not in command.err:
            raise Fault(" ".join(command.err.split())[-200:])
        assert run is not None
        self.go_on(case, run, expected)

    def disk(self) -> None:
        """A disk of some 10 kB that fills up, then one that is read-only (as root)."""
        case, expected = self.drawn(workers=1)
        disk = self.here / "disk"
        with tmpfs(disk, f"{int(self.rng.integers(6, 60)) * 4}k") as mounted:
            if not mounted:
                self.ledger.counts["disks not mounted"] += 1
                return
            runs = disk / "runs"
            code = self.ended(self.start(case.arguments, runs), {*ENDED, REFUSED})
            run = next((r.parent for r in runs.glob("*/*/run.json")), None)
            self.ledger.counts["disks filled"] += code == REFUSED
            if run is None:
                return
            known = self.rows(run)
            (disk / "ballast").write_bytes(b"")
            with contextlib.suppress(OSError), (disk / "ballast").open("wb") as file:
                while True:
                    file.write(bytes(1_000))
                    file.flush()
            for arguments in (["resume", str(run), "--json"], ["report", str(run)], ["regoal", str(run)]):
                self.ended(self.start(arguments, runs), {*ENDED, REFUSED})
                self.rows(run, known)
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            for arguments in (["resume", str(run), "--json"], ["report", str(run)], case.arguments):
                self.ended(self.start(arguments, runs), {REFUSED})
            self.ended(self.start(["regoal", str(run), "--json"], runs), {*ENDED, REFUSED})
            self.ledger.counts["disks read-only"] += 1
            subprocess.run(["mount", "-o", "remount,rw,size=64m", str(disk)], check=True)
            (disk / "ballast").unlink()
            self.go_on(case, run, expected)
            self.finished.pop()

    def dashboard(self) -> None:
        """The dashboard over the journal of all: answers on 127.0.0.1 and nowhere else."""
        if not self.journal.is_file():
            self.kill()
        arguments = ["dashboard", "--port", "0", "--storage", str(self.journal), "--json"]
        command = self.processes.start(arguments, fresh=True)
        deadline = time.monotonic() + 60
        while not command.out.strip().endswith("}") and time.monotonic() < deadline and command.code is None:
            time.sleep(0.05)
        address = json.loads(command.out)["address"]
        with urllib.request.urlopen(f"{address}api/studies", timeout=30) as answer:
            json.loads(answer.read())
        heard = [*listeners(self.processes.alive())]
        if not heard or any(not a.startswith("127.0.0.1:") for a in heard):
            raise Fault(f"the dashboard listens on {heard}")
        command.send(signal.SIGINT)
        self.ended(command, {0, 130})

    # --- the end ----------------------------------------------------------------------------------
    def close(self) -> None:
        """The journal reads and holds the study of every run that ended."""
        self.processes.close()
        if self.journal.is_file():
            storage, _ = open_journal(self.journal)
            held = {study.study_name for study in storage.get_all_studies()}
            lacking = self.studies - held
            self.ledger.counts["studies in the journal"] = len(held)
            if lacking:
                self.ledger.faults.append(f"{len(lacking)} studies are not in the journal: {min(lacking)}")
        left = [p.name for p in self.folder.iterdir() if p.name.startswith("journal.log.")]
        odd = [n for n in left if not n.endswith(".damaged")]
        self.ledger.faults += [f"left beside the journal: {name}" for name in odd]


IN_MAIN = re.compile(r'search/cli/\w+\.py", line \d+, in main')
EVENTS: dict[str, float] = {
    "kill": 44, "interrupt": 18, "users": 8, "twice": 6, "watched": 5, "afterwards": 6, "compare": 2,
    "worker": 4, "disk": 4, "dashboard": 1,
}  # fmt: skip


def _worker(pid: int) -> bool:
    """Whether a process evaluates rows (a child of a fork server)."""
    with contextlib.suppress(OSError):
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return b"forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes()
    return False


@contextlib.contextmanager
def tmpfs(place: Path, size: str) -> Iterator[bool]:
    """A small disk in memory; whether this user may mount one."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    mounted = os.name == "posix" and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def verdict(ledger: Ledger, minutes: float) -> int:
    """Print the tables; the exit code."""
    events = [
        {"event": n, "times": c, "faults": ledger.faulty[n], "seconds each": ledger.seconds[n] / 1e3 / c}
        for n, c in sorted(ledger.events.items())
    ]
    total = sum(ledger.events.values())
    print_rows(f"{total:,} events in {minutes:.1f} minutes", events)
    print_rows("\nCounts", [{"what": n, "count": c} for n, c in sorted(ledger.counts.items())])
    quarter = ledger.holding[len(ledger.holding) // 4 :] or [held()]
    rows: list[dict[str, Any]] = []
    for name, bar in (("files", GROWTH_FILES), ("threads", 1), ("children", 0), ("resident", GROWTH_MIB)):
        first, last = (float(getattr(h, name)) for h in (quarter[0], quarter[-1]))
        rows.append({"held by the long-lived process": name, "after a quarter": first, "at the end": last,
                     "most growth": bar, "verdict": "ok" if last - first <= bar else "LEAK"})  # fmt: skip
        if last - first > bar:
            ledger.faults.append(f"{name} grew from {first:g} to {last:g}")
    print_rows("\nLeaks", rows)
    out = console()
    for fault in ledger.faults:
        out.print(f"fault: {fault}", markup=False)
    out.print(f"{len(ledger.faults)} faults")
    return 1 if ledger.faults else 0


def main() -> int:
    """Soak; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first event")
    parser.add_argument("--events", type=int, help="stop after so many")
    parser.add_argument("--only", choices=[*EVENTS], help="events of this kind only")
    parser.add_argument("--keep", type=Path, help="a folder to work in, kept")
    given = parser.parse_args()
    if given.only:
        EVENTS.update({name: float(name == given.only) for name in EVENTS})
    err = console(stderr=True)
    stop: Callable[[], bool]
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        soak = Soak(folder.resolve(), given.seed)
        if given.events is None:
            warm_up(soak.user_file)
        began = said = time.monotonic()
        stop = lambda: time.monotonic() - began > 60 * given.minutes  # noqa: E731
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        bar = stack.enter_context(
            Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        )
        task = bar.add_task("soaking", total=60 * given.minutes)
        number = given.first
        try:
            while not stop() and (given.events is None or number < given.first + given.events):
                soak.event(number)
                number += 1
                words = f"{number - given.first} events, {len(soak.ledger.faults)} faults"
                bar.update(task, completed=time.monotonic() - began, description=words)
                if not err.is_terminal and time.monotonic() - said > 60:
                    said = time.monotonic()
                    err.print(f"{(said - began) / 60:.0f} minutes: {words}")
        except KeyboardInterrupt:
            err.print("stopped")
        finally:
            soak.close()
        return verdict(soak.ledger, (time.monotonic() - began) / 60)


if __name__ == "__main__":
    sys.exit(main())
