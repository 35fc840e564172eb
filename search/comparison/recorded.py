"""Recorded runs side by side: the table, curves and ranks of `compare` without searching again.

Runs of one question are compared: the same problem with the same parameters, pinned variables and goal.
Where goals differ, one may be given by which all recorded rows are judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import units
from ...errors import DataError, GoalError
from ...problems.goal import Goal
from ...problems.parameters import declared, from_plain, shown
from ...problems.problem import Problem
from ...problems.registry import load
from ...solvers.base import Budget
from ..folder import RunFolder
from ..given import a_goal, a_run
from ..quality import Quality
from ..record import undamaged, unmade
from ..result import Result
from ..session import Session
from ..trust.candidates import recall
from .compare import CHECKPOINTS, Comparison, Finished, judge

Array = npt.NDArray[Any]


def compare_runs(
    runs: Sequence[RunFolder | str | Path], *, goal: Goal | None = None, problem: Problem | None = None
) -> Comparison:
    """Compare what recorded runs reached, as `compare` does for runs of its own.

    Runs of one solver and one budget with different seeds are one line; others have a line each. goal:
    judge all recorded rows by it, not by the runs' own. problem: needed where the runs' problem has
    parameters that can be set from Python only. Nothing is evaluated.
    Raises DataError where a run has no result or the runs answer different questions, GoalError where
    their goals differ and none is given.
    """
    if isinstance(runs, str | Path) or not isinstance(runs, Sequence):
        raise DataError("compare_runs takes a list of two or more runs.")
    folders = [a_run(run) for run in runs]
    goal = None if goal is None else a_goal(goal)
    if len(folders) < 2:
        raise DataError("compare takes one problem, or two or more recorded runs; got one run.")
    twice = [p for p, n in Counter(f.path.resolve() for f in folders).items() if n > 1]
    if twice:
        raise DataError(f"run {RunFolder(twice[0]).id} is given twice.")
    results = [finished(folder) for folder in folders]
    records = [folder.read_json("run.json") for folder in folders]
    for folder, record in zip(folders[1:], records[1:], strict=True):
        with undamaged(folder):
            check_same(folders[0].id, records[0], folder.id, record, judged=goal is not None)
    sessions = []
    for folder in folders:
        try:
            sessions.append(recall(folder, problem, goal))
        except DataError as error:
            raise DataError(f"run {folder.id} cannot be compared: {error}") from None
    names = labels(folders, records)
    done = [
        Finished(name, record["seed"], result, session)
        for name, record, result, session in zip(names, records, results, sessions, strict=True)
    ]
    budgets = [record["budget"] for record in records]
    same = all(b == budgets[0] for b in budgets)
    budget = Budget(**budgets[0]) if same else Budget()
    asked = sessions[0]
    seeds = len({record["seed"] for record in records})
    notes = differences(records) + ([] if same else ["the runs had different budgets"])
    return judge(asked.problem, asked.goal, budget, seeds, done, {}, recorded_steps, clock, tuple(notes))


def finished(folder: RunFolder) -> Result:
    """The result of a run. Raises DataError where it has none."""
    if not (folder.path / "result.json").is_file():
        folder.read_json("run.json")
        raise DataError(
            f"run {folder.id} has no result: it failed or was stopped before its end; 'optimize resume "
            f"{folder.id}' goes on with it."
        )
    return Result.load(folder.path)


def check_same(
    one: str, first: Mapping[str, Any], other: str, second: Mapping[str, Any], *, judged: bool
) -> None:
    """Raises DataError (GoalError for goals) in one sentence where two runs answer different questions.

    one, other: their names. judged: whether a goal is given for both.
    """
    if first["problem"] != second["problem"]:
        raise DataError(
            f"run {one} is of {first['problem']} and run {other} of {second['problem']}; only runs of one "
            "problem can be compared."
        )
    changed = [
        f"{name} ({a} and {b})"
        for name, a, b in [*_parameters(first, second), ("--fix", first["fixed"], second["fixed"])]
        if a != b
    ]
    if changed:
        raise DataError(
            f"runs {one} and {other} of {first['problem']} answer different questions: {', '.join(changed)} "
            "differ; run one again with the other's to compare them."
        )
    if first["digest"] != second["digest"]:
        raise DataError(
            f"{first['problem']} or the cost models changed between runs {one} and {other}; run the older "
            "one again to compare them."
        )
    if first.get("robust") != second.get("robust"):
        raise GoalError(
            f"runs {one} and {other} chose their answers by different quantiles (--robust "
            f"{first.get('robust')} and {second.get('robust')}); run one again with the other's."
        )
    if first["goal"] != second["goal"] and not judged:
        raise GoalError(
            f"runs {one} and {other} have different goals: '{_goal(first)}' and '{_goal(second)}'; give the "
            "one to judge all recorded rows by, as in --minimize METRIC --limit 'METRIC<=VALUE'."
        )


def _parameters(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each parameter's value in two runs, for people."""
    a, b = (r["parameters"] or r["identity"]["parameters"] for r in (first, second))
    if unmade(first) is not None or unmade(second) is not None:
        return [(name, str(a.get(name))[:40], str(b.get(name))[:40]) for name in {*a, *b}]
    known = declared(load(first["problem"]))

    def words(value: Any, name: str) -> str:
        parameter = known.get(name)
        if parameter is None or value is None:
            return str(value)
        return shown(from_plain(parameter.annotation, value), parameter.unit)

    return [(name, words(a.get(name), name), words(b.get(name), name)) for name in a | b]


def _goal(record: Mapping[str, Any]) -> str:
    goal = record["goal"]
    words = [
        f"{'minimise' if o['direction'] == 'min' else 'maximise'} {o['metric']}" for o in goal["objectives"]
    ]
    limits = [f"{v['metric']} {v['sense']} {units.show(v['bound'], v['unit'], 6)}" for v in goal["limits"]]
    return ", ".join(words) + (f" subject to {', '.join(limits)}" if limits else "")


def labels(folders: Sequence[RunFolder], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The line of each run: its solver, with the run's name where it cannot share a line with another."""
    names = []
    for folder, record in zip(folders, records, strict=True):
        alike = [r for r in records if r["solver"] == record["solver"]]
        seeds = [r["seed"] for r in alike]
        asked = ("budget", "start", "robust", "workers")
        shares = len(set(seeds)) == len(seeds) and all(
            r.get(k) == record.get(k) for r in alike for k in asked
        )
        names.append(record["solver"] if shares else f"{record['solver']} {folder.id}")
    return names


def differences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What makes recorded runs less than fairly compared, in sentences."""
    origins = [record.get("provenance", {}) for record in records]
    told = []
    if len({str(origin.get("platform")) for origin in origins}) > 1:
        told.append("the runs were made on different machines: their seconds do not compare")
    if len({(str(o.get("tradespace")), str(o.get("commit"))) for o in origins}) > 1:
        told.append("the runs were made by different versions of the program")
    return told


def recorded_steps(session: Session, quality: Quality) -> tuple[Array, Array]:
    """Scored rows and quality of a run that was read again: at every improvement, or at checkpoints."""
    if session.streamed is not None:
        return np.empty(0, np.int64), np.empty(0)
    if not session.goal.single:
        return quality.over_rows(session, CHECKPOINTS)
    scores = session.table.scores(np.arange(len(session.table)))
    good = (session.goal.violation(scores.metrics) <= 0) & ~scores.failed
    costs = np.where(good, session.goal.costs(scores.metrics)[:, 0], np.inf)
    least = np.minimum.accumulate(costs)
    steps = np.flatnonzero(least < np.r_[np.inf, least[:-1]])
    return steps + 1, least[steps]


def clock(session: Session, rows: Array) -> Array:
    """Seconds of the search after so many scored rows, between the times that were recorded."""
    assert session.folder is not None
    counts, seconds, total = [0], [0.0], 0
    for columns in session.folder.read_rows([]):
        total += len(next(iter(columns.values())))
        if "seconds" in columns:
            counts.append(total)
            seconds.append(float(columns["seconds"]))
    end = Result.load(session.folder.path)
    if end.evaluations > counts[-1]:
        counts.append(end.evaluations)
        seconds.append(max(end.seconds, seconds[-1]))
    found: Array = np.interp(rows, counts, seconds)
    return found
