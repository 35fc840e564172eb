"""What a real module's plan does, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ... import units
from .actions import RETAIN
from .report import runs

if TYPE_CHECKING:
    from .module import AdaccModule


def summary(problem: AdaccModule, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a kind of tensor, then the total; numbers in the unit that the heading names.

    Tensors that the same operator makes in the same place of repeated blocks share a row. treatment:
    which blocks do what, codecs by name.
    """
    graph = problem.step
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    labels: dict[tuple[Any, ...], list[str]] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for t, label in zip(graph.saved, map(str, point["action"]), strict=True):
        found = t.treatment(label) or t.treatment(RETAIN)
        assert found is not None
        part = (t.producer, t.size, t.content, t.block < 0)
        count = seen.get((t.block, *part), 0)
        seen[t.block, *part] = count + 1
        key = (*part, count)
        row = rows.setdefault(
            key,
            {
                "tensor": t.name,
                "MiB": t.size / units.MiB,
                "stored MiB": 0.0,
                "freed MiB": 0.0,
                "time ms": 0.0,
                "error": 0.0,
            },
        )
        row["stored MiB"] += found.stored / units.MiB
        row["freed MiB"] += (t.size - found.stored) / units.MiB
        row["time ms"] += 1e3 * found.seconds
        row["error"] += found.error / graph.blocks
        labels.setdefault(key, []).append(found.codec or found.label)
    for key, row in rows.items():
        row["treatment"] = runs(labels[key]) if len(labels[key]) > 1 else labels[key][0]
    listed = list(rows.values())
    total = {
        name: sum(row[name] for row in listed) for name in listed[0] if name not in {"tensor", "treatment"}
    }
    return [*listed, {"tensor": "total", **total, "treatment": f"{len(graph.saved)} tensors"}]
