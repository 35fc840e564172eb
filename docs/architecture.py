"""Draw the architecture: python docs/architecture.py writes docs/architecture.svg."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

matplotlib.rcParams |= {"svg.hashsalt": "tradespace", "svg.fonttype": "path"}

INK, SOFT, EDGE = "#1f2937", "#eef2ff", "#4f46e5"
WARM, WARM_EDGE = "#fff7ed", "#c2410c"

FOLDERS = (
    ("hardware", "device records:\nunits, sources, kinds"),
    ("costmodels", "operators with\nerror bars, kernels"),
    ("problems", "space, referee, goal,\nviews, real execution"),
    ("solvers", "ask/tell, one-shot,\ncertificates"),
    ("search", "driver, record,\nstudy, command line"),
)
FLOW = (
    (0.2, 0.62, "user", "defines or picks a problem"),
    (2.45, 0.62, "solver", "proposes points, bounds"),
    (4.7, 0.62, "referee", "scores every point:\nmetrics, error bars"),
    (6.95, 0.62, "result", "answer, front,\ncertificate, gap"),
    (9.2, 0.62, "apply", "runs on real code,\nmeasured vs predicted"),
)


def box(axes, x, y, width, height, title, text, face, edge):
    """A rounded box with a bold title and a line or two of text."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0.04,rounding_size=0.1", fc=face, ec=edge, lw=1.2
        )
    )
    axes.text(
        x + width / 2, y + height - 0.22, title, ha="center", va="center", weight="bold", color=INK, size=10
    )
    axes.text(x + width / 2, y + (height - 0.3) / 2, text, ha="center", va="center", color=INK, size=8)


def arrow(axes, start, end, bend=0.0):
    """An arrow from start to end."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            color=INK,
            lw=1.0,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def draw() -> Figure:
    """Above: the line of dependencies. Below: what happens in a run."""
    figure = Figure(figsize=(10.4, 4.1), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(0, 11.1)
    axes.set_ylim(0, 4.2)
    axes.axis("off")
    width, height = 1.75, 1.0
    axes.text(0.2, 3.98, "folders: each imports only from those on its left", size=9, color=INK)
    for place, (title, text) in enumerate(FOLDERS):
        x = 0.2 + 2.25 * place
        box(axes, x, 2.72, width, height, title, text, SOFT, EDGE)
        if place:
            arrow(axes, (x - 0.06, 3.22), (x - 0.42, 3.22))
    axes.text(0.2, 1.98, "a run: no solver reports its own number", size=9, color=INK)
    for place, (x, y, title, text) in enumerate(FLOW):
        box(axes, x, y, width, height, title, text, WARM, WARM_EDGE)
        if place:
            arrow(axes, (x - 0.44, y + 0.55), (x - 0.06, y + 0.55))
    arrow(axes, (5.6, 0.56), (3.3, 0.56), bend=-0.28)
    axes.text(4.45, 0.08, "scores", ha="center", size=8, color=INK)
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})
