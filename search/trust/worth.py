"""What each limit of a goal is worth: the answer with the limit tighter, looser and gone.

The worth is a re-solve, by the run's own solver; where the run scored the whole space, or all of the inner
level of each setting it tried, its rows answer.
With several objectives the first is asked about, the others held where the answer has them; they are
priced like limits. Beside it stands the dual of the MILP relaxation, where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import units
from ...errors import SolverUnavailable, TradespaceError
from ...problems.goal import Goal, Limit, Objective, ResolvedGoal
from ...problems.problem import Problem
from ...solvers.base import Budget
from ...solvers.nested import answers_recorded
from ...solvers.portfolio import select
from ..run import solve
from ..session import Session
from .robustness import pace

if TYPE_CHECKING:
    from ...solvers.duals import Relaxation

SHARES = (-0.10, -0.01, 0.01, 0.10)
NO_LIMIT = math.inf
SECONDS = 10.0
HELD = 1e-9
TRUSTED = 0.20
"""How far the relaxation's hint may be off the re-solve, relative, before it is called untrustworthy."""
ATTAINED = 2e-6  # twice the gap to which a MILP is solved
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Level:
    """The answer with one bound moved. share: by which share of it (inf: without the limit).

    value: of the objective, None where nothing feasible is known. metrics: of that answer. known: how:
    "proven", "bound" or "none" by a re-solve, "rows" from recorded rows.
    """

    share: float
    bound: float
    value: float | None
    metrics: dict[str, float]
    known: str


@dataclass(frozen=True)
class Worth:
    """One limit: its slack at the answer, the answers around its bound, and the dual.

    held: whether it is an objective held at the answer's value rather than a limit. value: of the
    objective with the bound as it is; slack: what its answer leaves of the bound. price: change of the
    objective for one more unit of the bound, by the relaxation; None where no view tells. hints: share by
    which the bound is moved -> the objective that the relaxation predicts there (see `Worths._hints`).
    """

    limit: Limit
    held: bool
    slack: float
    objective: Objective
    value: float
    levels: tuple[Level, ...]
    enough: float | None
    price: float | None
    hints: Mapping[float, float] = field(default_factory=dict)

    def gain(self, share: float) -> float | None:
        """What the objective improves by (positive) with the bound moved by a share."""
        level = next((v for v in self.levels if v.share == share), None)
        if level is None or level.value is None:
            return None
        return self.objective.sign * (self.value - level.value)

    @property
    def looser(self) -> tuple[float, float]:
        """The small and the large share that loosen the limit, as its bound counts."""
        up = self.limit.sign * (1.0 if self.limit.bound > 0 else -1.0) > 0
        return (0.01, 0.10) if up else (-0.01, -0.10)

    @property
    def binding(self) -> bool:
        """Whether the answer would be better without the limit, or with it 10 % looser."""
        gains = [self.gain(NO_LIMIT), self.gain(self.looser[1])]
        return any(g is not None and g > 1e-9 * abs(self.value) for g in gains)

    @property
    def seen(self) -> bool:
        """Whether all that is known are the rows of a run that did not score the whole space."""
        return all(level.known == "rows" for level in self.levels)

    @property
    def jumps(self) -> bool:
        """Whether the answer leaves more of the bound than a step of 1 %: it moves in larger jumps."""
        return self.slack > 0.01 * abs(self.limit.bound)

    @property
    def predicted(self) -> float | None:
        """The gain that the relaxation predicts for the bound 1 % looser; None where it cannot tell."""
        moved = self.hints.get(self.looser[0])
        return None if moved is None else self.objective.sign * (self.value - moved)

    @property
    def off(self) -> float | None:
        """By how much the hint for 1 % exceeds what the re-solve gained, relative; None without either."""
        gained = self.gain(self.looser[0])
        if self.predicted is None or gained is None:
            return None
        if not self._some(gained):
            return math.inf if self._some(self.predicted) else 0.0
        return self.predicted / gained - 1

    @property
    def trusted(self) -> bool:
        """Whether the re-solve bears the relaxation's hint out."""
        return self.off is not None and abs(self.off) <= TRUSTED

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "limit": str(self.limit),
            "metric": self.limit.metric,
            "bound": self.limit.bound,
            "held_objective": self.held,
            "slack": self.slack,
            "binding": self.binding,
            "objective": self.objective.metric,
            "value": self.value,
            "enough": self.enough,
            "levels": [
                {
                    "share": None if v.share == NO_LIMIT else v.share,
                    "bound": None if v.share == NO_LIMIT else v.bound,
                    "value": v.value,
                    "known": v.known,
                }
                for v in self.levels
            ],
            "dual": self.price,
            "relaxation_predicts_1_percent_looser": self.predicted,
            "relaxation_off_re_solve": self.off,
            "relaxation_trusted": self.trusted,
        }

    def sentence(self) -> str:
        """What it is worth, in words."""
        limit, unit = self.limit, self.objective.unit
        name = f"{limit.metric.replace('_', ' ')} held at {units.show(limit.bound, limit.unit, 4)}"
        name = name if self.held else str(limit)
        beyond = self.gain(NO_LIMIT)
        small, large = (self.gain(s) for s in self.looser)
        tight, tighter = (self.gain(-s) for s in self.looser)
        less = "less" if limit.sense == "<=" else "more"
        more = "more" if limit.sense == "<=" else "less"
        target = self.objective.metric.replace("_", " ")

        def amount(share: float) -> str:
            return units.show(abs(share * limit.bound), limit.unit, 3)

        def of(gain: float) -> str:
            return f"{units.show(gain, unit, 3)} of {target}"

        parts = []
        if beyond is not None and not self._some(beyond) and not self._some(large):
            parts.append(
                "no recorded answer is better without it"
                if self.seen
                else "costs nothing: without it the answer is no better"
            )
        else:
            if small is not None and self._some(small):
                rate = self._rate(small / abs(self.looser[0] * limit.bound))
                parts.append(f"{amount(0.01)} {more} buys {of(small)}{rate}")
                parts.append(f"{amount(0.10)} {more} {of(large)}" if large is not None else "")
            elif large is not None and self._some(large):
                parts.append(f"{amount(0.01)} {more} buys nothing; {amount(0.10)} {more} {of(large)}")
            elif large is not None:
                parts.append(f"up to {amount(0.10)} {more} buys nothing")
            if beyond is not None and self._some(beyond):
                parts.append(f"without it {of(beyond)}{self._end()}")
        for gain, share in ((tight, 0.01), (tighter, 0.10)):
            if gain is None:
                parts.append(f"no answer is known with {amount(share)} {less}")
                break
            if self._some(-gain):
                parts.append(f"{amount(share)} {less} costs {of(-gain)}")
        return f"{name}: " + "; ".join(part for part in parts if part)

    def hint(self) -> str:
        """What the relaxation says of the first 1 %, and whether the re-solve bears it out."""
        unit = self.objective.unit
        if not self.binding:
            return ""
        if self.predicted is None:
            if not self.price:
                return ""
            left = units.show(self.slack, self.limit.unit, 3)
            return f"The answer leaves {left}, so it moves in jumps that the relaxation does not see"
        told = f"The relaxation predicts {units.show(self.predicted, unit, 3)} for the first 1 %"
        if self.off is None:
            return f"{told}, a local hint that no re-solve bears out"
        step = next(v for v in self.levels if v.share == self.looser[0])
        gained, proven = self.gain(step.share), "" if step.known in {"proven", "rows"} else ", not proven"
        if self.trusted:
            return f"{told} (the re-solve{proven}: {units.show(gained, unit, 3)})"
        if math.isinf(self.off):
            return f"{told}, but the re-solve{proven} gains nothing: do not go by it here"
        much = f"{1 + self.off:.3g} times" if self.off >= 1 else f"{units.percent(abs(self.off))}"
        way = "as much" if self.off >= 1 else "too much" if self.off > 0 else "too little"
        told += f", {much} {way}: the re-solve{proven} gains {units.show(gained, unit, 3)}"
        return f"{told}. Do not go by it here: the answer moves in jumps that the relaxation does not see"

    def _end(self) -> str:
        """From which bound on it buys nothing more."""
        if self.enough is None:
            return ""
        edge = "above" if self.limit.sense == "<=" else "below"
        return f" (nothing more {edge} {units.show(self.enough, self.limit.unit, 3)})"

    def _some(self, gain: float | None) -> bool:
        return gain is not None and gain > 1e-9 * max(abs(self.value), 1e-300)

    def _rate(self, slope: float) -> str:
        """The gain a unit in which people count the bound, where the bound has several of them."""
        shown = units.show(self.limit.bound, self.limit.unit, 6)
        _, _, unit = shown.partition(" ")
        try:
            one = units.parse(f"1{unit}", self.limit.unit) if unit else 0.0
        except TradespaceError:
            return ""
        if not one or abs(self.limit.bound) < 5 * one:
            return ""
        return f" ({units.show(slope * one, self.objective.unit, 3)} a {unit})"


def held_goal(goal: ResolvedGoal, answer: Mapping[str, float]) -> tuple[ResolvedGoal, tuple[Limit, ...]]:
    """The goal with its first objective alone, the others held at the answer; and those new limits."""
    first, *others = goal.objectives
    limits = {(v.metric, v.sense): v for v in goal.limits}
    added = []
    for objective in others:
        value = answer[objective.metric]
        sense = "<=" if objective.sign > 0 else ">="
        bound = value + objective.sign * HELD * abs(value)
        before = limits.get((objective.metric, sense))
        limit = Limit(objective.metric, sense, bound, objective.unit)
        if before is None or before.sign * (bound - before.bound) < 0:
            limits[objective.metric, sense] = limit
            added.append(limit)
    return ResolvedGoal((first,), tuple(limits.values())), tuple(added)


def as_goal(goal: ResolvedGoal, problem: Problem) -> Goal:
    """A resolved goal as a wish, every limit spelled out and no default left."""
    return Goal(
        tuple(o.metric for o in goal.objectives if o.direction == "min"),
        tuple(o.metric for o in goal.objectives if o.direction == "max"),
        tuple(f"{v.metric}{v.sense}{v.bound!r}" for v in goal.limits if np.isfinite(v.bound)),
        tuple(problem.metrics),
    )


class Worths:
    """Prices the limits of a run's goal at its answer."""

    def __init__(
        self,
        session: Session,
        solver: str,
        answer: Mapping[str, float],
        seconds: float = SECONDS,
        progress: Progress | None = None,
    ) -> None:
        self.session, self.solver, self.answer, self.progress = session, solver, dict(answer), progress
        self.goal, self.added = held_goal(session.goal, answer)
        budget = session.budget
        most = seconds if budget.seconds is None else min(seconds, budget.seconds)
        self.budget = Budget(budget.evaluations, most, budget.gap)
        size = session.problem.space.size
        self.whole = session.streamed is None and size is not None and len(session.table) >= size
        self.recorded = (
            self.whole
            or pace(session.problem) == "slow"
            or (solver == "nested" and answers_recorded(session.problem, session.goal, budget))
        )
        self.found: list[dict[str, float]] = []
        self.done = 0

    @property
    def limits(self) -> list[Limit]:
        """The limits that can be moved by a share: finite and not 0."""
        return [v for v in self.goal.limits if np.isfinite(v.bound) and v.bound != 0]

    @property
    def solves(self) -> int:
        """How many re-solves it takes."""
        return 0 if self.recorded else len(self.limits) * (len(SHARES) + 2) + 1

    def price(self) -> list[Worth]:
        """Every limit's worth; empty where the goal has none."""
        from ...solvers.duals import Relaxation

        if not self.limits:
            return []
        relaxation = Relaxation.of(self.session.problem, self.goal)
        relaxed = None if relaxation is None else relaxation.solve()
        here = self._at(self.goal)
        raw = {limit: [self._level(limit, share) for share in (*SHARES, NO_LIMIT)] for limit in self.limits}
        raw = {limit: [self._better(limit, v) for v in levels] for limit, levels in raw.items()}
        enough = {limit: self._enough(limit, levels[-1]) for limit, levels in raw.items()}
        objective = self.goal.objectives[0]
        answer = self.answer
        if here.value is not None and objective.sign * (here.value - answer[objective.metric]) < 0:
            answer = here.metrics
        worths = [
            Worth(
                limit,
                limit in self.added,
                limit.sign * (limit.bound - answer[limit.metric]),
                objective,
                answer[objective.metric],
                tuple(levels),
                enough[limit],
                None if relaxed is None else relaxed.prices.get(limit),
            )
            for limit, levels in raw.items()
        ]
        return [replace(v, hints=self._hints(relaxation, v)) for v in worths]

    def _hints(self, relaxation: Relaxation | None, worth: Worth) -> dict[float, float]:
        """The objective at +-1 % of a bound as the relaxation predicts it; empty where it cannot.

        Its change counts from what the answer uses of the bound, not from the bound: a discrete answer
        leaves some, which the next one may use. It is the relaxation's value over the step, which is the
        dual's line where the step meets no kink. An answer that leaves more than the step moves in
        jumps, and the relaxation does not tell when.
        """
        if relaxation is None or worth.price is None or (worth.price and worth.jumps):
            return {}
        limit = worth.limit
        start = relaxation.solve({limit: limit.bound - limit.sign * worth.slack})
        moved = {share: relaxation.solve({limit: limit.bound * (1 + share)}) for share in (-0.01, 0.01)}
        if start is None:
            return {}
        return {s: worth.value + v.value - start.value for s, v in moved.items() if v is not None}

    def _moved(self, limit: Limit, share: float) -> ResolvedGoal:
        kept = tuple(v for v in self.goal.limits if v is not limit)
        moved = replace(limit, bound=limit.bound * (1 + share)) if share != NO_LIMIT else None
        return ResolvedGoal(self.goal.objectives, (*kept, *([moved] if moved else [])))

    def _enough(self, limit: Limit, free: Level) -> float | None:
        """The tightest bound on a limited metric at which the answer is as good as without the limit."""
        objective = self.goal.objectives[0]
        if free.value is None:
            self._step()
            return None
        same = free.value + objective.sign * ATTAINED * abs(free.value)
        held = Limit(objective.metric, "<=" if objective.sign > 0 else ">=", same, objective.unit)
        others = tuple(v for v in self._moved(limit, NO_LIMIT).limits if v.metric != held.metric)
        wanted = Objective(limit.metric, "min" if limit.sense == "<=" else "max", limit.unit)
        return self._at(ResolvedGoal((wanted,), (*others, held))).value

    def _level(self, limit: Limit, share: float) -> Level:
        level = self._at(self._moved(limit, share))
        return replace(level, share=share, bound=limit.bound * (1 + share))

    def _at(self, goal: ResolvedGoal) -> Level:
        """The best answer to a goal: of a re-solve, or of the recorded rows."""
        objective, known, metrics = goal.objectives[0], "rows", self._recorded(goal)
        if not self.recorded:
            result = self._solve(goal)
            if result is not None:
                known, answer = result
                self.found.append(answer)
                if (
                    metrics is None
                    or objective.sign * (answer[objective.metric] - metrics[objective.metric]) <= 0
                ):
                    metrics = answer
            elif metrics is None:
                known = "none"
            self._step()
        elif self.whole:
            known = "proven"
        return Level(0.0, 0.0, None if metrics is None else metrics[objective.metric], metrics or {}, known)

    def _step(self) -> None:
        """One more re-solve is done."""
        self.done += 1
        if self.progress is not None and not self.recorded:
            self.progress(self.done, self.solves)

    def _solve(self, goal: ResolvedGoal) -> tuple[str, dict[str, float]] | None:
        problem = self.session.problem
        wish = as_goal(goal, problem)
        try:
            try:
                solver, _ = select(self.solver, problem, wish.resolve(problem), self.budget)
            except SolverUnavailable:
                solver, _ = select("auto", problem, wish.resolve(problem), self.budget)
            result = solve(problem, solver, wish, self.budget, seed=self.session.seed)
        except TradespaceError:
            return None
        return (result.certificate.kind, result.metrics) if result.feasible else None

    def _recorded(self, goal: ResolvedGoal) -> dict[str, float] | None:
        """Metrics of the best recorded row that meets a goal, the answer included."""
        session = self.session
        table = session.table.scores(np.arange(len(session.table)))
        columns = (
            {n: np.r_[v if len(session.table) else [], self.answer[n]] for n, v in table.metrics.items()}
            if len(session.table)
            else {n: np.array([v]) for n, v in self.answer.items()}
        )
        feasible = goal.violation(columns) <= 0
        cost = np.where(feasible, goal.costs(columns)[:, 0], np.inf)
        row = int(np.argmin(np.where(np.isnan(cost), np.inf, cost)))
        return {n: float(v[row]) for n, v in columns.items()} if np.isfinite(cost[row]) else None

    def _better(self, limit: Limit, level: Level) -> Level:
        """The level with an answer that another re-solve found, where that is better."""
        goal = self._moved(limit, level.share)
        objective = goal.objectives[0]
        for metrics in self.found:
            columns = {n: np.array([v]) for n, v in metrics.items()}
            if goal.violation(columns)[0] > 0:
                continue
            value = metrics[objective.metric]
            if level.value is None or objective.sign * (value - level.value) < 0:
                level = replace(level, value=value, metrics=metrics)
        return level
