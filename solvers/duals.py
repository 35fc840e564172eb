"""What the relaxation of a MILP view says a limit is worth: its dual, and its value over a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import TradespaceError
from ..problems.goal import Limit, ResolvedGoal
from ..problems.problem import Problem
from .base import Budget
from .highs import minimize
from .linear import Constraint, Row
from .milp import Milp
from .views import CheckedView

LONGEST = 30.0


@dataclass(frozen=True)
class Relaxed:
    """The optimum of a relaxation: the objective, and its change for one more unit of each bound."""

    value: float
    prices: Mapping[Limit, float]


class Relaxation:
    """A problem's MILP view without integrality, with the goal's bounds where one likes.

    Exact for the relaxation only; the true worth of a limit is a re-solve.
    """

    def __init__(self, view: CheckedView, goal: ResolvedGoal) -> None:
        self.linear, self.goal = view.linear, goal

    @classmethod
    def of(cls, problem: Problem, goal: ResolvedGoal) -> Relaxation | None:
        """None where no view covers the goal, or the goal has several objectives."""
        solver, budget = Milp(), Budget()
        try:
            if not goal.single or solver.accepts(problem, goal, budget) is not None:
                return None
        except TradespaceError:
            return None
        return cls(solver.prepare(problem, goal, budget), goal)

    def solve(self, bounds: Mapping[Limit, float] | None = None) -> Relaxed | None:
        """The optimum with some bounds elsewhere; None where there is none, or not in the time given."""
        limits = [limit for limit in self.goal.limits if np.isfinite(limit.bound)]
        constraints = []
        for limit in limits:
            row, bound = self.linear.metrics[limit.metric], (bounds or {}).get(limit, limit.bound)
            upper = limit.sense == "<="
            constraints.append(Constraint(row, upper=bound) if upper else Constraint(row, lower=bound))
        objective = self.goal.objectives[0]
        row = self.linear.metrics[objective.metric]
        signed = Row(objective.sign * row.coefficients, objective.sign * row.constant)
        outcome = minimize(self.linear, signed, constraints, gap=0.0, seconds=LONGEST, relaxed=True)
        if outcome.interrupted:
            raise KeyboardInterrupt
        if len(outcome.prices) != len(limits) or outcome.x is None:
            return None
        prices = [objective.sign * price for price in outcome.prices]
        return Relaxed(row.value(outcome.x), dict(zip(limits, prices, strict=True)))
