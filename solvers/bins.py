"""A packing instance in whole numbers, its quick bounds and its quick plans.

Items with equal demands form a group. Demands that are decimal numbers become whole ones exactly;
others are rounded up for plans (`demands`) and down for bounds (`least`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..problems.views import PackingView

Array = npt.NDArray[Any]
RESOLUTION = 1 << 20
FRACTIONS = 361
REACHABLE = 5_000_000
Content = tuple[int, Array]
"""A bin: its type, and how many items of each group it holds."""


@dataclass(frozen=True, eq=False)
class Bins:
    """demands, least: (types, groups, dimensions) rounded up, and down. allowed: (types, groups).
    capacities: (types, dimensions). costs, counts: (types,); a count of -1 is no limit. items: the items
    of each group."""

    demands: Array
    least: Array
    allowed: Array
    capacities: Array
    costs: Array
    counts: Array
    items: tuple[Array, ...]

    @classmethod
    def of(cls, view: PackingView) -> Bins:
        """The instance behind a view."""
        raw, capacities = np.asarray(view.demands, float), np.asarray(view.capacities, float)
        types, count, dimensions = raw.shape
        _, first, group = np.unique(
            np.nan_to_num(raw, nan=-1.0).transpose(1, 0, 2).reshape(count, -1),
            axis=0, return_index=True, return_inverse=True,
        )  # fmt: skip
        allowed = ~np.isnan(raw).any(axis=2)
        copies = np.bincount(group.ravel())
        rounded = np.zeros((2, types, len(first), dimensions), np.int64)
        room = np.zeros((types, dimensions), np.int64)
        for t in range(types):
            for d in range(dimensions):
                values = np.where(allowed[t, first], raw[t, first, d], 0.0)
                rounded[0, t, :, d], rounded[1, t, :, d], room[t, d] = whole_numbers(
                    values, float(capacities[t, d]), copies
                )
        counts = (
            np.full(types, -1)
            if view.counts is None
            else np.minimum(np.asarray(view.counts, np.int64), count)
        )
        items = tuple(np.flatnonzero(group.ravel() == g) for g in range(len(first)))
        fits = allowed[:, first] & (rounded[1] <= room[:, None, :]).all(axis=2)
        return cls(rounded[0], rounded[1], fits, room, np.asarray(view.costs, float), counts, items)

    @cached_property
    def copies(self) -> Array:
        """Items of each group, (groups,)."""
        return np.array([len(i) for i in self.items], np.int64)

    @cached_property
    def rounded(self) -> bool:
        """Whether demands had to be rounded, so that plan and bound see different numbers."""
        return not np.array_equal(self.demands, self.least)

    @cached_property
    def most_bins(self) -> Array:
        """Bins of each type that a plan may use, (types,)."""
        return np.where(self.counts < 0, int(self.copies.sum()), self.counts)

    @cached_property
    def grid(self) -> Fraction | None:
        """The largest number that divides every cost, or None where there is none of useful size."""
        parts = [Fraction(repr(float(c))) for c in self.costs if c > 0]
        if not parts:
            return None
        step = parts[0]
        for part in parts[1:]:
            step = Fraction(
                math.gcd(step.numerator * part.denominator, part.numerator * step.denominator),
                step.denominator * part.denominator,
            )
        return step if max(parts) / step <= 1_000_000 else None

    def cost(self, plan: Sequence[Content]) -> float:
        """Cost of a plan, summed without rounding error."""
        return math.fsum(float(self.costs[t]) for t, _ in plan)

    def round_up(self, bound: float) -> float:
        """The least cost that a sum of bins can have and that is not below `bound`."""
        if self.grid is None or not math.isfinite(bound):
            return bound
        step = float(self.grid)
        steps = math.ceil(bound / step - 1e-6 - 1e-9 * abs(bound / step))
        largest = int(max(Fraction(repr(float(c))) for c in self.costs) / self.grid)
        if steps + largest <= REACHABLE:
            reach = self._reachable(steps + largest)
            steps += int(np.argmax(reach[max(steps, 0) :])) if steps > 0 else -steps
        return float(steps * self.grid)

    def _reachable(self, top: int) -> Array:
        """Which multiples of the grid up to `top` are sums of costs."""
        known: Array | None = self.__dict__.get("_sums")
        if known is not None and len(known) > top:
            return known[: top + 1]
        top = 2 * top + 1_000
        reach = np.zeros(top + 1, bool)
        reach[0] = True
        assert self.grid is not None
        for c in self.costs:
            step = int(Fraction(repr(float(c))) / self.grid)
            while 0 < step <= top:
                reach[step:] |= reach[:-step].copy()
                step *= 2
        object.__setattr__(self, "_sums", reach)
        return reach[: top // 2]

    # --- bounds ---------------------------------------------------------------------------------------
    def volume_bound(self) -> float:
        """In each dimension every item pays its cheapest share of a bin; the dearest dimension counts."""
        room = np.maximum(self.capacities, 1)[:, None, :]
        share = np.where(self.allowed[:, :, None], self.least / room * self.costs[:, None, None], np.inf)
        return float((share.min(axis=0) * self.copies[:, None]).sum(axis=0).max(initial=0.0))

    def large_item_bound(self) -> float:
        """Martello and Toth's L2 for one dimension and one type: items too large to share a bin."""
        if self.least.shape[0] != 1 or self.least.shape[2] != 1:
            return 0.0
        sizes = np.repeat(self.least[0, :, 0], self.copies)
        room = int(self.capacities[0, 0])
        if room == 0:
            return 0.0
        best = 0
        for small in np.unique(np.concatenate([[0], sizes[sizes * 2 <= room]])):
            large = sizes[sizes > room - small]
            middle = sizes[(sizes <= room - small) & (sizes * 2 > room)]
            fill = sizes[(sizes * 2 <= room) & (sizes >= small)].sum()
            spare = len(middle) * room - middle.sum()
            best = max(best, len(large) + len(middle) + max(0, math.ceil((fill - spare) / room)))
        return float(best * self.costs[0])

    # --- plans ----------------------------------------------------------------------------------------
    def best_fit_decreasing(self, rule: int = 0) -> list[Content] | None:
        """Large items first, each into the open bin that it fills best; None where bins run out.

        rule: what opens a bin (0: the type cheapest for this item's share, 1: the cheapest type,
        2: the type of most capacity a cost). Afterwards each bin becomes the cheapest type that holds it.
        """
        room = np.maximum(self.capacities, 1)[:, None, :]
        share = np.where(self.allowed[:, :, None], self.demands / room, np.inf)
        size = share.max(axis=2).min(axis=0)
        left_of = np.where(self.counts < 0, np.iinfo(np.int64).max, self.counts)
        order = np.repeat(np.argsort(-size, kind="stable"), self.copies[np.argsort(-size, kind="stable")])
        density = self.costs / np.maximum(
            self.capacities / np.maximum(self.capacities.max(axis=0), 1), 1e-9
        ).min(axis=1)
        kind = np.zeros(len(order), np.int64)
        left = np.zeros((len(order), self.capacities.shape[1]), np.int64)
        held: list[Array] = []
        opened = 0
        for g in order:
            need = self.demands[kind[:opened], g]
            fits = self.allowed[kind[:opened], g] & (need <= left[:opened]).all(axis=1)
            if fits.any():
                after = ((left[:opened] - need) / room[kind[:opened], 0]).sum(axis=1)
                place = int(np.argmin(np.where(fits, after, np.inf)))
            else:
                part = np.where(self.allowed[:, g], share[:, g].max(axis=1), 0.0)
                price = (self.costs * part, self.costs, density)[rule]
                price = np.where(self.allowed[:, g] & (left_of > 0), price, np.inf)
                price = np.where((self.demands[:, g] <= self.capacities).all(axis=1), price, np.inf)
                t = int(np.argmin(price))
                if not np.isfinite(price[t]):
                    return None
                place, opened = opened, opened + 1
                kind[place], left[place] = t, self.capacities[t]
                left_of[t] -= 1
                held.append(np.zeros(len(self.copies), np.int64))
            held[place][g] += 1
            left[place] -= self.demands[kind[place], g]
        return self.cheapest_types([(int(kind[b]), held[b]) for b in range(opened)])

    def cheapest_types(self, plan: Sequence[Content]) -> list[Content]:
        """The same contents in the cheapest types that hold them and are left."""
        free = self.most_bins - np.bincount([t for t, _ in plan], minlength=len(self.costs))
        done = []
        for t, content in plan:
            need = self.demands[:, content > 0, :] * content[content > 0][None, :, None]
            fits = (need.sum(axis=1) <= self.capacities).all(axis=1) & self.allowed[:, content > 0].all(
                axis=1
            )
            price = np.where(fits & (free > 0), self.costs, np.inf)
            other = int(np.argmin(price))
            if price[other] < self.costs[t]:
                free[t] += 1
                free[other] -= 1
                t = other
            done.append((t, content))
        return done

    def assign(self, plan: Sequence[Content]) -> list[tuple[int, list[int]]]:
        """A plan as bins of items; what it covers twice is left out, empty bins too."""
        waiting = [list(map(int, i)) for i in self.items]
        bins = []
        for t, content in plan:
            held = [
                waiting[g].pop()
                for g in np.flatnonzero(content)
                for _ in range(min(int(content[g]), len(waiting[g])))
            ]
            if held:
                bins.append((int(t), sorted(held)))
        return bins


def whole_numbers(values: Array, capacity: float, copies: Array) -> tuple[Array, Array, int]:
    """Demands and a capacity as whole numbers: demands rounded up, and down, and the capacity.

    Exact where the demands are decimals of up to nine places or simple fractions of the capacity; else
    on a fine grid. A capacity beyond the sum of all demands is that sum.
    """
    total = float(values @ copies)
    size = min(capacity, max(total, 1e-300))
    decimals = [10.0**places for places in range(10)]
    for scale in [*decimals, *(k / capacity for k in range(1, FRACTIONS) if 0 < capacity < np.inf)]:
        scaled = values * scale
        near = np.rint(scaled)
        if total * scale > 2**52:
            break
        if (np.abs(scaled - near) <= 1e-13 * size * scale + 1e-15 * scaled).all():
            exact = near.astype(np.int64)
            top = math.floor(min(capacity * scale * (1 + 1e-13), float(exact @ copies)))
            divisor = math.gcd(*exact.tolist()) or 1
            return exact // divisor, exact // divisor, top // divisor
    scale = RESOLUTION / size
    up, down = np.ceil(values * scale).astype(np.int64), np.floor(values * scale).astype(np.int64)
    return up, down, RESOLUTION
