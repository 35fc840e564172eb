"""Rendering cores for Gaussian splatting: published designs, and the modules that new ones are made of.

Each is a `Device` record of quantities with unit, source and kind. They have no memory level of their own
and no general arithmetic, so they stand apart from the catalog of `hardware.device`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..errors import DataError, nearest
from .record import Device, Quantity

NAS = ("NeRArch-Sim (ISCA 2026), modules of GSCore by high-level synthesis and layout at 28 nm", "literature")
GSC = ("GSCore (Lee et al., ASPLOS 2024), abstract and a knowledge base on NeRArch-Sim", "literature")
TAB = ("GSCore, table 7 as a public script quotes it (its rows add up to 3.95 mm2, 0.87 W)", "literature")
NEB = ("Nebula (arXiv 2512.20495), GSCore at 16 nm as its authors scale it", "literature")
NEO = ("Neo (arXiv 2511.12930), tables of area and power at 7 nm", "literature")
LUM = ("Lumina (arXiv 2506.05682, ISCA 2025) as reviewed; 16 nm scaled to 12 nm", "literature")
# Neo's own preprocessing, 0.026 mm2 and 194.9 mW, is four of GSCore's projectors by DeepScaleTool (0.0258,
# 195.0): what is multiplied with 16 cores is what a core of GSCore holds.
FOUR = ("GSCore's four: Neo's preprocessing is them, scaled (0.0258 mm2, 195.0 mW)", "derived")
EACH = ("of 16 cores, as a core of GSCore has them; units were not read", "derived")
MM2, UM2, MILLI, KIB, GIGA = 1e-6, 1e-12, 1e-3, 2.0**10, 1e9

# field -> (value, unit, source, kind[, low, high])
_RECORDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "gscore": {
        "node": (28, "nm", *GSC),
        "clock": (1 * GIGA, "Hz", *GSC),
        "area": (3.95 * MM2, "m2", *GSC),
        "power": (0.87, "W", *GSC),
        "frames": (190, "1/s", *GSC),
        "projectors": (4, "1", "culling and conversion units: " + GSC[0], GSC[1]),
        "chunkers": (8, "1", "quick-sort units: " + GSC[0], GSC[1]),
        "sorters": (4, "1", "bitonic sort units: " + GSC[0], GSC[1]),
        "cores": (4, "1", "64 volume rendering units, a core for each 16: " + GSC[0], "derived"),
        "lanes": (64, "1", "rendering units: " + GSC[0], GSC[1]),
        "sram": (8 * 34 * KIB, "B", "8 banks of 34 KB: " + TAB[0], TAB[1], 248 * KIB, 8 * 34 * KIB),
        "sram.area": (1.25 * MM2, "m2", *TAB),
        "sram.power": (40 * MILLI, "W", *TAB),
        "projector.area": (0.82 / 4 * MM2, "m2", *TAB, 0.17 * MM2, 0.82 / 4 * MM2),
        "projector.power": (520 / 4 * MILLI, "W", *TAB, 130 * MILLI, 140 * MILLI),
        "projector.latency": (128, "cycle", *NAS),
        "chunker.area": (0.01 / 8 * MM2, "m2", *TAB, 226 * UM2, 1875 * UM2),
        "chunker.power": (10 / 8 * MILLI, "W", *TAB, 0.13 * MILLI, 15 / 8 * MILLI),
        "sorter.area": (0.06 / 4 * MM2, "m2", *TAB, 12_645 * UM2, 0.06 / 4 * MM2),
        "sorter.power": (50 / 4 * MILLI, "W", *TAB, 50 / 4 * MILLI, 13.7 * MILLI),
        "lane.area": (1.81 / 64 * MM2, "m2", *TAB, 21_690 * UM2, 1.81 / 64 * MM2),
        "lane.power": (250 / 64 * MILLI, "W", *TAB, 2.61 * MILLI, 250 / 64 * MILLI),
        "lane.latency": (192, "cycle", *NAS),
    },
    "gscore-16nm": {
        "node": (16, "nm", *NEB),
        "clock": (1 * GIGA, "Hz", "assumed as at 28 nm", "guess"),
        "area": (1.78 * MM2, "m2", *NEB),
        "projectors": (4, "1", *NEB),
        "chunkers": (8, "1", "assumed as at 28 nm", "guess"),
        "sorters": (4, "1", *NEB),
        "cores": (8, "1", *NEB),
        "lanes": (128, "1", "8 cores x 16 rendering units: " + NEB[0], NEB[1]),
        "sram": (272 * KIB, "B", "8 feature buffers of 16 KB and 144 KB shared: " + NEB[0], NEB[1]),
    },
    "nebula-256": {
        "node": (16, "nm", *NEB),
        "clock": (1 * GIGA, "Hz", "assumed as at 28 nm", "guess"),
        "area": (1.629 * 2.03 * MM2, "m2", "256 units add 62.9 % to about 2.03 mm2: " + NEB[0], "derived"),
        "projectors": (4, "1", *NEB),
        "chunkers": (8, "1", "assumed as at 28 nm", "guess"),
        "sorters": (4, "1", *NEB),
        "cores": (16, "1", "256 rendering units of 16 a core", "derived"),
        "lanes": (256, "1", *NEB),
        "sram": ((16 * 16 + 144 + 128) * KIB, "B",
                 "16 feature buffers of 16 KB, 144 KB shared, 128 KB for stereo: " + NEB[0], "derived"),
    },
    "gscore-7nm": {
        "node": (7, "nm", *NEO),
        "clock": (1 * GIGA, "Hz", *NEO),
        "area": (0.417 * MM2, "m2", *NEO),
        "power": (719.9 * MILLI, "W", *NEO),
        "projectors": (4, "1", *FOUR),
        "chunkers": (32, "1", "two " + EACH[0], EACH[1]),
        "sorters": (16, "1", "one " + EACH[0], EACH[1]),
        "cores": (16, "1", *NEO),
        "lanes": (256, "1", "16 " + EACH[0], EACH[1]),
        "sram": (4 * 8 * 34 * KIB, "B", "two banks of 34 KB " + EACH[0], EACH[1]),
    },
    "neo": {
        "node": (7, "nm", *NEO),
        "clock": (1 * GIGA, "Hz", *NEO),
        "area": (0.387 * MM2, "m2", *NEO),
        "power": (797.8 * MILLI, "W", *NEO),
        "preprocess.area": (0.026 * MM2, "m2", *NEO), "preprocess.power": (194.9 * MILLI, "W", *NEO),
        "sort.area": (0.053 * MM2, "m2", *NEO), "sort.power": (159.0 * MILLI, "W", *NEO),
        "subtile.area": (0.228 * MM2, "m2", "16 units: " + NEO[0], NEO[1]),
        "subtile.power": (375.0 * MILLI, "W", "16 units: " + NEO[0], NEO[1]),
        "intersect.area": (0.030 * MM2, "m2", "16 units: " + NEO[0], NEO[1]),
        "intersect.power": (58.7 * MILLI, "W", "16 units: " + NEO[0], NEO[1]),
        "buffer.area": (0.050 * MM2, "m2", *NEO), "buffer.power": (10.2 * MILLI, "W", *NEO),
    },
    "lumincore": {
        "node": (12, "nm", *LUM),
        "area": (1.05 * MM2, "m2", *LUM, 1.05 * MM2, 1.15 * MM2),
        "units": (64, "1", *LUM),
        "unit.elements": (4, "1", "check a Gaussian, before one shared back end: " + LUM[0], LUM[1]),
        "unit.area": (0.010 * MM2, "m2", "as NeRArch-Sim models it at 12 nm", "literature"),
        "cache": (52 * KIB, "B", *LUM),
        "sram": ((176 + 6 + 52) * KIB, "B", "feature 176, output 6, cache 52 KB: " + LUM[0], LUM[1]),
    },
    # LTcore and SPcore after SLTarch (arXiv 2507.21499): only the abstract was readable, so these are ours.
    "sltarch": {
        "node": (28, "nm", "the node of GSCore's modules", "guess"),
        "test.operations": (25, "1", "multiply-adds a node: 9 to turn, 8 for planes, 8 for size", "guess"),
        "projector.operations": (427, "1", "multiply-adds: fine filter of StreamingGS", "literature"),
        "check.share": (0.47, "1", "4 checks, 1 blend are Lumina's unit, 1 and 1 GSCore's", "derived"),
        "record": (28, "B", "centre 12, radius 4, extent 4, Gaussian 4, link 4", "guess"),
        "entry": (8, "B", "subtree 4, roots 4", "guess"),
    },
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Names of the records."""
    return tuple(_RECORDS)


@cache
def accelerator(name: str) -> Device:
    """The record of a rendering core; DataError names the nearest.

    >>> accelerator("gscore").value("area") * 1e6
    3.95
    """
    if name not in _RECORDS:
        raise DataError(f"no rendering core is called '{name}'; {nearest(name, _RECORDS)}")
    table = {field: Quantity(value, unit, source, kind, *range_)
             for field, (value, unit, source, kind, *range_) in _RECORDS[name].items()}  # fmt: skip
    return Device(name=name, kind="accelerator", family="splatting", table=table, levels=(), origin=name)
