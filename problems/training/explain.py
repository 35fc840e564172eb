"""Why no plan meets a goal: the least value each limit could take, and what it costs.

Solves the plan-count programme (see `counts`) once a question, each in well under a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import units
from ..goal import Limit, ResolvedGoal
from .counts import IN_BULK, PlanCounts

if TYPE_CHECKING:
    from .adacc import Adacc

Array = npt.NDArray[Any]


def least(counts: PlanCounts, metric: str, limits: Mapping[str, float]) -> dict[str, float] | None:
    """The metrics of the plan that has the least `metric` within upper limits; None where there is none.

    metric: "step_time", "peak" or "error". limits: metric -> most it may be. Exact to 1e-6.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    step, columns = counts.step, counts.columns
    width = len(columns) + 3  # counts, peak, two exposed transfers
    size, unit = float(step.keep_everything), step.base_seconds
    peak, exposed = width - 3, [width - 2, width - 1]
    rows, lows, highs = [], [], []

    def total(cost: str, scale: float, until: int = counts.tail, first: int = IN_BULK) -> Array:
        """A cost over the places from `first` to before `until`, divided by `scale`."""
        inside = [getattr(v, cost) / scale if first <= v.place < until else 0.0 for v in columns]
        return np.array([*inside, 0.0, 0.0, 0.0])

    def add(values: Array, low: float, high: float, also: int | None = None) -> None:
        """A row; `also`: a column that it must not exceed."""
        if also is not None:
            values[also] -= 1.0
        rows.append(values)
        lows.append(low)
        highs.append(high)

    for place, part in counts.plans:
        own = [float((v.place, v.part) == (place, part)) for v in columns]
        blocks = counts.blocks_at(place)
        add(np.array([*own, 0.0, 0.0, 0.0]), blocks, blocks)
    anchors, fixed_bytes = step.block.anchors, step.static + step.embedding
    for k in range(counts.tail):
        held = total("stored", size, k + 1) + total("workspace", size, k + 1, k)
        always = fixed_bytes + (counts.bulk_layers + k + 1) * anchors + step.block.gradients
        add(held, -np.inf, -always / size, peak)
    add(total("stored", size), -np.inf, -(fixed_bytes + step.layers * anchors + step.head) / size, peak)
    for column, window in zip(exposed, step.windows, strict=True):
        add(total("transfer", unit), -np.inf, window / unit, column)
    time = total("seconds", unit)
    time[exposed] = 1.0
    alone = np.zeros(width)
    alone[peak] = 1.0
    cost = {"step_time": time, "peak": alone, "error": total("error", step.layers)}
    scale = {"step_time": unit, "peak": size, "error": 1.0}
    fixed = {"step_time": 1.0, "peak": 0.0, "error": 0.0}
    for name, bound in limits.items():
        add(cost[name], -np.inf, bound / scale[name] - fixed[name])
    whole = np.concatenate([np.ones(len(columns)), np.zeros(3)])
    top = np.array([*(v.upper for v in columns), np.inf, np.inf, np.inf])
    found = milp(
        cost[metric] + 1e-9 * (time + alone),
        constraints=LinearConstraint(np.array(rows), lows, highs),
        integrality=whole,
        bounds=Bounds(0.0, top),
        options={"mip_rel_gap": 1e-6, "time_limit": 10.0},
    )
    if found.x is None:
        return None
    return {name: scale[name] * (float(cost[name] @ found.x) + fixed[name]) for name in cost}


def explain(problem: Adacc, goal: ResolvedGoal) -> str:
    """A sentence on the limits that cannot be met, each alone or all together; else an empty one."""
    step = problem.step
    counts = PlanCounts(step)
    limits = {limit.metric: limit for limit in goal.limits if limit.sense == "<="}
    bounds = {name: limit.bound for name, limit in limits.items()}
    where = f"adacc ({problem.shape.name}, {problem.device.name})"
    for name, limit in limits.items():
        best = least(counts, name, {})
        if best is None or best[name] <= limit.bound * (1 + 1e-9):
            continue
        if name != "step_time":  # the fastest plan that reaches it, within the other limits where it can
            at = {name: best[name] * (1 + 1e-7)}
            others = {n: b for n, b in bounds.items() if n != "peak"}
            best = least(counts, "step_time", {**others, **at}) or least(counts, "step_time", at) or best
        shown = units.show(best[name], limit.unit, 3 if name == "peak" else 4)
        return (
            f"{limit} leaves no feasible plan for {where}.\n"
            f"The least reachable {name} is {shown}{_price(name, best, step.base_seconds)}.\n"
            f"Try --limit '{name}<={_rounded_up(best[name], limit)}'."
        )
    reachable = []
    for name, limit in limits.items():
        best = least(counts, name, {n: b for n, b in bounds.items() if n != name})
        if best is not None and best[name] > limit.bound:
            reachable.append(f"{name} can be {_rounded_up(best[name], limit)} at the least")
    if not reachable:
        return ""
    together = " and ".join(str(limit) for limit in limits.values())
    either = ", or ".join(reachable)
    return f"{together} leave no feasible plan for {where}.\nWith the other limits held, {either}."


def _price(name: str, best: Mapping[str, float], base: float) -> str:
    """What reaching it costs in step time, or in memory."""
    if name == "step_time":
        return f", at a peak of {units.show(best['peak'], 'B', 3)}"
    more = 100.0 * (best["step_time"] / base - 1.0)
    return f", at {more:.2g} % more step time" if more > 0.05 else ", at no cost in step time"


def _rounded_up(value: float, limit: Limit) -> str:
    """The value with four digits, never below it, as the command line reads it."""
    if limit.unit == "B" and value >= units.GiB:
        return f"{math.ceil(value / units.GiB * 10) / 10:g}GiB"
    digits = 3 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{math.ceil(value * 10.0**digits) / 10.0**digits:g}" + (limit.unit if limit.unit == "s" else "")
