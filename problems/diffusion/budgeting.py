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
    """Each schedule with all steps raised or lowered alike, to what the goal's limits leave.

    Keeps the shape of a ramp; `mend` keeps whole and empty steps.
    """
    limits = bounds(goal)
    if not limits:
        return tenths
    low = np.zeros(len(tenths), np.int64)
    high = np.full(len(tenths), TENTHS * tenths.shape[1])
    while (low < high).any():
        middle = (low + high + 1) // 2
        found = costs(law, _projected(tenths, middle))
        inside = np.all([found[name] <= bound for name, bound in limits.items()], axis=0)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
    return _projected(tenths, low)


def mend(law: StepLaw, tenths: Tenths, goal: ResolvedGoal) -> Tenths:
    """Each schedule within the goal's limits on tokens and time, by changing few of its steps.

    Steps are taken in an order drawn from the schedule itself. Over a limit, a whole step is emptied and a
    partial one lowered as little as will do. Where quality is all that is asked for, what is left is then
    spent: on steps made whole, and on raising partial ones; an empty step does not become a partial one.
    """
    limits = bounds(goal)
    if not limits:
        return tenths
    made, rows = tenths.copy(), np.arange(len(tenths))
    order = _shuffled(tenths)
    full, steps = float(law.seconds[-1]), tenths.shape[1] + 1
    each = {
        "kept": np.arange(TENTHS + 1) / (TENTHS * steps),
        "latency": law.seconds,
        "time_share": law.seconds / (full * steps),
        "flops": law.flops,
    }
    tables = np.array([each[name] for name in limits])
    slack = np.array(list(limits.values())) * (1 + 1e-12) - tables[:, -1]
    spent = tables[:, made].sum(axis=2)  # (bounds, rows)
    levels = np.arange(TENTHS + 1)

    def change(step: npt.NDArray[np.int64], wanted: npt.NDArray[np.bool_]) -> None:
        """Give each row's step the highest level wanted that fits, if any; else what is the lowest wanted."""
        nonlocal spent
        now = made[rows, step]
        without = spent - tables[:, now]
        fits = (without[:, :, None] + tables[:, None, :] <= slack[:, None, None]).all(axis=0)
        best = np.where(wanted & fits, levels, -1).max(axis=1)
        new = np.where(best >= 0, best, np.where(wanted, levels, TENTHS + 1).min(axis=1))
        made[rows, step] = new
        spent = without + tables[:, new]

    for step in order.T:
        now = made[rows, step][:, None]
        over = (spent > slack[:, None]).any(axis=0)[:, None]
        lower = np.where(now == TENTHS, levels == 0, levels <= now)
        change(step, np.where(over, lower, levels == now))
    if all(objective.metric in QUALITY for objective in goal.objectives):
        for step in order.T[::-1]:
            now = made[rows, step][:, None]
            raised = np.where(now == 0, levels == TENTHS, levels > now)
            change(step, raised | (levels == now))
    return made


def whole_steps(law: StepLaw, steps: int, goal: ResolvedGoal) -> int:
    """Most whole steps, the first included, that the goal's limits leave where the others are empty."""
    limits = bounds(goal)
    rows = np.where(np.arange(steps - 1) < np.arange(steps)[:, None], TENTHS, 0)
    found = costs(law, rows)
    inside = np.all([found[name] <= bound * (1 + 1e-12) for name, bound in limits.items()], axis=0)
    return 1 + int(np.flatnonzero(np.broadcast_to(inside, steps))[-1]) if np.any(inside) else 1


def bounds(goal: ResolvedGoal) -> dict[str, float]:
    """Upper limits on what steps add up to."""
    return {
        limit.metric: limit.bound for limit in goal.limits if limit.sense == "<=" and limit.metric in SUMMED
    }


def _shuffled(tenths: Tenths) -> npt.NDArray[np.int64]:
    """An order of the steps for each row, drawn from the row's own content: (rows, steps - 1)."""
    wide = tenths.astype(np.uint64)
    place = np.arange(1, tenths.shape[1] + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        seed = (wide * place * np.uint64(0x9E3779B97F4A7C15)).sum(axis=1, dtype=np.uint64)
        mixed = (seed[:, None] ^ (place * np.uint64(0xBF58476D1CE4E5B9))) * np.uint64(0x94D049BB133111EB)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(np.argsort(mixed ^ (mixed >> np.uint64(32)), axis=1, kind="stable"))


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
