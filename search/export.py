"""Results as tables and files: the front or every recorded row, as pandas, CSV, JSON, Parquet or arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..problems.batch import concatenate
from ..problems.names import apart
from ..problems.scoring import Scores, join_scores
from .folder import RunFolder, pack, plain
from .given import a_run
from .record import readable_problem
from .result import front_columns

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]


def recorded_rows(run: RunFolder | str | Path) -> pd.DataFrame:
    """Every recorded row of a run: variables, metrics, relative errors ("sigma.NAME"), whether it failed
    ("failed", or ".failed" where a variable or metric has that name).

    Raises DataError where it recorded none, or kept only its front (an enumeration above 10^6 points).
    """
    folder = a_run(run)
    columns, _ = rows_of(folder)
    return frame(columns)


def rows_of(folder: RunFolder) -> tuple[dict[str, Array], list[str]]:
    """The columns of every recorded row, and sentences about what cannot be read."""
    problem = readable_problem(folder.read_json("run.json"))
    damaged: list[str] = []
    batches, scores = [], []
    for columns in folder.read_rows(damaged):
        points = {n[2:]: v for n, v in columns.items() if n.startswith("x.")}
        batches.append(problem.space.restore(points))
        metrics = {n[2:]: v for n, v in columns.items() if n.startswith("m.")}
        sigma = {n[2:]: v for n, v in columns.items() if n.startswith("s.")}
        failed = columns.get("failed", np.zeros(len(batches[-1]), bool))
        if set(metrics) != set(problem.metrics):
            raise DataError(f"run {folder.id} recorded other metrics than its problem has; run it again.")
        scores.append(Scores(metrics, sigma, failed, {}))
    if not batches:
        if (folder.path / "sweep.npz").is_file():
            raise DataError(
                f"run {folder.id} kept only its front and a sample; run it with --keep-all to keep its rows."
            )
        raise DataError(f"run {folder.id} recorded no rows{'; ' + damaged[0] if damaged else ''}.")
    joined = join_scores(scores)
    found = front_columns(problem, concatenate(batches), joined)
    found |= {f"sigma.{n}": v for n, v in joined.sigma.items()}
    found[apart("failed", found)] = joined.failed
    return found, damaged


def frame(columns: Mapping[str, Array]) -> pd.DataFrame:
    """Columns as a DataFrame; a vector variable is a column of lists."""
    import pandas as pd

    return pd.DataFrame({n: c.tolist() if c.ndim > 1 else c for n, c in columns.items()})


def _json(columns: Mapping[str, Array]) -> bytes:
    """A list of objects; NaN, the metrics of a failed row, is null."""
    listed = {}
    for name, column in columns.items():
        values = column.tolist()
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            infinite = np.flatnonzero(np.isinf(column))
            if len(infinite):
                raise DataError(
                    f"JSON cannot hold '{name}' = {column.ravel()[infinite[0]]:g} (row {infinite[0]}); "
                    "write .csv, .npz or .parquet."
                )
            values = [None if v != v else v for v in values]
        listed[name] = values
    count = len(next(iter(columns.values())))
    return json.dumps([{n: c[i] for n, c in listed.items()} for i in range(count)], default=plain).encode()


def _csv(columns: Mapping[str, Array]) -> bytes:
    """One line a row; a vector variable is a JSON list in one cell."""
    flat = {
        n: np.array([json.dumps(v) for v in c.tolist()], object) if c.ndim > 1 else c
        for n, c in columns.items()
    }
    return frame(flat).to_csv(index=False).encode()


def _parquet(columns: Mapping[str, Array]) -> bytes:
    """Columns typed; a vector variable is a list."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            "a .parquet file needs the package 'pyarrow'; pip install 'tradespace[parquet]', or write .npz."
        ) from None
    buffer = io.BytesIO()
    pq.write_table(pa.table({n: pa.array(c.tolist()) for n, c in columns.items()}), buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[Mapping[str, Array]], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".npz": pack,
    ".parquet": _parquet,
}


def content(columns: Mapping[str, Array], suffix: str) -> bytes:
    """Columns of shape (rows, ...) as the content of a file of that ending.

    Raises DataError for an ending it does not know, or where the format cannot hold a value.
    """
    if suffix not in FORMATS:
        raise DataError(
            f"a file '{suffix or 'without ending'}' cannot be written; it takes {', '.join(FORMATS)}."
        )
    return FORMATS[suffix](columns)
