"""Anytime curves of a comparison: quality over rows and over seconds, as a picture and as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..figures import layout
from ..plots import INK
from .compare import Comparison, Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
PALETTE = ("#1d4ed8", "#c2410c", "#0f766e", "#7c3aed", "#b45309", "#be185d", "#4d7c0f", "#475569")
MARGIN = 1.2
POINTS = 160
FLOOR_SECONDS = 1e-4


def band(traces: list[Trace], axis: str, larger: bool) -> tuple[Array, Array, Array, Array]:
    """Median, least and largest quality of some runs over a common axis ("rows" or "seconds").

    Where a run has found nothing feasible yet it counts as the worst.
    """
    ends = [getattr(t, axis) for t in traces]
    start = max(min(float(e[0]) for e in ends), 1.0 if axis == "rows" else FLOOR_SECONDS)
    stop = max(max(float(e[-1]) for e in ends), start * 1.0001)
    grid = np.geomspace(start, stop, POINTS)
    worst = -np.inf if larger else np.inf
    curves = []
    for trace, at in zip(traces, ends, strict=True):
        place = np.searchsorted(at, grid * (1 + 1e-12), side="right") - 1
        values = np.where(np.isnan(trace.values), worst, trace.values)
        values = np.maximum.accumulate(values) if larger else np.minimum.accumulate(values)
        curves.append(np.where(place >= 0, values[np.maximum(place, 0)], worst))
    stacked = np.array(curves)
    shown = [
        np.where(np.isfinite(v), v, np.nan)
        for v in (np.median(stacked, axis=0), stacked.min(0), stacked.max(0))
    ]
    return grid, shown[0], shown[1], shown[2]


def _scale(comparison: Comparison) -> tuple[float, str]:
    """A factor and a label that bring the measure into human units."""
    if not comparison.goal.single:
        return 1.0, comparison.measure
    from ..plots import axis_scale

    values = np.array([t.value for t in comparison.traces if np.isfinite(t.value)] or [1.0])
    return axis_scale(values, comparison.goal.objectives[0])


def _logarithmic(comparison: Comparison) -> bool:
    if not comparison.goal.single:
        return False
    values = np.concatenate([t.values[np.isfinite(t.values)] for t in comparison.traces] or [np.ones(1)])
    return len(values) > 0 and values.min() > 0 and values.max() > 30 * values.min()


def picture(comparison: Comparison) -> Figure:
    """Two panels, over rows and over seconds: the median of the seeds, their range as a band."""
    from matplotlib.figure import Figure

    factor, label = _scale(comparison)
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, axis, words in zip(panels, ("rows", "seconds"), ("scored rows", "seconds"), strict=True):
        ends: list[float] = []
        for name, colour in zip(comparison.solvers, _colours(comparison), strict=True):
            grid, median, low, high = band(comparison.of(name), axis, comparison.larger_is_better)
            ends += [float(grid[0]), float(grid[-1])]
            panel.fill_between(
                grid, low / factor, high / factor, step="post", color=colour, alpha=0.15, linewidth=0
            )
            panel.step(grid, median / factor, where="post", color=colour, linewidth=1.8, label=name)
            panel.plot(grid[-1:], median[-1:] / factor, "o", color=colour, markersize=4)
        if np.isfinite(comparison.best):
            panel.axhline(
                comparison.best / factor, color=INK, linewidth=0.8, linestyle=":", label="best known"
            )
        panel.set_xscale("log")
        panel.set_xlim(min(ends) / MARGIN, max(ends) * MARGIN)  # drawn or not: a median may be of nothing
        if _logarithmic(comparison):
            panel.set_yscale("log")
        panel.set_xlabel(words)
        panel.grid(color="#e4e7eb", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(label)
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, loc="outside lower left", ncols=len(names))
    figure.suptitle(_title(comparison), x=0.01, ha="left", fontsize=12)
    return figure


def _title(comparison: Comparison) -> str:
    return f"{comparison.problem}: median of {comparison.seeds} seeds, band from worst to best"


def _colours(comparison: Comparison) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(len(comparison.solvers))]


def page(comparison: Comparison) -> str:
    """The same as one HTML file that needs no network."""
    import plotly.graph_objects as go

    factor, label = _scale(comparison)
    data: list[dict[str, Any]] = []
    for side, axis in enumerate(("rows", "seconds")):
        for name, colour in zip(comparison.solvers, _colours(comparison), strict=True):
            grid, *sides = band(comparison.of(name), axis, comparison.larger_is_better)
            median, low, high = (v / factor for v in sides)
            common = {
                "type": "scatter",
                "mode": "lines",
                "xaxis": ("x", "x2")[side],
                "x": grid,
                "legendgroup": name,
            }
            both = np.isfinite(low) & np.isfinite(high)
            edge: dict[str, Any] = {
                **common,
                "x": grid[both],
                "line": {"width": 0, "shape": "hv"},
                "hoverinfo": "skip",
            }
            edge["showlegend"] = False
            line = {"color": colour, "width": 2.5, "shape": "hv"}
            data.append({**edge, "y": low[both]})
            data.append({**edge, "y": high[both], "fill": "tonexty", "fillcolor": _faint(colour)})
            data.append({**common, "y": median, "name": name, "line": line, "showlegend": not side})
    frame = layout(_title(comparison), "scored rows", label, height=560)
    frame["xaxis"] |= {"type": "log", "domain": [0, 0.48]}
    frame["xaxis2"] = {**frame["xaxis"], "domain": [0.52, 1], "title": {"text": "seconds"}, "anchor": "y"}
    if _logarithmic(comparison):
        frame["yaxis"]["type"] = "log"
    if np.isfinite(comparison.best):
        best = comparison.best / factor
        frame["shapes"] = [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": best, "y1": best,
                            "line": {"color": INK, "dash": "dot", "width": 1}}]  # fmt: skip
    return str(go.Figure({"data": data, "layout": frame}).to_html(include_plotlyjs=True, full_html=True))


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
