"""Recorded runs compared: the same figures as runs made for the purpose; different questions are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tradespace as ts
from tradespace.search.cli import main
from tradespace.search.comparison.recorded import clock
from tradespace.search.folder import RunFolder
from tradespace.search.trust.candidates import recall

BUDGET = ts.Budget(evaluations=300)


def recorded(folder: Path, solver: str, seed: int = 0, budget: ts.Budget = BUDGET, **options: Any) -> Path:
    """The folder of a run of `matmul-tile`, its parameters among the options."""
    goal = options.pop("goal", None)
    problem = options.pop("problem", None) or ts.problem("matmul-tile", **options)
    made = ts.solve(problem, solver, goal, budget, seed=seed, runs=folder, storage="none")
    assert made.run_dir is not None
    return made.run_dir


@pytest.mark.parametrize("goal", [None, ts.Goal(minimize=("latency",))])
def test_recorded_runs_measure_what_runs_made_for_it_do(tmp_path: Path, goal: ts.Goal | None) -> None:
    folders = [recorded(tmp_path, s, seed, goal=goal) for s in ("random", "nsga2") for seed in (0, 1)]
    found = ts.compare_runs(folders)
    fresh = ts.compare(ts.problem("matmul-tile"), "random,nsga2", goal=goal, budget=BUDGET, seeds=2)
    assert found.measure == fresh.measure
    assert found.ranking.mean_ranks == fresh.ranking.mean_ranks
    assert found.notes == ()
    for ours, theirs in zip(found.traces, fresh.traces, strict=True):
        assert (ours.solver, ours.seed) == (theirs.solver, theirs.seed)
        assert ours.value == pytest.approx(theirs.value, rel=1e-12)
        assert ours.values[-1] == pytest.approx(theirs.values[-1], rel=1e-12)
        reached = found.reached(ours), fresh.reached(theirs)
        assert (reached[0] is None) == (reached[1] is None)
        if goal is not None and reached[0] is not None and reached[1] is not None:
            assert abs(reached[0][0] - reached[1][0]) <= 100  # a population is offered whole


def test_a_long_enumeration_ends_at_its_answer(tmp_path: Path) -> None:
    problem = ts.problem("two-level", discs=50).fix(frequency=1e9)
    swept = recorded(tmp_path, "exhaustive", problem=problem, budget=ts.Budget())
    drawn = recorded(tmp_path, "random", problem=problem)
    found = ts.compare_runs([swept, drawn])
    assert found.solvers[0] == "exhaustive"
    assert found.summary("exhaustive")["certificate"] == "proven"
    assert found.notes == ("the runs had different budgets",)


def test_runs_that_cannot_share_a_line_have_their_own(tmp_path: Path) -> None:
    folders = [recorded(tmp_path, "random", budget=ts.Budget(evaluations=n)) for n in (50, 100)]
    found = ts.compare_runs(folders)
    assert set(found.solvers) == {f"random {RunFolder(f).id}" for f in folders}
    assert "one seed was run by all" in found.ranking.statement()


def test_recorded_times_grow_with_the_rows(tmp_path: Path) -> None:
    folder = recorded(tmp_path, "nsga2")
    session = recall(RunFolder(folder))
    seconds = clock(session, np.array([1, 100, 300]))
    assert (np.diff(seconds) >= 0).all()
    assert seconds[-1] <= ts.Result.load(folder).seconds


def test_runs_of_different_questions_are_refused(tmp_path: Path) -> None:
    one = recorded(tmp_path, "random")
    with pytest.raises(ts.DataError, match="got one run"):
        ts.compare_runs([one])
    with pytest.raises(ts.DataError, match="given twice"):
        ts.compare_runs([one, one])
    with pytest.raises(ts.DataError, match=r"m \(4096 and 512\) differ; run one again"):
        ts.compare_runs([one, recorded(tmp_path, "random", m=512)])
    other = recorded(tmp_path, "random", problem=ts.problem("knapsack", items=8))
    with pytest.raises(ts.DataError, match=r"of matmul-tile and run \w+ of knapsack"):
        ts.compare_runs([one, other])
    quick = recorded(tmp_path, "random", goal=ts.Goal(minimize=("latency",)))
    with pytest.raises(ts.GoalError, match="have different goals: 'minimise latency, minimise shared_memory"):
        ts.compare_runs([one, quick])
    judged = ts.compare_runs([one, quick], goal=ts.Goal(minimize=("latency",)))
    assert judged.goal.single
    unfinished = recorded(tmp_path, "nsga2")
    (unfinished / "result.json").unlink()
    with pytest.raises(ts.DataError, match="it failed or was stopped before its end; 'optimize resume"):
        ts.compare_runs([one, unfinished])


def test_the_command_takes_runs_and_refuses_what_only_a_search_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [RunFolder(recorded(tmp_path, "random", seed)).id for seed in (0, 1)]
    with pytest.raises(SystemExit) as done:
        main(["compare", *names, "--runs", str(tmp_path)])
    assert done.value.code == 0
    assert "compared by hypervolume" in capsys.readouterr().out
    for words, said in (
        ([*names, "--evals", "5"], "--evals is for runs to be made"),
        ([*names, "--seedz", "3"], "has no option '--seedz'"),
        ([names[0]], "two or more recorded runs; got one run"),
        (["knapsack", "mixed"], "'knapsack' is a problem and 'mixed' no parameter"),
        ([names[0], "none"], "holds no run 'none'"),
    ):
        with pytest.raises(SystemExit) as done:
            main(["compare", *words, "--runs", str(tmp_path)])
        assert done.value.code == 2
        assert said in " ".join(capsys.readouterr().err.split())
