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
    """values: by term, non-negative. sigma: standard deviation of log(measured / predicted).

    quantile: 90 % conformal bound of |log(measured / predicted)| on held-out shapes, None where unknown.
    ranges: least and greatest value of a feature in the calibration set. report: errors reached.
    """

    values: Mapping[str, float]
    sigma: float
    quantile: float | None = None
    tier: Tier = "uncalibrated"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    source: str = "defaults"

    def record(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "values": dict(self.values),
            "sigma": self.sigma,
            "quantile": self.quantile,
            "ranges": {k: list(v) for k, v in self.ranges.items()},
            "report": dict(self.report),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], tier: Tier, source: str) -> Coefficients:
        """The inverse of `record`."""
        try:
            return cls(
                {k: float(v) for k, v in record["values"].items()},
                float(record["sigma"]),
                record.get("quantile"),
                tier,
                {k: (float(v[0]), float(v[1])) for k, v in record.get("ranges", {}).items()},
                record.get("report", {}),
                source,
            )
        except (KeyError, TypeError, ValueError) as error:
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
    own = _pick(device.calibration, family, dtype)
    if own is not None:
        record, exact = own
        tier: Tier = "calibrated" if exact and not device.varied else "same family"
        return _widened(Coefficients.from_record(record, tier, f"calibration of {device.name}"))
    found = _find_shipped(device.origin, device.family, device.kind, family, dtype)
    if device.varied and found.tier == "calibrated":
        return _widened(replace(found, tier="same family"))
    return found


@cache
def _find_shipped(origin: str, group: str, kind: str, family: str, dtype: str) -> Coefficients:
    records = shipped()
    if origin in records and (hit := _pick(records[origin]["families"], family, dtype)):
        tier: Tier = "calibrated" if hit[1] else "same family"
        return _widened(Coefficients.from_record(hit[0], tier, origin))
    for name, record in records.items():
        if record["family"] == group and (hit := _pick(record["families"], family, dtype)):
            return _widened(Coefficients.from_record(hit[0], "same family", name))
    defaults = DEFAULTS[kind].get(family)
    if defaults is None:
        raise DataError(f"no cost model for '{family}' on a {kind}")
    return Coefficients(defaults, SIGMAS.get(family, 0.5))


def _widened(found: Coefficients) -> Coefficients:
    """The error of a sibling's coefficients is larger than on the device they were fitted on."""
    if found.tier != "same family":
        return found
    quantile = None if found.quantile is None else SAME_FAMILY * found.quantile
    return replace(found, sigma=SAME_FAMILY * found.sigma, quantile=quantile)


_SIBLINGS = {"fp16": ("fp16", "bf16"), "bf16": ("bf16", "fp16"), "fp8": ("fp8", "int8", "bf16", "fp16")}


def _pick(families: Mapping[str, Any], family: str, dtype: str) -> tuple[Any, bool] | None:
    """The entry of a family for a dtype, or for its nearest sibling; and whether it is exact.

    bf16 and fp16 run on the same units at the same rate and count as one.
    """
    entries = families.get(family)
    if not entries:
        return None
    same = {dtype, *({"fp16", "bf16"} if dtype in {"fp16", "bf16"} else ())}
    for candidate in _SIBLINGS.get(dtype, (dtype,)):
        if candidate in entries:
            return entries[candidate], candidate in same
    return next(iter(entries.values())), False
