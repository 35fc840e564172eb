"""What a run was asked, in its run.json: written as plain data, read back as the same problem."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import DataError, SolverUnavailable
from ..problems.batch import Batch
from ..problems.digest import code
from ..problems.goal import Goal, ResolvedGoal
from ..problems.parameters import rebuild, recordable
from ..problems.problem import Problem, ProblemType
from ..problems.registry import entries, load
from ..solvers.base import Budget, Solver
from ..solvers.portfolio import make
from .folder import RunFolder, plain
from .provenance import provenance
from .result import readable_point
from .shipping import user_file
from .standin import referee_record, stand_in

TYPED_IN = ("__main__", "builtins")
"""Modules that a class names as its own where it was typed in, or executed as a text."""


def run_record(
    problem: Problem,
    goal: Goal,
    resolved: ResolvedGoal,
    solver: Solver,
    why: str,
    budget: Budget,
    seed: int,
    workers: int,
    start: Batch | None,
    pick: str | None,
    keep_all: bool,
    robust: float | None,
) -> dict[str, Any]:
    """What a run was asked, as plain data."""
    file = user_file(type(problem))
    names = {entry.target: entry.name for entry in entries()}
    target = f"{type(problem).__module__}:{type(problem).__qualname__}"
    return {
        "problem": names.get(target, f"{file}:{type(problem).__qualname__}" if file else target),
        "parameters": recordable(problem),
        "fixed": json.loads(json.dumps(problem._pins, default=plain)),
        "identity": problem.identity(),
        "referee": referee_record(problem),
        "digest": problem.digest,
        "goal_text": {
            "minimize": goal.minimize,
            "maximize": goal.maximize,
            "limits": goal.limits,
            "no_limits": goal.no_limits,
        },
        "goal": resolved.record(),
        "solver": solver.name,
        "why": why,
        "budget": budget.record(),
        "seed": seed,
        "workers": workers,
        "start": readable_point(problem, start) if start is not None else None,
        "pick": pick,
        "keep_all": keep_all,
        "robust": robust,
        "drawn_by": None if robust is None else code(type(problem).draw),
        "provenance": provenance(problem, seed),
    }  # fmt: skip


@contextmanager
def undamaged(folder: RunFolder) -> Iterator[None]:
    """Turns what a damaged run.json leads to into a DataError that names the file.

    What the code of a problem from outside raises is told as its own.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        frames = [f for f, _ in traceback.walk_tb(error.__traceback__) if _from_outside(f)]
        if frames:
            code = frames[-1].f_code
            raise DataError(
                f"{code.co_qualname} in '{code.co_filename}' raised {type(error).__name__}: {error}; the run "
                f"'{folder.path}' cannot be read back until that is mended."
            ) from error
        raise DataError(
            f"'{folder.path / 'run.json'}' is damaged ({type(error).__name__}: {error}); start a new run."
        ) from None


def _from_outside(frame: FrameType) -> bool:
    """Whether code runs in a module that defines a problem and is not ours."""
    name, kinds = frame.f_globals.get("__name__", ""), frame.f_globals.values()
    if name.startswith("tradespace."):
        return False
    return any(isinstance(k, type) and issubclass(k, Problem) and k.__module__ == name for k in kinds)


def recorded_problem(record: Mapping[str, Any]) -> Problem:
    """The problem of a run. Raises DataError where it can be made from Python only."""
    reason = unmade(record)
    if reason is not None:
        raise DataError(reason)
    return rebuild(load(record["problem"]), record["parameters"], record["fixed"])


def recorded_solver(record: Mapping[str, Any]) -> str:
    """The name of a run's solver. Raises SolverUnavailable for one that was given as an object."""
    name = str(record["solver"])
    try:
        if name != "auto":
            make(name)
    except SolverUnavailable:
        if ":" not in name:
            raise SolverUnavailable(
                f"the run's solver '{name}' was given as an object; give it from Python, as in "
                f"ts.resume(run, solver={name}())."
            ) from None
    return name


def readable_problem(record: Mapping[str, Any]) -> Problem:
    """The problem of a run, or a stand-in of what was recorded where it can be made from Python only."""
    reason = unmade(record)
    return recorded_problem(record) if reason is None else stand_in(record, reason)


def unmade(record: Mapping[str, Any]) -> str | None:
    """Why the problem of a run cannot be made here, in a sentence; None where it can.

    Raises DataError for a record that lacks what says so.
    """
    absent = [k for k in ("problem", "parameters", "fixed", "goal_text", "budget") if k not in record]
    if absent:
        raise DataError(f"the run's run.json is damaged: it holds no '{absent[0]}'. Start a new run.")
    place, _, name = str(record["problem"]).rpartition(":")
    remedy = f"give it from Python, as in ts.resume(run, problem={name.rpartition('.')[2]}(...))."
    if "<locals>" in name:
        return f"the run's problem '{name}' was made inside a function, where nothing else finds it; {remedy}"
    if place in TYPED_IN and not isinstance(getattr(sys.modules[place], name, None), ProblemType):
        return (
            f"the run's problem '{name}' was defined in a notebook, a script or a command line of Python, "
            f"which this process is not; {remedy}"
        )
    if place and not place.endswith(".py") and not _importable(place):
        return f"the run's problem '{name}' was defined in '{place}', which cannot be imported here; {remedy}"
    if record["parameters"] is None:
        return f"the run's problem has parameters that can be set from Python only; {remedy}"
    return None


def _importable(module: str) -> bool:
    """Whether a module is loaded, or found; not whether it can be run."""
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def check_unchanged(problem: Problem, record: Mapping[str, Any]) -> None:
    """Raises DataError naming what changed between a run's problem and this one."""
    drawn = None if record.get("robust") is None else code(type(problem).draw)
    if problem.digest == record["digest"] and record.get("drawn_by") == drawn:
        return
    before, after = record["identity"], json.loads(json.dumps(problem.identity()))
    changes = []
    if before["source"] != after["source"]:
        changes.append(f"the code of {after['class']}{_which(before['source'], after['source'])}")
    if record.get("drawn_by") != drawn:
        changes.append(f"how errors of {after['class']} are drawn")
    if before["costmodels"] != after["costmodels"]:
        changes.append(f"the cost models ({before['costmodels']} to {after['costmodels']})")
    for name in sorted({*before["parameters"], *after["parameters"]}):
        old, new = before["parameters"].get(name), after["parameters"].get(name)
        if old != new:
            changes.append(f"parameter '{name}' ({str(old)[:40]} to {str(new)[:40]})")
    for part, said in (("fixed", "the fixed variables"), ("space", "its space"), ("metrics", "its metrics")):
        if before.get(part) != after[part]:
            changes.append(said)
    raise DataError(
        "the problem of this run has changed since: "
        + ", ".join(changes or ["its identity"])
        + "; its rows no "
        "longer hold. Start a new run, or restore what changed."
    )


def _which(before: Any, after: Mapping[str, Any]) -> str:
    """The files and packages that differ between two sources, in brackets."""
    if not isinstance(before, Mapping):
        return ""
    differ = [label for label in sorted({*before, *after}) if before.get(label) != after.get(label)]
    said = []
    for label in differ[:4]:
        old, new = (str(found.get(label, "none")) for found in (before, after))
        versions = old.startswith("version ") and new.startswith("version ")
        said.append(f"{label} {old[8:]} to {new[8:]}" if versions else label)
    return f" ({', '.join(said)}{f' and {len(differ) - 4} more' if len(differ) > 4 else ''})"


def problem_name(problem: Problem) -> str:
    """What a problem is called in folders and reports: its registered name, or its class in kebab case."""
    target = f"{type(problem).__module__}:{type(problem).__name__}"
    for entry in entries():
        if entry.target == target:
            return entry.name
    words = re.sub(r"(?<=[^_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", type(problem).__name__)
    return words.lower()
