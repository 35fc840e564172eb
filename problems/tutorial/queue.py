"""A single-server queue under an index policy, simulated event by event (compiled when imported).

A job of class c that has been served to level l waits with rank table[c, l]. The server takes the
lowest rank, the earlier arrival among equals, and may change jobs where a level begins or a job ends.
Between such points it runs on: pointers to the next worse level skip levels at which nothing can change.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _push(ranks, jobs, size, rank, job):  # type: ignore[no-untyped-def]
    i = size
    while i > 0:
        parent = (i - 1) >> 1
        if ranks[parent] < rank or (ranks[parent] == rank and jobs[parent] < job):
            break
        ranks[i], jobs[i] = ranks[parent], jobs[parent]
        i = parent
    ranks[i], jobs[i] = rank, job


@numba.njit(cache=True, nogil=True)
def _pop(ranks, jobs, size):  # type: ignore[no-untyped-def]
    """Move the last of `size` entries to the root's place."""
    rank, job = ranks[size - 1], jobs[size - 1]
    last = size - 1
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            break
        other = child + 1
        if other < last and (
            ranks[other] < ranks[child] or (ranks[other] == ranks[child] and jobs[other] < jobs[child])
        ):
            child = other
        if rank < ranks[child] or (rank == ranks[child] and job < jobs[child]):
            break
        ranks[i], jobs[i] = ranks[child], jobs[child]
        i = child
    if last > 0:
        ranks[i], jobs[i] = rank, job


@numba.njit(cache=True, nogil=True)
def _next_worse(table):  # type: ignore[no-untyped-def]
    """For each class and level the next level of larger rank; the number of levels where there is none."""
    classes, levels = table.shape
    worse = np.empty((classes, levels), np.int64)
    for c in range(classes):
        for l in range(levels - 1, -1, -1):
            m = l + 1
            while m < levels and table[c, m] <= table[c, l]:
                m = worse[c, m]
            worse[c, l] = m
    return worse


@numba.njit(cache=True, nogil=True)
def simulate(arrivals, classes, sizes, table, ages, done):  # type: ignore[no-untyped-def]
    """Fill `done` with each job's completion time; returns the number of scheduling events."""
    count, levels = len(arrivals), len(ages)
    worse = _next_worse(table)
    level = np.zeros(count, np.int64)
    ranks = np.empty(count + 1)
    jobs = np.empty(count + 1, np.int64)
    waiting, arrived, events = 0, 0, 0
    now = 0.0
    while True:
        if waiting == 0:
            if arrived == count:
                return events
            now = max(now, arrivals[arrived])
        while arrived < count and arrivals[arrived] <= now:
            _push(ranks, jobs, waiting, table[classes[arrived], 0], arrived)
            waiting += 1
            arrived += 1
            events += 1
        job = jobs[0]
        _pop(ranks, jobs, waiting)
        waiting -= 1
        c, size = classes[job], sizes[job]
        age = ages[level[job]]
        best = ranks[0] if waiting > 0 else np.inf
        stop = worse[c, level[job]]
        while stop < levels and table[c, stop] <= best:
            stop = worse[c, stop]
        end = now + (size if stop == levels or size <= ages[stop] else ages[stop]) - age
        while arrived < count and arrivals[arrived] < end:
            rank = table[classes[arrived], 0]
            _push(ranks, jobs, waiting, rank, arrived)
            waiting += 1
            events += 1
            if rank < best:
                best = rank
                reached = age + (arrivals[arrived] - now)
                low, high = level[job], min(stop, levels)
                while high - low > 1:
                    middle = (low + high) >> 1
                    if ages[middle] <= reached:
                        low = middle
                    else:
                        high = middle
                m = low + 1
                while m < levels and table[c, m] <= best:
                    m = worse[c, m]
                if m < stop:
                    stop = m
                    end = now + (size if size <= ages[stop] else ages[stop]) - age
            arrived += 1
        now = end
        events += 1
        if stop == levels or size <= ages[stop]:
            done[job] = now
        else:
            level[job] = stop
            _push(ranks, jobs, waiting, table[c, stop], job)
            waiting += 1
