"""The best of what was scored: the front, the incumbents, the least infeasible row.

Rows are known by their numbers. New rows are compared with a few members of the front first, then
kept in a buffer that is merged only when it outgrows the front: the cost of a row stays constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..problems.goal import ResolvedGoal

Array = npt.NDArray[Any]
PIVOTS = 8
LEAST_BUFFER = 1_024


def nondominated(costs: Array) -> Array:
    """Which rows of costs (rows, objectives), all minimised, nothing dominates; equal rows keep one."""
    if costs.shape[1] == 1:
        keep = np.zeros(len(costs), bool)
        if len(costs):
            keep[int(np.argmin(costs[:, 0]))] = True
        return keep
    if costs.shape[1] == 2:
        keep = np.zeros(len(costs), bool)
        keep[staircase(costs)] = True
        return keep
    import moocore

    finite = np.nan_to_num(costs)  # infinite costs as the largest number: moocore compares them wrongly
    return np.asarray(moocore.is_nondominated(finite, keep_weakly=False))


def staircase(costs: Array) -> Array:
    """Nondominated rows of costs (rows, 2), by their first objective; of equal rows the earliest."""
    order = np.argsort(costs[:, 0], kind="stable")  # fast on what is sorted in parts, as a front and its news
    first = costs[order, 0]
    if (first[1:] == first[:-1]).any():
        order = np.lexsort((costs[:, 1], costs[:, 0]))
    second = costs[order, 1]
    better = np.ones(len(costs), bool)
    better[1:] = second[1:] < np.minimum.accumulate(second)[:-1]
    return np.asarray(order[better])


class Archive:
    """Front, incumbents and counts over rows that arrive in order."""

    def __init__(self, goal: ResolvedGoal) -> None:
        self.goal = goal
        width = len(goal.objectives)
        self.ids: Array = np.empty(0, np.int64)
        self.costs: Array = np.empty((0, width))
        self._buffer: list[tuple[Array, Array]] = []
        self._buffered = 0
        self._pivots: Array = np.empty((0, width))
        self._first = self._second = np.empty(0)
        self.rows = self.feasible = self.failed = 0
        self.least_violation, self.least_violation_id = np.inf, -1
        self.incumbents: list[tuple[int, float]] = []

    def add(self, ids: Array, costs: Array, violation: Array, failed: Array) -> None:
        """Take rows: ids (rows,), costs (rows, objectives) to minimise, violation and failed (rows,)."""
        if not len(ids):
            return
        self.rows += len(ids)
        feasible = violation <= 0
        if failed.any():
            self.failed += int(failed.sum())
            feasible &= ~failed
        count = int(np.count_nonzero(feasible))
        self.feasible += count
        if self.feasible == 0:
            least = np.where(failed, np.inf, violation)
            i = int(np.argmin(least))
            if least[i] < self.least_violation:
                self.least_violation, self.least_violation_id = float(least[i]), int(ids[i])
            return
        if count < len(ids):
            ids, costs = ids[feasible], costs[feasible]
        if not count:
            return
        if costs.shape[1] == 1:
            self._add_single(ids, costs)
            return
        keep = self._survivors(costs)
        if keep.any():
            self._buffer.append((ids[keep], costs[keep]))
            self._buffered += int(np.count_nonzero(keep))
            if self._buffered > max(LEAST_BUFFER, len(self.ids)):
                self.merge()

    def _add_single(self, ids: Array, costs: Array) -> None:
        i = int(np.argmin(costs[:, 0]))
        if not len(self.ids) or costs[i, 0] < self.costs[0, 0]:
            self.ids, self.costs = ids[i : i + 1].copy(), costs[i : i + 1].copy()
            self.incumbents.append((int(ids[i]), float(costs[i, 0])))

    def _survivors(self, costs: Array) -> Array:
        """Which rows no pivot, and with two objectives no member of the front, is as good as."""
        if len(costs) <= PIVOTS:
            beaten = np.any(np.all(costs[:, None, :] >= self._pivots, axis=2), axis=1)
            return np.asarray(~beaten)
        columns = [np.ascontiguousarray(costs[:, j]) for j in range(costs.shape[1])]
        worse = np.zeros(len(costs), bool)
        for pivot in self._pivots:
            beaten = columns[0] >= pivot[0]
            for column, value in zip(columns[1:], pivot[1:], strict=True):
                beaten &= column >= value
            worse |= beaten
        if costs.shape[1] == 2 and len(self._first):
            left = np.flatnonzero(~worse)
            place = np.searchsorted(self._first, columns[0][left], side="right") - 1
            beaten = (place >= 0) & (self._second[np.maximum(place, 0)] <= columns[1][left])
            worse[left[beaten]] = True
        return ~worse

    def merge(self) -> None:
        """Bring the buffer into the front; members stay sorted by their first objective."""
        if not self._buffer:
            return
        ids = np.concatenate([self.ids, *(i for i, _ in self._buffer)])
        costs = np.concatenate([self.costs, *(c for _, c in self._buffer)])
        self._buffer, self._buffered = [], 0
        if costs.shape[1] == 2:
            kept = staircase(costs)
        else:
            kept = np.flatnonzero(nondominated(costs))
            kept = kept[np.argsort(costs[kept, 0], kind="stable")]
        self.ids, self.costs = ids[kept], costs[kept]
        self._first, self._second = (
            np.ascontiguousarray(self.costs[:, 0]),
            np.ascontiguousarray(self.costs[:, 1]),
        )
        spread = np.linspace(0, len(self.ids) - 1, PIVOTS + 2).astype(int)
        self._pivots = self.costs[np.unique(spread)]

    def best(self) -> int | None:
        """Row of the answer: the feasible front member nearest to the ideal point, scaled by the
        front's range; the least violation where nothing is feasible; None where nothing was scored."""
        self.merge()
        if not len(self.ids):
            return self.least_violation_id if self.least_violation_id >= 0 else None
        return int(self.ids[knee(self.costs)])

    def value(self) -> float | None:
        """The best value of the (first) objective in the metric's own sign, or None."""
        if self.goal.single and len(self.ids):
            return float(self.costs[0, 0] * self.goal.objectives[0].sign)
        return None

    @property
    def counts(self) -> Array:
        """Rows, feasible rows, failed rows, and the row of least violation."""
        return np.array([self.rows, self.feasible, self.failed, self.least_violation_id])

    def state(self) -> dict[str, Array]:
        """The archive as arrays, for a long sweep's checkpoint."""
        self.merge()
        counts = np.array([self.rows, self.feasible, self.failed, self.least_violation_id])
        return {
            "ids": self.ids,
            "costs": self.costs,
            "counts": counts,
            "least": np.array(self.least_violation),
        }

    def restore(self, state: dict[str, Array]) -> None:
        """Continue from what `state` gave."""
        self.ids, self.costs = state["ids"], state["costs"]
        self.rows, self.feasible, self.failed, self.least_violation_id = (int(v) for v in state["counts"])
        self.least_violation = float(state["least"])


def knee(costs: Array) -> int:
    """The row nearest to the ideal point after scaling each objective by its range; infinite costs last."""
    finite = np.isfinite(costs)
    low = np.min(costs, axis=0, where=finite, initial=np.inf)
    high = np.max(costs, axis=0, where=finite, initial=-np.inf)
    span = np.where(high > low, high - low, 1.0)
    far = np.where(costs > 0, len(costs.T) + 1.0, 0.0)
    scaled = np.where(
        finite, (np.where(finite, costs, 0.0) - np.where(np.isfinite(low), low, 0.0)) / span, far
    )
    return int(np.argmin((scaled**2).sum(axis=1)))
