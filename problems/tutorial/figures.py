"""Pictures of the small problems: a roofline, a memory timeline, filled servers, packed items, ranks,
stored tensors, the tiles of an image and the hardware that draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..batch import Batch
    from .knapsack import Knapsack
    from .matmul_tile import MatmulTile
    from .memory_plan import MemoryPlan
    from .mg1 import MG1
    from .mixed import Mixed
    from .server_packing import ServerPacking
    from .two_level import TwoLevel

Array = npt.NDArray[Any]
INK, ACCENT, FAINT, BLUE = "#1f2933", "#c2410c", "#c9ced6", "#2f6f9f"


def _axes(width: float, height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def roofline(problem: MatmulTile, point: Mapping[str, Any]) -> Figure:
    """Achieved rate against operations a byte, for the answer and for every other tile, under the roof."""
    from .matmul_tile import L2_REUSE

    device, space = problem.device, problem.space
    peak, bandwidth = float(device.peak("bf16")), float(device.bandwidth)
    flops = 2.0 * problem.m * problem.n * problem.k
    figure, axes = _axes(7, 4.2, f"Roofline of {device.name}", "flop a byte from memory", "Tflop/s")
    ends = [peak / bandwidth]
    drawn: tuple[tuple[Batch, dict[str, Any]], ...] = (
        (space.sample(np.random.default_rng(0), 400), {"s": 8, "color": FAINT, "label": "other tiles"}),
        (space.batch(point), {"s": 90, "color": ACCENT, "label": "the answer", "zorder": 4}),
    )
    for batch, style in drawn:
        scores = problem.evaluate(batch)
        intensity = flops * L2_REUSE / scores["traffic"]
        axes.scatter(intensity, flops / scores["latency"] / 1e12, **style)
        ends += [float(intensity.min()), float(intensity.max())]
    roof = np.geomspace(min(ends) / 1.5, max(ends) * 2, 200)
    axes.plot(roof, np.minimum(peak, roof * bandwidth) / 1e12, color=INK, linewidth=1.5, label="roof")
    axes.set_xscale("log")
    axes.set_yscale("log")
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    return figure


def timeline(problem: MemoryPlan, point: Mapping[str, Any]) -> Figure:
    """Bytes alive while each operator runs backward: what was kept before it, and its own."""
    sizes, times = problem.tables()
    keep = np.asarray(point["keep"], bool)
    kept = np.where(keep, sizes, 0.0)
    before = (np.cumsum(kept) - kept) / units.GiB
    lost = units.show(float(times[~keep].sum()), "s", 3)
    title = f"Bytes alive while an operator runs backward: {int((~keep).sum())} recomputed, {lost}"
    figure, axes = _axes(7.5, 3.8, title, "operator", "GiB")
    steps = np.arange(problem.operators)
    axes.bar(steps, before, color=FAINT, width=1.0, label="kept from before")
    for mask, colour, label in ((keep, BLUE, "its own, kept"), (~keep, ACCENT, "its own, recomputed")):
        own = sizes[mask] / units.GiB
        axes.bar(steps[mask], own, bottom=before[mask], color=colour, width=1.0, label=label)
    axes.axhline(problem.memory / units.GiB, color=ACCENT, linestyle="--", linewidth=1, label="memory")
    axes.set_xlim(-0.5, problem.operators - 0.5)
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return figure


def servers(problem: ServerPacking, point: Mapping[str, Any]) -> Figure:
    """How full each rented server is, by resource: one segment a service."""
    from matplotlib.figure import Figure

    from .server_packing import CAPACITIES, KINDS

    host, demands = np.asarray(point["host"]), problem.demands()
    rented = np.unique(host).tolist()
    resources = ("memory", "processor", "accelerator")
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(rented)), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(resources), sharey=True)
    labels = [f"{server} {point['kind'][server]}" for server in rented]
    for r, (axes, resource) in enumerate(zip(panels, resources, strict=True)):
        for line, server in enumerate(rented):
            kind = KINDS.index(point["kind"][server])
            room, start = CAPACITIES[kind, r], 0.0
            if room <= 0:
                axes.annotate("none", (0.02, line), va="center", fontsize=8, color=INK)
                continue
            for shade, service in enumerate(np.flatnonzero(host == server).tolist()):
                share = float(demands[kind, service, r]) / room
                colour = BLUE if shade % 2 else "#7fa8c9"
                axes.barh(line, share, left=start, color=colour, height=0.7)
                start += share
        axes.axvline(1.0, color=ACCENT, linestyle="--", linewidth=1)
        axes.set_xlim(0, 1.08)
        axes.set_title(resource, loc="left", fontsize=10)
        axes.set_xlabel("share of the server")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rented)), labels)
    panels[0].invert_yaxis()
    return figure


def items(problem: Knapsack, point: Mapping[str, Any]) -> Figure:
    """Value against weight of each item, the packed ones filled."""
    weights, values, _ = problem.tables()
    packed = np.asarray(point["packed"], bool)
    title = f"{int(packed.sum())} of {problem.items} items packed, weight {weights[packed].sum():g}"
    figure, axes = _axes(6, 4, f"{title} of {problem.capacity:g}", "weight", "value")
    axes.scatter(weights[packed], values[packed], color=BLUE, s=42, label="packed")
    axes.scatter(weights[~packed], values[~packed], facecolor="none", edgecolor=INK, s=42, label="left out")
    top = float(weights.max())
    axes.plot([0, top], [0, top * problem.unit_value], color=FAINT, linewidth=1, label="value = weight")
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    return figure


def ranks(problem: MG1, point: Mapping[str, Any]) -> Figure:
    """The rank table: which class goes first at which attained service (dark is first)."""
    table = np.asarray(point["ranks"], float)
    names = [kind.name for kind in problem.kinds]
    figure, axes = _axes(
        7, 1.6 + 0.4 * len(table), "Who is served first (dark: first)", "attained service", ""
    )
    drawn = axes.imshow(table, aspect="auto", cmap="Blues_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(len(names)), names)
    ages = np.asarray(problem.ages, float)
    shown = np.unique(np.linspace(0, len(ages) - 1, min(8, len(ages))).astype(int))
    axes.set_xticks(shown, [f"{ages[i]:.3g}" for i in shown])
    axes.grid(False)
    figure.colorbar(drawn, ax=axes, label="rank")
    return figure


def tensors(problem: Mixed, point: Mapping[str, Any]) -> Figure:
    """Bytes stored of each tensor beside its raw size, and its seconds, in the order of transfer."""
    from matplotlib.figure import Figure

    from .mixed import SIZES

    batch = problem.space.batch(point)
    parts = {name: np.asarray(v)[0] for name, v in problem.parts(batch).items()}
    order = np.asarray(point["order"])
    lines = np.arange(len(order))

    def words(tensor: int) -> str:
        action = point["action"][tensor]
        if action != "compress":
            return {"keep": "kept raw", "drop": "dropped, made again"}[action]
        codec = point["codec"][tensor]
        name = getattr(codec, "name", codec)
        return name if name == "RAW" else f"{name}, groups of {point['group'][tensor]}"

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    mib = 1 / units.MiB
    left.barh(lines, SIZES[order] * mib, color="none", edgecolor=INK, height=0.6, label="raw")
    left.barh(lines, parts["stored"][order] * mib, color=BLUE, height=0.6, label="stored")
    left.set_yticks(lines, [f"tensor {t}\n{words(t)}" for t in order.tolist()])
    left.set_xlabel("MiB")
    start = np.zeros(len(order))
    for name, colour, label in (
        ("transfer", BLUE, "transfer"), ("hidden", "#cfe0ee", "transfer hidden behind compute"),
        ("redo", ACCENT, "made again"),
    ):  # fmt: skip
        seconds = 1e3 * parts[name][order]
        if seconds.any():
            right.barh(lines, seconds, left=start, color=colour, height=0.6, label=label)
        start += seconds
    right.set_xlabel("ms")
    left.invert_yaxis()
    for axes, title in ((left, "Stored, in the order of transfer"), (right, "Time on the link and off it")):
        axes.set_title(title, loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [*zip(*left.get_legend_handles_labels(), strict=True)][:2]
    handles += [h for h in zip(*right.get_legend_handles_labels(), strict=True) if h[1] != "transfer"]
    figure.legend(*zip(*handles, strict=True), loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return figure


def tiles(problem: TwoLevel, point: Mapping[str, Any]) -> Figure:
    """Discs in each list that a core sorts and blends, over the image."""
    from .two_level import HEIGHT, WIDTH, tile_lists

    tile, merge = int(point["tile"]), int(point["merge"])
    lists = tile_lists(problem.discs, problem.scene_seed, tile, float(point["reach"]))
    rows, columns = lists.shape
    merged = np.add.reduceat(
        np.add.reduceat(lists, range(0, rows, merge), axis=0), range(0, columns, merge), axis=1
    )
    edge = tile * merge
    title = f"Discs in each list of {edge} x {edge} pixels: {merged.mean():,.0f} in the mean"
    figure, axes = _axes(7, 4.6, f"{title}, {merged.max():,.0f} in the fullest", "pixel", "pixel")
    extent = (0, merged.shape[1] * edge, merged.shape[0] * edge, 0)
    drawn = axes.imshow(merged, cmap="Blues", vmin=0, extent=extent, interpolation="nearest")
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    axes.grid(False)
    figure.colorbar(drawn, ax=axes, label="discs")
    return figure


def hardware(problem: TwoLevel, point: Mapping[str, Any]) -> Figure:
    """Frame time against area of all hardware that draws the answer's tiling, by what holds it up."""
    from .two_level import LIMITS

    domains = problem.space.domains
    names = [name for name in domains if name not in problem.slow]
    menus = [np.asarray(domains[name].values) for name in names]
    grid = {n: v.ravel() for n, v in zip(names, np.meshgrid(*menus, indexing="ij"), strict=True)}
    rows = len(next(iter(grid.values())))
    fixed = {name: np.full(rows, point[name]) for name in problem.slow}
    batch = problem.space.canonical({**fixed, **grid}, rows)
    scores, parts = problem.evaluate(batch), problem.parts(batch)
    holds = np.argmax([parts[name] for name in LIMITS], axis=0)
    frame, area = 1e3 * scores["frame"], np.asarray(scores["area"], float)
    title = f"{rows:,} designs for this tiling, by what holds the frame up"
    figure, axes = _axes(7, 4.4, title, "area, mm²", "frame, ms")
    for kind, (name, colour) in enumerate(zip(LIMITS, ("#7fa8c9", "#e0a458", "#9aa5b1"), strict=True)):
        shown = holds == kind
        if not shown.any():
            continue
        axes.scatter(area[shown], frame[shown], s=5, color=colour, label=name, rasterized=True)
    order = np.lexsort((frame, area))
    best = np.minimum.accumulate(frame[order])
    axes.step(area[order], best, where="post", color=INK, linewidth=1.2, label="front")
    own = problem.evaluate(problem.space.batch(point))
    ring: dict[str, Any] = {"s": 110, "facecolor": "none", "edgecolor": ACCENT, "linewidth": 2, "zorder": 4}
    axes.scatter(own["area"], 1e3 * own["frame"], label="the answer", **ring)
    axes.axvline(problem.area_limit, color=ACCENT, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    figure.legend(loc="outside lower left", ncols=5, frameon=False, fontsize=9, markerscale=1.5)
    return figure
