"""Coefficients of an operator family on a device: found, never computed.

Order: measured on this very device (its record), shipped for the catalog entry it came from, shipped
for the same family, defaults for its kind. The first is tier "calibrated", as is the second while
nobody changed the record; then "same family"; then "uncalibrated".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import DataError
from ..hardware.record import Device
from .cost import Tier
from .defaults import DEFAULTS, SIGMAS

# How much wider the error is where the coefficients come from a sibling (research on A100 and H100).
SAME_FAMILY = 1.25
OUTSIDE = 2.0


@dataclass(frozen=True)
class Coefficients:
    """values: by term, non-negative. sigma: standard deviation of log(measured / predicted), such that
    ± 1.645 sigma is the 90 % conformal interval on held-out shapes.

    decades, sigmas: sigma by log10 of the predicted time, where enough shapes were held out.
    ranges: least and greatest value of a feature in the calibration set. report: errors reached.
    """

    values: Mapping[str, float]
    sigma: float
    decades: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()
    tier: Tier = "uncalibrated"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    source: str = "defaults"

    @classmethod
    def from_record(cls, record: Mapping[str, Any], tier: Tier, source: str) -> Coefficients:
        """From the JSON types of a shipped or stored file; DataError where they do not fit."""
        try:
            return cls(
                {k: float(v) for k, v in record["values"].items()},
                float(record["sigma"]),
                tuple(float(v) for v in record.get("decades", ())),
                tuple(float(v) for v in record.get("sigmas", ())),
                tier,
                {k: (float(v[0]), float(v[1])) for k, v in record.get("ranges", {}).items()},
                record.get("report", {}),
                source,
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"coefficients from {source} cannot be read: {error!r}") from None


@cache
def shipped() -> Mapping[str, Any]:
    """Every shipped coefficient file, by catalog name of its device."""
    folder = files(__package__).joinpath("data")
    records: dict[str, Any] = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name) if folder.is_dir() else []:
        if entry.name.endswith(".json"):
            record = json.loads(entry.read_text())
            records[record["device"]] = record
    return records


def find(device: Device, family: str, dtype: str) -> Coefficients:
    """The coefficients of one operator family for one number format."""
    own = device.calibration.get(family)
    if own:
        if not isinstance(own, Mapping):
            raise DataError(f"the calibration of {device.name} for {family} is damaged; calibrate it again.")
        entry, exact = _nearest(own, dtype)
        tier: Tier = "calibrated" if exact and not device.varied else "same family"
        return _widened(Coefficients.from_record(entry, tier, f"calibration of {device.name}"))
    found = _find_shipped(device.origin, device.family, device.kind, family, dtype)
    if device.varied and found.tier == "calibrated":
        return _widened(replace(found, tier="same family"))
    return found


@cache
def _find_shipped(origin: str, group: str, kind: str, family: str, dtype: str) -> Coefficients:
    """The device's own file, then its family's; a file with this dtype before one with another."""
    files = shipped()
    names = [n for n in files if n == origin] + [
        n for n in files if n != origin and files[n]["family"] == group
    ]
    hits = [
        (n, *_nearest(files[n]["families"][family], dtype)) for n in names if family in files[n]["families"]
    ]
    for name, entry, exact in sorted(hits, key=lambda hit: not hit[2]):
        tier: Tier = "calibrated" if exact and name == origin else "same family"
        return _widened(Coefficients.from_record(entry, tier, name))
    defaults = DEFAULTS[kind].get(family)
    if defaults is None:
        raise DataError(f"no cost model for '{family}' on a {kind}")
    return Coefficients(defaults, SIGMAS.get(family, 0.5))


def _widened(found: Coefficients) -> Coefficients:
    """The error of a sibling's coefficients is larger than on the device they were fitted on."""
    if found.tier != "same family":
        return found
    sigmas = tuple(SAME_FAMILY * sigma for sigma in found.sigmas)
    return replace(found, sigma=SAME_FAMILY * found.sigma, sigmas=sigmas)


_SIBLINGS = {"fp16": ("bf16",), "bf16": ("fp16",), "fp8": ("int8", "bf16", "fp16"), "int8": ("fp8", "bf16")}


def _nearest(entries: Mapping[str, Any], dtype: str) -> tuple[Any, bool]:
    """The entry for a dtype, or for its nearest sibling; and whether it is exact.

    bf16 and fp16 run on the same units at the same rate and count as one; message bytes have no dtype.
    """
    for candidate in (dtype, *_SIBLINGS.get(dtype, ())):
        if candidate in entries:
            return entries[candidate], candidate == dtype or {candidate, dtype} == {"fp16", "bf16"}
    return next(iter(entries.values())), False
