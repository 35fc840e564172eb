"""Optuna's samplers as solvers: their laws, conditional spaces, failures, and what they refuse."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest

import tradespace as ts
from tradespace.problems.batch import Batch
from tradespace.solvers import bayesian
from tradespace.solvers.bayesian import CMAES, GP, TPE, OptunaSampler, cell_name, sampled
from tradespace.solvers.portfolio import make
from tradespace.solvers.reference import Bag, Impossible, Tree, TwoGoals, Valley
from tradespace.solvers.testing import SolverContract

NAMED_LIMITS = hasattr(optuna.trial.Trial, "set_constraint")
with_named_limits = pytest.mark.skipif(not NAMED_LIMITS, reason="Optuna 4 has no named constraints")


class TestTPE(SolverContract):
    solver = "tpe"
    evaluations: ClassVar[int] = 40


class TestQMC(SolverContract):
    solver = "qmc"
    evaluations: ClassVar[int] = 40


class Kinds(ts.Problem):
    """Every kind of variable that a sampler draws, conditions entry by entry."""

    algorithm = ts.Choice("naive", "tiled")
    tile = ts.Menu.powers(2, 8, 128, when={"algorithm": "tiled"})
    width = ts.Int(0, 30, step=10, shape=(2, 2))
    depth = ts.Int(1, 1000, log=True)
    rate = ts.Float(1e-4, 1.0, log=True)
    packed = ts.Bool(shape=2)
    bits = ts.Menu(4, 8, shape=2, when={"packed": True})
    constant = ts.Int(5, 5)

    time = ts.Metric("s", "min")
    room = ts.Metric("1", at_most=60.0)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        tiled = np.where(x.algorithm == "tiled", np.abs(np.log2(x.tile) - 5), 9.0)
        time = tiled + np.abs(np.log10(x.depth / 50)) + np.abs(np.log10(x.rate) + 2) + x.bits.sum(axis=1)
        return {"time": np.where(x.tile == 128, np.nan, time), "room": x.width.sum(axis=(1, 2)) * 1.0}


class Slow(Valley):
    """The valley, declared slow."""

    cost = "slow"


class Line(ts.Problem):
    """Two numbers, one objective, one limit: the best lies on the limit."""

    x = ts.Float(0, 1)
    y = ts.Float(0, 1)

    total = ts.Metric("1", "min")
    product = ts.Metric("1", at_least=0.25)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"total": x.x + x.y, "product": x.x * x.y}


class Wide(ts.Problem):
    """One scalar more than is taken."""

    x = ts.Float(0, 1, shape=65)

    total = ts.Metric("1", "min")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"total": x.x.sum(axis=1)}


def begun(problem: ts.Problem, solver: OptunaSampler, **given: Any) -> OptunaSampler:
    """A solver at work without a driver."""
    goal = problem.default_goal
    run = {"problem": problem, "goal": goal, "budget": ts.Budget(100), "seed": 0, "start": None} | given
    solver.begin(SimpleNamespace(**run))  # type: ignore[arg-type]
    return solver


def advance(solver: OptunaSampler, asks: int) -> list[Batch]:
    """Ask and tell so many times; what was asked."""
    asked = []
    for _ in range(asks):
        batch = solver.ask(1_000)
        if len(batch):
            solver.tell(batch, solver.problem.score(batch))
            asked.append(batch)
    return asked


# --- points ------------------------------------------------------------------------------------------
def test_inactive_entries_are_not_suggested() -> None:
    solver = begun(Kinds(), TPE())
    advance(solver, 30)
    for trial in solver.study.trials:
        assert ("tile" in trial.params) == (trial.params["algorithm"] == "tiled")
        assert all((f"bits[{i}]" in trial.params) == trial.params[f"packed[{i}]"] for i in range(2))
        assert "constant" not in trial.params
        assert {"width[0,0]", "width[0,1]", "width[1,0]", "width[1,1]"} <= set(trial.params)


def test_points_lie_in_the_space_and_are_new() -> None:
    problem = Kinds()
    asked = advance(begun(problem, TPE()), 60)
    assert all(problem.space.contains(batch).all() for batch in asked)
    keys = [int(problem.space.hashes(batch)[0]) for batch in asked]
    assert len(keys) == len(set(keys)) == 60


def test_distributions_are_those_of_the_variables() -> None:
    solver = begun(Kinds(), TPE())
    advance(solver, 12)
    found = {name: d for trial in solver.study.trials for name, d in trial.distributions.items()}
    assert found["depth"] == optuna.distributions.IntDistribution(1, 1000, log=True)
    assert found["width[1,0]"] == optuna.distributions.IntDistribution(0, 30, step=10)
    assert found["rate"] == optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    assert found["tile"] == optuna.distributions.IntDistribution(0, 4)
    assert found["algorithm"] == optuna.distributions.CategoricalDistribution(["naive", "tiled"])


def test_failed_rows_are_failed_trials_or_lose_once_something_is_known() -> None:
    """TPE forgets failed trials and would ask the same place again; in a shared study they do fail."""
    for shared in (False, True):
        solver = begun(Kinds(), TPE())
        solver.shared = shared
        advance(solver, 60)
        known: list[float] = []
        for trial in solver.study.trials:
            if trial.params.get("tile") != 4:
                known.append(trial.value)
            elif shared or not known:
                assert trial.state == optuna.trial.TrialState.FAIL
            else:
                assert trial.value == max(known)


@with_named_limits
def test_limits_reach_the_sampler() -> None:
    solver = begun(Line(), TPE())
    advance(solver, 20)
    for trial in solver.study.trials:
        excess = 0.25 - trial.params["x"] * trial.params["y"]
        assert list(trial.constraints.values()) == pytest.approx([excess / 0.25])


def test_limits_pull_the_search_to_the_feasible_side() -> None:
    result = ts.solve(Line(), "tpe", budget=ts.Budget(evaluations=120))
    assert result.feasible
    assert result.metrics["total"] < 1.15


def test_start_is_asked_first() -> None:
    problem = Kinds()
    point = {
        "algorithm": "tiled", "tile": 64, "width": [[0, 10], [20, 30]], "depth": 7, "rate": 0.5,
        "packed": [True, False], "bits": [8, 4], "constant": 5,
    }  # fmt: skip
    start = problem.space.batch(point)
    first = begun(problem, TPE(), start=start).ask(1)
    assert problem.space.points(first) == problem.space.points(start)


def test_repeated_proposals_are_answered_without_a_new_row() -> None:
    result = ts.solve(Tree(), "tpe", budget=ts.Budget(evaluations=200))
    assert result.stop_reason == "space exhausted"
    assert result.evaluations == Tree().space.size
    assert result.certificate.kind == "proven"


def test_slow_rows_are_asked_several_at_once() -> None:
    batch = begun(Slow(), TPE()).ask(100)
    assert 1 < len(batch) <= 8
    assert len(set(batch.x.tolist())) == len(batch)
    assert len(begun(Valley(), TPE()).ask(100)) == 1


@with_named_limits
def test_tpe_proposes_what_optuna_proposes() -> None:
    problem = Line()
    asked = advance(begun(problem, TPE(), seed=11), 25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=11))
        expected = []
        for _ in range(25):
            trial = study.ask()
            x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
            trial.set_constraint("0", (0.25 - x * y) / 0.25)
            study.tell(trial, x + y)
            expected.append((x, y))
    assert [(b.x[0], b.y[0]) for b in asked] == expected


# --- the others --------------------------------------------------------------------------------------
def test_nsga3_reaches_a_front() -> None:
    result = ts.solve(TwoGoals(), "nsga3", budget=ts.Budget(evaluations=120))
    assert result.front_size > 3


def test_any_sampler_goes_by_its_name() -> None:
    result = ts.solve(Bag(), "optuna:RandomSampler", budget=ts.Budget(evaluations=40), seed=4)
    assert result.solver == "optuna:RandomSampler"
    assert result.evaluations == 40


def test_a_sampler_may_be_given_as_an_object() -> None:
    sampler = optuna.samplers.RandomSampler(seed=3)
    assert ts.solve(Bag(), sampler, budget=ts.Budget(evaluations=20)).evaluations == 20


def test_a_sampler_is_treated_as_its_class_wants_however_it_is_given() -> None:
    class Mine(optuna.samplers.TPESampler):
        pass

    for given in ("TPESampler", optuna.samplers.TPESampler(seed=3), Mine(seed=3)):
        assert isinstance(sampled(given), TPE)
    given = Mine(seed=3)
    assert begun(Line(), sampled(given)).study.sampler is given
    assert type(sampled("RandomSampler")) is OptunaSampler


def test_brute_force_ends_the_search() -> None:
    result = ts.solve(Valley(), "optuna:BruteForceSampler", budget=ts.Budget(evaluations=1_000))
    assert result.evaluations == 41


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_gp_finds_the_valley_beside_failed_rows() -> None:
    class Pit(Valley):
        def evaluate(self, x: Batch) -> dict[str, Any]:
            return {"depth": np.where(x.x > 15, np.nan, (x.x - 7.0) ** 2)}

    first, second = (ts.solve(Pit(), "gp", budget=ts.Budget(evaluations=14), seed=1) for _ in range(2))
    assert first.metrics["depth"] <= 1
    assert first.best == second.best


@pytest.mark.skipif(importlib.util.find_spec("cmaes") is None, reason="cmaes is not installed")
def test_cmaes_descends_within_a_limit() -> None:
    result = ts.solve(Line(), "cmaes", budget=ts.Budget(evaluations=300))
    assert result.feasible
    assert result.metrics["total"] < 1.05


# --- what is refused, and what is left alone ---------------------------------------------------------
@pytest.mark.parametrize(
    ("solver", "problem", "sentence"),
    [
        ("tpe", ts.problem("mixed"), "'order' is a permutation, which it cannot draw; use nsga2"),
        ("qmc", Wide(), "65 scalar variables exceed the 64 it takes; use ga"),
        ("nsga3", Valley(), "it takes several objectives and this goal has one; use ga"),
        ("cmaes", TwoGoals(), "it takes one objective and this goal has 2; use nsga2"),
        ("cmaes", Bag(), "it needs at least two numbers that are always active; use tpe"),
    ],
)
def test_refusals_name_the_reason_and_another_solver(solver: str, problem: ts.Problem, sentence: str) -> None:
    assert make(solver).accepts(problem, problem.default_goal, ts.Budget(evaluations=100)) == sentence


@pytest.mark.parametrize("solver", [GP(), CMAES()])
def test_missing_packages_are_named(solver: OptunaSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayesian.importlib.util, "find_spec", lambda name: None)
    refused = solver.accepts(Line(), Line().default_goal, ts.Budget(evaluations=100))
    assert refused == f"it needs the package '{solver.needs[0]}', which is not installed; use tpe"


def test_an_unknown_sampler_is_named_with_the_nearest() -> None:
    with pytest.raises(
        ts.SolverUnavailable, match="no sampler 'RandonSampler'; did you mean 'RandomSampler'"
    ):
        ts.solve(Bag(), "optuna:RandonSampler", budget=ts.Budget(evaluations=5))


def test_a_sampler_that_needs_more_than_a_seed_is_named() -> None:
    with pytest.raises(ts.SolverUnavailable, match="GridSampler needs more than a seed"):
        ts.solve(Bag(), "optuna:GridSampler", budget=ts.Budget(evaluations=5))


def test_a_sampler_that_cannot_draw_the_space_says_so() -> None:
    with pytest.raises(ts.SolverUnavailable, match=r"BruteForceSampler' cannot go on: .*infinite"):
        ts.solve(Line(), "optuna:BruteForceSampler", budget=ts.Budget(evaluations=5))


def test_optuna_keeps_its_log_level_and_python_its_random_state() -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    state = random.getstate()
    try:
        ts.solve(Impossible(), "tpe", budget=ts.Budget(evaluations=12))
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
        assert random.getstate() == state
    finally:
        optuna.logging.set_verbosity(before)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    ts.solve(Valley(), "tpe", budget=ts.Budget(evaluations=12))
    assert capfd.readouterr() == ("", "")


def test_optuna_is_imported_only_when_used() -> None:
    code = (
        "import tradespace.solvers.bayesian, sys; sys.exit('optuna' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_entries_are_named_by_their_place() -> None:
    domains = Kinds().space.domains
    assert cell_name(domains["depth"], 0) == "depth"
    assert cell_name(domains["width"], 2) == "width[1,0]"
