"""Every design of the menus, by tables: a component's time, energy and area for each of its settings.

A design is a search core, projectors, sorters, raster cores, and what they share: clock, node, memory
channels. Components meet only in the longest stage, the memory and sums, so a row is a few look-ups.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ....costmodels import splatting_cores as cores
from .workload import Algorithm, Drawn, drawn, searched
from .world import World

if TYPE_CHECKING:
    from .prices import Prices

Array = npt.NDArray[Any]
KIB = 1024
MENUS: dict[str, tuple[float, ...]] = {
    "search_units": (1, 2, 8, 32),
    "search_buffer": (2 * KIB, 4 * KIB, 8 * KIB),
    "search_queue": (64, 1024),
    "search_cache": (0, 64 * KIB),
    "projectors": (1, 2, 4),
    "sorters": (1, 2, 4),
    "raster_cores": (1, 2, 4, 8),
    "checks": (1, 2, 4, 8),
    "lanes": (2, 4, 8, 16),
    "clock": (0.25e9, 0.5e9, 0.75e9, 1.0e9),
    "node": (7, 16, 28),
    "channels": (1, 2, 4),
}
SEARCH = ("search_units", "search_buffer", "search_queue", "search_cache")
RASTER = ("raster_cores", "checks", "lanes")
SHARED = ("clock", "node", "channels")
HARDWARE = tuple(MENUS)


def options(names: tuple[str, ...]) -> list[tuple[float, ...]]:
    """All settings of some variables, the last varying fastest."""
    return list(itertools.product(*(MENUS[name] for name in names)))


def sizes(names: tuple[str, ...]) -> tuple[int, ...]:
    """How many options each menu has."""
    return tuple(len(MENUS[name]) for name in names)


@dataclass(frozen=True, eq=False)
class Tables:
    """One algorithm point's work on every setting of every component.

    search_time (settings, clocks, channels) s; search_bytes, search_energy, search_area (settings,);
    search_busy (settings, clocks, channels), share of the units' time; project_cycles, sort_cycles,
    raster_cycles and their areas by setting; energy: J at 28 nm and 1 GHz of the rest; bytes: DRAM of the
    rest. Areas m2 at 28 nm.
    """

    search_time: Array
    search_busy: Array
    search_bytes: Array
    search_energy: Array
    search_area: Array
    project_cycles: Array
    project_area: Array
    sort_cycles: Array
    sort_area: Array
    raster_cycles: Array
    raster_area: Array
    energy: dict[str, float]
    bytes: float
    drawn: Drawn

    @property
    def rest_energy(self) -> float:
        """J at 28 nm and 1 GHz of projection, sorting and blending."""
        return sum(self.energy.values())


@lru_cache(maxsize=2_048)
def tables(world: World, point: Algorithm) -> Tables:
    """The tables of one algorithm point; its counts come from disk where it was drawn before."""
    found = _search_tables(world, point.subtree, point.merging, point.threshold, point.interval)
    return Tables(**found, **_frame_tables(world, point.threshold, point.group, point.check, point.interval))


@lru_cache(maxsize=512)
def _search_tables(
    world: World, subtree: int, merging: bool, threshold: float, interval: int
) -> dict[str, Any]:
    """Time, bytes, energy and area of every search core; points that draw differently share them."""
    work = searched(world, subtree, merging, threshold, interval)
    shape = (len(options(SEARCH)), len(MENUS["clock"]), len(MENUS["channels"]))
    time, busy = np.empty(shape), np.empty(shape)
    moved, spent, area = (np.empty(shape[0]) for _ in range(3))
    known: dict[tuple[float, ...], int] = {}  # designs that differ in their queue alone take the same time
    for i, (units, buffer, queue, cache) in enumerate(options(SEARCH)):
        design = cores.SearchDesign(int(units), buffer, int(queue), cache)
        area[i] = cores.search_area(design)
        twin = known.setdefault((units, buffer, cache), i)
        for j, clock in enumerate(MENUS["clock"]):
            for k, channels in enumerate(MENUS["channels"]):
                if twin == i:
                    rate = float(cores.bandwidth(channels)) / clock
                    found = cores.search(work, design, rate, cores.LATENCY * clock)
                    time[i, j, k], busy[i, j, k] = found.cycles / clock, found.busy
        if twin != i:
            found = cores.search(work, design, 1.0, 0.0)
            time[i], busy[i] = time[twin], busy[twin]
        moved[i], spent[i] = found.bytes, found.energy
    names = ("search_time", "search_busy", "search_bytes", "search_energy", "search_area")
    return dict(zip(names, (time, busy, moved, spent, area), strict=True))


@lru_cache(maxsize=512)
def _frame_tables(world: World, threshold: float, group: int, check: str, interval: int) -> dict[str, Any]:
    """Cycles, energies and bytes of all but the search; how subtrees are cut does not matter to them."""
    frame = drawn(world, Algorithm(threshold=threshold, group=group, check=check, interval=interval))
    raster = frame.raster(group)
    settings = [tuple(map(int, o)) for o in options(RASTER)]
    return {
        "project_cycles": np.array(
            [cores.project_cycles(frame.selected, int(n)) for n in MENUS["projectors"]]
        ),
        "project_area": np.array([cores.project_area(int(n)) for n in MENUS["projectors"]]),
        "sort_cycles": np.array([cores.sort_cycles(frame.lists, int(n)) for n in MENUS["sorters"]]),
        "sort_area": np.array([cores.sort_area(int(n)) for n in MENUS["sorters"]]),
        "raster_cycles": np.array([cores.raster_cycles(raster, *o) for o in settings]),
        "raster_area": np.array([cores.raster_area(*o) for o in settings]),
        "energy": {
            "project": cores.project_energy(frame.selected),
            "sort": cores.sort_energy(frame.lists),
            "raster": cores.raster_energy(raster),
        },
        "bytes": cores.frame_bytes(
            gaussians=frame.selected, coefficients=frame.coefficients, projected=frame.projected,
            pairs=float(frame.lists.sum()), pixels=frame.pixels,
        ),
        "drawn": frame,
    }  # fmt: skip


def places(columns: Mapping[str, Array], names: tuple[str, ...]) -> Array:
    """(rows,) number of a setting among `options(names)`, from columns of values."""
    found: Any = 0
    for name in names:
        menu = np.array(MENUS[name])
        found = found * len(menu) + np.searchsorted(menu, columns[name])
    return np.asarray(found)


@dataclass(frozen=True, eq=False)
class Stages:
    """Of each row: seconds of each stage, J of each part, m2 of each part; the metrics follow."""

    seconds: dict[str, Array]
    joules: dict[str, Array]
    areas: dict[str, Array]
    fill: Array

    @property
    def frame_time(self) -> Array:
        """The longest stage, and the fill of the pipeline."""
        longest: Array = np.maximum.reduce(list(self.seconds.values()))
        return longest + self.fill


def stages(of: Tables, columns: Mapping[str, Array], rate: float, at: Prices) -> Stages:
    """What a batch of designs takes for a frame.

    columns: name of a hardware variable -> (rows,) values. rate: frames a second that are shown: leakage
    lasts for one of them.
    """
    search = places(columns, SEARCH)
    raster = places(columns, RASTER)
    project, sort, j, n, k = (
        places(columns, (name,)) for name in ("projectors", "sorters", "clock", "node", "channels")
    )
    period = 1.0 / np.array(MENUS["clock"])[j]
    moved = of.bytes + of.search_bytes[search]
    event, leak = at.event[n, j], at.leak[n] / rate
    drawn_28 = {
        "search": of.search_area[search] * at.area["search"],
        "project": of.project_area[project] * at.area["project"],
        "sort": of.sort_area[sort] * at.area["sort"],
        "raster": of.raster_area[raster] * at.area["raster"],
    }
    total = np.sum(list(drawn_28.values()), axis=0)
    shrink = at.shrink[n]
    return Stages(
        {
            "search": of.search_time[search, j, k] * at.time["search"],
            "project": of.project_cycles[project] * at.time["project"] * period,
            "sort": of.sort_cycles[sort] * at.time["sort"] * period,
            "raster": of.raster_cycles[raster] * at.time["raster"] * period,
            "memory": moved / at.attained[k],
        },
        {
            "search": of.search_energy[search] * event,
            **{part: joules * event for part, joules in of.energy.items()},
            "memory": moved * at.dram + at.standing[k] / rate,
            "leakage": total * leak,
        },
        {part: area * shrink for part, area in drawn_28.items()},
        cores.FILL * period,
    )
