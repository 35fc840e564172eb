"""The page of a run, written beside its rows or where it is wanted."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..problems.problem import Problem
from .comparison.recorded import finished
from .folder import RunFolder, check_writable
from .given import a_path, a_problem, a_run
from .page import page
from .trust.candidates import recall


def report(
    run: RunFolder | str | Path, *, problem: Problem | None = None, out: str | Path | None = None
) -> Path:
    """Write a run as one HTML page that works offline and prints well; the page's path.

    problem: where the run's can be made from Python only; without it the page has what was recorded. out:
    a file that ends in .html, else report.html in the run's folder. Raises DataError where the run has no
    result.
    """
    folder = a_run(run)
    target = a_path("out", out) if out is not None else folder.path / "report.html"
    if target.suffix not in {".html", ".htm"}:
        raise DataError(f"--out '{target}' must end in .html; a page is all that report writes.")
    check_writable(target, "--out")
    result = finished(folder)
    text = page(recall(folder, None if problem is None else a_problem(problem)), result).encode()
    RunFolder(target.parent).write_bytes(target.name, text)
    return target
