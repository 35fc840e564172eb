"""Tables of stored measurements: columns by name, from delimited text or Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, SolverUnavailable
from ..text import parse_table, read_text

Array = NDArray[np.float64]
POINTER = b"version https://git-lfs"


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a file, as text or as Parquet has them."""

    path: Path
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def numbers(self, name: str) -> Array:
        """One column as float64 (n,), NaN where a cell is empty; DataError names the file and the column."""
        try:
            return np.array([np.nan if v in ("", None) else v for v in self._column(name)], dtype=np.float64)
        except (ValueError, TypeError):
            raise DataError(f"{self.path}: column '{name}' must hold numbers") from None

    def text(self, name: str) -> NDArray[Any]:
        """One column as text (n,)."""
        return np.array([str(value) for value in self._column(name)], dtype=object)

    def named(self, names: Mapping[str, str]) -> Table:
        """The same with other names of some columns."""
        return replace(self, columns={names.get(key, key): values for key, values in self.columns.items()})

    def _column(self, name: str) -> Sequence[Any]:
        if name not in self.columns:
            raise DataError(f"{self.path} must have a column '{name}'; it has {', '.join(self.columns)}")
        return self.columns[name]


def read_table(path: Path) -> Table:
    """A delimited table with a header, or a Parquet file; DataError where it is missing, empty or ragged."""
    try:
        with path.open("rb") as file:
            head = file.read(len(POINTER))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if head == POINTER:
        raise DataError(f"{path} is a pointer of Git LFS, not the table; fetch it with 'git lfs pull'")
    if path.suffix == ".parquet":
        return _parquet(path)
    header, rows = parse_table(read_text(path, "table"), str(path))
    if not rows:
        raise DataError(f"{path} must have a header and at least one row")
    return Table(path, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)))


def _parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise SolverUnavailable(
            f"reading {path.name} needs PyArrow; install it with pip install 'tradespace[parquet]'."
        ) from None
    try:
        return Table(path, parquet.read_table(path).to_pydict())
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def groups(*keys: Array) -> Array:
    """A number for each distinct combination of the keys (n,)."""
    _, inverse = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    return np.asarray(inverse).ravel().astype(np.float64)
