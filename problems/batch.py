"""A batch of points: named, read-only columns, one row a point.

`x.tile` and `x["tile"]` give a column of shape (rows, *shape); `len(x)` the rows. Nothing else is
public, so any variable name is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError, nearest
from .domain import Domain, label_name

if TYPE_CHECKING:
    from .space import Space

Array = npt.NDArray[Any]
Made = TypeVar("Made")


class Labels(np.ndarray[Any, np.dtype[Any]]):
    """A column of labels: positions that compare with labels, and refuse arithmetic.

    `x.codec == "int8"` and `x.codec != Codec.INT8` give boolean arrays, `x.codec.isin(...)` tests
    several, `table[x.codec.position]` looks up. A label the column does not have raises SpaceError.
    """

    _domain: Domain

    def __new__(cls, positions: Array, domain: Domain) -> Labels:
        self = np.asarray(positions).view(cls)
        self._domain = domain
        return self

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, Labels):
            self._domain = source._domain

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        raise self._not_numbers(ufunc.__name__)

    def __array_function__(self, function: Any, types: Any, given: Any, settings: Any) -> Any:
        if function not in _STRUCTURAL:
            raise self._not_numbers(function.__name__)
        return super().__array_function__(function, types, given, settings)

    def _not_numbers(self, operation: str) -> SpaceError:
        name = self._domain.name
        return SpaceError(
            f"'{name}' holds labels, not numbers ({operation} is not defined); compare it with a label, use "
            f"x.{name}.isin(...), index a table with x.{name}.position, or declare a Menu."
        )

    def __getitem__(self, rows: Any) -> Any:
        found = super().__getitem__(rows)
        return found if isinstance(found, Labels) else Labels(found, self._domain)

    @property
    def position(self) -> Array:
        """Position of each label in the declared order, as a plain integer array."""
        return self.view(np.ndarray)

    def _code(self, label: Any) -> int:
        return self._domain.find(label)

    def __eq__(self, label: Any) -> Any:
        if isinstance(label, Labels):
            if label._domain.labels != self._domain.labels:
                raise SpaceError(f"'{self._domain.name}' and '{label._domain.name}' have different labels.")
            return self.position == label.position
        return self.position == self._code(label)

    def __ne__(self, label: Any) -> Any:
        return np.logical_not(self == label)

    __hash__ = None  # type: ignore[assignment,unused-ignore]

    def isin(self, *labels: Any) -> Array:
        """Where the column has one of the labels, as a boolean array."""
        return np.isin(self.position, [self._code(label) for label in labels])

    def tolist(self) -> Any:
        """The labels themselves, as nested lists."""
        return self._domain.decode(self.position)

    def __reduce__(self) -> tuple[Any, ...]:
        return Labels, (self.position, self._domain)

    def __repr__(self) -> str:
        names = [label_name(self._domain.labels[i]) for i in self.position.ravel()[:8]]
        return f"Labels({self._domain.name}: {', '.join(names)}{', ...' if self.size > 8 else ''})"


# What may be done to labels without taking them for numbers.
_STRUCTURAL = {
    np.shape, np.ndim, np.size, np.reshape, np.ravel, np.transpose, np.moveaxis, np.swapaxes, np.squeeze,
    np.expand_dims, np.broadcast_to, np.take, np.take_along_axis, np.repeat, np.tile, np.copy, np.flip,
    np.roll, np.array_repr, np.array_str, np.array2string, np.shares_memory, np.may_share_memory,
}  # fmt: skip


class Batch:
    """Points of one space as named columns; see the module's first lines."""

    __slots__ = ("_columns", "_kept", "_rows", "_space")

    def __init__(self, space: Space, columns: Mapping[str, Array], rows: int) -> None:
        for column in columns.values():
            column.setflags(write=False)
        self._space, self._columns, self._rows = space, dict(columns), rows
        self._kept: tuple[Any, Any] | None = None

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> Any:
        try:
            column = self._columns[name]
        except KeyError:
            raise SpaceError(f"the batch has no column '{name}'; {nearest(name, self._columns)}") from None
        domain = self._space.domains[name]
        return Labels(column, domain) if domain.kind == "labels" else column

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
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
    count = len(next(iter(columns.values()))) if columns else len(np.arange(len(batch))[rows])
    return Batch(batch._space, columns, count)


def kept(batch: Batch, key: Any, make: Callable[[], Made]) -> Made:
    """What a referee works out of the points alone, once for a batch that many draws of it score.

    key: all else that it depends on; another key makes it anew.
    """
    if batch._kept is None or batch._kept[0] != key:
        batch._kept = (key, make())
    made: Made = batch._kept[1]
    return made


def concatenate(batches: list[Batch]) -> Batch:
    """One batch out of several of the same space, in order."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    columns = {name: np.concatenate([b._columns[name] for b in batches]) for name in first._columns}
    return Batch(first._space, columns, sum(len(b) for b in batches))


def active(batch: Batch, name: str) -> Array:
    """Where the variable `name` is active, shape (rows, *shape): its `when` holds, transitively.

    Raises SpaceError for an unknown name.
    """
    if name not in batch._space.domains:
        raise SpaceError(f"there is no variable '{name}'; {nearest(name, batch._space.domains)}")
    return batch._space.active(batch._columns, name, len(batch))
