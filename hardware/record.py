"""The frozen record of one device: a flat table of quantities, each with unit, source and kind.

A field is a path: `clock`, `cores`, `peak.bf16`, `dram.bandwidth`, `pcie.latency`. Values are floats,
or arrays in a sweep of designs (last axis), or None where nobody knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, nearest
from .dtypes import canonical

Value: TypeAlias = "float | NDArray[np.float64]"
Kind = Literal["datasheet", "derived", "measured", "literature", "guess"]
DEVICE_KINDS = ("gpu", "cpu", "accelerator")
KINDS: tuple[str, ...] = ("datasheet", "derived", "measured", "literature", "guess")


@dataclass(frozen=True, eq=False)
class Quantity:
    """One number: value (SI unless the unit says otherwise; None is unknown), unit, source, kind.

    low, high: where sources disagree, the least and the greatest of them.
    """

    value: Value | None
    unit: str
    source: str
    kind: Kind
    low: float | None = None
    high: float | None = None

    def record(self) -> dict[str, Any]:
        """JSON types only; arrays as nested lists."""
        value = self.value.tolist() if isinstance(self.value, np.ndarray) else self.value
        entry = {"value": value, "unit": self.unit, "source": self.source, "kind": self.kind}
        if self.low is not None or self.high is not None:
            entry |= {"low": self.low, "high": self.high}
        return entry


@dataclass(frozen=True)
class Level:
    """A memory level. capacity (B, of one instance), bandwidth (B/s, of the whole device),
    latency (s), energy (J/B), scope: "core" (one instance a core) or "device"."""

    name: str
    capacity: Value
    bandwidth: Value
    latency: Value | None
    energy: Value | None
    scope: str


@dataclass(frozen=True)
class Link:
    """A way out of the device: bandwidth (B/s, per direction), latency (s), energy (J/B)."""

    name: str
    bandwidth: Value
    latency: Value
    energy: Value | None


@dataclass(frozen=True, eq=False, repr=False)
class Device:
    """A device: its parts as a flat table of `Quantity`, levels from inner to outer, links.

    calibration: coefficients measured on this very machine (JSON types), by operator family.
    deviations: standard-normal draws of the cost models' errors by family (`costmodels.draw`), or empty.
    origin: the catalog entry whose calibrated coefficients apply ("" where none does).
    """

    name: str
    kind: Literal["gpu", "cpu", "accelerator"]
    family: str
    table: Mapping[str, Quantity]
    levels: tuple[str, ...]
    links: tuple[str, ...] = ()
    core_levels: tuple[str, ...] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    deviations: Mapping[str, Value] = field(default_factory=dict)
    origin: str = ""
    varied: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        frozen = {name: _frozen(quantity) for name, quantity in self.table.items()}
        object.__setattr__(self, "table", frozen)

    # Numbers ------------------------------------------------------------------------------------

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        """Every number of the record by field, read-only."""
        return MappingProxyType(dict(self.table))

    def quantity(self, name: str) -> Quantity:
        """One number with its unit, source and kind; DataError names the nearest field."""
        found = self.table.get(name)
        if found is None:
            raise DataError(f"{self.name} has no field '{name}'; {nearest(name, self.table)}")
        return found

    def known(self, name: str) -> Value | None:
        """The value of a field, or None where the field is absent or unknown."""
        found = self.table.get(name)
        return None if found is None else found.value

    def value(self, name: str) -> Value:
        """The value of a field; DataError where it is absent or unknown."""
        found = self.quantity(name).value
        if found is None:
            raise DataError(f"{name} of {self.name} is unknown; set it with device.replace(...)")
        return found

    def peak(self, dtype: str) -> Value:
        """Dense arithmetic peak in flop/s (a multiply-add counts two)."""
        found = self.known(f"peak.{canonical(dtype)}")
        if found is None:
            have = [name.removeprefix("peak.") for name in self.table if name.startswith("peak.")]
            have = [name for name in have if self.known(f"peak.{name}") is not None]
            raise DataError(
                f"{self.name} has no arithmetic peak for dtype '{dtype}'; {nearest(canonical(dtype), have)}"
            )
        return found

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Number formats with a known peak."""
        return tuple(n[5:] for n, q in self.table.items() if n.startswith("peak.") and q.value is not None)

    def level(self, name: str) -> Level:
        """A memory level by name, such as "shared", "l2", "dram"."""
        if name not in self.levels:
            raise DataError(f"{self.name} has no memory level '{name}'; {nearest(name, self.levels)}")
        return Level(
            name,
            self.value(f"{name}.capacity"),
            self.value(f"{name}.bandwidth"),
            self.known(f"{name}.latency"),
            self.known(f"{name}.energy"),
            "core" if name in self.core_levels else "device",
        )

    def link(self, name: str) -> Link:
        """A link by name, such as "pcie", "nvlink", "infiniband"."""
        if name not in self.links:
            raise DataError(f"{self.name} has no link '{name}'; {nearest(name, self.links)}")
        latency = self.known(f"{name}.latency")
        return Link(
            name,
            self.value(f"{name}.bandwidth"),
            0.0 if latency is None else latency,
            self.known(f"{name}.energy"),
        )

    @property
    def innermost(self) -> Level:
        """The level nearest to the arithmetic."""
        return self.level(self.levels[0])

    @property
    def outermost(self) -> Level:
        """The level that holds everything: device memory."""
        return self.level(self.levels[-1])

    @property
    def memory(self) -> Value:
        """Capacity of the outermost level (B)."""
        return self.outermost.capacity

    @property
    def bandwidth(self) -> Value:
        """Bandwidth of the outermost level (B/s)."""
        return self.outermost.bandwidth

    @property
    def cores(self) -> Value:
        """Streaming multiprocessors of a GPU, cores of a CPU."""
        return self.value("cores")

    @property
    def clock(self) -> Value:
        """Clock behind the peaks (Hz)."""
        return self.value("clock")

    @property
    def launch(self) -> Value:
        """Fixed cost of one kernel launch or library call (s)."""
        return self.value("launch")

    @property
    def power(self) -> Value | None:
        """Board or package power limit (W)."""
        return self.known("power")

    @property
    def idle_power(self) -> Value | None:
        """Power with nothing running (W)."""
        return self.known("idle_power")

    @property
    def area(self) -> Value | None:
        """Die area (m2)."""
        return self.known("area")

    @property
    def node(self) -> Value | None:
        """Technology node (nm)."""
        return self.known("node")

    # Variants -----------------------------------------------------------------------------------

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the fields: () for one device, (designs,) for a sweep."""
        return np.broadcast_shapes(
            *(np.shape(q.value) for q in self.table.values() if q.value is not None),
            *(np.shape(f) for f in self.deviations.values()),
        )

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What cost models keep with the record that no deviation changes; the draws of a device share it."""
        return {}

    def deviating(self, deviations: Mapping[str, Any]) -> Device:
        """The same record under other deviations; both share what is `kept`."""
        made = replace(self, deviations=deviations)
        made.__dict__["kept"] = self.kept
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "kept"}

    def replace(self, name: str | None = None, /, **fields: Value | None) -> Device:
        """The same record with some numbers changed; `dram_bandwidth` stands for `dram.bandwidth`.

        The result keeps the calibrated coefficients, but counts as "same family", no longer as
        calibrated: nobody measured the changed device.

        >>> from tradespace.hardware import device
        >>> device("a100-sxm-80gb").replace(dram_bandwidth=3e12).bandwidth
        3000000000000.0
        """
        paths = {path.replace(".", "_"): path for path in self.table}
        table = dict(self.table)
        for key, value in fields.items():
            path = paths.get(key.replace(".", "_"))
            if path is None:
                raise DataError(f"{self.name} has no field '{key}'; {nearest(key, paths)}")
            table[path] = Quantity(value, table[path].unit, "set by the user", "guess")
        varied = tuple(sorted({*self.varied, *(paths[k.replace(".", "_")] for k in fields)}))
        return replace(self, name=name or self.name, table=table, varied=varied)

    def sweep(self, **fields: Any) -> Device:
        """A sweep of designs: `replace` with arrays of equal shape, designs on the last axis.

        >>> from tradespace.hardware import device
        >>> device("a100-sxm-80gb").sweep(dram_bandwidth=[1e12, 2e12], cores=[54, 108]).shape
        (2,)
        """
        return self.replace(**{key: np.asarray(value, dtype=np.float64) for key, value in fields.items()})

    def cut(self, rows: slice, axis: int) -> Device:
        """The sweep cut along one axis, counted from the last (-1); fields without it stay whole."""

        def part(value: Value | None) -> Value | None:
            if isinstance(value, np.ndarray) and value.ndim >= -axis and value.shape[axis] > 1:
                chosen: Value = value[along(rows, axis)]
                return chosen
            return value

        if not self.shape or len(self.shape) < -axis:
            return self
        table = {name: replace(q, value=part(q.value)) for name, q in self.table.items()}
        return replace(self, table=table, deviations={n: part(f) for n, f in self.deviations.items()})  # type: ignore[misc]

    # Identity -----------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """The whole device as nested dicts of JSON types: what its identity is made of."""
        return {
            "name": self.name,
            "kind": self.kind,
            "family": self.family,
            "levels": list(self.levels),
            "core_levels": list(self.core_levels),
            "links": list(self.links),
            "origin": self.origin,
            "varied": list(self.varied),
            "quantities": {name: q.record() for name, q in sorted(self.table.items())},
            "calibration": dict(self.calibration),
            "deviations": {k: np.asarray(v).tolist() for k, v in sorted(self.deviations.items())},
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Device:
        """The inverse of `record`; DataError names a missing part."""
        try:
            names = [record[key] for key in ("name", "kind", "family")] + [record.get("origin", "")]
            for key in ("levels", "links", "core_levels"):
                names += record[key]
            odd = next((name for name in names if not isinstance(name, str)), None)
            if odd is not None or record["kind"] not in DEVICE_KINDS:
                raise TypeError(f"{record['kind'] if odd is None else odd!r} is no name of a part or kind")
            if "dram" not in record["levels"]:
                raise TypeError("its levels lack 'dram'")
            if not isinstance(record.get("calibration", {}), Mapping):
                raise TypeError("its calibration is no table")
            table = {
                name: Quantity(
                    np.asarray(q["value"], dtype=np.float64) if isinstance(q["value"], list) else q["value"],
                    q["unit"],
                    q["source"],
                    q["kind"],
                    q.get("low"),
                    q.get("high"),
                )
                for name, q in record["quantities"].items()
            }
            return cls(
                name=record["name"],
                kind=record["kind"],
                family=record["family"],
                table=table,
                levels=tuple(record["levels"]),
                links=tuple(record["links"]),
                core_levels=tuple(record["core_levels"]),
                calibration=record.get("calibration", {}),
                deviations={
                    k: np.asarray(v, dtype=np.float64) if isinstance(v, list) else v
                    for k, v in record.get("deviations", {}).items()
                },
                origin=record.get("origin", ""),
                varied=tuple(record.get("varied", ())),
            )
        except KeyError as missing:
            raise DataError(f"the device record lacks {missing}") from None
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"the device record is damaged: {error}") from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the record, hexadecimal."""
        text = json.dumps(self.record(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("a Device is one record, not a sequence; its numbers are in device.quantities")

    def __repr__(self) -> str:
        designs = f", designs={self.shape}" if self.shape else ""
        return f"Device({self.name!r}, {self.kind}, {self.family}{designs})"


def along(rows: slice, axis: int) -> Any:
    """The index that cuts an array along one axis, counted from the last."""
    return (..., rows, *([slice(None)] * (-axis - 1)))


def _frozen(quantity: Quantity) -> Quantity:
    """A quantity whose array nobody can change from outside."""
    value = quantity.value
    if quantity.kind not in KINDS:
        raise DataError(f"kind must be one of {', '.join(KINDS)}, got '{quantity.kind}'")
    if not quantity.source:
        raise DataError("every quantity needs a source")
    if value is None or (isinstance(value, np.ndarray) and not value.flags.writeable):
        return quantity
    array = np.array(value, dtype=np.float64)
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        raise DataError(f"a quantity in {quantity.unit} must be finite and not negative, got {value}")
    if array.ndim == 0:
        return quantity if type(value) is float else replace(quantity, value=float(array))
    array.flags.writeable = False
    return replace(quantity, value=array)
