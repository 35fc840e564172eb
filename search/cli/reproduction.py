"""`optimize reproduce`: a paper's figures beside ours, grouped so that each workload is said once.

`reproduce()` of a problem's class, or of its module, or of the module `reproduce` beside it, returns or
yields rows of quantity, paper, ours, ratio, workload, assumptions, and whether the mechanism was read in
the paper or reconstructed. A row with a quantity alone is a remark. Its parameters are the options of the
command; `figures()` beside it, with (part of) the same parameters, returns pictures by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...problems.faults import told
from ...problems.registry import load
from ..folder import check_writable
from ..own import heard
from ..plots import write_figures
from .arguments import read_options
from .console import console, note, print_json, print_rows

SHARED = ("workload", "assumptions", "mechanism", "source")
"""Columns of text that tend to repeat from row to row."""
REPEATED = 3
"""Least rows that a value must hold on average for it to be said once above them."""

Row = Mapping[str, Any]


def reproduce_problem(name: str, arguments: list[str], folder: Path | None, json: bool) -> None:
    """Print a paper's figures beside ours, and draw its pictures into a folder where one is given.

    arguments: of the problem's own function, such as --trace FILE. Raises DataError where the problem has
    nothing to reproduce, or nothing to draw.
    """
    produce = _reproduction(load(name), name)
    draw = getattr(importlib.import_module(produce.__module__), "figures", None)
    if folder is not None and not callable(draw):
        raise DataError(f"the reproduction of '{name}' has no pictures; leave --figures out.")
    given = read_options(f"the reproduction of {name}", produce, arguments)
    if folder is not None:
        check_writable(folder / "figure.png", "--figures")
    paths: list[Path] = []
    with console(stderr=True).status(f"reproducing {name}") as status:
        found = []
        for row in told(produce)(**given):
            found.append(dict(row))
            status.update(f"reproducing {name}: {len(found)} figures, the last: {row.get('quantity', '')}")
        if folder is not None and draw is not None:
            status.update(f"drawing {name}")
            taken = inspect.signature(draw).parameters
            with heard(note, "pictures"):
                drawn = told(draw)(**{n: v for n, v in given.items() if n in taken})
                paths = write_figures(drawn, folder)
    if json:
        print_json({"problem": name, "rows": found, "figures": [str(path) for path in paths]})
        return
    remarks = [row for row in found if _is_remark(row)]
    figures = [row for row in found if not _is_remark(row)]
    for place, (above, group) in enumerate(grouped(figures)):
        if above:
            console().print(("\n" if place else "") + " · ".join(above), style="bold", markup=False)
        print_rows("", group)
    for remark in remarks:
        console().print(f"\n{remark['quantity']}", markup=False)
    for path in paths:
        console().print(f"drawn       {path}", markup=False)


def grouped(found: Sequence[Row]) -> Iterator[tuple[list[str], list[Row]]]:
    """Consecutive rows that share their repeated columns: the shared texts, and the rows without them."""
    hoisted: list[str] = []
    for name in SHARED:
        wanted = [*hoisted, name]
        runs = sum(1 for _ in groupby(found, key=lambda row: [row.get(n) for n in wanted]))
        if any(row.get(name) for row in found) and len(found) >= REPEATED * runs:
            hoisted = wanted
    for texts, rows in groupby(found, key=lambda row: [row.get(name) for name in hoisted]):
        yield (
            [str(text) for text in texts if text],
            [{n: v for n, v in row.items() if n not in hoisted} for row in rows],
        )


def _is_remark(row: Row) -> bool:
    return not any(
        value not in {None, ""} for name, value in row.items() if name not in {"quantity", *SHARED}
    )


def _reproduction(cls: type, name: str) -> Callable[..., Iterable[Row]]:
    """The function that returns the rows: of the class, of its module, or of `reproduce` beside it."""
    method = getattr(cls, "reproduce", None)
    if callable(method):
        return method  # type: ignore[no-any-return]
    module = importlib.import_module(cls.__module__)
    if callable(getattr(module, "reproduce", None)):
        return module.reproduce  # type: ignore[no-any-return]
    beside = cls.__module__.rpartition(".")[0] + ".reproduce"
    if "." in cls.__module__ and importlib.util.find_spec(beside) is not None:
        found = getattr(importlib.import_module(beside), "reproduce", None)
        if callable(found):
            return found  # type: ignore[no-any-return]
    raise DataError(
        f"'{name}' has nothing to reproduce: neither its class nor its module defines reproduce()."
    )
