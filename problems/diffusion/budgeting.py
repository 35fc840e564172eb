"""What both ASTRAEA problems share: schedules brought within a goal's limits, and the knapsack over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import SpaceError
from ..goal import ResolvedGoal
from ..views import MilpView
from .law import TENTHS, StepLaw
from .sensitivities import Sensitivities
from .shares import Tenths, allowance, project

Array = npt.NDArray[np.float64]
QUALITY = frozenset({"psnr", "ssim", "error"})
SUMMED = frozenset({"kept", "latency", "time_share", "flops"})


def check_steps_and_budget(problem: str, steps: int, budget: float) -> None:
    """Raises SpaceError where no schedule has that budget."""
    if steps < 2:
        raise SpaceError(f"parameter 'steps' of {problem} must be at least 2, got {steps}.")
    if not 0 < budget <= 1:
        raise SpaceError(f"parameter 'budget' of {problem} must lie in (0, 1], got {budget:g}.")
    if allowance(budget, steps) < 0:
        raise SpaceError(
            f"parameter 'budget' of {problem} must leave room for the first step, which is always whole: "
            f"at least {1 / steps:.3g} for {steps} steps, got {budget:g}."
        )


def tenths_of(share: Any) -> Tenths:
    """The column of shares as whole tenths."""
    return np.asarray(np.rint(np.asarray(share, float) * TENTHS), np.int64)


def with_first(tenths: Tenths) -> Tenths:
    """All steps, the first whole: (rows, steps - 1) -> (rows, steps)."""
    return np.concatenate([np.full((*tenths.shape[:-1], 1), TENTHS), tenths], axis=-1)


def costs(law: StepLaw, tenths: Tenths) -> dict[str, Array]:
    """kept, latency, flops, cache and time_share of schedules (rows, steps - 1), each (rows,)."""
    steps = with_first(tenths)
    latency = law.total(law.seconds, steps)
    partial = ((steps > 0) & (steps < TENTHS)).any(axis=1)
    return {
        "kept": steps.mean(axis=1) / TENTHS,
        "latency": latency,
        "time_share": latency / law.total(law.seconds, np.full(steps.shape[1], TENTHS)),
        "flops": law.total(law.flops, steps),
        "cache": np.where(partial, law.cache, 0.0),
    }


def fit(law: StepLaw, tenths: Tenths, goal: ResolvedGoal) -> Tenths:
    """Each schedule as near as possible to what it was, within the goal's limits on tokens and time.

    Where quality is all that is asked for, what the limits leave is spent; else only excess is cut.
    """
    bounds: dict[str, float] = {}
    for limit in goal.limits:
        if limit.sense == "<=" and limit.metric in SUMMED:
            bounds[limit.metric] = limit.bound
    if not bounds:
        return tenths
    spend = all(objective.metric in QUALITY for objective in goal.objectives)
    low = np.zeros(len(tenths), np.int64)
    high = np.full(len(tenths), TENTHS * tenths.shape[1]) if spend else tenths.sum(axis=1)
    while (low < high).any():
        middle = (low + high + 1) // 2
        found = costs(law, _projected(tenths, middle))
        inside = np.all([found[name] <= bound for name, bound in bounds.items()], axis=0)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
    return _projected(tenths, low)


def _projected(tenths: Tenths, totals: npt.NDArray[np.int64]) -> Tenths:
    """Each row projected to its own sum."""
    made = np.empty_like(tenths)
    for total in np.unique(totals).tolist():
        rows = totals == total
        made[rows] = project(tenths[rows].astype(float), total)
    return made


def knapsack(law: StepLaw, table: Sensitivities, exact: bool) -> MilpView:
    """One binary a step and tenth: the multiple-choice knapsack, costs and errors added up over the steps.

    exact: whether the referee adds errors up as well.
    """
    import pyomo.environ as pyo

    error = table.error
    later, levels = range(len(error)), range(TENTHS + 1)
    model = pyo.ConcreteModel()
    model.take = pyo.Var(later, levels, domain=pyo.Binary)
    model.one_level = pyo.Constraint(
        later, rule=lambda m, step: pyo.quicksum(m.take[step, level] for level in levels) == 1
    )

    def total(table: Array, first: float = 0.0) -> Any:
        """Sum over the steps of a table (11,) or (steps - 1, 11), and what the first step adds."""
        wide = np.broadcast_to(table, (len(error), TENTHS + 1))
        return first + pyo.quicksum(
            float(wide[step, level]) * model.take[step, level] for step in later for level in levels
        )

    def encode(point: Mapping[str, Any]) -> None:
        for step, level in enumerate(tenths_of(point["share"])):
            for other in levels:
                model.take[step, other] = int(other == level)

    def decode() -> dict[str, Any]:
        chosen = [max(levels, key=lambda level: pyo.value(model.take[step, level])) for step in later]
        return {"share": [level / TENTHS for level in chosen]}

    steps = len(error) + 1
    full = law.seconds[-1]
    metrics = {
        "error": total(error, table.constant),
        "kept": total(np.arange(TENTHS + 1) / (TENTHS * steps), 1 / steps),
        "latency": total(law.seconds, float(full)),
        "time_share": total(law.seconds / (full * steps), 1 / steps),
        "flops": total(law.flops, float(law.flops[-1])),
    }
    return MilpView(model, metrics, decode, encode, exact=exact)


def solve_knapsack(error: Array, total: int, weights: npt.NDArray[np.int64] | None = None) -> Tenths:
    """The tenths of least added error whose weight is at most `total`: dynamic programming, exact.

    error: (steps - 1, 11). weights: (11,) whole weight of each level; the tenths themselves where None.
    """
    steps, levels = error.shape
    weights = np.arange(levels) if weights is None else weights
    best = np.zeros(total + 1)
    taken = np.zeros((steps, total + 1), np.int64)
    for step in range(steps):
        options = np.full((levels, total + 1), np.inf)
        for level, weight in enumerate(weights.tolist()):
            if weight <= total:
                options[level, weight:] = best[: total + 1 - weight] + error[step, level]
        taken[step] = options.argmin(axis=0)
        best = options.min(axis=0)
    made, left = np.zeros(steps, np.int64), total
    for step in range(steps - 1, -1, -1):
        made[step] = taken[step, left]
        left -= int(weights[made[step]])
    return made


def timed_knapsack(law: StepLaw, error: Array, share: float) -> Tenths:
    """The tenths of least added error within a share of the full run's time, counted in 400 units of it."""
    steps = len(error) + 1
    unit = share * float(law.seconds[-1]) * steps / 400
    total = int(np.floor((share * steps - 1) * float(law.seconds[-1]) / unit + 1e-9))
    return solve_knapsack(error, max(total, 0), np.ceil(law.seconds / unit - 1e-9).astype(np.int64))


def as_points(rows: Sequence[Tenths]) -> list[dict[str, Any]]:
    """Schedules as points."""
    return [{"share": [int(value) / TENTHS for value in row]} for row in rows]
