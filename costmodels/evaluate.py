"""Prediction: features of a shape on a device, combined with the coefficients of a family.

A linear family predicts `sum(coefficient x term)`, each term a time at datasheet rates; every term is
non-decreasing in the sizes and every coefficient non-negative, so predictions are monotone and
extrapolate linearly. Nothing is ever faster than its flops at the datasheet peak.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from ..hardware.dtypes import canonical
from ..hardware.record import Device, along
from .coefficients import OUTSIDE, Coefficients, find
from .conformal import sigma_at, sigma_between
from .cost import Array, Cost, Number, Tier
from .energy import operator_energy

Shape: TypeAlias = ArrayLike
CHUNK = 2**14
MOST_KEPT = 4_096


class OutsideCalibration(UserWarning):
    """A shape lies outside the range the coefficients were fitted on; its sigma is doubled."""


@dataclass(frozen=True, eq=False)
class Features:
    """What the time depends on.

    terms: seconds at datasheet rates by coefficient. flops: arithmetic. traffic: bytes by level.
    peak: flop/s no kernel exceeds. law: time (s) as a function of the coefficients, for families that
    are not linear; bounds: start, least and greatest value of each of its coefficients.
    """

    terms: Mapping[str, Number]
    flops: Number
    traffic: Mapping[str, Number]
    peak: Number
    law: Callable[[Mapping[str, float]], Number] | None = None
    bounds: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def time(self, values: Mapping[str, float]) -> Number:
        """Seconds under one set of coefficients."""
        if self.law is not None:
            time = self.law(values)
        else:
            time = 0.0
            for name, term in self.terms.items():
                coefficient = values.get(name, 0.0)
                if coefficient:
                    time = time + coefficient * term
        return np.maximum(time, self.flops / self.peak)


FeatureLaw: TypeAlias = Callable[..., Features]


def evaluate(family: str, features: FeatureLaw, device: Device, dtype: str, **shapes: Shape) -> Cost:
    """The cost of `family` for shapes that broadcast with each other and with the device's fields."""
    name = canonical(dtype)
    if device.deviations and all(type(v) in (int, float) for v in shapes.values()):
        return _drawn(family, features, device, name, shapes)
    arrays = {key: checked(key, value) for key, value in shapes.items()}
    return _evaluate(family, features, device, name, find(device, family, name), arrays)


def _drawn(family: str, features: FeatureLaw, device: Device, dtype: str, shapes: dict[str, Shape]) -> Cost:
    """The cost of one shape on a drawn device: all but the deviation is worked out once for all draws."""
    kept, key = device.kept, (family, features, dtype, *shapes.items())
    found = kept.get(key)
    if found is None:
        coefficients = find(device, family, dtype)
        arrays = {name: checked(name, value) for name, value in shapes.items()}
        found = nominal(family, features(device, dtype, **arrays), device, coefficients)
        if len(kept) >= MOST_KEPT:
            kept.clear()
        kept[key] = found
    return deviated(family, found, device, dtype)


def checked(name: str, value: Shape) -> Number:
    """A shape as float64; DataError where it is negative, not finite or not whole."""
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "iufb":
        raise DataError(f"{name} must be a number or an array of numbers, got {type(value).__name__}")
    if array.size == 0:
        return array.astype(np.float64)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.rint(array))
        if not np.all(whole):
            raise DataError(f"{name} must be whole numbers, got {array[~whole].ravel()[0]}")
    if array.dtype.kind != "u" and array.min() < 0:
        raise DataError(f"{name} must not be negative, got {array.min()}")
    return array.astype(np.float64)[()]


def _evaluate(
    family: str,
    features: FeatureLaw,
    device: Device,
    dtype: str,
    found: Coefficients,
    arrays: dict[str, Number],
) -> Cost:
    shape = np.broadcast_shapes(device.shape, *(np.shape(a) for a in arrays.values()))
    size = int(np.prod(shape))
    if size <= CHUNK:
        return combine(family, features(device, dtype, **arrays), device, dtype, found)
    axis = int(np.argmax(shape)) - len(shape)
    step = max(1, CHUNK * shape[axis] // size)
    parts = []
    for start in range(0, shape[axis], step):
        rows = slice(start, start + step)
        cut = {key: _cut(a, rows, axis) for key, a in arrays.items()}
        parts.append(_evaluate(family, features, device.cut(rows, axis), dtype, found, cut))
    return _joined(parts, shape, axis)


def _cut(array: Number, rows: slice, axis: int) -> Number:
    if isinstance(array, np.ndarray) and array.ndim >= -axis and array.shape[axis] > 1:
        chosen: Number = array[along(rows, axis)]
        return chosen
    return array


def _joined(parts: list[Cost], shape: tuple[int, ...], axis: int) -> Cost:
    """Parts of one evaluation, concatenated along the axis they were cut on."""

    def join(values: list[Any]) -> Any:
        full = [np.broadcast_to(value, part.shape) for value, part in zip(values, parts, strict=True)]
        return np.concatenate(full, axis=axis)

    first = parts[0]
    time = join([part.time for part in parts])
    return Cost(
        time,
        join([part.flops for part in parts]),
        {level: join([part.bytes[level] for part in parts]) for level in first.bytes},
        None if first.energy is None else join([part.energy for part in parts]),
        {family: join([part.errors[family] for part in parts]) for family in first.errors},
        dict.fromkeys(first.tiers, time),
        join([part.outside for part in parts]),
    )


def combine(family: str, features: Features, device: Device, dtype: str, found: Coefficients) -> Cost:
    """Time, energy and error from features and coefficients."""
    return deviated(family, nominal(family, features, device, found), device, dtype)


@dataclass(frozen=True, eq=False)
class Nominal:
    """What no deviation of a device changes of a cost: see `Cost` and `Features`.

    least: s that no kernel is faster than. sigma: relative error of the time. smooth: the same without
    steps, by which a deviation counts.
    """

    features: Features
    time: Number
    least: Number
    sigma: Any
    smooth: Any
    outside: Any
    tier: Tier


def nominal(family: str, features: Features, device: Device, found: Coefficients) -> Nominal:
    """Time and error by features and coefficients, where no error is drawn."""
    time = features.time(found.values)
    outside = _outside(family, features, device, found)
    sigma: Any = found.sigma
    if found.decades:
        sigma = sigma_at(time, found.decades, found.sigmas)
    if outside is not False:
        sigma = np.where(outside, OUTSIDE, 1.0) * sigma
    smooth = found.sigma
    if found.decades and device.deviations:
        smooth = sigma_between(time, found.decades, found.sigmas)
    return Nominal(features, time, features.flops / features.peak, sigma, smooth, outside, found.tier)


def deviated(family: str, found: Nominal, device: Device, dtype: str) -> Cost:
    """The cost under the device's deviation, if it has one."""
    features, time = found.features, found.time
    deviation = device.deviations.get(family)
    if deviation is not None:
        time = np.maximum(time * np.exp(deviation * found.smooth), found.least)
    shape = np.broadcast_shapes(np.shape(time), device.shape)
    full = time if np.shape(time) == shape else np.broadcast_to(time, shape)
    return Cost(
        time=full,
        flops=_spread(features.flops, shape),
        bytes={level: _spread(value, shape) for level, value in features.traffic.items()},
        energy=operator_energy(device, dtype, features.flops, features.traffic, full),
        errors={family: full * found.sigma},
        tiers={found.tier: full},
        outside=_spread(found.outside, shape),
    )


def _spread(value: Any, shape: tuple[int, ...]) -> Any:
    return value if np.shape(value) == shape else np.broadcast_to(value, shape)


def _outside(family: str, features: Features, device: Device, found: Coefficients) -> Any:
    """Where flops or outermost traffic leave the calibrated range by more than a factor of two."""
    outside: Any = False
    known = {"flops": features.flops, "bytes": next(iter(features.traffic.values()), 0.0)}
    for name, (low, high) in found.ranges.items():
        value: Array = np.asarray(known[name])
        if value.size and (value.max() > 2 * high or value.min() < 0.5 * low):
            outside = outside | ((value > 2 * high) | ((value < 0.5 * low) & (value > 0)))
    if outside is not False and np.any(outside):
        warnings.warn(
            f"{family} on {device.name}: some shapes lie outside the calibrated range; sigma doubled there",
            OutsideCalibration,
            stacklevel=7,
        )
        return outside
    return False


def misses(device: Device, working_set: Number, inner: str, share: float = 1.0) -> Number:
    """Fraction of accesses that a level does not serve: w^2 / (w^2 + C^2), smooth and monotone.

    share: part of the capacity C that this kind of access can use.
    """
    level = device.level(inner)
    capacity = share * level.capacity * (device.cores if level.scope == "core" else 1.0)
    square = np.square(working_set)
    missed: Number = square / (square + np.square(capacity))
    return missed


# A stream through a GPU's L2 keeps about a quarter of its size: two partitions hold copies, and lines
# go before they come again (fitted on A100 and H100: 0.1 to 0.5 are nearly as good, 1 is 50 % worse).
STREAM_SHARE = {"gpu": 0.25, "accelerator": 0.25, "cpu": 1.0}


def traffic(device: Device, total: Number, working_set: Number) -> dict[str, Number]:
    """Bytes through each cached level, inner to outer: all through the first, then the misses.

    Scratchpads ("shared") are the kernel's own and do not count.
    """
    levels = [name for name in device.levels if name != "shared"]
    flow = {levels[0]: total}
    for inner, outer in pairwise(levels):
        flow[outer] = total * misses(device, working_set, inner, STREAM_SHARE[device.kind])
    return flow


def streams(device: Device, flow: Mapping[str, Number]) -> dict[str, Number]:
    """Seconds of traffic at each level's datasheet bandwidth."""
    return {level: total / device.level(level).bandwidth for level, total in flow.items()}


def calls(device: Device, work: Number, count: float = 1.0) -> Number:
    """Launch time where there is work, nothing where there is none."""
    return np.where(np.asarray(work) > 0, count, 0.0) * device.launch
