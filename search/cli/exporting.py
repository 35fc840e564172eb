"""`optimize export`: the front or the rows of a run as a file, or its problem for another solver."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...problems.goal import Goal
from ..bridges import write_mps
from ..export import FORMATS, content, rows_of
from ..folder import RunFolder, check_writable, find_run
from ..record import recorded_problem
from ..result import Result
from .console import console, print_json

MODEL = ".mps"


def export_run(name: str, runs: Path, out: Path, rows: bool, json: bool) -> None:
    """Write the front of a run, all its recorded rows, or its MILP view (.mps) to `out`.

    Raises DataError for a format it does not know or that cannot hold this, or a run without an answer.
    """
    if out.suffix not in {*FORMATS, MODEL}:
        raise DataError(f"--out '{out}' must end in {', '.join([*FORMATS, MODEL])}.")
    folder = find_run(name, runs)
    check_writable(out, "--out")
    if out.suffix == MODEL:
        _model(folder, out, rows, json)
        return
    if rows:
        columns, damaged = rows_of(folder)
        for sentence in damaged:
            console(stderr=True).print(f"note: {sentence}", markup=False)
    else:
        columns = Result.load(folder.path).front_columns
    if not columns:
        raise DataError(f"run {folder.id} has no feasible point to export; --rows exports what was scored.")
    count = len(next(iter(columns.values())))
    RunFolder(out.parent).write_bytes(out.name, content(columns, out.suffix))
    if json:
        print_json({"file": str(out), "rows": count})
    else:
        console().print(f"wrote {count:,} {'rows' if rows else 'points of the front'} to {out}")


def _model(folder: RunFolder, out: Path, rows: bool, json: bool) -> None:
    """The MILP view of a run's problem, with the run's goal."""
    if rows:
        raise DataError("an .mps file holds a model, no rows; leave out --rows, or write .csv or .parquet.")
    record = folder.read_json("run.json")
    goal = Goal(**{k: tuple(v) for k, v in record["goal_text"].items()})
    wrote = write_mps(recorded_problem(record), out, goal)
    if json:
        print_json({"file": str(out), **wrote})
    else:
        console().print(f"wrote a model of {wrote['columns']:,} columns and {wrote['rows']:,} rows to {out}")
