"""Links between devices: PCI Express, NVLink, InfiniBand. Rates are per direction.

bandwidth is the raw rate of the standard; what a copy attains is a coefficient of the cost model.
"""

from __future__ import annotations

from .record import Quantity

_STANDARD = "PCI-SIG base specification: {} GT/s a lane, 128b/130b, {} lanes"
_REMEMBERED = "remembered by the authors, not checked against a document"
PJ_PER_BIT = 8e-12  # J/B for one pJ/bit

# name of the standard -> (bandwidth B/s, source, kind, energy pJ/bit or None)
STANDARDS: dict[str, tuple[float, str, str, float | None]] = {
    "pcie3-x16": (15.75e9, _STANDARD.format(8, 16), "derived", 6.0),
    "pcie4-x16": (31.5e9, _STANDARD.format(16, 16), "derived", 5.5),
    "pcie5-x16": (63.0e9, _STANDARD.format(32, 16), "derived", 5.0),
    "nvlink2": (150e9, "6 links of 25 GB/s per direction, NVIDIA V100 (SXM2)", "guess", None),
    "nvlink3": (300e9, "12 links of 25 GB/s a direction; AIConfigurator, LLMCompass", "datasheet", None),
    "nvlink4": (450e9, "18 links of 25 GB/s per direction; AIConfigurator h100_sxm", "datasheet", None),
    "infiniband-ndr": (50e9, "400 Gbit/s a port; AIConfigurator inter-node setting", "datasheet", None),
    "infiniband-hdr": (25e9, "200 Gbit/s a port; " + _REMEMBERED, "guess", None),
}  # fmt: skip


def link(name: str, standard: str, latency: float = 1.5e-6) -> dict[str, Quantity]:
    """The fields of one link of a device: `<name>.bandwidth`, `.latency`, `.energy`."""
    bandwidth, source, kind, energy = STANDARDS[standard]
    return {
        f"{name}.bandwidth": Quantity(bandwidth, "B/s", f"{standard}: {source}", kind),  # type: ignore[arg-type]
        f"{name}.latency": Quantity(latency, "s", _REMEMBERED + " (1 to 2 us a transfer)", "guess"),
        f"{name}.energy": Quantity(
            None if energy is None else energy * PJ_PER_BIT, "J/B", _REMEMBERED + " (5 to 6 pJ/bit)", "guess"
        ),
    }
