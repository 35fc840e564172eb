"""Pictures of a result: its front, its bound over time, and what the problem itself draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import units
from ..problems.goal import Objective, ResolvedGoal
from ..problems.problem import Problem
from .own import Hear, heard, own_figures
from .result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, FAINT = "#1f2933", "#c2410c", "#9aa5b1"


def save_figures(
    result: Result, problem: Problem, goal: ResolvedGoal, folder: Path, hear: Hear
) -> list[Path]:
    """Draw what the result has to show as PNG files in `folder`; returns their paths.

    hear: takes a sentence for each picture that cannot be drawn.
    """
    figures: dict[str, Figure] = {}
    if len(goal.objectives) == 2 and result.front_size > 1:
        with heard(hear, "the picture of the front"):
            figures["front"] = front(result, goal)
    with heard(hear, "the problem's own pictures"):
        figures |= own_figures(problem, result)
    paths: list[Path] = []
    for name, figure in figures.items():
        with heard(hear, f"the picture '{name}'"):
            paths += write_figures({name: figure}, folder)
    return paths


def write_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures by name as PNG files in `folder`; returns their paths."""
    if not figures:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=150, bbox_inches="tight")
    return paths


def axis_scale(values: Any, objective: Objective) -> tuple[float, str]:
    """A factor and a label that bring an axis into human units."""
    top = float(np.max(np.abs(values))) if len(values) else 1.0
    text = units.show(top, objective.unit, 6)
    number, _, unit = text.partition(" ")
    factor = top / float(number) if top and number not in {"inf", "nan"} else 1.0
    return factor, f"{objective.metric.replace('_', ' ')}{f' ({unit})' if unit else ''}"


def front(result: Result, goal: ResolvedGoal) -> Figure:
    """Two objectives against each other, the answer marked."""
    from matplotlib.figure import Figure

    first, second = goal.objectives
    x, y = (np.asarray(result.front_columns[o.metric], float) for o in (first, second))
    (fx, lx), (fy, ly) = axis_scale(x, first), axis_scale(y, second)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    order = np.argsort(x)
    axes.step(
        x[order] / fx, y[order] / fy, where="post" if first.sign > 0 else "pre", color=FAINT, linewidth=1
    )
    axes.scatter(x / fx, y / fy, s=18, color=INK, zorder=3, label=f"front, {len(x)} points")
    axes.scatter(
        [result.metrics[first.metric] / fx],
        [result.metrics[second.metric] / fy],
        s=90,
        zorder=4,
        facecolor="none",
        edgecolor=ACCENT,
        linewidth=2,
        label="answer",
    )
    if result.start and np.isfinite([result.start[o.metric] for o in (first, second)]).all():
        axes.scatter(
            [result.start[first.metric] / fx],
            [result.start[second.metric] / fy],
            marker="x",
            s=60,
            color=ACCENT,
            label="your start",
            zorder=4,
        )
    axes.set_xlabel(lx)
    axes.set_ylabel(ly)
    axes.set_title(
        f"{result.problem}: {first.metric.replace('_', ' ')} against {second.metric.replace('_', ' ')}",
        loc="left",
    )
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
