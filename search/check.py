"""Checks of a problem: is the referee pure and vectorised, do the views agree with it?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import EvaluationError, SpaceError, ViewMismatch
from ..problems.batch import Batch, concatenate, take
from ..problems.problem import Problem
from ..problems.scoring import Scores, evaluate, failure, join_scores
from .executors import Evaluator
from .given import a_problem, whole

SPLIT = 7
LOOP_RATIO = 200
DRAWS = 40


@dataclass(frozen=True)
class Finding:
    """One check: its level, its name, and what was found."""

    level: Literal["ok", "warn", "error"]
    check: str
    sentence: str


def check(problem: Problem, *, points: int = 100, seed: int = 0) -> list[Finding]:
    """Check a problem on `points` random points; every fault is a finding of level "error"."""
    problem, points, seed = a_problem(problem), whole("points", points, 2), whole("seed", seed, 0)
    rng = np.random.default_rng(seed)
    batch = problem.space.sample(rng, points)
    try:
        scores = evaluate(problem, batch)
    except EvaluationError as error:
        return [Finding("error", "runs", str(error))]
    if scores.failed.all():
        return [Finding("error", "runs", f"all {len(scores)} random points failed: {failure(scores)}")]
    findings = [_runs(problem, scores), _pure(problem, batch, scores), _split(problem, batch, scores)]
    findings += [
        _process(problem, batch, scores),
        _vectorised(problem, batch),
        *_covered(problem, batch, scores, rng),
    ]
    findings += _view(problem, rng, points)
    return findings


def _runs(problem: Problem, scores: Scores) -> Finding:
    feasible = (problem.default_goal.violation(scores.metrics) <= 0) & ~scores.failed
    sentence = f"{len(scores)} random points scored, {int(feasible.sum())} feasible"
    if scores.failed.any():
        lost = f"{int(scores.failed.sum())} of {len(scores)} random points failed: {failure(scores)}"
        return Finding("warn", "runs", lost)
    return Finding("ok" if feasible.any() else "warn", "runs", sentence)


def _difference(first: Scores, second: Scores) -> tuple[str, float]:
    worst, name = 0.0, ""
    for metric, values in first.metrics.items():
        other = second.metrics[metric]
        same = (values == other) | (np.isnan(values) & np.isnan(other))
        with np.errstate(invalid="ignore"):
            gap = np.where(same, 0.0, np.abs(values - other) / np.maximum(np.abs(values), np.abs(other)))
        gap = np.nan_to_num(gap, nan=np.inf)
        if gap.max(initial=0.0) > worst:
            worst, name = float(gap.max()), metric
    return name, worst


def _pure(problem: Problem, batch: Batch, scores: Scores) -> Finding:
    name, worst = _difference(scores, evaluate(problem, batch))
    if worst > 0:
        return Finding(
            "error", "pure", f"evaluate gives '{name}' another value the second time (by {worst:.2g})"
        )
    return Finding("ok", "pure", "the same points score the same twice")


def _split(problem: Problem, batch: Batch, scores: Scores) -> Finding:
    parts = [evaluate(problem, take(batch, slice(i, i + SPLIT))) for i in range(0, len(batch), SPLIT)]
    name, worst = _difference(scores, join_scores(parts))
    if worst > 1e-9:
        return Finding("error", "rows", f"'{name}' of a row depends on the rows beside it (by {worst:.2g})")
    return Finding("ok", "rows", "rows score the same in another split")


def _process(problem: Problem, batch: Batch, scores: Scores) -> Finding:
    try:
        with Evaluator(problem, workers=2) as evaluator:
            if evaluator.note:
                return Finding("warn", "process", f"with workers, {evaluator.note}")
            fresh = evaluator.score(batch)
    except (OSError, EvaluationError) as error:
        return Finding("error", "process", f"a fresh process cannot score: {error}")
    name, worst = _difference(scores, fresh)
    if worst > 1e-9:
        return Finding("error", "process", f"'{name}' differs in a fresh process (by {worst:.2g})")
    return Finding("ok", "process", "a fresh process scores the same")


def _seconds(problem: Problem, batch: Batch) -> float:
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        evaluate(problem, batch)
        best = min(best, time.perf_counter() - began)
    return best


def _vectorised(problem: Problem, batch: Batch) -> Finding:
    one = _seconds(problem, take(batch, slice(0, 1)))
    if one > 0.2:
        return Finding(
            "ok",
            "vectorised",
            f'a row costs {one:.2g} s; declare cost = "slow"'
            if problem.cost == "fast"
            else f"a row costs {one:.2g} s",
        )
    if problem.cost == "slow":
        return Finding("ok", "vectorised", f"a row costs {one:.2g} s; the referee is declared slow")
    large = concatenate([batch] * max(1, 1_000 // len(batch)))
    ratio = _seconds(problem, large) / one
    if ratio > LOOP_RATIO * len(large) / 1_000:
        return Finding(
            "warn",
            "vectorised",
            f"{len(large):,} rows cost {ratio:.0f} times one row: evaluate loops over rows",
        )
    return Finding("ok", "vectorised", f"{len(large):,} rows cost {ratio:.1f} times one row")


def _covered(problem: Problem, batch: Batch, scores: Scores, rng: np.random.Generator) -> list[Finding]:
    """Variables that change no metric, metrics that never vary."""
    findings = []
    base = take(batch, slice(0, DRAWS))
    for name in problem.space.domains:
        if problem.space.domains[name].pinned is not None:
            continue
        columns = dict(base.__columns__)
        columns[name] = problem.space.sample(rng, len(base)).__columns__[name]
        changed = problem.space.canonical(columns, len(base))
        try:
            if _difference(evaluate(problem, base), evaluate(problem, changed))[1] == 0:
                findings.append(
                    Finding("warn", "covered", f"'{name}' changed no metric at {len(base)} points")
                )
        except EvaluationError:
            continue
    for name, values in scores.metrics.items():
        if len(np.unique(values[~np.isnan(values)])) == 1 and len(values) > 1:
            findings.append(Finding("warn", "covered", f"metric '{name}' is {values[0]:.6g} at every point"))
    return findings or [Finding("ok", "covered", "every variable moves a metric")]


def _view(problem: Problem, rng: np.random.Generator, points: int) -> list[Finding]:
    from ..solvers.views import CheckedView, milp_view

    view = milp_view(problem, free=True)
    if view is None or view.decides is not None:
        return []
    goal = problem.default_goal
    try:
        checked = CheckedView(problem, view)
        tried = 0
        for _ in range(20):
            batch = problem.space.sample(rng, points)
            scores = evaluate(problem, batch)
            feasible = np.flatnonzero((goal.violation(scores.metrics) <= 0) & ~scores.failed)
            for row in feasible[: points - tried]:
                checked.check_encoding(take(batch, slice(row, row + 1)), goal)
                tried += 1
            if tried >= points:
                break
    except (ViewMismatch, SpaceError) as error:
        return [Finding("error", "milp view", str(error))]
    missing = [n for n in problem.metrics if n not in view.metrics]
    note = f"; it does not express {', '.join(missing)}" if missing else ""
    if tried == 0:
        return [
            Finding("warn", "milp view", f"no random point is feasible, so nothing could be encoded{note}")
        ]
    return [Finding("ok", "milp view", f"agrees with the referee at {tried} feasible points{note}")]
