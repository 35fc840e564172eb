"""`optimize export`: the front or the rows of a run as a file."""

from __future__ import annotations

import io
import json as json_text
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...problems.batch import concatenate
from ...problems.scoring import Scores, join_scores
from ..folder import RunFolder, find_run, plain
from ..result import Result, front_columns
from ..run import recorded_problem
from .console import console, print_json

FORMATS = (".csv", ".json", ".npz")


def export_run(name: str, runs: Path, out: Path, rows: bool, json: bool) -> None:
    """Write the front of a run, or all its recorded rows, to `out`.

    Raises DataError for a format it does not know, or a run without an answer.
    """
    if out.suffix not in FORMATS:
        raise DataError(f"--out '{out}' must end in {', '.join(FORMATS)}.")
    folder = find_run(name, runs)
    columns = _rows(folder) if rows else Result.load(folder.path).front_columns
    if not columns:
        raise DataError(f"run {folder.id} has no feasible point to export; --rows exports what was scored.")
    count = len(next(iter(columns.values())))
    if out.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **columns)
        content = buffer.getvalue()
    elif out.suffix == ".json":
        listed = {n: c.tolist() for n, c in columns.items()}
        content = json_text.dumps(
            [{n: c[i] for n, c in listed.items()} for i in range(count)], default=plain
        ).encode()
    else:
        import pandas as pd

        frame = pd.DataFrame(
            {n: [json_text.dumps(v) for v in c.tolist()] if c.ndim > 1 else c for n, c in columns.items()}
        )
        content = frame.to_csv(index=False).encode()
    RunFolder(out.parent).write_bytes(out.name, content)
    if json:
        print_json({"file": str(out), "rows": count})
    else:
        console().print(f"wrote {count:,} {'rows' if rows else 'points of the front'} to {out}")


def _rows(folder: RunFolder) -> dict[str, np.ndarray]:
    """Every recorded row with its metrics, labels spelled out."""
    problem = recorded_problem(folder.read_json("run.json"))
    damaged: list[str] = []
    batches, scores = [], []
    for columns in folder.read_rows(damaged):
        batches.append(problem.space.restore({n[2:]: v for n, v in columns.items() if n.startswith("x.")}))
        metrics = {n[2:]: v for n, v in columns.items() if n.startswith("m.")}
        scores.append(Scores(metrics, {}, columns["failed"], {}))
    if not batches:
        raise DataError(f"run {folder.id} recorded no rows{'; ' + damaged[0] if damaged else ''}.")
    for sentence in damaged:
        console(stderr=True).print(f"note: {sentence}", markup=False)
    joined = join_scores(scores)
    return {**front_columns(problem, concatenate(batches), joined), "failed": joined.failed}
