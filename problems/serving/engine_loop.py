"""The engine's iterations, compiled: what `engine.simulate` calls, arrays in and out.

Calls are numbered as in the trace; a running call has a slot of the arrays r_*, in order of admission.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .blocks import SHARED, USERS, extend, release, revive, take_block, unlink
from .compiled import compiled, heap_pop, heap_push, level_at
from .law import iteration_time
from .slots import take_off, worst_of

FIXED, TABLE, FAIR, ORACLE = range(4)
ITERATIONS, PREEMPTIONS, TOKENS, BATCH, REUSED = range(5)
FAR = 1 << 40


@compiled
def replay(
    c: Any, size: Any, max_running: Any, budget: Any, swap: Any, start_up: Any, table: Any, kind: Any,
    refresh: Any, ranks: Any, rank_table: Any, ages: Any, rows: Any, worth: Any, arrival: Any,
    stage_start: Any, backend: Any, language: Any, seconds: Any, work: Any, slots: Any, call_start: Any,
    input: Any, output: Any, prefix_start: Any, prefix: Any, horizon: Any, finish: Any, released: Any,
    first_token: Any, last_token: Any, counts: Any,
) -> tuple[float, float]:  # fmt: skip
    n, calls, places = len(arrival), len(input), len(slots)
    free = table.shape[1] - 1
    cached = np.full(max(1, prefix.max() + 1), -1, np.int64)
    first = np.full(calls, -1, np.int64)
    last = np.full(calls, -1, np.int64)
    held = np.zeros(calls, np.int64)  # shared blocks in use
    full = np.zeros(calls, np.int64)  # own blocks that were full when the call was preempted
    left = output.copy()
    swapped = np.zeros(calls, np.int64)
    sequence = np.zeros(calls, np.int64)
    app_of = np.zeros(calls, np.int64)
    stage = stage_start[:-1] - 1
    stage = stage.copy()
    open_calls = np.zeros(n, np.int64)
    age = np.zeros(n)  # seconds of service in the present stage
    served = np.zeros(n)  # tokens of service, for fairness
    remaining = np.zeros(n)
    active = np.zeros(n, np.bool_)
    w_key, w_seq, w_call = np.zeros(calls + 1), np.zeros(calls + 1, np.int64), np.zeros(calls + 1, np.int64)
    e_key, e_seq, e_app = np.zeros(n + 1), np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    q_key = np.zeros((places, n + 1))
    q_seq = np.zeros((places, n + 1), np.int64)
    q_app = np.zeros((places, n + 1), np.int64)
    q_size = np.zeros(places, np.int64)
    in_use = np.zeros(places, np.int64)
    r_call = np.zeros(max_running + 1, np.int64)
    r_done = np.zeros(max_running + 1, np.int64)  # tokens in the cache
    r_left = np.zeros(max_running + 1, np.int64)  # tokens still to make
    r_pending = np.zeros(max_running + 1, np.int64)  # prompt tokens still to run
    r_room = np.zeros(max_running + 1, np.int64)  # tokens until another block is needed
    r_chunk = np.zeros(max_running + 1, np.int64)
    r_seen = np.zeros(max_running + 1, np.int64)  # r_left when service was last credited
    ready = np.zeros(n + 1, np.int64)
    waiting, running, away, pending, ready_size, arrived, order = 0, 0, 0, 0, 0, 0, 0
    now, busy, context = 0.0, 0.0, 0
    next_refresh = 0.0
    while True:
        # --- arrivals and stages that ended elsewhere
        while arrived < n and arrival[arrived] <= now:
            a = arrived
            arrived += 1
            active[a] = True
            for s in range(stage_start[a], stage_start[a + 1]):
                remaining[a] += work[s]
            if kind == FAIR:
                least = -1.0
                for i in range(running):
                    v = served[app_of[r_call[i]]]
                    least = v if least < 0 or v < least else least
                served[a] = max(0.0, least)
            ready[ready_size] = a
            ready_size += 1
        while away > 0 and e_key[0] <= now:
            a = e_app[0]
            away = heap_pop(e_key, e_seq, e_app, away)
            b = backend[stage[a]]
            in_use[b] -= 1
            remaining[a] -= work[stage[a]]
            ready[ready_size] = a
            ready_size += 1
            if q_size[b] > 0:
                other = q_app[b, 0]
                q_size[b] = heap_pop(q_key[b], q_seq[b], q_app[b], q_size[b])
                in_use[b] += 1
                away = heap_push(e_key, e_seq, e_app, away, now + seconds[stage[other]], other, other)
        for next_ready in range(ready_size):
            a = ready[next_ready]
            stage[a] += 1
            s = stage[a]
            if s == stage_start[a + 1]:
                finish[a] = now
                active[a] = False
                continue
            age[a] = 0.0
            if kind == TABLE:
                ranks[a] = rank_table[rows[s], 0]
            elif kind == FAIR:
                ranks[a] = served[a]
            elif kind == ORACLE:
                ranks[a] = remaining[a]
            if backend[s] == language:
                for k in range(call_start[s], call_start[s + 1]):
                    app_of[k] = a
                    sequence[k] = order
                    order += 1
                    released[k] = now
                    waiting = heap_push(w_key, w_seq, w_call, waiting, ranks[a], sequence[k], k)
                open_calls[a] = call_start[s + 1] - call_start[s]
            else:
                b = backend[s]
                if in_use[b] < slots[b]:
                    in_use[b] += 1
                    away = heap_push(e_key, e_seq, e_app, away, now + seconds[s], a, a)
                else:
                    q_size[b] = heap_push(q_key[b], q_seq[b], q_app[b], q_size[b], ranks[a], order, a)
                    order += 1
        ready_size = 0
        if waiting == 0 and running == 0:
            following = np.inf
            if arrived < n:
                following = arrival[arrived]
            if away > 0 and e_key[0] < following:
                following = e_key[0]
            if following == np.inf or following > horizon:
                break
            now = max(now, following)
            continue
        if now > horizon:
            break
        # --- ranks again
        preempted = False
        extra = 0.0
        if kind != FIXED and now >= next_refresh:
            next_refresh = now + refresh
            for i in range(running):
                made = r_seen[i] - r_left[i]
                if made > 0:
                    a = app_of[r_call[i]]
                    age[a] += made * worth[1]
                    served[a] += made
                    remaining[a] -= made * worth[1]
                    r_seen[i] = r_left[i]
            for i in range(running):
                a = app_of[r_call[i]]
                if kind == TABLE:
                    ranks[a] = rank_table[rows[stage[a]], level_at(ages, age[a])]
                elif kind == FAIR:
                    ranks[a] = served[a]
                else:
                    ranks[a] = remaining[a]
            size_before = waiting
            waiting = 0
            for i in range(size_before):  # ranks only grow stale for running applications; re-key in place
                key, q, k = ranks[app_of[w_call[i]]], w_seq[i], w_call[i]
                waiting = heap_push(w_key, w_seq, w_call, waiting, key, q, k)
            while waiting > 0 and running > 0:
                k = w_call[0]
                total = input[k] + output[k] - left[k]
                if running < max_running and free >= -(-(total + 1) // size):
                    break
                v = worst_of(ranks, app_of, sequence, r_call, running)
                if ranks[app_of[r_call[v]]] <= w_key[0]:
                    break
                k = r_call[v]
                free += release(table, cached, last, k, held, prefix, prefix_start[k])
                prompt, cut, moved = take_off(
                    v, running, r_call, r_done, r_left, r_pending, r_room, r_seen, size, swap, left, full,
                    swapped, app_of, age, served, remaining, worth[1],
                )  # fmt: skip
                pending -= prompt
                context -= cut
                extra += moved
                counts[PREEMPTIONS] += 1
                running -= 1
                waiting = heap_push(w_key, w_seq, w_call, waiting, ranks[app_of[k]], sequence[k], k)
        # --- blocks for those that decode
        wanted = 0
        for i in range(running):
            wanted += r_room[i] == 0
        if wanted > 0:
            if wanted <= free:
                for i in range(running):
                    if r_room[i] == 0:
                        extend(table, cached, first, last, r_call[i])
                        r_room[i] = size
                free -= wanted
            else:
                i = 0
                while i < running:
                    if r_room[i] == 0:
                        gone = False
                        while free == 0:
                            v = worst_of(ranks, app_of, sequence, r_call, running)
                            k = r_call[v]
                            free += release(table, cached, last, k, held, prefix, prefix_start[k])
                            prompt, cut, moved = take_off(
                                v, running, r_call, r_done, r_left, r_pending, r_room, r_seen, size, swap,
                                left, full, swapped, app_of, age, served, remaining, worth[1],
                            )  # fmt: skip
                            pending -= prompt
                            context -= cut
                            extra += moved
                            counts[PREEMPTIONS] += 1
                            running -= 1
                            preempted = True
                            waiting = heap_push(
                                w_key, w_seq, w_call, waiting, ranks[app_of[k]], sequence[k], k
                            )
                            if v == i:
                                gone = True
                                break
                            if v < i:
                                i -= 1
                        if gone:
                            continue
                        extend(table, cached, first, last, r_call[i])
                        r_room[i] = size
                        free -= 1
                    i += 1
        # --- prompts: those begun, then new ones
        decoding = running - pending
        room = budget - decoding
        tokens, prompts, pairs, read = 0, 0, 0.0, 0
        if pending > 0:
            for i in range(running):
                if r_pending[i] > 0:
                    chunk = min(r_pending[i], max(0, room))
                    r_chunk[i] = chunk
                    if chunk > 0:
                        room -= chunk
                        tokens += chunk
                        prompts += 1
                        pairs += chunk * (r_done[i] + 0.5 * chunk)
                        read += r_done[i]
        if not preempted:
            while waiting > 0 and running < max_running and room > 0:
                k = w_call[0]
                total = input[k] + output[k] - left[k]
                resident = swapped[k]
                blocks = -(-(max(total, resident + 1)) // size)
                hits, idle = 0, 0
                usable = min(prefix_start[k + 1] - prefix_start[k], input[k] // size)
                if resident > 0:
                    usable = 0
                for i in range(usable):
                    b = cached[prefix[prefix_start[k] + i]]
                    if b < 0:
                        break
                    hits += 1
                    idle += table[USERS, b] == 0
                if blocks - hits + idle > free:
                    break
                waiting = heap_pop(w_key, w_seq, w_call, waiting)
                for i in range(usable):
                    h = prefix[prefix_start[k] + i]
                    b = cached[h]
                    if b < 0:
                        b = take_block(table, cached)
                        table[SHARED, b] = h
                        cached[h] = b
                        free -= 1
                    elif table[USERS, b] == 0:
                        unlink(table, b)
                        free -= 1
                    table[USERS, b] += 1
                    held[k] += 1
                kept = 0
                if full[k] > 0 and resident == 0:
                    kept = revive(table, first, last, k, min(full[k], (total - 1) // size) - usable)
                    free -= kept
                elif resident > 0:
                    revive(table, first, last, k, 0)
                for _ in range(blocks - usable - kept):
                    extend(table, cached, first, last, k)
                    free -= 1
                start = hits + kept if hits == usable else hits
                start = min(start * size, total - 1)
                counts[REUSED] += start // size
                i = running
                running += 1
                r_call[i], r_left[i], r_seen[i] = k, left[k], left[k]
                if resident > 0:
                    extra += swap * resident
                    r_done[i], r_pending[i] = resident, 0
                    r_room[i] = blocks * size - resident
                    swapped[k] = 0
                    context += resident
                    decoding += 1
                    room -= 1
                else:
                    chunk = min(total - start, room)
                    r_done[i], r_pending[i], r_chunk[i], r_room[i] = start, total - start, chunk, FAR
                    pending += 1
                    room -= chunk
                    tokens += chunk
                    prompts += 1
                    pairs += chunk * (start + 0.5 * chunk)
                    read += start
        # --- one iteration
        step = iteration_time(c, decoding, context + read, tokens, prompts, pairs) + extra
        if counts[ITERATIONS] == 0:
            step += start_up
        now += step
        busy += step
        counts[ITERATIONS] += 1
        counts[BATCH] += decoding + prompts
        counts[TOKENS] += decoding
        least = FAR
        if pending == 0:
            for i in range(running):
                r_done[i] += 1
                r_room[i] -= 1
                r_left[i] -= 1
                least = min(least, r_left[i])
        else:
            for i in range(running):
                if r_pending[i] == 0:
                    r_done[i] += 1
                    r_room[i] -= 1
                    r_left[i] -= 1
                    least = min(least, r_left[i])
                elif r_chunk[i] > 0:
                    k = r_call[i]
                    a = app_of[k]
                    r_done[i] += r_chunk[i]
                    r_pending[i] -= r_chunk[i]
                    age[a] += r_chunk[i] * worth[0]
                    served[a] += 0.1 * r_chunk[i]
                    remaining[a] -= r_chunk[i] * worth[0]
                    r_chunk[i] = 0
                    if r_pending[i] == 0:
                        if np.isnan(first_token[k]):
                            first_token[k] = now
                        pending -= 1
                        context += r_done[i]
                        counts[TOKENS] += 1
                        r_room[i] = -(-r_done[i] // size) * size - r_done[i]
                        r_left[i] -= 1
                        least = min(least, r_left[i])
        context += decoding
        if least == 0:
            j = 0
            for i in range(running):
                k = r_call[i]
                if r_left[i] == 0 and r_pending[i] == 0:
                    last_token[k] = now
                    context -= r_done[i]
                    free += release(table, cached, last, k, held, prefix, prefix_start[k])
                    a = app_of[k]
                    made = r_seen[i]
                    age[a] += made * worth[1]
                    served[a] += made
                    remaining[a] -= made * worth[1]
                    open_calls[a] -= 1
                    if open_calls[a] == 0:
                        ready[ready_size] = a
                        ready_size += 1
                    continue
                if i != j:
                    r_call[j], r_done[j], r_left[j] = k, r_done[i], r_left[i]
                    r_pending[j], r_room[j], r_seen[j] = r_pending[i], r_room[i], r_seen[i]
                j += 1
            running = j
    return busy, now
