"""`optimize explain`: why an answer is what it is, what its limits are worth, how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ... import units
from ..folder import RunFolder, find_run
from ..trust.candidates import recall
from ..trust.explain import Effort, Explainer, answered
from ..trust.explanation import FILE, Explanation
from ..trust.figures import keep
from .console import console, note, print_json, print_rows, rows, table


class Bars:
    """Progress of the parts of an explanation, one line each; nothing without a terminal."""

    def __init__(self, out: Console, enabled: bool) -> None:
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=out,
            transient=True,
            disable=not (enabled and out.is_terminal),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that so much of a part is done."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


def explain_run(name: str, runs: Path, effort: Effort, json: bool) -> None:
    """Explain a run, keep the explanation in its folder and print it."""
    folder = find_run(name, runs)
    made = explained(folder, effort, json)
    if json:
        print_json(made.record())
    else:
        _print(made)
        _print_places(folder)
    if made.interrupted:
        raise KeyboardInterrupt


def _print_places(folder: RunFolder) -> None:
    """Where the explanation is kept, and what comes next."""
    pictures = sorted(p.name for p in (folder.path / "figures").glob("explain-*.png"))
    out = console()
    out.print(f"[dim]stored in[/]   {folder.path / FILE}")
    if pictures:
        out.print(f"[dim]pictures[/]    {', '.join(pictures)} in {folder.path / 'figures'}")
    out.print(f"[dim]next[/]        optimize report {folder.id}")


def explained(folder: RunFolder, effort: Effort, quiet: bool = False) -> Explanation:
    """The explanation of a run, with its pictures written to the run's folder."""
    result = answered(folder)
    session = recall(folder)
    out = console(stderr=True)
    with Bars(out, not quiet) as bars:
        announce = None if quiet else lambda told: out.print(f"[dim]{told}[/]")
        made = Explainer(folder, session, result, effort, bars, announce).explain()
    keep(folder, made, note)
    return made


def _print(made: Explanation) -> None:
    out = console()
    out.print(f"[bold]{made.result.problem}[/] · run {made.run}")
    out.print(f"[dim]goal[/]        {made.goal.describe()}")
    out.print(
        f"[dim]certificate[/] {made.result.certificate.kind}: {escape(made.result.certificate.statement)}"
    )
    for title, sentences in made.sections():
        out.print(f"\n[bold]{title}[/]")
        for sentence in sentences:
            out.print(f"  {escape(sentence)}.")
        if title == "What each limit is worth":
            _print_worths(made)
    for title, told in made.own.items():
        if not isinstance(told, str) and told:
            print_rows(title, told)
    if made.notes:
        out.print()
    for sentence in made.notes:
        out.print(f"[dim]note[/]        {escape(sentence)}")


def _print_worths(made: Explanation) -> None:
    objective = made.worths[0].objective
    heads = ["limit", "-10 %", "-1 %", "now", "+1 %", "+10 %", "without"]
    relaxed = any(worth.hints for worth in made.worths)
    cells = []
    for worth in made.worths:
        shown = [
            units.show(v.value, objective.unit, 5) if v.value is not None else "none" for v in worth.levels
        ]
        now = units.show(worth.value, objective.unit, 5)
        hint = worth.hints.get(0.01)
        name = worth.limit.metric.replace("_", " ") + (" (held)" if worth.held else "")
        off = "" if worth.trusted or not worth.binding else " (off)"
        told = ("" if hint is None else f"{units.show(hint, objective.unit, 5)}{off}",) if relaxed else ()
        cells.append((name, *shown[:2], now, *shown[2:], *told))
    if relaxed:
        heads.append("relaxed, +1 %")
    out = console()
    out.print(rows(table(f"{objective.metric.replace('_', ' ')} with the bound moved", *heads), cells))
