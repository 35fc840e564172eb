"""`optimize report`: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path

from ..comparison.recorded import finished
from ..folder import find_run
from ..reporting import report
from ..trust.explain import Effort
from ..trust.explanation import FILE
from .console import console, print_json
from .explain_command import explained


def report_run(name: str, runs: Path, out: Path | None, explain: bool, json: bool) -> None:
    """Write the page of a run, by default beside its rows.

    Raises DataError where the run has no result.
    """
    folder = find_run(name, runs)
    result = finished(folder)
    interrupted = explain and result.feasible and explained(folder, Effort(), json).interrupted
    target = report(folder, out=out)
    if json:
        print_json({"run": folder.id, "file": str(target), "bytes": target.stat().st_size})
    else:
        console().print(f"wrote {target} ({target.stat().st_size / 1024:,.0f} KiB, works offline)")
        if result.feasible and not (folder.path / FILE).is_file():
            console().print(
                f"[dim]without an explanation: 'optimize explain {folder.id}' first, or --explain[/]"
            )
    if interrupted:
        raise KeyboardInterrupt
