"""Shadow validation: would every deadline of a node hold with one request more?

The node runs one iteration at a time, least headroom first: that is earliest deadline first over jobs
that are all released now, prefills and the chains of decode tokens. So it holds all deadlines exactly
where, at every deadline D, the work due by D fits before D. Between prefills the demand of the decode
chains grows by at most TPOT each TPOT where their shares sum to at most one, so one period after each
prefill's deadline (and after now) is enough to look at. Where the level counts from the first token, a
chain starts when its prefill ends, at the earliest when all prefills due no later are done.
"""

from __future__ import annotations

import math

from .cluster import Pace, ServiceLevel
from .state import Instance, Node, Request

EPSILON = 1e-9
Jobs = list[tuple[float, float]]
"""Deadlines with seconds of work."""


def deadlines_hold(
    node: Node,
    target: Instance | None,
    request: Request,
    due: float,
    duration: float,
    now: float,
    aim: ServiceLevel,
    *,
    without: Instance | None = None,
    fresh: Pace | None = None,
) -> bool:
    """Whether the request's first token comes by `due` and nobody else's tokens become late for it.

    target: the instance that would take it; None for one that does not exist yet and would have the pace
    `fresh`. duration: of its prefill. without: an instance whose requests leave. Only deadlines from
    `due` on can be hurt by it.
    """
    start, tpot = now, aim.tpot
    if node.running and node.free_at > now:
        start = node.free_at
    others = [i for i in node.instances if i is not without and not i.closing]
    waiting = {i.number: [(r, r.due(tpot)) for r in i.prefills.values()] for i in others}
    prefills = [(due, duration)]
    for instance in others:
        prefills += [(d, instance.pace.prefill(r.prompt + r.generated)) for r, d in waiting[instance.number]]

    def begins(deadline: float) -> float:
        """When the chain of a prefill with this deadline counts from."""
        if aim.tokens == "deadlines":
            return deadline
        return min(deadline, start + sum(seconds for d, seconds in prefills if d <= deadline))

    streams: list[tuple[float, float]] = []
    for instance in others:
        batch, tokens = len(instance.decoding), instance.cached
        first = instance.slack + tpot * instance.iterations if batch else math.inf
        joining = waiting[instance.number] + ([(request, due)] if instance is target else [])
        for r, deadline in joining:
            batch, tokens = batch + 1, tokens + r.prompt + r.generated
            first = min(first, begins(deadline) + tpot)
        if batch:
            streams.append((first, instance.pace.decode(batch, tokens)))
    if fresh is not None:
        streams.append((begins(due) + tpot, fresh.decode(1, request.prompt + request.generated)))
    return demand_fits(start, prefills, streams, begins(due), tpot)


def demand_fits(start: float, prefills: Jobs, streams: Jobs, since: float, tpot: float) -> bool:
    """Whether the work due by each deadline from `since` on fits between `start` and it.

    prefills: (deadline, seconds). streams: (first deadline, seconds a token), one token each TPOT.
    """
    for deadline, _ in prefills:
        if deadline < since:
            continue
        if not _fits(start, prefills, streams, deadline, tpot):
            return False
        for first, _ in streams:
            after = first
            if after < deadline:
                after += tpot * math.ceil((deadline - first) / tpot - EPSILON)
            if not _fits(start, prefills, streams, after, tpot):
                return False
    return True


def _fits(start: float, prefills: Jobs, streams: Jobs, deadline: float, tpot: float) -> bool:
    end, by = start, deadline + EPSILON
    for due, seconds in prefills:
        if due <= by:
            end += seconds
    for first, seconds in streams:
        if first <= by:
            end += seconds * (math.floor((by - first) / tpot) + 1)
    return end <= by
