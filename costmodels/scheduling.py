"""List scheduling of real loads on parallel units: what a frame's tiles and subtrees take, not their mean.

Compiled; the loads are those of one frame, the designs an array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])
Array = npt.NDArray[Any]


def compiled(function: F) -> F:
    """Compile to machine code at the first call; the code is kept on disk."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


@compiled
def makespan(loads: Array, units: int) -> float:
    """When the last of `loads` ends, each begun in order by the first unit that is free.

    >>> makespan(np.array([3.0, 1.0, 1.0, 1.0]), 2)
    3.0
    """
    free = np.zeros(units)
    for load in loads:
        first = 0
        for unit in range(1, units):
            if free[unit] < free[first]:
                first = unit
        free[first] += load
    return float(free.max())


@compiled
def intervals(loads: Array, units: int, begun: Array, ends: Array) -> None:
    """When each of `loads` begins and ends under `makespan`."""
    free = np.zeros(units)
    for i in range(len(loads)):
        first = 0
        for unit in range(1, units):
            if free[unit] < free[first]:
                first = unit
        begun[i] = free[first]
        free[first] += loads[i]
        ends[i] = free[first]


@compiled
def stream(
    work: Array, size: Array, cause: Array, cached: Array, units: int, buffers: int, pieces: Array,
    rate: float, latency: float, begun: Array, ends: Array,
) -> float:  # fmt: skip
    """Cycles to stream and search the subtrees of one frame; fills when each search begins and ends.

    work (T,): cycles of each subtree; size (T,): bytes; cause (T,): the subtree whose end makes it known,
    -1 for the first; cached (T,): already on chip. units: each searches one subtree at a time in the
    order of the queue; buffers: 2 prefetches the next while one is searched, 1 does not; pieces (T,):
    parts that a subtree larger than its buffer is read in. One memory channel of `rate` bytes a cycle,
    `latency` cycles a read.
    """
    slot = np.zeros(units)  # when a unit may ask for its next subtree
    free = np.zeros(units)  # when it has searched the last
    channel, last = 0.0, 0.0
    for i in range(len(work)):
        unit = 0
        for other in range(1, units):
            if slot[other] < slot[unit]:
                unit = other
        asked = slot[unit]
        if cause[i] >= 0:
            asked = max(asked, ends[cause[i]])
        arrived = asked
        if not cached[i]:
            channel = max(asked, channel) + size[i] / rate
            arrived = channel + latency * pieces[i]
        begun[i] = max(arrived, free[unit])
        ends[i] = begun[i] + work[i]
        slot[unit] = begun[i] if buffers > 1 else ends[i]
        free[unit] = ends[i]
        last = max(last, ends[i])
    return last
