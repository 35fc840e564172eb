"""`optimize compare`: solvers or recorded runs side by side: print the table, write tables and curves."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ...errors import DataError
from ...problems.registry import entries
from ...solvers.base import Budget
from ..comparison.compare import LEFT_OUT, Comparison, compare
from ..folder import RunFolder, check_writable, find_run
from ..own import heard
from ..run import now
from ..session import Session
from .arguments import make_problem, read_fixes
from .console import console, note, print_json, rows, table
from .options import DEFAULT_EVALUATIONS, DEFAULT_SECONDS
from .progress import preparing
from .running import STRUCK, Wish, answer_of

HEADS = ("solver", "median", "best", "worst", "deviation", "mean rank", "within 1 %", "rows to 1 %",
         "s to 1 %", "rows", "seconds", "certificate")  # fmt: skip
LATIN = re.compile(r"[^A-Za-z0-9_.-]+")


class Bar:
    """One bar over all runs of a comparison, on a terminal only."""

    def __init__(self, runs: int, enabled: bool) -> None:
        err = console(stderr=True)
        self.runs, self.enabled = runs, enabled and err.is_terminal
        self.seen: set[tuple[str, int]] = set()
        self.progress = Progress(
            TextColumn("  {task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(), console=err, transient=True, disable=not self.enabled,
        )  # fmt: skip
        self.task = self.progress.add_task("starting", total=runs, share="")

    def __call__(self, solver: str, seed: int, session: Session) -> None:
        """Move the bar; a run counts by its share of the budget."""
        self.seen.add((solver, seed))
        if not self.enabled:
            return
        budget = session.budget
        shares = [0.0]
        if session.cursor_end:
            shares.append(session.cursor / session.cursor_end)
        elif budget.evaluations:
            shares.append(session.evaluations / budget.evaluations)
        if budget.seconds:
            shares.append(session.seconds / budget.seconds)
        done = len(self.seen) - 1 + min(1.0, max(shares))
        words = f"{solver}, seed {seed}"
        self.progress.update(
            self.task, completed=done, description=words, share=f"run {len(self.seen)} of {self.runs}"
        )


def compare_solvers(
    name: str,
    arguments: list[str],
    wish: Wish,
    *,
    solvers: str,
    seeds: int,
    evals: int | None,
    seconds: float | None,
    gap: float | None,
    workers: int,
    fix: list[str],
    out: Path | None,
    runs: Path,
    json: bool,
) -> int:
    """Compare solvers; the exit code (1 where no run found a feasible point)."""
    problem = make_problem(name, arguments)
    if fix:
        problem = problem.fix(**read_fixes(fix))
    check_writable((out or runs / "comparisons") / "compare.md", "--out")
    with preparing(json) as progress:
        problem.ready(progress)
    nothing = evals is None and seconds is None
    budget = Budget(
        DEFAULT_EVALUATIONS if nothing else evals, DEFAULT_SECONDS if seconds is None else seconds, gap
    )
    bar = Bar(seeds * len([n for n in solvers.split(",") if n.strip()]), enabled=not json)
    with bar.progress, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f".* {LEFT_OUT}")  # printed below the table
        found, struck = answer_of(
            lambda: compare(
                problem, solvers, goal=wish.goal, budget=budget, seeds=seeds, workers=workers, observer=bar
            )
        )
    code = _told(found, out, runs, json)
    return STRUCK if struck else code


def _told(found: Comparison, out: Path | None, runs: Path, json: bool) -> int:
    """Write and print a comparison; the exit code."""
    folder = out or runs / "comparisons" / f"{now()}-{LATIN.sub('-', found.problem)}"
    files = write_comparison(found, folder)
    if json:
        print_json({**found.record(), "files": [str(f) for f in files]})
    else:
        _print(found, folder, files)
    return 0 if any(t.result.feasible for t in found.traces) else 1


def is_run(name: str, runs: Path) -> bool:
    """Whether a name is that of a recorded run and of no problem."""
    if name in {entry.name for entry in entries()} or ":" in name:
        return False
    try:
        find_run(name, runs)
    except DataError:
        return False
    return True


IDLE = {
    "solvers": "--solvers", "seeds": "--seeds", "evals": "--evals", "seconds": "--seconds", "gap": "--gap",
    "workers": "--workers", "fix": "--fix",
}  # fmt: skip
"""Options that mean something to a search only."""


def compare_recorded(
    names: list[str], wish: Wish, given: Collection[str], *, out: Path | None, runs: Path, json: bool
) -> int:
    """Compare recorded runs; the exit code (1 where none found a feasible point).

    given: options that were set. Raises DataError for one that only a search has.
    """
    from ..comparison.recorded import compare_runs

    idle = [flag for name, flag in IDLE.items() if name in given]
    if idle:
        raise DataError(f"{idle[0]} is for runs to be made; recorded runs are compared as they are.")
    odd = next((name for name in names if name.startswith("-")), None)
    if odd is not None:
        raise DataError(
            f"compare of recorded runs has no option '{odd}'; 'optimize compare --help' lists them."
        )
    problems = [name for name in names if name in {entry.name for entry in entries()}]
    if problems:
        raise DataError(
            f"compare takes one problem, its parameters as --name value, or two or more recorded runs; "
            f"'{problems[0]}' is a problem and '{next(n for n in names if n != problems[0])}' no parameter."
        )
    folders = [find_run(name, runs) for name in names]
    goal = wish.goal if any((wish.minimize, wish.maximize, wish.limit, wish.no_limit)) else None
    found = compare_runs(folders, goal=goal)
    return _told(found, out, runs, json)


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write Markdown, CSV, JSON, both forms of the curves and the runtime distributions; the paths."""
    from ..comparison.curves import page, picture
    from ..comparison.runtimes import runtime_picture

    contents: dict[str, bytes] = {
        "compare.md": found.markdown().encode(),
        "compare.csv": found.csv().encode(),
    }
    draws: dict[str, Callable[[], bytes]] = {
        "curves.png": lambda: _png(picture(found)),
        "curves.html": lambda: page(found).encode(),
        "runtimes.png": lambda: _png(runtime_picture(found)),
    }
    for name, draw in draws.items():
        with heard(note, name):
            contents[name] = draw()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from ..folder import unwritable

        raise unwritable(folder, error) from None
    target = RunFolder(folder)
    for name, content in contents.items():
        target.write_bytes(name, content)
    target.write_json("compare.json", found.record())
    return [folder / name for name in (*contents, "compare.json")]


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150)
    return buffer.getvalue()


def _print(found: Comparison, folder: Path, files: list[Path]) -> None:
    out = console()
    out.print(f"[bold]{found.problem}[/] · {found.goal.describe()}")
    out.print(
        f"[dim]compared by[/] {found.measure}, {'more' if found.larger_is_better else 'less'} is better"
    )
    made = table("", *HEADS, right=HEADS[1:-1])
    out.print(rows(made, [tuple(found.cells(name)) for name in found.solvers]))
    out.print(f"[dim]ranks[/]       {found.ranking.statement()}")
    for name, reason in found.refused.items():
        out.print(f"[yellow]did not run[/] {name}: {escape(reason)}")
    for sentence in found.notes:
        out.print(f"[dim]note[/]        {escape(sentence)}")
    out.print(f"[dim]stored in[/]   {folder}: {', '.join(f.name for f in files)}")
