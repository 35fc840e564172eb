"""Scored rows in memory, by column: what a run has evaluated, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..problems.batch import Batch
from ..problems.problem import Problem
from ..problems.scoring import Scores

Array = npt.NDArray[Any]
FIRST_ROWS = 256


class Table:
    """Columns that grow: points in their smallest types, metrics, errors of the model, failures."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.rows = problem, 0
        self._columns: dict[str, Array] = {}

    def __len__(self) -> int:
        return self.rows

    @property
    def columns(self) -> dict[str, Array]:
        """Every column, (rows, ...): "x.<variable>", "m.<metric>", "s.<metric>", "failed"."""
        return {name: column[: self.rows] for name, column in self._columns.items()}

    def append(self, batch: Batch, scores: Scores) -> Array:
        """Add scored points; returns their row numbers."""
        fresh: dict[str, Array] = {
            f"x.{n}": np.asarray(batch.__columns__[n]) for n in self.problem.space.domains
        }
        fresh |= {f"m.{n}": v for n, v in scores.metrics.items()}
        fresh |= {f"s.{n}": v for n, v in scores.sigma.items()}
        fresh["failed"] = scores.failed
        start, stop = self.rows, self.rows + len(batch)
        for name, values in fresh.items():
            self._room(name, values, stop)[start:stop] = values
        for name in self._columns.keys() - fresh.keys():
            self._room(name, self._columns[name], stop)
        self.rows = stop
        return np.arange(start, stop)

    def _room(self, name: str, like: Array, stop: int) -> Array:
        column = self._columns.get(name)
        if column is None or len(column) < stop:
            size = max(FIRST_ROWS, stop, 0 if column is None else 2 * len(column))
            domain = self.problem.space.domains.get(name[2:]) if name.startswith("x.") else None
            grown = np.zeros((size, *like.shape[1:]), domain.storage if domain else like.dtype)
            if column is not None:
                grown[: self.rows] = column[: self.rows]
            self._columns[name] = column = grown
        return column

    def batch(self, rows: Any) -> Batch:
        """The points of some rows."""
        space = self.problem.space
        columns = {
            n: self._columns[f"x.{n}"][: self.rows][rows].astype(d.dtype) for n, d in space.domains.items()
        }
        return Batch(space, columns, len(self._columns["failed"][: self.rows][rows]))

    def scores(self, rows: Any) -> Scores:
        """The scores of some rows."""
        columns = self.columns
        pick = {name: column[rows] for name, column in columns.items() if not name.startswith("x.")}
        return Scores(
            {n[2:]: v for n, v in pick.items() if n.startswith("m.")},
            {n[2:]: v for n, v in pick.items() if n.startswith("s.")},
            pick["failed"],
            {},
        )
