"""Several solvers on one problem: equal budgets, several seeds, one measure of quality.

One objective is compared by its best feasible value; several by the hypervolume of the front, scaled
so that the best front known to the comparison has the share 1. A solver that cannot take the problem
is listed with its reason, the others run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import units
from ...errors import BudgetError, SolverUnavailable, TradespaceError, nearest, of_kind
from ...problems.goal import Goal, ResolvedGoal
from ...problems.problem import Problem
from ...solvers.base import Budget, reasons, relative_gap
from ...solvers.portfolio import make, select
from ..given import a_budget, a_goal, a_problem, whole
from ..quality import Quality, rows_before
from ..record import problem_name
from ..result import Interrupted, Result
from ..run import solve
from ..session import Session
from .ranking import Ranking, ranking

Array = npt.NDArray[Any]
CLOSE, ROUNDING = 0.01, 1e-12
CHECKPOINTS = 60
ONE_RUN = ("exhaustive",)
LEFT_OUT = "did not run:"
Observer = Callable[[str, int, Session], None]
Steps = Callable[[Session, Quality], tuple[Array, Array]]
Clock = Callable[[Session, Array], Array]


@dataclass(frozen=True, eq=False)
class Trace:
    """One run of one solver: its result and how its quality grew.

    rows, seconds, values: (steps,) scored rows, wall seconds and quality after them; a value is NaN
    before the first feasible row.
    """

    solver: str
    seed: int
    result: Result
    value: float
    rows: Array
    seconds: Array
    values: Array


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    traces: every run. refused: solver -> why it could not take the problem or failed. quality: the
    measure, its best the best known. best: the best known value in the metric's own sign (the
    hypervolume, 1 being the best front, for several objectives). notes: what to know when reading it.
    """

    problem: str
    goal: ResolvedGoal
    budget: Budget
    seeds: int
    traces: tuple[Trace, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    best: float = float("nan")
    notes: tuple[str, ...] = ()

    @property
    def measure(self) -> str:
        """What is compared, in words."""
        objective = self.goal.objectives[0]
        if self.goal.single:
            unit = f" ({objective.unit})" if objective.unit not in {"", "1"} else ""
            return f"{objective.metric.replace('_', ' ')}{unit}"
        return "hypervolume, share of the best front"

    @property
    def larger_is_better(self) -> bool:
        """Whether more of the measure is better."""
        return not self.goal.single or self.goal.objectives[0].sign < 0

    @property
    def solvers(self) -> list[str]:
        """Solvers that ran, best median first."""
        names = list(dict.fromkeys(t.solver for t in self.traces))
        sign = -1 if self.larger_is_better else 1
        return sorted(names, key=lambda n: np.nan_to_num(sign * self.summary(n)["median"], nan=np.inf))

    def of(self, solver: str) -> list[Trace]:
        """The runs of one solver, by seed."""
        return [t for t in self.traces if t.solver == solver]

    def summary(self, solver: str) -> dict[str, Any]:
        """One line of the table: quality with its spread, and when it came within 1 % of the best.

        Raises SolverUnavailable for a solver that did not run, with the reason.
        """
        traces = self.of(solver)
        if not traces:
            why = self.refused.get(solver, f"it was not compared; {nearest(solver, self.solvers)}")
            raise SolverUnavailable(f"{solver} {LEFT_OUT} {why}")
        values = np.array([t.value for t in traces])
        found = values[np.isfinite(values)]
        reached = [r for t in traces if (r := self.reached(t)) is not None]
        kinds = [t.result.certificate.kind for t in traces]
        low, middle, high = np.percentile(found, [0, 50, 100]) if len(found) else (np.nan,) * 3
        deviation = float(found.std(ddof=1)) if len(found) > 1 else 0.0
        best, worst = (high, low) if self.larger_is_better else (low, high)
        return {
            "solver": solver,
            "runs": len(traces),
            "feasible": len(found),
            "best": float(best),
            "median": float(middle),
            "worst": float(worst),
            "deviation": deviation if deviation > ROUNDING * abs(middle) else 0.0,
            "reached": len(reached),
            "rows_to_1_percent": float(np.median([r for r, _ in reached])) if reached else None,
            "seconds_to_1_percent": float(np.median([s for _, s in reached])) if reached else None,
            "evaluations": float(np.median([t.result.evaluations for t in traces])),
            "seconds": float(np.median([t.result.seconds for t in traces])),
            "certificate": max(kinds, key=["none", "bound", "proven"].index),
        }

    def reached(self, trace: Trace) -> tuple[int, float] | None:
        """Rows and seconds after which a run was within 1 % of the best known; None where it never was."""
        for rows, seconds, value in zip(trace.rows, trace.seconds, trace.values, strict=True):
            if np.isfinite(value) and self._close(float(value)):
                return int(rows), float(seconds)
        return None

    def _close(self, value: float) -> bool:
        beats = value >= self.best if self.larger_is_better else value <= self.best
        return beats or relative_gap(value, self.best) <= CLOSE

    @property
    def ranking(self) -> Ranking:
        """Mean ranks over the seeds that every solver ran; a solver that ran once has the value for all."""
        names, ran = self.solvers, sorted({t.seed for t in self.traces})
        values = {name: {t.seed: t.value for t in self.of(name)} for name in names}
        for name in names:
            if all(t.result.solver in ONE_RUN for t in self.of(name)):
                values[name] = dict.fromkeys(ran, self.of(name)[0].value)
        seeds = [s for s in ran if all(s in values[name] for name in names)]
        table = np.array([[values[name][s] for name in names] for s in seeds], float)
        table = table.reshape(len(seeds), len(names)) * (-1 if self.larger_is_better else 1)
        best = np.nanmin(table, axis=1, keepdims=True, initial=np.inf)
        near = np.abs(table - best) <= ROUNDING * np.abs(best)
        return ranking(names, np.where(near, best, table))

    def record(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {
            "problem": self.problem,
            "goal": self.goal.record(),
            "budget": self.budget.record(),
            "seeds": self.seeds,
            "measure": self.measure,
            "larger_is_better": self.larger_is_better,
            "best_known": self.best if np.isfinite(self.best) else None,
            "solvers": [_without_nan(self.summary(name)) for name in self.solvers],
            "ranking": self.ranking.record(),
            "refused": dict(self.refused),
            "notes": list(self.notes),
            "runs": [
                _without_nan(
                    {
                        "solver": t.solver,
                        "seed": t.seed,
                        "value": t.value,
                        "evaluations": t.result.evaluations,
                        "seconds": round(t.result.seconds, 4),
                        "certificate": t.result.certificate.kind,
                        "gap": t.result.certificate.gap,
                        "stop_reason": t.result.stop_reason,
                    }
                )
                for t in self.traces
            ],
        }

    def markdown(self) -> str:
        """The table of solvers, as Markdown."""
        from ..narrative import table

        heads = ("solver", f"median {self.measure}", "best", "worst", "deviation", "mean rank",
                 "runs within 1 %", "rows to 1 %", "seconds to 1 %", "rows", "seconds",
                 "certificate")  # fmt: skip
        lines = [f"# {self.problem}: {len(self.solvers)} solvers, {self.seeds} seeds", self._asked(), ""]
        lines += [table(heads, [tuple(self.cells(name)) for name in self.solvers]), ""]
        lines += [f"Ranks of the seeds' values. {self.ranking.statement()}", ""]
        lines += [f"- {name} {LEFT_OUT} {reason}" for name, reason in self.refused.items()]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"

    def _asked(self) -> str:
        budget = self.budget
        spend = [f"{budget.evaluations:,} rows"] if budget.evaluations is not None else []
        spend += [f"{budget.seconds:g} s"] if budget.seconds is not None else []
        best = f" Best known: {self.show(self.best)}." if self.goal.single and np.isfinite(self.best) else ""
        words = self.goal.describe()
        return (
            f"\n{words[0].upper()}{words[1:]}; each run at most {' and '.join(spend) or 'its own end'}.{best}"
        )

    def show(self, value: float) -> str:
        """A value of the measure for people."""
        if not np.isfinite(value):
            return "none"
        return units.show(value, self.goal.objectives[0].unit, 5) if self.goal.single else f"{value:.4f}"

    def cells(self, solver: str) -> list[str]:
        """One line of the table, in words."""
        line = self.summary(solver)
        rows, seconds = line["rows_to_1_percent"], line["seconds_to_1_percent"]
        return [
            solver,
            self.show(line["median"]),
            self.show(line["best"]),
            self.show(line["worst"]),
            self.show(line["deviation"]) if line["feasible"] > 1 else "",
            f"{self.ranking.mean_ranks[solver]:.2f}",
            f"{line['reached']} of {line['runs']}",
            f"{rows:,.0f}" if rows is not None else "",
            f"{seconds:.3g}" if seconds is not None else "",
            f"{line['evaluations']:,.0f}",
            f"{line['seconds']:.3g}",
            line["certificate"],
        ]

    def __str__(self) -> str:
        return self.markdown()

    def csv(self) -> str:
        """Every run with its steps: solver, seed, rows, seconds, value."""
        lines = ["solver,seed,rows,seconds,value"]
        for t in self.traces:
            steps = zip(t.rows.tolist(), t.seconds.tolist(), t.values.tolist(), strict=True)
            lines += [
                f"{t.solver},{t.seed},{r},{s:.6g},{'' if np.isnan(v) else repr(v)}" for r, s, v in steps
            ]
        return "\n".join(lines) + "\n"


def _without_nan(line: dict[str, Any]) -> dict[str, Any]:
    return {n: None if isinstance(v, float) and not np.isfinite(v) else v for n, v in line.items()}


def compare(
    problem: Problem,
    solvers: Sequence[str] | str,
    *,
    goal: Goal | None = None,
    budget: Budget | int | None = None,
    seeds: int = 5,
    workers: int = 1,
    observer: Observer | None = None,
) -> Comparison:
    """Run several solvers on a problem with equal budgets and compare them.

    solvers: names, or one text of names with commas. seeds: runs of each solver, seeds 0 to seeds - 1
    (a solver without randomness runs once). observer: called with solver, seed and session as runs
    advance. A solver that cannot take the problem, or fails, is warned of and in `refused`, with
    the reason.
    Raises SolverUnavailable where no solver takes the problem, or a name is unknown; the first failure
    where all fail. Ctrl-C is raised again as a KeyboardInterrupt whose `result` compares the runs that ended.

    >>> import tradespace as ts
    >>> found = compare(ts.problem("knapsack", items=10), "exhaustive,milp", seeds=2)
    >>> found.summary("milp")["median"] == found.summary("exhaustive")["median"]
    True
    """
    problem, goal, budget = a_problem(problem), a_goal(goal), a_budget(budget)
    seeds, workers = whole("seeds", seeds, 0), whole("workers", workers, 1)
    if seeds < 1:
        raise BudgetError(f"compare needs at least one seed, got {seeds}.")
    if isinstance(solvers, str):
        solvers = [n.strip() for n in solvers.split(",")]
    if not isinstance(solvers, Sequence) or not all(isinstance(n, str) for n in solvers):
        raise SolverUnavailable(f"solvers must be names, such as 'ga,tpe', got {solvers!r}.")
    names = list(dict.fromkeys(n for n in solvers if n))
    if not names:
        raise SolverUnavailable(
            "compare needs the name of at least one solver; 'optimize list --solvers' lists them."
        )
    resolved = goal.resolve(problem)
    refused: dict[str, str] = {}
    for name in names:
        if name != "auto":
            make(name)
        try:
            select(name, problem, resolved, budget)
        except (SolverUnavailable, BudgetError) as error:
            refused[name] = str(error)
    if len(refused) == len(names):
        raise SolverUnavailable(f"no solver could be compared: {reasons(list(refused.items()))}")
    finished: list[Finished] = []
    failures: list[TradespaceError] = []
    interrupted = False
    for name in names:
        for seed in range(1 if name in ONE_RUN else seeds):
            if name in refused:
                break
            try:
                done = _run(problem, name, goal, budget, seed, workers, observer)
                finished.append(Finished(name, seed, *done))
            except TradespaceError as error:
                failures.append(error)
                refused[name] = str(error)
            except KeyboardInterrupt:
                if not finished:
                    raise KeyboardInterrupt from None
                interrupted = True
                refused |= {n: "interrupted" for n in names[names.index(name) :] if n not in refused}
    if not finished:
        told = f"no solver could be compared: {reasons(list(refused.items()))}"
        raise of_kind(failures[0], told) from failures[0]
    notes = tuple(dict.fromkeys(note for run in finished if (note := run.session.evaluator.note)))
    found = judge(problem, resolved, budget, seeds, finished, refused, _steps, _clock, notes)
    if interrupted:
        raise Interrupted(found)
    for name, reason in refused.items():
        warnings.warn(f"{name} {LEFT_OUT} {reason}", stacklevel=2)
    return found


def _run(
    problem: Problem,
    name: str,
    goal: Goal,
    budget: Budget,
    seed: int,
    workers: int,
    observer: Observer | None,
) -> tuple[Result, Session]:
    """One run, and the session that scored it."""
    seen: list[Session] = []

    def watch(session: Session) -> None:
        seen[:] = [session]
        if observer is not None:
            observer(name, seed, session)

    result = solve(problem, name, goal, budget, seed=seed, workers=workers, observer=watch)
    if not seen:
        raise SolverUnavailable(f"solver '{name}' scored nothing: {result.stop_reason}.")
    return result, seen[0]


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that ended, on the line `name` of the table."""

    name: str
    seed: int
    result: Result
    session: Session


def judge(
    problem: Problem,
    goal: ResolvedGoal,
    budget: Budget,
    seeds: int,
    finished: Sequence[Finished],
    refused: dict[str, str],
    steps: Steps,
    clock: Clock,
    notes: tuple[str, ...] = (),
) -> Comparison:
    """Measure all runs on the scale of the best that any of them found.

    steps: how a session's quality grew, (rows, values). clock: seconds after so many rows.
    """
    for run in finished:
        run.session.archive.merge()
    quality = Quality.of(goal, [run.session.archive.costs for run in finished])
    sign = goal.objectives[0].sign if goal.single else 1.0
    scale = 1.0 if goal.single or not quality.best else quality.best
    traces = []
    for run in finished:
        archive = run.session.archive
        rows, values = steps(run.session, quality)
        value = quality.of_front(archive.costs)
        rows, values = np.r_[rows, archive.rows], np.r_[values, value]
        seconds = clock(run.session, rows)
        seconds[-1] = run.result.seconds
        ends = sign * value / scale, rows, seconds, sign * values / scale
        traces.append(Trace(run.name, run.seed, run.result, *ends))
    best = sign * quality.best / scale
    return Comparison(problem_name(problem), goal, budget, seeds, tuple(traces), refused, best, notes)


def _steps(session: Session, quality: Quality) -> tuple[Array, Array]:
    """Scored rows and quality: at every improvement, or for several objectives at checkpoints."""
    incumbents = session.archive.incumbents
    if session.goal.single:
        ids = np.array([i for i, _ in incumbents], np.int64)
        return rows_before(session, ids) + 1, np.array([c for _, c in incumbents], float)
    if session.streamed is not None:
        return np.empty(0, np.int64), np.empty(0)
    return quality.over_rows(session, CHECKPOINTS)


def _clock(session: Session, rows: Array) -> Array:
    """Seconds of the search after so many scored rows."""
    marks = np.array([(0, session.began_at), *((n, t) for _, n, t in session.marks)], float)
    seconds: Array = np.interp(rows, marks[:, 0], marks[:, 1]) - session.began_at
    return seconds
