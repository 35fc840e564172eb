"""Where a request may go: own instances, a new instance, or a place that consolidation makes.

Order (section V of the paper): instances of its model, CPU nodes first and the largest batch first;
preempting a smaller neighbour whose requests fit elsewhere; a new instance, fullest node first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import memory
from .cluster import MAX_CONTEXT, weights
from .state import MARGIN, Instance, Node, Request
from .validation import deadlines_hold

if TYPE_CHECKING:
    from .mesh import Mesh


def find(
    mesh: Mesh, request: Request, now: float, *, own: bool = True, new: bool = True, avoid: Node | None = None
) -> Instance | Node | None:
    """The first place, among own and new instances, that holds all deadlines and memory, or None."""
    for instance in candidates(mesh, request) if own else ():
        if instance.node is not avoid and fits(mesh, instance, request, now):
            return instance
    for pool in mesh.pools if new else ():
        for node in by_occupancy(mesh, pool):
            if node is not avoid and fits_new(mesh, node, request, now):
                return node
    return None


def find_on(mesh: Mesh, request: Request, node: Node, now: float) -> Instance | Node | None:
    """The same on one node."""
    for instance in node.instances:
        if instance.model == request.model and not instance.closing and fits(mesh, instance, request, now):
            return instance
    return node if fits_new(mesh, node, request, now) else None


def candidates(mesh: Mesh, request: Request) -> list[Instance]:
    """Instances of a request's model in the order in which they are asked."""
    found = mesh.serving.get(request.model)
    if not found:
        return []
    if mesh.policy.admission == "limit":
        return sorted(found, key=lambda i: i.served)
    kind = 1 if mesh.policy.cpus == "first" else -1
    size = -1 if mesh.policy.packing == "fullest" else 1
    return sorted(found, key=lambda i: (kind * i.node.kind.gpu, size * i.batch))


def by_occupancy(mesh: Mesh, pool: list[Node]) -> list[Node]:
    """Nodes of a pool, the fullest first (or last): GPUs by memory, CPUs by time; empty ones at the end."""
    sign = -1.0 if mesh.policy.packing == "fullest" else 1.0

    def occupancy(node: Node) -> float:
        return node.budget if node.kind.gpu else node.share(mesh.tpot)

    return sorted(pool, key=lambda n: sign * occupancy(n) if n.instances else math.inf)


def memory_gap(mesh: Mesh, instance: Instance, request: Request) -> float:
    """Bytes that are missing for one request more; not positive where it fits."""
    if not instance.node.kind.elastic:
        tokens = instance.tokens + request.prompt + request.generated
        total = instance.per_token * (tokens + mesh.expected * (instance.batch + 1))
        return total - instance.held
    need = instance.required(mesh.expected, request)
    return need - instance.planned - instance.node.room


def fits(
    mesh: Mesh, instance: Instance, request: Request, now: float,
    room: bool = True, share: bool = True, without: Instance | None = None,
) -> bool:  # fmt: skip
    """Whether an instance can take a request: memory, time share, deadlines (shadow validation)."""
    node = instance.node
    if mesh.policy.admission == "limit":
        return instance.batch < mesh.limit(node.kind, instance.model)
    if room and memory_gap(mesh, instance, request) > 0:
        return False
    if share and node.share(mesh.tpot, instance, request) > 1:
        return False
    duration = instance.pace.prefill(request.prompt + request.generated)
    due = request.due(mesh.tpot)
    if not instance.ready:
        due += mesh.excused(request, instance.load_seconds)
    rests = memory.pause(instance, planned(mesh, instance, request), now) if node.kind.elastic else 0.0
    if rests and not bears(mesh, instance, due - duration, now + rests):
        return False
    return deadlines_hold(node, instance, request, due, duration, now, mesh.aim, without=without)


def planned(mesh: Mesh, instance: Instance, request: Request) -> float:
    """Bytes that the cache is to have once a request has joined."""
    need = instance.required(mesh.expected, request)
    if need <= instance.planned:
        return instance.planned
    return min(need * (1 + mesh.policy.watermark), instance.planned + instance.node.room)


def bears(mesh: Mesh, instance: Instance, latest: float, until: float) -> bool:
    """Whether nobody is late where an instance rests until a time: neither a prompt that must start by
    `latest`, nor those that it has."""
    if until > latest:
        return False
    if instance.decoding:
        first = instance.slack + mesh.tpot * instance.iterations
        if until + instance.pace.decode(len(instance.decoding), instance.cached) > first:
            return False
    work, pace = instance.node.running.get(instance.number), instance.pace
    for r in instance.prefills.values():
        length = r.prompt + r.generated
        if work is not None and work.request is r:  # its next token is the second
            ends = work.start + work.seconds
            due = (ends if mesh.level.tokens == "mean" else r.due(mesh.tpot)) + mesh.tpot
            if until + pace.decode(1, length) > due:
                return False
        elif until + pace.prefill(length) > r.due(mesh.tpot):
            return False
    return True


def fits_new(mesh: Mesh, node: Node, request: Request, now: float) -> bool:
    """Whether a node can take a new instance for a request."""
    kind, model = node.kind, request.model
    used = len(node.instances)
    if used >= mesh.slots(kind, model):
        return False
    if any(used >= mesh.slots(kind, i.model) for i in node.instances):
        return False
    shape = mesh.models[model]
    if mesh.policy.admission == "limit":
        return mesh.limit(kind, model) >= 1 and not any(i.closing for i in node.instances)
    size = weights(shape)
    if kind.elastic:
        tokens = request.prompt + max(request.generated + MARGIN, mesh.expected)
        need = shape.cache_bytes() * max(tokens, MAX_CONTEXT)
        if size + need > node.room:
            return False
    elif kind.cache is not None:
        if shape.cache_bytes() * (request.prompt + mesh.expected) > kind.cache:
            return False
        if size + kind.cache > node.room:
            return False
    pace = mesh.pace(kind, model)
    length = request.prompt + request.generated
    if node.share(mesh.tpot) + pace.decode(1, length) / mesh.tpot > 1:
        return False
    load, duration = size / kind.load_rate, pace.prefill(length)
    due = request.due(mesh.tpot) + mesh.excused(request, load)
    if kind.elastic and load:
        opening = mesh.opening(kind, model, need, node.room)
        allocation = memory.resize_seconds(0.0, opening) if kind.allocates else 0.0
        if now + load + allocation + duration > due:
            return False
    return deadlines_hold(node, None, request, due, duration, now, mesh.aim, fresh=pace)


def consolidate(mesh: Mesh, request: Request, now: float, only: Node | None = None) -> bool:
    """Place a request beside a smaller neighbour that is closed and whose requests move elsewhere."""
    if mesh.policy.preemption == "none" or mesh.policy.admission == "limit":
        return False
    for instance in candidates(mesh, request):
        node = instance.node
        if (only is not None and node is not only) or len(node.instances) < 2 or not instance.ready:
            continue
        by_memory = node.kind.elastic
        victim = _victim(mesh, instance, request, by_memory)
        if victim is None:
            continue
        if not fits(mesh, instance, request, now, room=not by_memory, share=by_memory, without=victim):
            continue
        moved = [*victim.decoding.values(), *victim.prefills.values()]
        if not all(find(mesh, r, now, avoid=node) for r in moved):
            continue
        mesh.preemptions += 1
        for r in moved:
            mesh.detach(r)
        mesh.retire(victim, now)
        mesh.attach(request, instance, now)
        for r in sorted(moved, key=lambda r: r.due(mesh.tpot)):
            mesh.requeue(r, now)
        return True
    return False


def _victim(mesh: Mesh, target: Instance, request: Request, by_memory: bool) -> Instance | None:
    """The smallest neighbour whose leaving is enough."""
    node, tpot = target.node, mesh.tpot
    if by_memory:
        gap = memory_gap(mesh, target, request)
    else:
        gap = node.share(tpot, target, request) - 1
    if gap <= 0:
        return None
    by_batch = mesh.policy.preemption == "batch"

    def measure(i: Instance) -> float:
        return i.batch if by_batch else i.share(tpot)

    own = target.batch if by_batch else target.share(tpot)
    small = [i for i in node.instances if i is not target and i.ready and not i.closing and measure(i) <= own]
    for victim in sorted(small, key=measure):
        freed = victim.weights + victim.planned if by_memory else victim.share(tpot)
        if freed >= gap:
            return victim
    return None


def evict(mesh: Mesh, instance: Instance, now: float) -> None:
    """Let the decoding request with most headroom go, to queue or to another place."""
    request = max(instance.decoding.values(), key=lambda r: r.slack)
    mesh.evictions += 1
    mesh.detach(request)
    mesh.requeue(request, now)
