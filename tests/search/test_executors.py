"""Rows may be evaluated anywhere: same answer, user files travel, a killed worker loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tradespace as ts
from tests.search.problems import COUNTED, answer, counted, counted_file
from tradespace.errors import DataError, EvaluationError
from tradespace.problems.registry import load
from tradespace.search.cli import main
from tradespace.search.executors import open_executor
from tradespace.search.shipping import pack

ROOT = Path(__file__).resolve().parents[2]
solve = partial(ts.solve, storage="none")
SLOW = COUNTED.replace("    size: int", "    cost = 'slow'\n    size: int").replace(
    "class Counted", "class SlowCounted"
)
ELSEWHERE = """
import pickle, sys
from tradespace.search.shipping import score_parcel
sent, columns, rows = pickle.load(sys.stdin.buffer)
scores = score_parcel(sent, columns, rows)
module = sys.modules[sent.module]
print(module.__file__, scores.metrics["left"].tolist())
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


ENDLESS = """
import time
from pathlib import Path
import tradespace as ts

class Endless(ts.Problem):
    "A row takes an hour."
    cost = "slow"
    x = ts.Float(0, 1)
    loss = ts.Metric("1", "min")

    def evaluate(self, x):
        Path(__file__).with_name("begun").touch()
        time.sleep(3600)
        return {"loss": x.x}
"""


def test_ctrl_c_waits_for_no_row_that_workers_are_at(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    command = """
import os, signal, sys, threading, time
from pathlib import Path
import tradespace as ts
from tradespace.problems.registry import load
signal.signal(signal.SIGINT, signal.default_int_handler)
file = Path(sys.argv[1])

def strike():
    while not file.with_name("begun").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=strike, daemon=True).start()
problem = load(f"{file}:Endless")()
budget = ts.Budget(evaluations=8)
try:
    ts.solve(problem, "random", budget=budget, workers=2, storage="none")
except KeyboardInterrupt as stop:
    print(stop.result.stop_reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path / "endless.py")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.stdout.split() == ["interrupted"], done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_fork_server_starts_deaf_to_ctrl_c_and_the_search_does_not() -> None:
    command = """
import signal
from multiprocessing.forkserver import _forkserver
from pathlib import Path
import tradespace as ts
budget = ts.Budget(evaluations=8)
ts.solve(ts.problem("knapsack", items=6), "random", budget=budget, workers=2, storage="none")
status = Path(f"/proc/{_forkserver._forkserver_pid}/status").read_text()
blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
print(blocked >> (signal.SIGINT - 1) & 1, signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    told = subprocess.run([sys.executable, "-c", command], env=environment(), capture_output=True, text=True)
    assert told.stdout.split() == ["1", "False"], told.stderr


# --- workers of a search that is killed ------------------------------------------------------------------
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_workers_end_when_their_search_is_killed(tmp_path: Path) -> None:
    file = counted_file(tmp_path)
    command = f"""
import sys, multiprocessing, tradespace as ts
from tradespace.problems.registry import load
problem = load({str(file)!r} + ":Counted")(pause=30.0)
ts.solve(problem, "random", budget=ts.Budget(evaluations=4096), workers=2, storage="none")
"""
    tagged = environment(SEARCH_TAG=str(tmp_path))
    search = subprocess.Popen([sys.executable, "-c", command], env=tagged, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(tagged_processes(str(tmp_path))) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)  # the search, its fork server and tracker, a worker
    search.kill()
    search.wait()
    deadline = time.monotonic() + 20
    while (left := tagged_processes(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def tagged_processes(tag: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SEARCH_TAG={tag}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


# --- files that travel -----------------------------------------------------------------------------------
def score_elsewhere(problem: ts.Problem, sent: object) -> subprocess.CompletedProcess[bytes]:
    batch = problem.space.sample(np.random.default_rng(0), 3)
    content = pickle.dumps((sent, {n: np.asarray(c) for n, c in batch.__columns__.items()}, 3))
    command = [sys.executable, "-c", ELSEWHERE]
    return subprocess.run(command, input=content, capture_output=True, env=environment(), check=False)


def test_a_users_file_and_its_neighbours_travel(tmp_path: Path) -> None:
    (tmp_path / "factor_beside.py").write_text("FACTOR = 3.0\n")
    text = COUNTED.replace("FACTOR = 1.0", "from factor_beside import FACTOR")
    file = counted_file(tmp_path, "travels.py", text)
    problem = load(f"{file}:Counted")()
    sent = pack(problem)
    file.unlink()
    (tmp_path / "factor_beside.py").unlink()
    done = score_elsewhere(problem, sent)
    assert done.returncode == 0, done.stderr
    place, _, values = done.stdout.decode().partition(" ")
    assert str(tmp_path) not in place
    batch = problem.space.sample(np.random.default_rng(0), 3)
    assert json.loads(values) == problem.score(batch).metrics["left"].tolist()


def test_a_worker_with_other_cost_models_says_so(tmp_path: Path) -> None:
    from dataclasses import replace

    problem = counted(tmp_path)
    done = score_elsewhere(problem, replace(pack(problem), identity="0" * 16))
    assert b"a worker has another Counted or other cost models" in done.stderr


class Locked(ts.Problem):
    """Holds what no process can be sent."""

    lock: object = ts.param(factory=threading.Lock)

    a = ts.Int(0, 2_000)
    t = ts.Metric("s", "min")

    def identity(self) -> dict[str, object]:
        return {"class": "Locked"}

    def evaluate(self, x: object) -> dict[str, object]:
        with self.lock:  # type: ignore[attr-defined]
            return {"t": x.a * 1.0}  # type: ignore[attr-defined]


def test_what_cannot_travel_is_evaluated_here_with_a_note_and_needs_no_pickle_on_threads() -> None:
    alone = solve(Locked(), "exhaustive")
    found = solve(Locked(), "exhaustive", workers=2)
    assert answer(found) == answer(alone)
    assert found.notes == (
        "rows were evaluated in this process: Locked cannot be sent to worker processes: TypeError: cannot "
        "pickle '_thread.lock' object.",
    )
    with ThreadPoolExecutor(2) as pool:
        assert answer(solve(Locked(), "exhaustive", executor=pool)) == answer(alone)
    with ProcessPoolExecutor(1) as pool, pytest.raises(EvaluationError, match=r"^Locked cannot be sent"):
        solve(Locked(), "exhaustive", executor=pool)
    assert [f.sentence for f in ts.check(Locked()) if f.check == "process"] == [
        f"with workers, {found.notes[0]}"
    ]


# --- addresses -------------------------------------------------------------------------------------------
def make_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


def test_a_function_that_makes_an_executor_is_an_address(tmp_path: Path) -> None:
    problem = counted(tmp_path, size=12)
    found = solve(problem, "exhaustive", executor=f"{__name__}:make_pool")
    assert answer(found) == answer(solve(problem, "exhaustive"))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://here:1", "takes dask://HOST:PORT"),
        ("dask://here", "names no port"),
        ("nowhere", "cannot be read"),
        ("os:getcwd", "gave a str"),
        ("no_such_module:make", "made no executor: ModuleNotFoundError"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(address: str, said: str) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(DataError, match=said), open_executor(address):
        pass


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_an_executor_that_cannot_be_reached_is_said_quickly_and_leaves_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed")
    began = time.monotonic()
    command = ["run", "knapsack", "--executor", f"dask://127.0.0.1:{free_port()}", "--runs", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "no Dask scheduler answers at" in " ".join(capsys.readouterr().err.split())
    assert time.monotonic() - began < 60
    assert not list(tmp_path.iterdir())


# --- a Dask cluster --------------------------------------------------------------------------------------
@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]], Path]]:
    """A scheduler and two workers of one thread, without nannies: address, the workers, rows evaluated."""
    pytest.importorskip("distributed")
    port, rows = free_port(), tmp_path / "rows.bin"
    rows.touch()
    setting = environment(COUNTED_ROWS=str(rows), OMP_NUM_THREADS="1")
    setting["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "3"
    common = {"env": setting, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    where = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *where, "--port", str(port)], **common
    )
    command = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--no-nanny",
               "--nthreads", "1", *where]  # fmt: skip
    workers = [subprocess.Popen(command, **common) for _ in range(2)]
    try:
        yield f"dask://127.0.0.1:{port}", workers, rows
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_a_killed_dask_worker_changes_nothing(
    cluster: tuple[str, list[subprocess.Popen[bytes]], Path], tmp_path: Path
) -> None:
    from distributed import Client

    address, workers, rows = cluster
    with Client(address.replace("dask", "tcp"), timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    problem = load(f"{counted_file(tmp_path, 'slow.py', SLOW)}:SlowCounted")(size=5, pause=0.02)
    alone = solve(problem, "exhaustive")
    killed = []

    def kill_one(session: object) -> None:
        if not killed and rows.stat().st_size >= 12 * 15:
            workers[0].send_signal(signal.SIGKILL)
            killed.append(session.evaluations)  # type: ignore[attr-defined]

    found = solve(problem, "exhaustive", executor=address, runs=tmp_path / "runs", observer=kill_one)
    assert killed
    assert killed[0] < 125
    assert workers[0].wait(10) == -signal.SIGKILL
    assert answer(found) == answer(alone)
    assert found.evaluations == 125
    points = np.frombuffer(rows.read_bytes(), np.int32).reshape(-1, 3)
    assert len(np.unique(points, axis=0)) == 125
    recorded = ts.regoal(found.run_dir, ts.Goal(minimize=("left",)))
    assert recorded.certificate.statement == "all 125 points scored"
