"""What an operator costs: time, work, traffic, energy, and how far each may be off.

Costs add in sequence (`a + b`), overlap (`a | b`) and repeat (`cost * 48`). Errors of operators of one
family come from one set of coefficients: they add linearly, and only different families add in
quadrature, so 576 products are as uncertain as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Number: TypeAlias = "float | Array"
Tier = Literal["calibrated", "same family", "uncalibrated"]
TIERS: tuple[Tier, ...] = ("calibrated", "same family", "uncalibrated")


@dataclass(frozen=True, eq=False, repr=False)
class Cost:
    """time (s), flops, bytes (B by memory level), energy (J or None where unknown).

    errors: one standard deviation of the time in seconds, by operator family.
    tier: how the coefficients were found, the worst of the parts. outside: where the shape lies
    outside the calibrated range. Every array has the broadcast shape of shapes and device.
    """

    time: Number
    flops: Number
    bytes: Mapping[str, Number] = field(default_factory=dict)
    energy: Number | None = None
    errors: Mapping[str, Number] = field(default_factory=dict)
    tier: Tier = "calibrated"
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
            _worse(self.tier, other.tier),
            np.logical_or(self.outside, other.outside),
        )

    def __radd__(self, other: object) -> Cost:
        if isinstance(other, int) and other == 0:
            return self
        return NotImplemented

    def __or__(self, other: Cost) -> Cost:
        """Both at once: the longer time, all of the work. Perfect overlap, hence a lower bound."""
        first = np.asarray(self.time) >= np.asarray(other.time)
        errors = {
            family: np.where(first, self.errors.get(family, 0.0), other.errors.get(family, 0.0))[()]
            for family in {**self.errors, **other.errors}
        }
        return Cost(
            np.maximum(self.time, other.time),
            self.flops + other.flops,
            _sum(self.bytes, other.bytes),
            _add(self.energy, other.energy),
            errors,
            _worse(self.tier, other.tier),
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
            self.tier,
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
            self.tier,
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


def _sum(a: Mapping[str, Number], b: Mapping[str, Number]) -> dict[str, Number]:
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in {**a, **b}}


def _add(a: Number | None, b: Number | None) -> Number | None:
    return None if a is None or b is None else a + b


def _worse(a: Tier, b: Tier) -> Tier:
    return max(a, b, key=TIERS.index)
