"""Running calls of an engine as slots of the arrays r_*, in order of admission: the last, preemption."""

from __future__ import annotations

from typing import Any

from .compiled import Array, compiled


@compiled
def worst_of(ranks: Array, app_of: Array, sequence: Array, r_call: Array, running: int) -> int:
    """The running slot that is last in order."""
    worst = 0
    for i in range(1, running):
        a, b = r_call[i], r_call[worst]
        first, second = ranks[app_of[a]], ranks[app_of[b]]
        if first > second or (first == second and sequence[a] > sequence[b]):
            worst = i
    return worst


@compiled
def take_off(
    v: Any, running: Any, r_call: Any, r_done: Any, r_left: Any, r_pending: Any, r_room: Any, r_seen: Any,
    size: Any, swap: Any, left: Any, full: Any, swapped: Any, app_of: Any, age: Any, served: Any,
    remaining: Any, token: Any,
) -> tuple[int, int, float]:  # fmt: skip
    """Preempt the running slot v: what it made is kept, slots behind it move up.

    Returns 1 where it was a prompt, the cached tokens it takes off the decoding batch, seconds to swap.
    """
    k, prompt, cut, moved = r_call[v], 0, 0, 0.0
    left[k] = r_left[v]
    full[k] = r_done[v] // size
    if r_pending[v] > 0:
        prompt = 1
    else:
        cut = r_done[v]
        if swap >= 0:
            swapped[k] = r_done[v]
            moved = swap * r_done[v]
    a, made = app_of[k], r_seen[v] - r_left[v]
    age[a] += made * token
    served[a] += made
    remaining[a] -= made * token
    for j in range(v, running - 1):
        r_call[j], r_done[j], r_left[j] = r_call[j + 1], r_done[j + 1], r_left[j + 1]
        r_pending[j], r_room[j], r_seen[j] = r_pending[j + 1], r_room[j + 1], r_seen[j + 1]
    return prompt, cut, moved
