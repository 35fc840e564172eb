"""Two levels: an outer search over dear variables, an inner solver over the rest for each setting.

Outer variables are those a problem marks `slow`, or those a view leaves undecided. The inner solver is
the first of exhaustive, gittins, packing and milp that takes the problem with the outer ones fixed. A
slow part that the problem keeps by its arguments is so computed once for a whole inner search.

Of a long inner enumeration only rows that can answer are recorded: those that no other is as good as in
all objectives and limited metrics, whatever the limits are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import TradespaceError
from ..problems.batch import Batch, take
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.scoring import Scores, evaluate
from .base import AskTell, Budget, Certificate, Chunks, OneShot, Run, once
from .partial import free_variables, undecided
from .views import jobs_view, milp_view, packing_view

Array = npt.NDArray[Any]
INNER = ("exhaustive", "gittins", "packing", "milp")
INNER_ROWS = 1_000_000
OUTER_POINTS = 4_096
LEAST_OUTER = 4
IDLE_ASKS = 100
ASKED = 4_096
RECORDED_ROWS = 20_000
"""Rows of an inner enumeration above which only those that can answer are recorded."""
MOST_KEPT = 20_000
"""Rows that answer all bounds above which only those that answer the goal as it stands are recorded."""
SHOWN_FAILURES = 16


class Nested(OneShot):
    """An ask/tell search over the slow or undecided variables, the rest solved for each of its points."""

    name: ClassVar[str] = "nested"

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses problems without two levels, and budgets for fewer than a few outer points."""
        found = levels(problem, goal, budget)
        return found if isinstance(found, str) else None

    def prepare(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> Levels:
        """The two levels."""
        found = levels(problem, goal, budget)
        assert isinstance(found, Levels)
        return found

    def solve(self, run: Run) -> Certificate:
        """All settings of the outer level where they are few, else a search of them."""
        two = self.prepare(run.problem, run.goal, run.budget)
        outer = two.outer_problem(run.problem)
        size, most = outer.space.size, run.budget.evaluations
        self.search = InnerSearch(run, two, outer)
        names = ", ".join(two.outer)
        run.note(f"outer level {names}; inner level {', '.join(two.inner)} by {two.solver}")
        every = size is not None and size <= OUTER_POINTS and (most is None or size * two.rows <= most)
        if every:
            finished = self._enumerate(outer)
        else:
            finished = False
            self._search(outer)
        return self.search.certificate(names, finished)

    def _enumerate(self, outer: Problem) -> bool:
        """Every setting, in an order of chance: where time ends first, what was tried is spread."""
        chunks = outer.space.enumerate(ASKED)
        rng = np.random.default_rng(self.search.run.seed)
        for index in range(len(chunks)):
            batch = chunks.chunk(index)
            batch = take(batch, rng.permutation(len(batch)))
            if self.search.score(batch) < len(batch):
                return False
        return True

    def _search(self, outer: Problem) -> None:
        """The driver's ask/tell loop, a point's scores being those of its best inner point."""
        from .portfolio import make, sampling_order

        run, two = self.search.run, self.search.levels
        points = None if run.budget.evaluations is None else max(1, run.budget.evaluations // two.rows)
        budget = replace(run.budget, evaluations=points)
        solver = make(sampling_order(outer, run.goal, budget)[0])
        assert isinstance(solver, AskTell)
        facade = Facade(run, outer, budget)
        if run.start is not None:
            start = run.problem.space.points(run.start)[0]
            facade.start = outer.space.batch({n: start[n] for n in two.outer})
        solver.begin(facade)
        idle = 0
        while not solver.done and idle < IDLE_ASKS:
            batch = solver.ask(ASKED if points is None else max(1, points - self.search.solved))
            before = self.search.solved
            if not len(batch) or self.search.score(batch) < len(batch):
                return
            solver.tell(batch, self.search.scores(batch))
            idle = idle + 1 if self.search.solved == before else 0


@dataclass(frozen=True)
class Levels:
    """Names of the outer and the inner variables, the inner solver, its rows a setting, one sample."""

    outer: tuple[str, ...]
    inner: tuple[str, ...]
    solver: str
    rows: int
    sample: dict[str, Any]

    def outer_problem(self, problem: Problem) -> Problem:
        """The problem with the inner variables fixed: the space that the outer solver sees."""
        return problem.fix(**{n: self.sample[n] for n in self.inner})

    def inner_problem(self, problem: Problem) -> Problem:
        """The problem with the outer variables fixed as they are in the sample."""
        return problem.fix(**{n: self.sample[n] for n in self.outer})


def levels(problem: Problem, goal: ResolvedGoal, budget: Budget) -> Levels | str:
    """The two levels of a problem, or why it has none that suit the goal and the budget; found once."""
    return once(problem, (Nested, goal, budget), lambda: _levels(problem, goal, budget))


def _levels(problem: Problem, goal: ResolvedGoal, budget: Budget) -> Levels | str:
    outer = outer_variables(problem)
    if not outer:
        return "no variable is marked slow and no view decides only a part"
    space = problem.space
    inner = tuple(n for n in free_variables(problem) if n not in outer)
    if not inner:
        return f"all variables are slow ({', '.join(outer)}), so nothing is left to search within"
    for name in outer:
        parent = next((c.parent for c in space.conditions[name] if c.parent in inner), None)
        if parent is not None:
            return f"'{name}' belongs to the outer level, but is active only for some '{parent}'"
    sample = space.points(space.sample(np.random.default_rng(0), 1))[0]
    fixed = problem.fix(**{n: sample[n] for n in outer})
    found, refusals = inner_solver(fixed, goal, budget)
    if found is None:
        return f"nothing solves the inner level ({'; '.join(refusals)})"
    rows = fixed.space.size if found == "exhaustive" else 1
    if budget.evaluations is not None and rows is not None and rows * LEAST_OUTER > budget.evaluations:
        return (
            f"one inner sweep takes {rows:,} rows; the budget of {budget.evaluations:,} evaluations has "
            f"no room for {LEAST_OUTER} of them"
        )
    two = Levels(outer, inner, found, rows or 1, sample)
    settings = two.outer_problem(problem).space.size
    if (
        (settings is None or settings > OUTER_POINTS)
        and budget.evaluations is None
        and budget.seconds is None
    ):
        return "a search of the outer level has no end; give a budget of evaluations or seconds"
    return two


def outer_variables(problem: Problem) -> tuple[str, ...]:
    """Free variables marked slow, else those that the first partial view leaves undecided."""
    marked = tuple(n for n in free_variables(problem) if n in problem.slow)
    if marked:
        return marked
    jobs = jobs_view(problem, free=True)
    if jobs is not None and (left := undecided(problem, (jobs.decides,))):
        return left
    for view in (packing_view(problem, free=True), milp_view(problem, free=True)):
        if view is not None and (left := undecided(problem, view.decides)):
            return left
    return ()


def sifted(inner: Problem) -> bool:
    """Whether of an enumeration of the inner problem only rows that can answer are recorded."""
    return inner.cost == "fast" and (inner.space.size or 0) > RECORDED_ROWS


def answers_recorded(problem: Problem, goal: ResolvedGoal, budget: Budget) -> bool:
    """Whether a nested run of the problem enumerates and sifts every inner level, so that of the settings
    it tried its rows answer any bound on the goal's metrics."""
    two = levels(problem, goal, budget)
    return isinstance(two, Levels) and two.solver == "exhaustive" and sifted(two.inner_problem(problem))


def inner_solver(fixed: Problem, goal: ResolvedGoal, budget: Budget) -> tuple[str | None, list[str]]:
    """The solver of the inner level, or None and why each refused."""
    from .portfolio import make

    refusals: list[str] = []
    for name in INNER:
        solver = make(name)
        rows = min(INNER_ROWS, budget.evaluations or INNER_ROWS)
        try:
            refused = solver.accepts(fixed, goal, replace(budget, evaluations=rows))
        except TradespaceError as error:
            refused = str(error)
        if refused is None:
            return name, refusals
        refusals.append(f"{name}: {refused}")
    return None, refusals


class Facade:
    """The run as a level sees it: another problem, the same record and time."""

    def __init__(self, run: Run, problem: Problem, budget: Budget) -> None:
        self.run, self.problem, self.budget = run, problem, budget
        self.goal, self.seed = run.goal, run.seed
        self.start: Batch | None = None
        self.interrupted = False
        self.keep_all = run.keep_all
        self.cut = False
        self.seen: list[tuple[Array, Array, Scores]] = []
        self._best: tuple[float, dict[str, Any], dict[str, float]] | None = None

    def score(self, batch: Batch) -> Scores:
        """Score points of the level as points of the whole problem."""
        whole = self.run.problem.space.batch(batch)
        scores = self.run.score(whole)
        costs = self.goal.costs(scores.metrics)
        violation = np.where(scores.failed, np.inf, self.goal.violation(scores.metrics))
        self.seen.append((costs, violation, scores))
        feasible = np.flatnonzero(violation <= 0)
        if len(feasible):
            row = int(feasible[np.argmin(costs[feasible, 0])])
            if self._best is None or costs[row, 0] < self._best[0]:
                point = self.problem.space.points(take(batch, np.array([row])))[0]
                metrics = {n: float(v[row]) for n, v in scores.metrics.items()}
                self._best = float(costs[row, 0]), point, metrics
        return scores

    def sweep(self, chunks: Chunks) -> None:
        """Score an enumeration, chunk by chunk, while time is left."""
        if sifted(self.problem) and not self.keep_all:
            self._sift(chunks)
            return
        for index in range(len(chunks)):
            left = self.seconds_left
            if left is not None and left <= 0:
                self.cut = True
                return
            self.score(chunks.chunk(index))

    def _sift(self, chunks: Chunks) -> None:
        """Score an enumeration and record what no other row is as good as in all that a goal may ask."""
        from moocore import is_nondominated

        kept: list[Batch] = []
        columns = len(self.goal.objectives)
        whole, narrow = slice(None, -1), [*range(columns), -1]
        by: Any = whole
        best = np.empty((0, 0))
        scored = 0
        for index in range(len(chunks)):
            left = self.seconds_left
            if left is not None and left <= 0:
                self.cut = True
                break
            batch = chunks.chunk(index)
            scores = evaluate(self.problem, batch)
            asked = self._asked(scores)
            able = np.flatnonzero(~scores.failed & np.isfinite(asked).all(axis=1))
            best = np.concatenate([best.reshape(-1, asked.shape[1]), asked[able]])
            kept.append(take(batch, able))
            mask = np.asarray(is_nondominated(best[:, by], keep_weakly=False))
            if by is whole and mask.sum() > MOST_KEPT:
                by = narrow
                mask = np.asarray(is_nondominated(best[:, by], keep_weakly=False))
            starts = np.cumsum([0, *map(len, kept)])
            kept = [
                take(part, np.flatnonzero(mask[a:b]))
                for part, a, b in zip(kept, starts[:-1], starts[1:], strict=True)
                if mask[a:b].any()
            ]
            best = best[mask]
            scored += len(batch)
        if not kept and scored:
            kept = [take(chunks.chunk(0), slice(0, SHOWN_FAILURES))]
        for part in kept:
            self.score(part)
        self.run.passed(scored - sum(map(len, kept)))

    def _asked(self, scores: Scores) -> Array:
        """(rows, columns) to minimise: objectives, limited metrics that are none of them, violation."""
        costs = self.goal.costs(scores.metrics)
        signs = {(o.metric, o.sign) for o in self.goal.objectives}
        more = [
            limit.sign * np.asarray(scores.metrics[limit.metric], np.float64)
            for limit in self.goal.limits
            if (limit.metric, limit.sign) not in signs
        ]
        return np.column_stack([costs, *more, self.goal.violation(scores.metrics)])

    def passed(self, rows: int) -> None:
        """Count rows that were scored and are not recorded."""
        self.run.passed(rows)

    def progress(self, *, incumbent: float | None = None, bound: float | None = None) -> None:
        """An inner bound holds for one setting only, so it is not shown."""

    def note(self, sentence: str) -> None:
        """Pass a sentence on."""
        self.run.note(sentence)

    @property
    def seconds_left(self) -> float | None:
        """Wall time left of the whole run."""
        return self.run.seconds_left

    @property
    def evaluations_left(self) -> int | None:
        """Rows left of the whole run."""
        return self.run.evaluations_left

    @property
    def front_costs(self) -> Array:
        """Objectives of the nondominated feasible points of the whole run."""
        return self.run.front_costs

    @property
    def best(self) -> tuple[dict[str, Any], dict[str, float]] | None:
        """The best feasible point that this level has seen."""
        return None if self._best is None else self._best[1:]

    def chosen(self) -> tuple[dict[str, float], bool] | None:
        """Metrics of the point that stands for the level, and whether it failed.

        The feasible point nearest to the ideal one, else the one of least violation.
        """
        if not self.seen:
            return None
        costs = np.concatenate([c for c, _, _ in self.seen])
        violation = np.concatenate([v for _, v, _ in self.seen])
        feasible = np.flatnonzero(violation <= 0)
        if len(feasible):
            low, high = costs[feasible].min(axis=0), costs[feasible].max(axis=0)
            span = np.where(high > low, high - low, 1.0)
            row = int(feasible[np.argmin((((costs[feasible] - low) / span) ** 2).sum(axis=1))])
        else:
            row = int(np.argmin(violation))
        for part, _, scores in self.seen:
            if row < len(part):
                return {n: float(v[row]) for n, v in scores.metrics.items()}, bool(scores.failed[row])
            row -= len(part)
        return None


class InnerSearch:
    """Inner answers by outer point, each found once."""

    def __init__(self, run: Run, levels: Levels, outer: Problem) -> None:
        self.run, self.levels, self.outer = run, levels, outer
        self.answers: dict[int, tuple[dict[str, float], bool]] = {}
        self.certificates: list[Certificate] = []

    @property
    def solved(self) -> int:
        """Outer points whose inner level was solved."""
        return len(self.answers)

    def score(self, batch: Batch) -> int:
        """Solve the inner level of each outer point; how many rows are answered before the budget ends."""
        space = self.outer.space
        for row, key in enumerate(space.hashes(batch).tolist()):
            if key in self.answers:
                continue
            rows, left = self.run.evaluations_left, self.run.seconds_left
            if (rows is not None and rows < self.levels.rows) or (left is not None and left <= 0):
                return row
            self._solve(key, space.points(take(batch, np.array([row])))[0])
        return len(batch)

    def _solve(self, key: int, point: dict[str, Any]) -> None:
        from .portfolio import make

        fixed = self.run.problem.fix(**{n: point[n] for n in self.levels.outer})
        budget = replace(self.run.budget, evaluations=None)
        facade = Facade(self.run, fixed, budget)
        solver = make(self.levels.solver)
        assert isinstance(solver, OneShot)
        refused = solver.accepts(fixed, self.run.goal, replace(budget, evaluations=INNER_ROWS))
        if refused is not None:
            self.run.note(f"the inner level refuses some settings: {refused}")
            self.answers[key] = (dict.fromkeys(fixed.metrics, np.nan), True)
            self.certificates.append(Certificate.none(refused))
            return
        certificate = solver.solve(facade)
        self.run.interrupted |= facade.interrupted
        chosen = facade.chosen()
        self.answers[key] = chosen or (dict.fromkeys(fixed.metrics, np.nan), True)
        if facade.cut:
            certificate = Certificate.none("out of time")
        elif chosen is not None and self.run.goal.single:
            value = chosen[0][self.run.goal.objectives[0].metric]
            certificate = certificate.against(value, self.run.budget.proven_gap)
        self.certificates.append(certificate)
        if facade.interrupted:
            raise KeyboardInterrupt

    def scores(self, batch: Batch) -> Scores:
        """What the outer solver is told of its points."""
        found = [self.answers[key] for key in self.outer.space.hashes(batch).tolist()]
        metrics = {n: np.array([m[n] for m, _ in found]) for n in self.outer.metrics}
        return Scores(metrics, {}, np.array([failed for _, failed in found]), {})

    def certificate(self, names: str, finished: bool) -> Certificate:
        """What is known: proven for each outer point, or for all where all were tried."""
        proven = [c for c in self.certificates if c.kind == "proven" and c.exact]
        count = len(self.certificates)
        inner = f"the rest is proven for {len(proven):,} of {count:,}"
        if finished and count == len(proven):
            infeasible = all(c.infeasible for c in proven)
            return replace(
                Certificate.proven(f"all {count:,} settings of {names}, the rest proven for each"),
                infeasible=infeasible,
            )
        if finished:
            return Certificate.none(f"all {count:,} settings of {names} tried; {inner}")
        settings = f"{count:,} setting{'s' if count != 1 else ''}"
        return Certificate.none(f"{settings} of {names} tried; {inner}; other settings were not tried")
