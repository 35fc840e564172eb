"""`optimize apply`: carry out a run's answer; `apply(point, **options)` of a problem returns rows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..folder import find_run
from ..result import Result
from ..run import recorded_problem
from .console import print_json, print_rows
from .progress import preparing


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
    if "out" in taken:
        given.setdefault("out", folder.path / "applied")
    with preparing(json) as progress:
        problem.ready(progress)
    found = list(method(best, **given))
    if json:
        print_json({"run": folder.id, "rows": found})
    else:
        print_rows(f"{folder.id} applied", found)
