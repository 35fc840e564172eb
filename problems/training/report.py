"""What a plan does, as a table and as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import units
from .actions import CODECS, RETAIN
from .block import Tensor
from .plans import Planner

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .adacc import Adacc

Array = npt.NDArray[Any]

PACKED = "packed"
COLOURS = {
    "retain": "#2f6f9f",
    "packed": "#8f7fb8",
    "int8": "#69b3a2",
    "int4": "#b5dfa8",
    "offload": "#f2c14e",
    "recompute": "#e4e4e4",
}
INK = {"static": "#c9ced6", "stored": "#2f6f9f", "working": "#e08e45", "limit": "#b3261e"}


def positions(problem: Adacc, point: Mapping[str, Any]) -> Array:
    """A point's choices as positions of labels, (layers, tensors)."""
    return np.asarray(problem.space.batch(point).action.position[0])


def treatment(tensor: Tensor, label: str) -> str:
    """What a label means for a tensor: either codec packs a mask into bits."""
    return PACKED if tensor.content == "mask" and label in CODECS else label


def summary(problem: Adacc, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a saved tensor, then the total; numbers in the unit that the heading names.

    tensor: its name. MiB: its size in one block. One column a treatment: blocks that have it. stored:
    over all blocks, from forward to backward. freed: what retaining would store more. time: codecs and
    recomputing, a transient counted with the last tensor that asks for it. error: its share of the
    plan's. blocks: which have which treatment.
    """
    choice, step = positions(problem, point), problem.step
    table, saved = step.table, step.block.saved
    seconds = _seconds(problem, choice)
    names = [label for label in (RETAIN, PACKED, *table.labels[1:]) if label != PACKED or problem.masks]
    rows: list[dict[str, Any]] = []
    for i, tensor in enumerate(saved):
        column = choice[:, i]
        treatments = [treatment(tensor, table.labels[j]) for j in column]
        stored = float(table.stored[i, column].sum())
        rows.append(
            {
                "tensor": tensor.name,
                "MiB": tensor.size / units.MiB,
                **{name: treatments.count(name) for name in names},
                "stored MiB": stored / units.MiB,
                "freed MiB": (step.layers * tensor.size - stored) / units.MiB,
                "time ms": 1e3 * float(seconds[:, i].sum()),
                "error": float(table.error[i, column].sum() / step.layers),
                "blocks": runs(treatments),
            }
        )
    total = {name: sum(row[name] for row in rows) for name in rows[0] if name not in {"tensor", "blocks"}}
    return [*rows, {"tensor": "total", **total, "blocks": f"{step.layers} blocks"}]


def _seconds(problem: Adacc, choice: Array) -> Array:
    """Seconds each tensor's choice costs in each block, (layers, tensors); the sum is the overhead."""
    step = problem.step
    planner, saved = Planner(step.block, step.table), len(step.block.saved)
    whole = planner.whole
    empty = np.zeros_like(choice)
    costs = np.zeros(choice.shape)
    before = planner.price(empty, whole).seconds
    for i in reversed(range(saved)):
        empty[:, i] = choice[:, i]
        after = planner.price(empty, whole).seconds
        costs[:, i] = after - before
        before = after
    return costs


def runs(labels: Sequence[str]) -> str:
    """Which blocks have which label, in ranges.

    >>> runs(["retain", "retain", "int4", "retain"])
    'retain 1-2 4, int4 3'
    """
    ranges: dict[str, list[str]] = {}
    start = 0
    for i in range(1, len(labels) + 1):
        if i == len(labels) or labels[i] != labels[start]:
            span = str(start + 1) if i == start + 1 else f"{start + 1}-{i}"
            ranges.setdefault(labels[start], []).append(span)
            start = i
    return ", ".join(f"{label} {' '.join(spans)}" for label, spans in ranges.items())


def timeline(problem: Adacc, point: Mapping[str, Any]) -> dict[str, Array]:
    """Bytes alive over a step at 2 layers + 1 moments: forward of each block, the loss, backward.

    static: weights, gradients, optimiser state. stored: what blocks keep from forward to backward.
    working: materialised tensors and gradients, or the loss. In the forward pass the working bytes are
    those of the block's saved tensors that are about to be coded or dropped.
    """
    choice, step = positions(problem, point), problem.step
    tensor = np.arange(choice.shape[1])
    stored = step.block.anchors + step.table.stored[tensor, choice].sum(axis=1)
    workspace = step.table.workspace[tensor, choice].sum(axis=1)
    after = step.embedding + np.cumsum(stored)
    return {
        "static": np.full(2 * step.layers + 1, float(step.static)),
        "stored": np.concatenate([after, after[-1:], after[::-1]]),
        "working": np.concatenate([workspace, [step.head], (workspace + step.block.gradients)[::-1]]),
    }


def figures(problem: Adacc, point: Mapping[str, Any]) -> dict[str, Figure]:
    """name -> figure: the memory timeline, and the plan tensor by block."""
    return {"memory": memory_figure(problem, point), "plan": plan_figure(problem, point)}


def memory_figure(problem: Adacc, point: Mapping[str, Any]) -> Figure:
    """Bytes alive over forward and backward against the limit."""
    from matplotlib.figure import Figure

    parts, layers = timeline(problem, point), problem.step.layers
    gib = {name: values / units.GiB for name, values in parts.items()}
    moments = np.arange(2 * layers + 1)
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    axes = figure.subplots()
    low = np.zeros(len(moments))
    names = {
        "static": "weights, gradients, optimiser",
        "stored": "stored activations",
        "working": "materialised, gradients, loss",
    }
    edges = np.append(moments, len(moments)) - 0.5
    for name, label in names.items():
        axes.stairs(low + gib[name], edges, baseline=low, fill=True, color=INK[name], label=label)
        low = low + gib[name]
    top = int(np.argmax(low))
    axes.stairs(low, edges, color="#333333", linewidth=0.8)
    limit = problem.memory / units.GiB
    axes.axhline(limit, color=INK["limit"], linewidth=1.2, linestyle="--")
    kept = problem.step.keep_everything / units.GiB
    height = 1.18 * max(limit, float(low.max()))
    note = "" if kept <= height else f"   (keeping everything: {kept:.3g} GiB)"
    axes.text(0, limit, f"limit {limit:.4g} GiB{note}", color=INK["limit"], va="bottom", fontsize=9)
    right = top <= layers
    axes.annotate(
        f"peak {low[top]:.4g} GiB\n{_moment(top, layers)}",
        (top, low[top]),
        xytext=(16 if right else -16, -34),
        textcoords="offset points",
        ha="left" if right else "right",
        fontsize=9,
        arrowprops={"arrowstyle": "-", "color": "#333333", "linewidth": 0.8},
    )
    axes.axvline(layers, color="#888888", linewidth=0.6, linestyle=":")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, height)
    _moment_ticks(axes, layers)
    axes.set_ylabel("memory (GiB)")
    axes.set_title(
        f"{problem.shape.name}, batch {problem.batch} × {problem.sequence}: bytes alive over a step",
        loc="left",
    )
    axes.legend(loc="lower center", ncols=3, frameon=True, framealpha=0.9, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _moment(moment: int, layers: int) -> str:
    if moment == layers:
        return "at the loss"
    if moment < layers:
        return f"forward of block {moment + 1}"
    return f"backward of block {2 * layers + 1 - moment}"


def _moment_ticks(axes: Axes, layers: int) -> None:
    marks = np.unique(np.linspace(1, max(1, layers - 1), 4, endpoint=False).round().astype(int))
    places = [*(marks - 1), layers, *(2 * layers + 1 - marks[::-1])]
    axes.set_xticks(places, [*map(str, marks), "loss", *map(str, marks[::-1])])
    axes.set_xlabel("forward of block   →   loss   →   backward of block")


def plan_figure(problem: Adacc, point: Mapping[str, Any]) -> Figure:
    """What the plan does with each tensor (rows) in each block (columns)."""
    choice, step = positions(problem, point), problem.step
    saved, shown = step.block.saved, list(COLOURS)
    cells = np.array(
        [
            [shown.index(treatment(t, step.table.labels[j])) for t, j in zip(saved, row, strict=True)]
            for row in choice
        ]
    )
    names = [f"{t.name}  {units.show(float(t.size), 'B', 3)}" for t in saved]
    return treatment_grid(cells.T, names, "block", "what happens to each saved tensor")


def treatment_grid(cells: Array, names: Sequence[str], columns: str, title: str) -> Figure:
    """A coloured cell for what is done with each tensor in each block.

    cells: (tensors, blocks) positions in COLOURS, NaN where a block has no such tensor. names: of the
    tensors. columns: what the blocks' axis says.
    """
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    tensors, blocks = cells.shape
    figure = Figure(figsize=(9.0, 1.6 + 0.27 * tensors), layout="constrained")
    axes = figure.subplots()
    colours = ListedColormap(list(COLOURS.values()))
    norm = BoundaryNorm(np.arange(len(COLOURS) + 1) - 0.5, len(COLOURS))
    axes.pcolormesh(np.ma.masked_invalid(cells), cmap=colours, norm=norm, edgecolors="white", linewidth=0.6)
    axes.set_yticks(np.arange(tensors) + 0.5, list(names), fontsize=8 if tensors <= 12 else 7)
    axes.invert_yaxis()
    marks = np.unique(np.linspace(1, blocks, min(blocks, 8)).round().astype(int))
    axes.set_xticks(marks - 0.5, list(map(str, marks)))
    axes.set_xlabel(columns)
    axes.set_title(title, loc="left")
    used = [Patch(color=COLOURS[name], label=name) for j, name in enumerate(COLOURS) if (cells == j).any()]
    figure.legend(handles=used, loc="outside upper right", ncols=len(used), frameon=False, fontsize=8)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure
