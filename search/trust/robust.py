"""Choosing an answer by quantile and chance constraint under draws of the model errors (`--robust`).

The nominal search comes first; its front, incumbents and neighbours, and the answers under other draws,
are the candidates. Of those that meet every limit in the asked share of the draws the one with the best
quantile of the objective is taken. Nothing is proven about points that are no candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ... import units
from ...problems.batch import take
from ...problems.problem import Problem
from ...problems.scoring import evaluate
from ...solvers.base import Budget, Certificate
from ..result import Result, readable_point
from ..session import Session
from .candidates import RESOLVES, candidates, resolve_under_draws
from .robustness import DRAWS, Outcomes, outcomes, pace, robust_choice, unmoved
from .stochastic import replicate
from .worth import SECONDS, as_goal

MOST_RESOLVES = 100


def robustly(session: Session, result: Result, quantile: float) -> Result:
    """The result with the answer that the draws prefer; the certificate is none.

    Where nothing is feasible, the search was interrupted, or no error is stated, it stays as it is, with a
    note.
    """
    problem, goal = session.problem, session.goal
    if not result.feasible or result.best is None:
        return result
    if session.interrupted or result.stop_reason == "interrupted":
        return _noted(session, result, "the answer is the nominal one: interrupted before any draw")
    answer = problem.space.batch(result.best)
    batch = candidates(session, answer)
    nominal = evaluate(problem, batch)
    still = unmoved(problem, batch, nominal, session.seed)
    moving = len(still) < len(problem.metrics)
    if not moving and not any(np.any(s > 0) for s in nominal.sigma.values()):
        return _noted(session, result, "--robust changes nothing: the problem states no model error")
    if moving and pace(problem) == "fast":
        count = min(MOST_RESOLVES, max(RESOLVES, int(np.ceil(3 / (1 - quantile)))))
        given = session.budget
        most = SECONDS if given.seconds is None else min(SECONDS, given.seconds)
        budget = Budget(given.evaluations, most, given.gap)
        wish = as_goal(goal, problem)
        said = _stage(session, "solving under draws")
        solved = resolve_under_draws(problem, wish, result.solver, budget, count, session.seed, said)
        batch = candidates(session, answer, solved)
        nominal = evaluate(problem, batch)
    draws, said = DRAWS[pace(problem)], _stage(session, "drawing model errors")
    found = outcomes(problem, goal, batch, draws, session.seed, said, nominal)
    session.interrupted |= found.interrupted
    session.stage = ""
    choice = robust_choice(found, quantile)
    chosen = take(batch, slice(choice.index, choice.index + 1))
    scores = evaluate(problem, chosen)
    metrics = {n: float(v[0]) for n, v in scores.metrics.items()}
    session.choose(chosen)
    told = {
        "quantile": quantile,
        "draws": found.draws,
        "candidates": len(batch),
        "met": choice.met,
        "feasible": choice.feasible,
        "quantiles": choice.quantiles,
        "nominal": {"point": result.best, "metrics": result.metrics, **_nominal(found, quantile)},
    }
    made = replace(
        result,
        best=readable_point(problem, chosen),
        metrics=metrics,
        sigma={n: float(v[0]) for n, v in scores.sigma.items()},
        certificate=Certificate.none(statement(result, told)),
        robust=told,
    )
    if problem.stochastic:
        made = replace(made, replications=replicate(problem, made.best or {}))
    return _saved(session, made)


def statement(nominal: Result, told: dict[str, Any]) -> str:
    """The certificate of a robust answer in words."""
    share = units.percent(told["quantile"])
    among = f"of {told['candidates']} candidates, under {told['draws']:,} draws of the model errors"
    if not told["met"]:
        return (
            f"no candidate meets every limit in {share} of the draws; this one does in "
            f"{units.percent(told['feasible'])}, the most {among}"
        )
    held = "" if not nominal.goal["limits"] else f" among those that meet every limit in {share} of them"
    return f"the best {share} quantile{held}, {among}; other points were not drawn"


def describe(told: dict[str, Any], problem: Problem) -> str:
    """What the robust answer reaches, beside the nominal one, for the terminal."""
    parts = []
    nominal = told["nominal"]
    for metric, value in told["quantiles"].items():
        unit = problem.metrics[metric].unit
        before = units.show(nominal["quantiles"][metric], unit)
        parts.append(f"{metric.replace('_', ' ')} {units.show(value, unit)} (nominal answer {before})")
    words = f"{units.percent(told['quantile'])} quantile: {', '.join(parts)}"
    met, before = units.percent(told["feasible"]), units.percent(nominal["feasible"])
    return f"{words}; every limit met in {met} (nominal {before})"


def _nominal(found: Outcomes, quantile: float) -> dict[str, Any]:
    """Quantiles and feasibility of the nominal answer, which is the first candidate."""
    costs = np.where(np.isnan(found.costs[:, 0]), np.inf, found.costs[:, 0])
    level = np.quantile(costs, quantile, axis=0, method="higher")
    objectives = found.goal.objectives
    return {
        "quantiles": {o.metric: float(o.sign * v) for o, v in zip(objectives, level, strict=True)},
        "feasible": float(found.feasible[:, 0].mean()),
    }


def _stage(session: Session, what: str) -> Callable[[int, int], None]:
    def said(done: int, total: int) -> None:
        session.show_stage(f"{what}, {done:,} of {total:,}", done / max(1, total))

    return said


def _noted(session: Session, result: Result, sentence: str) -> Result:
    return _saved(session, replace(result, notes=(*result.notes, sentence)))


def _saved(session: Session, result: Result) -> Result:
    if session.folder is not None:
        result.save(session.folder.path / "result.json")
    return result
