"""What a person sees while a search runs: a bar, the incumbent and the bound; nothing without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from ... import units
from ...problems.goal import ResolvedGoal
from ...problems.problem import Progress
from ..session import Session
from .console import console as terminal

REFRESH = 0.1


class Watcher:
    """An observer of a session that draws a progress bar on a terminal."""

    def __init__(self, console: Console, goal: ResolvedGoal, enabled: bool = True) -> None:
        self.goal, self.enabled = goal, enabled and console.is_terminal
        self._last = 0.0
        self._bound: float | None = None
        self._incumbent: float | None = None
        self._progress = Bars(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self.enabled,
        )

    def __enter__(self) -> Watcher:
        self._progress.start()
        self._task = self._progress.add_task("starting", total=None, share="")
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def __call__(self, session: Session) -> None:
        """Draw, at most ten times a second."""
        now = time.monotonic()
        if not self.enabled or now - self._last < REFRESH:
            return
        self._last = now
        share, total = self._share(session)
        self._progress.update(
            self._task,
            description=self._words(session),
            total=1.0 if total else None,
            completed=share,
            share=total,
        )

    def _share(self, session: Session) -> tuple[float, str]:
        if session.stage:
            return session.stage_share, f"{session.stage_share:.0%}"
        if session.cursor_end:
            return session.cursor / session.cursor_end, f"{session.evaluations:,} points"
        if session.budget.evaluations:
            done = session.evaluations / session.budget.evaluations
            return done, f"{session.evaluations:,} of {session.budget.evaluations:,}"
        if session.budget.seconds:
            return min(1.0, session.seconds / session.budget.seconds), f"{session.evaluations:,} rows"
        return 0.0, ""

    def _words(self, session: Session) -> str:
        if session.stage:
            return session.stage
        objective = self.goal.objectives[0]
        value, bound = session.incumbent, None
        if session.bounds:
            _, incumbent, bound = session.bounds[-1]
            value = incumbent if incumbent is not None else value
        if not self.goal.single:
            members = len(session.archive.ids)
            return f"front {members} points" if members else "searching"
        words = (
            f"incumbent {units.show(value, objective.unit)}" if value is not None else "no feasible point yet"
        )
        if bound is not None:
            words += f"   bound {units.show(bound, objective.unit)}"
            if value:
                words += f"   gap {abs(value - bound) / max(abs(value), abs(bound)):.2%}"
        return words


@contextmanager
def fraction_bar(json: bool) -> Iterator[Callable[[float, str], None]]:
    """A bar on the terminal; called with the fraction done and what is at hand."""
    err = terminal(stderr=True)
    shown = Bars(
        TextColumn("  {task.description:<24}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=json or not err.is_terminal,
    )
    with shown:
        task = shown.add_task("starting", total=1.0)
        yield lambda fraction, what: shown.update(task, completed=fraction, description=what)


@contextmanager
def preparing(json: bool) -> Iterator[Progress]:
    """What `Problem.ready` tells, as a bar that appears with its first word."""
    with ExitStack() as stack:
        bars: list[Callable[[float, str], None]] = []

        def tell(words: str, share: float) -> None:
            if not bars:
                bars.append(stack.enter_context(fraction_bar(json)))
            bars[0](share, words)

        yield tell
