"""What moves a metric: one variable at a time around the answer, and all of them over the space (Sobol)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...problems.batch import Batch, concatenate, take
from ...problems.domain import Domain
from ...problems.goal import ResolvedGoal
from ...problems.problem import Problem
from ...problems.scoring import Scores, evaluate, join_scores

Array = npt.NDArray[Any]
LEVELS = 7
MOST_VARIED, MOST_MOVES = 64, 1_024
SOBOL_ROWS = {"fast": 1_024, "slow": 0}
RESAMPLES = 200


def moves(problem: Problem, base: Batch, seed: int) -> tuple[list[str], Batch | None]:
    """Rows that differ from `base` in one entry each, and the entry's name; repeats are left out."""
    space = problem.space
    rng = np.random.default_rng([seed, 0x0A7])
    columns = {n: base.__columns__[n] for n in space.domains}
    names: list[str] = []
    parts: dict[str, list[Array]] = {n: [] for n in space.domains}
    for domain in free(problem):
        if domain.kind == "permutation":
            continue
        entries = np.arange(domain.entries)
        if len(entries) > MOST_VARIED:
            entries = np.sort(rng.choice(entries, MOST_VARIED, replace=False))
        unit = (np.arange(LEVELS) + 0.5) / LEVELS
        levels = np.unique(domain.entry(0).from_unit(np.r_[unit, 0.0, 1 - 1e-12]))
        if domain.options is not None and domain.options <= 2 * LEVELS:
            levels = domain.entry(0).at(np.arange(domain.options))
        for entry in entries:
            flat = np.repeat(columns[domain.name].reshape(1, -1), len(levels), axis=0)
            flat[:, entry] = levels
            if len(names) + len(levels) > MOST_MOVES:
                break
            names += [entry_name(domain, int(entry))] * len(levels)
            for name, column in columns.items():
                whole = (
                    flat.reshape(len(levels), *domain.width)
                    if name == domain.name
                    else np.repeat(column, len(levels), axis=0)
                )
                parts[name].append(whole)
    if not names:
        return [], None
    return names, space.canonical({n: np.concatenate(p) for n, p in parts.items()}, len(names))


def entry_name(domain: Domain, entry: int) -> str:
    """What an entry of a variable is called: `tile`, `keep[3]`, `action[2, 9]`."""
    if not domain.shape:
        return domain.name
    return f"{domain.name}[{', '.join(map(str, np.unravel_index(entry, domain.shape)))}]"


def free(problem: Problem) -> list[Domain]:
    """The variables that can be moved: neither pinned nor of one value."""
    return [d for d in problem.space.domains.values() if d.pinned is None and d.options != 1]


@dataclass(frozen=True)
class Reach:
    """How far one entry moves a metric from the answer when it takes its other values, relative.

    low, high: over the moves that stay feasible (NaN where none does); all_low, all_high: over all.
    """

    name: str
    low: float
    high: float
    all_low: float
    all_high: float


def one_at_a_time(
    names: list[str], scores: Scores, goal: ResolvedGoal, reference: float, metric: str
) -> list[Reach]:
    """The reach of each moved entry, the farthest first; entries that move nothing are left out.

    names: the entry of each row. reference: the metric at the answer.
    """
    if not reference or not np.isfinite(reference):
        return []
    change = scores.metrics[metric] / reference - 1
    feasible = (goal.violation(scores.metrics) <= 0) & ~scores.failed
    label = np.array(names)
    found = []
    for name in dict.fromkeys(names):
        rows = (label == name) & np.isfinite(change)
        inside = change[rows & feasible]
        if not rows.any() or not change[rows].any():
            continue
        ends = (inside.min(), inside.max()) if len(inside) else (np.nan, np.nan)
        found.append(Reach(name, *(float(v) for v in (*ends, change[rows].min(), change[rows].max()))))
    return sorted(found, key=lambda r: -(max(r.all_high, 0.0) - min(r.all_low, 0.0)))


@dataclass(frozen=True)
class Sobol:
    """Shares of a metric's variance over the space: of a variable alone, and with all it interacts with.

    first, total: the indexes. first_error, total_error: half widths of their 95 % intervals.
    """

    name: str
    first: float
    first_error: float
    total: float
    total_error: float


def sobol(
    problem: Problem,
    metric: str,
    seed: int = 0,
    rows: int = 1_024,
    score: Callable[[Batch], Scores] | None = None,
) -> list[Sobol]:
    """Sobol indexes of a metric, a variable (with all its entries) at a time, the largest total first.

    Two independent samples A and B of `rows` points; for each variable, A with that variable from B:
    rows x (variables + 2) points in all. Rows where the referee fails are left out.
    """
    names = [d.name for d in free(problem)]
    space, score = problem.space, score or (lambda batch: evaluate(problem, batch))
    if len(names) < 2 or rows < 8:  # a single variable explains everything
        return []
    rng = np.random.default_rng([seed, 0x50B0])
    a, b = space.sample(rng, rows), space.sample(rng, rows)
    swapped = [
        space.canonical({n: (b if n == name else a).__columns__[n] for n in space.domains}, rows)
        for name in names
    ]
    whole = concatenate([a, b, *swapped])
    parts = [score(take(whole, slice(i, i + rows))) for i in range(0, len(whole), rows)]
    values = join_scores(parts).metrics[metric].reshape(len(names) + 2, rows)
    values = values[:, np.isfinite(values).all(axis=0)]
    if values.shape[1] < 8 or np.ptp(values) == 0:
        return []
    first, total = indexes(values)
    picks = rng.integers(values.shape[1], size=(RESAMPLES, values.shape[1]))
    again = np.array([indexes(values[:, pick]) for pick in picks])  # (resamples, 2, variables)
    half = 1.96 * again.std(axis=0, ddof=1)
    found = [
        Sobol(name, *(float(v) for v in (first[i], half[0, i], total[i], half[1, i])))
        for i, name in enumerate(names)
    ]
    return sorted(found, key=lambda s: -s.total)


def indexes(values: Array) -> tuple[Array, Array]:
    """First-order and total indexes from the metric at A, B and each mixed sample: (variables + 2, rows).

    First order after Saltelli et al. 2010 (table 2, b), total after Jansen 1999 (ibid., f); the metric
    is standardised first, which lessens the first one's error.
    """
    spread = values[:2].std()
    if spread == 0:
        nothing = np.zeros(len(values) - 2)
        return nothing, nothing
    a, b, *mixed = (values - values[:2].mean()) / spread
    variance = float(np.r_[a, b].var())
    first = np.array([np.mean(b * (m - a)) for m in mixed]) / variance
    total = np.array([0.5 * np.mean((a - m) ** 2) for m in mixed]) / variance
    return first, total
