"""Rank tables from samples of service demand: (rows, levels) dense ranks in [0, 1], lowest served first.

A row is a class of jobs (or a class and what is known of it), a level an interval of attained service.
Samples are moved right to the levels' beginnings, so that ranks do not collapse just before a sample,
and a generalised Pareto tail stands beyond the largest ones, so that old jobs do not look done.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..views import dense_ranks
from .compiled import Array

LEVELS = 200
TAIL_SHARE, TAIL_LEAST, TAIL_DEPTH = 0.05, 10, 1e-4


def level_starts(samples: Sequence[Array], levels: int = LEVELS, least: float | None = None) -> Array:
    """0, then ages spaced evenly in the logarithm from the least demand to the end of the fitted tails."""
    high = max(_tail(np.sort(np.asarray(s, float)))[0] for s in samples)
    low = min(float(np.min(s)) for s in samples) if least is None else least
    low = max(low, 1e-9 * high, 1e-9)  # a demand of nothing has no logarithm
    return np.concatenate([[0.0], np.geomspace(low, max(high, 1.001 * low), levels - 1)])


def law(samples: Array, ages: Array, tail: bool = True) -> tuple[Array, Array]:
    """Values and masses of the law behind samples: on the levels' beginnings, with a fitted tail."""
    samples = np.sort(np.asarray(samples, float))
    top, exceeding, threshold, shape, scale = _tail(samples) if tail else (samples[-1], 0, np.inf, 0.0, 1.0)
    grid = ages[ages > 0]
    if top > grid[-1]:
        ratio = max(1.02, grid[-1] / grid[-2]) if len(grid) > 1 else 1.2
        more = int(np.clip(np.ceil(np.log(top / grid[-1]) / np.log(ratio)), 1, LEVELS))
        grid = np.concatenate([grid, np.geomspace(grid[-1], top, more + 1)[1:]])
    below = np.searchsorted(samples, grid, side="right") / len(samples)
    over = np.maximum(grid - threshold, 0.0)
    if abs(shape) < 1e-9:
        survival = np.exp(-over / scale)
    else:
        survival = np.maximum(1 + shape * over / scale, 0) ** (-1 / shape)
    below = np.where(grid > threshold, 1 - survival * exceeding / len(samples), below)
    below[-1] = 1.0
    masses = np.diff(np.maximum.accumulate(below), prepend=0.0)
    return grid[masses > 0], masses[masses > 0]


def _tail(samples: Array) -> tuple[float, int, float, float, float]:
    """Where sorted samples and their tail end; how many lie in the tail, its threshold, shape and scale."""
    exceeding, top = max(TAIL_LEAST, round(TAIL_SHARE * len(samples))), float(samples[-1])
    if len(samples) < 4 * TAIL_LEAST or samples[-exceeding] == samples[-1]:
        return top, 0, float("inf"), 0.0, 1.0
    threshold = float(samples[-exceeding - 1])
    shape, scale = _pareto(samples[-exceeding:] - threshold)
    depth = -np.log(TAIL_DEPTH) if abs(shape) < 1e-9 else (TAIL_DEPTH**-shape - 1) / shape
    return max(top, threshold + scale * float(depth)), exceeding, threshold, shape, scale


def _pareto(excess: Array) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto law by probability-weighted moments (Hosking, Wallis 1987)."""
    weight = 1 - (np.arange(1, len(excess) + 1) - 0.35) / len(excess)
    first, second = float(excess.mean()), float((excess * weight).mean())
    if first - 2 * second <= 1e-12 * first:
        return -1.0, 2 * first
    shape = min(2 - first / (first - 2 * second), 0.95)
    return shape, max(first * (1 - shape), 1e-300)


def gittins(values: Array, masses: Array, ages: Array) -> Array:
    """G(a) = min over d of E[min(X - a, d) | X > a] / P(X - a <= d | X > a) at each level.

    A job may be stopped where a level begins. Infinite where no job is that old.
    """
    upto = np.searchsorted(values, ages, side="right")
    share = np.concatenate([[0.0], np.cumsum(masses)])
    sums = np.concatenate([[0.0], np.cumsum(masses * values)])
    finished = np.append(share[upto], share[-1])
    reached = np.append(sums[upto] + ages * (share[-1] - share[upto]), sums[-1])
    ranks = np.full(len(ages), np.inf)
    for i in range(len(ages)):
        gain = finished[i + 1 :] - finished[i]
        ends = gain > 1e-15
        if upto[i] < len(values) and ends.any():
            ranks[i] = ((reached[i + 1 :] - reached[i])[ends] / gain[ends]).min()
    return ranks


def residual(values: Array, masses: Array, ages: Array) -> Array:
    """E[X - a | X > a] at each level (SERPT); infinite where no job is that old."""
    upto = np.searchsorted(values, ages, side="right")
    share = np.concatenate([[0.0], np.cumsum(masses)])
    sums = np.concatenate([[0.0], np.cumsum(masses * values)])
    alive = share[-1] - share[upto]
    old = upto >= len(values)
    mean = (sums[-1] - sums[upto]) / np.where(old, 1.0, alive) - ages
    return np.where(old, np.inf, mean)


def bucketed(samples: Array, ages: Array, buckets: int = 10) -> Array:
    """The rank as the published artefact computes it: equal-width buckets of what is left, and
    mean(X - a | X - a <= d) / P(X - a <= d), which drops the work spent on jobs that do not end.

    A job older than every sample gets rank 0, the best, as there.
    """
    ranks = np.zeros(len(ages))
    for i, age in enumerate(ages):
        rest = samples[samples > age] - age
        if len(rest):
            ends = rest.max() * np.arange(1, buckets + 1) / buckets
            inside = rest[None, :] <= ends[:, None] * (1 + 1e-12)
            counts = inside.sum(axis=1)
            sums = (rest * inside).sum(axis=1)
            some = counts > 0
            ranks[i] = (sums[some] / counts[some] * len(rest) / counts[some]).min()
    return ranks


def table(rows: Sequence[Array]) -> Array:
    """Dense ranks of values by row and level; where a row is infinite, after all others, younger first."""
    values = np.array(rows, float)
    finite = np.isfinite(values)
    oldest = values[finite].max(initial=0.0)
    return np.asarray(dense_ranks(np.where(finite, values, oldest + 1.0 + np.arange(values.shape[1]))))


def gittins_table(samples: Sequence[Array], ages: Array, tail: bool = True) -> Array:
    """Gittins ranks of several rows."""
    return table([gittins(*law(s, ages, tail), ages) for s in samples])


def serpt_table(samples: Sequence[Array], ages: Array) -> Array:
    """Shortest expected remaining work first, from the samples as they are."""
    rows = []
    for sample in samples:
        values, counts = np.unique(np.asarray(sample, float), return_counts=True)
        rows.append(residual(values, counts / counts.sum(), ages))
    return table(rows)


def mean_table(samples: Sequence[Array], ages: Array) -> Array:
    """Shortest mean first, whatever the service so far."""
    return table([np.full(len(ages), float(np.mean(s))) for s in samples])


def las_table(samples: Sequence[Array], ages: Array) -> Array:
    """Least attained service first."""
    return table([np.arange(len(ages), dtype=float) for _ in samples])


def bucketed_table(samples: Sequence[Array], ages: Array, buckets: int = 10) -> Array:
    """The artefact's formula; see `bucketed`."""
    return table([bucketed(np.asarray(s, float), ages, buckets) for s in samples])
