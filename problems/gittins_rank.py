"""Gittins ranks of service-demand laws: sooner is lower.

G(a) = min over d of E[min(X - a, d)] / P(X - a <= d), given X > a, divided by the holding cost. For a law
on x_1 < ... < x_n only these points can be minimisers, and G(a) is the least slope from the point
(F(a), I(a)) to the points (F_j, I_j), j beyond a, where F is the distribution function and I the
integral of the survival function. The least slope touches the lower convex hull of these points, which
one pass from the right builds for all ages; what it drops on the way are the pieces between samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
GRID = 200
TAIL_SHARE, LEAST_TAIL = 0.05, 10
TAIL_DEPTH = 1e-4
ROUNDING = 1e-15
"""Mass that is none, but what sums of masses leave."""


@dataclass(frozen=True, eq=False)
class Law:
    """A law on finitely many service demands: values (n,) ascending and positive, masses (n,)."""

    values: Array
    masses: Array

    @classmethod
    def discrete(cls, values: Array, weights: Array | None = None) -> Law:
        """The law with these values, equally likely or by weight; equal values are joined."""
        values = np.asarray(values, float)
        if weights is None:
            distinct, counts = np.unique(values, return_counts=True)
            return cls(distinct, counts / len(values))
        distinct, place = np.unique(values, return_inverse=True)
        masses = np.bincount(place.ravel(), weights=np.asarray(weights, float))
        return cls(distinct[masses > 0], masses[masses > 0] / masses.sum())

    @classmethod
    def of_samples(cls, samples: Array, ages: Array | None = None, tail: bool = True) -> Law:
        """The law behind samples, moved right onto log-spaced ages, its tail a generalised Pareto.

        Moving right to a fixed grid keeps the rank from collapsing just before a sample (Gast, Gaujal,
        Obrecht); the tail keeps old jobs from looking done. ages: the grid, where one is given.
        """
        samples = np.sort(np.asarray(samples, float))
        fitted = tail_of(samples) if tail else None
        top = fitted.top if fitted else float(samples[-1])
        grid = np.geomspace(samples[0], top, GRID) if ages is None else extend(np.asarray(ages, float), top)
        cumulative = np.searchsorted(samples, grid, side="right") / len(samples)
        if fitted:
            excess = np.maximum(grid - fitted.threshold, 0.0)
            beyond = tail_survival(fitted.shape, fitted.scale, excess) * fitted.share
            cumulative = np.where(grid > fitted.threshold, 1.0 - beyond, cumulative)
        cumulative[-1] = 1.0
        masses = np.diff(np.maximum.accumulate(cumulative), prepend=0.0)
        return cls(grid[masses > 0], masses[masses > 0])

    @property
    def mean(self) -> float:
        """Expected service demand."""
        return float(self.values @ self.masses)

    def points(self) -> tuple[Array, Array, Array]:
        """F and I at 0 and at each value, and the survival function from there on, each (n + 1,)."""
        survival = np.append(np.cumsum(self.masses[::-1])[::-1], 0.0)
        steps = np.diff(self.values, prepend=0.0)
        reached = np.concatenate([[0.0], np.cumsum(steps * survival[:-1])])
        return np.concatenate([[0.0], np.cumsum(self.masses)]), reached, survival


def refine(ages: Array, points: int = GRID) -> Array:
    """The ages from 0 on, with log-spaced ones between, so that there are about `points`."""
    parts = -(-points // len(ages))
    between = [np.geomspace(a, b, parts, endpoint=False) for a, b in pairwise(ages[1:])]
    early = np.linspace(0.0, ages[1], parts, endpoint=False) if len(ages) > 1 else ages
    return np.concatenate([early, *between, ages[-1:]])


def extend(ages: Array, top: float) -> Array:
    """The positive ages, and beyond them log-spaced ones up to `top`."""
    ages = np.unique(ages[ages > 0])
    if len(ages) and top <= ages[-1] * (1 + 1e-9):  # the end of a logarithmic grid may be an ulp short
        return ages
    last = ages[-1] if len(ages) else top / 2
    ratio = ages[-1] / ages[-2] if len(ages) > 1 else 1.2
    more = max(1, min(GRID, int(np.ceil(np.log(top / last) / np.log(max(ratio, 1.02))))))
    return np.concatenate([ages, np.geomspace(last, top, more + 1)[1:]])


# --- the tail --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tail:
    """A generalised Pareto law beyond a threshold, where `share` of all lies; top: where it may be cut."""

    threshold: float
    shape: float
    scale: float
    share: float
    top: float


def tail_of(samples: Array) -> Tail | None:
    """The tail of sorted samples; None where they are too few, or the largest are equal."""
    exceeding = max(LEAST_TAIL, round(TAIL_SHARE * len(samples)))
    if len(samples) < 4 * LEAST_TAIL or not samples[-exceeding] < samples[-1]:
        return None
    threshold = float(samples[-exceeding - 1])
    shape, scale = fit_tail(samples[-exceeding:] - threshold)
    top = max(float(samples[-1]), threshold + float(tail_quantile(shape, scale, TAIL_DEPTH)))
    return Tail(threshold, shape, scale, exceeding / len(samples), top)


def fit_tail(excess: Array) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto law by probability-weighted moments (Hosking, Wallis)."""
    excess = np.sort(excess)
    position = (np.arange(1, len(excess) + 1) - 0.35) / len(excess)
    first, second = float(excess.mean()), float((excess * (1 - position)).mean())
    if first - 2 * second <= 1e-12 * first:
        return -1.0, first * 2
    shape = min(2.0 - first / (first - 2 * second), 0.95)
    return shape, max(first * (1.0 - shape), 1e-300)


def tail_survival(shape: float, scale: float, excess: Array) -> Array:
    """P(X - u > excess) beyond the threshold u."""
    if abs(shape) < 1e-9:
        return np.exp(-excess / scale)
    return np.maximum(1.0 + shape * excess / scale, 0.0) ** (-1.0 / shape)


def tail_quantile(shape: float, scale: float, survival: float) -> float:
    """The excess that is survived with this probability."""
    if abs(shape) < 1e-9:
        return -scale * math.log(survival)
    return float(scale * (survival**-shape - 1.0) / shape)


# --- ranks -----------------------------------------------------------------------------------------------
def brute_force(law: Law, age: float) -> float:
    """G at one age, by trying every stop: the oracle of the tests."""
    left = law.values > age
    x, p = law.values[left], law.masses[left]
    if not len(x):
        return np.inf
    finished = np.cumsum(p)
    served = np.cumsum((x - age) * p) + (x - age) * (p.sum() - finished)
    return float((served / finished).min())


def stopped_rank(law: Law, starts: Array) -> Array:
    """G at each start of a level where a job may be stopped only at these starts, (levels,).

    Infinite where no job of this law is that old.
    """
    ends = np.asarray(starts, float)
    mass = np.searchsorted(law.values, ends, side="right")
    finished = np.append(np.append(0.0, np.cumsum(law.masses))[mass], 1.0)
    served = np.append(0.0, np.cumsum(law.masses * law.values))[mass]
    reached = np.append(served + ends * (1.0 - finished[:-1]), law.mean)
    ranks = np.full(len(starts), np.inf)
    for level in range(len(starts)):
        gain = finished[level + 1 :] - finished[level]
        ends = gain > ROUNDING
        if mass[level] < len(law.values) and ends.any():
            ranks[level] = ((reached[level + 1 :] - reached[level])[ends] / gain[ends]).min()
    return ranks


class RankTable:
    """Gittins ranks of several classes at any age, looked up fast.

    Jobs older than every sample of their class come last, the younger of them first.
    """

    def __init__(self, laws: Sequence[Law], holding_costs: Sequence[float] | None = None) -> None:
        costs = np.ones(len(laws)) if holding_costs is None else np.asarray(holding_costs, float)
        parts = [_pieces()(*law.points(), np.append(0.0, law.values)) for law in laws]
        self.starts = [p[0] for p in parts]
        self._intercept = [p[1] / c for p, c in zip(parts, costs, strict=True)]
        self._slope = [p[2] / c for p, c in zip(parts, costs, strict=True)]
        self._last = np.array([law.values[-1] for law in laws])
        self.oldest = 1.0 + max(
            float((i - s * a).max())
            for i, s, a in zip(self._intercept, self._slope, self.starts, strict=True)
        )

    def rank(self, job_class: int, ages: Array | float) -> Array:
        """G at these ages of one class; above `oldest` where the job is older than every sample."""
        ages = np.asarray(ages, float)
        piece = np.searchsorted(self.starts[job_class], ages, side="right") - 1
        value = self._intercept[job_class][piece] - self._slope[job_class][piece] * ages
        return np.where(ages >= self._last[job_class], self.oldest + ages, value)


@cache
def _pieces() -> Any:
    """The compiled hull pass (compiled when first used)."""
    import numba

    return numba.njit(cache=True)(_hull_pieces)


def _hull_pieces(finished: Array, reached: Array, survival: Array, ages: Array) -> tuple[Array, Array, Array]:
    """Pieces (start, intercept, slope) on which G(a) = intercept - slope * a, for ages below the last.

    Between two values x_k <= a the point (F_k, I_k + (a - x_k) S_k) rises from x_k's; its tangent
    moves left along the hull of the points after k, which are those the pass drops at k.
    """
    n = len(ages) - 1
    stack = np.empty(n + 1, np.int64)
    top = 0
    stack[0] = n
    start = np.empty(2 * n + 1)
    intercept = np.empty(2 * n + 1)
    slope = np.empty(2 * n + 1)
    pieces = 0
    for k in range(n - 1, -1, -1):
        # pieces of (x_k, x_{k+1}) in falling order of age: the nearest hull point counts last
        f, s = finished[k], survival[k]
        first = True
        while True:
            j = stack[top]
            gain = finished[j] - f
            begin = ages[k]
            more = top > 0
            if more:
                m = stack[top - 1]
                edge = (reached[m] - reached[j]) / (finished[m] - finished[j])
                height = reached[j] - edge * gain
                begin = max(ages[k], ages[k] + (height - reached[k]) / s)
            if begin < ages[k + 1] or first:
                start[pieces] = min(begin, ages[k + 1])
                slope[pieces] = s / gain
                intercept[pieces] = (reached[j] - reached[k] + s * ages[k]) / gain
                pieces += 1
                first = False
            if not more or begin <= ages[k]:
                break
            top -= 1
        top += 1
        stack[top] = k
    return start[:pieces][::-1].copy(), intercept[:pieces][::-1].copy(), slope[:pieces][::-1].copy()
