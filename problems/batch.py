"""A batch of points: named, read-only columns, one row a point.

`x.tile` and `x["tile"]` give a column of shape (rows, *shape); `len(x)` the rows. Nothing else is
public, so any variable name is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError, nearest
from .variables import label_name

if TYPE_CHECKING:
    from .space import Space

Array = npt.NDArray[Any]


class Labels(np.ndarray[Any, np.dtype[Any]]):
    """A column of labels: positions that compare with labels, and refuse arithmetic.

    `x.codec == "int8"` and `x.codec != Codec.INT8` give boolean arrays, `x.codec.isin(...)` tests
    several, `table[x.codec.position]` looks up. A label the column does not have raises SpaceError.
    """

    _name: str
    _labels: tuple[Any, ...]

    def __new__(cls, positions: Array, name: str, labels: tuple[Any, ...]) -> Labels:
        self = np.asarray(positions).view(cls)
        self._name, self._labels = name, labels
        return self

    def __array_finalize__(self, source: Any) -> None:
        self._name = getattr(source, "_name", "")
        self._labels = getattr(source, "_labels", ())

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        raise SpaceError(
            f"'{self._name}' holds labels, not numbers ({ufunc.__name__} is not defined); compare it with a "
            f"label, index a table with x.{self._name}.position, or declare a Menu."
        )

    @property
    def position(self) -> Array:
        """Position of each label in the declared order, as a plain integer array."""
        return self.view(np.ndarray)

    def _code(self, label: Any) -> int:
        for i, own in enumerate(self._labels):
            if own is label or (type(own) is type(label) and own == label):
                return i
        known = [label_name(v) for v in self._labels]
        raise SpaceError(f"'{self._name}' has no label {label!r}; {nearest(str(label), known)}")

    def __eq__(self, label: Any) -> Any:
        if isinstance(label, Labels):
            if label._labels != self._labels:
                raise SpaceError(f"'{self._name}' and '{label._name}' have different labels.")
            return self.position == label.position
        return self.position == self._code(label)

    def __ne__(self, label: Any) -> Any:
        return ~(self == label)

    __hash__ = None  # type: ignore[assignment]

    def isin(self, *labels: Any) -> Array:
        """Where the column has one of the labels, as a boolean array."""
        return np.isin(self.position, [self._code(label) for label in labels])

    def __repr__(self) -> str:
        return f"Labels({self._name}: {[label_name(self._labels[i]) for i in self.position.ravel()[:8]]}...)"


class Batch:
    """Points of one space as named columns; see the module's first lines."""

    __slots__ = ("_columns", "_rows", "_space")

    def __init__(self, space: Space, columns: Mapping[str, Array], rows: int) -> None:
        for column in columns.values():
            column.flags.writeable = False
        self._space, self._columns, self._rows = space, dict(columns), rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> Any:
        try:
            column = self._columns[name]
        except KeyError:
            raise SpaceError(f"the batch has no column '{name}'; {nearest(name, self._columns)}") from None
        domain = self._space.domains[name]
        return Labels(column, name, domain.labels) if domain.kind == "labels" else column

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        raise TypeError("a Batch is not iterable; use its columns, such as x.name, or len(x).")

    def __getstate__(self) -> tuple[Any, ...]:
        return self._space, self._columns, self._rows

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        space, columns, rows = state
        Batch.__init__(self, space, columns, rows)

    def __repr__(self) -> str:
        return f"Batch({self._rows} rows: {', '.join(self._columns)})"


def take(batch: Batch, rows: Any) -> Batch:
    """The named rows of a batch (an index array, a boolean mask or a slice)."""
    columns = {name: column[rows] for name, column in batch._columns.items()}
    count = len(next(iter(columns.values()))) if columns else 0
    return Batch(batch._space, columns, count)


def concatenate(batches: list[Batch]) -> Batch:
    """One batch out of several of the same space, in order."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    columns = {name: np.concatenate([b._columns[name] for b in batches]) for name in first._columns}
    return Batch(first._space, columns, sum(len(b) for b in batches))


def active(batch: Batch, name: str) -> Array:
    """Where the variable `name` is active, shape (rows, *shape): its `when` holds, transitively."""
    return batch._space.active(batch._columns, name, len(batch))
