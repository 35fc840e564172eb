"""Preparing is pure, and solvers build each view of a problem once between them."""

from __future__ import annotations

from typing import Any

import pytest

import tradespace as ts
from tradespace.solvers.duals import Relaxation
from tradespace.solvers.portfolio import make, select

VIEWED = {"milp": "knapsack", "packing": "server-packing", "gittins": "mg1"}
METHODS = {"milp": "milp_view", "packing": "packing_view", "gittins": "jobs_view"}


@pytest.mark.parametrize("solver", VIEWED)
def test_a_view_is_built_once_whoever_asks(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, built = ts.problem(VIEWED[solver]), []
    original = getattr(type(problem), METHODS[solver])

    def counted(self: ts.Problem, given: Any = None) -> Any:
        built.append(self)
        return original(self, given)

    monkeypatch.setattr(type(problem), METHODS[solver], counted)
    budget = ts.Budget(evaluations=50)
    for asked in (solver, "nested"):
        make(asked).accepts(problem, problem.default_goal, budget)
    ts.solve(problem, solver, budget=budget)
    Relaxation.of(problem, problem.default_goal)
    select("auto", problem, problem.default_goal, budget)
    assert sum(each is problem for each in built) == 1


@pytest.mark.parametrize("solver", [*VIEWED, "nested"])
def test_accepting_another_problem_in_between_changes_nothing(solver: str) -> None:
    name = VIEWED.get(solver, "two-level")
    problem, other = ts.problem(name), ts.problem(name)
    budget = ts.Budget(evaluations=50 if solver != "nested" else 20_000)
    asked = make(solver)
    for each in (problem, other, ts.problem("matmul-tile")):
        asked.accepts(each, each.default_goal, budget)
    assert not vars(asked)
    mixed, alone = ts.solve(problem, asked, budget=budget), ts.solve(other, solver, budget=budget)
    assert (mixed.best, mixed.metrics, mixed.certificate) == (alone.best, alone.metrics, alone.certificate)
