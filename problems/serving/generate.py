"""Traces made from a seed, for trying things without a data set."""

from __future__ import annotations

import numpy as np

from ...errors import DataError
from .compiled import Array
from .trace import Trace


def poisson(rng: np.random.Generator, count: int, rate: float) -> Array:
    """Arrival times of a Poisson process."""
    if not rate > 0:
        raise DataError(f"rate of arrivals must be positive, got {rate:g}")
    return np.cumsum(rng.exponential(1.0 / rate, count))


def lognormal(rng: np.random.Generator, count: int, mean: float, cv: float) -> Array:
    """Lognormal numbers of a given mean and coefficient of variation."""
    spread = np.sqrt(np.log1p(cv * cv))
    return np.asarray(rng.lognormal(np.log(mean) - spread * spread / 2, spread, count))


def requests(
    count: int = 1000,
    *,
    rate: float = 1.0,
    input_mean: float = 1024,
    input_cv: float = 1.0,
    output_mean: float = 256,
    output_cv: float = 1.0,
    simulation_seed: int = 0,
) -> Trace:
    """Poisson arrivals of chat-like requests with lognormal lengths.

    >>> requests(100, rate=2.0).input.min() >= 1
    np.True_
    """
    rng = np.random.default_rng(simulation_seed)
    arrival = poisson(rng, count, rate)
    lengths = [
        np.maximum(1, np.rint(lognormal(rng, count, mean, cv)))
        for mean, cv in ((input_mean, input_cv), (output_mean, output_cv))
    ]
    return Trace.of_requests(arrival, *lengths, name="generated")
