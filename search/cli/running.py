"""`optimize run`, `resume` and `regoal`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.markup import escape

from ... import units
from ...errors import NotReady
from ...problems.goal import Goal, ResolvedGoal
from ...problems.parameters import declared, shown
from ...problems.problem import Problem
from ...problems.readiness import looking
from ...problems.scoring import evaluate
from ...solvers.base import Budget, Solver
from ...solvers.portfolio import select
from ..folder import find_run
from ..own import headline
from ..record import problem_name, readable_problem, recorded_problem, undamaged
from ..result import Interrupted, Result
from ..run import regoal, resume, solve
from ..sharing import sampler
from .arguments import make_problem, read_fixes
from .console import console, note, print_json
from .options import DEFAULT_EVALUATIONS, DEFAULT_SECONDS
from .progress import Watcher, preparing
from .report import print_result

Found = TypeVar("Found")
STRUCK = 130
"""Exit code of a search that Ctrl-C ended: its answer so far is saved and printed."""
PROBE_ROWS = 1_024
ROW_MICROSECONDS = {"exhaustive": 0.05, "random": 2.0, "sobol": 2.0, "nsga2": 15.0, "ga": 15.0}
"""CPU a row of solvers whose own cost hardly depends on the problem, recording included: measured by
benchmarks/core.py and benchmarks/evolution.py. A model-based sampler's grows with its rows; a proof's is
open."""


@dataclass(frozen=True)
class Wish:
    """Goal options as the command line gives them."""

    minimize: list[str] | None
    maximize: list[str] | None
    limit: list[str] | None
    no_limit: list[str] | None

    @property
    def goal(self) -> Goal:
        """The goal they state."""
        return Goal(
            tuple(self.minimize or ()),
            tuple(self.maximize or ()),
            tuple(self.limit or ()),
            tuple(self.no_limit or ()),
        )


def cli_budget(evals: int | None, seconds: float | None, gap: float | None) -> Budget:
    """The budget asked for; a minute where nothing is."""
    limit = DEFAULT_SECONDS if evals is None and seconds is None else seconds
    return Budget(evaluations=evals, seconds=limit, gap=gap)


def run_problem(
    name: str,
    arguments: list[str],
    wish: Wish,
    *,
    evals: int | None,
    seconds: float | None,
    gap: float | None,
    solver: str,
    seed: int,
    workers: int,
    executor: str | None,
    fix: list[str],
    start: str | None,
    pick: str | None,
    robust: float | None,
    runs: Path,
    storage: str | None,
    study: str | None,
    keep_all: bool,
    dry: bool,
    json: bool,
) -> int:
    """Search a problem; the exit code."""
    problem = make_problem(name, arguments)
    if fix:
        problem = problem.fix(**read_fixes(fix))
    goal = wish.goal
    resolved = goal.resolve(problem)
    budget = cli_budget(evals, seconds, gap)
    choose = partial(select if study is None else sampler, solver, problem, resolved)
    if dry:
        with looking():
            _dry(problem, resolved, choose, budget, evals is None and seconds is None, workers, json)
        return 0
    _prepare(problem, choose, budget, json)
    chosen, why = choose(budget)
    if evals is None and seconds is None:
        budget = _bounded(chosen, budget)
    out = console(stderr=True)
    if not json:
        _headline(problem, resolved, chosen.name, why if solver == "auto" else "asked for", solver)
    with Watcher(out, resolved, enabled=not json) as watcher:
        search = partial(
            solve,
            problem,
            chosen.name,
            goal,
            budget,
            seed=seed,
            workers=workers,
            executor=executor,
            runs=runs,
            start=_start(start, runs),
            pick=pick,
            robust=robust,
            storage=storage,
            keep_all=keep_all,
            observer=watcher,
            why=why,
            study=study,
        )
        result, struck = answer_of(search)
    return _finish(result, problem, resolved, json, struck)


def answer_of(search: Callable[[], Found]) -> tuple[Found, bool]:
    """What a search found, and whether Ctrl-C ended it."""
    try:
        return search(), False
    except Interrupted as stop:
        return stop.result, True


Choose = Callable[[Budget], tuple[Solver, str]]


def _prepare(problem: Problem, choose: Choose, budget: Budget, json: bool) -> None:
    """What takes long and is done once, under a bar; a solver that refuses says so before it."""
    if type(problem).ready is Problem.ready:
        return
    with looking(), suppress(NotReady):
        choose(budget)
    with preparing(json) as progress:
        problem.ready(progress)


def _bounded(solver: Solver, budget: Budget) -> Budget:
    """The usual number of evaluations for a search without an end, where none was asked for."""
    return replace(budget, evaluations=DEFAULT_EVALUATIONS) if solver.needs_budget else budget


def _start(start: str | None, runs: Path) -> str | Path | None:
    if start is None or Path(start).exists():
        return start
    return find_run(start, runs).path


def _headline(problem: Problem, goal: ResolvedGoal, solver: str, why: str, asked: str) -> None:
    out = console()
    words = headline(problem, note)
    if not words:
        values = [f"{n} {shown(v, declared(type(problem))[n].unit)}" for n, v in problem.parameters.items()]
        words = ", ".join(values[:8])
    out.print(
        f"[bold]{problem_name(problem)}[/] · {escape(words)}"
        if words
        else f"[bold]{problem_name(problem)}[/]"
    )
    out.print(f"[dim]goal[/]        {goal.describe()}")
    out.print(f"[dim]solver[/]      {solver} ({'auto: ' if asked == 'auto' else ''}{escape(why)})")


def _finish(result: Result, problem: Problem, goal: ResolvedGoal, json: bool, struck: bool = False) -> int:
    if json:
        print_json(result.record())
    else:
        print_result(result, problem, goal)
    if struck:
        return STRUCK
    return 0 if result.feasible and result.robust.get("met", True) else 1


def _dry(
    problem: Problem,
    goal: ResolvedGoal,
    choose: Choose,
    budget: Budget,
    unasked: bool,
    workers: int,
    json: bool,
) -> None:
    """Size, speed, solver and expected time, from one small batch; where what takes long was never done,
    only what is known without it.

    unasked: whether the budget is the usual one.
    """
    try:
        chosen, why = choose(budget)
        budget = _bounded(chosen, budget) if unasked else budget
        solver = chosen.name
        batch = problem.space.sample(np.random.default_rng(0), PROBE_ROWS if problem.cost == "fast" else 1)
        evaluate(problem, batch)
    except NotReady as missing:
        _unprepared(problem, goal, str(missing), json)
        return
    began = time.perf_counter()
    evaluate(problem, batch)
    rate = len(batch) / max(time.perf_counter() - began, 1e-9)
    size = problem.space.size
    rows_needed = size if solver == "exhaustive" else budget.evaluations
    expected = rows_needed / rate / workers if rows_needed else None
    if budget.seconds is not None:
        expected = min(expected, budget.seconds) if expected is not None else budget.seconds
    own = rows_needed * micro * 1e-6 if rows_needed and (micro := solver_cost(solver)) is not None else None
    if expected is not None and own is not None and budget.seconds is None:
        expected += own
    data = {
        "problem": problem_name(problem),
        "size": size,
        "scalars": problem.space.scalars,
        "goal": goal.describe(),
        "solver": solver,
        "why": why,
        "rows_per_second": rate,
        "solver_seconds": own,
        "rows": rows_needed,
        "expected_seconds": expected,
    }
    if json:
        print_json(data)
        return
    out = console()
    points = "no end of points" if size is None else f"{units.count(size)} points"
    out.print(f"[dim]goal[/]        {goal.describe()}")
    out.print(f"[dim]space[/]       {points}, {problem.space.scalars} scalar decisions")
    out.print(f"[dim]solver[/]      {solver} ({why})")
    out.print(f"[dim]referee[/]     {rate:,.0f} rows/s on one core")
    if own is not None:
        out.print(f"[dim]beside it[/]   about {own:.2g} s for {solver} itself and the record of its rows")
    else:
        out.print(f"[dim]beside it[/]   what {solver} itself takes, which is not known beforehand")
    done = f"{rows_needed:,} rows" if rows_needed else "until proven"
    out.print(
        f"[dim]expected[/]    {done}, at most {expected:.3g} s"
        if expected is not None
        else f"[dim]expected[/]    {done}"
    )


def _unprepared(problem: Problem, goal: ResolvedGoal, missing: str, json: bool) -> None:
    """What is known before anything was trained, timed or measured."""
    if json:
        print_json({"problem": problem_name(problem), "goal": goal.describe(), "missing": missing})
        return
    console().print(f"[dim]goal[/]        {goal.describe()}")
    console().print(f"[dim]unknown[/]     solver, speed and expected time: {missing}", soft_wrap=True)


def solver_cost(solver: str) -> float | None:
    """Microseconds a row that a solver takes beside the referee, or None where that is not known."""
    return ROW_MICROSECONDS.get(solver)


def resume_run(
    name: str,
    runs: Path,
    evals: int | None,
    seconds: float | None,
    gap: float | None,
    workers: int | None,
    executor: str | None,
    storage: str | None,
    json: bool,
) -> int:
    """Continue a run; the exit code."""
    folder = find_run(name, runs)
    record = folder.read_json("run.json")
    with undamaged(folder):
        problem = recorded_problem(record)
        budget = None
        if evals is not None or seconds is not None or gap is not None:
            before = Budget(**record["budget"])
            budget = Budget(
                evals if evals is not None else (before.evaluations if seconds is None else None),
                seconds if seconds is not None else (before.seconds if evals is None else None),
                gap if gap is not None else before.gap,
            )
        goal = Goal(**{k: tuple(v) for k, v in record["goal_text"].items()}).resolve(problem)
    if not json:
        _headline(problem, goal, record["solver"], f"resumes {folder.id}", "")
    with preparing(json) as progress:
        problem.ready(progress)
    with Watcher(console(stderr=True), goal, enabled=not json) as watcher:
        search = partial(
            resume,
            folder,
            problem=problem,
            budget=budget,
            workers=workers,
            executor=executor,
            storage=storage,
            observer=watcher,
        )
        result, struck = answer_of(search)
    return _finish(result, problem, goal, json, struck)


def regoal_run(name: str, runs: Path, wish: Wish, pick: str | None, json: bool) -> int:
    """Answer another goal from recorded rows; the exit code."""
    folder = find_run(name, runs)
    with undamaged(folder):
        problem = readable_problem(folder.read_json("run.json"))
    goal = wish.goal.resolve(problem)
    if not json:
        _headline(problem, goal, "recorded rows", f"of run {folder.id}, nothing is evaluated", "")
    return _finish(regoal(folder, wish.goal, problem=problem, pick=pick), problem, goal, json)
