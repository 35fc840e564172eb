"""Split-conformal intervals of the log ratio between measured and predicted time.

sigma is defined through the interval: time x exp(± 1.645 sigma) holds 90 % of held-out shapes. It is
kept by decade of predicted time, because small kernels are harder to predict than large ones.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.9
Z = 1.6448536269514722  # the standard normal's 95 % quantile
LEAST = 80  # samples a decade needs for a quantile of its own

Array = NDArray[np.float64]


def quantile(residuals: Array, level: float = LEVEL) -> float:
    """The conformal quantile of |residuals|: rank ceil((n + 1) level) of n."""
    size = len(residuals)
    rank = min(int(np.ceil((size + 1) * level)), size)
    return float(np.sort(np.abs(residuals))[rank - 1])


def profile(predicted: Array, measured: Array) -> dict[str, Any]:
    """sigma overall and by decade of predicted time: `{"sigma", "quantile", "decades", "sigmas"}`.

    predicted, measured: seconds, (n,), of shapes the coefficients were not fitted on.
    """
    residual = np.log(measured / predicted)
    overall = quantile(residual)
    decade = np.floor(np.log10(predicted))
    edges, sigmas = [], []
    for value in np.unique(decade):
        inside = decade == value
        own = quantile(residual[inside]) if inside.sum() >= LEAST else overall
        edges.append(float(value) + 0.5)
        sigmas.append(round(own / Z, 5))
    return {
        "sigma": round(overall / Z, 5),
        "quantile": round(overall, 5),
        "decades": edges,
        "sigmas": sigmas,
    }


def sigma_at(time: Any, decades: tuple[float, ...], sigmas: tuple[float, ...]) -> Any:
    """sigma by predicted time: constant inside each decade, the nearest one's outside."""
    middle = [10.0 ** ((a + b) / 2) for a, b in pairwise(decades)]
    return np.asarray(sigmas)[np.searchsorted(middle, time, side="right")]


def sigma_between(time: Any, decades: tuple[float, ...], sigmas: tuple[float, ...]) -> Any:
    """sigma by predicted time without steps, for draws: a drawn time must still grow with the size."""
    return np.interp(np.log10(np.maximum(time, 1e-12)), decades, sigmas)


def coverage(predicted: Array, measured: Array, sigma: Array) -> float:
    """Fraction of measurements inside time x exp(± Z sigma)."""
    return float(np.mean(np.abs(np.log(measured / predicted)) <= Z * sigma))


def binomial_band(size: int, level: float = LEVEL, confidence: float = 0.99) -> tuple[float, float]:
    """The band of coverage that chance alone explains for `size` independent shapes."""
    from scipy.stats import binom

    tail = (1 - confidence) / 2
    return float(binom.ppf(tail, size, level)) / size, float(binom.ppf(1 - tail, size, level)) / size
