"""`optimize report`: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ..folder import RunFolder, find_run
from ..page import page
from ..result import Result
from ..trust.candidates import recall
from ..trust.explain import Effort
from ..trust.explanation import FILE
from .console import console, print_json
from .explain_command import explained


def report_run(name: str, runs: Path, out: Path | None, explain: bool, json: bool) -> None:
    """Write the page of a run, by default beside its rows.

    Raises DataError where the run has no result.
    """
    folder = find_run(name, runs)
    if not (folder.path / "result.json").is_file():
        raise DataError(
            f"run {folder.id} has no result: it failed or was stopped before its end; 'optimize resume "
            f"{folder.id}' goes on with it."
        )
    if out is not None and out.suffix not in {".html", ".htm"}:
        raise DataError(f"--out '{out}' must end in .html; a page is all that report writes.")
    result = Result.load(folder.path)
    if explain and result.feasible:
        explained(folder, Effort(), json)
    text = page(recall(folder), result).encode()
    target = out or folder.path / "report.html"
    RunFolder(target.parent).write_bytes(target.name, text)
    if json:
        print_json({"run": folder.id, "file": str(target), "bytes": len(text)})
        return
    console().print(f"wrote {target} ({len(text) / 1024:,.0f} KiB, works offline)")
    if result.feasible and not (folder.path / FILE).is_file():
        console().print(f"[dim]without an explanation: 'optimize explain {folder.id}' first, or --explain[/]")
