"""What an operator costs: time, work, traffic, energy, and how far each may be off.

Costs add in sequence (`a + b`), overlap (`a | b`) and repeat (`cost * 48`). Errors of operators of one
family come from one set of coefficients: they add linearly, and only different families add in
quadrature, so 576 products are as uncertain as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Number: TypeAlias = "float | Array"
Tier = Literal["calibrated", "same family", "uncalibrated"]
Key = TypeVar("Key", bound=str)
TIERS: tuple[Tier, ...] = ("calibrated", "same family", "uncalibrated")


@dataclass(frozen=True, eq=False, repr=False)
class Cost:
    """time (s), flops, bytes (B by memory level), energy (J or None where unknown).

    errors: one standard deviation of the time in seconds, by operator family. tiers: seconds by how the
    coefficients were found. outside: where the shape lies outside the calibrated range. Every array has
    the broadcast shape of shapes and device.
    """

    time: Number
    flops: Number
    bytes: Mapping[str, Number] = field(default_factory=dict)
    energy: Number | None = None
    errors: Mapping[str, Number] = field(default_factory=dict)
    tiers: Mapping[Tier, Number] = field(default_factory=dict)
    outside: Any = False

    @classmethod
    def zero(cls) -> Cost:
        """Nothing at all: the start of a sum."""
        return cls(0.0, 0.0, {}, 0.0)

    @cached_property
    def sigma(self) -> Number:
        """Relative standard deviation of the time; families independent, members fully correlated."""
        variance: Any = 0.0
        for error in self.errors.values():
            variance = variance + np.square(error)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(variance) / self.time
        return np.where(np.asarray(self.time) > 0, ratio, 0.0)[()]

    @cached_property
    def tier(self) -> Tier:
        """The worst tier that explains at least 5 % of the time."""
        total = float(np.sum(self.time))
        counted = [name for name, part in self.tiers.items() if float(np.sum(part)) >= 0.05 * total]
        return max(counted, key=TIERS.index, default="calibrated")

    @property
    def shape(self) -> tuple[int, ...]:
        """The broadcast shape."""
        return np.shape(self.time)

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(
            self.time + other.time,
            self.flops + other.flops,
            _sum(self.bytes, other.bytes),
            _add(self.energy, other.energy),
            _sum(self.errors, other.errors),
            _sum(self.tiers, other.tiers),
            np.logical_or(self.outside, other.outside),
        )

    def __radd__(self, other: object) -> Cost:
        if isinstance(other, int) and other == 0:
            return self
        return NotImplemented

    def __or__(self, other: Cost) -> Cost:
        """Both at once: the longer time, all of the work. Perfect overlap, hence a lower bound."""
        first = np.asarray(self.time) >= np.asarray(other.time)

        def longer(a: Mapping[Any, Number], b: Mapping[Any, Number]) -> dict[Any, Number]:
            return {key: np.where(first, a.get(key, 0.0), b.get(key, 0.0))[()] for key in {**a, **b}}

        return Cost(
            np.maximum(self.time, other.time),
            self.flops + other.flops,
            _sum(self.bytes, other.bytes),
            _add(self.energy, other.energy),
            longer(self.errors, other.errors),
            longer(self.tiers, other.tiers),
            np.logical_or(self.outside, other.outside),
        )

    def __mul__(self, count: Number) -> Cost:
        """The same operator `count` times, one after the other; count broadcasts."""
        if isinstance(count, Cost):
            return NotImplemented
        return Cost(
            self.time * count,
            self.flops * count,
            {level: value * count for level, value in self.bytes.items()},
            None if self.energy is None else self.energy * count,
            {family: value * count for family, value in self.errors.items()},
            {tier: value * count for tier, value in self.tiers.items()},
            self.outside,
        )

    __rmul__ = __mul__
    __array_ufunc__ = None  # numpy arrays on the left leave the product to __rmul__

    def __getitem__(self, index: Any) -> Cost:
        """One entry, or some, of an array-valued cost.

        >>> Cost(np.array([1.0, 2.0]), np.array([3.0, 4.0]))[1].time.item()
        2.0
        """

        def pick(value: Any) -> Any:
            return np.broadcast_to(value, self.shape)[index]

        return Cost(
            pick(self.time),
            pick(self.flops),
            {k: pick(v) for k, v in self.bytes.items()},
            None if self.energy is None else pick(self.energy),
            {k: pick(v) for k, v in self.errors.items()},
            {k: pick(v) for k, v in self.tiers.items()},
            pick(self.outside),
        )

    def __repr__(self) -> str:
        if self.shape:
            return f"Cost(shape={self.shape}, {self.tier})"
        time, flops = (
            f"{float(self.time):.4g} s ± {100 * float(self.sigma):.2g} %",
            f"{float(self.flops):.4g}",
        )
        return f"Cost({time}, {flops} flop, {self.tier})"


def _sum(a: Mapping[Key, Number], b: Mapping[Key, Number]) -> dict[Key, Number]:
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in {**a, **b}}


def _add(a: Number | None, b: Number | None) -> Number | None:
    return None if a is None or b is None else a + b
