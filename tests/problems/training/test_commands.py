"""`optimize apply` and `optimize reproduce` from end to end."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import tradespace as ts
from tradespace.errors import DataError, SpaceError
from tradespace.problems.tutorial.knapsack import Knapsack
from tradespace.search.cli.app import app

pytestmark = pytest.mark.filterwarnings("ignore::tradespace.costmodels.OutsideCalibration")


def test_reproduce_prints_the_paper_beside_ours_and_what_was_read(monkeypatch) -> None:
    from tradespace.problems.training import reproduce

    monkeypatch.setattr(reproduce, "CASES", (("gpt2", 4, 512, "a100-sxm-80gb"),))
    found = CliRunner().invoke(app, ["reproduce", "adacc", "--json"])
    rows = json.loads(found.stdout)["rows"]
    stated = [row for row in rows if row.get("paper")]
    assert [row["paper"] for row in stated] == [1.01, 1.37]
    for row in stated:
        assert row["ratio"] == pytest.approx(row["ours"] / row["paper"], abs=1e-3)
        assert "read" in row["source"]
    assert all(row["ours"] >= 1 - 1e-9 for row in rows if row["quantity"].startswith("throughput"))


def test_what_cannot_be_applied_or_reproduced_is_told(tmp_path) -> None:
    run = CliRunner().invoke
    assert isinstance(run(app, ["reproduce", "knapsack"]).exception, DataError)
    ts.solve(Knapsack(), budget=ts.Budget(evaluations=100), runs=tmp_path)
    told = run(app, ["apply", "last", "--runs", str(tmp_path)]).exception
    assert "no apply(point)" in str(told)


def test_a_plan_of_shapes_says_how_to_plan_a_module(tmp_path) -> None:
    problem = ts.problem("adacc", model="gpt2", batch=1, sequence=128, layers=2)
    ts.solve(problem, solver="milp", budget=ts.Budget(seconds=10), runs=tmp_path)
    told = CliRunner().invoke(app, ["apply", "last", "--runs", str(tmp_path)]).exception
    assert isinstance(told, SpaceError)
    assert "optimize run adacc-module" in str(told)


def test_apply_trains_by_the_plan_beside_other_policies(tmp_path, monkeypatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from tradespace.problems.training.execution import training

    monkeypatch.setenv("TRADESPACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(training, "best_budget", lambda *_: "not compiled in a test")
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 400)
    problem = ts.problem("adacc-module", batch=2, sequence=32, layers=2, hidden=32, memory=2e6)
    result = ts.solve(problem, solver="milp", budget=ts.Budget(seconds=10), runs=tmp_path)
    assert result.feasible
    words = ["apply", "last", "--steps", "3", "--text", str(text), "--runs", str(tmp_path), "--json"]
    found = CliRunner().invoke(app, words)
    rows = {row["policy"]: row for row in json.loads(found.stdout)["rows"]}
    assert rows["this plan"]["measured MiB"] == pytest.approx(rows["this plan"]["predicted MiB"], rel=0.02)
    exact = rows["no policy"]["loss"]
    assert rows["full checkpointing"]["loss"] == exact
    assert rows["selective checkpointing"]["loss"] == exact
    assert rows["int8 everywhere"]["loss"] == pytest.approx(exact, rel=0.02)
    assert rows["activation_memory_budget"]["note"] == "not compiled in a test"


def test_an_evolving_plan_is_solved_again_and_its_events_reach_study_and_report(
    tmp_path, monkeypatch
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import optuna

    from tradespace.problems.training.execution import training
    from tradespace.search.journal import open_journal

    monkeypatch.setenv("TRADESPACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(training, "best_budget", lambda *_: "not compiled in a test")
    problem = ts.problem("adacc-module", batch=2, sequence=32, layers=2, hidden=32, memory=8e6)
    ts.solve(problem, solver="random", budget=ts.Budget(evaluations=1), runs=tmp_path)
    words = ["apply", "last", "--runs", str(tmp_path)]
    never = CliRunner().invoke(app, [*words, "--evolve", "3", "--steps", "3"]).exception
    assert isinstance(never, SpaceError)
    assert "never comes due in 3 steps" in str(never)
    found = CliRunner().invoke(app, [*words, "--evolve", "1", "--steps", "3", "--json"])
    told = json.loads(found.stdout)
    rows = {row["policy"]: row for row in told["rows"]}
    frozen, evolved = rows["this plan"], rows["this plan, evolved"]
    assert told["events"][0].startswith("step 1: ")
    assert "the plan changed" in evolved["note"]
    assert evolved["predicted ms"] < frozen["predicted ms"] or frozen["gradient error"] > problem.error_budget
    assert evolved["measured MiB"] <= 8e6 / ts.MiB
    storage, _ = open_journal(tmp_path / "journal.log")
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.user_attrs["events when applied"] == told["events"]
    database = f"sqlite:///{tmp_path / 'studies.db'}"
    ts.resume(max(tmp_path.glob("adacc-module/*")), storage=database)
    found = CliRunner().invoke(
        app, [*words, "--evolve", "1", "--steps", "2", "--storage", database, "--json"]
    )
    (summary,) = optuna.get_all_study_summaries(database)
    assert summary.user_attrs["events when applied"] == json.loads(found.stdout)["events"]
    study = optuna.load_study(study_name=None, storage=open_journal(tmp_path / "journal.log")[0])
    assert study.user_attrs["events when applied"] == told["events"]
    report = tmp_path / "report.html"
    CliRunner().invoke(app, ["report", "last", "--runs", str(tmp_path), "--out", str(report)])
    assert json.loads(found.stdout)["events"][0] in report.read_text()


def test_evolving_keeps_the_runs_own_limits_and_only_the_fastest_plan() -> None:
    problem = ts.problem("adacc-module")
    tighter = ts.Goal(limits=("peak<=20MiB",), no_limits=("error",)).resolve(problem)
    assert problem._evolving(tighter) == {"peak": 20 * ts.MiB, "error": float("inf")}
    with pytest.raises(SpaceError, match="this run's goal is peak"):
        problem._evolving(ts.Goal(minimize=("peak",)).resolve(problem))
