"""How good a set of answers is, on a scale that runs of different solvers share.

One objective: the best feasible value. Several: the hypervolume that the front dominates, after the
objectives are scaled by the range of the best front known (reference point 1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..problems.goal import ResolvedGoal
from .archive import nondominated
from .session import Session

Array = npt.NDArray[Any]
REFERENCE = 1.1
BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class Quality:
    """A measure of fronts.

    low, span: (objectives,) the best known front's corner and range. best: the measure of that front;
    for one objective the best cost. For several objectives larger is better, for one smaller.
    """

    goal: ResolvedGoal
    low: Array
    span: Array
    best: float

    @classmethod
    def of(cls, goal: ResolvedGoal, fronts: Sequence[Array], bound: float | None = None) -> Quality:
        """The measure that fronts (members, objectives) of costs share. bound: a proven least cost."""
        found = [f for f in fronts if len(f)]
        width = len(goal.objectives)
        costs = np.concatenate(found) if found else np.empty((0, width))
        costs = costs[np.isfinite(costs).all(axis=1)]
        if not len(costs):
            return cls(goal, np.zeros(width), np.ones(width), np.nan if bound is None else bound)
        if goal.single:
            least = float(costs.min())
            return cls(goal, np.zeros(1), np.ones(1), least)
        best = costs[nondominated(costs)]
        low, high = best.min(axis=0), best.max(axis=0)
        span = np.where(high > low, high - low, np.maximum(np.abs(high), 1e-300))
        measure = cls(goal, low, span, 1.0)
        return cls(goal, low, span, measure.of_front(best))

    def of_front(self, costs: Array) -> float:
        """The measure of a front (members, objectives); NaN (one objective) or 0 where it is empty."""
        costs = costs[np.isfinite(costs).all(axis=1)]
        if self.goal.single:
            return float(costs.min()) if len(costs) else float("nan")
        scaled = (costs - self.low) / self.span
        scaled = scaled[(scaled < REFERENCE).all(axis=1)]
        if not len(scaled):
            return 0.0
        if scaled.shape[1] == 2:
            scaled = scaled[nondominated(scaled)]
            scaled = scaled[np.argsort(scaled[:, 0])]
            right = np.r_[scaled[1:, 0], REFERENCE]
            return float(((right - scaled[:, 0]) * (REFERENCE - scaled[:, 1])).sum())
        import moocore

        return float(moocore.hypervolume(scaled, ref=np.full(scaled.shape[1], REFERENCE)))

    def over_rows(self, session: Session, checkpoints: int) -> tuple[Array, Array]:
        """The measure after 1, ..., all rows of a session that keeps its rows: (rows, values)."""
        table = session.table
        total = len(table)
        if not total:
            return np.empty(0, np.int64), np.empty(0)
        ends = np.unique(np.geomspace(1, total, checkpoints).astype(np.int64))
        values, kept, start = [], np.empty((0, len(self.goal.objectives))), 0
        for end in ends:
            for block in range(start, int(end), BLOCK):
                rows = slice(block, min(block + BLOCK, int(end)))
                scores = table.scores(rows)
                good = (self.goal.violation(scores.metrics) <= 0) & ~scores.failed
                fresh = np.concatenate([kept, self.goal.costs(scores.metrics)[good]])
                kept = fresh[nondominated(fresh)] if len(fresh) else fresh
            start = int(end)
            values.append(self.of_front(kept))
        return ends, np.array(values)


def rows_before(session: Session, ids: Array) -> Array:
    """How many rows were scored before each row; a long enumeration numbers rows by chunk."""
    if session.streamed is None:
        return ids
    marks = np.array([(0, 0), *((i, n) for i, n, _ in session.marks)], float)
    rows: Array = np.interp(ids, marks[:, 0], marks[:, 1]).astype(np.int64)
    return rows
