"""Numba's compiler as a typed decorator, and the binary heap that the simulators share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])
Array = npt.NDArray[Any]


def compiled(function: F) -> F:
    """Compile to machine code at the first call; the code is kept on disk."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


@compiled
def before(a: float, i: int, b: float, j: int) -> bool:
    """Whether (rank a, sequence i) goes before (rank b, sequence j)."""
    return a < b or (a == b and i < j)


@compiled
def heap_push(
    keys: Array, sequence: Array, items: Array, size: int, key: float, order: int, item: int
) -> int:
    """Add an item to a heap ordered by (key, order); returns the new size."""
    i = size
    while i > 0:
        parent = (i - 1) >> 1
        if before(keys[parent], sequence[parent], key, order):
            break
        keys[i], sequence[i], items[i] = keys[parent], sequence[parent], items[parent]
        i = parent
    keys[i], sequence[i], items[i] = key, order, item
    return size + 1


@compiled
def heap_pop(keys: Array, sequence: Array, items: Array, size: int) -> int:
    """Remove the first item of a heap (read it before); returns the new size."""
    size -= 1
    key, order, item = keys[size], sequence[size], items[size]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and before(keys[child + 1], sequence[child + 1], keys[child], sequence[child]):
            child += 1
        if before(key, order, keys[child], sequence[child]):
            break
        keys[i], sequence[i], items[i] = keys[child], sequence[child], items[child]
        i = child
    keys[i], sequence[i], items[i] = key, order, item
    return size


@compiled
def level_at(ages: Array, age: float) -> int:
    """The last level that begins at or before an age."""
    low, high = 0, len(ages)
    while low < high:
        middle = (low + high) // 2
        if ages[middle] <= age:
            low = middle + 1
        else:
            high = middle
    return max(0, low - 1)
