"""The terminal: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PIPE_WIDTH = 160


@lru_cache(maxsize=2)
class Printed(Console):
    """A console whose reader may leave early, as `head` does: that is no failure of the command."""

    def on_broken_pipe(self) -> None:
        """Leave it to `main`, which ends with exit code 0."""
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    """The console of standard output or standard error."""
    made = Printed(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made


def fail(sentence: str) -> None:
    """Print an error: one sentence, further lines indented beneath it."""
    console(stderr=True).print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)


@cache
def note(sentence: str) -> None:
    """Print a note on standard error, each sentence once a process."""
    console(stderr=True).print(f"[yellow]note:[/] {escape(sentence)}", soft_wrap=True)


def print_json(data: Any) -> None:
    """Print one JSON object."""
    print(json.dumps(data, indent=1, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    from ..folder import plain

    return plain(value)


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """A plain table whose columns are separated by space."""
    made = Table(
        title=escape(title) or None,
        box=None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        made.add_column(column, style="", header_style="dim", justify="right" if column in right else "left")
    return made


def rows(table: Table, cells: list[tuple[Any, ...]]) -> Table:
    """The table with rows added, markup in cells shown as text."""
    for row in cells:
        table.add_row(*(cell if hasattr(cell, "__rich_console__") else escape(str(cell)) for cell in row))
    return table


def print_rows(title: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table: numbers with four digits to the right, columns without content left out."""
    names = list(dict.fromkeys(name for row in found for name in row))
    names = [n for n in names if any(row.get(n) not in {None, ""} for row in found)]
    numeric = {n for n in names if all(isinstance(row.get(n), int | float | type(None)) for row in found)}
    made = table(title, *names, right=tuple(numeric))
    console().print(rows(made, [tuple(_shown(row.get(n)) for n in names) for row in found]))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1e4
        else f"{value:,}"
        if isinstance(value, int | float)
        else str(value)
    )
