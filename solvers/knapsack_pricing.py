"""Exact multi-dimensional bounded knapsack: the most profit that one bin can hold.

A dynamic programme on a grid of capacities bounds what the items from i on can still add; a depth-first
search over exact demands follows that bound. Where the grid is as fine as the demands the bound is the
optimum and the search only reads the answer off; where it is coarser (large capacities), demands are
rounded down in the bound, so it stays one, and the search decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
CELLS = 8_000_000
NODES = 1_000_000
TINY = 1e-11


@dataclass(frozen=True, eq=False)
class Pattern:
    """The best content of one bin: copies of each group (groups,), its profit, and an upper bound."""

    copies: Array
    profit: float
    upper: float


class Pricer:
    """The knapsack of one bin type, solved again and again for other profits.

    demands: (groups, dimensions) whole numbers. allowed: (groups,) which may go into this type.
    capacity: (dimensions,) whole numbers. cells: size of the table. workspace: memory for it that
    pricers may share, as each fills it anew.
    """

    def __init__(
        self,
        demands: Array,
        allowed: Array,
        capacity: Array,
        cells: int = CELLS,
        workspace: Array | None = None,
    ) -> None:
        fits = allowed & (demands <= capacity).all(axis=1)
        self.groups = len(demands)
        self.members = np.flatnonzero(fits)
        self.demands = np.ascontiguousarray(demands[self.members], np.int64)
        self.capacity = np.ascontiguousarray(capacity, np.int64)
        self.width = _grid(self.capacity, max(1, cells // max(1, len(self.members) + 1)))
        self.extent = self.capacity // self.width + 1
        self._grid_demands = np.ascontiguousarray(self.demands // self.width)
        self._share = (self.demands / np.maximum(self.capacity, 1)).sum(axis=1) + 1e-9
        states = int(np.prod(self.extent))
        size = (len(self.members) + 1) * states
        self.cells = size
        shared = workspace if workspace is not None and len(workspace) >= size else np.zeros(size)
        self._table = shared[:size].reshape(len(self.members) + 1, states)
        self._scratch = np.zeros((2, states))

    def best(self, profits: Array, copies: Array, nodes: int = NODES) -> Pattern:
        """The content of most profit. profits: (groups,). copies: (groups,) available of each.

        nodes: steps of the search; where they do not suffice the bound is above the profit.
        """
        chosen = np.zeros(self.groups, np.int64)
        own = profits[self.members]
        useful = np.flatnonzero((own > TINY) & (copies[self.members] > 0))
        if not len(useful):
            return Pattern(chosen, 0.0, 0.0)
        order = useful[np.argsort(-own[useful] / self._share[useful], kind="stable")]
        taken = np.zeros(len(order), np.int64)
        profit, upper = _solve(
            own[order], self.demands[order], self._grid_demands[order], copies[self.members[order]],
            self.capacity, self.width, self.extent, self._table, self._scratch, taken, nodes,
        )  # fmt: skip
        chosen[self.members[order]] = taken
        return Pattern(chosen, profit, upper)


def _grid(capacity: Array, states: int) -> Array:
    """Width of a grid cell in each dimension, so that there are at most `states` cells."""
    width = np.ones(len(capacity), np.int64)
    while np.prod(capacity // width + 1.0) > states:
        widest = int(np.argmax(capacity // width))
        if capacity[widest] // width[widest] == 0:
            break
        width[widest] = max(width[widest] + 1, int(width[widest] * 1.05))
    return width


@numba.njit(cache=True, nogil=True)
def _add_group(profit, demand, extent, source, base, target):  # type: ignore[no-untyped-def]
    """target[s] = max(base[s], source[s - demand] + profit) over all states s."""
    dimensions = len(extent)
    last = extent[dimensions - 1]
    step = demand[dimensions - 1]
    rows = len(base) // last
    coordinate = np.zeros(dimensions, np.int64)
    offset = 0
    stride = 1
    for d in range(dimensions - 1, -1, -1):
        offset += demand[d] * stride
        stride *= extent[d]
    for row in range(rows):
        inside = step < last
        for d in range(dimensions - 1):
            if coordinate[d] < demand[d]:
                inside = False
        start = row * last
        split = start + (step if inside else last)
        for s in range(start, split):
            target[s] = base[s]
        for s in range(split, start + last):
            other = source[s - offset] + profit
            target[s] = base[s] if base[s] > other else other
        for d in range(dimensions - 2, -1, -1):
            coordinate[d] += 1
            if coordinate[d] < extent[d]:
                break
            coordinate[d] = 0


@numba.njit(cache=True, nogil=True)
def _fill(profits, demands, copies, extent, table, scratch):  # type: ignore[no-untyped-def]
    """table[i, s]: the most profit that groups i.. add within the grid capacity s."""
    groups, dimensions = demands.shape
    for s in range(table.shape[1]):
        table[groups, s] = 0.0
    for i in range(groups - 1, -1, -1):
        passes = copies[i]
        for d in range(dimensions):
            if demands[i, d] > 0:
                passes = min(passes, (extent[d] - 1) // demands[i, d])
        if passes == 0:
            for s in range(table.shape[1]):
                table[i, s] = table[i + 1, s]
            continue
        empty = True
        for d in range(dimensions):
            if demands[i, d] > 0:
                empty = False
        if empty:
            for s in range(table.shape[1]):
                table[i, s] = table[i + 1, s] + copies[i] * profits[i]
            continue
        for k in range(passes):
            source = table[i + 1] if k == 0 else scratch[(k - 1) % 2]
            target = table[i] if k == passes - 1 else scratch[k % 2]
            _add_group(profits[i], demands[i], extent, source, table[i + 1], target)


@numba.njit(cache=True, nogil=True)
def _search(profits, demands, copies, capacity, width, extent, table, taken, floor, nodes):  # type: ignore[no-untyped-def]
    """Depth-first for a content of more profit than `floor`; returns profit (or floor) and nodes left."""
    groups, dimensions = demands.shape
    left = capacity.copy()
    trial = np.zeros(groups, np.int64)
    best, value, i = floor, 0.0, 0
    while True:
        state = 0
        for d in range(dimensions):
            state = state * extent[d] + left[d] // width[d]
        bound = table[i, state]
        nodes -= 1
        if nodes <= 0:
            return best, nodes
        deeper = value + bound > best and bound > 0.0
        if deeper:
            k = copies[i]
            for d in range(dimensions):
                if demands[i, d] > 0:
                    k = min(k, left[d] // demands[i, d])
            trial[i] = k
            if k > 0:
                value += k * profits[i]
                for d in range(dimensions):
                    left[d] -= k * demands[i, d]
            i += 1
            continue
        if value > best:
            total = 0.0
            for j in range(i):
                total += trial[j] * profits[j]
            value = total
            if total > best:
                best = total
                for j in range(groups):
                    taken[j] = trial[j] if j < i else 0
        i -= 1
        while i >= 0 and trial[i] == 0:
            i -= 1
        if i < 0:
            return best, nodes
        trial[i] -= 1
        value -= profits[i]
        for d in range(dimensions):
            left[d] += demands[i, d]
        i += 1


@numba.njit(cache=True, nogil=True)
def _solve(profits, demands, coarse, copies, capacity, width, extent, table, scratch, taken, nodes):  # type: ignore[no-untyped-def]
    """The best content: its profit and an upper bound on any content's."""
    _fill(profits, coarse, copies, extent, table, scratch)
    upper = table[0, table.shape[1] - 1]
    share, step = 1.0 - 1e-10, 0.01
    proved = upper
    while True:
        target = upper * share
        found, nodes = _search(profits, demands, copies, capacity, width, extent, table, taken, target, nodes)
        if found > target:
            return found, found if nodes > 0 else proved
        if nodes <= 0:
            break
        proved = target
        if target <= 0.0:
            break
        share = max(0.0, share - step)
        step *= 1.6
    # out of nodes: a greedy content, and the bound of the table
    left = capacity.copy()
    value = 0.0
    for i in range(len(profits)):
        k = copies[i]
        for d in range(len(left)):
            if demands[i, d] > 0:
                k = min(k, left[d] // demands[i, d])
        taken[i] = k
        value += k * profits[i]
        for d in range(len(left)):
            left[d] -= k * demands[i, d]
    return value, max(value, proved)
