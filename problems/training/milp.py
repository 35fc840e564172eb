"""Two mixed-integer views of the same plan: by counts of plans, and tensor by tensor.

`count_view` is what solvers get: some sixty integers whatever the number of blocks, exact (see
`counts`). `flat_view` is the textbook formulation, one binary a tensor, block and label; the tests use
it as an oracle. Byte and second rows are divided by their scale, so that tolerances mean something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo

from ..views import MilpView
from .counts import IN_BULK, PlanCounts
from .step import Step

Array = npt.NDArray[Any]
UPPER = ("step_time", "peak", "error")
"""Peak, exposed transfers and closure are epigraphs, and block plans that another beats are left out:
every metric may only be minimised or limited from above."""


def count_view(step: Step) -> MilpView:
    """For each part of a block: how many blocks of the bulk follow each plan, and which the last do."""
    counts = PlanCounts(step)
    columns = counts.columns
    model = pyo.ConcreteModel()
    model.uses = pyo.Var(
        range(len(columns)), domain=pyo.NonNegativeIntegers, bounds=lambda _, i: (0, columns[i].upper)
    )

    def total(cost: str, scale: float = 1.0, until: int = counts.tail, first: int = IN_BULK) -> Any:
        """Sum of a cost over the places from `first` to before `until`, divided by `scale`."""
        terms = [
            getattr(column, cost) / scale * model.uses[i]
            for i, column in enumerate(columns)
            if first <= column.place < until and getattr(column, cost)
        ]
        return pyo.quicksum(terms) if terms else pyo.Expression(expr=0.0)

    model.every_block = pyo.Constraint(
        sorted(counts.plans),
        rule=lambda m, place, part: (
            pyo.quicksum(m.uses[i] for i, v in enumerate(columns) if (v.place, v.part) == (place, part))
            == counts.blocks_at(place)
        ),
    )
    size, anchors = float(step.keep_everything), step.block.anchors
    fixed = step.static + step.embedding
    model.peak = pyo.Var(bounds=(0, None))
    model.moments = pyo.ConstraintList()
    for k in range(counts.tail):
        held = total("stored", size, k + 1) + total("workspace", size, k + 1, k)
        always = fixed + (counts.bulk_layers + k + 1) * anchors + step.block.gradients
        model.moments.add(model.peak >= held + always / size)
    model.moments.add(
        model.peak >= total("stored", size) + (fixed + step.layers * anchors + step.head) / size
    )
    exposed = _exposed(model, step, total("transfer", step.base_seconds))

    def encode(point: Mapping[str, Any]) -> Mapping[str, Any] | None:
        given = counts.positions(point)
        values = counts.values(given)
        for i in model.uses:
            model.uses[i] = int(values[i])
        chosen = counts.choice(values)
        _set_epigraphs(model, step, chosen)
        return None if np.array_equal(chosen, given) else {"action": counts.labels(chosen)}

    def decode() -> dict[str, Any]:
        values = [round(pyo.value(model.uses[i])) for i in model.uses]
        return {"action": counts.labels(counts.choice(values))}

    metrics = {
        "step_time": step.base_seconds + total("seconds") + exposed,
        "peak": size * model.peak,
        "error": total("error", step.layers),
    }
    return MilpView(model, metrics, decode, encode, upper=UPPER)


def flat_view(step: Step) -> MilpView:
    """One binary a tensor, block and label; closure over transients; a row for every moment."""
    table, block = step.table, step.block
    layers, tensors, labels = range(step.layers), range(len(block.saved)), range(len(table.labels))
    transients = [t.name for t in block.tensors if t.role == "transient"]
    model = pyo.ConcreteModel()
    model.take = pyo.Var(layers, tensors, labels, domain=pyo.Binary)
    model.again = pyo.Var(layers, transients, bounds=(0, 1))
    model.one_label = pyo.Constraint(
        layers, tensors, rule=lambda m, l, t: pyo.quicksum(m.take[l, t, j] for j in labels) == 1
    )
    model.closure = pyo.ConstraintList()
    saved = {t.name: i for i, t in enumerate(block.saved)}
    for l in layers:
        for tensor in block.tensors:
            child: Any = None
            if tensor.name in saved:
                child = model.take[l, saved[tensor.name], table.dropped]
            elif tensor.role == "transient":
                child = model.again[l, tensor.name]
            for parent in tensor.parents:
                if parent in transients:
                    model.closure.add(model.again[l, parent] >= child)

    def total(costs: Array, l: int, scale: float = 1.0) -> Any:
        terms = [
            float(costs[t, j] / scale) * model.take[l, t, j] for t in tensors for j in labels if costs[t, j]
        ]
        return pyo.quicksum(terms) if terms else pyo.Expression(expr=0.0)

    producing = {t.name: t.seconds for t in block.tensors}
    recompute = np.zeros((len(tensors), len(labels)))
    recompute[:, table.dropped] = [t.seconds for t in block.saved]
    extra = pyo.quicksum(
        total(table.seconds + recompute, l)
        + pyo.quicksum(producing[n] * model.again[l, n] for n in transients)
        for l in layers
    )
    size = float(step.keep_everything)
    model.peak = pyo.Var(bounds=(0, None))
    model.moments = pyo.ConstraintList()
    before: Any = (step.static + step.embedding) / size
    for l in layers:
        before = before + block.anchors / size + total(table.stored, l, size)
        model.moments.add(model.peak >= before + total(table.workspace, l, size) + block.gradients / size)
    model.moments.add(model.peak >= before + step.head / size)
    exposed = _exposed(model, step, pyo.quicksum(total(table.transfer, l, step.base_seconds) for l in layers))

    def encode(point: Mapping[str, Any]) -> None:
        chosen = PlanCounts(step).positions(point)
        again = block.recomputed(chosen == table.dropped)
        for l in layers:
            for t in tensors:
                for j in labels:
                    model.take[l, t, j] = int(chosen[l, t] == j)
            for i, tensor in enumerate(block.tensors):
                if tensor.role == "transient":
                    model.again[l, tensor.name] = float(again[l, i])
        _set_epigraphs(model, step, chosen)

    def decode() -> dict[str, Any]:
        def label(l: int, t: int) -> str:
            return table.labels[max(labels, key=lambda j: pyo.value(model.take[l, t, j]))]

        return {"action": [[label(l, t) for t in tensors] for l in layers]}

    metrics = {
        "step_time": step.base_seconds + extra + exposed,
        "peak": size * model.peak,
        "error": pyo.quicksum(total(table.error, l, step.layers) for l in layers),
    }
    return MilpView(model, metrics, decode, encode, upper=UPPER)


def _exposed(model: Any, step: Step, moved: Any) -> Any:
    """Seconds of transfers that the passes do not hide; `moved` is in units of the base step time."""
    if not step.table.transfer.any():
        return 0.0
    unit = step.base_seconds
    model.exposed = pyo.Var(range(2), bounds=(0, None))
    model.hiding = pyo.Constraint(range(2), rule=lambda m, i: m.exposed[i] >= moved - step.windows[i] / unit)
    return unit * (model.exposed[0] + model.exposed[1])


def _set_epigraphs(model: Any, step: Step, chosen: Array) -> None:
    """Set peak and exposed transfer to the values that a point has."""
    tensor = np.arange(chosen.shape[1])
    stored = step.block.anchors + step.table.stored[tensor, chosen].sum(axis=1)
    workspace = step.table.workspace[tensor, chosen].sum(axis=1)
    model.peak = float(step.moments(stored[None], workspace[None]).max()) / step.keep_everything
    if step.table.transfer.any():
        moved = step.table.transfer[tensor, chosen].sum()
        for i, window in enumerate(step.windows):
            model.exposed[i] = max(0.0, float(moved - window) / step.base_seconds)
