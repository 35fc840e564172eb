"""Several processes fill one study: same answer for all, nothing lost, another search is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

import tradespace as ts
from tradespace.errors import DataError, SolverUnavailable
from tradespace.search.journal import open_journal, open_url

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from tradespace.search.cli import main; main()"]


def worker(folder: Path, evaluations: int, **more: object) -> ts.Result:
    given = {"storage": str(folder / "journal.log"), "study": "shared", "runs": folder / "runs", **more}
    problem = given.pop("problem", ts.problem("matmul-tile"))
    budget = ts.Budget(evaluations=evaluations)
    return ts.solve(problem, "tpe", budget=budget, **given)  # type: ignore[arg-type]


def finished(folder: Path) -> int:
    storage, _ = open_journal(folder / "journal.log")
    (study,) = storage.get_all_studies()
    return sum(t.state.is_finished() for t in storage.get_all_trials(study._study_id))


def test_the_second_worker_goes_on_where_the_first_is_and_answers_for_both(tmp_path: Path) -> None:
    first = worker(tmp_path, 10)
    second = worker(tmp_path, 16)
    assert finished(tmp_path) in {16, 17}
    assert first.evaluations in {9, 10}
    assert 5 <= second.evaluations < 16  # its own, and what of the first may be the answer
    both = {tuple(p["metrics"].values()) for p in first.front_rows() + second.front_rows()}
    assert {tuple(p["metrics"].values()) for p in second.front_rows()} <= both
    alone = ts.solve(ts.problem("matmul-tile"), "exhaustive", storage="none")
    for member in second.front_rows():  # nothing of the first dominates the answer of the second
        values = [member["metrics"][n] for n in ("latency", "shared_memory")]
        for other in first.front_rows():
            theirs = [other["metrics"][n] for n in ("latency", "shared_memory")]
            assert not (theirs != values and all(t <= v for t, v in zip(theirs, values, strict=True)))
    assert alone.front_size >= second.front_size - 16


def test_two_processes_at_once_answer_for_both(tmp_path: Path) -> None:
    arguments = ["run", "knapsack", "--items", "30", "--solver", "tpe", "--evals", "40", "--study", "shared",
                 "--runs", str(tmp_path), "--json"]  # fmt: skip
    both = [
        subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate() for process in both]
    assert [p.returncode for p in both] == [0, 0], said
    answers = [json.loads(out) for out, _ in said]
    storage, _ = open_journal(tmp_path / "journal.log")
    trials = storage.get_all_trials(0, states=[TrialState.COMPLETE])
    best = max(-t.value for t in trials if max(t.user_attrs["limits"]) <= 0)
    values = [answer["best"]["metrics"]["value"] for answer in answers]
    assert max(values) == best  # whoever ends last knows all; a row in flight may miss the other's answer
    assert 40 <= finished(tmp_path) <= 43
    assert {len([*r.rglob("*.npz")]) > 0 for r in tmp_path.glob("knapsack/*")} == {True}


def test_a_worker_is_resumed_into_its_study(tmp_path: Path) -> None:
    first = worker(tmp_path, 8)
    assert first.run_dir is not None
    again = ts.resume(first.run_dir, budget=ts.Budget(evaluations=12))
    assert finished(tmp_path) in {12, 13}
    assert again.evaluations in {11, 12}
    assert again.evaluated_here in {3, 4}


def test_a_study_of_another_search_is_refused(tmp_path: Path) -> None:
    worker(tmp_path, 4)
    with pytest.raises(DataError, match=r"belongs to another search \(MatmulTile, minimise latency"):
        worker(tmp_path, 8, problem=ts.problem("matmul-tile", m=512))
    with pytest.raises(DataError, match="belongs to another search"):
        worker(tmp_path, 8, goal=ts.Goal(minimize=("latency",)))
    assert finished(tmp_path) in {4, 5}


def test_a_solver_that_keeps_its_own_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SolverUnavailable, match="solver 'nsga2' keeps its own"):
        ts.solve(ts.problem("matmul-tile"), "nsga2", budget=ts.Budget(evaluations=10), study="x",
                 storage=str(tmp_path / "j.log"))  # fmt: skip
    with pytest.raises(DataError, match="needs a place to share"):
        ts.solve(ts.problem("matmul-tile"), budget=ts.Budget(evaluations=10), study="x", storage="none")


# --- through Optuna's proxy ------------------------------------------------------------------------------
PROXY = """
import sys, optuna
optuna.storages.run_grpc_proxy_server(
    optuna.storages.get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2])
)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    pytest.importorskip("grpc")
    port = free_port()
    command = [sys.executable, "-c", PROXY, f"sqlite:///{tmp_path / 'studies.db'}", str(port)]
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    yield f"grpc://127.0.0.1:{port}", process
    process.kill()
    process.wait()


def test_workers_share_through_a_proxy_and_lose_nothing_when_it_dies(
    tmp_path: Path, proxy: tuple[str, subprocess.Popen[bytes]]
) -> None:
    address, process = proxy
    deadline = time.monotonic() + 60
    while True:
        try:
            open_url(address)
            break
        except DataError:
            assert time.monotonic() < deadline
    first = worker(tmp_path, 6, storage=address)
    second = worker(tmp_path, 12, storage=address)
    assert first.evaluations in {5, 6}
    # a point proposed again is told to the study at once, so one trial more may be finished
    assert second.stop_reason.replace("13", "12") == "study 'shared' holds 12 finished trials"

    def unplug(session: object) -> None:
        if getattr(session, "evaluations", 0) >= 3:
            process.kill()
            process.wait()

    with pytest.raises(DataError, match=r"cannot be reached any more \(.*'optimize resume' joins"):
        worker(tmp_path, 30, storage=address, runs=tmp_path / "third", observer=unplug)
    (run,) = (tmp_path / "third").glob("*/*")
    assert len(ts.recorded_rows(run)) >= 3


def test_a_proxy_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc")
    monkeypatch.setattr("tradespace.search.journal.CONNECT_SECONDS", 0.3)
    with pytest.raises(DataError, match="no proxy of Optuna answers there within"):
        open_url(f"grpc://127.0.0.1:{free_port()}")
    with pytest.raises(DataError, match="port 'x' is no number"):
        open_url("grpc://127.0.0.1:x")
