"""Energy of arithmetic and of moving bytes: one table a study, never mixed.

Tables give pJ an operation at one node and supply. A device record takes its memory energies from
`DRAM`, and its arithmetic energy from `JOUPPI_7NM` scaled to its node with `scale`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DataError, nearest
from .record import Quantity

PICO = 1e-12

# Memory interface energy in pJ/bit: (low, mid, high). Published figures disagree by 2x and more.
DRAM: dict[str, tuple[float, float, float]] = {
    "hbm2": (3.9, 5.0, 7.0),
    "hbm2e": (3.5, 4.5, 7.0),
    "hbm3": (3.5, 4.3, 7.0),
    "gddr6": (7.0, 7.5, 8.5),
    "gddr6x": (7.0, 7.3, 8.5),
    "lpddr4x": (4.0, 5.0, 6.0),
    "lpddr5": (3.0, 4.0, 5.0),
    "ddr4": (15.0, 17.0, 20.0),
    "ddr5": (12.0, 13.5, 15.0),
}
_DRAM_SOURCE = (
    "pJ/bit of device and interface: HBM2 3.9 in O'Connor et al. MICRO 2017, others remembered; "
    "sources disagree, see low and high"
)


def dram_energy(technology: str) -> Quantity:
    """Energy a byte of one memory technology (J/B), with the range of the sources.

    >>> round(dram_energy("hbm2").value * 1e12, 1)
    40.0
    """
    if technology not in DRAM:
        raise DataError(f"unknown memory technology '{technology}'; {nearest(technology, DRAM)}")
    low, mid, high = (8 * PICO * value for value in DRAM[technology])
    return Quantity(mid, "J/B", f"{technology}: {_DRAM_SOURCE}", "guess", low, high)


def gpu_energy(table: Mapping[str, Quantity], dram: Quantity) -> dict[str, Quantity]:
    """Energy fields of a GPU: `energy.<dtype>` (J/flop), `<level>.energy` (J/B).

    Arithmetic: what is left of the power limit after idle power and full memory traffic, spread over
    the peak of the widest 16-bit format; other formats in inverse proportion to their peak. This is an
    upper bound by construction (a card at its limit runs its peak), so `high` is the value.
    """
    power, idle = table["power"].value, table["idle_power"].value
    bandwidth = table["dram.bandwidth"].value
    fields = {
        "dram.energy": dram,
        "l2.energy": Quantity(
            6e-12, "J/B", "long on-chip wires, order of 1 pJ/bit at 7 nm", "guess", 3e-12, 1e-11
        ),
        "shared.energy": Quantity(
            1.1e-12,
            "J/B",
            "32 KB SRAM, 8.5 pJ for 64 bit at 7 nm (Jouppi et al. ISCA 2021, remembered)",
            "guess",
        ),
    }
    if power is None or idle is None or dram.value is None or bandwidth is None:
        return fields
    left = power - idle - 0.5 * dram.value * bandwidth
    for name, peak in table.items():
        if name.startswith("peak.") and peak.value is not None:
            joules = float(max(left, 0.2 * power) / peak.value)
            fields[f"energy.{name[5:]}"] = Quantity(
                joules,
                "J/flop",
                "(power limit - idle - half the memory power) / peak: bounds a card at its limit from above",
                "derived",
                0.3 * joules,
                joules,
            )
    return fields
