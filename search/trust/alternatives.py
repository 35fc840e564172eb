"""The nearest alternatives to an answer, and their price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...problems.batch import Batch, take
from ...problems.goal import ResolvedGoal
from ...problems.problem import Problem
from ...problems.scoring import Scores

Array = npt.NDArray[Any]
SHOWN = 6
NEARLY, HARDLY = 1e-9, 5e-5
HAIR = 1e-2


@dataclass(frozen=True, eq=False)
class Alternative:
    """Another point: what differs, in how many entries, and what it costs.

    changes: (entry, from, to). prices: objective -> relative change, positive where it is worse. metrics:
    its metrics. feasible: always true for what is listed.
    """

    changes: tuple[tuple[str, str, str], ...]
    entries: int
    prices: dict[str, float]
    metrics: dict[str, float]

    @property
    def better(self) -> bool:
        """Whether it is better than the answer in an objective, and worse in none."""
        return max(self.prices.values()) <= NEARLY and min(self.prices.values()) < -HARDLY

    @property
    def words(self) -> str:
        """What differs: `tile_m 128 to 64, stages 3 to 4`."""
        listed = ", ".join(
            f"{name} {old} to {new}" if old else f"{name} {new}" for name, old, new in self.changes
        )
        more = self.entries - len(self.changes)
        return listed + (f" and {more} more" if more > 0 else "")

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "changes": [{"variable": n, "from": a, "to": b} for n, a, b in self.changes],
            "entries": self.entries,
            "prices": self.prices,
            "metrics": self.metrics,
        }


def alternatives(
    problem: Problem,
    goal: ResolvedGoal,
    answer: Batch,
    metrics: Mapping[str, float],
    batch: Batch,
    scores: Scores,
) -> list[Alternative]:
    """The feasible points of `batch` that cost least for each number of changed entries, then overall.

    Points that no metric tells from the answer (an unused server of another kind) are none. With several
    objectives the price is the sum of the relative changes for the worse.
    """
    feasible = (goal.violation(scores.metrics) <= 0) & ~scores.failed
    changed = differences(problem, answer, batch)
    total = np.zeros(len(batch))
    columns: dict[str, Array] = {}
    for objective in goal.objectives:
        now = metrics[objective.metric]
        with np.errstate(invalid="ignore", divide="ignore"):
            price = objective.sign * (scores.metrics[objective.metric] - now) / (abs(now) or 1.0)
        columns[objective.metric] = price
        total += price if goal.single else np.maximum(price, 0.0)
    told_apart = np.zeros(len(batch), bool)
    for name, column in scores.metrics.items():
        told_apart |= np.abs(column - metrics[name]) > NEARLY * max(abs(metrics[name]), 1e-300)
    wanted = np.flatnonzero(feasible & told_apart & (changed > 0) & np.isfinite(total))
    order = wanted[np.lexsort((total[wanted], changed[wanted]))]
    best: list[int] = []
    nearest = order[changed[order] == changed[order[0]]] if len(order) else order
    best += nearest[: SHOWN // 2].tolist()
    for row in wanted[np.argsort(total[wanted], kind="stable")].tolist():
        if len(best) >= SHOWN:
            break
        if row not in best:
            best.append(row)
    best.sort(key=lambda row: (changed[row], total[row]))
    return [
        Alternative(
            described(problem, answer, take(batch, slice(row, row + 1))),
            int(changed[row]),
            {n: float(c[row]) for n, c in columns.items()},
            {n: float(v[row]) for n, v in scores.metrics.items()},
        )
        for row in best
    ]


def differences(problem: Problem, answer: Batch, batch: Batch) -> Array:
    """In how many entries each point differs from the answer, (rows,); a hair of a range is no difference."""
    total = np.zeros(len(batch), int)
    for name, domain in problem.space.domains.items():
        column, now = np.asarray(batch.__columns__[name]), np.asarray(answer.__columns__[name])
        other = (
            np.abs(column - now) > HAIR * (domain.hi - domain.lo) if domain.kind == "float" else column != now
        )
        total += other.reshape(len(batch), -1).sum(axis=1)
    return total


def described(
    problem: Problem, answer: Batch, other: Batch, most: int = 3
) -> tuple[tuple[str, str, str], ...]:
    """What differs between two points, the first few entries: (entry, from, to)."""
    found = []
    before, after = (problem.space.points(b)[0] for b in (answer, other))
    for name, domain in problem.space.domains.items():
        old, new = (np.array(p[name], dtype=object) for p in (before, after))
        if domain.kind == "permutation" and not np.array_equal(old, new):
            found.append((name, "", "reordered"))
            continue
        for place in np.argwhere(np.atleast_1d(old != new)).tolist() if old.shape else [[]]:
            a, b = (old[tuple(place)], new[tuple(place)]) if place else (old.item(), new.item())
            a, b = domain.shown(a), domain.shown(b)
            if a != b:
                entry = f"{name}{place}" if place else name
                found.append((entry, a, b))
            if len(found) >= most:
                return tuple(found)
    return tuple(found)
