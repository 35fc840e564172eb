"""Comparisons are fair, reproducible, and say which solver could not run and why."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tradespace as ts
from tradespace.errors import BudgetError, SolverUnavailable, ViewMismatch
from tradespace.search.archive import nondominated
from tradespace.search.cli import main
from tradespace.search.comparison.compare import Comparison, compare
from tradespace.search.comparison.curves import band, page, picture
from tradespace.search.comparison.ranking import ranking
from tradespace.search.comparison.runtimes import TARGETS, distribution, runtime_picture, runtimes
from tradespace.search.quality import REFERENCE, Quality

BUDGET = ts.Budget(evaluations=2_000)


class Steps(ts.Problem):
    """A plateau with one point below it: the row at which a sampler finds it is known."""

    x = ts.Int(0, 999)

    time = ts.Metric("s", "min")
    gain = ts.Metric("1")

    def evaluate(self, x: Any) -> dict[str, Any]:
        return {"time": np.where(x.x == 500, 1e-3, 2e-3), "gain": 1.0 * x.x}


@pytest.fixture(scope="module")
def knapsack() -> Comparison:
    return ts.compare(ts.problem("knapsack", items=10), "exhaustive,milp,random", budget=BUDGET, seeds=3)


def test_each_solver_runs_every_seed_and_exhaustive_once(knapsack: Comparison) -> None:
    ran = [(t.solver, t.seed) for t in knapsack.traces]
    assert ran == [("exhaustive", 0)] + [(n, s) for n in ("milp", "random") for s in range(3)]


def test_the_best_known_is_the_optimum(knapsack: Comparison) -> None:
    proven = ts.solve(ts.problem("knapsack", items=10), "exhaustive").metrics["value"]
    assert knapsack.best == proven
    assert knapsack.larger_is_better
    assert knapsack.summary("milp")["median"] == proven
    assert knapsack.summary("milp")["certificate"] == "proven"
    assert knapsack.summary("random")["best"] <= proven


def test_no_run_exceeds_the_budget(knapsack: Comparison) -> None:
    assert all(t.result.evaluations <= 2_000 for t in knapsack.traces)


def test_a_trace_ends_at_its_answer_and_never_gets_worse(knapsack: Comparison) -> None:
    for trace in knapsack.traces:
        assert trace.values[-1] == trace.value == trace.result.metrics["value"]
        assert (np.diff(trace.values) >= 0).all()
        assert (np.diff(trace.rows) >= 0).all()
        assert (np.diff(trace.seconds) >= -1e-3).all()
        assert trace.seconds[0] >= 0


def test_rows_to_one_percent_is_the_row_that_reached_it() -> None:
    found = compare(Steps(), ["exhaustive", "random"], goal=ts.Goal(minimize=("time",)), seeds=1,
                    budget=ts.Budget(evaluations=1_000))  # fmt: skip
    line = found.summary("exhaustive")
    assert line["rows_to_1_percent"] == 501
    assert 0 <= line["seconds_to_1_percent"] <= line["seconds"]
    never = found.summary("random")
    assert (never["rows_to_1_percent"] is None) == (never["best"] == 2e-3)


def test_the_same_comparison_gives_the_same_values() -> None:
    twice = [
        compare(ts.problem("mixed"), "random,sobol", budget=ts.Budget(evaluations=300), seeds=2) for _ in "ab"
    ]
    values = [[t.value for t in found.traces] for found in twice]
    assert values[0] == values[1]


def test_fronts_are_compared_by_hypervolume_whose_best_is_one() -> None:
    found = compare(
        ts.problem("matmul-tile"), "exhaustive,random", budget=ts.Budget(evaluations=2_560), seeds=2
    )
    assert found.best == 1
    assert found.summary("exhaustive")["median"] == 1
    assert 0 < found.summary("random")["worst"] <= 1
    assert "hypervolume" in found.measure


def test_a_solver_that_refuses_is_listed_and_the_others_run() -> None:
    with pytest.warns(UserWarning, match="^milp did not run: "):
        found = compare(ts.problem("matmul-tile"), "milp,random", budget=ts.Budget(evaluations=50), seeds=1)
    assert [t.solver for t in found.traces] == ["random"]
    assert "has no MILP view" in found.refused["milp"]
    assert "milp did not run: " in found.markdown()


def test_a_solver_that_fails_midway_is_listed_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, run: Any) -> None:
        raise ViewMismatch("the view and the referee disagree.")

    monkeypatch.setattr("tradespace.solvers.milp.Milp.solve", fail)
    with pytest.warns(UserWarning, match="^milp did not run: the view and the referee disagree"):
        found = compare(
            ts.problem("knapsack", items=8), "milp,random", budget=ts.Budget(evaluations=50), seeds=2
        )
    assert found.refused["milp"] == "the view and the referee disagree."
    assert {t.solver for t in found.traces} == {"random"}
    assert "milp did not run: the view and the referee disagree." in str(found)
    with pytest.raises(SolverUnavailable, match="milp did not run: the view and the referee disagree"):
        found.summary("milp")
    with pytest.raises(ViewMismatch, match="no solver could be compared: milp: the view and the referee"):
        compare(ts.problem("knapsack", items=8), "milp", budget=ts.Budget(evaluations=50))


def test_an_interruption_keeps_the_runs_that_are_finished() -> None:
    def interrupt(solver: str, seed: int, session: Any) -> None:
        if (solver, seed) == ("sobol", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as struck:
        compare(
            ts.problem("mixed"),
            "random,sobol,exhaustive",
            budget=ts.Budget(evaluations=60),
            seeds=2,
            observer=interrupt,
        )
    found = struck.value.result
    assert [(t.solver, t.seed) for t in found.traces] == [("random", 0), ("random", 1), ("sobol", 0)]
    assert found.refused["sobol"] == "interrupted"


def test_where_no_solver_takes_the_problem_all_reasons_are_given() -> None:
    with pytest.raises(SolverUnavailable, match=r"milp: .*no MILP view.*exhaustive: .*exceed the budget"):
        compare(ts.problem("matmul-tile"), "milp,exhaustive", budget=ts.Budget(evaluations=5))


def test_wrong_use_is_refused() -> None:
    problem = ts.problem("knapsack", items=8)
    with pytest.raises(SolverUnavailable, match=r"did you mean 'random'\?"):
        compare(problem, "milp,randm", budget=BUDGET)
    with pytest.raises(SolverUnavailable, match="at least one solver"):
        compare(problem, " , ", budget=BUDGET)
    with pytest.raises(BudgetError, match="at least one seed"):
        compare(problem, "random", budget=BUDGET, seeds=0)


def test_a_goal_that_nothing_meets_is_compared_without_values() -> None:
    goal = ts.Goal(limits=("weight<=-1",))
    found = compare(
        ts.problem("knapsack", items=8), "random", goal=goal, budget=ts.Budget(evaluations=20), seeds=2
    )
    line = found.summary("random")
    assert line["feasible"] == 0
    assert found.cells("random")[1] == "none"
    json.loads(json.dumps(found.record(), allow_nan=False))
    picture(found)


def test_medians_of_nothing_are_drawn_too(tmp_path: Path) -> None:
    found = compare(
        ts.problem("server-packing", services=40),
        "random,sobol,nsga2",
        budget=ts.Budget(evaluations=150),
        seeds=2,
    )
    assert {found.summary(name)["feasible"] for name in found.solvers} == {0, 1}
    picture(found).savefig(tmp_path / "curves.png")


# --- quality ---------------------------------------------------------------------------------------------
def test_hypervolume_in_two_dimensions_equals_moocore() -> None:
    import moocore

    rng = np.random.default_rng(0)
    goal = ts.Goal(minimize=("latency", "shared_memory")).resolve(ts.problem("matmul-tile"))
    for _ in range(20):
        costs = rng.random((30, 2))
        quality = Quality.of(goal, [costs])
        scaled = (costs - quality.low) / quality.span
        expected = moocore.hypervolume(scaled, ref=np.full(2, REFERENCE))
        assert quality.of_front(costs) == pytest.approx(expected, rel=1e-12)
        assert quality.best == pytest.approx(expected, rel=1e-12)


def test_a_part_of_a_front_never_measures_more() -> None:
    rng = np.random.default_rng(1)
    goal = ts.Goal(minimize=("time", "stored", "error")).resolve(ts.problem("mixed"))
    costs = rng.random((60, 3))
    costs = costs[nondominated(costs)]
    quality = Quality.of(goal, [costs])
    measures = [quality.of_front(costs[:n]) for n in range(len(costs) + 1)]
    assert measures[0] == 0
    assert (np.diff(measures) >= -1e-12).all()
    assert measures[-1] == pytest.approx(quality.best)


# --- curves and files ---------------------------------------------------------------------------------------
def test_a_band_holds_its_median(knapsack: Comparison) -> None:
    for axis in ("rows", "seconds"):
        _, median, low, high = band(knapsack.of("random"), axis, larger=True)
        known = np.isfinite(median) & np.isfinite(low)
        assert known.any()
        assert (low[known] <= median[known]).all()
        assert (median[known] <= high[known]).all()
        assert median[-1] == knapsack.summary("random")["median"]


def test_the_page_needs_no_network(knapsack: Comparison) -> None:
    text = page(knapsack)
    assert "<script src=" not in text
    assert all(f'"name":"{name}"' in text for name in knapsack.solvers)


def test_the_csv_holds_every_step(knapsack: Comparison) -> None:
    lines = list(csv.DictReader(io.StringIO(knapsack.csv())))
    assert len(lines) == sum(len(t.rows) for t in knapsack.traces)
    last = [line for line in lines if line["solver"] == "milp" and line["seed"] == "2"][-1]
    assert float(last["value"]) == knapsack.best


def test_the_command_writes_tables_and_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "knapsack", "--items", "9", "--solvers", "milp,random,sobol", "--seeds", "2"]
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--evals", "200", "--runs", str(tmp_path), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["budget"]["evaluations"] == 200
    assert [Path(f).name for f in printed["files"]] == [
        "compare.md", "compare.csv", "curves.png", "curves.html", "runtimes.png", "compare.json",
    ]  # fmt: skip
    assert all(Path(f).stat().st_size > 100 for f in printed["files"])
    assert Path(printed["files"][2]).read_bytes().startswith(b"\x89PNG")
    assert {line["solver"] for line in printed["solvers"]} == {"milp", "random", "sobol"}
    assert json.loads(Path(printed["files"][-1]).read_text())["best_known"] == printed["best_known"]


def test_the_command_prints_a_table_and_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "matmul-tile", "--solvers", "milp,random", "--seeds", "1", "--evals", "50"]
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--out", str(tmp_path / "here")])
    printed = " ".join(capsys.readouterr().out.split())
    assert "did not run milp" in printed
    assert "curves.png" in printed
    assert (tmp_path / "here" / "compare.md").is_file()


# --- ranks and runtime distributions ----------------------------------------------------------------------
def test_friedman_agrees_with_the_literature() -> None:
    # Demsar 2006, table 6: 14 data sets, 4 classifiers; he finds chi^2_F = 9.28, F_F = 3.69 and CD = 1.25
    auc = np.array(
        [
            ".763",
            ".768",
            ".771",
            ".798",
            ".599",
            ".591",
            ".590",
            ".569",
            ".954",
            ".971",
            ".968",
            ".967",
            ".628",
            ".661",
            ".654",
            ".657",
            ".882",
            ".888",
            ".886",
            ".898",
            ".936",
            ".931",
            ".916",
            ".931",
            ".661",
            ".668",
            ".609",
            ".685",
            ".583",
            ".583",
            ".563",
            ".625",
            ".775",
            ".838",
            ".866",
            ".875",
            "1",
            "1",
            "1",
            "1",
            ".940",
            ".962",
            ".965",
            ".962",
            ".619",
            ".666",
            ".614",
            ".669",
            ".972",
            ".981",
            ".9751",
            ".975",
            ".957",
            ".978",
            ".946",
            ".970",
        ],
        float,
    ).reshape(14, 4)
    found = ranking(["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"], -auc)
    assert list(found.mean_ranks.values()) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    assert found.p is not None
    assert found.p < 0.05
    assert found.critical == pytest.approx(1.25, abs=0.01)


def test_no_difference_is_claimed_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    claims = sum((ranking(list("abc"), rng.random((8, 3))).p or 1.0) < 0.05 for _ in range(400))
    assert claims / 400 == pytest.approx(0.05, abs=0.03)
    assert ranking(list("ab"), np.ones((4, 2))).p is None
    assert "nothing beyond the values" in ranking(list("ab"), np.ones((1, 2))).statement()
    tied = ranking(list("abc"), np.array([[1.0, 1.0, 2.0]] * 8)).statement()
    assert "a and b share the first place, ahead of every other" in tied


def test_runtime_distributions_count_reached_targets() -> None:
    found = compare(Steps(), ["exhaustive", "sobol"], goal=ts.Goal(minimize=("time",)), seeds=2,
                    budget=ts.Budget(evaluations=1_000))  # fmt: skip
    when, share = distribution(found, "exhaustive")
    assert (when == 501).all()
    assert share == pytest.approx(np.arange(1, len(TARGETS) + 1) / len(TARGETS))
    assert (np.diff(runtimes(found, "sobol"), axis=1) >= 0).all()
    assert found.ranking.mean_ranks["exhaustive"] <= found.ranking.mean_ranks["sobol"]
    runtime_picture(found)
