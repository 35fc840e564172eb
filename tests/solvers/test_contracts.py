"""The laws of every solver, solver by solver."""

from __future__ import annotations

from typing import ClassVar

import pytest

import tradespace as ts
from tradespace.solvers.portfolio import choose
from tradespace.solvers.reference import Bag, Bowl, Tree, Valley
from tradespace.solvers.testing import SolverContract


class TestExhaustive(SolverContract):
    solver = "exhaustive"
    evaluations: ClassVar[int] = 1_000


class TestRandom(SolverContract):
    solver = "random"


class TestSobol(SolverContract):
    solver = "sobol"


class TestMilp(SolverContract):
    solver = "milp"
    finite: ClassVar[tuple[ts.Problem, ...]] = (
        Bag(),
        Bag(room=0.0),
        Bag(room=1e6),
        Bag(weights=(3,), values=(5,), comforts=(1,)),
    )
    deterministic: ClassVar[ts.Problem] = Bag()


def test_auto_enumerates_what_it_can() -> None:
    assert ts.solve(Tree()).solver == "exhaustive"
    assert ts.solve(Valley()).certificate.kind == "proven"


class TestMemetic(SolverContract):
    solver = "memetic"
    deterministic: ClassVar[ts.Problem] = Bowl()


def test_memetic_finds_the_optimum_where_a_limit_binds() -> None:
    found = ts.solve(Bowl(), "memetic", budget=ts.Budget(evaluations=1_000))
    # least (s - 1/4)^2 + r^2 with s + r <= 0: s = 1/8, r = -1/8
    assert found.best["whole"] == [3, 7]
    assert found.metrics["depth"] == pytest.approx(2 / 64, rel=1e-5)


def test_auto_takes_memetic_for_one_objective_over_numbers_and_says_why() -> None:
    goal, budget = Bowl().default_goal, ts.Budget(evaluations=1_000)
    assert choose(Bowl(), goal, budget)[0].name == "memetic"
    assert choose(Bowl(), goal, ts.Budget(evaluations=999))[0].name == "tpe"
    chosen, why = choose(ts.problem("mixed"), ts.Goal(("time",)).resolve(ts.problem("mixed")), budget)
    assert chosen.name == "ga"
    assert "memetic: 'action' is no number" in why
