"""The MILP of static placement: one binary an instance and node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyomo.environ as pyo

from ...views import MilpView

if TYPE_CHECKING:
    from .placement import LlmMeshPlacement


def assignment_view(problem: LlmMeshPlacement) -> MilpView:
    """x[i, n] for instances that node n may hold, y[n] for nodes in use, in order within a kind.

    A node is in use only with an instance on it, so that price and counts are the referee's.
    """
    instances, kind_of, room = problem.instances, problem.kind_of, problem.capacities
    items, nodes = range(problem.item_count), range(problem.node_count)
    allowed = [
        (i, n) for i in items for n in nodes
        if (instances.demand[kind_of[n], i] <= room[kind_of[n]] + 1e-12).all()
    ]  # fmt: skip
    model = pyo.ConcreteModel()
    model.x = pyo.Var(allowed, domain=pyo.Binary)
    model.y = pyo.Var(nodes, domain=pyo.Binary)
    of_item: dict[int, list[Any]] = {i: [] for i in items}
    of_node: dict[int, list[int]] = {n: [] for n in nodes}
    for i, n in allowed:
        of_item[i].append(model.x[i, n])
        of_node[n].append(i)
    model.rows = pyo.ConstraintList()
    for i in items:
        if of_item[i]:
            model.rows.add(pyo.quicksum(of_item[i]) <= 1)
    for n in nodes:
        held = of_node[n]
        if not held:
            model.y[n].fix(0)
            continue
        for d in range(room.shape[1]):
            demand = pyo.quicksum(float(instances.demand[kind_of[n], i, d]) * model.x[i, n] for i in held)
            model.rows.add(demand <= float(room[kind_of[n], d]) * model.y[n])
        model.rows.add(model.y[n] <= pyo.quicksum(model.x[i, n] for i in held))
        if n and kind_of[n] == kind_of[n - 1]:
            model.rows.add(model.y[n] <= model.y[n - 1])

    def decode() -> dict[str, Any]:
        node = np.zeros(problem.item_count, int)
        for i, n in allowed:
            if pyo.value(model.x[i, n]) > 0.5:
                node[i] = n + 1
        return {"node": node}

    def encode(point: Mapping[str, Any]) -> Mapping[str, Any] | None:
        given = np.asarray(point["node"])
        node = ordered(problem, given)
        for i, n in allowed:
            model.x[i, n] = int(node[i] == n + 1)
        for n in nodes:
            model.y[n] = int((node == n + 1).any())
        return None if np.array_equal(node, given) else {"node": node}

    prices = [k.price for k in problem.kinds]
    gpu = [k.gpu for k in problem.kinds]
    served = pyo.quicksum(model.x[key] for key in allowed)
    metrics = {
        "price": pyo.quicksum(prices[kind_of[n]] * model.y[n] for n in nodes),
        "gpus": pyo.quicksum(model.y[n] for n in nodes if gpu[kind_of[n]]) + 0.0 * served,
        "cpus": pyo.quicksum(model.y[n] for n in nodes if not gpu[kind_of[n]]) + 0.0 * served,
        "load": pyo.quicksum(float(instances.rate[i]) * model.x[i, n] for i, n in allowed),
        "unserved": problem.item_count - served,
        "overload": 0.0 * served,
    }
    return MilpView(model, metrics, decode, encode)


def ordered(problem: LlmMeshPlacement, node: Any) -> Any:
    """The same placement with the used nodes of each kind first."""
    renamed, following = np.zeros_like(node), 1 + np.cumsum([0, *problem.counts[:-1]])
    for n in np.unique(node[node > 0]):
        kind = problem.kind_of[n - 1]
        renamed[node == n] = following[kind]
        following[kind] += 1
    return renamed
