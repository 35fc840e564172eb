"""Problems cross to other libraries and back: same point, same value, and a refusal in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import optuna
import pytest

import tradespace as ts
from tradespace.errors import DataError, EvaluationError, SolverUnavailable, SpaceError
from tradespace.search.cli import main
from tradespace.solvers.reference import Bowl, Holes, TwoGoals
from tradespace.solvers.testing import SolverContract

optuna.logging.set_verbosity(optuna.logging.WARNING)


def run(*words: str) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*words])


# --- Optuna ----------------------------------------------------------------------------------------------
def test_an_optuna_study_of_the_objective_scores_as_the_referee() -> None:
    problem = Bowl()
    objective = ts.optuna_objective(problem)
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(directions=objective.directions, sampler=sampler)
    study.optimize(objective, n_trials=12)
    for trial in study.trials:
        scores = problem.score(problem.space.batch(objective.point(trial)))
        assert trial.value == scores.metrics["depth"][0]
        assert (max(objective.constraints(trial)) <= 0) == bool(scores.metrics["slope"][0] <= 0)


def test_an_optuna_objective_has_the_goals_directions_and_raises_for_a_failed_row() -> None:
    goal = ts.Goal(minimize=("weight",), maximize=("value",))
    assert ts.optuna_objective(ts.problem("knapsack"), goal).directions == ["minimize", "maximize"]
    problem = Holes()
    objective = ts.optuna_objective(problem)
    study = optuna.create_study(
        directions=objective.directions, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=30, catch=(EvaluationError,))
    assert {t.state.name for t in study.trials} == {"COMPLETE", "FAIL"}
    with pytest.raises(SpaceError, match="'order' is a permutation"):
        ts.optuna_objective(ts.problem("mixed"))


def test_an_optuna_sampler_as_an_object_is_a_solver() -> None:
    result = ts.solve(Bowl(), optuna.samplers.QMCSampler(seed=1), budget=ts.Budget(evaluations=20))
    assert result.solver == "optuna"
    assert result.evaluations == 20


# --- pymoo -----------------------------------------------------------------------------------------------
class TestPymooDE(SolverContract):
    solver = "pymoo:de"
    deterministic = Bowl()

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("pymoo")


def test_pymoo_minimises_our_problem_and_its_points_decode() -> None:
    pytest.importorskip("pymoo")
    from pymoo.algorithms.soo.nonconvex.de import DE
    from pymoo.optimize import minimize

    posed = ts.pymoo_problem(Bowl())
    found = minimize(posed, DE(pop_size=30), ("n_eval", 1_500), seed=0)
    point = posed.points(found.X)[0]
    assert list(point["whole"]) == [3, 7]
    assert found.F[0] == Bowl().score(Bowl().space.batch(point)).metrics["depth"][0]
    assert found.G.max() <= 0


def test_a_pymoo_algorithm_is_a_solver_by_name_or_as_an_object() -> None:
    pytest.importorskip("pymoo")
    from pymoo.algorithms.moo.nsga2 import NSGA2

    budget = ts.Budget(evaluations=300)
    by_name = ts.solve(TwoGoals(), "pymoo:nsga3", budget=budget, seed=1)
    as_object = ts.solve(TwoGoals(), NSGA2(pop_size=20), budget=budget, seed=1)
    assert min(by_name.front_size, as_object.front_size) > 1
    assert as_object.solver == "pymoo:NSGA2"
    with pytest.raises(SolverUnavailable, match=r"called 'dee'; did you mean 'de'\?"):
        ts.solve(Bowl(), "pymoo:dee", budget=budget)
    with pytest.raises(SolverUnavailable, match="takes no limits and this goal has 1; use pymoo:de"):
        ts.solve(Bowl(), "pymoo:cmaes", budget=budget)
    with pytest.raises(SolverUnavailable, match="got int"):
        ts.solve(Bowl(), 7, budget=budget)


# --- MPS -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("unit_value", [1.0, 1e-9])
def test_an_mps_file_has_the_optimum_of_the_problem(tmp_path: Path, unit_value: float) -> None:
    problem = ts.problem("knapsack", items=14, unit_value=unit_value)
    wrote = ts.write_mps(problem, tmp_path / "k.mps", ts.Goal(limits=("comfort>=200",)))
    best = ts.solve(problem, "milp", ts.Goal(limits=("comfort>=200",)))
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.readModel(str(tmp_path / "k.mps"))
    solver.run()
    value = solver.getInfo().objective_function_value
    assert value / wrote["factor"] == pytest.approx(best.metrics["value"], rel=1e-9)
    assert (tmp_path / "k.mps").read_text().startswith("* Knapsack")


def test_what_an_mps_file_cannot_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no MILP view"):
        ts.write_mps(Bowl(), tmp_path / "x.mps")
    with pytest.raises(DataError, match="holds one objective and this goal has 2"):
        ts.write_mps(ts.problem("knapsack"), tmp_path / "x.mps", ts.Goal(maximize=("value", "comfort")))


# --- files -----------------------------------------------------------------------------------------------
class Uneven(ts.Problem):
    """A vector, a label, an error bar, and an infinite value."""

    size = ts.Int(0, 2, shape=2)
    kind = ts.Choice("plain", "fast")

    time = ts.Metric("s", "min")
    rate = ts.Metric("1")

    def evaluate(self, x: Any) -> dict[str, Any]:
        total = x.size.sum(axis=1).astype(float)
        rate = np.where(total == 4, np.inf, total)
        return {"time": ts.Estimate(total + 1.0, 0.1), "rate": np.where(total == 3, np.nan, rate)}


def test_rows_are_the_same_in_every_format(tmp_path: Path) -> None:
    result = ts.solve(Uneven(), "exhaustive", runs=tmp_path, storage="none")
    rows = ts.recorded_rows(result.run_dir)
    assert len(rows) == 18
    assert (rows["sigma.time"] == 0.1).all()
    assert rows["failed"].sum() == 4
    name = str(result.run_dir)
    for ending in (".csv", ".npz", ".parquet"):
        if ending == ".parquet":
            pytest.importorskip("pyarrow")
        run("export", name, "--rows", "--out", str(tmp_path / f"rows{ending}"), "--json")
    import pandas as pd

    csv = pd.read_csv(tmp_path / "rows.csv")
    npz = np.load(tmp_path / "rows.npz", allow_pickle=False)
    parquet = pd.read_parquet(tmp_path / "rows.parquet")
    assert [json.loads(v) for v in csv["size"]] == npz["size"].tolist() == [list(v) for v in parquet["size"]]
    for table in (csv, parquet):
        assert table["kind"].tolist() == npz["kind"].tolist()
        assert np.array_equal(table["rate"].to_numpy(float), npz["rate"], equal_nan=True)


def test_what_a_format_cannot_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = ts.solve(Uneven(), "exhaustive", runs=tmp_path, storage="none")
    for words, said in (
        (["--rows", "--out", "rows.json"], "JSON cannot hold 'rate' = inf"),
        (["--rows", "--out", "rows.mps"], "holds a model, no rows"),
        (["--out", "model.mps"], "Uneven cannot be written as MPS: the problem has no MILP view"),
        (["--out", "front.xlsx"], "must end in .csv, .json, .npz, .parquet, .mps"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["export", str(result.run_dir), *words[:-1], str(tmp_path / words[-1])])
        assert said in " ".join(capsys.readouterr().err.split())
