"""A problem whose variables and metrics have the names of everything else goes through every command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import tradespace as ts

Cli = Callable[..., Any]

NASTY = """
import numpy as np
import tradespace as ts


class Nasty(ts.Problem, cost="fast"):
    'Options, attributes, columns, JSON keys and words of other libraries as names.'

    size: int = 4

    workers = ts.Int(0, "size")
    seed = ts.Float(0.0, 1.0)
    limit = ts.Choice("fix", "none", "nan")
    space = ts.Menu(1, 2, 4)
    failed = ts.Bool()
    file = ts.Int(0, 3, when={"failed": True})
    params = ts.Bool(shape=3)
    _columns = ts.Int(0, 1)
    self = ts.Int(0, 1)
    μ = ts.Int(0, 1)
    repair = ts.Bool()
    summary = ts.Bool()
    figures = ts.Bool()
    headline = ts.Bool()

    cost = ts.Metric("s", "min", at_most=90.0)
    score = ts.Metric("1", "max")
    role = ts.Metric("B", at_most="size")
    row = ts.Metric()
    limits = ts.Metric()
    feasible = ts.Metric()
    point = ts.Metric()
    größe = ts.Metric("J")

    def evaluate(self, x):
        size = 1.0 * x.workers + x.seed + x.space + x.file + x.params.sum(axis=1)
        size = size + (x.limit == "fix") + x._columns + x.self + x.μ
        return {
            "cost": ts.Estimate(size, 0.1), "score": size * x.seed, "role": 1.0 * x._columns, "row": size,
            "limits": 1.0 * x.failed, "feasible": -size, "point": 2 * size, "größe": size,
        }


class Linear(ts.Problem):
    'Components of a model as names.'

    objective = ts.Int(0, 5)
    model = ts.Bool(shape=3)

    bound = ts.Metric("s", "max")
    constraint = ts.Metric("B", at_most=4)

    def evaluate(self, x):
        chosen = x.model.sum(axis=1)
        return {"bound": 2.0 * x.objective + chosen, "constraint": 1.0 * x.objective + chosen}

    def milp_view(self, given=None):
        import pyomo.environ as pyo

        made = pyo.ConcreteModel()
        made.objective = pyo.Var(domain=pyo.Integers, bounds=(0, 5))
        made.chosen = pyo.Var(range(3), domain=pyo.Binary)
        chosen = sum(made.chosen[i] for i in range(3))
        metrics = {"bound": 2 * made.objective + chosen, "constraint": made.objective + chosen}

        def decode():
            chosen = [v.value > 0.5 for v in made.chosen.values()]
            return {"objective": round(made.objective.value), "model": chosen}

        def encode(point):
            made.objective = point["objective"]
            for i, chosen in enumerate(point["model"]):
                made.chosen[i] = int(chosen)

        return ts.MilpView(made, metrics, decode, encode)
"""
VARIABLES = ["workers", "seed", "limit", "space", "failed", "file", "params", "_columns", "self", "μ"]
VARIABLES += ["repair", "summary", "figures", "headline"]
METRICS = ["cost", "score", "role", "row", "limits", "feasible", "point", "größe"]


@pytest.fixture
def nasty(tmp_path: Path) -> str:
    (tmp_path / "nasty.py").write_text(NASTY)
    return "nasty.py:Nasty"


def good(shown: Any) -> Any:
    assert shown.code == 0, shown.out + shown.err
    return shown


@pytest.mark.parametrize("solver", ["nsga2", "tpe"])
def test_two_objectives_go_through_every_command(cli: Cli, nasty: str, solver: str) -> None:
    found = good(cli("run", nasty, "--solver", solver, "--evals", 20, "--json")).json
    assert sorted(found["best"]["point"]) == sorted(VARIABLES)
    assert [*found["best"]["metrics"]] == METRICS
    assert found["best"]["feasible"] is True
    run = found["run_dir"]
    again = good(cli("resume", run, "--evals", 30, "--json")).json
    assert (again["evaluations"], again["evaluated_here"]) == (30, 10)
    other = good(
        cli("regoal", run, "--minimize", "row", "--limit", "role<=0", "--limit", "größe<=99J", "--json")
    )
    assert other.json["goal"]["objectives"] == [{"metric": "row", "direction": "min"}]
    assert good(cli("regoal", run, "--pick", "score", "--json")).json["best"]["metrics"]["score"] >= 0
    for ending in (".csv", ".json", ".npz"):
        good(cli("export", run, "--out", f"rows{ending}", "--rows"))
        good(cli("export", run, "--out", f"front{ending}"))
    rows = list(csv.DictReader(Path("rows.csv").read_text("utf-8").splitlines()))
    assert [*rows[0]] == [*VARIABLES, *METRICS, "sigma.cost", ".failed"]
    assert {row[".failed"] for row in rows} == {"False"}
    assert {row["failed"] for row in rows} == {
        "True",
        "False",
    }
    assert {float(row["row"]) for row in rows} == {float(row["cost"]) for row in rows}
    assert sorted(np.load("rows.npz")) == sorted(rows[0])
    assert [*json.loads(Path("front.json").read_text())[0]] == VARIABLES + METRICS


def test_one_objective_goes_through_every_command(cli: Cli, nasty: str) -> None:
    goal = ("--minimize", "cost")
    fixed = ("--fix", "seed=0.5", "--fix", "limit=none", "--fix", "µ=1", "--fix", "self=0")
    found = good(cli("run", nasty, *goal, *fixed, "--limit", "limits>=1", "--json")).json
    assert found["certificate"]["kind"] == "proven"
    assert (found["best"]["point"]["μ"], found["best"]["point"]["limit"]) == (1, "none")
    assert found["best"]["metrics"]["cost"] == 2.5
    run = found["run_dir"]
    shown = good(cli("explain", run, "--draws", 20, "--resolves", 0, "--sobol", 16, "--no-worth"))
    assert "cost" in shown.out
    good(cli("report", run, "--json"))
    assert good(cli("show", nasty, "--json")).json["metrics"][7]["name"] == "größe"
    good(cli("check", nasty, "--points", 20))
    good(cli("run", nasty, *goal, "--start", run, "--evals", 30, "--solver", "ga"))
    for solver in ("sobol", "cmaes"):
        good(cli("run", nasty, *goal, "--evals", 8, "--solver", solver, "--json"))
    table = good(
        cli("compare", nasty, *goal, "--solvers", "random,ga", "--seeds", 1, "--evals", 20, "--json")
    )
    assert {s["solver"] for s in table.json["solvers"]} == {"random", "ga"}


def test_the_study_keeps_metrics_and_its_own_attributes_apart(cli: Cli, nasty: str) -> None:
    run = good(cli("run", nasty, "--solver", "random", "--evals", 20, "--json")).json["run_dir"]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("runs/journal.log"))
    (name,) = optuna.get_all_study_names(storage)
    assert name.endswith(Path(run).name)
    study = optuna.load_study(study_name=name, storage=storage)
    rows = ts.recorded_rows(run)
    for trial in study.trials:
        row = rows.iloc[trial.user_attrs[".row"]]
        assert trial.user_attrs["row"] == row["row"]
        assert trial.user_attrs["role"] == row["role"]
        assert trial.params["workers"] == row["workers"]
        assert trial.params["failed"] == row["failed"]
    assert "answer" in {trial.user_attrs[".role"] for trial in study.trials}
    problem = ts.problem(nasty)
    objective = ts.optuna_objective(problem)
    free = optuna.create_study(directions=objective.directions)
    free.optimize(objective, n_trials=2)
    assert len(objective.constraints(free.trials[0])) == 2
    assert free.trials[0].user_attrs["limits"] in {0.0, 1.0}


def test_a_shared_study_keeps_them_apart(cli: Cli, nasty: str) -> None:
    shared = ("--study", "both", "--storage", "shared.log", "--solver", "tpe", "--minimize", "cost")
    for evals in (8, 12):
        found = good(cli("run", nasty, *shared, "--evals", evals, "--json")).json
        assert found["best"]["feasible"] is True


def test_the_last_of_two_fixes_of_a_variable_is_refused(cli: Cli, nasty: str) -> None:
    for words in (("workers=1", "workers=2"), ("µ=1", "μ=1")):
        shown = cli("run", nasty, *(w for word in words for w in ("--fix", word)))
        assert shown.code == 2
        assert "second one" in shown.err
        assert words[1] in shown.err


def test_a_view_and_its_file_take_the_names_of_parts_of_a_model(cli: Cli, nasty: str) -> None:
    target = nasty.replace("Nasty", "Linear")
    found = good(cli("run", target, "--solver", "milp", "--json")).json
    assert (found["certificate"]["kind"], found["best"]["metrics"]["bound"]) == ("proven", 8.0)
    good(cli("export", found["run_dir"], "--out", "model.mps"))
    assert "objective" in Path("model.mps").read_text()
    good(cli("check", target, "--points", 10))
