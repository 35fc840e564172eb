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
from .counts import PlanCounts

if TYPE_CHECKING:
    from .adacc import Adacc

Array = npt.NDArray[Any]


def least(counts: PlanCounts, metric: str, limits: Mapping[str, float]) -> dict[str, float] | None:
    """The metrics of the plan that has the least `metric` within upper limits; None where there is none.

    metric: "step_time", "peak" or "error". limits: metric -> most it may be. Exact to 1e-6.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    step, bulk, last = counts.step, counts.bulk, counts.last
    ends = len(last) * counts.tail
    width = len(bulk) + ends + 3  # counts, tail plans, peak, two exposed transfers
    size, unit = float(step.keep_everything), step.base_seconds
    peak, exposed = width - 3, [width - 2, width - 1]

    def row(bulk_costs: Array, last_costs: Array, until: int, scale: float) -> Array:
        values = np.zeros(width)
        values[: len(bulk)] = bulk_costs / scale
        values[len(bulk) : len(bulk) + until * len(last)] = np.tile(last_costs, until) / scale
        return values

    rows, lows, highs = [], [], []

    def add(values: Array, low: float, high: float) -> None:
        rows.append(values)
        lows.append(low)
        highs.append(high)

    ones = np.ones(len(bulk)), np.zeros(len(last))
    add(row(*ones, counts.tail, 1.0), counts.bulk_layers, counts.bulk_layers)
    for k in range(counts.tail):
        one = np.zeros(width)
        start = len(bulk) + k * len(last)
        one[start : start + len(last)] = 1.0
        add(one, 1.0, 1.0)
        moment = row(bulk.stored, last.stored, k + 1, size)
        moment[start : start + len(last)] += last.workspace / size
        moment[peak] = -1.0
        add(moment, -np.inf, -(step.static + step.embedding + step.block.gradients) / size)
    moment = row(bulk.stored, last.stored, counts.tail, size)
    moment[peak] = -1.0
    add(moment, -np.inf, -(step.static + step.embedding + step.head) / size)
    for column, window in zip(exposed, step.windows, strict=True):
        hiding = row(bulk.transfer, last.transfer, counts.tail, unit)
        hiding[column] = -1.0
        add(hiding, -np.inf, window / unit)
    time = row(bulk.seconds, last.seconds, counts.tail, unit)
    time[exposed] = 1.0
    alone = np.zeros(width)
    alone[peak] = 1.0
    error = row(bulk.error, last.error, counts.tail, step.layers)
    cost = {"step_time": time, "peak": alone, "error": error}
    scale = {"step_time": unit, "peak": size, "error": 1.0}
    fixed = {"step_time": 1.0, "peak": 0.0, "error": 0.0}
    for name, bound in limits.items():
        add(cost[name], -np.inf, bound / scale[name] - fixed[name])
    whole = np.concatenate([np.ones(len(bulk) + ends), np.zeros(3)])
    top = np.concatenate([np.full(len(bulk), counts.bulk_layers), np.ones(ends), np.full(3, np.inf)])
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
    counts = PlanCounts.of(step)
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
