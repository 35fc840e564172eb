"""What a caller may pass to the functions of a search; anything else is a sentence with the remedy."""

from __future__ import annotations

import operator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ..errors import BudgetError, DataError, GoalError, SpaceError
from ..problems.goal import Goal
from ..problems.problem import Problem
from ..solvers.base import Budget
from .folder import RunFolder
from .result import Result


def a_problem(given: Any) -> Problem:
    """A problem. Raises SpaceError for a class, a name or anything else."""
    if isinstance(given, Problem):
        return given
    if isinstance(given, type) and issubclass(given, Problem):
        name = given.__name__
        raise SpaceError(f"a problem is wanted, got its class {name}; write {name}(), with its parameters.")
    if isinstance(given, str):
        raise SpaceError(f"a problem is wanted, got the text {given!r}; write ts.problem({given!r}).")
    raise SpaceError(
        f"a problem is wanted, got {_kind(given)}; give an instance of a subclass of ts.Problem."
    )


def a_goal(given: Any) -> Goal:
    """A goal; None keeps the problem's own. Raises GoalError for anything else."""
    if given is None:
        return Goal()
    if isinstance(given, Goal):
        return given
    example = given if isinstance(given, str) and given.isidentifier() else "latency"
    raise GoalError(
        f"goal must be a ts.Goal, such as ts.Goal(minimize={example!r}, limits='peak<=24GiB'), "
        f"got {_kind(given)}."
    )


def a_budget(given: Any) -> Budget:
    """A budget; a number is one of evaluations, None has no limit. Raises BudgetError for anything else."""
    if given is None:
        return Budget()
    if isinstance(given, Budget):
        return given
    try:
        return Budget(evaluations=given)
    except BudgetError:
        raise BudgetError(
            f"budget must be a number of evaluations or a ts.Budget, such as ts.Budget(seconds=60), "
            f"got {_kind(given)}."
        ) from None


def whole(name: str, given: Any, least: int) -> int:
    """A whole number of at least `least`. Raises BudgetError for anything else."""
    try:
        number = operator.index(given) if not isinstance(given, bool) else least - 1
    except TypeError:
        number = least - 1
    if number < least:
        raise BudgetError(f"{name} must be a whole number of at least {least}, got {_kind(given)}.")
    return number


def a_run(given: Any) -> RunFolder:
    """The folder of a run: itself, its path, or that of a result. Raises DataError for anything else."""
    if isinstance(given, RunFolder):
        return given
    if isinstance(given, Result):
        if given.run_dir is None:
            raise DataError("the result is of a run without a folder; give solve the folder `runs`.")
        return RunFolder(given.run_dir)
    return RunFolder(a_path("a run", given))


def a_path(name: str, given: Any) -> Path:
    """A path. Raises DataError for anything else."""
    if not isinstance(given, str | PathLike) or not isinstance(fspath(given), str):
        raise DataError(f"{name} must be a path, got {_kind(given)}.")
    return Path(given)


def a_pick(given: Any) -> str | None:
    """A metric, or a row of the front as text or number; None for neither. Raises DataError."""
    if given is None or isinstance(given, str):
        return given
    try:
        return str(whole("pick", given, 0))
    except BudgetError:
        raise DataError(f"pick must be an objective or a row of the front, got {_kind(given)}.") from None


def _kind(given: Any) -> str:
    """A value as a sentence names it: itself where it is short, else its type."""
    plain = given is None or isinstance(given, bool | int | float | str)
    return repr(given)[:60] if plain else f"a {type(given).__name__}"
