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


# Decode of a 70B model on 2, 4 and 8 A100 at 400 W draws 272, 207 and 155 W a card while each reads 1.25,
# 0.79 and 0.39 TB/s: 102 W as soon as a kernel runs, and 136 pJ a byte from memory to register.
_SPLITWISE = "average power of Llama-2-70B decode on A100, Splitwise measurements (MIT)"
BUSY_SHARE = 102.0 / 400.0
BYTE_ENERGY = 136e-12


def gpu_energy(name: str, table: Mapping[str, Quantity], dram: Quantity) -> dict[str, Quantity]:
    """Energy fields of a GPU: `busy_power` (W), `energy.<dtype>` (J/flop), `<level>.energy` (J/B).

    Busy power and the energy of a byte between L2 and register are measured on A100; other GPUs take
    the same share of their power limit and the same wires. Arithmetic is what the limit leaves over
    busy power at the peak: a card at its limit runs at most its peak, so this bounds it from below
    where the card is never limited, and formats share in inverse proportion to their peaks.
    """
    measured = name.startswith("a100-sxm")
    wires = BYTE_ENERGY - 8 * PICO * DRAM["hbm2e"][1]
    fields = {
        "dram.energy": dram,
        "l2.energy": Quantity(
            wires,
            "J/B",
            _SPLITWISE + ": 136 pJ/B less the memory's own" + ("" if measured else "; taken from A100"),
            "measured" if measured else "guess",
            6e-12,
            wires,
        ),
        "shared.energy": Quantity(
            1.1e-12,
            "J/B",
            "32 KB SRAM, 8.5 pJ for 64 bit at 7 nm (Jouppi et al. ISCA 2021, remembered)",
            "guess",
        ),
    }
    power = table["power"].value
    if power is None:
        return fields
    busy = BUSY_SHARE * float(power)
    fields["busy_power"] = Quantity(
        busy,
        "W",
        _SPLITWISE if measured else "the share of the limit that A100 shows (102 of 400 W)",
        "measured" if measured else "guess",
    )
    for field, peak in table.items():
        if field.startswith("peak.") and peak.value is not None:
            joules = (float(power) - busy) / float(peak.value)
            fields[f"energy.{field[5:]}"] = Quantity(
                joules, "J/flop", "(power limit - busy power) / peak", "derived", 0.3 * joules, joules
            )
    return fields
