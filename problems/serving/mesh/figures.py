"""Pictures of a mesh at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import paper
from .simulate import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .placement import LlmMeshPlacement

Cells = Mapping[tuple[str, int, str], Outcome]
"""Outcomes by size, number of models and system."""
INK = {"sllm": "#b0b7c3", "sllm+c": "#7f8fa9", "sllm+c+s": "#e08e45", "mesh": "#2f6f9f"}
SPAN = 4.0
"""Seconds that the Gantt chart shows."""


def _axes(width: float, height: float, rows: int = 1) -> tuple[Figure, list]:  # type: ignore[type-arg]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(rows, 1, i + 1) for i in range(rows)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def shares(found: Cells) -> Figure:
    """SLO share against the number of models, a panel a size; rings are the paper's figures."""
    sizes, figure, axes = _panels(
        found, "Requests that met their SLO against models served (rings: the paper)"
    )
    for size, ax in zip(sizes, axes, strict=True):
        for system, colour in INK.items():
            counts = sorted(n for s, n, which in found if s == size and which == system)
            values = [100 * found[size, n, system].share for n in counts]
            ax.plot(counts, values, color=colour, marker="o", markersize=4, linewidth=2, label=system)
            known = [
                (n, 100 * paper.SHARES[size, n, system]) for n in counts if (size, n, system) in paper.SHARES
            ]
            if known:
                ax.plot(*zip(*known, strict=True), "o", markersize=9, markerfacecolor="none", color=colour)
        ax.set_xscale("log", base=2)
        ax.set_xticks(counts, [str(n) for n in counts])
        ax.set_title(f"{size} models", loc="left", fontsize=10)
        ax.set_xlabel("models served by 4 CPU and 4 GPU nodes")
        ax.set_ylim(0, 103)
    axes[0].set_ylabel("requests that met their SLO, %")
    axes[0].legend(loc="lower left", frameon=False, fontsize=9)
    return figure


def nodes_in_use(found: Cells) -> Figure:
    """GPU nodes in use, mean over time: ours as bars, the paper's as black ticks."""
    sizes, figure, axes = _panels(found, "GPU nodes in use, mean over time; ticks: the paper's figure 22")
    for size, ax in zip(sizes, axes, strict=True):
        counts = sorted({n for s, n, _ in found if s == size})
        width = 0.8 / len(INK)
        for i, (system, colour) in enumerate(INK.items()):
            at = np.arange(len(counts)) + (i - 0.5 * (len(INK) - 1)) * width
            ax.bar(at, [found[size, n, system].gpus for n in counts], width, color=colour, label=system)
            known = [paper.NODES[size, n, system][1] for n in counts]
            ax.plot(at, known, "_", color="black", markersize=9, markeredgewidth=1.6)
        ax.set_xticks(range(len(counts)), [str(n) for n in counts])
        ax.set_title(f"{size} models", loc="left", fontsize=10)
        ax.set_xlabel("models")
    axes[0].set_ylabel("GPU nodes")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def capacity(
    rows: Sequence[tuple[float, tuple[int, int], tuple[float, ...]]], slo: float, risk: float
) -> Figure:
    """Price of the nodes against the share met: points for what holds in all but `risk` of the draws.

    rows: price, (CPU, GPU) nodes, shares met (nominal first). Bars span the draws; the line is the front.
    """
    figure, (ax,) = _axes(7, 4.2)
    best, front = 0.0, []
    surely = [(price, float(np.quantile(s, risk, method="lower")), nodes, s) for price, nodes, s in rows]
    for price, share, nodes, shares_met in sorted(surely, key=lambda row: (row[0], -row[1])):
        on_front = share > best
        colour = "#2f6f9f" if on_front else "#b0b7c3"
        ax.plot([price, price], [100 * min(shares_met), 100 * max(shares_met)], color=colour, linewidth=1)
        ax.plot(price, 100 * share, "o", color=colour, markersize=5)
        if on_front:
            best = share
            front.append((price, 100 * share))
            ax.annotate(f"{nodes[0]} C + {nodes[1]} G", (price, 100 * share), fontsize=8,
                        textcoords="offset points", xytext=(4, -11))  # fmt: skip
    if front:
        ax.step(*zip(*front, strict=True), where="post", color="#2f6f9f", linewidth=1, zorder=0)
    ax.axhline(100 * slo, color="#c2410c", linewidth=1, linestyle="--")
    ax.set_xlabel("price of the nodes bought, 1/h")
    ax.set_ylabel("requests that meet their SLO, %")
    ax.set_title("C CPU and G GPU nodes; bars: draws of the cost model's error", loc="left", fontsize=10)
    return figure


def _panels(found: Cells, title: str) -> tuple[list[str], Figure, list]:  # type: ignore[type-arg]
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(size for size, _, _ in found))
    figure = Figure(figsize=(3.4 * len(sizes) + 0.8, 3.8), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, len(sizes), sharey=True)))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return sizes, figure, axes


def occupancy(outcome: Outcome) -> Figure:
    """Requests on each node and memory held by each, over time."""
    figure, axes = _axes(9, 5, 2)
    minutes = np.arange(len(outcome.used)) / 60
    names = [f"{'GPU' if g else 'CPU'} node {i + 1}" for i, g in enumerate(outcome.gpu)]
    pictures = ((outcome.requests_on, "requests on the node"), (outcome.memory, "memory held, share"))
    for ax, (values, title) in zip(axes, pictures, strict=True):
        drawn = ax.imshow(
            values.T, aspect="auto", cmap="Blues", interpolation="nearest", vmin=0,
            extent=(0, max(minutes[-1], 1 / 60), len(names) - 0.5, -0.5),
        )  # fmt: skip
        ax.set_yticks(range(len(names)), names)
        ax.set_title(title, loc="left", fontsize=10)
        figure.colorbar(drawn, ax=ax, pad=0.01)
    axes[-1].set_xlabel("minutes")
    return figure


def gantt(outcome: Outcome, node: int | None = None, start: float | None = None) -> Figure:
    """Iterations of one node, one line a model: prefills dark, decodes light.

    node: the one with most models at once, unless given; start: where most models take turns.
    """
    if node is None:
        node = int(outcome.used.max(axis=0).argmax())
    spans = [s for s in outcome.spans if s[0] == node]
    figure, (ax,) = _axes(9, 3.2)
    if not spans:
        ax.set_title("no iterations were recorded")
        return figure
    if start is None:
        starts = np.array([s[3] for s in spans])
        models = np.array([s[1] for s in spans])
        prefill = np.array([s[2] == "prefill" for s in spans])
        windows = np.unique(starts // SPAN)

        def turns(w: float) -> tuple[int, int]:
            inside = starts // SPAN == w
            return len(np.unique(models[inside])), int(prefill[inside].sum())

        start = float(max(windows, key=turns) * SPAN)
    shown = [s for s in spans if s[4] > start and s[3] < start + SPAN]
    lines = {m: i for i, m in enumerate(sorted({s[1] for s in shown}))}
    for kind, colour in (("decode", "#9cc3e0"), ("prefill", "#1f4e79")):
        of_kind = [s for s in shown if s[2] == kind]
        ax.barh(
            [lines[s[1]] for s in of_kind], [s[4] - s[3] for s in of_kind],
            left=[s[3] - start for s in of_kind], height=0.7, color=colour, edgecolor="white", linewidth=0.4,
            label=kind,
        )  # fmt: skip
    ax.set_yticks(range(len(lines)), [f"model {m}" for m in lines])
    ax.set_xlim(0, SPAN)
    ax.set_xlabel(f"seconds after {start:.0f} s")
    kind = "GPU" if outcome.gpu[node] else "CPU"
    ax.set_title(f"{kind} node {node + 1}: whose token is due first runs next", loc="left", fontsize=10)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def placement(problem: LlmMeshPlacement, point: Mapping[str, Any]) -> Figure:
    """Memory and time of each node in use, one segment an instance, coloured by its architecture."""
    node = np.asarray(point["node"])
    in_use = np.unique(node[node > 0])
    made, kinds = problem.instances, problem.kind_of[in_use - 1]
    names = [kind.name for kind in problem.kinds]
    shapes = list(dict.fromkeys(made.shapes))
    colours = ("#2f6f9f", "#e08e45", "#6aa07c", "#8d6a9f", "#7f8fa9", "#c2410c")
    figure, axes = _axes(max(6.4, min(12.0, 1.6 + 0.28 * len(in_use))), 4.8, 2)
    what = ("memory, share", "time, share")
    for r, ax in enumerate(axes):
        for place, (number, kind) in enumerate(zip(in_use.tolist(), kinds.tolist(), strict=True)):
            items, start = np.flatnonzero(node == number), 0.0
            for i in sorted(items.tolist(), key=lambda i: shapes.index(made.shapes[i])):
                share = float(made.demand[kind, i, r] / problem.capacities[kind, r])
                colour = colours[shapes.index(made.shapes[i]) % len(colours)]
                ax.bar(place, share, 0.8, bottom=start, color=colour, edgecolor="white", linewidth=0.5)
                start += share
        ax.axhline(1.0, color="#c2410c", linewidth=1, linestyle="--")
        ax.set_ylabel(what[r])
        ax.set_xlim(-0.7, max(len(in_use), 1) - 0.3)
        ax.set_xticks([])
    for kind in np.unique(kinds).tolist():
        places = np.flatnonzero(kinds == kind)
        axes[1].annotate(
            f"{len(places)} {names[kind]} nodes", (places.mean(), 0), (0, -6), textcoords="offset points",
            ha="center", va="top", fontsize=9, annotation_clip=False,
        )  # fmt: skip
        for ax in axes if places[0] else []:
            ax.axvline(places[0] - 0.5, color="#9aa5b1", linewidth=1)
    served = int((node > 0).sum())
    title = f"{served} of {len(node)} instances on {len(in_use)} nodes"
    axes[0].set_title(title, loc="left", fontsize=11)
    handles = [axes[0].bar(0, 0, color=colours[i % len(colours)]) for i in range(len(shapes))]
    figure.legend(handles, shapes, loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return figure
