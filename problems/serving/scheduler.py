"""The rank table at work: an asyncio queue in front of any callable backend.

    scheduler = HermesScheduler(prospects, backends={"llm": 1, "docker": 4})
    app = scheduler.application("code_feedback")
    text = await scheduler.submit(app, "write", lambda: generate(prompt))
    await scheduler.submit(app, "execute", lambda: container.run(text), backend="docker")
    scheduler.finish(app)

A stage waits until a slot of its backend is free and no waiting stage has a lower rank; applications are
preempted between stages, never within one. Ranks come from what was recorded of earlier runs.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...errors import DataError, nearest
from .compiled import Array
from .pdgraph import Prospects, Recorder
from .pdgraph import prospects as prospects_of
from .prewarm import NEVER, trigger_age
from .ranks import gittins_table, level_starts
from .trace import LANGUAGE, Stage

Order = Literal["gittins", "fcfs"]


@dataclass(eq=False)
class Application:
    """A running application: its class, when it came, and the stages it has had, in seconds."""

    kind: str
    number: int
    arrival: float
    stages: list[Stage] = field(default_factory=list)
    end: float | None = None

    @property
    def completion(self) -> float | None:
        """Seconds from arrival to end."""
        return None if self.end is None else self.end - self.arrival


@dataclass(eq=False)
class _Queue:
    slots: int
    waiting: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)


class HermesScheduler:
    """Orders stages of applications by Gittins rank (or first come, first served).

    prospects: what is known of each class; a class never recorded is taken for any application. table: a
    searched rank table for its rows; else Gittins ranks of its samples.
    backends: slots by name. prewarm: called with (backend, unit) when a stage elsewhere is about to be
    needed; warm_up and thresholds say when, by backend (one number: of every backend). recorder: gets every
    finished run.
    """

    def __init__(
        self,
        prospects: Prospects | None,
        *,
        backends: Mapping[str, int],
        order: Order = "gittins",
        levels: int = 48,
        recorder: Recorder | None = None,
        table: Array | None = None,
        prewarm: Callable[[str, str], None] | None = None,
        warm_up: Mapping[str, float] | None = None,
        thresholds: float | Mapping[str, float] = 0.3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.order, self.clock = order, clock
        self.recorder, self.prewarm = recorder, prewarm
        self.finished: list[Application] = []
        self._queues = {name: _Queue(slots) for name, slots in backends.items()}
        self._applications = self._stages = 0
        self._settings = (levels, dict(warm_up or {}), thresholds)
        self.know(prospects, table)

    def know(self, prospects: Prospects | None, table: Array | None = None) -> None:
        """Take over ranks: of a searched table (rows, levels), or Gittins ranks of the samples."""
        levels, warm_up, thresholds = self._settings
        self.prospects = prospects if prospects is not None and prospects.rows else None
        self._first_ranks: dict[int, float] = {}
        self._trigger: dict[int, float] = {}
        if self.prospects is None:
            return
        prospects = self.prospects
        if table is None:
            table = gittins_table(prospects.samples, level_starts(prospects.samples, levels))
        self._first_ranks = {i: float(r) for i, r in enumerate(table[:, 0])}
        for i, (place, share) in enumerate(prospects.external):
            least = thresholds.get(place, NEVER) if isinstance(thresholds, Mapping) else thresholds
            self._trigger[i] = trigger_age(prospects.own[i], share, warm_up.get(place, 0.0), least)

    def learn(self) -> None:
        """Rank anew from the runs that the recorder has."""
        if self.recorder is None:
            raise DataError("a scheduler without a recorder has nothing to learn from.")
        runs = {kind: [list(run) for run in g.runs] for kind, g in self.recorder.graphs().items()}
        self.know(prospects_of(runs, least=5))

    def application(self, kind: str) -> Application:
        """A new application, arriving now."""
        self._applications += 1
        return Application(kind, self._applications, self.clock())

    def rank(self, app: Application, unit: str, backend: str) -> tuple[float, int | None]:
        """Rank of the next stage of an application, and the row it was read from."""
        if self.order == "fcfs" or self.prospects is None:
            return float(app.number), None
        run = [*app.stages, Stage(unit, backend)]
        try:
            row = self.prospects.rows_of(app.kind, run, [s.seconds for s in run])[-1]
        except DataError:
            return 2.0, None
        return self._first_ranks[row], row

    async def submit(
        self, app: Application, unit: str, call: Callable[[], Any], *, backend: str = LANGUAGE
    ) -> Any:
        """Run one stage when its turn comes; returns what `call` returns.

        call: a plain function (run in a thread) or one that returns an awaitable.
        """
        if backend not in self._queues:
            raise DataError(f"unknown backend '{backend}'; {nearest(backend, self._queues)}")
        rank, row = self.rank(app, unit, backend)
        queue = self._queues[backend]
        await self._turn(queue, rank, app.number)
        timer = self._announce(app, unit, row)
        begun = self.clock()
        try:
            made = call() if inspect.iscoroutinefunction(call) else await asyncio.to_thread(call)
            return await made if inspect.isawaitable(made) else made
        finally:
            if timer is not None:
                timer.cancel()
            app.stages.append(Stage(unit, backend, seconds=max(self.clock() - begun, 1e-9)))
            self._release(queue)

    def finish(self, app: Application) -> float:
        """Mark the end of an application; returns its completion time."""
        app.end = self.clock()
        self.finished.append(app)
        if self.recorder is not None and app.stages:
            self.recorder.record(app.kind, app.stages)
        return app.end - app.arrival

    @property
    def mean_completion(self) -> float:
        """Mean seconds from arrival to end of the finished applications."""
        return float(np.mean([a.completion for a in self.finished])) if self.finished else float("nan")

    async def _turn(self, queue: _Queue, rank: float, number: int) -> None:
        if queue.slots > 0 and not queue.waiting:
            queue.slots -= 1
            return
        self._stages += 1
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(queue.waiting, (rank, number * 1_000_000 + self._stages, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._release(queue)
            raise

    def _release(self, queue: _Queue) -> None:
        """Hand the slot to the waiting stage of least rank."""
        while queue.waiting:
            _, _, place = heapq.heappop(queue.waiting)
            if not place.done():
                place.set_result(None)
                return
        queue.slots += 1

    def _announce(self, app: Application, unit: str, row: int | None) -> asyncio.TimerHandle | None:
        """Start the next backend in time, if its probability reaches the threshold."""
        if self.prewarm is None or self.prospects is None or row is None:
            return None
        after = self._trigger.get(row, float("inf"))
        if not np.isfinite(after):
            return None
        place = self.prospects.external[row][0]
        return asyncio.get_running_loop().call_later(after, self.prewarm, place, unit)
