"""A run in words and tables, as Markdown: the note of its study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import units
from ..problems.goal import ResolvedGoal
from ..problems.parameters import declared, shown
from .result import Result
from .session import Session
from .values import cut, in_words

POINT_ROWS = 24


def narrative(session: Session, result: Result, *, shown: int, hidden: int, figures: Iterable[str]) -> str:
    """The question, the answer, its certificate and where it came from.

    shown: rows in the study. hidden: parameters left out of it. figures: names of those attached.
    """
    problem, goal = session.problem, session.goal
    parts = [f"# {result.problem}", "## Question", _question(session, goal)]
    parts += ["## Answer", *_answer(result, session, goal)]
    parts += ["## Certificate", _certificate(result)]
    parts += ["## What is shown here", _shown(session, result, shown, hidden, list(figures))]
    if result.notes:
        parts += ["## Notes", "\n".join(f"- {_line(note)}" for note in result.notes)]
    rows = [(name, f"`{value}`" if name != "goal" else value) for name, value in _parameters(problem).items()]
    if rows:
        parts += ["## Parameters", table(("parameter", "value"), rows)]
    from .study import provenance_rows

    parts += ["## Provenance", table(("what", "value"), provenance_rows(result).items())]
    return "\n\n".join(parts) + "\n"


def table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_line(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def _question(session: Session, goal: ResolvedGoal) -> str:
    budget = session.budget
    spend = [f"{budget.evaluations:,} evaluations"] if budget.evaluations is not None else []
    spend += [f"{budget.seconds:g} s"] if budget.seconds is not None else []
    words = goal.describe()
    size = session.problem.space.size
    points = (
        "an endless space"
        if size is None
        else f"{size:,} points"
        if size < 10**15
        else f"about 10^{len(str(size)) - 1} points"
    )
    asked = (
        f"{words[0].upper()}{words[1:]}, over {points} ({session.problem.space.scalars:,} scalar decisions)"
    )
    return f"{asked}{', within ' + ' and '.join(spend) if spend else ''}."


def _answer(result: Result, session: Session, goal: ResolvedGoal) -> list[str]:
    if result.best is None:
        return [f"No point was scored: {result.stop_reason}."]
    lead = [] if result.feasible else ["**No feasible point was found.** The least violating one:"]
    limits = {v.metric: v for v in goal.limits}
    wanted = {o.metric: "minimised" if o.direction == "min" else "maximised" for o in goal.objectives}
    rows = []
    for name, metric in session.problem.metrics.items():
        value, sigma, limit = result.metrics[name], result.sigma.get(name), limits.get(name)
        shown = f"**{units.show(value, metric.unit)}**" + (f" ± {100 * sigma:.2g} %" if sigma else "")
        slack = ""
        if limit is not None and np.isfinite(limit.bound):
            spare = limit.sign * (limit.bound - value)
            slack = f"{limit.sense} {units.show(limit.bound, limit.unit, 5)}, "
            slack += f"{'slack' if spare >= 0 else 'over by'} {units.show(abs(spare), limit.unit, 3)}"
        start = units.show(result.start[name], metric.unit) if result.start else ""
        rows.append(
            (name.replace("_", " "), shown, wanted.get(name, ""), slack, *([start] if result.start else []))
        )
    heads = ("metric", "value", "goal", "limit", *(["your start"] if result.start else []))
    point = [
        (name, in_words(value, session.problem.space.domains[name]))
        for name, value in list(result.best.items())[:POINT_ROWS]
    ]
    more = (
        f"\n\n{len(result.best) - POINT_ROWS} more variables stand in the result file."
        if len(result.best) > POINT_ROWS
        else ""
    )
    front = [f"The front has {result.front_size:,} points."] if result.front_size > 1 else []
    return [*lead, table(heads, rows), *front, table(("variable", "value"), point) + more]


def _certificate(result: Result) -> str:
    certificate = result.certificate
    gap = (
        f", gap {certificate.gap:.2g}" if certificate.kind == "bound" and certificate.gap is not None else ""
    )
    words = f"**{certificate.kind}**{gap}: {certificate.statement}."
    return words + (f" Assumes {'; '.join(certificate.assumptions)}." if certificate.assumptions else "")


def _shown(session: Session, result: Result, shown: int, hidden: int, figures: list[str]) -> str:
    archive = session.archive
    share = f" ({archive.feasible / archive.rows:.1%})" if archive.rows else ""
    failed = f", {archive.failed:,} failed" if archive.failed else ""
    text = (
        f"{shown:,} trials stand for {archive.rows:,} scored rows; {archive.feasible:,} of these{share} are "
        f"feasible{failed}. Solver `{result.solver}` ({result.why}), seed {session.seed}, "
        f"{result.seconds:.2f} s; stopped: {result.stop_reason}. Column `role` says why a trial is here."
    )
    if session.goal.limits:
        text += " Trials marked *pruned* are infeasible and would otherwise be listed among the best."
    if hidden:
        text += f" {hidden:,} more parameters are left out."
    if "front" in figures:
        text += " The figure of the front is exact; the dashboard's own charts show these trials only."
    return text


def _parameters(problem: Any) -> Mapping[str, str]:
    known = declared(type(problem))
    found = {}
    for name, value in problem.parameters.items():
        if value is None:
            continue
        unit = known[name].unit if name in known else ""
        text = shown(value, unit)
        found[name] = cut(text)
    return found | {f"fixed {name}": cut(str(value)) for name, value in problem._pins.items()}
