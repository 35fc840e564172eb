"""Answers of simulations, scored again on fresh seeds: what a search saw on one seed is flattered by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import SpaceError
from ...problems.problem import Problem
from ...problems.scoring import evaluate

SEED = "simulation_seed"
FRESH_SEEDS = 10
Replications = dict[str, tuple[float, float, int]]
"""metric -> mean, half width of its 95 % interval, and the number of fresh seeds."""


def fresh_seeds(problem: Problem, count: int = FRESH_SEEDS) -> list[int]:
    """Seeds that a search of this problem has not seen.

    Raises SpaceError where the problem has no seed to change.
    """
    if SEED not in problem.parameters:
        raise SpaceError(
            f"{type(problem).__name__} is stochastic but has no parameter '{SEED}'; add '{SEED}: int = 0'."
        )
    own = int(problem.parameters[SEED])
    drawn = np.random.SeedSequence([abs(own), 0xF5E5]).generate_state(2 * count)
    return [int(seed) for seed in drawn if seed != own][:count]


def replicate(problem: Problem, point: Mapping[str, Any], count: int = FRESH_SEEDS) -> Replications:
    """Each metric of a point over fresh seeds: mean, half width of the 95 % interval, seeds that counted.

    A seed at which the referee fails does not count; with fewer than two the half width is infinite.
    """
    from scipy.stats import t

    values: dict[str, list[float]] = {name: [] for name in problem.metrics}
    for seed in fresh_seeds(problem, count):
        fresh = problem.replace(**{SEED: seed})
        for name, column in evaluate(fresh, fresh.space.batch(point)).metrics.items():
            if np.isfinite(column[0]):
                values[name].append(float(column[0]))
    found: Replications = {}
    for name, seen in values.items():
        n = len(seen)
        spread = float(t.ppf(0.975, n - 1) * np.std(seen, ddof=1) / np.sqrt(n)) if n > 1 else np.inf
        found[name] = (float(np.mean(seen)) if seen else np.nan, spread, n)
    return found
