"""The Gittins policy on a problem's jobs view: the rank table of least expected holding cost.

A job is ranked by the least expected service to be spent for each completion, over the levels at which
it may be stopped. The certificate is the theorem's: about the expectation, never about one simulation.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import SpaceError, ViewMismatch
from ..problems.gittins_rank import Array, Law, refine, stopped_rank
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.views import JobsView, dense_ranks
from .base import Budget, Certificate, OneShot, Run
from .partial import undecided
from .views import jobs_view

ASSUMPTIONS = (
    "one server, Poisson arrivals, jobs independent of each other",
    "service demands unknown until a job is done, their laws known",
    "a job may be interrupted without loss where a level of the table begins",
)


class Gittins(OneShot):
    """Exact Gittins ranks of the job classes, as dense ranks in [0, 1]."""

    name: ClassVar[str] = "gittins"

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses a goal other than the least of the view's metric without limits."""
        view = jobs_view(problem)
        if view is None:
            return "the problem has no jobs view"
        left = undecided(problem, (view.decides,))
        if left:
            return f"the view leaves {', '.join(left)} undecided"
        if not goal.single or goal.objectives[0].metric != view.metric:
            wanted = ", ".join(f"'{o.metric}'" for o in goal.objectives)
            return f"the jobs view optimises '{view.metric}', not {wanted}"
        if goal.objectives[0].direction == "max":
            return f"the jobs view minimises '{view.metric}'; it cannot be maximised"
        if goal.limits:
            return f"an index policy honours no limits, and there is one on '{goal.limits[0].metric}'"
        return None

    def prepare(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> JobsView:
        """The view."""
        view = jobs_view(problem)
        assert view is not None
        return view

    def solve(self, run: Run) -> Certificate:
        """Rank, score, and state what the theorem covers."""
        view, name = self.prepare(run.problem, run.goal, run.budget), type(run.problem).__name__
        if run.evaluations_left == 0:
            return Certificate.none("the budget has no evaluation left to score the Gittins policy")
        try:
            batch = run.problem.space.batch({**run.problem._pins, view.decides: rank_table(view).tolist()})
        except SpaceError as error:
            raise ViewMismatch(
                f"{name}: the jobs view's rank table lies outside the space: {error}"
            ) from None
        scores = run.score(batch)
        if scores.failed[0]:
            raise ViewMismatch(f"{name}: the referee fails at the Gittins policy of the jobs view.")
        assumptions = (*ASSUMPTIONS, *view.assumptions)
        sampled = [c.name for c in view.classes if not c.discrete]
        if sampled:
            statement = (
                f"the Gittins policy of laws estimated from samples ({', '.join(sampled)}): optimal in "
                "expectation if these were the laws"
            )
            return Certificate("none", statement=statement, assumptions=assumptions, exact=False)
        statement = (
            f"no policy has a lower expected {view.metric} (of the queueing model; one simulated sample may "
            "rank policies otherwise)"
        )
        return Certificate("proven", statement=statement, assumptions=assumptions, exact=False)


def rank_table(view: JobsView) -> Array:
    """Dense Gittins ranks of each class at each level, (classes, levels), lowest served first.

    Levels that no job of a class reaches come last, the younger first.
    """
    ages = np.asarray(view.ages, float)
    if ages.ndim != 1 or not len(ages) or ages[0] != 0 or (np.diff(ages) <= 0).any():
        raise ViewMismatch("ages of a jobs view must begin at 0 and increase.")
    rows = []
    for job_class in view.classes:
        values = np.asarray(job_class.values, float)
        if not len(values) or not (values > 0).all():
            raise ViewMismatch(f"service demands of job class '{job_class.name}' must be positive.")
        if not job_class.holding_cost > 0:
            raise ViewMismatch(f"the holding cost of job class '{job_class.name}' must be positive.")
        law = Law.discrete(values, job_class.weights)
        if not job_class.discrete and job_class.weights is None:
            law = Law.of_samples(values, refine(ages))
        rows.append(stopped_rank(law, ages) / job_class.holding_cost)
    table = np.array(rows)
    oldest = np.max(table[np.isfinite(table)])
    late = oldest + 1.0 + np.arange(len(ages))
    return dense_ranks(np.where(np.isfinite(table), table, late))
