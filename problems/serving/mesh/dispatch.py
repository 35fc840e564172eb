"""What a node runs next: the token that is due first, one iteration at a time (section VI of the paper)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .admission import evict
from .state import RUNNING, Instance, Node, Request, Work

if TYPE_CHECKING:
    from .mesh import Mesh


def dispatch(mesh: Mesh, node: Node, now: float) -> None:
    """Start the iteration with least headroom on an idle node, or one an instance where they run freely.

    Headroom orders requests by when their next token is due: a prompt runs alone, a decoding request
    takes its whole batch along. The other order is that of plain engines: prompts first, instances in
    turn.
    """
    freely = mesh.side_by_side(node.kind)
    if node.running and not freely:
        return
    ready: list[tuple[float, int, Instance, Request | None]] = []
    resume = math.inf
    for place, instance in enumerate(list(node.instances)):
        if not instance.ready or instance.closing or not (instance.decoding or instance.prefills):
            instance.billed = math.nan
        elif instance.number in node.running:
            continue
        elif instance.resume_at > now:
            resume = min(resume, instance.resume_at)
        elif instance.action is None or instance.action.state != RUNNING:
            key, prefill = urgency(mesh, instance, now)
            if key < math.inf:
                ready.append((key, place, instance, prefill))
    if not ready and resume < math.inf:
        mesh.schedule(resume, "resume", node)
    if freely:
        for _, _, instance, prefill in ready:
            iterate(mesh, node, instance, prefill, now)
    elif ready:
        key, _, instance, prefill = min(ready)
        if prefill is None or not yields(mesh, node, instance, prefill, key, now):
            iterate(mesh, node, instance, prefill, now)


def yields(mesh: Mesh, node: Node, instance: Instance, prefill: Request, due: float, now: float) -> bool:
    """Whether a prompt lets the node wait for an instance whose resize ends before the prompt would.

    It does for one whose next token would be late behind the prompt, if the prompt is in time after it.
    """
    if mesh.policy.order != "headroom":
        return False
    ends = now + instance.pace.prefill(prefill.prompt + prefill.generated)
    for other in node.instances:
        work = other.action
        if work is None or work.state != RUNNING or not other.decoding or other.closing:
            continue
        decode = other.pace.decode(len(other.decoding), other.cached)
        wait = max(work.start + work.seconds - now, 0.0) + decode
        late = ends + decode > other.slack + mesh.tpot * other.iterations
        if late and now + wait < ends and ends + wait <= due:
            return True
    return False


def iterate(mesh: Mesh, node: Node, instance: Instance, prefill: Request | None, now: float) -> None:
    """Start one iteration of an instance: a prompt, or a few tokens for its batch."""
    mesh.turns += 1
    instance.turn = mesh.turns
    if prefill is not None:
        work = Work("prefill", instance, instance.pace.prefill(prefill.prompt + prefill.generated), prefill)
    else:
        batch = len(instance.decoding)
        fitting = int((instance.held / instance.per_token - instance.cached) // batch)
        steps = max(1, min(quantum(mesh, instance), fitting))
        work = Work("decode", instance, steps * instance.pace.decode(batch, instance.cached), steps=steps)
    work.start, work.state = now, RUNNING
    node.running[instance.number] = work
    node.free_at = now + work.seconds
    mesh.outbox.append(work)


def urgency(mesh: Mesh, instance: Instance, now: float) -> tuple[float, Request | None]:
    """When an instance's next token is due, and the prompt that brings it (None: a decode)."""
    headroom = mesh.policy.order == "headroom"
    prefill, first = None, math.inf
    room = instance.held / instance.per_token - instance.cached
    for r in instance.prefills.values():
        due = r.due(mesh.tpot) if headroom else r.arrival
        if due < first and r.prompt + r.generated + 1 <= room:
            prefill, first = r, due
    if len(instance.decoding) > room:
        make_room(mesh, instance, now)
        room = instance.held / instance.per_token - instance.cached
    decodes = 0 < len(instance.decoding) <= room
    decode = instance.slack + mesh.tpot * instance.iterations if decodes else math.inf
    if headroom:
        return (first, prefill) if first <= decode else (decode, None)
    return (float(instance.turn) if prefill or decodes else math.inf), prefill


def quantum(mesh: Mesh, instance: Instance) -> int:
    """Decode iterations of a turn: 4, 2 and 1 for 3B, 7B and 13B on GPUs, as the artefact has it."""
    if not instance.node.kind.gpu or instance.prefills:
        return 1
    return mesh.quanta[instance.model]


def make_room(mesh: Mesh, instance: Instance, now: float) -> None:
    """The next token does not fit (a hazard): grow, or let requests with most headroom go."""
    if instance.planned <= instance.held:
        mesh.grow(instance, now)
    if instance.planned > instance.held:
        return
    while instance.decoding and instance.cached + len(instance.decoding) > instance.held / instance.per_token:
        evict(mesh, instance, now)
