"""A problem in the words of other libraries: an Optuna objective, a pymoo problem, an MPS file.

What crosses is the space, the goal and the referee; a certificate does not. The other way, any Optuna
sampler and any pymoo algorithm is a solver here: `solve(problem, solver=optuna.samplers.GPSampler())`,
`solver="pymoo:de"`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, EvaluationError, SolverUnavailable
from ..problems.batch import Batch
from ..problems.goal import Goal, ResolvedGoal
from ..problems.names import apart
from ..problems.problem import Problem
from ..problems.scoring import evaluate
from .given import a_goal, a_path, a_problem

Array = npt.NDArray[Any]
EASY = (1e-3, 1e6)
"""Largest objective coefficients that need no scaling in an MPS file."""


class OptunaObjective:
    """A problem as an objective of Optuna: call it with a trial.

    directions: for `create_study`. constraints: what a sampler takes as `constraints_func`. A failed row
    raises EvaluationError, which `study.optimize(..., catch=...)` may catch.
    """

    def __init__(self, problem: Problem, goal: Goal | None = None) -> None:
        self.problem = problem
        self.goal: ResolvedGoal = a_goal(goal).resolve(problem)
        self.directions = ["minimize" if o.direction == "min" else "maximize" for o in self.goal.objectives]

    def __call__(self, trial: Any) -> float | tuple[float, ...]:
        """Score the point that a trial suggests; its metrics and limits become attributes of the trial."""
        scores = evaluate(self.problem, self.batch(trial))
        if scores.failed[0]:
            raise EvaluationError(scores.errors.get(0, "the referee returned NaN for this point."))
        excess = {
            str(limit): float(limit.sign * (scores.metrics[limit.metric][0] - limit.bound) / limit.size)
            for limit in self.goal.limits
        }
        trial.set_user_attr(apart("limits", scores.metrics), list(excess.values()))
        for name, value in scores.metrics.items():
            trial.set_user_attr(name, float(value[0]))
        if hasattr(trial, "set_constraint"):
            for name, amount in excess.items():
                trial.set_constraint(name, amount)
        values = [float(scores.metrics[o.metric][0]) for o in self.goal.objectives]
        return values[0] if len(values) == 1 else tuple(values)

    def batch(self, trial: Any) -> Batch:
        """The point of a trial as a batch of one row; inactive entries are not suggested."""
        from ..solvers.bayesian import suggested

        return suggested(self.problem.space, trial)

    def point(self, trial: Any) -> dict[str, Any]:
        """The point of a finished trial, such as `study.best_trial`."""
        from optuna.trial import FixedTrial

        return self.problem.space.points(self.batch(FixedTrial(trial.params)))[0]

    def constraints(self, trial: Any) -> list[float]:
        """A finished trial's limits, each held where at most 0."""
        found: list[float] = trial.user_attrs[apart("limits", self.problem.metrics)]
        return found


def optuna_objective(problem: Problem, goal: Goal | None = None) -> OptunaObjective:
    """A problem as an objective of Optuna.

    >>> import optuna, tradespace as ts
    >>> objective = optuna_objective(ts.problem("matmul-tile"))
    >>> study = optuna.create_study(directions=objective.directions)
    >>> study.optimize(objective, n_trials=3)
    >>> sorted(objective.point(study.trials[0]))
    ['layout', 'stages', 'tile_m', 'tile_n']

    Raises SpaceError where the space holds an order, which Optuna cannot suggest.
    """
    from ..errors import SpaceError

    problem = a_problem(problem)
    for name, domain in problem.space.domains.items():
        if domain.kind == "permutation" and domain.pinned is None and (domain.count or 0) > 1:
            raise SpaceError(f"'{name}' is a permutation, which Optuna cannot suggest; use pymoo_problem.")
    return OptunaObjective(problem, goal)


def pymoo_problem(problem: Problem, goal: Goal | None = None) -> Any:
    """A problem as a vectorised one of pymoo over the unit cube, for any of its algorithms.

    One coordinate a scalar decision; `found.points(X)` are the points behind rows of X. Raises
    SolverUnavailable where pymoo is not installed.
    """
    try:
        from pymoo.core.problem import Problem as Posed
    except ImportError:
        raise SolverUnavailable("pymoo is not installed; pip install 'tradespace[pymoo]'.") from None
    from ..solvers.pymoo_algorithms import costs_and_excess

    problem = a_problem(problem)
    resolved = a_goal(goal).resolve(problem)

    class TradespaceProblem(Posed):  # type: ignore[misc]
        """The referee behind pymoo's interface."""

        def __init__(self) -> None:
            width, limits = problem.space.unit_width, len(resolved.limits)
            super().__init__(n_var=width, n_obj=len(resolved.objectives), n_ieq_constr=limits, xl=0.0, xu=1.0)

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            batch = problem.space.from_unit(np.clip(np.asarray(x, float), 0.0, 1.0))
            out["F"], excess = costs_and_excess(resolved, evaluate(problem, batch))
            if resolved.limits:
                out["G"] = excess

        def points(self, x: Any) -> list[dict[str, Any]]:
            """The points behind rows of the unit cube."""
            found: list[dict[str, Any]] = problem.space.points(
                problem.space.from_unit(np.atleast_2d(np.asarray(x, float)))
            )
            return found

    return TradespaceProblem()


def write_mps(problem: Problem, path: str | Path, goal: Goal | None = None) -> dict[str, Any]:
    """Write a problem's MILP view with a goal of one objective as an MPS file.

    Returns columns, rows, and the factor by which the file's objective is the metric's (a power of two,
    1 where its coefficients are of ordinary size); the file says it in its first lines. Raises DataError
    where the view or an MPS file cannot hold the goal.
    """
    problem, path = a_problem(problem), a_path("path", path)
    resolved, name = a_goal(goal).resolve(problem), type(problem).__name__
    if not resolved.single:
        raise DataError(
            f"an MPS file holds one objective and this goal has {len(resolved.objectives)}; name one with "
            "--minimize or --maximize and limit the others."
        )
    from ..solvers.base import Budget
    from ..solvers.milp import Milp

    solver, budget = Milp(), Budget()
    refused = solver.accepts(problem, resolved, budget)
    if refused is not None:
        raise DataError(f"{name} cannot be written as MPS: {refused}.")
    from ..solvers.linear import Constraint, mps

    view = solver.prepare(problem, resolved, budget)
    (objective,), linear = resolved.objectives, view.linear
    limits = [
        Constraint(linear.metrics[limit.metric], **{"upper" if limit.sense == "<=" else "lower": limit.bound})
        for limit in resolved.limits
        if np.isfinite(limit.bound)
    ]
    row = linear.metrics[objective.metric]
    top = float(np.abs(row.coefficients).max(initial=0.0))
    factor = 1.0 if not top or EASY[0] <= top <= EASY[1] else float(2.0 ** -np.rint(np.log2(top)))
    text = mps(linear, row, limits, maximise=objective.direction == "max", factor=factor)
    unit = objective.unit or "1"
    exact = "" if view.view.exact else "\n* The view approximates the referee."
    head = (
        f"* {name} {problem.digest}: {resolved.describe()}\n"
        f"* The objective is {objective.metric} in {unit}, times {factor!r}.{exact}\n"
    )
    from .folder import RunFolder

    RunFolder(path.parent).write_bytes(path.name, (head + text).encode())
    return {"columns": len(linear.lower), "rows": linear.matrix.shape[0] + len(limits), "factor": factor}
