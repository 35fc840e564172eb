"""The programme of a real module's plan as a MILP view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyomo.environ as pyo

from ..views import MilpView
from .actions import RECOMPUTE, RETAIN

if TYPE_CHECKING:
    from .module import AdaccModule

UPPER = ("peak", "error")


def module_view(problem: AdaccModule) -> MilpView:
    """One binary a tensor and treatment.

    again[k] is whether a tensor has been made again by its k-th early moment u: at least the product of
    "not retained" and "a child is recomputed and asked for by u", and never falling in u. inherits[i, j] is
    whether a tensor is computed again from i while i is coded by j, and another from that. Bytes are in
    units of what keeping everything holds, seconds in units of the step.
    """
    live, graph = problem.liveness, problem.step
    labels = problem.action_labels
    retain, drop = labels.index(RETAIN), labels.index(RECOMPUTE)
    cells = [(i, j) for i in range(len(graph.saved)) for j in range(len(labels)) if live.available[i, j]]
    model = pyo.ConcreteModel()
    model.take = pyo.Var(cells, domain=pyo.Binary)
    model.one = pyo.Constraint(
        range(len(graph.saved)),
        rule=lambda m, i: pyo.quicksum(m.take[i, j] for j in range(len(labels)) if live.available[i, j]) == 1,
    )
    model.again = pyo.Var(range(len(live.early)), bounds=(0, 1))
    model.closure = pyo.ConstraintList()
    number = {pair: k for k, pair in enumerate(live.early)}
    for k, (i, u) in enumerate(live.early):
        if k and live.early[k - 1][0] == i:
            model.closure.add(model.again[k] >= model.again[k - 1])
        for c in live.children[i]:
            if graph.saved[c].unpacked == u:
                model.closure.add(model.again[k] >= model.take[c, drop] - model.take[i, retain])
            elif (c, u) in number and u < graph.saved[c].unpacked:
                asked = model.again[number[c, u]]
                model.closure.add(model.again[k] >= model.take[c, drop] + asked - 1 - model.take[i, retain])
    whole = np.full(len(graph.saved), retain)
    size = float(live.live(whole[None]).max())
    model.peak = pyo.Var(bounds=(0, None))
    model.moments = pyo.ConstraintList()
    chosen, asked = live.chosen / size, live.asked / size
    for e in range(len(live.always)):
        terms = [
            float(chosen[i * len(labels) + j, e]) * model.take[i, j]
            for i, j in cells
            if chosen[i * len(labels) + j, e]
        ]
        terms += [float(asked[k, e]) * model.again[k] for k in range(len(live.early)) if asked[k, e]]
        model.moments.add(model.peak >= pyo.quicksum(terms) + float(live.always[e] / size))
    seconds, error, inherited = live.costs("seconds"), live.costs("error"), live.costs("inherited")
    coded = [(i, j) for i, j in cells if inherited[i, j].any()]
    model.inherits = pyo.Var(coded, (0, 1), bounds=(0, 1))
    model.heirs = pyo.ConstraintList()
    children, grandchildren = live.heirs
    for i, j in coded:
        for c in (c for p, c in children if p == i):
            model.heirs.add(model.inherits[i, j, 0] >= model.take[i, j] + model.take[c, drop] - 1)
        for m, c in ((m, c) for p, m, c in grandchildren if p == i):
            both = model.take[m, drop] + model.take[c, drop]
            model.heirs.add(model.inherits[i, j, 1] >= model.take[i, j] + both - 2)

    def total(costs: Any) -> Any:
        terms = [float(costs[i, j]) * model.take[i, j] for i, j in cells if costs[i, j]]
        return pyo.quicksum(terms) if terms else pyo.Expression(expr=0.0)

    def encode(point: Mapping[str, Any]) -> Mapping[str, Any] | None:
        given = list(map(str, point["action"]))
        choice = graph.choice(labels, given)
        for i, j in cells:
            model.take[i, j] = int(choice[i] == j)
        for k, value in enumerate(live.happened(choice[None])[0]):
            model.again[k] = float(value)
        model.peak = float(live.live(choice[None]).max()) / size
        for level, when in enumerate(live.inherits(choice[None])):
            for i, j in coded:
                model.inherits[i, j, level] = float(when[0, i] and choice[i] == j)
        named = [labels[j] for j in choice]
        return None if named == given else {"action": named}

    def decode() -> dict[str, Any]:
        best = [
            max((pyo.value(model.take[i, j]), -j) for a, j in cells if a == i)
            for i in range(len(graph.saved))
        ]
        return {"action": [labels[-j] for _, j in best]}

    metrics = {
        "step_time": graph.base_seconds + total(seconds),
        "peak": size * model.peak,
        "error": total(error / graph.blocks)
        + pyo.quicksum(
            float(inherited[i, j, level] / graph.blocks) * model.inherits[i, j, level]
            for i, j in coded
            for level in (0, 1)
        ),
    }
    return MilpView(model, metrics, decode, encode, upper=UPPER)
