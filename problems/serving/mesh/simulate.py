"""A trace through a mesh: the executor of the mesh's work in simulated time.

Nothing is decided here. Durations are those of the cost model without safety factors, on the cluster
that is true: another than the mesh believes in where its error is studied.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....costmodels.architectures import Architecture
from ....errors import DataError
from ..compiled import Array
from ..trace import Trace
from .cluster import Cluster, Limits, Measured, Pace, ServiceLevel
from .mesh import Mesh
from .policy import FULL, Policy
from .state import ROUNDING, Instance, Request, Work

ITERATIONS = frozenset({"prefill", "decode"})
SAMPLE = 1.0
"""Seconds between looks at the nodes, as in the artefact's monitor."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of each request, and how the nodes were used.

    met: the service level held, a cold start's grace added: the first token within TTFT and the mean time a
    token within TPOT, or each token by its deadline. strict: besides, no token came late. used: (samples,
    nodes) instances there. resizing: part of the life of elastic instances that went into resizes, their
    first cache among them.
    """

    arrival: Array
    first_token: Array
    finish: Array
    met: Array
    strict: Array
    moves: Array
    used: Array
    requests_on: Array
    memory: Array
    gpu: Array
    census: dict[str, int]
    iterations: int
    evictions: int
    preemptions: int
    resizing: float = 0.0
    spans: list[tuple[int, int, str, float, float]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Part of all requests whose service level was met."""
        return float(self.met.mean())

    def _nodes(self, gpu: bool) -> float:
        return float((self.used[:, self.gpu == gpu] > 0).sum(axis=1).mean()) if len(self.used) else 0.0

    @property
    def gpus(self) -> float:
        """GPU nodes in use, mean over time."""
        return self._nodes(True)

    @property
    def cpus(self) -> float:
        """CPU nodes in use, mean over time."""
        return self._nodes(False)


def simulate(
    trace: Trace,
    cluster: Cluster,
    models: Sequence[Architecture],
    policy: Policy = FULL,
    level: ServiceLevel | None = None,
    *,
    truth: Cluster | None = None,
    measured: Measured | None = None,
    limits: Limits | None = None,
    record: bool = False,
    watch: Callable[[Mesh], None] | None = None,
) -> Outcome:
    """Run a trace of plain requests, whose kind is the model, to its end.

    truth: cluster whose devices set the durations (the mesh's own). measured: paces that the mesh goes by
    and that are true, instead of the cost model's. limits: as `Mesh` takes them. record: keep every
    iteration as (node, model, kind, start, end). watch: called after every event.
    """
    if len(models) < len(trace.classes):
        raise DataError(f"{trace.name} has {len(trace.classes)} models, but {len(models)} are served.")
    if len(trace.input) != len(trace):
        raise DataError(f"{trace.name} has applications of several calls; a mesh serves plain requests.")
    mesh = Mesh(cluster, models, policy, level, measured, limits)
    run = _Run(mesh, trace, (truth or cluster).nodes, record)
    run.play(watch)
    return run.outcome()


class _Sides:
    """Iterations that run at once on one node, each at its part of the speed."""

    def __init__(self) -> None:
        self.left: dict[int, float] = {}
        self.works: dict[int, tuple[Work, int]] = {}
        self.since = 0.0

    def advance(self, now: float) -> None:
        """Take off what has been done since the last change."""
        done = (now - self.since) / max(len(self.left), 1)
        self.left = {number: left - done for number, left in self.left.items()}
        self.since = now


class _Run:
    def __init__(self, mesh: Mesh, trace: Trace, kinds: Sequence[Any], record: bool) -> None:
        self.mesh, self.trace, self.record = mesh, trace, record
        self.outputs = np.maximum(trace.output, 1).astype(int).tolist()
        arrivals = trace.arrival.tolist()
        self.requests = [
            Request(i, k, arrivals[i], max(int(n), 1))
            for i, (k, n) in enumerate(zip(trace.kind.tolist(), trace.input.tolist(), strict=True))
        ]
        paces: dict[tuple[str, str], Pace] = {}
        for kind in kinds:
            for model in mesh.models:
                key = (kind.name, model.name)
                if key not in paces:
                    paces[key] = mesh.measured.get(key) or Pace(kind.device, model)
        self.paces = [[paces[kind.name, m.name] for m in mesh.models] for kind in kinds]
        self.ends: dict[int, list[tuple[int, int, int]]] = {}
        self.heap: list[tuple[float, int, Work, int]] = []
        self.sides = {n.number: _Sides() for n in mesh.nodes if mesh.side_by_side(n.kind)}
        self.latest: dict[int, int] = {}
        self.sequence = self.iterations = 0
        self.samples: list[tuple[list[int], list[int], list[float]]] = []
        self.spans: list[tuple[int, int, str, float, float]] = []

    def play(self, watch: Callable[[Mesh], None] | None) -> None:
        mesh, heap, requests = self.mesh, self.heap, self.requests
        arrival = [*self.trace.arrival.tolist(), math.inf]
        last = arrival[-2]
        following, sample = 0, arrival[0]
        while True:
            coming = arrival[following]
            now = min(coming, heap[0][0] if heap else math.inf, mesh.due)
            if now == math.inf:
                break
            while sample <= now and sample <= last:
                self._look()
                sample += SAMPLE
            while heap and heap[0][0] <= now:
                _, stamp, work, steps = heapq.heappop(heap)
                if self._leave(work, stamp, now):
                    self._end(work, steps, now)
            while arrival[following] <= now:
                mesh.admit(requests[following], now)
                following += 1
            for work in mesh.step(now):
                self._begin(work, now)
            if watch is not None:
                watch(mesh)

    def _begin(self, work: Work, now: float) -> None:
        instance, steps = work.instance, work.steps
        seconds = work.seconds
        if work.kind == "decode":
            pace = self.paces[instance.node.number][instance.model]
            batch = len(instance.decoding)
            end = self._next_end(instance)
            steps = min(steps, end - instance.iterations)
            cached = steps * instance.cached + batch * (steps * (steps - 1) // 2)
            seconds = steps * pace.base(batch) + cached * pace.per_cached
        elif work.kind == "prefill":
            assert work.request is not None
            pace = self.paces[instance.node.number][instance.model]
            seconds = pace.prefill(work.request.prompt + work.request.generated)
        sides = self.sides.get(instance.node.number) if self.sides else None
        if sides is None or work.kind not in ITERATIONS:
            self._push(work, steps, now + seconds)
            return
        sides.advance(now)
        sides.left[instance.number], sides.works[instance.number] = seconds, (work, steps)
        self._retime(sides, now)

    def _push(self, work: Work, steps: int, end: float) -> None:
        self.sequence += 1
        heapq.heappush(self.heap, (end, self.sequence, work, steps))

    def _retime(self, sides: _Sides, now: float) -> None:
        """Expect the ends of all iterations of a node anew."""
        for number, (work, steps) in sides.works.items():
            self._push(work, steps, now + max(sides.left[number], 0.0) * len(sides.works))
            self.latest[number] = self.sequence

    def _leave(self, work: Work, stamp: int, now: float) -> bool:
        """Take an ended iteration off its node; false where its end was expected anew since."""
        sides = self.sides.get(work.instance.node.number) if self.sides else None
        if sides is None or work.kind not in ITERATIONS:
            return True
        number = work.instance.number
        if self.latest.get(number) != stamp:
            return False
        sides.advance(now)
        del sides.left[number], sides.works[number], self.latest[number]
        self._retime(sides, now)
        return True

    def _next_end(self, instance: Instance) -> int:
        """Iterations of an instance when its next request ends."""
        ends = self.ends[instance.number]
        while True:
            end, number, joined = ends[0]
            r = self.requests[number]
            if r.instance is instance and r.decoding and r.joined == joined:
                return end
            heapq.heappop(ends)

    def _end(self, work: Work, steps: int, now: float) -> None:
        instance = work.instance
        finished: list[Request] = []
        if work.kind == "prefill":
            request = work.request
            assert request is not None
            self.iterations += 1
            if request.instance is instance and not instance.closing:
                left = self.outputs[request.number] - request.generated - 1
                if left <= 0:
                    finished.append(request)
                else:
                    joined = instance.iterations
                    ends = self.ends.setdefault(instance.number, [])
                    heapq.heappush(ends, (joined + left, request.number, joined))
        elif work.kind == "decode":
            self.iterations += steps
            if not instance.closing and instance.decoding:
                reached = instance.iterations + steps
                while instance.decoding and (end := self._pop_end(instance, reached)) is not None:
                    finished.append(end)
        if self.record and work.kind in ITERATIONS:
            self.spans.append((instance.node.number, instance.model, work.kind, work.start, now))
        self.mesh.complete(work, now, finished, steps)

    def _pop_end(self, instance: Instance, reached: int) -> Request | None:
        ends = self.ends[instance.number]
        while ends and ends[0][0] <= reached:
            _, number, joined = heapq.heappop(ends)
            r = self.requests[number]
            if r.instance is instance and r.decoding and r.joined == joined:
                return r
        return None

    def _look(self) -> None:
        nodes = self.mesh.nodes
        self.samples.append(
            (
                [len(n.instances) for n in nodes],
                [sum(i.batch for i in n.instances) for n in nodes],
                [n.ledger / n.kind.capacity for n in nodes],
            )
        )

    def outcome(self) -> Outcome:
        requests, mesh = self.requests, self.mesh

        def column(name: str) -> Array:
            return np.array([getattr(r, name) for r in requests])

        arrival, first, finish = column("arrival"), column("first_token"), column("finish")
        output = np.array(self.outputs)
        in_time = np.isfinite(finish) & ~column("late")
        met = in_time
        if mesh.level.tokens == "mean":
            with np.errstate(invalid="ignore"):
                pace = (finish - first) / np.maximum(output - 1, 1)
                soon = first - arrival <= column("ttft") + column("grace") + ROUNDING
                met = soon & (pace <= mesh.level.tpot + ROUNDING) & np.isfinite(finish)
        used, on, memory = (np.array([s[i] for s in self.samples]) for i in range(3))
        return Outcome(
            arrival, first, finish, met, met & in_time, column("moves"), used, on, memory,
            np.array([n.kind.gpu for n in mesh.nodes]), mesh.census(), self.iterations, mesh.evictions,
            mesh.preemptions, self._resizing(), self.spans,
        )  # fmt: skip

    def _resizing(self) -> float:
        """As the artefact's script counts it: over instances that got a cache."""
        lives = [
            (s, spent) for n in self.mesh.nodes if n.kind.elastic for s, count, spent in n.lives if count
        ]
        return sum(spent for _, spent in lives) / max(sum(s for s, _ in lives), 1e-9)
