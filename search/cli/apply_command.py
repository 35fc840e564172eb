"""`optimize apply`: carry out a run's answer; `optimize reproduce`: a paper's figures beside ours.

Both ask the problem. `apply(point, **options)` of a problem returns rows (mappings); `reproduce()` of a
problem's class, or of the module `reproduce` beside it, returns rows of quantity, paper, ours, ratio,
workload, assumptions, and whether the mechanism was read in the paper or reconstructed.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...problems.registry import load
from ..folder import find_run
from ..result import Result
from ..run import recorded_problem
from .console import console, print_json, rows, table


def apply_run(name: str, runs: Path, options: Mapping[str, Any], json: bool) -> None:
    """Carry out the answer of a run and print what was measured.

    Raises DataError where the run has no answer, or its problem nothing that carries it out.
    """
    folder = find_run(name, runs)
    problem = recorded_problem(folder.read_json("run.json"))
    best = Result.load(folder.path).best
    if best is None:
        raise DataError(f"run {folder.id} has no answer to apply.")
    method = getattr(problem, "apply", None)
    if not callable(method):
        raise DataError(
            f"{type(problem).__name__} says nothing about how to apply an answer: it has no apply(point)."
        )
    given = {option: value for option, value in options.items() if value is not None}
    taken = inspect.signature(method).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    unknown = next((option for option in given if option not in taken and not anything), None)
    if unknown is not None:
        raise DataError(f"{type(problem).__name__} takes no --{unknown} when it is applied.")
    found = list(method(best, **given))
    if json:
        print_json({"run": folder.id, "rows": found})
    else:
        print_rows(f"{folder.id} applied", found)


def reproduce_problem(name: str, json: bool) -> None:
    """Print a paper's figures beside ours. Raises DataError where the problem has none."""
    cls = load(name)
    found = [dict(row) for row in _reproduction(cls, name)()]
    if json:
        print_json({"problem": name, "rows": found})
    else:
        print_rows(f"{name}: paper and ours", found)


def _reproduction(cls: type, name: str) -> Any:
    """The function that returns the rows: of the class, of its module, or of `reproduce` beside it."""
    method = getattr(cls, "reproduce", None)
    if callable(method):
        return method
    module = importlib.import_module(cls.__module__)
    if callable(getattr(module, "reproduce", None)):
        return module.reproduce
    beside = cls.__module__.rpartition(".")[0] + ".reproduce"
    if "." in cls.__module__ and importlib.util.find_spec(beside) is not None:
        found = getattr(importlib.import_module(beside), "reproduce", None)
        if callable(found):
            return found
    raise DataError(
        f"'{name}' has nothing to reproduce: neither its class nor its module defines reproduce()."
    )


def print_rows(title: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table: numbers with four digits to the right, columns without content left out."""
    names = list(dict.fromkeys(name for row in found for name in row))
    names = [n for n in names if any(row.get(n) not in {None, ""} for row in found)]
    numeric = {n for n in names if all(isinstance(row.get(n), int | float | type(None)) for row in found)}
    made = table(title, *names, right=tuple(numeric))
    console().print(rows(made, [tuple(_shown(row.get(n)) for n in names) for row in found]))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1e4
        else f"{value:,}"
        if isinstance(value, int | float)
        else str(value)
    )
