"""The values one variable may take: how many, which, how to draw one, how to read one from the user.

A domain is what a declaration (`variables.py`) resolves to for one problem. Its columns are arrays of
shape (rows, *width), one cell an entry of the variable.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import units
from ..errors import GoalError, SpaceError, nearest

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Domain:
    """The values one variable may take: `shape` entries, each from the same set.

    kind: "grid" (integers lo + step * position), "menu" (ordered numbers), "labels" (unordered; the
    column holds positions), "bool", "float" or "permutation" (of `count` items).
    values: (count,) the options of a menu. pinned: (*width,) values that `fix` gave, or None.
    log: sampled evenly in the logarithm. unit: SI unit of its numbers. help: what it decides.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    lo: float = 0
    hi: float = 0
    step: int = 1
    count: int | None = None
    log: bool = False
    values: Array | None = None
    labels: tuple[Any, ...] = ()
    pinned: Array | None = None
    unit: str = "1"
    help: str = ""

    # --- how many -------------------------------------------------------------------------------
    @property
    def entries(self) -> int:
        """Entries of the variable (1 for a scalar)."""
        return math.prod(self.shape)

    @property
    def options(self) -> int | None:
        """Number of values an entry may take; None where there is no end of them."""
        if self.pinned is not None:
            return 1
        if self.kind == "permutation":
            return math.factorial(self.count or 0)
        if self.kind == "float":
            return 1 if self.lo == self.hi else None
        return self.count

    @property
    def item(self) -> tuple[int, ...]:
        """Shape of one entry: () but for a permutation, which has `count` items."""
        return (self.count or 0,) if self.kind == "permutation" else ()

    @cached_property
    def width(self) -> tuple[int, ...]:
        """Shape of one row of the column: `shape`, and the items of a permutation."""
        return (*self.shape, *self.item)

    @cached_property
    def cells(self) -> int:
        """Numbers in one row of the column."""
        return math.prod(self.width)

    # --- how they are held ----------------------------------------------------------------------
    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Type of the column in memory: wide, so that products of columns do not overflow."""
        if self.kind == "menu" and self.values is not None:
            return self.values.dtype
        if self.kind == "labels":
            return np.dtype(np.int16 if len(self.labels) < 2**15 else np.int64)
        return np.dtype({"float": float, "bool": bool}.get(self.kind, np.int64))

    @cached_property
    def storage(self) -> np.dtype[Any]:
        """Smallest type that holds every value: what a run records."""
        if self.kind in {"float", "bool"} or self.dtype.kind == "f":
            return self.dtype
        if self.kind in {"grid", "menu"}:
            lo, hi = (int(v) for v in self.at(np.array([0, (self.count or 1) - 1])))
        else:
            lo, hi = 0, (self.count or 1) - 1
        sizes: tuple[type[np.integer[Any]], ...] = (np.uint8, np.uint16, np.uint32)
        if lo < 0:
            sizes = (np.int8, np.int16, np.int32)
        return np.dtype(next((t for t in sizes if np.iinfo(t).min <= lo and hi <= np.iinfo(t).max), np.int64))

    # --- positions: 0 .. options - 1 ------------------------------------------------------------
    def at(self, position: Array) -> Array:
        """Values at positions 0 .. options - 1 of a finite domain, shape (*position, *item).

        Permutations come in lexicographic order.
        """
        if self.kind == "grid":
            return np.asarray(int(self.lo) + self.step * position.astype(np.int64))
        if self.kind == "float":
            return np.full(np.shape(position), self.lo)
        if self.kind == "labels":
            return np.asarray(position).astype(self.dtype)
        if self.kind == "bool":
            return np.asarray(position).astype(bool)
        if self.kind == "permutation":
            return _permutations(np.asarray(position), self.count or 0)
        return np.asarray(np.asarray(self.values)[position])

    def position(self, values: Array) -> Array:
        """Positions of values that lie in the domain; the inverse of `at` (not for permutations)."""
        if self.kind == "grid":
            return np.asarray((values - int(self.lo)) // self.step)
        if self.kind == "menu":
            return np.searchsorted(np.asarray(self.values), values)
        return np.asarray(values).astype(np.int64)

    @cached_property
    def first(self) -> Array:
        """The canonical value of one row: what an inactive entry is pinned to."""
        if self.pinned is not None:
            return self.pinned
        return np.broadcast_to(self.at(np.zeros((), np.int64)).astype(self.dtype), self.width)

    # --- drawing --------------------------------------------------------------------------------
    def from_unit(self, unit: Array) -> Array:
        """Map uniform numbers in [0, 1), shape (rows, *width), to values (rows, *width)."""
        if self.pinned is not None:
            return np.broadcast_to(self.pinned, unit.shape)
        if self.kind == "permutation":
            return np.argsort(unit, axis=-1, kind="stable")
        if self.kind == "float":
            if self.log:
                values = np.exp((1 - unit) * np.log(self.lo) + unit * np.log(self.hi))
            else:
                values = (1 - unit) * self.lo + unit * self.hi
            return np.asarray(np.clip(values, self.lo, self.hi))
        if self.log:
            lo, hi = np.log(self.lo - 0.5), np.log(self.hi + 0.5)
            whole = np.rint(np.exp(lo + unit * (hi - lo))).astype(np.int64)
            return np.asarray(np.clip(whole, int(self.lo), int(self.hi)))
        count = self.count or 1
        return self.at(np.minimum((unit * count).astype(np.int64), count - 1))

    def sample(self, rng: np.random.Generator, rows: int) -> Array:
        """Draw `rows` independent values, shape (rows, *width)."""
        return self.from_unit(rng.random((rows, *self.width)))

    # --- checking and reading -------------------------------------------------------------------
    def contains(self, column: Array) -> Array:
        """Which rows lie in the domain, shape (rows,)."""
        if self.pinned is not None:
            inside = column == self.pinned
        elif self.kind == "permutation":
            inside = np.sort(column, axis=-1) == np.arange(self.count or 0)
        elif self.kind == "menu":
            inside = np.isin(column, np.asarray(self.values))
        elif self.kind == "labels":
            inside = (column >= 0) & (column < (self.count or 0))
        else:
            inside = (column >= self.lo) & (column <= self.hi)
            if self.step != 1:
                inside &= (column - int(self.lo)) % self.step == 0
        return np.asarray(inside.reshape(len(column), self.cells).all(axis=1))

    @cached_property
    def _positions(self) -> dict[Any, int]:
        """Positions by label and by name of a member; a menu's by number."""
        if self.kind == "menu":
            return {v: i for i, v in enumerate(np.asarray(self.values).tolist())}
        names = {label_name(v): i for i, v in enumerate(self.labels)}
        return names | {v: i for i, v in enumerate(self.labels)}

    def _quick(self, value: Any) -> Any:
        """A scalar's value as the column holds it, or None where `encode` must look closer."""
        kind, given = self.kind, type(value)
        if kind == "labels":
            try:
                found: Any = self._positions.get(value)
            except TypeError:
                return None
        elif kind == "bool":
            found = value if given is bool else None
        elif given is not int and given is not float:
            return None
        elif kind == "menu":
            found = value if value in self._positions else None
        elif not self.lo <= value <= self.hi or (kind == "grid" and (value - self.lo) % self.step):
            return None
        else:
            found = value
        return found if self.pinned is None or found == self.pinned else None

    def column(self, values: Sequence[Any]) -> Array:
        """User values, one a row, as a column (rows, *width); raises SpaceError as `encode` does."""
        if not self.width:
            quick = [self._quick(v) for v in values]
            if None not in quick:
                return np.array(quick, self.dtype)
        rows = [self.encode(v) for v in values]
        return np.array(rows, self.dtype).reshape(len(rows), *self.width)

    def encode(self, value: Any) -> Array:
        """One user value (a number, a label, a member, a nested list) as a row of the column.

        A scalar stands for every entry, a flat list for the entries in order. Where the variable has a unit
        a number may be a text with one: "500 MHz".
        Raises SpaceError for a value outside the domain.
        """
        given = self._positions_of(value) if self.kind == "labels" else self._numbers(value)
        if given.ndim and given.shape != self.width:
            if given.shape != (self.cells,):
                raise SpaceError(f"'{self.name}' must have shape {self.width}, got {given.shape}.")
            given = given.reshape(self.width)
        row = np.broadcast_to(given, self.width).astype(self.dtype)
        if not self.contains(row[None])[0]:
            raise SpaceError(f"'{self.name}' must be {self.describe()}, got {short(value)}.")
        return row

    def _numbers(self, value: Any) -> Array:
        if isinstance(value, str) and self.unit != "1":
            try:
                value = units.parse(value, self.unit)
            except GoalError as error:
                raise SpaceError(f"'{self.name}' must be {self.describe()}: {error}") from None
        try:
            given = np.asarray(value)
        except ValueError:
            given = np.asarray(None)
        numbers = given.dtype.kind in "biuf"
        if numbers and self.kind == "bool":
            numbers = bool(np.isin(given, (0, 1)).all())
        elif numbers and given.dtype.kind == "f" and self.dtype.kind in "iu":
            numbers = bool(
                (np.isfinite(given) & (given == np.floor(given)) & (np.abs(given) < 2.0**63)).all()
            )
        elif given.dtype.kind == "u":
            numbers = bool((given < 2**63).all())
        if not numbers:
            raise SpaceError(f"'{self.name}' must be {self.describe()}, got {short(value)}.")
        return given

    def _positions_of(self, value: Any) -> Array:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        given = (
            np.array(value, object) if isinstance(value, Sequence) and not isinstance(value, str) else value
        )
        if not isinstance(given, np.ndarray):
            return np.asarray(self.find(given))
        return np.array([self.find(v) for v in given.ravel()], self.dtype).reshape(given.shape)

    def find(self, label: Any) -> int:
        """Position of a label, given as it was declared or by the name of its Enum member.

        Raises SpaceError with the nearest label where there is none.
        """
        try:
            return self._positions[label]
        except (KeyError, TypeError):
            names = [label_name(v) for v in self.labels]
            raise SpaceError(f"'{self.name}' has no label {label!r}; {nearest(str(label), names)}") from None

    def decode(self, row: Array) -> Any:
        """One row of the column as a user value: a number, a label, or a nested list of them."""
        return self.decode_rows(row[None])[0]

    def decode_rows(self, column: Array) -> list[Any]:
        """The rows of a column as user values."""
        if self.kind == "labels":
            named = np.empty(len(self.labels), object)
            named[:] = self.labels
            column = named[column]
        listed: list[Any] = column.tolist()
        return listed

    # --- words ----------------------------------------------------------------------------------
    def describe(self) -> str:
        """The domain in words, for errors and for `optimize show`."""
        each = f" ({'x'.join(map(str, self.shape))} entries)" if self.shape else ""
        if self.pinned is not None:
            fixed = self.decode(self.pinned)
            scalar = self.unit != "1" and not isinstance(fixed, list)
            return f"fixed to {self.shown(fixed) if scalar else short(fixed)}"
        if self.kind == "permutation":
            return f"a permutation of 0..{(self.count or 1) - 1}{each}"
        if self.kind in {"grid", "float"}:
            word = "an integer" if self.kind == "grid" else "a number"
            step = f" in steps of {self.shown(self.step)}" if self.step != 1 else ""
            log = ", log scale" if self.log else ""
            return f"{word} from {self.shown(self.lo, 6)} to {self.shown(self.hi, 6)}{step}{log}{each}"
        if self.kind == "bool":
            return f"true or false{each}"
        names = (
            [label_name(v) for v in self.labels]
            if self.kind == "labels"
            else np.asarray(self.values).tolist()
        )
        if self.unit != "1":
            return f"one of {', '.join(map(self.shown, names))}{each}"
        return f"one of {short(names)}{each}"

    def shown(self, value: Any, digits: int = 4) -> str:
        """One entry's value for people: a number in the variable's unit, a label by its name."""
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            return label_name(value)
        if self.unit != "1":
            return units.show(float(value), self.unit, digits)
        return units.show(float(value), "", digits) if isinstance(value, float | np.floating) else str(value)

    def record(self) -> dict[str, Any]:
        """The domain as plain data: what identifies it."""
        options = [label_name(v) for v in self.labels] if self.kind == "labels" else None
        if self.kind == "menu":
            options = np.asarray(self.values).tolist()
        bounds = [self.lo, self.hi, self.step, self.count, self.log]
        return {"kind": self.kind, "shape": list(self.shape), "bounds": bounds, "options": options}

    @classmethod
    def from_record(cls, name: str, record: Mapping[str, Any]) -> Domain:
        """The domain that `record` describes; labels are texts, and units are not kept."""
        kind, options, (lo, hi, step, count, log) = record["kind"], record["options"], record["bounds"]
        return cls(
            name,
            kind,
            tuple(record["shape"]),
            lo,
            hi,
            step,
            count,
            log,
            values=np.asarray(options) if kind == "menu" else None,
            labels=tuple(options) if kind == "labels" else (),
        )

    def pin(self, value: Any) -> Domain:
        """The same domain with every entry fixed to `value`."""
        return replace(self, pinned=self.encode(value))

    def entry(self, index: int) -> Domain:
        """The domain of one entry of a vector, as a scalar."""
        if not self.shape:
            return self
        pinned = None if self.pinned is None else self.pinned.reshape(self.entries, *self.item)[index]
        return replace(self, shape=(), pinned=pinned)


def label_name(label: Any) -> str:
    """The label as text: the name of an Enum member, or the string itself."""
    return label.name if isinstance(label, enum.Enum) else str(label)


def short(value: Any) -> str:
    """A value for a sentence, cut where it is long."""
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 90 else text[:80] + " ..."


def _permutations(position: Array, items: int) -> Array:
    """Permutations of `items` at their lexicographic positions, shape (*position, items)."""
    order = np.empty((*position.shape, items), np.int64)
    rest = position.astype(np.int64)
    for place in range(items):
        below = math.factorial(items - 1 - place)
        digit = np.zeros_like(rest) if below >= 2**63 else rest // below
        rest = rest - digit * min(below, 2**63 - 1)
        order[..., place] = digit
    for place in range(items - 2, -1, -1):
        order[..., place + 1 :] += order[..., place + 1 :] >= order[..., place, None]
    return order
