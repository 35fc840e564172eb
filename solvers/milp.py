"""Mixed-integer programming over a problem's MILP view, checked against the referee.

One objective: one solve, its bound the certificate. Two: a lexicographic epsilon sweep that steps just
below the last value, so that every efficient point is found and none is only weakly efficient.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from .. import units
from ..errors import ViewMismatch
from ..problems.batch import Batch, take
from ..problems.goal import Limit, Objective, ResolvedGoal
from ..problems.problem import Problem
from .base import PROVEN_GAP, Budget, Certificate, OneShot, Run
from .highs import Outcome, minimize
from .linear import Constraint, Row
from .partial import undecided
from .views import CheckedView, milp_view

SWEEP_STEP, STEP_OF_RANGE = 1e-6, 1e-4
SLACK, ROUNDING = 1e-9, 1e-12
WARM_ROWS = 256
CHECKED_ROWS = 32
PROBED_ROWS, PROBED_ENTRIES = 64, 3
REPAIRS = 6


class Milp(OneShot):
    """HiGHS on the problem's MILP view."""

    name: ClassVar[str] = "milp"

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses goals that the view does not express."""
        view = milp_view(problem)
        if view is None:
            return "the problem has no MILP view"
        if view.decides is not None and undecided(problem, view.decides):
            return f"the view decides only {', '.join(view.decides)}"
        if len(goal.objectives) > 2:
            return f"the sweep takes one or two objectives, not {len(goal.objectives)}"
        for objective in goal.objectives:
            if objective.metric not in view.metrics:
                return f"the view does not express '{objective.metric}'"
            if objective.metric in view.upper and objective.direction == "max":
                return f"'{objective.metric}' is an upper bound in the view, so it cannot be maximised"
        for limit in goal.limits:
            if limit.metric not in view.metrics:
                return f"the view does not express the limit on '{limit.metric}'"
            if limit.metric in view.upper and limit.sense == ">=":
                return f"'{limit.metric}' is an upper bound in the view, so it cannot be limited from below"
        CheckedView.of(problem)
        return None

    def prepare(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> CheckedView:
        """The view, checked."""
        view = CheckedView.of(problem)
        assert view is not None
        return view

    def solve(self, run: Run) -> Certificate:
        """Warm start, solve, check."""
        self.run, self.view = run, self.prepare(run.problem, run.goal, run.budget)
        self.gap = run.budget.gap if run.budget.gap else PROVEN_GAP
        start = self._warm_start()
        if run.goal.single:
            return self._single(run.goal.objectives[0], start)
        return self._sweep(start)

    def _warm_start(self) -> np.ndarray | None:
        """Column values of the best feasible of the start and a short random sweep.

        The feasible points are also encoded and checked: a view that forbids one is wrong.
        """
        run, space = self.run, self.run.problem.space
        count = 0
        if run.problem.cost == "fast":
            count = (
                WARM_ROWS if run.budget.evaluations is None else min(WARM_ROWS, run.budget.evaluations // 4)
            )
        if count:
            draws = space.sample(np.random.default_rng([run.seed, 0xA11]), count)
            self._check(draws)
        best = run.best
        return self.view.encode(best[0]) if best is not None else None

    def _check(self, batch: Batch) -> None:
        """Score points; the view must hold those that are feasible."""
        scores = self.run.score(batch)
        feasible = np.flatnonzero((self.run.goal.violation(scores.metrics) <= 0) & ~scores.failed)
        for row in feasible[:CHECKED_ROWS]:
            self.view.check_encoding(take(batch, slice(row, row + 1)), self.run.goal)

    def _probe(self) -> None:
        """Score and check points around the answer: the view must hold them, and none may beat its bound."""
        run, best = self.run, self.run.best
        left = run.evaluations_left
        rows = PROBED_ROWS if left is None else min(PROBED_ROWS, left)
        if run.problem.cost == "slow" or best is None or rows <= 0:
            return
        space, rng = run.problem.space, np.random.default_rng([run.seed, 0xB22])
        draws, answer = space.sample(rng, rows), space.batch(best[0])
        share = PROBED_ENTRIES / max(PROBED_ENTRIES, space.scalars)
        columns = {}
        for name, domain in space.domains.items():
            changed = rng.random((rows, *domain.shape, *(1 for _ in domain.item))) < share
            columns[name] = np.where(changed, draws.__columns__[name], answer.__columns__[name])
        self._check(space.canonical(columns, rows))

    def _constraints(self, limits: tuple[Limit, ...]) -> list[Constraint]:
        rows = []
        for limit in limits:
            if np.isfinite(limit.bound):
                row = self.view.linear.metrics[limit.metric]
                rows.append(
                    Constraint(row, upper=limit.bound)
                    if limit.sense == "<="
                    else Constraint(row, lower=limit.bound)
                )
        return rows

    def _minimize(
        self,
        objective: Objective,
        constraints: list[Constraint],
        start: np.ndarray | None,
        *,
        show: bool = False,
        series: bool = False,
    ) -> Outcome:
        row = self.view.linear.metrics[objective.metric]
        signed = Row(objective.sign * row.coefficients, objective.sign * row.constant)

        def watch(incumbent: float | None, bound: float | None) -> None:
            self.run.progress(
                incumbent=None if incumbent is None else objective.sign * incumbent,
                bound=None if bound is None else objective.sign * bound,
            )

        outcome = minimize(
            self.view.linear,
            signed,
            constraints,
            gap=self.gap,
            seconds=self.run.seconds_left,
            seed=self.run.seed,
            start=start,
            watch=watch if show else None,
            series=series,
        )
        if outcome.unbounded:
            raise ViewMismatch(
                f"the MILP view of {type(self.run.problem).__name__} lets '{objective.metric}' be "
                f"{'minimised' if objective.sign > 0 else 'maximised'} without end; a bound is missing."
            )
        if outcome.interrupted:
            self.run.interrupted = True
        return outcome

    def _single(self, objective: Objective, start: np.ndarray | None) -> Certificate:
        goal = self.run.goal
        outcome = self._minimize(objective, self._constraints(goal.limits), start, show=True)
        if outcome.infeasible:
            return self._infeasible(goal)
        bound = None if outcome.bound is None else objective.sign * outcome.bound
        if outcome.x is not None:
            self._accept(outcome, objective, goal.limits, start)
        if bound is None:
            early = outcome.ending in {"", "out of time", "interrupted"}
            return Certificate.none("no bound was reached in the time given" if early else outcome.ending)
        self._probe()
        best = self.run.best
        if best is not None and outcome.x is not None:
            noise = ROUNDING * self.view.linear.metrics[objective.metric].size(outcome.x)
            if abs(bound - best[1][objective.metric]) <= noise:
                bound = best[1][objective.metric]
        self.run.progress(bound=bound)
        return self._certificate(objective, bound)

    def _certificate(self, objective: Objective, bound: float) -> Certificate:
        word = "below" if objective.direction == "min" else "above"
        own = "" if self.view.view.exact else " (the view's own bound: it approximates the referee)"
        shown = units.show(bound, objective.unit, 6)
        statement = f"no point has {objective.metric} {word} {shown}{own}"
        exact = self.view.view.exact
        return Certificate("bound" if exact else "none", bound, None, statement, exact=exact)

    def _accept(
        self, outcome: Outcome, objective: Objective, limits: tuple[Limit, ...], start: np.ndarray | None
    ) -> bool:
        """Score the answer; where rounding left it a hair outside a limit, tighten and solve again."""
        tightened = limits
        for _ in range(REPAIRS):
            assert outcome.x is not None
            if self.run.evaluations_left == 0:
                self.run.note("the evaluations were spent before the answer of the MILP view could be scored")
                return False
            scores = self.view.check_answer(outcome.x, self.run)
            if not self.view.view.exact:
                return True
            metrics = {n: float(v[0]) for n, v in scores.metrics.items()}
            over = {v: float(v.excess(np.array(metrics[v.metric]))) for v in limits}
            if not any(over.values()):
                return True
            tightened = tuple(
                replace(now, bound=now.bound - now.sign * 2 * over[was]) if over[was] else now
                for now, was in zip(tightened, limits, strict=True)
            )
            outcome = self._minimize(objective, self._constraints(tightened), start)
            if outcome.x is None:
                return False
        return False

    def _infeasible(self, goal: ResolvedGoal) -> Certificate:
        """Which limits conflict, and the least value each could take while the others hold."""
        run, exact = self.run, self.view.view.exact
        if run.best is not None and exact:
            raise ViewMismatch(
                f"the MILP view of {type(run.problem).__name__} calls the goal infeasible, but the "
                f"referee has a feasible point: {run.best[1]}."
            )
        if run.best is not None:
            return Certificate.none(
                "the view, which approximates the referee, has no point within the limits"
            )
        sentences = []
        alone = False
        for limit in goal.limits:
            objective = Objective(limit.metric, "min" if limit.sense == "<=" else "max", limit.unit)
            others = tuple(v for v in goal.limits if v is not limit)
            word = "least" if limit.sense == "<=" else "largest"
            outcome = self._minimize(objective, self._constraints(others), None)
            held = ", with the other limits held" if others else ""
            if outcome.infeasible and others:
                outcome = self._minimize(objective, [], None)
                held = ", with no other limit"
            alone |= outcome.infeasible
            if outcome.x is None or outcome.ending:
                continue
            if run.evaluations_left != 0:
                self.view.check_answer(outcome.x, run)
            value = self.view.linear.metrics[limit.metric].value(outcome.x)
            if limit.sign * (value - limit.bound) > 0:
                reach = units.show(value, limit.unit, 6)
                sentences.append(
                    f"'{limit}' cannot be met: the {word} reachable {limit.metric} is {reach}{held}"
                )
            else:
                sentences.append(f"'{limit}' alone can be met")
        if alone or not goal.limits:
            sentences = ["the view has no feasible point whatever the limits"]
        said = (
            f"no point meets the limits: {'; '.join(sentences)}" if sentences else "no point meets the limits"
        )
        if run.best is not None:
            return Certificate.none(
                "HiGHS calls the view infeasible, but what it found on the way is feasible"
            )
        return Certificate("proven" if exact else "none", statement=said, exact=exact, infeasible=True)

    def _sweep(self, start: np.ndarray | None) -> Certificate:
        first, second = self.run.goal.objectives
        limits = self._constraints(self.run.goal.limits)
        row = {o: self.view.linear.metrics[o.metric] for o in (first, second)}
        proven, widest = True, 0.0
        reached: list[float] = []
        found: list[list[float]] = []
        extra: list[Constraint] = []
        while True:
            if self.run.evaluations_left == 0:
                return self._stopped("the evaluations are spent", len(reached))
            outcome = self._minimize(first, [*limits, *extra], start, series=True)
            if outcome.infeasible:
                if not reached:
                    return self._infeasible(self.run.goal)
                break
            if outcome.x is None or outcome.ending:
                return self._stopped(outcome.ending or "no answer", len(reached))
            best = row[first].value(outcome.x)
            slack = SLACK * row[first].size(outcome.x)
            held = _at_least_as_good(first, row[first], best, slack)
            again = self._minimize(second, [*limits, *extra, held], outcome.x, series=True)
            if again.x is None or again.ending:
                return self._stopped(again.ending or "HiGHS takes its own answer back", len(reached))
            if outcome.bound is not None:
                proven &= (
                    abs(best - first.sign * outcome.bound) <= self.gap * max(abs(best), 1e-300) + 2 * slack
                )
            now = row[second].value(again.x)
            if reached and second.sign * (now - reached[-1]) >= 0:
                return self._stopped(f"'{second.metric}' no longer improves", len(reached))
            proven &= self._accept(again, second, self.run.goal.limits, None)
            reached.append(now)
            found.append([o.sign * row[o].value(again.x) for o in (first, second)])
            step = max(SWEEP_STEP * abs(now), 4 * row[second].tolerance(now))
            widest = max(widest, step)
            extra = [_at_least_as_good(second, row[second], now - second.sign * step, 0.0)]
            start = None
            self.run.progress(incumbent=best)
        if not self.view.view.exact:
            return Certificate.none(
                f"all {len(reached)} efficient points of the view, which approximates the referee"
            )
        self._probe()
        front = self.run.front_costs
        self._check_front(front, np.array(found))
        apart = units.show(widest, second.unit, 2)
        statement = (
            f"all {len(front)} efficient points more than {apart} apart in {second.metric}, each within "
            f"{self.gap:g} of its bound"
        )
        proven &= widest <= STEP_OF_RANGE * (max(reached) - min(reached)) or len(reached) == 1
        return Certificate.proven(statement) if proven else Certificate.none(statement)

    def _stopped(self, why: str, points: int) -> Certificate:
        return Certificate.none(f"the sweep of the front stopped ({why}) after {points} efficient points")

    def _check_front(self, front: np.ndarray, found: np.ndarray) -> None:
        """Raises ViewMismatch where a point that the run knows beats all that the view found.

        front, found: (members, 2) costs of the known front and of the view's own points.
        """
        allowed = max(2 * SWEEP_STEP, self.gap) * np.maximum(np.abs(front), np.abs(found).max(axis=0))
        covered = (found[None] <= (front + allowed)[:, None]).all(axis=2).any(axis=1)
        if not covered.all():
            goal, beyond = self.run.goal, front[~covered][0]
            shown = ", ".join(
                f"{o.metric} {o.sign * v:.9g}" for o, v in zip(goal.objectives, beyond, strict=True)
            )
            raise ViewMismatch(
                f"{type(self.run.problem).__name__}: a point with {shown} lies beyond the front of the MILP "
                "view; the view forbids points that the referee allows."
            )


def _at_least_as_good(objective: Objective, row: Row, value: float, slack: float) -> Constraint:
    if objective.direction == "min":
        return Constraint(row, upper=value + slack)
    return Constraint(row, lower=value - slack)
