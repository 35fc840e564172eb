"""Empirical runtime distributions: which share of the targets was reached after how many rows or seconds.

A target is a distance to the best known quality. Distances are shares of the way from the median of the
runs' first feasible values to the best known (several objectives: of the best front's hypervolume);
the targets are spread evenly in the logarithm from the whole way to a 10^-5 of it, as COCO does for its
functions (Hansen et al. 2022). A target that a run never reaches stays open, so a curve ends at the share
that its solver reached at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .compare import Comparison, Trace
from .curves import FLOOR_SECONDS, _colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
TARGETS = 10.0 ** np.linspace(0, -5, 51)
SLACK = 1e-12


def distances(comparison: Comparison, trace: Trace) -> Array:
    """How far a run was from the best known after each of its steps, (steps,); 1 is its start."""
    span = start_distance(comparison)
    found = np.abs(trace.values - comparison.best) / span
    found = np.where(np.isnan(found), np.inf, found)
    return np.minimum.accumulate(found) if len(found) else found


def start_distance(comparison: Comparison) -> float:
    """The distance that counts as 1: from the median of the first feasible values to the best known."""
    if not comparison.goal.single:
        return 1.0
    firsts = [t.values[np.isfinite(t.values)][:1] for t in comparison.traces]
    first = np.concatenate([np.empty(0), *firsts])
    span = abs(float(np.median(first)) - comparison.best) if len(first) else 0.0
    return span or max(abs(comparison.best), 1e-300)


def runtimes(comparison: Comparison, solver: str, axis: str = "rows") -> Array:
    """When each run of a solver reached each target, (runs, targets); inf where it never did.

    axis: "rows" or "seconds".
    """
    found = []
    for trace in comparison.of(solver):
        away, at = distances(comparison, trace), np.asarray(getattr(trace, axis), float)
        place = np.searchsorted(-away, -(TARGETS * (1 + SLACK) + SLACK), side="left")
        found.append(np.where(place < len(at), at[np.minimum(place, len(at) - 1)], np.inf))
    return np.array(found)


def distribution(comparison: Comparison, solver: str, axis: str = "rows") -> tuple[Array, Array]:
    """The steps of a solver's runtime distribution: when, and the share of (run, target) reached then."""
    when = runtimes(comparison, solver, axis).ravel()
    reached = np.sort(when[np.isfinite(when)])
    return reached, np.arange(1, len(reached) + 1) / len(when)


def runtime_picture(comparison: Comparison) -> Figure:
    """The distributions of all solvers, over rows and over seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, axis, words in zip(panels, ("rows", "seconds"), ("scored rows", "seconds"), strict=True):
        ends = [float(getattr(t, axis)[-1]) for t in comparison.traces if len(getattr(t, axis))]
        floor = 1.0 if axis == "rows" else FLOOR_SECONDS
        last = max([*ends, floor * 10])
        for name, colour in zip(comparison.solvers, _colours(comparison), strict=True):
            when, share = distribution(comparison, name, axis)
            x = np.r_[floor, np.maximum(when, floor), last]
            y = np.r_[0.0, share, share[-1] if len(share) else 0.0]
            panel.step(x, y, where="post", color=colour, linewidth=1.8, label=name)
        panel.set_xscale("log")
        panel.set_xlim(floor, last)
        panel.set_ylim(0, 1.02)
        panel.set_xlabel(words)
        panel.grid(color="#e4e7eb", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of runs x targets reached")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, loc="outside lower left", ncols=len(names))
    words = f"{comparison.problem}: targets from 1 to 1e-5 of the way to the best known"
    figure.suptitle(words, x=0.01, ha="left", fontsize=12)
    return figure
