"""Rank tables from samples of service demand: (rows, levels) dense ranks in [0, 1], lowest served first.

A row is a class of jobs (or a class and what is known of it), a level an interval of attained service.
The laws behind samples, and their Gittins ranks, are those of `gittins_rank`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gittins_rank import Law, stopped_rank, tail_of
from ..views import dense_ranks
from .compiled import Array

LEVELS = 200


def level_starts(samples: Sequence[Array], levels: int = LEVELS, least: float | None = None) -> Array:
    """0, then ages spaced evenly in the logarithm from the least demand to the end of the fitted tails."""
    high = max(_top(np.sort(np.asarray(s, float))) for s in samples)
    low = min(float(np.min(s)) for s in samples) if least is None else least
    low = max(low, 1e-9 * high, 1e-9)  # a demand of nothing has no logarithm
    return np.concatenate([[0.0], np.geomspace(low, max(high, 1.001 * low), levels - 1)])


def _top(samples: Array) -> float:
    """Where sorted samples and their tail end."""
    tail = tail_of(samples)
    return tail.top if tail else float(samples[-1])


def residual(law: Law, ages: Array) -> Array:
    """E[X - a | X > a] at each level (SERPT); infinite where no job is that old."""
    upto = np.searchsorted(law.values, ages, side="right")
    share = np.concatenate([[0.0], np.cumsum(law.masses)])
    sums = np.concatenate([[0.0], np.cumsum(law.masses * law.values)])
    alive = share[-1] - share[upto]
    old = upto >= len(law.values)
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
    return table([stopped_rank(Law.of_samples(s, ages, tail), ages) for s in samples])


def serpt_table(samples: Sequence[Array], ages: Array) -> Array:
    """Shortest expected remaining work first, from the samples as they are."""
    return table([residual(Law.discrete(s), ages) for s in samples])


def mean_table(samples: Sequence[Array], ages: Array) -> Array:
    """Shortest mean first, whatever the service so far."""
    return table([np.full(len(ages), float(np.mean(s))) for s in samples])


def las_table(samples: Sequence[Array], ages: Array) -> Array:
    """Least attained service first."""
    return table([np.arange(len(ages), dtype=float) for _ in samples])


def bucketed_table(samples: Sequence[Array], ages: Array, buckets: int = 10) -> Array:
    """The artefact's formula; see `bucketed`."""
    return table([bucketed(np.asarray(s, float), ages, buckets) for s in samples])
