"""A result for people: answer, metrics with limits and slack, certificate, what to type next."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from ... import units
from ...problems.goal import Limit, ResolvedGoal
from ...problems.problem import Problem
from ..own import Hear, heard, summary
from ..plots import save_figures
from ..result import Result
from ..trust.robust import describe
from ..values import in_words
from .console import console, fail, note, rows, table

FRONT_ROWS = 10


def print_result(result: Result, problem: Problem, goal: ResolvedGoal) -> None:
    """Print a result; an infeasible one as an error with the remedy."""
    out = console()

    def hear(sentence: str) -> None:
        if sentence not in result.notes:
            note(sentence)

    if not result.feasible:
        _print_infeasible(result, problem, goal)
    if result.best is not None and not result.certificate.infeasible:
        out.print()
        out.print(_metrics(result, problem, goal))
        if result.front_size > 1:
            out.print(_front(result, problem, goal))
        _print_point(result, problem, hear)
    if result.robust:
        out.print(f"[dim]robust[/]      {escape(describe(result.robust, problem))}")
        if not result.robust["met"]:
            fail(f"{result.certificate.statement}. Relax a limit, or ask for a smaller --robust.")
    out.print(f"[dim]certificate[/] {_certificate(result)}")
    spent = f"{result.evaluations:,} rows in {result.seconds:.2f} s"
    out.print(f"[dim]stopped[/]     {escape(result.stop_reason)}; {spent}")
    for sentence in result.notes:
        out.print(f"[dim]note[/]        {escape(sentence)}")
    if result.run_dir is not None:
        pictures = _pictures(result, problem, goal, result.run_dir / "figures", hear)
        out.print(f"[dim]stored in[/]   {result.run_dir}")
        if pictures:
            out.print(f"[dim]pictures[/]    {', '.join(p.name for p in pictures)} in {pictures[0].parent}")
        out.print(f"[dim]next[/]        {_next(result)}")


def _pictures(result: Result, problem: Problem, goal: ResolvedGoal, folder: Path, hear: Hear) -> list[Path]:
    """Draw, except for an answer that is none and for another goal than the run's own."""
    if result.certificate.infeasible or result.from_record:
        return []
    try:
        return save_figures(result, problem, goal, folder, hear)
    except OSError as error:
        fail(f"no pictures: cannot write '{folder}': {error.strerror or error}.")
        return []


def _next(result: Result) -> str:
    run = Path(str(result.run_dir)).name.rpartition("-")[2]
    if not result.feasible:
        return f"optimize regoal {run} --limit ..."
    steps = [f"optimize explain {run}", f"optimize report {run}"]
    if result.certificate.kind != "proven":
        steps.insert(0, f"optimize resume {run} --seconds 300")
    steps.append(f"optimize regoal {run} --limit ...")
    if find_spec("optuna_dashboard") is not None:
        steps.append("optimize dashboard")
    return " · ".join(steps)


def _certificate(result: Result) -> str:
    certificate = result.certificate
    colour = {"proven": "green", "bound": "yellow", "none": "dim"}[certificate.kind]
    gap = (
        f", gap {certificate.gap:.2g}" if certificate.kind == "bound" and certificate.gap is not None else ""
    )
    kind = certificate.kind if certificate.exact or certificate.kind != "proven" else "optimal in expectation"
    words = f"[{colour}]{kind}{gap}[/]: {escape(certificate.statement)}"
    assumed = escape("; ".join(certificate.assumptions))
    return f"{words}; assumes {assumed}" if assumed else words


def _metrics(result: Result, problem: Problem, goal: ResolvedGoal) -> Any:
    wanted = {o.metric: "minimised" if o.direction == "min" else "maximised" for o in goal.objectives}
    cells = []
    for name, metric in problem.metrics.items():
        value = result.metrics[name]
        shown = units.show(value, metric.unit)
        if result.sigma.get(name):
            shown += f" ± {100 * result.sigma[name]:.2g} %"
        limits = [v for v in goal.limits if v.metric == name]
        bound = ", ".join(f"{v.sense} {units.show(v.bound, v.unit, 5)}" for v in limits)
        slack = ", ".join(_slack(v, value) for v in limits if np.isfinite(v.bound))
        cell = [name.replace("_", " "), shown, wanted.get(name, ""), bound, slack]
        if result.start:
            cell.append(_against_start(result, name))
        if result.replications:
            mean, half, seeds = result.replications[name]
            width = units.show(half, metric.unit, 2)
            cell.append(f"{units.show(mean, metric.unit)} ± {width} ({seeds} seeds)")
        cells.append(cell)
    heads = ["metric", "value", "", "limit", ""]
    heads += ["than your start"] if result.start else []
    heads += ["on fresh seeds, 95 %"] if result.replications else []
    made = table("", *heads, right=("value",))
    for cell in cells:
        made.add_row(*cell)
    return made


def _slack(limit: Limit, value: float) -> str:
    spare = limit.sign * (limit.bound - value)
    word = "slack" if spare >= 0 else "[red]over by[/]"
    return f"{word} {units.show(abs(spare), limit.unit, 3)}"


def _against_start(result: Result, name: str) -> str:
    before = result.start.get(name, 0.0) if result.start else 0.0
    if before == 0 or not np.isfinite(before):
        return "it failed" if np.isnan(before) else ""
    change = (result.metrics[name] - before) / abs(before)
    return f"{abs(change):.1%} {'more' if change > 0 else 'less'}" if abs(change) >= 5e-4 else "the same"


def _front(result: Result, problem: Problem, goal: ResolvedGoal) -> Any:
    first = goal.objectives[0]
    order = np.argsort(first.sign * result.front_columns[first.metric], kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, FRONT_ROWS).astype(int))]
    scalar = [n for n, d in problem.space.domains.items() if not d.width and d.pinned is None][:6]
    names = [o.metric for o in goal.objectives]
    cells = [
        (
            str(row),
            *(units.show(float(result.front_columns[n][row]), problem.metrics[n].unit) for n in names),
            *(problem.space.domains[n].shown(result.front_columns[n][row]) for n in scalar),
        )
        for row in shown
    ]
    title = (
        f"front: {result.front_size} points, {len(shown)} shown"
        if len(shown) < result.front_size
        else f"front: {result.front_size} points"
    )
    return rows(table(title, "row", *(n.replace("_", " ") for n in names), *scalar, right=("row",)), cells)


def _print_point(result: Result, problem: Problem, hear: Hear) -> None:
    out = console()
    listed = summary(problem, result.best or {}, hear)
    if listed:
        heads = list(listed[0])
        out.print(
            rows(table("plan", *heads), [tuple(_cell(row.get(h, "")) for h in heads) for row in listed])
        )
    cells = [
        (name, in_words(value, problem.space.domains[name]))
        for name, value in (result.best or {}).items()
        if not (listed and isinstance(value, list))
    ]
    if cells:
        out.print(rows(table("answer", "variable", "value"), cells))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_infeasible(result: Result, problem: Problem, goal: ResolvedGoal) -> None:
    own = ""
    with heard(note, "what the problem says of it"):
        own = problem.explain_infeasible(goal)
    if own:
        fail(own)
    elif result.certificate.infeasible:
        fail(result.certificate.statement)
    else:
        least = f"; the least violating of {result.evaluations:,} rows is shown" if result.best else ""
        limits = ", ".join(f"'{v}'" for v in goal.limits)
        remedies = [] if result.from_record else ["give more --evals"]
        remedies += ["relax a limit"] if limits else ["name another objective"]
        more = " or ".join(remedies)
        under = f" under {limits}" if limits else ""
        fail(f"no feasible point was found{under}{least}. {more[0].upper()}{more[1:]}.")
