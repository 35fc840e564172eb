"""Plans of a real module without a driver: the fastest within limits, the least of a metric, many budgets.

The programme of `module_milp` as matrices for HiGHS, for use inside a training run and in sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import units
from ..goal import ResolvedGoal
from .actions import RECOMPUTE, RETAIN
from .graph import Graph
from .liveness import Liveness

if TYPE_CHECKING:
    from .module import AdaccModule

Array = npt.NDArray[Any]
METRICS = ("step_time", "peak", "error")


@dataclass(frozen=True)
class Answer:
    """A plan and its metrics. gap: to the bound of what was minimised. digest: of the module it is for."""

    actions: tuple[str, ...]
    step_time: float
    peak: float
    error: float
    gap: float = 0.0
    digest: str = ""


def score(live: Liveness, actions: Sequence[str], gap: float = 0.0) -> Answer:
    """The metrics of a plan."""
    graph = live.graph
    choice = graph.choice(live.labels, list(actions))
    each = np.arange(len(choice))
    return Answer(
        tuple(live.labels[j] for j in choice),
        graph.base_seconds + float(live.costs("seconds")[each, choice].sum()),
        float(live.live(choice[None]).max()),
        float(live.error(choice[None])[0]),
        gap,
        graph.digest,
    )


def least(
    live: Liveness, metric: str, limits: Mapping[str, float], *, gap: float = 1e-4, seconds: float = 10.0,
    start: Sequence[str] | None = None,
) -> Answer | None:  # fmt: skip
    """The plan with the least of a metric within upper limits on others; None where there is none.

    start: a plan to begin from, used where it is within the limits.
    """
    graph, count = live.graph, len(live.labels)
    retain, drop = live.labels.index(RETAIN), live.labels.index(RECOMPUTE)
    tensors, early = len(graph.saved), len(live.early)
    inherited = live.costs("inherited")
    coded = [(i, j, level) for i in range(tensors) for j in range(count) for level in (0, 1)]
    coded = [cell for cell in coded if live.available[cell[:2]] and inherited[cell]]
    taken = tensors * count
    heirs = taken + early
    width = heirs + len(coded) + 1
    size = float(live.live(np.full((1, tensors), retain)).max())
    rows: list[dict[int, float]] = []
    highs: list[float] = []

    def add(row: dict[int, float], high: float) -> None:
        rows.append(row)
        highs.append(high)

    number = {pair: k for k, pair in enumerate(live.early)}
    for k, (i, u) in enumerate(live.early):
        own = taken + k
        if k and live.early[k - 1][0] == i:
            add({own - 1: 1.0, own: -1.0}, 0.0)
        for c in live.children[i]:
            child, kept = c * count + drop, i * count + retain
            if graph.saved[c].unpacked == u:
                add({child: 1.0, kept: -1.0, own: -1.0}, 0.0)
            elif (c, u) in number and u < graph.saved[c].unpacked:
                add({child: 1.0, taken + number[c, u]: 1.0, kept: -1.0, own: -1.0}, 1.0)
    children, grandchildren = live.heirs
    for k, (i, j, level) in enumerate(coded):
        lines = (
            [(c,) for p, c in children if p == i]
            if level == 0
            else [r[1:] for r in grandchildren if r[0] == i]
        )
        for line in lines:
            drops = {c * count + drop: 1.0 for c in line}
            add({i * count + j: 1.0, **drops, heirs + k: -1.0}, float(len(line)))
    full = np.concatenate([live.chosen, live.asked], axis=0).T / size
    for e, moment in enumerate(full):
        row = {int(k): float(moment[k]) for k in np.flatnonzero(moment)}
        add({**row, width - 1: -1.0}, -float(live.always[e]) / size)
    unit = graph.base_seconds or 1.0
    cost = {
        "step_time": np.concatenate([(live.costs("seconds") / unit).ravel(), np.zeros(width - taken)]),
        "peak": np.eye(1, width, width - 1)[0],
        "error": np.concatenate(
            [
                (live.costs("error") / graph.blocks).ravel(),
                np.zeros(early),
                [inherited[cell] / graph.blocks for cell in coded],
                [0.0],
            ]
        ),
    }
    scale, constant = (
        {"step_time": unit, "peak": size, "error": 1.0},
        {"step_time": 1.0, "peak": 0.0, "error": 0.0},
    )
    for name, bound in limits.items():
        add(
            {int(k): float(cost[name][k]) for k in np.flatnonzero(cost[name])},
            bound / scale[name] - constant[name],
        )
    lows = [-np.inf] * len(rows) + [1.0] * tensors
    for i in range(tensors):
        add({i * count + j: 1.0 for j in range(count)}, 1.0)
    top = np.concatenate([live.available.ravel().astype(float), np.ones(early + len(coded)), [np.inf]])
    first = None
    if start is not None:
        choice = graph.choice(live.labels, list(start))[None]
        cells = np.eye(count)[choice[0]].ravel()
        when = live.inherits(choice)
        inherits = [float(when[level][0, i] and choice[0, i] == j) for i, j, level in coded]
        peak = [live.live(choice).max() / size]
        first = np.concatenate([cells, live.happened(choice)[0], inherits, peak])
    objective = cost[metric] + 1e-7 * (cost["step_time"] + cost["peak"])
    solved = _solve(objective, rows, lows, highs, top, taken, gap, seconds, first)
    if solved is None:
        return None
    x, dual = solved
    choice = x[:taken].reshape(tensors, count).argmax(axis=1)
    answer = score(live, [live.labels[j] for j in choice])
    reached = getattr(answer, metric)
    bound = scale[metric] * (dual + constant[metric])
    return score(live, answer.actions, max(0.0, (reached - bound) / reached) if reached else 0.0)


def _solve(
    cost: Array, rows: Sequence[Mapping[int, float]], lows: Sequence[float], highs: Sequence[float],
    top: Array, binaries: int, gap: float, seconds: float, start: Array | None,
) -> tuple[Array, float] | None:  # fmt: skip
    """The least of a linear cost over columns in [0, top], the first `binaries` of them whole; its bound."""
    import highspy

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(cost), len(rows)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, np.zeros(len(cost)), top
    lp.row_lower_, lp.row_upper_ = np.array(lows), np.array(highs)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    lp.a_matrix_.index_ = np.array([k for row in rows for k in row], np.int32)
    lp.a_matrix_.value_ = np.array([v for row in rows for v in row.values()], float)
    whole, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    lp.integrality_ = [whole] * binaries + [real] * (len(cost) - binaries)
    solver = highspy.Highs()
    options = {"output_flag": False, "threads": 1, "mip_abs_gap": 0.0, "mip_rel_gap": gap}
    for name, value in {**options, "time_limit": seconds}.items():
        solver.setOptionValue(name, value)
    solver.passModel(lp)
    if start is not None:
        solver.setSolution(len(start), np.arange(len(start), dtype=np.int32), start)
    solver.run()
    info = solver.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    return np.array(solver.getSolution().col_value), float(info.mip_dual_bound)


def frontier(
    graph: Graph, labels: tuple[str, ...], budgets: Sequence[float], error_budget: float, *,
    gap: float = 1e-4, seconds: float = 10.0,
) -> list[Answer | None]:  # fmt: skip
    """The fastest plan within each memory budget, in the budgets' order; never slower for more memory.

    Solved from the smallest up; the plan before fits too, and stays where nothing faster is found.
    """
    live = Liveness(graph, labels)
    found: dict[float, Answer | None] = {}
    before: Answer | None = None
    for memory in sorted(set(budgets)):
        limits = {"peak": memory, "error": error_budget}
        answer = least(live, "step_time", limits, gap=gap, seconds=seconds)
        if answer is None or (before is not None and before.step_time <= answer.step_time):
            answer = before
        found[memory] = before = answer
    return [found[memory] for memory in budgets]


def explain(problem: AdaccModule, goal: ResolvedGoal) -> str:
    """A sentence on the limits that cannot be met, with the least that can be; else an empty one."""
    limits = {limit.metric: limit for limit in goal.limits if limit.sense == "<="}
    bounds = {name: limit.bound for name, limit in limits.items()}
    live = problem.liveness
    for name, limit in limits.items():
        alone = least(live, name, {})
        if alone is None or getattr(alone, name) <= limit.bound * (1 + 1e-9):
            continue
        told = f"{limit} leaves no feasible plan for this {problem.step.name}.\n"
        others = {n: b for n, b in bounds.items() if n != name}
        return told + _least_told(problem, name, others, getattr(alone, name))
    if "peak" not in limits:
        return ""
    others = {n: b for n, b in bounds.items() if n != "peak"}
    together = least(live, "peak", others)
    if together is None or together.peak <= bounds["peak"] * (1 + 1e-9):
        return ""
    told = f"{limits['peak']} leaves no feasible plan for this {problem.step.name} within the other limits.\n"
    alone = least(live, "peak", {})
    return told + _least_told(problem, "peak", others, together.peak if alone is None else alone.peak)


def _least_told(problem: AdaccModule, name: str, others: Mapping[str, float], alone: float) -> str:
    """What a metric can be brought to within the other limits, at what step time; alone: without them."""
    live, unit = problem.liveness, problem.metrics[name].unit
    held = least(live, name, others)
    if held is None:
        return f"The least reachable {name} is {units.show(alone, unit, 4)}, and beyond another limit."
    reached = getattr(held, name)
    best = least(live, "step_time", {**others, name: reached * 1.001}) or held
    more = 100 * (best.step_time / problem.step.base_seconds - 1)
    told = f"The least reachable {name} is {units.show(reached, unit, 4)}, at {more:.2g} % more step time"
    if alone < 0.995 * reached:
        told += f"; {units.show(alone, unit, 4)} without the other limits"
    if name == "peak" and not problem.offload:
        moved = least(problem.replace(offload=True).liveness, "peak", others)
        if moved is not None and moved.peak < 0.995 * reached:
            told += f"; {units.show(moved.peak, unit, 4)} with offload"
    return told + "."
