"""Laws behind few samples: a tail beyond the largest, and as much of a prior as the data ask for.

The largest of n samples is exceeded by one job in n + 1. A law that ends there ranks such a job behind all
others for ever; the law made here goes on with an exponential tail, whose mean is that of the largest
spacings, shrunk towards what is usual among the classes. What is known of a stage is mixed with what is known
of its class by Buehlmann's credibility n / (n + k): k is the variance within rows over the variance between
rows and their priors, both of logarithms (empirical Bayes).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .compiled import Array

ENOUGH = 200  # samples that stand for themselves
POINTS = 256  # quantiles that stand for a law made from fewer
MOST = 20.0  # samples that a prior may count for
UNKNOWN, SPREADS = 0.5, (0.05, 1.0)  # a usual relative spread, where none is known, and its bounds


def spread_of(samples: Sequence[Array]) -> float:
    """The usual standard deviation of logarithms within classes; `UNKNOWN` where none has two samples."""
    known = [(len(s) - 1, np.log(np.maximum(s, 1e-6)).var(ddof=1)) for s in samples if len(s) > 1]
    if not known:
        return UNKNOWN
    weight, variance = np.array(known).T
    return float(np.clip(np.sqrt(weight @ variance / weight.sum()), *SPREADS))


def strength(pairs: Sequence[tuple[Array, Array | None]]) -> float:
    """Samples that priors count for, from (samples, prior) of several rows.

    >>> rows = [np.array([1.0, 3.0]), np.array([100.0, 300.0])]
    >>> strength([(row, np.concatenate(rows)) for row in rows]) < 1.0
    True
    """
    within, between, count = 0.0, 0.0, 0
    for own, prior in pairs:
        if prior is None or len(own) < 2 or not len(prior):
            continue
        logs, others = np.log(np.maximum(own, 1e-6)), np.log(np.maximum(prior, 1e-6))
        noise = float(logs.var(ddof=1))
        within += noise
        between += float((logs.mean() - others.mean()) ** 2) - noise / len(own)
        count += 1
    if not count or within <= 0:
        return 0.0
    return MOST if between <= within / MOST else within / between


def posterior(own: Array, prior: Array | None, weight: float, spread: float) -> Array:
    """Samples of the law behind `own`: itself where there is enough, else quantiles of the mixture.

    prior: samples of what is known besides; weight: samples that it counts for. spread: usual relative
    spread, for the tail.
    """
    if len(own) >= ENOUGH:
        return own
    from_prior = 0 if prior is None or not len(prior) else round(POINTS * weight / (len(own) + weight))
    parts = [_quantiles(own, POINTS - from_prior, spread)]
    if prior is not None and from_prior:
        parts.append(_quantiles(prior, from_prior, spread))
    return np.sort(np.concatenate(parts))


def _quantiles(samples: Array, count: int, spread: float) -> Array:
    """Evenly spaced quantiles of the law that goes on beyond the largest sample."""
    values, n = np.sort(np.maximum(samples, 1e-6)), len(samples)
    largest = min(max(1, round(n**0.5)), n - 1)
    excess = float(np.sum(values[n - largest :] - values[n - largest - 1])) if largest else 0.0
    scale = (excess + spread * float(values.mean())) / (largest + 1)
    share = (np.arange(count) + 0.5) / count
    reached = np.arange(n + 1) / (n + 1)
    inside = np.interp(share, reached, np.append(values[0] / (1 + spread), values))
    beyond = np.log((1 - reached[-1]) / np.minimum(1 - share, 1 - reached[-1]))
    return np.asarray(np.where(share > reached[-1], values[-1] + scale * beyond, inside))
