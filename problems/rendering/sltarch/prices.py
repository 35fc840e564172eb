"""What an event, an area, a byte and a cycle cost under each shared choice, and how far each may be off.

A draw of the model's errors is one standard normal number a source, in the order of SOURCES; each scales its
prices by exp(z sigma). Standard errors are half the distance (in logarithms) between two published numbers,
where there are two, else said to be guesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ....costmodels import splatting_cores as cores
from ....hardware.technology import Law, core_area_factor, core_energy_factor
from .designs import MENUS

Array = npt.NDArray[Any]
PARTS = ("search", "project", "sort", "raster")


@dataclass(frozen=True)
class Source:
    """A number that is not known well: its standard error (of the logarithm), whence, and what settles it."""

    sigma: float
    reason: str
    measurement: str


_SYNTHESIS = "synthesise the unit at 28 nm and read its area"
SOURCES: dict[str, Source] = {
    "area of search units": Source(0.3, "reconstructed; a guess", _SYNTHESIS),
    "area of projectors": Source(0.09, "0.205 mm2 (GSCore), 0.17 mm2 (NeRArch-Sim)", _SYNTHESIS),
    "area of sorters": Source(0.09, "15,000 um2 (GSCore), 12,645 um2 (NeRArch-Sim)", _SYNTHESIS),
    "area of raster cores": Source(0.13, "28,300 um2 (GSCore), 21,690 um2 (NeRArch-Sim) a lane", _SYNTHESIS),
    "scaling of area": Source(
        1.0, "half of what two published tables differ by at the node", "place one core at the node"
    ),
    "scaling of energy": Source(
        1.0, "half of what two published tables differ by at the node", "read one core's power at the node"
    ),
    "energy of events": Source(
        0.2, "modules are priced as if always busy; a guess", "simulate the netlist on one frame's trace"
    ),
    "leakage": Source(0.5, "a tenth of GSCore's power; a guess", "read the leakage of one synthesised core"),
    "energy of DRAM": Source(0.13, "3 to 6 pJ a bit by kind", "read the memory's power at a known bandwidth"),
    "idle power of DRAM": Source(0.5, "25 mW a channel; a guess", "read the memory's power while it idles"),
    "bandwidth attained": Source(
        0.2, "from one frame of GSCore; a guess", "replay one frame's addresses through a DRAM simulator"
    ),
    "cycles of search units": Source(0.3, "reconstructed; a guess", "simulate it on one frame's subtrees"),
    "cycles of GSCore's units": Source(
        0.2, "throughputs of published modules; a guess", "simulate the units on one frame's tiles"
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prices:
    """event (nodes, clocks): of an event relative to 28 nm and 1 GHz. shrink (nodes,): of an area drawn at
    28 nm. leak (nodes,): W of such an area, a m2. attained (channels,): B/s. standing (channels,): W between
    transfers. dram: J a byte. area, time: factors by part.
    """

    event: Array
    shrink: Array
    leak: Array
    attained: Array
    standing: Array
    dram: float
    area: dict[str, float]
    time: dict[str, float]


@lru_cache(maxsize=64)
def prices(dram: str, law: Law, drawn: tuple[float, ...] = ()) -> Prices:
    """Prices with one kind of DRAM and one law of scaling, under a draw of the errors (none: as stated)."""
    z = dict(zip(SOURCES, drawn, strict=True)) if drawn else dict.fromkeys(SOURCES, 0.0)
    by = {name: float(np.exp(z[name] * source.sigma)) for name, source in SOURCES.items()}
    nodes, channels = np.array(MENUS["node"]), np.array(MENUS["channels"])
    spread = scaling_errors()
    scaled = np.asarray(core_energy_factor(nodes, law=law)) * np.exp(
        z["scaling of energy"] * spread["energy"]
    )
    units = by["cycles of GSCore's units"]
    voltage = np.asarray(cores.voltage_factor(np.array(MENUS["clock"])))
    area = ("area of search units", "area of projectors", "area of sorters", "area of raster cores")
    return Prices(
        scaled[:, None] * voltage * by["energy of events"],
        np.asarray(core_area_factor(nodes, law=law)) * np.exp(z["scaling of area"] * spread["area"]),
        cores.LEAKAGE_DENSITY * scaled * by["leakage"],
        np.asarray(cores.bandwidth(channels)) * by["bandwidth attained"],
        channels * cores.CHANNEL_POWER * by["idle power of DRAM"],
        cores.dram_energy(dram) * by["energy of DRAM"],
        {part: by[name] for part, name in zip(PARTS, area, strict=True)},
        {part: by["cycles of search units"] if part == "search" else units for part in PARTS},
    )


@lru_cache(maxsize=1)
def scaling_errors() -> dict[str, Array]:
    """(nodes,) half of the distance between the two published laws, in logarithms: of area, of energy."""
    nodes = np.array(MENUS["node"])
    return {
        name: 0.5 * np.abs(np.log(factor(nodes, law="stillmaker") / factor(nodes, law="deepscale")))
        for name, factor in (("area", core_area_factor), ("energy", core_energy_factor))
    }
