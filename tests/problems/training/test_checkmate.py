"""The closure model against Checkmate's exact one: R, S, FREE and U a stage and tensor (Jain 2020, section
4)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from tradespace.problems.training.adacc import Adacc
from tradespace.problems.training.counts import PlanCounts
from tradespace.problems.training.explain import least

pytestmark = pytest.mark.filterwarnings("ignore::tradespace.costmodels.OutsideCalibration")


def graph(problem: Adacc) -> list[tuple[float, float, list[int]]]:
    """Nodes (bytes, seconds, parents): the forward pass, then one backward node a block.

    A backward node reads the block's saved tensors and the gradient before it; gradients are among the
    fixed bytes that the closure model adds too, so they have no size here. A block's input is made by the
    block before at the cost of its whole forward; statistics are left out, which only helps this model.
    """
    nodes: list[tuple[float, float, list[int]]] = []
    backward: list[list[int]] = []
    tensors = [t for t in problem.step.block.tensors if t.content != "statistics"]
    for block in range(problem.block_count):
        before = {t.name: len(nodes) - len(tensors) + k for k, t in enumerate(tensors)}
        place: dict[str, int] = {}
        for t in tensors:
            parents = [place[p] for p in t.parents]
            seconds = t.seconds
            if t.name == "input":
                parents = [before["gelu"], before["middle"]] if block else []
                seconds = float(problem.step.block.forward.time)
            place[t.name] = len(nodes)
            nodes.append((t.size, seconds, parents))
        backward.append([place[t.name] for t in tensors if t.needed])
    for reads in reversed(backward):
        nodes.append(
            (
                0.0,
                0.0,
                [*reads, *([len(nodes) - 1] if len(nodes) > len(tensors) * problem.block_count else [])],
            )
        )
    return nodes


def checkmate(nodes: list[tuple[float, float, list[int]]], budget: float) -> float | None:
    """Least seconds of recomputing in an exact rematerialisation schedule; None where none fits."""
    n, size, seconds = len(nodes), np.array([s for s, _, _ in nodes]), np.array([c for _, c, _ in nodes])
    unit = size.max()
    pairs = [(t, i) for t in range(n) for i in range(t + 1)]
    run = {key: k for k, key in enumerate(pairs)}
    save = {(t, i): len(run) + k for k, (t, i) in enumerate((t, i) for t in range(1, n) for i in range(t))}
    edges = [(p, i) for i in range(n) for p in nodes[i][2]] + [(i, i) for i in range(n)]
    free = {}
    for t in range(n):
        for p, i in edges:
            if i <= t:
                free[t, p, i] = len(run) + len(save) + len(free)
    used = {key: len(run) + len(save) + len(free) + k for k, key in enumerate(pairs)}
    width = len(run) + len(save) + len(free) + len(used)
    rows: list[tuple[dict[int, float], float, float]] = []
    children = {p: [i for q, i in edges if q == p and i != p] for p in range(n)}
    for t in range(n):
        rows.append(({run[t, t]: 1.0}, 1.0, 1.0))
        for i in range(t + 1):
            for p in nodes[i][2]:
                rows.append(
                    ({run[t, i]: 1.0, run[t, p]: -1.0, **({save[t, p]: -1.0} if p < t else {})}, -np.inf, 0.0)
                )
            if i < t and t + 1 < n:
                rows.append(({save[t + 1, i]: 1.0, save[t, i]: -1.0, run[t, i]: -1.0}, -np.inf, 0.0))
        if t + 1 < n:
            rows.append(({save[t + 1, t]: 1.0, run[t, t]: -1.0}, -np.inf, 0.0))
        for p, i in [(p, i) for p, i in edges if i <= t]:
            late = [run[t, j] for j in children[p] if i < j <= t]
            kept = [save[t + 1, p]] if (t + 1, p) in save else []
            key = free[t, p, i]
            # freed only where it ran (or its reader did), is not kept, and no later reader runs: linearised
            rows.append(({key: 1.0, run[t, i]: -1.0}, -np.inf, 0.0))
            for k in [*late, *kept]:
                rows.append(({key: 1.0, k: 1.0}, -np.inf, 1.0))
        for i in range(t + 1):
            row = {used[t, i]: 1.0, run[t, i]: -size[i] / unit}
            if i == 0:
                for j in range(t):
                    row[save[t, j]] = row.get(save[t, j], 0.0) - size[j] / unit
            else:
                row[used[t, i - 1]] = -1.0
                for p, j in edges:
                    if j == i - 1:
                        row[free[t, p, j]] = row.get(free[t, p, j], 0.0) + size[p] / unit
            rows.append((row, 0.0, 0.0))
    top = np.ones(width)
    top[[*used.values()]] = budget / unit
    whole = np.ones(width)
    whole[[*used.values()]] = 0
    cost = np.zeros(width)
    for (_, i), k in run.items():
        cost[k] = seconds[i] / seconds.sum()
    lines = [(r, k, v) for r, (row, _, _) in enumerate(rows) for k, v in row.items()]
    r, k, v = (np.array(c) for c in zip(*lines, strict=True))
    limits = LinearConstraint(
        csr_array((v, (r, k)), shape=(len(rows), width)),
        [low for _, low, _ in rows],
        [high for _, _, high in rows],
    )
    found = milp(
        cost,
        constraints=limits,
        integrality=whole,
        bounds=Bounds(0, top),
        options={"time_limit": 20, "mip_rel_gap": 1e-4},
    )
    return None if found.x is None else float((found.mip_dual_bound - 1.0) * seconds.sum())


@pytest.mark.parametrize("share", [0.85, 0.65])
def test_closure_costs_what_the_exact_schedule_of_two_blocks_does(share: float) -> None:
    problem = Adacc(model="gpt2", batch=4, sequence=256, layers=2, dropout=False, vocabulary=64)
    step, nodes = problem.step, graph(problem)
    statistics = sum(t.size for t in step.block.tensors if t.content == "statistics")
    activations = 2 * (step.block.whole - statistics)
    exact = checkmate(nodes, share * activations)
    fixed = step.static + step.embedding + max(step.block.gradients, step.head) + 2 * statistics
    ours = least(PlanCounts(step), "step_time", {"peak": fixed + share * activations, "error": 0.0})
    assert exact is not None
    assert ours is not None
    overhead = ours["step_time"] - step.base_seconds
    assert exact * (1 - 1e-6) <= overhead <= exact * (1 + 1e-6)
