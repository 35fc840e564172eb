"""What a real module's plan does, as figures: bytes alive through the step, and each tensor's treatment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import units
from .actions import CODECS, RETAIN
from .graph import GRADIENT
from .report import COLOURS, INK, PACKED, treatment_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .module import AdaccModule

Array = npt.NDArray[Any]


def timeline(problem: AdaccModule, point: Mapping[str, Any]) -> dict[str, Array]:
    """Bytes alive at every event of the step, beside weights and optimiser state.

    stored: what waits for the backward pass or the optimiser, in the form the plan keeps it in. working:
    tensors in use, what is made while they are coded, decoded or computed again, and what codecs keep. What
    is made before autograd asks for it, because a recomputed tensor needs it, counts as working.
    """
    graph, live = problem.step, problem.liveness
    choice = graph.choice(problem.action_labels, list(map(str, point["action"])))
    stored, working = np.zeros(len(graph.other)), graph.other.astype(float)
    working += sum(max(k.kept for k in t.treatments) for t in graph.saved)
    for t, j in zip(graph.saved, choice, strict=True):
        kept = t.treatment(problem.action_labels[j])
        assert kept is not None
        saved = max(t.natural, t.packed + 1)
        working[t.created : saved] += t.size
        working[t.unpacked : t.died] += t.size
        if kept.label == RETAIN:
            stored[saved : t.unpacked] += t.size
        else:
            stored[t.packed : t.unpacked + 1] += kept.stored
            working[t.packed] += kept.making
            working[t.unpacked] += kept.reading
    happened = live.happened(choice[None])[0]
    for k, (i, moment) in enumerate(live.early):
        if happened[k]:
            after = next((u for other, u in live.early[k + 1 : k + 2] if other == i), graph.saved[i].unpacked)
            working[moment:after] += graph.saved[i].size
    return {"stored": stored, "working": working}


def figures(problem: AdaccModule, point: Mapping[str, Any]) -> dict[str, Figure]:
    """name -> figure: the memory timeline, and the plan tensor by block."""
    return {"memory": memory_figure(problem, point), "plan": plan_figure(problem, point)}


def memory_figure(problem: AdaccModule, point: Mapping[str, Any]) -> Figure:
    """Bytes alive over forward and backward against the limit, and without a plan."""
    from matplotlib.figure import Figure

    graph = problem.step
    parts = timeline(problem, point)
    whole = timeline(problem, {"action": [RETAIN] * len(graph.saved)})
    scale = float(
        units.MiB if graph.static + np.sum(list(whole.values()), axis=0).max() < 4 * units.GiB else units.GiB
    )
    unit = "MiB" if scale == units.MiB else "GiB"
    edges = np.arange(len(graph.other) + 1)
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    axes = figure.subplots()
    low = np.zeros(len(graph.other))
    drawn = (
        ("static", np.full(len(low), float(graph.static)), "weights, optimiser"),
        ("stored", parts["stored"], "stored by the plan"),
        ("working", parts["working"], "in use, gradients"),
    )
    for name, values, label in drawn:
        high = low + values / scale
        axes.stairs(high, edges, baseline=low, fill=True, color=INK[name], label=label)
        low = high
    without = (graph.static + whole["stored"] + whole["working"]) / scale
    axes.stairs(without, edges, color="#333333", linewidth=0.9, label="without a plan")
    limit = problem.memory / scale
    height = 1.2 * max(float(without.max()), float(low.max()))
    if limit <= height:
        axes.axhline(limit, color=INK["limit"], linewidth=1.2, linestyle="--")
    text = f"limit {limit:.4g} {unit}, peak {low.max():.4g} {unit}, without a plan {without.max():.4g} {unit}"
    axes.text(0.01, 0.93 * height, text, color=INK["limit"], va="bottom", fontsize=9,
              transform=axes.get_yaxis_transform())  # fmt: skip
    axes.axvline(graph.forward, color="#888888", linewidth=0.6, linestyle=":")
    axes.set_xlim(0, len(low))
    axes.set_ylim(0, height)
    axes.set_xlabel("forward   →   backward (operators, in order)")
    axes.set_xticks([0, graph.forward, len(low)])
    axes.set_ylabel(f"memory ({unit})")
    axes.set_title(f"{graph.name}: bytes alive over a step", loc="left")
    axes.legend(loc="lower center", ncols=4, frameon=True, framealpha=0.9, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def plan_figure(problem: AdaccModule, point: Mapping[str, Any]) -> Figure:
    """What the plan does with each tensor of the repeated blocks (rows) in each block (columns)."""
    graph, shown = problem.step, list(COLOURS)
    rows: dict[tuple[Any, ...], dict[int, int]] = {}
    names: dict[tuple[Any, ...], str] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for t, given in zip(graph.saved, map(str, point["action"]), strict=True):
        label = given if t.treatment(given) is not None else RETAIN
        label = PACKED if t.content == "mask" and label in CODECS else label
        part = (t.path.split(".")[-1] if t.block < 0 else "", t.producer, t.size, t.content, t.block < 0)
        number = seen.get((t.block, *part), 0)
        seen[t.block, *part] = number + 1
        key = (*part, number)
        rows.setdefault(key, {})[max(t.block, 0)] = shown.index(label)
        what = f"gradient of {t.path.rpartition('.')[0].rpartition('.')[2]}" if t.content == GRADIENT else ""
        where = t.path.rpartition(".")[2] if t.block >= 0 and not t.path.rpartition(".")[2].isdigit() else ""
        plain = " ".join(filter(None, (where or (t.path if t.block < 0 else ""), t.producer.strip("_"))))
        names.setdefault(key, f"{(what or plain)[:44]}  {units.show(float(t.size), 'B', 3)}")
    cells = np.full((len(rows), graph.blocks), np.nan)
    for i, row in enumerate(rows.values()):
        for block, position in row.items():
            cells[i, block] = position
    where = "block (a tensor outside the blocks stands in the first column)"
    return treatment_grid(cells, list(names.values()), where, "what happens to each tensor")
