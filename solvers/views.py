"""Views of a problem, built once; MILP views are checked: an answer, an encoding and a bound are compared
with the referee both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError, ViewMismatch
from ..problems.batch import Batch
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.scoring import Scores, evaluate
from ..problems.views import JobsView, MilpView, PackingView
from .base import PROVEN_GAP, Run, once
from .highs import minimize
from .linear import compile_model

Array = npt.NDArray[Any]
RELATIVE, ABSOLUTE = 1e-6, 1e-9
ROW_TOLERANCE = 1e-6


def milp_view(problem: Problem, *, free: bool = False) -> MilpView | None:
    """The problem's MILP view for what is fixed of it (free: as if nothing were), built once."""
    given = _given(problem, free)
    return once(problem, ("milp_view", *given), lambda: problem.milp_view(**given))


def packing_view(problem: Problem, *, free: bool = False) -> PackingView | None:
    """The problem's packing view for what is fixed of it (free: as if nothing were), built once."""
    given = _given(problem, free)
    return once(problem, ("packing_view", *given), lambda: problem.packing_view(**given))


def jobs_view(problem: Problem, *, free: bool = False) -> JobsView | None:
    """The problem's jobs view for what is fixed of it (free: as if nothing were), built once."""
    given = _given(problem, free)
    return once(problem, ("jobs_view", *given), lambda: problem.jobs_view(**given))


def _given(problem: Problem, free: bool) -> dict[str, Any]:
    """Arguments of a view's method; a view that takes none serves where nothing is fixed."""
    return {"given": problem._pins} if problem._pins and not free else {}


class CheckedView:
    """A MILP view, its arrays, and the checks that make it trustworthy."""

    def __init__(self, problem: Problem, view: MilpView) -> None:
        self.problem, self.view = problem, view
        unknown = next((n for n in view.metrics if n not in problem.metrics), None)
        if unknown is not None:
            raise ViewMismatch(
                f"the MILP view of {self.name} expresses '{unknown}', which is no metric of it."
            )
        self.linear = compile_model(view.model, view.metrics)
        self._initial = [v.value for v in self.linear.variables]

    @classmethod
    def of(cls, problem: Problem) -> CheckedView | None:
        """The problem's MILP view, read once; None where it has none.

        Raises ViewMismatch or GoalError where the view is no linear model of the problem's metrics.
        """
        view = milp_view(problem)
        return None if view is None else once(problem, "checked milp_view", lambda: cls(problem, view))

    @property
    def name(self) -> str:
        """The problem's class."""
        return type(self.problem).__name__

    def encode(self, point: Mapping[str, Any]) -> Array | None:
        """Column values for a point; None where the view leaves some unset."""
        x, _ = self._encoded(self._user_values(point))
        return None if np.isnan(x).any() else x

    def _encoded(self, point: Mapping[str, Any]) -> tuple[Array, Mapping[str, Any] | None]:
        """Column values for a point and the point they stand for; nothing is left of earlier points."""
        for variable, value in zip(self.linear.variables, self._initial, strict=True):
            variable.set_value(value, skip_validation=True)
        stands_for = self.view.encode(point)
        return self.linear.read(), stands_for

    def _user_values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        space = self.problem.space
        return space.points(space.batch(point))[0]

    def _decisions(self) -> Array:
        """Columns that hold decisions: integers, and variables named after the problem's own."""
        names = self.problem.space.domains
        own = [v.parent_component().local_name in names for v in self.linear.variables]
        return np.asarray(self.linear.integer | np.array(own, bool))

    def settle(self, x: Array) -> dict[str, tuple[float, float]]:
        """With the decisions of x fixed, the least value of each epigraph metric and its rounding size."""
        fixed = {int(i): float(x[i]) for i in np.flatnonzero(self._decisions())}
        settled = {}
        for metric in self.view.upper:
            row = self.linear.metrics[metric]
            outcome = minimize(self.linear, row, [], gap=0.0, start=x, fixed=fixed)
            if outcome.interrupted:
                raise KeyboardInterrupt
            if outcome.infeasible:
                raise ViewMismatch(
                    f"the MILP view of {self.name} has no solution at its own answer ('{metric}')."
                )
            least = x if outcome.x is None else outcome.x
            settled[metric] = (row.value(least), row.size(least))
        return settled

    def metrics_at(self, x: Array) -> dict[str, tuple[float, float]]:
        """Each metric of the view at x, epigraphs settled: value and the size it is rounded to."""
        return {n: (row.value(x), row.size(x)) for n, row in self.linear.metrics.items()} | self.settle(x)

    def compare(self, x: Array, scores: Scores, row: int, point: Mapping[str, Any]) -> None:
        """Raises ViewMismatch where a metric of the view and of the referee differ."""
        for name, (value, size) in self.metrics_at(x).items():
            referee = float(scores.metrics[name][row])
            allowed = RELATIVE * max(abs(value), abs(referee)) + ABSOLUTE * size
            if not abs(value - referee) <= allowed:
                shown = ", ".join(f"{k}={v!r}"[:60] for k, v in list(point.items())[:4])
                raise ViewMismatch(
                    f"{self.name}: the MILP view and the referee disagree on '{name}': view {value:.9g}, "
                    f"referee {referee:.9g} (at {shown})."
                )

    def check_answer(self, x: Array, run: Run) -> Scores:
        """Decode, score and compare an answer of the solver."""
        self.linear.write(x)
        decoded = self.view.decode()
        try:
            batch = self.problem.space.batch(decoded)
        except SpaceError as error:
            raise ViewMismatch(
                f"{self.name}: the MILP view decodes to a point outside the space: {error}"
            ) from None
        scores = run.score(batch)
        if scores.failed[0]:
            raise ViewMismatch(f"{self.name}: the referee fails at the point that the MILP view decodes to.")
        if self.view.exact:
            self.compare(x, scores, 0, decoded)
        return scores

    def check_encoding(self, batch: Batch, goal: ResolvedGoal) -> None:
        """Encode one referee-feasible point: the view must hold it, or one at least as good.

        Raises ViewMismatch where the view forbids it or differs on a metric.
        """
        point = self.problem.space.points(batch)[0]
        x, stands_for = self._encoded(point)
        if np.isnan(x).any():
            unset = self.linear.variables[int(np.flatnonzero(np.isnan(x))[0])].name
            raise ViewMismatch(f"{self.name}: encode leaves the view's variable '{unset}' unset.")
        shown = ", ".join(f"{k}={v!r}"[:60] for k, v in list(point.items())[:4])
        if self.linear.violation(x) > ROW_TOLERANCE:
            raise ViewMismatch(
                f"{self.name}: the MILP view forbids a point that the referee allows ({shown})."
            )
        if not self.view.exact:
            return
        if stands_for is None:
            self.compare(x, evaluate(self.problem, batch), 0, point)
            return
        both = self.problem.space.batch([point, dict(stands_for)])
        scores = evaluate(self.problem, both)
        self.compare(x, scores, 1, stands_for)
        costs, violation = goal.costs(scores.metrics), goal.violation(scores.metrics)
        worse = costs[1] - costs[0] > RELATIVE * np.maximum(np.abs(costs[0]), np.abs(costs[1]))
        if worse.any() or violation[1] > violation[0] + PROVEN_GAP:
            raise ViewMismatch(
                f"{self.name}: encode stands a worse point in for one that the referee allows ({shown})."
            )


def check_bound(problem: Problem, goal: ResolvedGoal, bound: float, best: float) -> None:
    """Raises ViewMismatch where a referee-feasible value beats an exact view's bound."""
    objective = goal.objectives[0]
    beyond = objective.sign * (bound - best)
    if beyond > RELATIVE * max(abs(bound), abs(best)):
        raise ViewMismatch(
            f"{type(problem).__name__}: a point with {objective.metric} {best:.9g} beats the MILP view's "
            f"bound {bound:.9g}; the view forbids points that the referee allows, or its solver is wrong."
        )
