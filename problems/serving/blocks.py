"""KV blocks of an engine: a free list in order of release, so that what was freed last survives longest.

A block keeps its content until it is taken again. The blocks of a preempted request are freed last
block first, so what survives of them is always a prefix; blocks of shared prompts are found by number.
Rows of `table`, (7, blocks + 1) with the list's head in the last column: see the names below.
"""

from __future__ import annotations

import numpy as np

from .compiled import Array, compiled

FREE_NEXT, FREE_PREVIOUS, NEXT, PREVIOUS, OWNER, SHARED, USERS = range(7)


def fresh_table(blocks: int) -> Array:
    """All blocks free, in order."""
    table = np.full((7, blocks + 1), -1, np.int64)
    ring = np.arange(blocks + 1)
    table[FREE_NEXT] = np.roll(ring, -1)
    table[FREE_PREVIOUS] = np.roll(ring, 1)
    table[USERS] = 0
    return table


@compiled
def unlink(table: Array, b: int) -> None:
    """Take a block off the free list."""
    left, right = table[FREE_PREVIOUS, b], table[FREE_NEXT, b]
    table[FREE_NEXT, left] = right
    table[FREE_PREVIOUS, right] = left
    table[FREE_NEXT, b] = -1


@compiled
def append_free(table: Array, b: int) -> None:
    """Put a block at the end of the free list."""
    head = table.shape[1] - 1
    tail = table[FREE_PREVIOUS, head]
    table[FREE_NEXT, tail] = b
    table[FREE_PREVIOUS, b] = tail
    table[FREE_NEXT, b] = head
    table[FREE_PREVIOUS, head] = b


@compiled
def take_block(table: Array, cached: Array) -> int:
    """The block that has been free longest; what it held is forgotten."""
    b = table[FREE_NEXT, table.shape[1] - 1]
    unlink(table, b)
    if table[SHARED, b] >= 0:
        cached[table[SHARED, b]] = -1
        table[SHARED, b] = -1
    table[OWNER, b] = -1
    return int(b)


@compiled
def extend(table: Array, cached: Array, first: Array, last: Array, call: int) -> None:
    """Give a request one more block of its own."""
    b = take_block(table, cached)
    table[OWNER, b] = call
    table[NEXT, b] = -1
    table[PREVIOUS, b] = last[call]
    if last[call] >= 0:
        table[NEXT, last[call]] = b
    else:
        first[call] = b
    last[call] = b


@compiled
def revive(table: Array, first: Array, last: Array, call: int, most: int) -> int:
    """Take back up to `most` own blocks that survived since the request gave them up; returns how many."""
    b, kept, tail = first[call], 0, -1
    while b >= 0 and table[OWNER, b] == call and table[FREE_NEXT, b] >= 0:
        following = table[NEXT, b]
        if kept < most:
            unlink(table, b)
            tail = b
            kept += 1
        else:
            table[OWNER, b] = -1
        b = following
    last[call] = tail
    if tail >= 0:
        table[NEXT, tail] = -1
    else:
        first[call] = -1
    return kept


@compiled
def release(
    table: Array, cached: Array, last: Array, call: int, held: Array, prefix: Array, start: int
) -> int:
    """Free a request's blocks, last first; returns how many became free."""
    freed = 0
    b = last[call]
    while b >= 0:
        earlier = table[PREVIOUS, b]
        append_free(table, b)
        freed += 1
        b = earlier
    for i in range(held[call] - 1, -1, -1):
        b = cached[prefix[start + i]]
        table[USERS, b] -= 1
        if table[USERS, b] == 0:
            append_free(table, b)
            freed += 1
    held[call] = 0
    last[call] = -1
    return freed
