"""What the relaxation of a MILP view says a limit is worth: its dual, a local hint."""

from __future__ import annotations

import numpy as np

from ..errors import TradespaceError
from ..problems.goal import Limit, ResolvedGoal
from ..problems.problem import Problem
from .base import Budget
from .linear import Constraint, Row, minimize
from .milp import Milp

LONGEST = 30.0


def prices(problem: Problem, goal: ResolvedGoal) -> dict[Limit, float] | None:
    """Change of the (single) objective for one more unit of each limit's bound, by the dual of the view
    without integrality; None where no view covers the goal or the relaxation has no answer.

    Exact for the relaxation and in the neighbourhood of the bound only; the true worth is a re-solve.
    """
    solver = Milp()
    try:
        if not goal.single or solver.accepts(problem, goal, Budget()) is not None:
            return None
    except TradespaceError:
        return None
    linear, objective = solver._view.linear, goal.objectives[0]
    limits = [limit for limit in goal.limits if np.isfinite(limit.bound)]
    rows = [linear.metrics[limit.metric] for limit in limits]
    constraints = [
        Constraint(row, upper=limit.bound) if limit.sense == "<=" else Constraint(row, lower=limit.bound)
        for row, limit in zip(rows, limits, strict=True)
    ]
    row = linear.metrics[objective.metric]
    signed = Row(objective.sign * row.coefficients, objective.sign * row.constant)
    outcome = minimize(linear, signed, constraints, gap=0.0, seconds=LONGEST, relaxed=True)
    if len(outcome.prices) != len(limits):
        return None
    return {limit: objective.sign * price for limit, price in zip(limits, outcome.prices, strict=True)}
