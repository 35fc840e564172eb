"""The laws of every solver, solver by solver."""

from __future__ import annotations

from typing import ClassVar

import tradespace as ts
from tests.solvers.contract import SolverContract
from tests.solvers.reference_problems import Bag, Tree, Valley


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
