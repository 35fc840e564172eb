"""The mesh: admits requests, tells each node what to run next, moves and resizes instances.

`admit` decides where a request goes, `step` returns the work to start now, `complete` takes its end.
Whoever executes the work, the simulator or real engines, drives this same code.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ....costmodels.architectures import Architecture
from . import memory
from .admission import bears, consolidate, find, find_on
from .cluster import (
    Cluster,
    Limits,
    Measured,
    NodeKind,
    Pace,
    ServiceLevel,
    check,
    concurrency_limit,
    slot_count,
    weights,
)
from .dispatch import dispatch
from .policy import FULL, Policy
from .state import (
    DROPPED,
    FINISHED,
    PLACED,
    QUEUED,
    REJECTED,
    ROUNDING,
    Instance,
    Node,
    Request,
    Work,
)

PRIOR_OUTPUT = 512.0
"""Tokens that answers are expected to have before any has ended (the artefact's constant)."""
FORGETTING = 0.01


@dataclass(frozen=True, eq=False)
class Decision:
    """Where a request went: kind is 'placed', 'queue' or 'reject'; cold: on an instance that must load."""

    kind: str
    node: Node | None = None
    instance: Instance | None = None
    cold: bool = False


class Mesh:
    """Models on nodes under a policy and a service level.

    models: one architecture a model served. measured: paces to go by instead of the cost model. limits:
    requests at once of an instance, where a limit is all there is and another than the derived one. Raises
    SpaceError for a model larger than any node and for a level that no node can reach.
    """

    def __init__(
        self,
        cluster: Cluster,
        models: Sequence[Architecture],
        policy: Policy = FULL,
        level: ServiceLevel | None = None,
        measured: Measured | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.cluster, self.models, self.policy = cluster, tuple(models), policy
        self.level = level or ServiceLevel()
        self.measured: Measured = measured or {}
        kinds = [k for k, n in zip(cluster.kinds, cluster.counts, strict=True) if n]
        check(kinds, self.models, self.level)
        self.aim = self.level.tightened(policy.tightening)
        self.tpot = self.aim.tpot
        self.nodes = [Node(i, kind) for i, kind in enumerate(cluster.nodes)]
        self.cpus = [n for n in self.nodes if not n.kind.gpu]
        self.gpus = [n for n in self.nodes if n.kind.gpu]
        self.pools = {
            "first": [self.cpus, self.gpus],
            "last": [self.gpus, self.cpus],
            "none": [self.gpus],
        }[policy.cpus]
        self.usable = {n.number for pool in self.pools for n in pool}
        self.serving: dict[int, list[Instance]] = {}
        self.queue: dict[int, Request] = {}
        self.expected = PRIOR_OUTPUT
        self.counts = [0] * 5
        self.evictions = self.preemptions = self.moves = 0
        self._paces: dict[tuple[str, str], Pace] = {}
        self._limits = dict(limits or {})
        self._halves: dict[tuple[str, str], bool] = {}
        turns = {m: policy.quantum or slot_count(m) // 2 for m in dict.fromkeys(self.models)}
        self.quanta = [turns[m] for m in self.models]
        self._wakes: list[tuple[float, int, str, Request | Instance | Node, int]] = []
        self.outbox: list[Work] = []
        self._dirty: dict[int, Node] = {}
        self._released: dict[int, Node] = {}
        self._instances = self._sequence = self.turns = 0

    # --- what a gateway calls ---------------------------------------------------------------------
    def admit(self, request: Request, now: float) -> Decision:
        """Place a new request, let it queue, or reject it where no node could ever answer in time."""
        request.ttft = self.level.ttft(request.prompt)
        request.base = now + self.aim.ttft(request.prompt)
        request.limit = now + request.ttft
        if not self._possible(request):
            self._move(request, REJECTED)
            return Decision("reject")
        self.counts[QUEUED] += 1
        if self._place(request, now):
            assert request.instance is not None
            cold = not request.instance.ready
            return Decision("placed", request.instance.node, request.instance, cold)
        self._enqueue(request, now)
        return Decision("queue")

    def step(self, now: float) -> list[Work]:
        """Work to start now: prefills and decodes of idle nodes, loads, resizes, unloads."""
        while self._wakes and self._wakes[0][0] <= now:
            _, _, kind, thing, stamp = heapq.heappop(self._wakes)
            self._wake(kind, thing, stamp, now)
        if self._released:
            released, self._released = self._released, {}
            if self.policy.poll:
                for request in self.queue.values():
                    self._poll(request, now)
            elif self.queue:
                for node in released.values():
                    self._retry(node, now)
        while self._dirty:
            _, node = self._dirty.popitem()
            dispatch(self, node, now)
        started, self.outbox = self.outbox, []
        return started

    def complete(self, work: Work, now: float, finished: Iterable[Request] = (), steps: int = 0) -> None:
        """Report the end of a work. finished: requests whose answer ended; steps: decodes done (all)."""
        instance, node = work.instance, work.instance.node
        self._dirty[node.number] = node
        if work.kind in {"prefill", "decode"}:
            del node.running[instance.number]
            if instance.closing:
                if instance.action is None and instance in node.instances:
                    memory.unload(instance, self.outbox, now)
                    self._released[node.number] = node
                return
            if work.kind == "prefill":
                self._prefilled(work, now)
            else:
                self._decoded(work, now, steps or work.steps)
            if self.policy.sharing == "halves" and not self.side_by_side(node.kind):
                self._rest(instance, now - work.start, now)
            done = False
            for request in finished:
                self._finish(request, now)
                done = True
            if done:
                instance.refresh()
                self._relax(instance, now)
            if done or work.kind == "prefill":
                self._released[node.number] = node
        elif memory.finish(work, self.outbox, now) or work.kind == "load":
            self._released[node.number] = node

    @property
    def due(self) -> float:
        """When `step` wants to be called next although nothing was reported."""
        return self._wakes[0][0] if self._wakes else math.inf

    def census(self) -> dict[str, int]:
        """Requests by state; all that were admitted are in exactly one."""
        names = ("queued", "placed", "finished", "dropped", "rejected")
        return dict(zip(names, self.counts, strict=True))

    # --- what admission asks ----------------------------------------------------------------------
    def pace(self, kind: NodeKind, model: int) -> Pace:
        """Predicted times of a model on a kind of node, with the safety factor."""
        shape = self.models[model]
        key = (kind.name, shape.name)
        if key not in self._paces:
            safety = self.policy.safety_gpu if kind.gpu else self.policy.safety_cpu
            measured = self.measured.get(key)
            self._paces[key] = measured.scaled(safety) if measured else Pace(kind.device, shape, safety)
        return self._paces[key]

    def limit(self, kind: NodeKind, model: int) -> int:
        """Requests at once of an instance, where a limit is all there is."""
        shape = self.models[model]
        key = (kind.name, shape.name)
        if key not in self._limits:
            share = 0.5 if self._halved(kind, model) else 1.0
            self._limits[key] = concurrency_limit(kind, shape, self.level, share)
        return self._limits[key]

    def slots(self, kind: NodeKind, model: int) -> int:
        """Instances that a node may hold when one of this model is among them."""
        if self.policy.sharing == "none":
            return 1
        if self.policy.sharing == "halves":
            return 2 if self._halved(kind, model) else 1
        return kind.slots

    def side_by_side(self, kind: NodeKind) -> bool:
        """Whether instances of a node run at once, each at its part of the speed.

        Static halves of a CPU node are processes that the operating system shares the cores among; those
        of a GPU take turns, and each rests as long as it ran (the artefact's two schedulers).
        """
        return self.policy.sharing == "halves" and not kind.gpu

    def _halved(self, kind: NodeKind, model: int) -> bool:
        """Whether half a node is enough for a model within the level (a 13B takes a whole CPU)."""
        if self.policy.sharing != "halves":
            return False
        shape = self.models[model]
        key = (kind.name, shape.name)
        if key not in self._halves:
            self._halves[key] = concurrency_limit(kind, shape, self.level, 0.5) >= 1
        return self._halves[key]

    def opening(self, kind: NodeKind, model: int, need: float, room: float) -> float:
        """Bytes of the first cache of an instance."""
        if kind.cache is not None:
            return kind.cache
        if self.policy.admission == "limit":
            return kind.capacity / self.slots(kind, model) - weights(self.models[model])
        return min(need * (1 + self.policy.watermark), room - weights(self.models[model]))

    def excused(self, request: Request, seconds: float) -> float:
        """What the level adds for a cold start: all of it, but nothing where it counts from a first token."""
        return 0.0 if self.level.tokens == "mean" and request.generated else seconds

    def attach(self, request: Request, instance: Instance, now: float) -> None:
        """Give a request to an instance; its cache grows where it must."""
        if not instance.ready:
            excused = self.excused(request, instance.load_seconds)
            request.grace += excused
            request.base += excused
            request.limit += excused
        instance.prefills[request.number] = request
        instance.served += 1
        request.instance = instance
        self._move(request, PLACED)
        self.grow(instance, now)
        self._dirty[instance.node.number] = instance.node

    def open(self, node: Node, request: Request, now: float) -> Instance:
        """A new instance for a request on a node that has room for it."""
        model = request.model
        shape = self.models[model]
        self._instances += 1
        instance = Instance(
            self._instances, model, node, self.pace(node.kind, model), shape.cache_bytes(), weights(shape)
        )
        self.turns += 1
        instance.turn = self.turns
        node.instances.append(instance)
        self.serving.setdefault(model, []).append(instance)
        size = self.opening(node.kind, model, instance.required(self.expected, request), node.room)
        memory.reserve(instance, size, self.outbox, now)
        return instance

    def detach(self, request: Request) -> None:
        """Take a request from its instance; it keeps its tokens and must run its prompt again."""
        instance = request.instance
        assert instance is not None
        if request.decoding:
            request.generated = request.tokens
            request.decoding = False
            del instance.decoding[request.number]
            instance.cached -= request.prompt + request.generated
        else:
            del instance.prefills[request.number]
        request.instance = None
        request.moves += 1
        self._move(request, QUEUED)
        instance.refresh()

    def retire(self, instance: Instance, now: float) -> None:
        """Close an instance without requests."""
        self.serving[instance.model].remove(instance)
        memory.close(instance, self.outbox, now)
        self._released[instance.node.number] = instance.node

    def requeue(self, request: Request, now: float) -> None:
        """Queue a request that had to leave its instance, unless it finds another place at once."""
        self.moves += 1
        if not self._place(request, now):
            self._enqueue(request, now)

    # --- inside ------------------------------------------------------------------------------------
    def _move(self, request: Request, state: int) -> None:
        if request.state != state or state == REJECTED:
            if state != REJECTED:
                self.counts[request.state] -= 1
            self.counts[state] += 1
            request.state = state

    def _possible(self, request: Request) -> bool:
        """Whether some node, empty, could hold the request and run its prompt in time."""
        shape = self.models[request.model]
        size = shape.cache_bytes() * (request.prompt + 1)
        for pool in self.pools:
            for node in pool[:1]:
                kind = node.kind
                room = kind.cache if kind.cache is not None else kind.capacity - weights(shape)
                if size > room:
                    continue
                if self.policy.admission == "limit":
                    return True
                if self.pace(kind, request.model).prefill(request.prompt) <= self.aim.ttft(request.prompt):
                    return True
        return False

    def _place(self, request: Request, now: float) -> bool:
        found = find(self, request, now, new=False)
        if found is None and consolidate(self, request, now):
            return True
        found = found or find(self, request, now, own=False)
        if found is None:
            return False
        instance = found if isinstance(found, Instance) else self.open(found, request, now)
        self.attach(request, instance, now)
        return True

    def _enqueue(self, request: Request, now: float) -> None:
        self.queue[request.number] = request
        self.schedule(request.due(self.tpot), "expire", request)

    def schedule(self, time: float, kind: str, thing: Request | Instance | Node, stamp: int = 0) -> None:
        """Have `step` look at a request, an instance or a node at a time."""
        self._sequence += 1
        heapq.heappush(self._wakes, (time, self._sequence, kind, thing, stamp))

    def _wake(self, kind: str, thing: Request | Instance | Node, stamp: int, now: float) -> None:
        if isinstance(thing, Request):
            if kind == "poll":
                thing.polling = False
                if thing.number in self.queue and self._place(thing, now):
                    del self.queue[thing.number]
            elif thing.number in self.queue and thing.due(self.tpot) <= now:
                del self.queue[thing.number]
                self._move(thing, DROPPED)
        elif isinstance(thing, Instance):
            if not thing.closing and not thing.batch and thing.served == stamp:
                self.retire(thing, now)
        else:
            self._dirty[thing.number] = thing

    def _poll(self, request: Request, now: float) -> None:
        """Have a queued request ask again when its time comes; nothing changes for it before a release."""
        if not request.polling:
            request.polling = True
            rounds = math.ceil((now - request.arrival) / self.policy.poll)
            self.schedule(request.arrival + rounds * self.policy.poll, "poll", request)

    def _retry(self, node: Node, now: float) -> None:
        """Queued requests, most urgent first, on a node where something was given back."""
        if node.number not in self.usable:
            return
        for request in sorted(self.queue.values(), key=lambda r: r.due(self.tpot)):
            if request.number not in self.queue:
                continue
            found = find_on(self, request, node, now)
            if found is None and consolidate(self, request, now, node):
                del self.queue[request.number]
            if found is not None:
                del self.queue[request.number]
                instance = found if isinstance(found, Instance) else self.open(found, request, now)
                self.attach(request, instance, now)

    def grow(self, instance: Instance, now: float) -> bool:
        """Plan for what the requests need, the watermark above it where there is room."""
        if not instance.node.kind.elastic or self.policy.admission == "limit":
            return False
        need = instance.required(self.expected)
        if need <= instance.planned:
            return True
        if need - instance.planned > instance.node.room:
            return False
        wanted = need * (1 + self.policy.watermark)
        memory.plan(instance, min(wanted, instance.planned + instance.node.room))
        memory.settle(instance, self.outbox, now)
        return True

    def _relax(self, instance: Instance, now: float) -> None:
        """After requests ended: shrink, or wait for the keep-alive to end."""
        if not instance.batch:
            instance.idle_since = now
            keep = self.policy.keep_alive if instance.node.kind.gpu else 0.0
            self.schedule(now + keep, "idle", instance, instance.served)
        if instance.node.kind.elastic and self.policy.admission != "limit":
            recommended = instance.required(self.expected) * (1 + self.policy.watermark)
            rests = now + memory.pause(instance, 0.0, now) + memory.resize_seconds(instance.held, recommended)
            small = recommended * (1 + self.policy.watermark) < instance.planned
            if small and bears(self, instance, math.inf, rests):
                memory.plan(instance, recommended)
                memory.settle(instance, self.outbox, now)

    def _rest(self, instance: Instance, worked: float, now: float) -> None:
        """A static half rests as long as it ran."""
        if math.isnan(instance.billed):
            instance.billed, instance.worked = now - worked, 0.0
        instance.worked += worked
        whole = self.slots(instance.node.kind, instance.model) == 1
        instance.resume_at = now if whole else instance.billed + 2 * instance.worked

    def _prefilled(self, work: Work, now: float) -> None:
        request, instance = work.request, work.instance
        if request is None or request.instance is not instance or request.decoding:
            return
        if now > request.limit + self.level.tpot * request.generated + ROUNDING:
            request.late = True
        if math.isnan(request.first_token):
            request.first_token = now
            if self.level.tokens == "mean":
                request.base = request.limit = now
        instance.refresh()
        del instance.prefills[request.number]
        request.generated += 1
        request.decoding, request.joined = True, instance.iterations
        request.slack = request.base + self.tpot * (request.generated - instance.iterations)
        request.allowance = request.limit + self.level.tpot * (request.generated - instance.iterations)
        instance.decoding[request.number] = request
        instance.cached += request.prompt + request.generated
        instance.slack = min(instance.slack, request.slack)

    def _decoded(self, work: Work, now: float, steps: int) -> None:
        instance = work.instance
        each = (now - work.start) / steps
        tpot = self.level.tpot
        first = work.start + each - tpot * instance.iterations
        last = now - tpot * (instance.iterations + steps - 1)
        instance.peak = max(instance.peak, first, last)
        instance.iterations += steps
        instance.cached += steps * len(instance.decoding)

    def _finish(self, request: Request, now: float) -> None:
        instance = request.instance
        assert instance is not None
        if instance.peak > request.allowance + ROUNDING:
            request.late = True
        request.generated = request.tokens
        request.decoding = False
        del instance.decoding[request.number]
        instance.cached -= request.prompt + request.generated
        request.instance, request.finish = None, now
        self._move(request, FINISHED)
        self.expected += FORGETTING * (request.generated - self.expected)
