"""Applications on shared servers under an index policy, and on other backends that must be warm.

Servers are preemptive and take the stage of least rank; a stage is served at unit rate, and its work is
the seconds of all its calls. A rank belongs to a row (class and stages seen) and a level of service
attained in that stage (in all stages where the policy is flat). Other backends are slots, first come
first served among equals in rank; an instance is warm when it was kept, or started ahead for the application.
Ages are set exactly to the level where one begins, so no event repeats at the same age.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cluster_loop import COLD, EVENTS, REMAINING, REQUEST, SLACK, STATIC, SWITCHES, TABLE, WARMED, serve
from .compiled import Array

KINDS = {"table": TABLE, "static": STATIC, "request": REQUEST, "remaining": REMAINING, "slack": SLACK}


@dataclass(frozen=True, eq=False)
class Jobs:
    """Applications as the queue sees them.

    arrival (n,); stage_start (n + 1,); place, work, row (stages,): 0 is the servers, 1 and up other
    backends; row of the rank table; kind (n,) and row of the flat table; deadline (n,).
    """

    arrival: Array
    stage_start: Array
    place: Array
    work: Array
    row: Array
    kind: Array
    deadline: Array

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def total(self) -> Array:
        """Work of each application, (n,)."""
        return np.asarray(np.add.reduceat(self.work, self.stage_start[:-1]))


def single_stage(arrival: Array, work: Array, row: Array | None = None) -> Jobs:
    """Jobs of one stage each on the servers: the M/G/k queue."""
    n = len(arrival)
    rows = np.zeros(n, np.int64) if row is None else np.asarray(row, np.int64)
    return Jobs(
        np.asarray(arrival, float), np.arange(n + 1), np.zeros(n, np.int64), np.asarray(work, float),
        rows, rows, np.full(n, np.inf),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Policy:
    """An order of service.

    kind: "table" ((rows, levels) ranks at `ages`; flat: rows are classes and ages all service so far),
    "static" (`ranks`, one an application), "request" (release of the stage), "remaining" (least work
    left, known), "slack" (deadline less `estimate` of the whole work plus service so far).
    """

    kind: str = "static"
    table: Array | None = None
    ages: Array | None = None
    flat: bool = False
    ranks: Array | None = None
    estimate: Array | None = None


@dataclass(frozen=True, eq=False)
class Backends:
    """Backends other than the servers, in order of their place 1, 2, ...

    slots: stages at a time. warm_up: seconds of a cold start. kept: idle instances kept after use, the
    least recently used goes first. trigger (rows,): attained service in a stage at which to start an
    instance for `target` (rows,), the place of the next stage; infinite for never.
    """

    slots: Array
    warm_up: Array
    kept: Array
    trigger: Array | None = None
    target: Array | None = None


NONE = Backends(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Outcome:
    """finish (n,) times; idle (places,) seconds of warm instances unused; waited (places,) seconds that
    stages waited for warm-up; place 0 is the servers."""

    jobs: Jobs
    finish: Array
    idle: Array
    waited: Array
    busy: float
    events: int
    switches: int
    cold: int
    warmed: int
    intervals: Array

    @property
    def completion(self) -> Array:
        """Seconds from arrival to end, (n,)."""
        return np.asarray(self.finish - self.jobs.arrival)


def run(
    jobs: Jobs,
    policy: Policy,
    *,
    servers: int = 1,
    backends: Backends = NONE,
    refresh: float = 0.0,
    switch: float = 0.0,
    record: int = 0,
) -> Outcome:
    """Serve all applications to their end. Arrays are copied, so that the compiled loop sees one type.

    refresh: ranks of running stages change only at multiples of it (0: as soon as they change). switch:
    seconds that a preempted stage needs to resume. record: how many intervals of service to keep.
    """
    n, rows = len(jobs), int(jobs.row.max(initial=0)) + 1
    table = np.zeros((rows, 1)) if policy.table is None else np.array(policy.table, float, order="C")
    ages = np.zeros(1) if policy.ages is None else np.array(policy.ages, float)
    ranks = np.zeros(n)
    if policy.kind == "slack" and policy.estimate is not None:
        ranks = np.where(np.isfinite(jobs.deadline), jobs.deadline, 1e9 + jobs.arrival) - policy.estimate
    elif policy.ranks is not None:
        ranks = np.array(policy.ranks, float)
    places = len(backends.slots) + 1
    finish, idle, waited = np.full(n, np.nan), np.zeros(places), np.zeros(places)
    counts, spent = np.zeros(4, np.int64), np.zeros(1)
    intervals = np.zeros((max(record, 1), 4))
    trigger = np.full(rows, np.inf) if backends.trigger is None else np.array(backends.trigger, float)
    target = np.zeros(rows, np.int64) if backends.target is None else np.array(backends.target, np.int64)
    kept = serve(
        jobs.arrival, jobs.stage_start.astype(np.int64), jobs.place.astype(np.int64), jobs.work,
        jobs.row.astype(np.int64), jobs.kind.astype(np.int64), KINDS[policy.kind], policy.flat, table, ages,
        ranks, servers, np.append(0, backends.slots).astype(np.int64), np.append(0.0, backends.warm_up),
        np.append(0, backends.kept).astype(np.int64), trigger, target, refresh, switch, record,
        finish, idle, waited, spent, counts, intervals,
    )  # fmt: skip
    return Outcome(
        jobs, finish, idle, waited, float(spent[0]), int(counts[EVENTS]), int(counts[SWITCHES]),
        int(counts[COLD]), int(counts[WARMED]), intervals[: min(int(kept), record)],
    )  # fmt: skip
