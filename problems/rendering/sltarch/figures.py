"""Pictures of a design: where time and energy go, its roofline, the designs around it, a frame as it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .... import units
from ....costmodels import splatting_cores as cores
from ....costmodels.scheduling import intervals
from .designs import HARDWARE, MENUS
from .report import PARTS, UNITS, binding, number
from .workload import drawn, searched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .problem import SLTarch

Array = npt.NDArray[Any]
COLOURS = {
    "search": "#2f6f9f",
    "project": "#8f7fb8",
    "sort": "#69b3a2",
    "raster": "#e08e45",
    "memory": "#6b7280",
    "leakage": "#d4d8de",
}
ACCENT = "#b3261e"
BINS, SAMPLED = 160, 20_000


def figures(problem: SLTarch, point: Mapping[str, Any]) -> dict[str, Figure]:
    """name -> figure."""
    return {
        "units": units_figure(problem, point),
        "roofline": roofline_figure(problem, point),
        "pareto": pareto_figure(problem, point),
        "timeline": timeline_figure(problem, point),
    }


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def units_figure(problem: SLTarch, point: Mapping[str, Any]) -> Figure:
    """Time, energy and area by unit, as three rows of bars."""
    from matplotlib.figure import Figure

    _, of = problem.stages_of(point)
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    kinds: tuple[tuple[str, dict[str, Array], float, str], ...] = (
        ("time of a stage", of.seconds, 1e3, "ms"),
        ("energy of a frame", of.joules, 1e3, "mJ"),
        ("area", of.areas, 1e6, "mm²"),
    )
    for axes, (title, values, scale, unit) in zip(panels, kinds, strict=True):
        names = [name for name in (*PARTS, "leakage") if name in values]
        heights = [scale * number(values, name) for name in names]
        axes.barh(range(len(names)), heights, color=[COLOURS[n] for n in names])
        axes.set_yticks(range(len(names)), [UNITS[n] for n in names])
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        axes.set_title(title, loc="left", fontsize=10)
        _plain(axes)
    deadline = 1e3 * problem.deadline
    panels[0].axvline(deadline, color=ACCENT, linestyle="--", linewidth=1.1)
    panels[0].text(deadline, -0.62, f"{problem.rate:g} frames/s", color=ACCENT, ha="center", fontsize=8)
    figure.suptitle(
        f"{UNITS[binding(of)]} bind a frame of {units.show(float(of.frame_time[0]), 's', 3)}",
        x=0.01,
        ha="left",
    )
    return figure


def roofline_figure(problem: SLTarch, point: Mapping[str, Any]) -> Figure:
    """Decisions a second over decisions a byte of DRAM: memory's slope, the roofs of checks and lanes."""
    from matplotlib.figure import Figure

    found, of = problem.stages_of(point)
    frame = found.drawn
    decisions = float(frame.checks.sum())
    moved = found.bytes + float(found.search_bytes.mean())
    clock, count = float(point["clock"]), int(point["raster_cores"])
    check_roof = count * int(point["checks"]) * clock
    passes = float(frame.passed.sum()) * int(point["group"]) ** 2
    lane_roof = count * int(point["lanes"]) * clock * decisions / max(passes, 1.0)
    slope = float(cores.bandwidth(float(point["channels"])))
    here = decisions / moved
    attained = decisions / float(of.frame_time[0])
    top = max(check_roof, lane_roof)
    x = np.geomspace(here / 30, max(here * 30, 3 * top / slope), 200)
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.loglog(x, slope * x, color=COLOURS["memory"], linewidth=1.4)
    floor = min(decisions / problem.deadline, attained) / 12
    at = float(np.clip(2.5 * floor / slope, x[0], x[-1]))
    channels = f"{point['channels']:g} memory channel{'s' if float(point['channels']) > 1 else ''}"
    axes.text(at * 1.15, slope * at, channels, color=COLOURS["memory"], fontsize=9)
    for roof, label, colour in (
        (check_roof, f"{count} x {point['checks']:g} checks", COLOURS["raster"]),
        (lane_roof, f"{count} x {point['lanes']:g} lanes", COLOURS["search"]),
    ):
        axes.axhline(roof, color=colour, linewidth=1.4)
        axes.text(x[-1], roof * 1.06, label, color=colour, ha="right", fontsize=9)
    needed = decisions / problem.deadline
    axes.axhline(needed, color=ACCENT, linestyle="--", linewidth=1.0)
    crowded = any(needed <= roof < 1.6 * needed for roof in (check_roof, lane_roof))
    axes.text(
        x[0],
        needed * (0.94 if crowded else 1.06),
        f"needed for {problem.rate:g} frames/s",
        color=ACCENT,
        fontsize=9,
        va="top" if crowded else "bottom",
    )
    axes.plot([here], [attained], "o", color="#111827", markersize=8)
    axes.annotate("this design", (here, attained), xytext=(8, -14), textcoords="offset points", fontsize=9)
    axes.set_ylim(floor, top * 4)
    axes.set_xlabel("group decisions a byte of DRAM")
    axes.set_ylabel("group decisions a second")
    axes.set_title("roofline of the splatting core", loc="left")
    _plain(axes)
    return figure


def pareto_figure(problem: SLTarch, point: Mapping[str, Any]) -> Figure:
    """Energy over area of designs of the same node and algorithm, those within the deadline apart."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    rng = np.random.default_rng(0)
    columns = {
        name: np.full(SAMPLED, point[name]) if name == "node" else rng.choice(MENUS[name], SAMPLED)
        for name in HARDWARE
    }
    found, own = problem.stages_of(point)
    of = problem.stages(found, columns)
    area = 1e6 * np.sum(list(of.areas.values()), axis=0)
    energy = 1e3 * np.sum(list(of.joules.values()), axis=0)
    fits = of.frame_time <= problem.deadline
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.subplots()
    draw: dict[str, Any] = {"s": 4, "linewidths": 0, "rasterized": True}
    axes.scatter(
        area[~fits], energy[~fits], color="#d4d8de", label=f"slower than {problem.rate:g} frames/s", **draw
    )
    if fits.any():
        rate = 1.0 / of.frame_time[fits]
        shown = axes.scatter(area[fits], energy[fits], c=rate, cmap="viridis", **draw)
        figure.colorbar(shown, ax=axes, label="frames a second it could draw")
        order = np.lexsort((energy[fits], area[fits]))
        a, e = area[fits][order], energy[fits][order]
        best = e <= np.minimum.accumulate(e)
        axes.step(
            a[best], e[best], where="post", color="#111827", linewidth=1.2, label="front of this sample"
        )
    here = [1e6 * sum(number(own.areas, n) for n in own.areas)]
    there = [1e3 * sum(number(own.joules, n) for n in own.joules)]
    ring: dict[str, Any] = {
        "markersize": 12,
        "markerfacecolor": "none",
        "markeredgecolor": ACCENT,
        "markeredgewidth": 2.2,
    }
    axes.plot(here, there, "o", label="this design", **ring)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"area at {point['node']:g} nm (mm²)")
    axes.set_ylabel("energy of a frame (mJ)")
    axes.set_title(f"{SAMPLED:,} designs for the same algorithm", loc="left")
    axes.legend(loc="upper left", fontsize=8, frameon=True)
    _plain(axes)
    return figure


def timeline_figure(problem: SLTarch, point: Mapping[str, Any]) -> Figure:
    """Share of each kind of unit at work over one period of the pipeline, by the real loads."""
    from matplotlib.figure import Figure

    _, of = problem.stages_of(point)
    end = max(float(of.frame_time[0]), 1e-12)
    edges = np.linspace(0.0, end, BINS + 1)
    rows = utilisation(problem, point, edges)
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    panels = figure.subplots(len(rows), 1, sharex=True)
    for axes, (part, busy) in zip(panels, rows.items(), strict=True):
        axes.stairs(busy, 1e3 * edges, fill=True, color=COLOURS[part])
        axes.set_ylim(0, 1.05)
        axes.set_yticks([0, 1], ["0", "all"], fontsize=8)
        axes.set_ylabel(UNITS[part], rotation=0, ha="right", va="center", fontsize=9)
        mean = float(busy.mean())
        axes.text(1.005, 0.5, f"{mean:.0%}", transform=axes.transAxes, va="center", fontsize=9)
        _plain(axes)
    panels[-1].set_xlabel("time within one period of the pipeline (ms); each stage works on its own frame")
    figure.suptitle("share of the units at work (right: mean over the period)", x=0.01, ha="left")
    return figure


def utilisation(problem: SLTarch, point: Mapping[str, Any], edges: Array) -> dict[str, Array]:
    """part -> (bins,) share of its units at work between the edges (s)."""
    _, of = problem.stages_of(point)
    a = problem.algorithm(point)
    clock = float(point["clock"])
    work = searched(problem.world, a.subtree, a.merging, a.threshold, a.interval)
    design = cores.SearchDesign(
        int(point["search_units"]),
        float(point["search_buffer"]),
        int(point["search_queue"]),
        float(point["search_cache"]),
    )
    rate = float(cores.bandwidth(float(point["channels"]))) / clock
    begun, ends = cores.search_intervals(work, design, rate, cores.LATENCY * clock)
    raster = drawn(problem.world, a).raster(a.group)
    loads = cores.raster_loads(raster, int(point["checks"]), int(point["lanes"]))
    first, last = np.empty(len(loads)), np.empty(len(loads))
    count = int(point["raster_cores"])
    intervals(loads, count, first, last)
    share = work.share  # a search that serves several frames is done in as many parts
    found_rows = {"search": at_work(begun * share / clock, ends * share / clock, edges) / design.units}
    for part in ("project", "sort"):
        found_rows[part] = at_work(np.zeros(1), np.array([number(of.seconds, part)]), edges)
    found_rows["raster"] = at_work(first / clock, last / clock, edges) / count
    found_rows["memory"] = at_work(np.zeros(1), np.array([number(of.seconds, "memory")]), edges)
    return found_rows


def at_work(begun: Array, ends: Array, edges: Array) -> Array:
    """(bins,) how many of some intervals are open on average within each bin.

    >>> at_work(np.array([0.0, 1.0]), np.array([2.0, 2.0]), np.array([0.0, 1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def spent(until: Array) -> Array:  # total time of all intervals before each edge
        total: Array = np.zeros(len(until))
        for marks, sign in ((np.sort(begun), 1.0), (np.sort(ends), -1.0)):
            before = np.searchsorted(marks, until, side="right")
            summed = np.concatenate([[0.0], np.cumsum(marks)])
            total += sign * (before * until - summed[before])
        return total

    found: Array = np.diff(spent(edges)) / np.diff(edges)
    return found
