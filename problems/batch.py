"""A batch of points: named, read-only columns, one row a point.

`x.tile` and `x["tile"]` give a column of shape (rows, *shape); `len(x)` the rows. What a batch keeps for
itself has names of Python's own form, which variables may not have, so any variable name is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError, nearest
from .domain import Domain, label_name
from .names import spelled

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

    __slots__ = ("__columns__", "__kept__", "__rows__", "__space__")

    def __init__(self, space: Space, columns: Mapping[str, Array], rows: int) -> None:
        for column in columns.values():
            column.setflags(write=False)
        self.__space__, self.__columns__, self.__rows__ = space, dict(columns), rows
        self.__kept__: tuple[Any, Any] | None = None

    def __len__(self) -> int:
        return self.__rows__

    def __getitem__(self, name: str) -> Any:
        if name not in self.__columns__:
            name = spelled(name)
        try:
            column = self.__columns__[name]
        except KeyError:
            raise SpaceError(f"the batch has no column '{name}'; {nearest(name, self.__columns__)}") from None
        domain = self.__space__.domains[name]
        return Labels(column, domain) if domain.kind == "labels" else column

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (name.startswith("_") and name not in self.__columns__):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        raise TypeError("a Batch is not iterable; use its columns, such as x.name, or len(x).")

    def __getstate__(self) -> tuple[Any, ...]:
        return self.__space__, self.__columns__, self.__rows__

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        space, columns, rows = state
        Batch.__init__(self, space, columns, rows)

    def __repr__(self) -> str:
        return f"Batch({self.__rows__} rows: {', '.join(self.__columns__)})"


def take(batch: Batch, rows: Any) -> Batch:
    """The named rows of a batch (an index array, a boolean mask or a slice)."""
    columns = {name: column[rows] for name, column in batch.__columns__.items()}
    count = len(next(iter(columns.values()))) if columns else len(np.arange(len(batch))[rows])
    return Batch(batch.__space__, columns, count)


def kept(batch: Batch, key: Any, make: Callable[[], Made]) -> Made:
    """What a referee works out of the points alone, once for a batch that many draws of it score.

    key: all else that it depends on; another key makes it anew.
    """
    if batch.__kept__ is None or batch.__kept__[0] != key:
        batch.__kept__ = (key, make())
    made: Made = batch.__kept__[1]
    return made


def concatenate(batches: list[Batch]) -> Batch:
    """One batch out of several of the same space, in order."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    columns = {name: np.concatenate([b.__columns__[name] for b in batches]) for name in first.__columns__}
    return Batch(first.__space__, columns, sum(len(b) for b in batches))


def active(batch: Batch, name: str) -> Array:
    """Where the variable `name` is active, shape (rows, *shape): its `when` holds, transitively.

    Raises SpaceError for an unknown name.
    """
    if name not in batch.__space__.domains:
        raise SpaceError(f"there is no variable '{name}'; {nearest(name, batch.__space__.domains)}")
    return batch.__space__.active(batch.__columns__, name, len(batch))
