"""`optimize apply`: carry out a run's answer; `apply(point, **options)` of a problem returns rows.

What the method names among `out`, `goal`, `progress` and `heard` it is given: a folder for files, the run's
goal, a bar to move, and a function that takes sentences on what happens on the way.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...problems.goal import Goal
from ..applied import keep
from ..folder import check_writable, find_run
from ..record import recorded_problem, undamaged
from ..result import Result
from .console import console, note, print_json, print_rows
from .progress import preparing


def apply_run(
    name: str, runs: Path, options: Mapping[str, Any], json: bool, storage: str | None = None
) -> None:
    """Carry out the answer of a run and print what was measured; `storage` holds its study.

    Raises DataError where the run has no answer, or its problem nothing that carries it out.
    """
    folder = find_run(name, runs)
    record = folder.read_json("run.json")
    problem = recorded_problem(record)
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
    options = dict(given)
    events: list[str] = []
    if "out" in taken:
        check_writable(given.setdefault("out", folder.path / "applied") / "file", "--out")
    if "goal" in taken:
        with undamaged(folder):
            given["goal"] = Goal(**{k: tuple(v) for k, v in record["goal_text"].items()}).resolve(problem)
    if "heard" in taken:
        given["heard"] = events.append
    if storage is not None:
        from ..journal import check_storage

        check_storage(storage)
    with preparing(json) as progress:
        problem.ready(progress)
        if "progress" in taken:
            given["progress"] = progress
        found = list(method(best, **given))
    if json:
        print_json({"run": folder.id, "rows": found, "events": events})
    else:
        print_rows(f"{folder.id} applied", found)
        for event in events:
            console().print(event, markup=False)
    try:
        keep(folder, options, found, events, storage)
    except DataError as error:
        note(f"what was measured is not kept everywhere: {error}")
