"""Solvers that do not ship: a class in the user's own file or in another package."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from ..errors import SolverUnavailable, nearest
from ..problems.registry import load_file
from .base import Solver


def outside(name: str) -> Solver:
    """The solver behind `FILE.py:CLASS` or `module:CLASS`, called by that name in the record of its runs.

    Raises DataError where the file cannot be loaded, SolverUnavailable where it holds no such solver.
    """
    place, _, label = name.rpartition(":")
    if place.endswith(".py"):
        if not Path(place).expanduser().is_file():
            raise SolverUnavailable(
                f"there is no file '{place}' with a solver in it; --solver takes a name of 'optimize list "
                "--solvers', or FILE.py:CLASS (how to write one: docs/howto/solver.md)."
            )
        module = load_file(Path(place))
    else:
        try:
            module = importlib.import_module(place)
        except Exception as error:
            raise SolverUnavailable(
                f"the module of solver '{name}' cannot be imported: {type(error).__name__}: {error}"
            ) from error
    known = {
        key: cls
        for key, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, Solver) and cls.__module__ == module.__name__
    }
    if label not in known:
        raise SolverUnavailable(f"'{place}' has no solver class '{label}'; {nearest(label, known)}")
    solver: Solver = known[label]()
    solver.name = name  # type: ignore[misc]
    return solver
