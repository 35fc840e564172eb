"""A recorded run read again, and the points that may take its answer's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError, TradespaceError
from ...problems.batch import Batch, concatenate, take
from ...problems.goal import Goal
from ...problems.problem import Problem
from ...problems.scoring import evaluate
from ...solvers.base import Budget
from ...solvers.exhaustive import CHUNK
from ..executors import Evaluator
from ..folder import RunFolder
from ..record import check_unchanged, readable_problem
from ..run import solve
from ..session import Session
from ..study import spread
from .robustness import one_draw, pace
from .sensitivity import moves

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
MOST_FRONT, MOST_INCUMBENTS, MOST_NEAR, MOST_MOVED = 60, 20, 40, 30
FINALISTS = 20
RESOLVES = 30
RESOLVE_STREAM = 0x5E7


def recall(folder: RunFolder, problem: Problem | None = None, goal: Goal | None = None) -> Session:
    """The session of a recorded run, to be read: its rows, front and incumbents; nothing is evaluated.

    goal: judge its rows by another goal than its own.
    Raises DataError where the run recorded no rows, kept too few for another goal, or its problem has
    changed since.
    """
    record = folder.read_json("run.json")
    problem = problem or readable_problem(record)
    check_unchanged(problem, record)
    if goal is not None and (folder.path / "sweep.npz").is_file():
        raise DataError(
            "it kept only its front and a sample; run it again with --keep-all to judge its rows."
        )
    asked = goal or Goal(**{k: tuple(v) for k, v in record["goal_text"].items()})
    with Evaluator(problem) as evaluator:
        session = Session(
            problem, asked.resolve(problem), Budget(**record["budget"]), record["seed"], evaluator, folder
        )
        session.replay(record=False)
        if (folder.path / "sweep.npz").is_file():
            session.recall_sweep(problem.space.enumerate(CHUNK[problem.cost]))
        session.adopt()
    if session.archive.rows == 0:
        damaged = "; ".join(session.notes)
        raise DataError(
            f"run {folder.id} has recorded no rows{f' that can be read: {damaged}' if damaged else ' yet.'}"
        )
    return session


def candidates(session: Session, answer: Batch, resolved: Batch | None = None) -> Batch:
    """The answer first, then what may be better under a draw; no point twice.

    The front, the incumbents, the best recorded rows, the best feasible changes of one variable of the
    answer, and `resolved` points. Of a slow referee or a simulator, 20 in all.
    """
    problem, archive = session.problem, session.archive
    archive.merge()
    ids = [archive.ids[spread(archive.costs, MOST_FRONT)]]
    incumbents = np.array([i for i, _ in archive.incumbents[-MOST_INCUMBENTS:]], np.int64)
    parts = [answer]
    if resolved is not None:
        parts.append(resolved)
    if session.streamed is None:
        ids += [incumbents, near_rows(session)]
    rows = np.concatenate(ids)
    if len(rows):
        parts.append(session.rows(rows)[0])
    if pace(problem) == "fast":
        nearby = near_moves(session, answer)
        if nearby is not None:
            parts.append(nearby)
    else:
        parts.append(neighbours(session, answer))
    batch = concatenate(parts)
    _, first = np.unique(problem.space.hashes(batch), return_index=True)
    order = np.sort(first)
    return take(batch, order if pace(problem) == "fast" else order[:FINALISTS])


def near_rows(session: Session, most: int = MOST_NEAR) -> Array:
    """Numbers of the feasible recorded rows with the best first objective, the best first."""
    goal, rows = session.goal, np.arange(len(session.table))
    if not len(rows):
        return rows
    scores = session.table.scores(rows)
    feasible = (goal.violation(scores.metrics) <= 0) & ~scores.failed
    cost = np.where(feasible, goal.costs(scores.metrics)[:, 0], np.inf)
    order = np.argsort(cost, kind="stable")[:most]
    return np.asarray(rows[order][np.isfinite(cost[order])])


def neighbours(session: Session, answer: Batch) -> Batch:
    """Some changes of one variable of the answer, not scored yet: where each score is dear."""
    _, moved = moves(session.problem, answer, session.seed)
    if moved is None:
        return answer
    picked = np.random.default_rng([session.seed, 0x4E16]).permutation(len(moved))[:FINALISTS]
    return take(moved, np.sort(picked))


def near_moves(session: Session, answer: Batch) -> Batch | None:
    """The feasible changes of one variable with the best first objective."""
    names, moved = moves(session.problem, answer, session.seed)
    if moved is None or not names:
        return None
    try:
        scores = evaluate(session.problem, moved)
    except TradespaceError:
        return None
    feasible = (session.goal.violation(scores.metrics) <= 0) & ~scores.failed
    cost = np.where(feasible, session.goal.costs(scores.metrics)[:, 0], np.inf)
    order = np.argsort(cost, kind="stable")[:MOST_MOVED]
    order = order[np.isfinite(cost[order])]
    return take(moved, order) if len(order) else None


def resolve_under_draws(
    problem: Problem,
    goal: Goal,
    solver: str,
    budget: Budget,
    count: int = RESOLVES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Batch | None:
    """The answers that the solver gives where a draw of the errors is the truth: (at most count,) points.

    The draws are others than those that judge. A draw that has no answer is left out.
    """
    found = []
    for i in range(count):
        try:
            drawn = one_draw(problem, np.random.default_rng([seed, RESOLVE_STREAM, i]))
            result = solve(drawn, solver, goal, budget, seed=seed)
        except TradespaceError:
            continue
        if result.best is not None and result.feasible:
            found.append(result.best)
        if progress is not None:
            progress(i + 1, count)
    return problem.space.batch(found) if found else None
