"""After Hermes (arXiv 2506.14851): the order of language-model applications, and warm backends in time.

Of the paper its abstract and two digests could be read, and its artefact; demand graphs, the rank and
the prewarm rule follow these, the queueing model around them is ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import SpaceError
from ..batch import Batch
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Float, Menu
from ..views import JobClass, JobsView
from . import applications
from .cluster import Jobs, Outcome, Policy, run
from .compiled import Array
from .generate import poisson
from .history import Arrivals, Source, source
from .pdgraph import PDGraph, Prospects, Run, prospects, stage_work
from .policies import Scene, make
from .prewarm import NEVER, prepared
from .ranks import gittins_table, level_starts
from .trace import LANGUAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTED = 0.1  # share of the applications that only warm up the queue
DEADLINES = (1.2, 1.5, 2.0)
# Sources of error. Work of a token: what the calibrated law of an iteration is off by on an unseen model.
# Cold starts: the paper's two constants; a guess. Demand: the standard error of a class's recorded mean.
TOKEN, COLD, DEMAND = "work of a token", "cold start of ", "demand of "
TOKEN_ERROR, COLD_ERROR = 0.1, 0.3


class Hermes(Problem):
    """Order of applications of unknown length on shared servers: a rank table, and warm backends.

    A rank belongs to a row (class, stage, visit, bin of an informative upstream value) and a level of
    service in that stage. The referee simulates the same applications for every point.
    """

    stochastic = True

    trace: Path | None = param(
        None, help="a trace with arrivals, recorded runs or demand graphs (JSON); else a made mix"
    )
    servers: int = param(1, help="applications served at a time")
    load: float = param(0.8, help="offered work a server, seconds a second, where arrivals are made")
    applications: int = param(2_000, help="applications in a simulation, at most those of a trace")
    history: int = param(1_000, help="runs of each class that the scheduler has seen, at most")
    levels: int = param(48, help="levels of attained service")
    pooled: bool = param(False, help="external stages take the servers too (all work is one kind)")
    switch: float = param(0.0, unit="s", help="time to resume a preempted stage")
    deadline_share: float = param(0.2, help="share of applications with a deadline")
    docker_warm_up: float = param(2.0, unit="s", help="cold start of a container")
    dnn_warm_up: float = param(7.0, unit="s", help="cold start of a network")
    per_input: float = param(1e-4, unit="s", help="work of a prompt token")
    per_output: float = param(0.06, unit="s", help="work of an output token")
    history_share: float = param(0.5, help="part of a recorded file, from its start, that is history")
    speed: float = param(1.0, help="recorded arrivals come so many times as fast")
    trace_zone: str = param("UTC", help="time zone of stamps in the trace that have no offset")
    simulation_seed: int = param(0, help="seed of the simulated applications; recorded arrivals have none")
    drawn: tuple[float, ...] = param((), help="standard normal deviations of the model's errors, in a draw")

    ranks = Float(0, 1, shape=("row_count", "levels"), help="by stage and attained service; least goes first")
    prewarm = Menu(
        *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, NEVER),
        shape="external_count",
        help="probability of need from which a backend is warmed; 2: never",
    )
    refresh = Menu(
        0, 1, 5, 20, 60, unit="s", help="ranks of running stages change only at multiples of it; 0: at once"
    )
    buckets = Menu("bucket_menu", help="levels of attained service told apart")

    mean_completion = Metric("s", "min", help="mean time from arrival to end")
    p95_completion = Metric("s", help="95th percentile of it")
    p99_completion = Metric("s", help="99th percentile of it")
    deadlines_met = Metric("1", help="share of the deadlines kept")
    idle = Metric("s", help="warm and unused backend time an application")
    cold_wait = Metric("s", help="time an application waits for warm-up")

    def prepare(self) -> None:
        """Check sizes; an offered load of 1 or more has no steady state and is run to its end."""
        for name, least in (("servers", 1), ("applications", 20), ("history", 20), ("levels", 4)):
            if getattr(self, name) < least:
                raise SpaceError(
                    f"parameter '{name}' of hermes must be at least {least}, got {getattr(self, name)}."
                )
        for name in ("load", "speed"):
            if not 0 < getattr(self, name) < np.inf:
                raise SpaceError(
                    f"parameter '{name}' of hermes must be positive, got {getattr(self, name):g}."
                )
        if not 0 < self.history_share < 1:
            raise SpaceError(
                f"parameter 'history_share' of hermes must lie between 0 and 1, got {self.history_share:g}."
            )
        if not 0 <= self.deadline_share <= 1:
            raise SpaceError(
                f"parameter 'deadline_share' of hermes must lie in [0, 1], got {self.deadline_share:g}."
            )
        if self.load >= 1:
            _announce_overload(self.load, self.applications)
        if self.drawn and not (len(self.drawn) == len(self.sources) and np.isfinite(self.drawn).all()):
            raise SpaceError(
                f"parameter 'drawn' of hermes must be empty or hold {len(self.sources)} finite numbers, one "
                f"a source of error; got {len(self.drawn)}."
            )

    # --- what it may get wrong -----------------------------------------------------------------------
    @property
    def sources(self) -> dict[str, float]:
        """Source of error -> its relative standard error: service times, cold starts, demand by class."""
        return _sources(*self._seen_key)

    def draw(self, rng: np.random.Generator) -> Problem:
        """One deviation a source; what the scheduler believes and when applications arrive stay."""
        return self.replace(drawn=tuple(rng.standard_normal(len(self.sources)).tolist()))

    @property
    def deviations(self) -> dict[str, float]:
        """What a draw changed: source -> its standard normal value."""
        return dict(zip(self.sources, self.drawn, strict=True)) if self.drawn else {}

    def measurement(self, source: str) -> str:
        """What would settle a source of error."""
        if source == TOKEN:
            return "time prompts and answers on the serving engine; set --per-input and --per-output"
        if source.startswith(COLD):
            return f"time cold starts of the backend; set --{source.removeprefix(COLD)}-warm-up"
        return f"record more runs of {source.removeprefix(DEMAND)}; set --trace and --history"

    def _off(self, source: str) -> float:
        """The factor by which this draw moves a source."""
        return float(np.exp(self.deviations.get(source, 0.0) * self.sources.get(source, 0.0)))

    # --- what there is to serve ----------------------------------------------------------------------
    @property
    def source(self) -> Source:
        """What the scheduler has seen and what it is to serve: other runs where they are recorded."""
        return source(self.trace, self.history_share, self.trace_zone)

    @property
    def graphs(self) -> dict[str, PDGraph]:
        """Demand graphs by class."""
        return self.source.graphs

    @property
    def walks(self) -> dict[str, list[Run]]:
        """What the scheduler has seen; the same for every simulation seed."""
        return _walks(*self._seen_key[:4])

    @property
    def prospects(self) -> Prospects:
        """Rows of the table, and the demand left in each."""
        return _prospects(*self._seen_key)

    @property
    def places(self) -> tuple[str, ...]:
        """Backends other than language models that the applications use."""
        used = {u.backend for g in self.graphs.values() for u in g.units.values()} - {LANGUAGE}
        return tuple(sorted(used))

    @property
    def external_count(self) -> int:
        """Entries of `prewarm`: one a backend, at least one."""
        return max(1, len(self.places))

    @property
    def row_count(self) -> int:
        """Rows of the table."""
        return len(self.prospects.rows)

    @property
    def bucket_menu(self) -> tuple[int, ...]:
        """How many levels may be told apart: all, or every second, fourth, eighth begins a bucket."""
        return tuple(sorted({-(-self.levels // step) for step in (1, 2, 4, 8)}))

    @cached_property
    def ages(self) -> Array:
        """Service in a stage at which each level begins, (levels,)."""
        return level_starts(self.prospects.samples, self.levels, least=0.5)

    @property
    def runs(self) -> Arrivals:
        """Classes, runs and arrival times of the simulated applications."""
        return _served(*self._applications_key)[0]

    @property
    def jobs(self) -> Jobs:
        """The simulated applications as the queue sees them; under a draw they need more or less work."""
        if not self.drawn:
            return _served(*self._applications_key)[1]
        return self._moved_jobs

    @cached_property
    def _moved_jobs(self) -> Jobs:
        served, jobs = _served(*self._applications_key)
        token = self._off(TOKEN)
        language = np.array([s.backend == LANGUAGE for run in served.runs for s in run])
        demand = np.array([self._off(DEMAND + name) for name in self.graphs])
        by_stage = np.repeat(demand[jobs.kind], np.diff(jobs.stage_start))
        return replace(jobs, work=jobs.work * by_stage * np.where(language, token, 1.0))

    @property
    def _seen_key(self) -> tuple[Any, ...]:
        file = (self.trace, self.trace_zone, self.history_share)
        return (*file, self.history, self.per_input, self.per_output)

    @property
    def _applications_key(self) -> tuple[Any, ...]:
        own = (self.servers, self.load, self.applications, self.pooled, self.deadline_share)
        return (*self._seen_key, *own, self.speed, self.simulation_seed)

    @cached_property
    def scene(self) -> Scene:
        """What a named policy may know."""
        totals = tuple(self.prospects.of_class(name) for name in self.source.classes)
        return Scene(self.jobs, totals, self.prospects.samples, level_starts(totals, 200), self.ages)

    # --- the referee -----------------------------------------------------------------------------------
    def outcome(
        self,
        policy: Policy | str,
        *,
        thresholds: Any = None,
        refresh: float = 0.0,
        kept: int = 0,
        eager: bool = False,
        record: int = 0,
    ) -> Outcome:
        """The simulated applications under a policy, by name or made.

        thresholds: K of each backend (never, where None). kept, eager: baselines of `prewarm.prepared`.
        """
        made = make(policy, self.scene) if isinstance(policy, str) else policy
        warm_up = {"docker": self.docker_warm_up, "dnn": self.dnn_warm_up}
        warm_up = {place: seconds * self._off(COLD + place) for place, seconds in warm_up.items()}
        backends = prepared(
            self.prospects,
            self.places,
            slots=[applications.SLOTS.get(p, 100) for p in self.places],
            warm_up=[0.0 if self.pooled else warm_up.get(p, 0.0) for p in self.places],
            thresholds=[NEVER] * len(self.places) if thresholds is None else list(thresholds),
            kept=kept,
            eager=eager,
        )
        return run(
            self.jobs, made, servers=self.servers, backends=backends, refresh=refresh, switch=self.switch,
            record=record,
        )  # fmt: skip

    @property
    def counted(self) -> slice:
        """The applications that metrics are of: all but the first tenth, while the queue fills."""
        return slice(int(COUNTED * len(self.jobs)), None)

    def measure(self, outcome: Outcome) -> dict[str, float]:
        """Metrics of an outcome, over the applications that are counted."""
        counted = self.counted
        completion = outcome.completion[counted]
        deadline = self.jobs.deadline[counted]
        due = np.isfinite(deadline)
        met = outcome.finish[counted][due] <= deadline[due]
        return {
            "mean_completion": float(completion.mean()),
            "p95_completion": float(np.quantile(completion, 0.95)),
            "p99_completion": float(np.quantile(completion, 0.99)),
            "deadlines_met": float(met.mean()) if due.any() else 1.0,
            "idle": float(outcome.idle.sum() / len(self.jobs)),
            "cold_wait": float(outcome.waited.sum() / len(self.jobs)),
        }

    def policy_of(self, table: Any, buckets: int | None = None) -> Policy:
        """The policy of a rank table, its levels joined to so many buckets."""
        table = np.asarray(table, float)
        step = 1 if buckets is None else -(-self.levels // int(buckets))
        return Policy("table", table[:, ::step], self.ages[::step])

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Simulate each point on the same applications."""
        rows = []
        for table, prewarm, refresh, buckets in zip(x.ranks, x.prewarm, x.refresh, x.buckets, strict=True):
            policy = self.policy_of(table, int(buckets))
            rows.append(
                self.measure(
                    self.outcome(policy, thresholds=prewarm[: len(self.places)], refresh=float(refresh))
                )
            )
        return {name: np.array([row[name] for row in rows]) for name in self.metrics}

    def jobs_view(self, given: Mapping[str, Any] | None = None) -> JobsView:
        """Each row a class of jobs with the demand left on entering it; the rest is searched around it."""
        classes = tuple(
            JobClass(" ".join(map(str, row)), samples, None, 1.0, 1.0, discrete=False)
            for row, samples in zip(self.prospects.rows, self.prospects.samples, strict=True)
        )
        assumptions = (
            "what will be learnt at later stages is not anticipated: each row is a class of its own",
            "time on other backends is work like any other",
        )
        return JobsView(classes, self.ages, "ranks", "mean_completion", assumptions)

    def point(self, **slow: Any) -> dict[str, Any]:
        """The Gittins table of what the scheduler has seen, with the other variables as given."""
        values: dict[str, Any] = {"refresh": 0, "buckets": max(self.bucket_menu)}
        values["prewarm"] = [0.3] * self.external_count
        return {"ranks": gittins_table(self.prospects.samples, self.ages).tolist(), **values, **slow}

    def apply(
        self, point: Mapping[str, Any], out: str = "hermes-plan.json", seconds: float = 10.0
    ) -> list[dict[str, Any]]:
        """Save the plan, then serve applications through the real scheduler under FCFS and the plan."""
        from .deploy import replay

        return replay(self, point, out, seconds=seconds)

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One row a policy: completion, its cut against application FCFS, deadlines kept."""
        from .report import summary

        return summary(self, point)

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Completion by policy, rank curves, a slice of the schedule, the price of warm backends."""
        from .report import figures

        return figures(self, point)


@cache
def _announce_overload(load: float, count: int) -> None:
    """Warn once a process: copies of a problem with other pins need not say it again."""
    warnings.warn(
        f"hermes: load {load:g} is 1 or more; the queue grows, and times depend on how many applications "
        f"are run ({count}).",
        stacklevel=4,
    )


# --- kept by argument: copies of a problem with other pins share them ------------------------------------
@lru_cache(maxsize=8)
def _walks(trace: Path | None, zone: str, share: float, history: int) -> dict[str, list[Run]]:
    return source(trace, share, zone).walks(history)


@lru_cache(maxsize=8)
def _prospects(
    trace: Path | None, zone: str, share: float, history: int, per_input: float, per_output: float
) -> Prospects:
    return prospects(_walks(trace, zone, share, history), per_input=per_input, per_output=per_output)


@lru_cache(maxsize=8)
def _sources(
    trace: Path | None, zone: str, share: float, history: int, per_input: float, per_output: float
) -> dict[str, float]:
    found = {TOKEN: TOKEN_ERROR, COLD + "docker": COLD_ERROR, COLD + "dnn": COLD_ERROR}
    for name, walked in _walks(trace, zone, share, history).items():
        totals = np.array([sum(stage_work(s, per_input, per_output) for s in run) for run in walked])
        found[DEMAND + name] = float(totals.std() / max(totals.mean(), 1e-12) / np.sqrt(len(totals)))
    return found


@lru_cache(maxsize=32)
def _served(
    trace: Path | None,
    zone: str,
    share: float,
    history: int,
    per_input: float,
    per_output: float,
    servers: int,
    load: float,
    count: int,
    pooled: bool,
    deadline_share: float,
    speed: float,
    simulation_seed: int,
) -> tuple[Arrivals, Jobs]:
    """The simulated applications, and these as jobs of the queue."""
    origin = source(trace, share, zone)
    known = _prospects(trace, zone, share, history, per_input, per_output)
    names, graphs = origin.classes, origin.graphs

    def on_servers(run: Run) -> float:
        return sum(stage_work(s, per_input, per_output) for s in run if pooled or s.backend == LANGUAGE)

    draw, gaps, due = (np.random.default_rng([simulation_seed, stream]) for stream in (1, 2, 3))
    if origin.recorded is None:
        walks = _walks(trace, zone, share, history)
        odds = applications.shares(names)
        kinds = [names[int(i)] for i in draw.choice(len(names), count, p=odds)]
        runs = [origin.later[kind].walks(draw, 1)[0] for kind in kinds]
        mean = float(odds @ [np.mean([on_servers(run) for run in walks[name]]) for name in names])
    else:
        kinds, runs = origin.recorded.kinds[:count], origin.recorded.runs[:count]
        mean = float(np.mean([on_servers(run) for run in runs]))
    if not mean > 0:
        raise SpaceError("the applications of hermes put no work on the servers; set pooled=True.")
    if origin.recorded is None:
        arrival = poisson(gaps, count, servers * load / mean)
    else:
        arrival = origin.recorded.times[:count] / speed
        span = float(arrival[-1])
        offered = mean * len(arrival) / (servers * span) if span > 0 else 0.0
        if offered >= 1:
            _announce_overload(round(offered, 2), len(arrival))
    count = len(arrival)
    places = sorted({u.backend for g in graphs.values() for u in g.units.values()} - {LANGUAGE})
    work = [[stage_work(s, per_input, per_output) for s in run] for run in runs]
    rows = [known.rows_of(k, r, w) for k, r, w in zip(kinds, runs, work, strict=True)]
    factor = np.asarray(DEADLINES)[due.integers(len(DEADLINES), size=count)]
    late = due.random(count) < deadline_share
    solo = np.array([sum(w) for w in work])
    flat = [stage for run in runs for stage in run]
    jobs = Jobs(
        arrival,
        np.concatenate([[0], np.cumsum([len(run) for run in runs])]),
        np.array([0 if pooled or s.backend == LANGUAGE else 1 + places.index(s.backend) for s in flat]),
        np.maximum([w for ws in work for w in ws], 1e-6),
        np.array([r for rs in rows for r in rs], np.int64),
        np.array([names.index(k) for k in kinds], np.int64),
        np.where(late, arrival + factor * solo, np.inf),
    )
    return Arrivals(kinds, runs, arrival), jobs
