"""Searches as users run them: workers, resume, another goal, long sweeps, interruptions, failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tradespace as ts
from tests.search.problems import COUNTED, answer, counted, counted_file
from tradespace.problems.registry import load
from tradespace.search import folder as folder_module
from tradespace.search import session as session_module
from tradespace.search.record import problem_name
from tradespace.search.tail import Tail

solve, resume = (
    partial(f, storage="none") for f in (ts.solve, ts.resume)
)  # no study: it scores rows of its own
ROOT = Path(__file__).resolve().parents[2]


ROW = 12  # bytes of a row: three int32


def rows_in(path: Path) -> list[tuple[int, ...]]:
    """The points that the counted problem evaluated, in order."""
    return [tuple(row) for row in np.frombuffer(path.read_bytes(), np.int32).reshape(-1, 3).tolist()]


def interrupted(search: Callable[[], object]) -> Any:
    """What a search had found when Ctrl-C ended it."""
    with pytest.raises(KeyboardInterrupt) as stop:
        search()
    return stop.value.result


# --- workers -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", ["random", "exhaustive"])
def test_workers_change_no_bit(tmp_path, solver):
    problem = counted(tmp_path, size=30)
    budget = ts.Budget(evaluations=3_000 if solver == "random" else None)
    alone = solve(problem, solver, budget=budget)
    assert answer(solve(problem, solver, budget=budget, workers=2)) == answer(alone)
    with ThreadPoolExecutor(2) as pool:
        assert answer(solve(problem, solver, budget=budget, executor=pool)) == answer(alone)


def test_rows_of_a_slow_referee_are_recorded_a_few_at_a_time(tmp_path):
    text = COUNTED.replace("    pause: float", "    cost = 'slow'\n    pause: float").replace(
        "class Counted", "class Slow"
    )
    from tradespace.problems.registry import load

    problem = load(f"{counted_file(tmp_path, 'slow.py', text)}:Slow")(size=3, pause=0.05)
    result = solve(problem, "exhaustive", runs=tmp_path / "runs")
    assert result.evaluations == 27
    assert len(list((result.run_dir / "rows").iterdir())) >= 7


def test_a_worker_that_dies_is_one_sentence(tmp_path):
    text = COUNTED.replace("time.sleep(self.pause)", "os._exit(1)").replace("class Counted", "class Dies")
    from tradespace.problems.registry import load

    problem = load(f"{counted_file(tmp_path, 'dies.py', text)}:Dies")()
    with pytest.raises(ts.EvaluationError, match="a worker process died"):
        solve(problem, "random", budget=ts.Budget(evaluations=9_000), workers=2)


# --- resume --------------------------------------------------------------------------------------------
KILLED = """
import sys
import tradespace as ts
from tradespace.problems.registry import load
from tradespace.search import folder
folder.FLUSH_ROWS = 1_000
path, runs, solver, run = sys.argv[1:]
budget = ts.Budget(evaluations=6_000) if solver != "exhaustive" else ts.Budget()
if run == "new":
    problem = load(path + ":Counted")(size=60, pause=0.03)
    ts.solve(problem, solver, budget=budget, runs=runs, seed=4, storage="none")
else:
    ts.resume(run, storage="none")
"""


@pytest.mark.parametrize("solver", ["random", "exhaustive"])
def test_killed_twice_then_resumed_gives_the_answer_of_an_undisturbed_run(tmp_path, monkeypatch, solver):
    monkeypatch.setattr(session_module, "IDLE_ASKS", 5)
    file, rows, runs = counted_file(tmp_path), tmp_path / "rows.bin", tmp_path / "runs"
    environment = {**os.environ, "COUNTED_ROWS": str(rows)}
    run, recorded_before, recorded = "new", 0, 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(file), str(runs), solver, run], cwd=ROOT, env=environment
        )
        wait_for(partial(more_chunks, runs, recorded_before), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.truncate(rows, rows.stat().st_size // ROW * ROW)  # the kill may have cut the last row short
        run = str(next(runs.glob("*/*")))
        recorded_before, recorded = len(chunks(runs)), sum(len(np.load(p)["failed"]) for p in chunks(runs))
    paid = len(rows_in(rows))
    monkeypatch.setenv("COUNTED_ROWS", str(rows))
    again = resume(run)
    assert len(rows_in(rows)) - paid == again.evaluated_here == again.evaluations - recorded
    assert len(set(rows_in(rows)[paid:])) == again.evaluated_here
    monkeypatch.setenv("COUNTED_ROWS", os.devnull)
    budget = ts.Budget(evaluations=6_000 if solver == "random" else None)
    assert answer(again) == answer(
        solve(counted(tmp_path, size=60, pause=0.03), solver, budget=budget, seed=4)
    )


def chunks(runs: Path) -> list[Path]:
    """The recorded chunks of the runs."""
    return [*runs.glob("*/*/rows/[0-9]*.npz")]


def more_chunks(runs: Path, than: int) -> bool:
    """Whether more chunks are recorded than before."""
    return len(chunks(runs)) > than


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    """Wait for a running process to get somewhere."""
    while not condition():
        assert process.poll() is None, "the process ended before it got there"
        time.sleep(0.005)


@pytest.mark.parametrize("solver", ["random", "sobol"])
@pytest.mark.parametrize("first", [100, 1_500, 2_999])
def test_a_larger_budget_continues_as_if_it_had_been_asked_at_once(tmp_path, solver, first):
    problem = counted(tmp_path, size=12)
    once = solve(problem, solver, budget=ts.Budget(evaluations=1_700))
    short = solve(problem, solver, budget=ts.Budget(evaluations=min(first, 1_690)), runs=tmp_path)
    again = resume(short.run_dir, budget=ts.Budget(evaluations=1_700))
    assert answer(again) == answer(once)
    assert again.evaluated_here == once.evaluations - short.evaluations


def test_a_finished_run_resumes_without_evaluating(tmp_path):
    problem = counted(tmp_path)
    done = solve(problem, "random", budget=ts.Budget(evaluations=500), runs=tmp_path, seed=9)
    again = resume(done.run_dir)
    assert answer(again) == answer(done)
    assert again.evaluated_here == 0
    assert again.seconds >= done.seconds - 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.replace(size=41), r"parameter 'size' \(40 to 41\)"),
        (lambda p: p.fix(a=3), "the fixed variables"),
    ],
)
def test_resume_of_a_changed_problem_says_what_changed(tmp_path, change, said):
    problem = counted(tmp_path)
    run = solve(problem, "random", budget=ts.Budget(evaluations=50), runs=tmp_path).run_dir
    with pytest.raises(ts.DataError, match=said):
        resume(run, problem=change(problem))


def test_resume_after_the_source_changed_says_so(tmp_path):
    run = solve(counted(tmp_path), "random", budget=ts.Budget(evaluations=50), runs=tmp_path).run_dir
    counted_file(tmp_path, text=COUNTED.replace("FACTOR = 1.0", "FACTOR = 2.0"))
    code = f"import tradespace as ts; ts.resume({str(run)!r})"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stderr
    assert "the code of Counted" in said


# --- another goal --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "goal",
    [
        ts.Goal(minimize=("left",)),
        ts.Goal(minimize=("right",), maximize=("sum",), limits=("left<=9",)),
        ts.Goal(minimize=("right",), limits=("left<=0.01",)),
    ],
)
def test_regoal_answers_like_a_fresh_run_over_the_same_rows(tmp_path, monkeypatch, goal):
    problem = counted(tmp_path, size=15)
    run = solve(problem, "random", budget=ts.Budget(evaluations=900), runs=tmp_path, seed=2).run_dir
    fresh = solve(problem, "random", goal, budget=ts.Budget(evaluations=900), seed=2)
    monkeypatch.setenv("COUNTED_ROWS", str(tmp_path / "rows"))
    again = ts.regoal(run, goal)
    assert not (tmp_path / "rows").exists()
    assert (again.best, again.metrics, again.feasible) == (fresh.best, fresh.metrics, fresh.feasible)
    assert answer(again)[2] == answer(fresh)[2]


def test_regoal_leaves_the_folder_of_a_run_that_goes_on_alone(tmp_path):
    problem = counted(tmp_path)
    run = solve(problem, "random", budget=ts.Budget(evaluations=50), runs=tmp_path).run_dir
    for chunk in (run / "rows").glob("*.npz"):  # as a run that has written no chunk yet
        with np.load(chunk) as stored:
            columns = {name: stored[name] for name in stored.files if name != "seconds"}
        Tail(run / "rows/tail.log").append(0, columns)
        chunk.unlink()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    assert ts.regoal(run, ts.Goal(minimize=("right",))).evaluations == 50
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


# --- long sweeps ---------------------------------------------------------------------------------------
class Long(ts.Problem):
    """More points than a run keeps."""

    stop_at: int = 0
    bound: float = 0.0

    a = ts.Int(1, 1_200)
    b = ts.Int(1, 1_000)

    left = ts.Metric("s", "min")
    right = ts.Metric("s", "min", at_least="bound")

    def evaluate(self, x):
        if stop["at"] and x.a.max() >= stop["at"]:
            raise KeyboardInterrupt
        a, b = x.a.astype(float), x.b.astype(float)
        return {"left": (a / 1000 - 0.3) ** 2 + b / 1000, "right": (b / 1000 - 0.9) ** 2 + 1 / a}


stop = {"at": 0}


def test_a_long_sweep_keeps_its_front_and_resumes_at_its_cursor(tmp_path):
    problem, budget = Long(), ts.Budget()
    whole = solve(problem, "exhaustive", budget=budget)
    stop["at"] = 700
    try:
        part = interrupted(partial(solve, problem, "exhaustive", budget=budget, runs=tmp_path))
    finally:
        stop["at"] = 0
    assert part.stop_reason == "interrupted"
    assert part.certificate.kind == "none"
    assert 0 < part.evaluations < whole.evaluations == 1_200_000
    assert not list((part.run_dir / "rows").iterdir())
    again = resume(part.run_dir, problem=problem)
    assert again.evaluated_here == whole.evaluations - part.evaluations
    assert answer(again) == answer(whole)


def test_the_start_of_a_long_sweep_is_compared_and_counts_once():
    start = {"a": 1_200, "b": 1_000}
    result = solve(Long(), "exhaustive", start=start)
    assert result.evaluations == 1_200_000
    assert result.start == {k: float(v[0]) for k, v in Long().score(start).metrics.items()}
    assert result.metrics == {k: float(v[0]) for k, v in Long().score(result.best).metrics.items()}


def test_the_start_of_a_short_sweep_counts_once(tmp_path):
    problem = counted(tmp_path, size=6)
    result = solve(problem, "exhaustive", start={"a": 6, "b": 6, "c": 6})
    assert result.evaluations == result.evaluated_here == 216
    assert answer(result) == answer(solve(problem, "exhaustive"))


# --- interruptions -------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", ["random", "exhaustive"])
def test_an_interrupt_keeps_what_was_found(tmp_path, monkeypatch, solver):
    problem = counted(tmp_path, size=40)
    kind, calls = type(problem), []
    budget = ts.Budget(evaluations=64_000 if solver == "exhaustive" else 6_000)
    plain = kind.evaluate

    def evaluate(self, x):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(self, x)

    monkeypatch.setattr(kind, "evaluate", evaluate)
    part = interrupted(partial(solve, problem, solver, budget=budget, runs=tmp_path, seed=1))
    assert part.stop_reason == "interrupted"
    assert ts.Result.load(part.run_dir).stop_reason == "interrupted"
    assert part.feasible
    assert part.evaluations == part.evaluated_here > 0
    monkeypatch.setattr(kind, "evaluate", plain)
    again = resume(part.run_dir, problem=problem)
    assert answer(again) == answer(solve(problem, solver, budget=budget, seed=1))
    assert again.evaluated_here == again.evaluations - part.evaluations


SIGNALLED = """
import sys
import tradespace as ts
from tradespace.problems.registry import load
problem = load(sys.argv[1] + ":Counted")(pause=0.02)
try:
    ts.solve(problem, "random", budget=ts.Budget(evaluations=60_000), runs=sys.argv[2], storage="none",
        workers=int(sys.argv[3]))
except KeyboardInterrupt as stop:
    print(stop.result.stop_reason, stop.result.feasible, stop.result.evaluations)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_the_process_cleanly(tmp_path, workers):
    rows = tmp_path / "rows.bin"
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNALLED, str(counted_file(tmp_path)), str(tmp_path / "runs"), workers],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "COUNTED_ROWS": str(rows)},
    )  # fmt: skip
    wait_for(lambda: rows.exists() and rows.stat().st_size > 40_000, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out.split()[:2] == ["interrupted", "True"]
    assert process.returncode == 0
    assert "Traceback" not in err


COMMAND = "import sys; from tradespace.search.cli import main; main(sys.argv[1:])"


def test_a_command_struck_by_ctrl_c_saves_and_prints_its_answer_and_exits_with_130(tmp_path):
    rows, runs = tmp_path / "rows.bin", tmp_path / "runs"
    words = ["run", f"{counted_file(tmp_path)}:Counted", "--pause", "0.02", "--evals", "60000", "--solver",
             "random", "--runs", str(runs), "--storage", "none", "--json"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, "COUNTED_ROWS": str(rows)},
    )  # fmt: skip
    wait_for(lambda: rows.exists() and rows.stat().st_size > 40_000, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["stop_reason"] == "interrupted"
    assert ts.Result.load(json.loads(out)["run_dir"]).feasible


# --- failures, starts ----------------------------------------------------------------------------------
class Patchy(ts.Problem):
    """NaN for a share of the rows."""

    every: int = 3

    x = ts.Int(0, 9_999)

    value = ts.Metric("1", "min")

    def evaluate(self, x):
        return {"value": np.where(x.x % self.every == 0, np.nan, 1.0 * x.x)}


def test_rows_of_nan_fail_alone(tmp_path):
    result = solve(Patchy(), "exhaustive", runs=tmp_path)
    assert result.metrics == {"value": 1.0}
    again = ts.regoal(result.run_dir, ts.Goal(maximize=("value",)), problem=Patchy())
    assert again.metrics == {"value": 9_998.0}


@pytest.mark.parametrize("solver", ["exhaustive", "random"])
def test_mostly_failing_rows_end_the_run_and_are_kept(tmp_path, solver):
    with pytest.raises(ts.EvaluationError, match="failed on"):
        solve(Patchy(every=1), solver, budget=ts.Budget(evaluations=10_000), runs=tmp_path)


def test_a_start_is_scored_compared_and_beaten_or_kept(tmp_path):
    problem = counted(tmp_path)
    best = solve(problem, "exhaustive", ts.Goal(minimize=("left",)), runs=tmp_path)
    started = solve(
        problem, "random", ts.Goal(minimize=("left",)), budget=ts.Budget(evaluations=20), start=best.run_dir
    )
    assert started.start == started.metrics == best.metrics
    assert started.best == best.best
    assert started.evaluations == 20


def test_a_pick_is_refused_before_the_search_and_not_instead_of_its_answer(tmp_path):
    problem = counted(tmp_path, size=3)
    with pytest.raises(ts.DataError, match=r"--pick takes an objective \(left, right\).*got 'sum'"):
        solve(problem, pick="sum", runs=tmp_path)
    assert not list(tmp_path.rglob("run.json"))
    assert not solve(problem, goal=ts.Goal(limits=("sum>=100",)), pick="left").feasible


@pytest.mark.parametrize(
    ("name", "words"),
    [("HTTPCache", "http-cache"), ("Tile", "tile"), ("LayerPlan2D", "layer-plan2-d"), ("GPU", "gpu")],
)
def test_a_class_is_called_by_its_words(name, words):
    body = {"a": ts.Int(1, 2), "cost_of_it": ts.Metric("1", "min"), "__module__": __name__}
    assert problem_name(type(name, (ts.Problem,), body)()) == words


def test_a_problem_without_variables_has_one_point():
    class Alone(ts.Problem):
        """Nothing to decide."""

        time = ts.Metric("s", "min")

        def evaluate(self, x):
            return {"time": np.ones(len(x))}

    assert solve(Alone()).metrics == {"time": 1.0}


def test_a_start_outside_the_space_is_one_sentence(tmp_path):
    with pytest.raises(ts.SpaceError, match="'a'"):
        solve(counted(tmp_path), "random", budget=ts.Budget(evaluations=20), start={"a": 0, "b": 1, "c": 1})


def test_the_start_may_be_a_batch_of_an_equal_problem(tmp_path):
    other, problem = counted(tmp_path), counted(tmp_path)
    batch = other.space.batch({"a": 1, "b": 2, "c": 3})
    result = solve(problem, "random", budget=ts.Budget(evaluations=20), start=batch)
    assert result.start["sum"] == 6


def test_chunks_may_be_empty():
    """A scalar governs a vector: the enumeration lists all combinations and drops most."""

    class Gated(ts.Problem):
        """Only one of two branches has entries."""

        gate = ts.Choice("shut", "open")
        wide = ts.Int(0, 9, shape=5, when={"gate": "open"})

        total = ts.Metric("1", "min", at_least=0)

        def evaluate(self, x):
            return {"total": 1.0 * x.wide.sum(axis=1) - (x.gate == "open")}

    result = solve(Gated(), "exhaustive")
    assert result.evaluations == Gated().space.size == 100_001
    assert result.metrics == {"total": 0.0}
    assert folder_module.FLUSH_SECONDS > 0


PICKY = """
from pathlib import Path
import tradespace as ts

class Picky(ts.Problem):
    x = ts.Int(0, 9)
    loss = ts.Metric("1", "min")

    def evaluate(self, x):
        return {"loss": x.x * 1.0}

    def milp_view(self, given=None):
        if Path(__file__).with_name("licence").exists():
            return None
        raise ValueError("no licence")
"""


def test_an_error_of_the_users_own_code_is_no_damage_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(PICKY)
    (tmp_path / "licence").touch()
    problem = load(f"{tmp_path / 'picky.py'}:Picky")()
    run = solve(problem, "random", budget=ts.Budget(evaluations=4), runs=tmp_path).run_dir
    assert run is not None
    record = run / "run.json"
    record.write_text(record.read_text().replace('"solver": "random"', '"solver": "auto"'))
    (tmp_path / "licence").unlink()
    with pytest.raises(ts.EvaluationError, match=r"Picky.milp_view raised ValueError: no licence at .*picky"):
        resume(run)
    record.write_text(record.read_text().replace('"seed": 0', '"seed": "zero"'))
    (tmp_path / "licence").touch()
    with pytest.raises(ts.DataError, match=r"run.json' is damaged"):
        resume(run)


def test_a_sweep_that_lacks_an_array_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "KEPT_ROWS", 100)
    run = solve(ts.problem("knapsack", items=8), "exhaustive", runs=tmp_path).run_dir
    assert run is not None
    folder = folder_module.RunFolder(run)
    state = folder.read_arrays("sweep.npz")
    for lost in ("ids", "seconds"):
        folder.write_arrays("sweep.npz", {n: v for n, v in state.items() if n != lost})
        with pytest.raises(ts.DataError, match=r"sweep.npz' is damaged .*delete it to go on"):
            resume(run)
