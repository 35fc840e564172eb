"""Nothing is claimed from a solver's status alone: HiGHS may be wrong, and badly scaled models try it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import highspy
import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.batch import Batch
from tradespace.solvers.base import Certificate, OneShot, Run
from tradespace.solvers.reference import Bag, every_point, true_optimum

STATES = highspy.HighsModelStatus


# --- a solver that lies --------------------------------------------------------------------------------
class Liar:
    """HiGHS with its status, or its bound, replaced: always, or only where presolve is on."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, always: bool, status: Any = None, bound: Any = None
    ) -> None:
        true_status, true_info = highspy.Highs.getModelStatus, highspy.Highs.getInfo
        self.lies = 0

        def lies(solver: Any) -> bool:
            lie = always or solver.getOptionValue("presolve")[1] != "off"
            self.lies += lie
            return lie

        def told(solver: Any) -> Any:
            return status if lies(solver) else true_status(solver)

        def info(solver: Any) -> Any:
            known = true_info(solver)
            if lies(solver):
                known.mip_dual_bound = known.objective_function_value + bound
            return known

        if status is not None:
            monkeypatch.setattr(highspy.Highs, "getModelStatus", told)
        if bound is not None:
            monkeypatch.setattr(highspy.Highs, "getInfo", info)


@pytest.mark.parametrize(
    "status", [STATES.kInfeasible, STATES.kUnbounded, STATES.kSolveError, STATES.kUnknown]
)
def test_what_presolve_gets_wrong_is_solved_without_it(monkeypatch: pytest.MonkeyPatch, status: Any) -> None:
    liar = Liar(monkeypatch, always=False, status=status)
    result = ts.solve(Bag(), "milp")
    assert liar.lies
    assert result.certificate.kind == "proven"
    assert result.metrics["value"] == true_optimum(Bag())


def test_infeasible_is_no_proof_while_a_point_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    liar = Liar(monkeypatch, always=True, status=STATES.kInfeasible)
    result = ts.solve(Bag(), "milp", start={"taken": [True] + [False] * 7})
    assert liar.lies > 1
    assert result.feasible
    assert result.certificate.kind == "none"
    assert not result.certificate.infeasible
    assert "a point is known" in result.certificate.statement


@pytest.mark.parametrize("always", [True, False])
def test_a_bound_that_a_known_point_beats_is_withdrawn(monkeypatch: pytest.MonkeyPatch, always: bool) -> None:
    Liar(monkeypatch, always=always, bound=0.5)  # the answer itself beats it
    result = ts.solve(Bag(), "milp")
    assert result.metrics["value"] == true_optimum(Bag())
    assert result.certificate.kind == ("none" if always else "proven")


def test_a_front_is_not_complete_because_a_solve_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    goal = ts.Goal(maximize=("value", "comfort"))
    true = highspy.Highs.getModelStatus
    asked = []

    def told(solver: Any) -> Any:
        asked.append(solver)
        return STATES.kSolveError if len(asked) > 5 else true(solver)

    monkeypatch.setattr(highspy.Highs, "getModelStatus", told)
    result = ts.solve(Bag(), "milp", goal)
    assert result.certificate.kind == "none"
    assert "HiGHS ended with" in result.certificate.statement


def test_no_solver_proves_infeasible_what_the_run_has_met() -> None:
    class Wrong(OneShot):
        name = "wrong"

        def solve(self, run: Run) -> Certificate:
            run.score(run.problem.space.batch({"taken": [True] + [False] * 7}))
            return Certificate("proven", statement="no point meets the limits", infeasible=True)

    result = ts.solve(Bag(), Wrong())
    assert result.feasible
    assert not result.certificate.infeasible
    assert result.certificate.kind == "none"
    assert result.stop_reason != "infeasible"


# --- models that are badly scaled ------------------------------------------------------------------------
class Scales(ts.Problem):
    """Items whose costs and sizes differ by many orders; an item may need another, by a large constant."""

    sizes: tuple[float, ...] = (1.0,) * 6
    costs: tuple[float, ...] = (1.0,) * 6
    most: float = 1e6
    room: float = 1.0
    floor: float = 0.0

    taken = ts.Bool(shape=6)

    cost = ts.Metric("1", "min")
    size = ts.Metric("1", at_most="room", at_least="floor")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"cost": x.taken @ np.array(self.costs), "size": x.taken @ np.array(self.sizes)}

    def milp_view(self, given: Mapping[str, Any] | None = None) -> ts.MilpView:
        import pyomo.environ as pyo

        model = pyo.ConcreteModel()
        model.taken = pyo.Var(range(6), domain=pyo.Binary)
        model.used = pyo.Var(domain=pyo.NonNegativeReals, bounds=(0, self.most))
        model.link = pyo.Constraint(expr=model.used <= self.most * sum(model.taken[i] for i in range(6)))

        def encode(point: Mapping[str, Any]) -> None:
            for i, taken in enumerate(point["taken"]):
                model.taken[i] = int(taken)
            model.used = 0.0

        def decode() -> dict[str, Any]:
            return {"taken": [round(pyo.value(model.taken[i])) == 1 for i in range(6)]}

        metrics = {
            "cost": pyo.quicksum(self.costs[i] * model.taken[i] for i in range(6)),
            "size": pyo.quicksum(self.sizes[i] * model.taken[i] for i in range(6)),
        }
        return ts.MilpView(model, metrics, decode, encode)


@pytest.mark.parametrize("seed", range(40))
def test_no_claim_is_false_however_badly_a_model_is_scaled(seed: int) -> None:
    """Of few rows, so that the solver is not told the answer by random points."""
    rng = np.random.default_rng([7, seed])
    sizes = tuple(rng.uniform(1, 10, 6) * 10.0 ** rng.integers(-6, 10, 6))
    costs = tuple(rng.uniform(1, 10, 6) * 10.0 ** rng.integers(-9, 7, 6))
    room = rng.uniform(0.05, 1.2) * sum(sizes)
    floor = rng.uniform(0, 1) * room
    problem = Scales(sizes=sizes, costs=costs, most=10.0 ** rng.integers(0, 10), room=room, floor=floor)
    _, scores = every_point(problem)
    feasible = problem.default_goal.violation(scores.metrics) <= 0
    result = ts.solve(problem, "milp", budget=ts.Budget(evaluations=7))
    assert result.feasible == feasible.any()
    assert result.certificate.infeasible == (not feasible.any())
    if feasible.any():
        least = scores.metrics["cost"][feasible].min()
        assert result.certificate.bound is None or result.certificate.bound <= least * (1 + 1e-6)
        if result.certificate.kind == "proven":
            assert result.metrics["cost"] == pytest.approx(least, rel=1e-5)
