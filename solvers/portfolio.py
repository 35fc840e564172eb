"""The solvers by name, and what `auto` means.

`auto` chooses by declarations only, never by a clock, so the same problem, goal and budget always get
the same solver: (1) a finite space within the budget and 10^7 points (10^4 where the referee is
declared slow) is enumerated; (2) a jobs, packing or MILP view that takes this goal; (3) from 1,000
evaluations on evolution, for one objective over numbers alone the memetic search; (4) a model-based
sampler below that. A problem with guesses of its own is given to evolution, which begins from them.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from ..errors import BudgetError, SolverUnavailable, TradespaceError, nearest
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from .base import Budget, Solver, reasons

SOLVERS = {
    "exhaustive": "exhaustive:Exhaustive",
    "random": "sampling:Random",
    "sobol": "sampling:Sobol",
    "nsga2": "evolutionary:NSGA2",
    "ga": "evolutionary:GA",
    "memetic": "memetic:Memetic",
    "tpe": "bayesian:TPE",
    "gp": "bayesian:GP",
    "cmaes": "bayesian:CMAES",
    "nsga3": "bayesian:NSGA3",
    "qmc": "bayesian:QMC",
    "milp": "milp:Milp",
    "packing": "packing:Packing",
    "gittins": "gittins:Gittins",
    "nested": "nested:Nested",
}
EVOLVED = 1_000
ENUMERABLE = {"fast": 10_000_000, "slow": 10_000}
VIEWS = {"gittins": "jobs_view", "packing": "packing_view", "milp": "milp_view"}


def make(name: str) -> Solver:
    """A solver by name; "optuna:NAME" is any sampler of Optuna, "pymoo:NAME" an algorithm of pymoo,
    "FILE.py:CLASS" one of the user's own.

    Raises SolverUnavailable with the nearest name.
    """
    if name.startswith("optuna:"):
        from .bayesian import sampled

        return sampled(name.removeprefix("optuna:"))
    if name.startswith("pymoo:"):
        from .pymoo_algorithms import PymooAlgorithm

        return PymooAlgorithm(name.removeprefix("pymoo:"))
    if ":" in name:
        from .outside import outside

        return outside(name)
    if name not in SOLVERS:
        raise SolverUnavailable(f"no solver is called '{name}'; {nearest(name, [*SOLVERS, 'auto'])}")
    module, _, label = SOLVERS[name].partition(":")
    solver: Solver = getattr(importlib.import_module(f".{module}", __package__), label)()
    return solver


def as_solver(given: Any) -> Solver:
    """A solver from a name, a solver, an Optuna sampler or a pymoo algorithm.

    Raises SolverUnavailable for anything else.
    """
    if isinstance(given, str):
        return make(given)
    if isinstance(given, Solver):
        return given
    if hasattr(given, "sample_relative"):
        from .bayesian import sampled

        return sampled(given)
    if hasattr(given, "infill") and hasattr(given, "setup"):
        from .pymoo_algorithms import PymooAlgorithm

        return PymooAlgorithm(given)
    raise SolverUnavailable(
        "solver must be a name, a Solver, an Optuna sampler or a pymoo algorithm, "
        f"got {type(given).__name__}."
    )


def choose(problem: Problem, goal: ResolvedGoal, budget: Budget) -> tuple[Solver, str]:
    """The solver that `auto` takes, and why.

    Raises BudgetError where only an endless search is left, SolverUnavailable where none takes it.
    """
    limit = min(budget.evaluations or ENUMERABLE[problem.cost], ENUMERABLE[problem.cost])
    exhaustive = make("exhaustive")
    refusals = []
    refused = exhaustive.accepts(problem, goal, replace(budget, evaluations=limit))
    if refused is None:
        return exhaustive, f"all {problem.space.size:,} points can be scored"
    refusals.append(("exhaustive", refused.replace("the budget of", "the limit of")))
    for name in structured(problem):
        solver = make(name)
        refused = solver.accepts(problem, goal, budget)
        if refused is None:
            what = "the problem has two levels" if name == "nested" else f"a {name} view covers this goal"
            return solver, f"{what}; {reasons(refusals)}"
        refusals.append((name, refused))
    order = sampling_order(problem, goal, budget)
    for name in ("memetic", *order) if order[0] == "ga" and not guided(problem) else order:
        solver = make(name)
        refused = solver.accepts(problem, goal, budget)
        if refused is None:
            if budget.evaluations is None and budget.seconds is None:
                raise BudgetError(
                    f"a search of {type(problem).__name__} with {name} has no end; give a budget, "
                    "such as ts.Budget(evaluations=10_000)."
                )
            return solver, reasons(refusals)
        refusals.append((name, refused))
    raise SolverUnavailable(f"no solver takes this problem and goal: {reasons(refusals)}.")


def foreseen(problem: Problem, goal: ResolvedGoal, budget: Budget) -> str:
    """What `auto` will take, as far as declarations tell: no view is built, nothing is evaluated.

    Building a view may take minutes, where it measures or trains first.
    """
    limit = min(budget.evaluations or ENUMERABLE[problem.cost], ENUMERABLE[problem.cost])
    refused = make("exhaustive").accepts(problem, goal, replace(budget, evaluations=limit))
    views = structured(problem)
    if refused is None or not views:
        solver, why = choose(problem, goal, budget)
        return f"{solver.name} ({why})"
    views = [name for name in views if name != "nested" or problem.slow]
    first, last = " or ".join(views), sampling_order(problem, goal, budget)[0]
    why = refused.replace("the budget of", "the limit of")
    return f"{first} where it can take this goal, else {last} (exhaustive: {why})"


def structured(problem: Problem) -> list[str]:
    """Solvers whose view the problem defines; `nested` where it may have two levels."""
    cls = type(problem)
    found = [name for name, view in VIEWS.items() if getattr(cls, view) is not getattr(Problem, view)]
    return [*found, "nested"] if found or problem.slow else []


def sampling_order(problem: Problem, goal: ResolvedGoal, budget: Budget) -> tuple[str, ...]:
    """The searches that need only the referee, in the order in which `auto` tries them."""
    evolution = "ga" if goal.single else "nsga2"
    many = budget.evaluations is None or budget.evaluations >= EVOLVED
    return (evolution,) if guided(problem) or (many and problem.cost == "fast") else ("tpe", evolution)


def guided(problem: Problem) -> bool:
    """Whether the problem has guesses that evolution begins from."""
    return type(problem).guesses is not Problem.guesses


def select(name: Any, problem: Problem, goal: ResolvedGoal, budget: Budget) -> tuple[Solver, str]:
    """The solver called `name` ("auto" included), or given as an object, and why it was taken.

    Raises SolverUnavailable where it refuses this problem, goal or budget.
    """
    if isinstance(name, str) and name == "auto":
        return choose(problem, goal, budget)
    solver = as_solver(name)
    name = solver.name
    refused = solver.accepts(problem, goal, budget)
    if refused is not None:
        instead = _instead(problem, goal, budget)
        raise SolverUnavailable(f"solver '{name}' cannot take {type(problem).__name__}: {refused}{instead}.")
    if solver.needs_budget and budget.evaluations is None and budget.seconds is None:
        raise BudgetError(f"solver '{name}' has no end of its own; give a budget of evaluations or seconds.")
    return solver, "asked for"


def _instead(problem: Problem, goal: ResolvedGoal, budget: Budget) -> str:
    """What `auto` would take, as the end of a refusal."""
    try:
        return f"; auto would take '{choose(problem, goal, budget)[0].name}'"
    except TradespaceError:
        return ""
