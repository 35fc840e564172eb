"""Score every point of a finite space; the front is exact."""

from __future__ import annotations

from typing import ClassVar

from .. import units
from ..errors import SpaceError
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from .base import Budget, Certificate, OneShot, Run

CHUNK = {"fast": 16_384, "slow": 4}


class Exhaustive(OneShot):
    """Score every point of a finite space; the front is exact."""

    name: ClassVar[str] = "exhaustive"

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses a space that is not finite, larger than the budget, or of permutations."""
        size = problem.space.size
        if size is None:
            return "the space is not finite"
        if budget.evaluations is not None and size > budget.evaluations:
            return f"{units.count(size)} points exceed the budget of {budget.evaluations:,} evaluations"
        if size >= 2**63:
            return f"{units.count(size)} points cannot be enumerated"
        try:
            problem.space.enumerate(CHUNK[problem.cost])
        except SpaceError as error:
            return str(error)
        return None

    def solve(self, run: Run) -> Certificate:
        """Sweep the enumeration."""
        run.sweep(run.problem.space.enumerate(CHUNK[run.problem.cost]))
        return Certificate.proven(f"all {run.problem.space.size:,} points scored")
