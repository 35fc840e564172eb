"""Cores for splatting with level of detail: GSCore, LTcore and SPcore, after published modules.

GSCore (ASPLOS 2024): projectors, chunkers with sorters, cores of volume-rendering lanes that check and
blend in lockstep. LTcore and SPcore after SLTarch (arXiv 2507.21499, only its abstract was readable):
units that stream subtrees; checks for groups of pixels, decoupled from blending lanes by a queue.

Area and energy are modules x counts at GSCore's 28 nm, scaled to the node as the papers scale them
(DeepScaleTool). The modules are GSCore's published table of areas and powers, which adds up to its 3.95 mm2
and 0.87 W; one more number is calibrated on its 190 frames a second, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..hardware.accelerators import accelerator
from ..hardware.energy import DRAM
from ..hardware.record import Device
from ..hardware.technology import Law, core_area_factor, core_energy_factor, core_power_factor
from .cost import Number
from .scheduling import makespan, stream

Array = npt.NDArray[Any]
PICO, KIB = 1e-12, 1024.0
SRAM_AREA = 1.25e-6 / (272 * KIB)  # m2 a byte: GSCore's buffers
# Cycles between Gaussians of a projector: 427 multiply-adds of 0.77 pJ (fp16, 28 nm) in 130 pJ a cycle.
INTERVAL = 2.53
SORT_WIDTH, SORT_CHUNK, PIVOT_BITS = 16, 256, 3  # keys a cycle; keys sorted in one go; buckets of a chunker
LEAKAGE = 0.10  # of the power at full activity; a guess
FILL = 128 + 192 + 64  # cycles until the first pixel: latency of a projector, of a lane, of a sorter
SUBTILE = 64  # pixels that a core's lanes check before the next entry
QUEUE_FILL = 32  # cycles of a tile in which the checks run ahead of the lanes
LATENCY = 100e-9  # s of one DRAM read; a guess
CHANNEL = 12.8e9  # B/s of 32 bits of LPDDR4-3200
CHANNEL_POWER = 25e-3  # W that a channel draws between transfers, device and interface; a guess
# Share of the peak that a frame attains: GSCore moves 91.4 MB for its frame of Lego (NeRArch-Sim: Gaussians
# 78.8, features 9.5, pixels 3.1) 190 times a second, taken to be over the 25.6 GB/s of two such channels.
BANDWIDTH_SHARE = 190 * 91.4e6 / 25.6e9
# Bytes: position; scale, rotation, opacity; a coefficient; a projected Gaussian as ten fp16; a key; a pixel.
POSITION, SHAPE, COEFFICIENT, FEATURE, KEY, PIXEL = 12, 32, 12, 20, 8, 4
SRAM_READ, SRAM_EXPONENT = 0.063 * PICO, 0.53  # J/B of 1 KB at 28 nm: CACTI 7 at 22 nm, scaled
# GSCore's: FIFO; lists and keys; and of its 272 KB the rest, features and pixels, for each of four cores.
PROJECT_MEMORY, SORT_MEMORY, CORE_MEMORY = 8 * KIB, 96 * KIB, 42 * KIB


@dataclass(frozen=True)
class Modules:
    """One of each module at 28 nm: area (m2), and energy (J) of one event at 1 GHz."""

    area: dict[str, float]
    energy: dict[str, float]


@cache
def modules() -> Modules:
    """test: a node of the hierarchy; project: a Gaussian; sort: a key through one pass of a sorter; chunk: a
    key through one pass of a chunker; check: an alpha; blend: a pixel."""
    core, ours = accelerator("gscore"), accelerator("sltarch")
    clock = _value(core, "clock")
    share = _value(ours, "check.share")
    operation = _value(ours, "test.operations") / _value(ours, "projector.operations") * INTERVAL
    area = {
        "test": _value(core, "projector.area") * operation,
        "project": _value(core, "projector.area"),
        "sort": _value(core, "sorter.area"),
        "chunk": _value(core, "chunker.area"),
        "check": _value(core, "lane.area") * share,
        "blend": _value(core, "lane.area") * (1 - share),
    }
    energy = {
        "test": _value(core, "projector.power") / clock * operation,
        "project": _value(core, "projector.power") / clock * INTERVAL,
        "sort": _value(core, "sorter.power") / clock / SORT_WIDTH,
        "chunk": _value(core, "chunker.power") / clock,
        "check": _value(core, "lane.power") / clock * share,
        "blend": _value(core, "lane.power") / clock * (1 - share),
    }
    return Modules(area, energy)


def _value(device: Device, field: str) -> float:
    return float(device.value(field))


# --- area and power ---------------------------------------------------------------------------------


def published(record: Device, law: Law = "deepscale") -> tuple[float, float]:
    """Area (m2) and power (W, all units active) that the model gives a published design of this family.

    Power is scaled as the papers scale it: by "deepscale" the clock rises with the node.

    >>> area, power = published(accelerator("gscore"))
    >>> round(area * 1e6, 2), round(power, 2)
    (3.95, 0.87)
    """
    area, power = drawn_at_28(record)
    node = _value(record, "node")
    power_factor = core_power_factor(node) if law == "deepscale" else core_energy_factor(node, law=law)
    scale = _value(record, "clock") / _value(accelerator("gscore"), "clock")
    return float(area * core_area_factor(node, law=law)), float(power * scale * power_factor)


def drawn_at_28(record: Device) -> tuple[float, float]:
    """Area (m2) and power (W, all units active, GSCore's clock) of a design's units at 28 nm."""
    core = accelerator("gscore")
    each = {"projectors": "projector", "chunkers": "chunker", "sorters": "sorter", "lanes": "lane"}
    share = _value(record, "sram") / _value(core, "sram")
    area, power = (
        sum(_value(record, n) * _value(core, f"{m}.{of}") for n, m in each.items())
        + share * _value(core, f"sram.{of}")
        for of in ("area", "power")
    )
    return area, power


def sram_energy(capacity: Number) -> Number:
    """J a byte read or written in a memory of `capacity` bytes at 28 nm (CACTI 7, fitted)."""
    return SRAM_READ * np.maximum(np.asarray(capacity, np.float64) / KIB, 0.25) ** SRAM_EXPONENT


def voltage_factor(clock: Number) -> Number:
    """Energy of an event relative to 1 GHz: the square of a supply that falls to 0.8 at half the clock."""
    return np.square(0.6 + 0.4 * np.asarray(clock) / 1e9)


def event_factor(node: Number, clock: Number, law: Law = "deepscale") -> Number:
    """Energy of an event at a node and clock relative to 28 nm and 1 GHz."""
    return core_energy_factor(node, law=law) * voltage_factor(clock)


LEAKAGE_DENSITY = LEAKAGE * 0.87 / 3.95e-6  # W a m2 at 28 nm: as GSCore's share of its power


def leakage(area_28: Number, node: Number, law: Law = "deepscale") -> Number:
    """W that `area_28` (m2 as drawn at 28 nm) leaks at a node."""
    return area_28 * LEAKAGE_DENSITY * core_energy_factor(node, law=law)


def dram_energy(kind: str) -> float:
    """J a byte of a kind of DRAM, the table that device records use."""
    return 8 * PICO * DRAM[kind][1]


# --- stages: what a component does with one frame's counts ------------------------------------------


@dataclass(frozen=True, eq=False)
class Search:
    """One search: of each subtree streamed its tests, bytes, cause and number; share: searches a frame."""

    visited: Array
    sizes: Array
    cause: Array
    blocks: Array
    share: float = 1.0

    @cached_property
    def outward(self) -> Array:
        """Places of the subtrees, the nearest to the root first."""
        return np.argsort(self.blocks, kind="stable")

    @property
    def tests(self) -> float:
        """Nodes tested a frame."""
        return float(self.visited.sum()) * self.share

    def spilled(self, depth: int) -> float:
        """Bytes a frame that a queue of `depth` entries writes to DRAM and reads again."""
        entry = _value(accelerator("sltarch"), "entry")
        count = len(self.cause)
        pushed = np.bincount(self.cause[self.cause >= 0], minlength=count)
        known = int((self.cause < 0).sum())  # roots, which are waiting from the start
        waiting = known + np.cumsum(pushed) - np.arange(1, count + 1)  # after each subtree
        beyond = np.clip(waiting - depth, 0, pushed)
        return float(beyond.sum()) * 2 * entry * self.share


@dataclass(frozen=True, eq=False)
class SearchDesign:
    """LTcore: units, buffer (B a unit), queue (entries), cache (B of the subtrees nearest to the root)."""

    units: int
    buffer: float
    queue: int
    cache: float


def search_area(design: SearchDesign) -> float:
    """m2 at 28 nm."""
    entry = _value(accelerator("sltarch"), "entry")
    memory = design.units * design.buffer + design.queue * entry + design.cache
    return modules().area["test"] * design.units + SRAM_AREA * memory


@dataclass(frozen=True)
class SearchCost:
    """Of one frame: cycles, units' utilisation, DRAM bytes, energy (J at 28 nm and 1 GHz)."""

    cycles: float
    busy: float
    bytes: float
    energy: float


def search(work: Search, design: SearchDesign, rate: float, latency: float) -> SearchCost:
    """The search of one frame on an LTcore; rate: DRAM bytes a cycle; latency: cycles of a read."""
    cached = _cached(work, design)
    begun, ends = search_intervals(work, design, rate, latency)
    cycles = float(ends.max(initial=0.0))
    read = float(work.sizes[~cached].sum()) * work.share
    entry, record = (_value(accelerator("sltarch"), name) for name in ("entry", "record"))
    hit = float(work.sizes[cached].sum()) * work.share
    energy = work.tests * (modules().energy["test"] + record * float(sram_energy(design.buffer)))
    energy += (read + hit) * float(sram_energy(design.buffer)) + hit * float(sram_energy(design.cache))
    energy += 2 * entry * len(work.sizes) * work.share * float(sram_energy(design.queue * entry))
    busy = float((ends - begun).sum()) / max(cycles * design.units, 1.0)
    return SearchCost(cycles * work.share, busy, read + work.spilled(design.queue), energy)


def search_intervals(work: Search, design: SearchDesign, rate: float, latency: float) -> tuple[Array, Array]:
    """When the search of each subtree begins and ends, in cycles of one search."""
    largest = float(work.sizes.max(initial=1.0))
    buffers = 2 if design.buffer >= 2 * largest else 1
    pieces = np.ceil(work.sizes / min(max(design.buffer / buffers, 1.0), largest))
    begun, ends = np.empty(len(work.sizes)), np.empty(len(work.sizes))
    stream(
        work.visited.astype(np.float64), work.sizes.astype(np.float64), work.cause, _cached(work, design),
        design.units, buffers, pieces, rate, latency, begun, ends,
    )  # fmt: skip
    return begun, ends


def _cached(work: Search, design: SearchDesign) -> Array:
    """(T,) subtrees that stay on chip from frame to frame: the outermost that fit."""
    cached = np.zeros(len(work.sizes), np.bool_)
    cached[work.outward] = np.cumsum(work.sizes[work.outward]) <= design.cache
    return cached


@dataclass(frozen=True, eq=False)
class Raster:
    """One frame's tiles of 8 x 8 pixels: entries visited, checks of groups, groups that pass, pixels blended.

    side: edge of a group.
    """

    visits: Array
    checks: Array
    passed: Array
    blends: Array
    side: int = 1


def raster_cycles(work: Raster, cores: int, checks: int, lanes: int) -> float:
    """SPcore: each tile takes the longer of its checks and its blends; tiles go to the first free core."""
    return float(makespan(raster_loads(work, checks, lanes), cores))


def raster_loads(work: Raster, checks: int, lanes: int) -> Array:
    """Cycles of each tile on one core."""
    loads: Array = np.maximum(work.checks / checks, work.passed * (work.side**2 / lanes)) + QUEUE_FILL
    return loads


def lockstep_cycles(work: Raster, cores: int, lanes: int) -> float:
    """GSCore: every entry takes all pixels of the tile through the lanes, blended or not."""
    return float(makespan(work.visits * (SUBTILE / lanes) + QUEUE_FILL, cores))


def raster_area(cores: int, checks: int, lanes: int) -> float:
    """m2 at 28 nm: check units and lanes of each core, its memory of features and pixels."""
    one = modules().area
    return cores * (checks * one["check"] + lanes * one["blend"] + SRAM_AREA * CORE_MEMORY)


def raster_energy(work: Raster, lockstep: bool = False) -> float:
    """J of one frame at 28 nm and 1 GHz."""
    one = modules().energy
    checks = work.visits.sum() * SUBTILE if lockstep else work.checks.sum()
    lanes = work.blends.sum() if lockstep else work.passed.sum() * work.side**2
    fetch = work.visits.sum() * FEATURE * float(sram_energy(CORE_MEMORY))
    return float(checks * one["check"] + lanes * one["blend"] + fetch)


def sort_passes(lists: Array) -> tuple[float, float]:
    """Keys x passes of the chunkers, and of the sorters, over all tile lists (keys a list)."""
    keys = np.asarray(lists, np.float64)
    levels = np.ceil(np.log2(np.maximum(keys / SORT_CHUNK, 1.0)) / PIVOT_BITS)
    merges = np.ceil(np.log2(np.maximum(np.minimum(keys, SORT_CHUNK) / SORT_WIDTH, 1.0))) + 1
    return float((keys * levels).sum()), float((keys * merges).sum())


def sort_cycles(lists: Array, sorters: int) -> float:
    """Cycles of `sorters` sorters, each with two chunkers before it, one key a cycle each."""
    chunked, merged = sort_passes(lists)
    return max(chunked / (2 * sorters), merged / (SORT_WIDTH * sorters))


def sort_energy(lists: Array) -> float:
    """J of one frame at 28 nm and 1 GHz."""
    chunked, merged = sort_passes(lists)
    one = modules().energy
    moved = 2 * KEY * (chunked + merged / 2) * float(sram_energy(SORT_MEMORY))
    return chunked * one["chunk"] + merged * one["sort"] + moved


def sort_area(sorters: int) -> float:
    """m2 at 28 nm, with two chunkers a sorter."""
    one = modules().area
    return sorters * (one["sort"] + 2 * one["chunk"]) + SRAM_AREA * SORT_MEMORY


def project_cycles(gaussians: float, projectors: int) -> float:
    """Cycles of projectors that take a Gaussian each INTERVAL cycles."""
    return gaussians * INTERVAL / projectors


def project_energy(gaussians: float) -> float:
    """J of one frame at 28 nm and 1 GHz."""
    return gaussians * (modules().energy["project"] + FEATURE * float(sram_energy(PROJECT_MEMORY)))


def project_area(projectors: int) -> float:
    """m2 at 28 nm."""
    return projectors * modules().area["project"] + SRAM_AREA * PROJECT_MEMORY


def frame_streams(
    *, gaussians: float, coefficients: float, projected: float, pairs: float, pixels: float
) -> dict[str, float]:
    """DRAM bytes of a frame by stream but for the search: Gaussians in, features and keys out and in, pixels.

    gaussians: selected; projected: on the screen; pairs: entries of the tile lists.
    """
    return {
        "Gaussians": gaussians * (POSITION + SHAPE + COEFFICIENT * coefficients),
        "features": (projected + pairs) * FEATURE,
        "keys": 2 * pairs * KEY,
        "pixels": pixels * PIXEL,
    }


def frame_bytes(**work: float) -> float:
    """DRAM bytes of all of `frame_streams`."""
    return sum(frame_streams(**work).values())


def bandwidth(channels: Number) -> Number:
    """B/s that a frame attains over a number of channels."""
    return channels * CHANNEL * BANDWIDTH_SHARE
