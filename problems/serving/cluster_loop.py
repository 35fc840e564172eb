"""The events of the index-policy queue, compiled: what `cluster.run` calls, and egalitarian sharing.

Jobs are numbered by arrival; a running job has a server of the arrays r_*, other backends have rows of q_*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import Array, compiled, heap_pop, heap_push, level_at

TABLE, STATIC, REQUEST, REMAINING, SLACK = range(5)
EVENTS, SWITCHES, COLD, WARMED = range(4)


@compiled
def next_worse(table: Array) -> Array:
    """For each row and level the next level of larger rank; the number of levels where there is none."""
    rows, levels = table.shape
    worse = np.empty((rows, levels), np.int64)
    for c in range(rows):
        for level in range(levels - 1, -1, -1):
            m = level + 1
            while m < levels and table[c, m] <= table[c, level]:
                m = worse[c, m]
            worse[c, level] = m
    return worse


@compiled
def serve(
    arrival: Any, stage_start: Any, place: Any, work: Any, row: Any, kind_of: Any, kind: Any, flat: Any,
    table: Any, ages: Any, ranks: Any, servers: Any, slots: Any, warm_up: Any, kept: Any, trigger: Any,
    target: Any, refresh: Any, switch: Any, record: Any, finish: Any, idle: Any, waited: Any, spent: Any,
    counts: Any, intervals: Any,
) -> int:  # fmt: skip
    n, levels, places = len(arrival), len(ages), len(slots)
    worse = next_worse(table)
    stage = stage_start[:-1] - 1
    stage = stage.copy()
    age = np.zeros(n)  # service that the rank depends on
    left = np.zeros(n)  # work left of the stage
    in_stage = np.zeros(n)
    level = np.zeros(n, np.int64)
    remaining = np.zeros(n)
    warm_at = np.full(n, np.inf)
    warm_for = np.zeros(n, np.int64)
    w_key, w_seq, w_job = np.zeros(n + 1), np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    e_key, e_seq, e_job = np.zeros(n + 1), np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    deep = n + 1 if places > 1 else 1
    q_key, q_seq = np.zeros((places, deep)), np.zeros((places, deep), np.int64)
    q_job, q_size = np.zeros((places, deep), np.int64), np.zeros(places, np.int64)
    in_use = np.zeros(places, np.int64)
    most = max(1, kept.max())
    pool_row = np.full((places, most), -1, np.int64)
    pool_since = np.zeros((places, most))
    r_job = np.full(servers, -1, np.int64)
    r_from, r_end = np.zeros(servers), np.full(servers, np.inf)
    r_stop = np.zeros(servers, np.int64)
    r_best = np.full(servers, -np.inf)
    ready = np.zeros(n + 1, np.int64)
    waiting, running, away, arrived, saved = 0, 0, 0, 0, 0
    now = 0.0
    while True:
        # --- the next event
        following = arrival[arrived] if arrived < n else np.inf
        which = -1
        for i in range(servers):
            if r_end[i] <= following:
                following = r_end[i]
                which = i
        if away > 0 and e_key[0] < following:
            following = e_key[0]
            which = -2
        if following == np.inf:
            break
        now = following
        counts[EVENTS] += 1
        ready_size = 0
        if which >= 0:
            i = which
            j = r_job[i]
            served = now - r_from[i]
            spent[0] += served
            if saved < record:
                intervals[saved, 0], intervals[saved, 1] = j, i
                intervals[saved, 2], intervals[saved, 3] = r_from[i], now
                saved += 1
            stop = r_stop[i]
            r_from[i] = now
            s = stage[j]
            if stop == -1:  # the stage ends
                remaining[j] -= left[j]
                age[j] += left[j]
                in_stage[j] = work[s]
                left[j] = 0.0
                r_job[i] = -1
                r_end[i] = np.inf
                running -= 1
                ready[0] = j
                ready_size = 1
            else:
                left[j] = max(0.0, left[j] - served)
                remaining[j] = max(0.0, remaining[j] - served)
                age[j] += served
                in_stage[j] += served
                if stop == -2:  # an instance is started ahead
                    in_stage[j] = max(in_stage[j], trigger[row[s]])
                    warm_for[j] = target[row[s]]
                    warm_at[j] = now + warm_up[warm_for[j]]
                    counts[WARMED] += 1
                elif kind == TABLE and refresh <= 0:
                    age[j] = ages[stop]
                if kind == TABLE:
                    level[j] = stop if stop >= 0 and refresh <= 0 else level_at(ages, age[j])
                    ranks[j] = table[kind_of[j] if flat else row[s], level[j]]
                elif kind == SLACK:
                    ranks[j] += served
                elif kind == REMAINING:
                    ranks[j] = remaining[j]
                r_best[i] = -np.inf
                if waiting > 0 and w_key[0] < ranks[j]:  # the waiting one is better: change places
                    r_job[i] = -1
                    r_end[i] = np.inf
                    running -= 1
                    counts[SWITCHES] += 1
                    left[j] += switch
                    waiting = heap_push(w_key, w_seq, w_job, waiting, ranks[j], j, j)
        elif which == -2:
            j = e_job[0]
            away = heap_pop(e_key, e_seq, e_job, away)
            b = place[stage[j]]
            remaining[j] -= work[stage[j]]
            if flat:
                age[j] += work[stage[j]]
            in_use[b] -= 1
            if kept[b] > 0:  # keep the instance, in place of the one unused for longest
                oldest, empty = -1, -1
                for p in range(kept[b]):
                    if pool_row[b, p] < 0:
                        empty = p
                    elif oldest < 0 or pool_since[b, p] < pool_since[b, oldest]:
                        oldest = p
                if empty < 0:
                    empty = oldest
                    idle[b] += now - pool_since[b, empty]
                pool_row[b, empty] = row[stage[j]]
                pool_since[b, empty] = now
            ready[0] = j
            ready_size = 1
            if q_size[b] > 0:
                ready[1] = -1 - q_job[b, 0]
                q_size[b] = heap_pop(q_key[b], q_seq[b], q_job[b], q_size[b])
                ready_size = 2
        else:
            ready[0] = arrived
            ready_size = 1
            for s in range(stage_start[arrived], stage_start[arrived + 1]):
                remaining[arrived] += work[s]
            arrived += 1
        # --- stages that begin
        for at in range(ready_size):
            j = ready[at]
            resumes = j < 0  # one that waited for a slot
            if resumes:
                j = -1 - j
            else:
                stage[j] += 1
                if stage[j] == stage_start[j + 1]:
                    finish[j] = now
                    if now > warm_at[j]:
                        idle[warm_for[j]] += now - warm_at[j]
                    continue
                s = stage[j]
                left[j] = work[s]
                in_stage[j] = 0.0
                if kind == TABLE:
                    if flat:
                        level[j] = level_at(ages, age[j])
                        ranks[j] = table[kind_of[j], level[j]]
                    else:
                        age[j] = 0.0
                        level[j] = 0
                        ranks[j] = table[row[s], 0]
                elif kind == REQUEST:
                    ranks[j] = now
                elif kind == REMAINING:
                    ranks[j] = remaining[j]
            s = stage[j]
            b = place[s]
            if b == 0:
                waiting = heap_push(w_key, w_seq, w_job, waiting, ranks[j], j, j)
                if warm_at[j] < np.inf and trigger[row[s]] == np.inf and now > warm_at[j]:
                    idle[warm_for[j]] += now - warm_at[j]  # started for a branch not taken
                    warm_at[j] = np.inf
                continue
            if not resumes and in_use[b] >= slots[b]:
                q_size[b] = heap_push(q_key[b], q_seq[b], q_job[b], q_size[b], ranks[j], j, j)
                continue
            in_use[b] += 1
            delay = warm_up[b]
            if warm_at[j] < np.inf and warm_for[j] == b:
                idle[b] += max(0.0, now - warm_at[j])
                delay = max(0.0, warm_at[j] - now)
            else:
                for p in range(kept[b]):
                    if pool_row[b, p] == row[s]:
                        idle[b] += now - pool_since[b, p]
                        pool_row[b, p] = -1
                        delay = 0.0
                        break
                if delay > 0:
                    counts[COLD] += 1
            warm_at[j] = np.inf
            waited[b] += delay
            away = heap_push(e_key, e_seq, e_job, away, now + delay + work[s], j, j)
        # --- who runs
        while waiting > 0:
            i = -1
            if running < servers:
                for k in range(servers):
                    if r_job[k] < 0:
                        i = k
                        break
            else:
                worst = -np.inf
                for k in range(servers):
                    j = r_job[k]
                    rank = ranks[j]
                    if kind == REMAINING:
                        rank = remaining[j] - (now - r_from[k])
                    elif kind == SLACK:
                        rank = ranks[j] + (now - r_from[k])
                    elif kind == TABLE and refresh <= 0 and levels > 1:
                        reached = age[j] + (now - r_from[k])
                        m = level[j]
                        if m + 1 < levels and ages[m + 1] <= reached:
                            m = level_at(ages, reached)
                        rank = table[kind_of[j] if flat else row[stage[j]], m]
                    if rank > worst:
                        worst = rank
                        i = k
                if not w_key[0] < worst:
                    break
                j = r_job[i]
                served = now - r_from[i]
                spent[0] += served
                if saved < record and served > 0:
                    intervals[saved, 0], intervals[saved, 1] = j, i
                    intervals[saved, 2], intervals[saved, 3] = r_from[i], now
                    saved += 1
                left[j] = max(0.0, left[j] - served) + switch
                remaining[j] = max(0.0, remaining[j] - served)
                age[j] += served
                in_stage[j] += served
                if kind == TABLE:
                    level[j] = level_at(ages, age[j])
                    ranks[j] = table[kind_of[j] if flat else row[stage[j]], level[j]]
                elif kind == REMAINING:
                    ranks[j] = remaining[j]
                elif kind == SLACK:
                    ranks[j] += served
                counts[SWITCHES] += 1
                running -= 1
                r_job[i] = -1
                waiting = heap_push(w_key, w_seq, w_job, waiting, ranks[j], j, j)
            j = w_job[0]
            waiting = heap_pop(w_key, w_seq, w_job, waiting)
            r_job[i] = j
            r_from[i] = now
            r_best[i] = -np.inf
            running += 1
        # --- until when: the stage's end, a worse rank than the best that waits, or an instance to start
        best = w_key[0] if waiting > 0 else np.inf
        for i in range(servers):
            j = r_job[i]
            if j < 0 or r_best[i] == best:
                continue
            if r_from[i] < now and kind != TABLE and kind != SLACK:
                r_best[i] = best
                continue
            r_best[i] = best
            s = stage[j]
            begun = r_from[i]
            end, stop = begun + left[j], -1
            if kind == TABLE:
                c = kind_of[j] if flat else row[s]
                m = level[j]
                passed = level_at(ages, age[j] + (now - begun)) if begun < now else m
                m = worse[c, m] if passed == level[j] else passed + 1
                while m < levels and table[c, m] <= best:
                    m = worse[c, m]
                if m < levels:
                    reach = begun + (ages[m] - age[j])
                    if refresh > 0:
                        reach = np.ceil(reach / refresh) * refresh
                        if reach <= now:
                            reach = now + refresh
                    if reach < end:
                        end, stop = reach, m
            elif kind == SLACK and best < np.inf:
                reach = max(begun + (best - ranks[j]), now) + max(refresh, 1.0)
                if reach < end:
                    end, stop = reach, 0
            start = trigger[row[s]]
            if warm_at[j] == np.inf and start < np.inf and in_stage[j] <= start:
                reach = begun + (start - in_stage[j])
                if now <= reach < end:
                    end, stop = reach, -2
            r_end[i], r_stop[i] = end, stop
    for b in range(places):
        for p in range(kept[b]):
            if pool_row[b, p] >= 0:
                idle[b] += now - pool_since[b, p]
    return saved


@compiled
def processor_sharing(arrival: Array, work: Array, finish: Array) -> int:
    """Completion times of an M/G/1 queue that serves all jobs at equal rates; returns the events.

    In virtual time (service each job has had) completions come in the order of arrival's virtual time
    plus work, so one heap suffices.
    """
    n = len(arrival)
    key, order, job = np.zeros(n + 1), np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    size, arrived = 0, 0
    now, virtual = 0.0, 0.0
    while arrived < n or size > 0:
        end = now + (key[0] - virtual) * size if size > 0 else np.inf
        if arrived < n and arrival[arrived] < end:
            if size > 0:
                virtual += (arrival[arrived] - now) / size
            now = arrival[arrived]
            size = heap_push(key, order, job, size, virtual + work[arrived], arrived, arrived)
            arrived += 1
        else:
            virtual = key[0]
            now = end
            finish[job[0]] = now
            size = heap_pop(key, order, job, size)
    return 2 * n
