"""Several engines of different devices behind one door: applications are routed as they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from .compiled import Array
from .engine import Engine, Order, Replay, simulate
from .law import iteration_time
from .trace import Stage, Trace


def route(trace: Trace, engines: Sequence[Engine], how: Literal["turns", "backlog"] = "backlog") -> Array:
    """The engine of each application, (n,).

    turns: one after the other. backlog: where it would end soonest if every engine worked off what it
    was given at the pace of its law for a full batch.
    """
    if how == "turns":
        return np.arange(len(trace)) % len(engines)
    batch = 32
    speed = np.array(
        [batch / iteration_time(e.law.constants, batch, 512 * batch, 0, 0, 0.0) for e in engines]
    )
    prompt = np.array([iteration_time(e.law.constants, 0, 0, 1024, 1, 0.0) / 1024 for e in engines])
    tokens_in, tokens_out = (
        np.add.reduceat(np.append(column, 0.0), trace.call_start[trace.stage_start[:-1]])
        for column in (trace.input, trace.output)
    )
    free_at, chosen = np.zeros(len(engines)), np.zeros(len(trace), np.int64)
    for i, now in enumerate(trace.arrival):
        ends = np.maximum(free_at, now) + tokens_in[i] * prompt + tokens_out[i] / speed
        chosen[i] = int(np.argmin(ends))
        free_at[chosen[i]] = ends[chosen[i]]
    return chosen


def simulate_nodes(
    trace: Trace,
    engines: Sequence[Engine],
    order: Order | None = None,
    how: Literal["turns", "backlog"] = "backlog",
) -> tuple[list[Replay], Array]:
    """Each engine's replay of what it was given, and the completion times of all applications (n,)."""
    chosen = route(trace, engines, how)
    completion, replays = np.full(len(trace), np.nan), []
    for node, engine in enumerate(engines):
        own = np.flatnonzero(chosen == node)
        if len(own):
            replays.append(simulate(part(trace, own), engine, order))
            completion[own] = replays[-1].completion
    return replays, completion


def part(trace: Trace, chosen: Array) -> Trace:
    """Some applications of a trace, in order (shared prompt blocks are left out)."""
    runs = []
    for i in chosen:
        stages = []
        for s in range(trace.stage_start[i], trace.stage_start[i + 1]):
            calls = range(trace.call_start[s], trace.call_start[s + 1])
            pairs = tuple((int(trace.input[c]), int(trace.output[c])) for c in calls)
            unit, backend = trace.units[trace.unit[s]], trace.backends[trace.backend[s]]
            stages.append(Stage(unit, backend, pairs, float(trace.seconds[s])))
        runs.append(stages)
    return Trace.of_applications(
        trace.arrival[chosen],
        [trace.classes[k] for k in trace.kind[chosen]],
        runs,
        deadline=trace.deadline[chosen],
        classes=trace.classes,
        units=trace.units,
        backends=trace.backends,
        name=trace.name,
    )
