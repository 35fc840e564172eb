"""Which variables a view leaves to others."""

from __future__ import annotations

from collections.abc import Iterable

from ..problems.problem import Problem


def free_variables(problem: Problem) -> tuple[str, ...]:
    """Variables that are not fixed, in order."""
    return tuple(n for n, d in problem.space.domains.items() if d.pinned is None)


def undecided(problem: Problem, decides: Iterable[str] | None) -> tuple[str, ...]:
    """Free variables that a view which decides these does not decide; None decides all."""
    if decides is None:
        return ()
    decided = set(decides)
    return tuple(n for n in free_variables(problem) if n not in decided)
