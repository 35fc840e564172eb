"""The GPUs of the catalog. Peaks are dense; bandwidths are datasheet peaks.

Numbers marked "guess" are remembered and were not checked against a document.
"""

from __future__ import annotations

from typing import Any

from ..errors import DataError
from .energy import dram_energy, gpu_energy
from .links import link
from .record import Device, Quantity

TERA, GIGA, MEBI, GIBI, KIBI = 1e12, 1e9, 2.0**20, 2.0**30, 2.0**10

AC = ("AIConfigurator system files (NVIDIA, Apache-2.0)", "datasheet")
NS = ("NeuSight device files (MIT)", "datasheet")
LV = ("LLM-Viewer hardware table, after NVIDIA white papers", "datasheet")
LC = ("LLMCompass GA100 description (BSD-3)", "literature")
QUERY = ("deviceQuery output published for the board", "measured")
ORIN = ("NVIDIA Jetson Orin datasheet", "datasheet")
V100 = ("table of the V100 launch, read at xenon.com.au and techrival.com", "literature")
H200 = ("published H200 tables (132 cores, 141 GB, 4.8 TB/s, 700 W, the H100 die), read", "literature")
RTX = ("published RTX 4090 tables, read at thefpsreview.com and waredb.com", "literature")
ME = ("remembered by the authors, not checked against a document", "guess")

# Each number is (value, source, kind[, low, high]); peaks in Tflop/s, memory in GiB and GB/s, L2 in MiB,
# shared in KiB a core, clock in GHz, area in mm2, node in nm, power in W.
_GPUS: dict[str, dict[str, Any]] = {
    "v100-sxm-32gb": {
        "family": "volta", "cores": (80, *NS), "clock": (1.53, *ME),
        "peaks": {"fp32": (15.7, *ME), "fp16": (125.0, *ME), "int8": (62.0, *LV)},
        "shared": (96, *V100), "l2": (6, *NS), "l2_bytes_per_clock": (2048, *ME), "dram": (32, *NS),
        "bandwidth": (900, *NS), "technology": "hbm2", "links": {"pcie": "pcie3-x16", "nvlink": "nvlink2"},
        "power": (300, *V100), "idle": (45, *ME), "area": (815, *V100), "node": (12, *V100),
    },
    "v100-pcie-32gb": {
        "family": "volta", "cores": (80, *NS), "clock": (1.37, *NS),
        "peaks": {"fp32": (14.0, *NS), "fp16": (112.0, *LV), "int8": (62.0, *LV)},
        "shared": (96, *V100), "l2": (6, *NS), "l2_bytes_per_clock": (2048, *ME), "dram": (32, *NS),
        "bandwidth": (900, *NS), "technology": "hbm2", "links": {"pcie": "pcie3-x16"},
        "power": (250, *ME), "idle": (40, *ME), "area": (815, *V100), "node": (12, *V100),
    },
    "a100-pcie-40gb": {
        "family": "ampere", "cores": (108, *NS), "clock": (1.41, *NS),
        "peaks": {"fp32": (19.5, *NS), "tf32": (156.0, *ME), "fp16": (312.0, *LV), "bf16": (312.0, *LV),
                  "int8": (624.0, *LV)},
        "shared": (164, *ME), "l2": (40, *NS), "l2_bytes_per_clock": (5120, *LC), "dram": (40, *NS),
        "bandwidth": (1555, *NS), "technology": "hbm2e", "links": {"pcie": "pcie4-x16", "nvlink": "nvlink3"},
        "power": (250, *ME), "idle": (45, *ME), "area": (826, *ME), "node": (7, *ME),
    },
    "a100-pcie-80gb": {
        "family": "ampere", "cores": (108, *NS), "clock": (1.41, *NS),
        "peaks": {"fp32": (19.5, *NS), "tf32": (156.0, *ME), "fp16": (312.0, *LV), "bf16": (312.0, *LV),
                  "int8": (624.0, *LV)},
        "shared": (164, *ME), "l2": (40, *NS), "l2_bytes_per_clock": (5120, *LC), "dram": (80, *NS),
        "bandwidth": (1935, *NS), "technology": "hbm2e", "links": {"pcie": "pcie4-x16", "nvlink": "nvlink3"},
        "power": (300, *ME), "idle": (50, *ME), "area": (826, *ME), "node": (7, *ME),
    },
    "a100-sxm-80gb": {
        "family": "ampere", "cores": (108, *NS), "clock": (1.41, *NS),
        "peaks": {"fp32": (19.5, *AC), "tf32": (156.0, *ME), "fp16": (312.0, *AC), "bf16": (312.0, *AC),
                  "int8": (624.0, *AC)},
        "shared": (164, *ME), "l2": (40, *NS), "l2_bytes_per_clock": (5120, *LC), "dram": (80, *AC),
        "bandwidth": (2039, *AC), "technology": "hbm2e",
        "links": {"pcie": "pcie4-x16", "nvlink": "nvlink3", "infiniband": "infiniband-hdr"},
        "power": (400, *AC), "idle": (60, *ME), "area": (826, *ME), "node": (7, *ME),
    },
    "h100-sxm-80gb": {
        "family": "hopper", "cores": (132, *NS), "clock": (1.83, "989 Tflop/s / (132 x 4096 flop a clock); "
                                                           "NeuSight lists a maximum of 1.98 GHz", "derived"),
        "peaks": {"fp32": (66.9, *NS), "tf32": (494.0, *ME), "fp16": (989.0, *AC), "bf16": (989.0, *AC),
                  "fp8": (1978.0, *AC), "int8": (1978.0, *AC)},
        "shared": (228, *ME), "l2": (50, *NS), "l2_bytes_per_clock": (5120, *ME), "dram": (80, *AC),
        "bandwidth": (3350, "AIConfigurator 3350; LLM-Viewer 3072, GenZ 3400, NeuSight 3430", "datasheet",
                      3072, 3430),
        "technology": "hbm3",
        "links": {"pcie": "pcie5-x16", "nvlink": "nvlink4", "infiniband": "infiniband-ndr"},
        "power": (700, *AC), "idle": (80, *ME), "area": (814, *ME), "node": (4, *ME),
    },
    "h100-pcie-80gb": {
        "family": "hopper", "cores": (114, *ME), "clock": (1.62, "756.5 Tflop/s / (114 x 4096 flop a clock)",
                                                           "derived"),
        "peaks": {"fp32": (51.0, *ME), "tf32": (378.0, *ME), "fp16": (756.5, *LV), "bf16": (756.5, *LV),
                  "fp8": (1513.0, *LV), "int8": (1513.0, *LV)},
        "shared": (228, *ME), "l2": (50, *ME), "l2_bytes_per_clock": (5120, *ME), "dram": (80, *LV),
        "bandwidth": (2048, *LV), "technology": "hbm2e", "links": {"pcie": "pcie5-x16", "nvlink": "nvlink4"},
        "power": (350, *ME), "idle": (60, *ME), "area": (814, *ME), "node": (4, *ME),
    },
    "h200-sxm-141gb": {
        "family": "hopper", "cores": (132, *H200), "clock": (1.83, *ME),
        "peaks": {"fp32": (66.9, *ME), "tf32": (494.0, *ME), "fp16": (989.0, *H200), "bf16": (989.0, *H200),
                  "fp8": (1978.0, *H200), "int8": (1978.0, *H200)},
        "shared": (228, *ME), "l2": (50, *ME), "l2_bytes_per_clock": (5120, *ME), "dram": (131.3, *H200),
        "bandwidth": (4800, *H200), "technology": "hbm3",
        "links": {"pcie": "pcie5-x16", "nvlink": "nvlink4", "infiniband": "infiniband-ndr"},
        "power": (700, *H200), "idle": (80, *ME), "area": (814, *H200), "node": (4, *H200),
    },
    "l4-24gb": {
        "family": "ada", "cores": (58, "remembered by the authors; NeuSight lists 60", "guess", 58, 60),
        "clock": (2.04, *ME),
        "peaks": {"fp32": (30.3, "remembered by the authors; NeuSight lists 31.3", "guess", 30.3, 31.3),
                  "fp16": (121.0, *ME), "bf16": (121.0, *ME), "fp8": (242.0, *ME), "int8": (242.0, *ME)},
        "shared": (100, *ME), "l2": (48, *NS), "l2_bytes_per_clock": (2048, *ME), "dram": (24, *NS),
        "bandwidth": (300, *NS), "technology": "gddr6", "links": {"pcie": "pcie4-x16"},
        "power": (72, *ME), "idle": (16, *ME), "area": (294, *ME), "node": (4, *ME),
    },
    "l40s-48gb": {
        "family": "ada", "cores": (142, *ME), "clock": (2.52, *ME),
        "peaks": {"fp32": (91.6, *ME), "fp16": (362.0, *AC), "bf16": (362.0, *AC), "fp8": (733.0, *AC),
                  "int8": (733.0, *AC)},
        "shared": (100, *ME), "l2": (96, *ME), "l2_bytes_per_clock": (3072, *ME), "dram": (48, *ME),
        "bandwidth": (864, *AC), "technology": "gddr6", "links": {"pcie": "pcie4-x16"},
        "power": (350, *AC), "idle": (35, *ME), "area": (609, *ME), "node": (4, *ME),
    },
    "t4-16gb": {
        "family": "turing", "cores": (40, *NS), "clock": (1.59, *NS),
        "peaks": {"fp32": (8.1, *NS), "fp16": (65.0, *ME), "int8": (130.0, *ME)},
        "shared": (64, *ME), "l2": (4, *NS), "l2_bytes_per_clock": (1024, *ME), "dram": (16, *NS),
        "bandwidth": (320, *NS), "technology": "gddr6", "links": {"pcie": "pcie3-x16"},
        "power": (70, *ME), "idle": (10, *ME), "area": (545, *ME), "node": (12, *ME),
    },
    "rtx4090-24gb": {
        "family": "ada", "cores": (128, *RTX), "clock": (2.52, *RTX),
        "peaks": {"fp32": (82.6, *RTX), "bf16": (165.15, *RTX),
                  "fp16": (165.15, "with fp32 accumulation, read at waredb.com", "literature"),
                  "fp8": (330.3, *RTX), "int8": (660.6, *RTX)},
        "shared": (100, *ME), "l2": (72, *RTX), "l2_bytes_per_clock": (3072, *ME), "dram": (24, *RTX),
        "bandwidth": (1008, *RTX), "technology": "gddr6x", "links": {"pcie": "pcie4-x16"},
        "power": (450, *RTX), "idle": (20, *ME), "area": (608.5, *RTX), "node": (4, *RTX),
    },
    "jetson-agx-xavier": {
        "family": "volta-mobile", "cores": (8, *QUERY), "clock": (1.377, *QUERY),
        "peaks": {"fp32": (1.41, "8 x 64 lanes x 2 x 1.377 GHz", "derived"), "fp16": (11.0, *ME),
                  "int8": (22.0, "GPU alone, without the DLA; remembered", "guess")},
        "shared": (96, *ME), "l2": (0.5, *QUERY), "l2_bytes_per_clock": (512, *ME), "dram": (32, *ME),
        "bandwidth": (137, "256-bit LPDDR4x, deviceQuery output published for the board", "measured"),
        "technology": "lpddr4x", "links": {}, "power": (30, *QUERY), "idle": (5, *ME),
        "area": (350, *ME), "node": (12, *ME),
    },
    "jetson-orin-nx-16gb": {
        "family": "ampere-mobile", "cores": (8, *ME), "clock": (0.918, *ME),
        "peaks": {"fp32": (1.88, *ME), "fp16": (15.0, *ME), "bf16": (15.0, *ME),
                  "int8": (30.0, "dense, GPU alone; the datasheet's 100 has sparsity and DLA", "guess")},
        "shared": (164, *ME), "l2": (2, "remembered by the authors: 2 to 4 MiB", "guess", 2, 4),
        "l2_bytes_per_clock": (512, *ME), "dram": (16, *ORIN), "bandwidth": (102.4, *ORIN),
        "technology": "lpddr5", "links": {}, "power": (25, *ORIN), "idle": (5, *ME), "area": (None, *ME),
        "node": (8, "Samsung 8 nm, NVIDIA Jetson Orin product page", "datasheet"),
    },
    "jetson-agx-orin-64gb": {
        "family": "ampere-mobile", "cores": (16, *ME), "clock": (1.3, *ME),
        "peaks": {"fp32": (5.3, *ME), "fp16": (42.0, *ME), "bf16": (42.0, *ME),
                  "int8": (85.0, "dense, GPU alone; the datasheet's 275 has sparsity and DLA", "guess")},
        "shared": (164, *ME), "l2": (4, *ME), "l2_bytes_per_clock": (1024, *ME), "dram": (64, *ORIN),
        "bandwidth": (204.8, *ORIN), "technology": "lpddr5", "links": {}, "power": (60, *ORIN),
        "idle": (8, *ME), "area": (455, *ME),
        "node": (8, "Samsung 8 nm, NVIDIA Jetson Orin product page", "datasheet"),
    },
}  # fmt: skip


def build(name: str) -> Device:
    """The record of one GPU."""
    if name not in _GPUS:
        raise DataError(f"no GPU is called '{name}'")
    g = _GPUS[name]

    def q(entry: tuple[Any, ...], unit: str, scale: float = 1.0) -> Quantity:
        value, source, kind, *range_ = entry
        low, high = (bound * scale for bound in range_) if range_ else (None, None)
        return Quantity(None if value is None else value * scale, unit, source, kind, low, high)

    clock, cores = g["clock"][0] * GIGA, g["cores"][0]
    table = {
        "cores": q(g["cores"], ""),
        "clock": q(g["clock"], "Hz", GIGA),
        **{f"peak.{dtype}": q(peak, "flop/s", TERA) for dtype, peak in g["peaks"].items()},
        "special": Quantity(
            16 * cores * clock, "op/s", "16 special-function results a core and clock (CUDA guide)", "derived"
        ),
        "shared.capacity": q(g["shared"], "B", KIBI),
        "shared.bandwidth": Quantity(
            128 * cores * clock, "B/s", "128 B a core and clock (CUDA programming guide)", "derived"
        ),
        "l2.capacity": q(g["l2"], "B", MEBI),
        "l2.bandwidth": Quantity(
            g["l2_bytes_per_clock"][0] * clock,
            "B/s",
            f"{g['l2_bytes_per_clock'][0]} B a clock x clock: {g['l2_bytes_per_clock'][1]}",
            "guess" if g["l2_bytes_per_clock"][2] == "guess" else "derived",
        ),
        "dram.capacity": q(g["dram"], "B", GIBI),
        "dram.bandwidth": q(g["bandwidth"], "B/s", GIGA),
        "launch": Quantity(
            2e-6,
            "s",
            "gap between kernels of one stream, fitted on A100 and H100 profiles: 1.3 to 1.9 us",
            "guess",
        ),
        "power": q(g["power"], "W"),
        "idle_power": q(g["idle"], "W"),
        "area": q(g["area"], "m2", 1e-6),
        "node": q(g["node"], "nm"),
    }
    table |= gpu_energy(name, table, dram_energy(g["technology"]))
    for short, standard in g["links"].items():
        table |= link(short, standard)
    return Device(
        name=name,
        kind="gpu",
        family=g["family"],
        table=table,
        levels=("shared", "l2", "dram"),
        core_levels=("shared",),
        links=tuple(g["links"]),
        origin=name,
    )
