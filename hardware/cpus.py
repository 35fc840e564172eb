"""The CPUs of the catalog, one socket each. AMX peak = cores x operations a cycle x AMX clock."""

from __future__ import annotations

from typing import Any

from ..errors import DataError
from .energy import dram_energy
from .links import link
from .record import Device, Kind, Quantity

ME: tuple[str, Kind] = ("remembered by the authors, not checked against a document", "guess")
AMX = "AMX: 1024 bf16 and 2048 int8 operations a cycle and core (Intel), x clock x cores"
_CPUS: dict[str, dict[str, Any]] = {
    "xeon-6462c": {"family": "sapphire-rapids", "cores": 32,
                    "clock": 3.3, "amx_clock": 3.2, "l2": 2, "l3": 60,
                   "channels": (8, 4.8), "technology": "ddr5", "power": 300, "node": 7, "pcie": "pcie5-x16"},
    "xeon-8462y": {"family": "sapphire-rapids", "cores": 32,
                    "clock": 2.8, "amx_clock": 2.8, "l2": 2, "l3": 60,
                   "channels": (8, 4.8), "technology": "ddr5", "power": 300, "node": 7, "pcie": "pcie5-x16"},
    "xeon-6430": {"family": "sapphire-rapids", "cores": 32,
                    "clock": 2.1, "amx_clock": 2.1, "l2": 2, "l3": 60,
                  "channels": (8, 4.4), "technology": "ddr5", "power": 270, "node": 7, "pcie": "pcie5-x16"},
    "epyc-9354": {"family": "zen4", "cores": 32, "clock": 3.25, "amx_clock": None, "l2": 1, "l3": 256,
                  "channels": (12, 4.8), "technology": "ddr5", "power": 280, "node": 5, "pcie": "pcie5-x16"},
}  # fmt: skip


# The same socket with fewer cores given to the job: caches and memory stay whole.
for _cores in (16, 8):
    _CPUS[f"xeon-6462c-{_cores}c"] = _CPUS["xeon-6462c"] | {"cores": _cores}


def build(name: str) -> Device:
    """The record of one CPU socket."""
    if name not in _CPUS:
        raise DataError(f"no CPU is called '{name}'")
    c = _CPUS[name]
    cores, clock = float(c["cores"]), c["clock"] * 1e9
    channels, rate = c["channels"]
    fp32 = (64 if c["family"] == "sapphire-rapids" else 32) * clock * cores
    bf16 = 1024 * c["amx_clock"] * 1e9 * cores if c["amx_clock"] else 2 * fp32
    int8 = 2 * bf16
    bf16_source = AMX if c["amx_clock"] else "AVX-512 BF16, 2 x fp32; " + ME[0]
    table = {
        "cores": Quantity(cores, "", *ME),
        "clock": Quantity(clock, "Hz", *ME),
        "peak.fp32": Quantity(fp32, "flop/s", "AVX-512 lanes x 2 x clock x cores; clock remembered", "guess"),
        "peak.bf16": Quantity(bf16, "flop/s", bf16_source, "guess"),
        "peak.int8": Quantity(int8, "flop/s", bf16_source, "guess"),
        "special": Quantity(
            4 * clock * cores, "op/s", "vectorised exponential, 4 results a clock and core", "guess"
        ),
        "l1.capacity": Quantity(48 * 2.0**10 if c["family"] != "zen4" else 32 * 2.0**10, "B", *ME),
        "l1.bandwidth": Quantity(128 * clock * cores, "B/s", "two 64 B loads a clock and core", "guess"),
        "l1.energy": Quantity(1.1e-12, "J/B", "32 KB SRAM, 8.5 pJ for 64 bit at 7 nm (remembered)", "guess"),
        "l2.capacity": Quantity(c["l2"] * 2.0**20, "B", *ME),
        "l2.bandwidth": Quantity(48 * clock * cores, "B/s", "48 B a clock and core sustained", "guess"),
        "l2.energy": Quantity(1.8e-12, "J/B", "1 MB SRAM, 14 pJ for 64 bit at 7 nm (remembered)", "guess"),
        "l3.capacity": Quantity(c["l3"] * 2.0**20, "B", *ME),
        "l3.bandwidth": Quantity(
            16 * clock * cores, "B/s", "16 B a clock and core through the mesh", "guess"
        ),
        "l3.energy": Quantity(
            6e-12, "J/B", "long on-chip wires, order of 1 pJ/bit at 7 nm", "guess", 3e-12, 1e-11
        ),
        "dram.capacity": Quantity(256 * 2.0**30, "B", "a common configuration; set it to yours", "guess"),
        "dram.bandwidth": Quantity(
            channels * rate * 8e9, "B/s", f"{channels} channels x {rate} GT/s x 8 B, {ME[0]}", "guess"
        ),
        "dram.energy": dram_energy(c["technology"]),
        "launch": Quantity(
            2e-6, "s", "one framework operator call, 1 to 3 us measured on a Zen 5 host", "guess"
        ),
        "power": Quantity(float(c["power"]), "W", *ME),
        "idle_power": Quantity(0.3 * c["power"], "W", "30 % of the package limit", "guess"),
        "area": Quantity(None, "m2", *ME),
        "node": Quantity(float(c["node"]), "nm", *ME),
    }
    for dtype, peak in (("fp32", fp32), ("bf16", bf16), ("int8", int8)):
        table[f"energy.{dtype}"] = Quantity(
            0.6 * c["power"] / peak, "J/flop", "60 % of the power limit spread over the peak", "guess"
        )
    table |= link("pcie", c["pcie"])
    return Device(
        name=name,
        kind="cpu",
        family=c["family"],
        table=table,
        levels=("l1", "l2", "l3", "dram"),
        core_levels=("l1", "l2"),
        links=("pcie",),
        origin=name,
    )
