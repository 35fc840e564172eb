"""Decision variables as the user declares them, and the domains they resolve to.

A declaration (`Int`, `Float`, `Menu`, `Choice`, `Bool`, `Permutation`) may name attributes of its
problem where a number or a list of options is expected; `declaration.resolve(name, problem)` looks
them up and returns a `Domain`, which knows its values, its size and how to sample.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError, nearest

Array = npt.NDArray[Any]
Shape = int | str | tuple[int | str, ...]
When = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Domain:
    """The values one variable may take: `shape` entries, each from the same set.

    kind: "grid" (integers lo + step * position), "menu" (ordered numbers), "labels" (unordered; the
    column holds positions), "bool", "float" or "permutation" (of `count` items).
    values: (count,) the options, where they are listed. pinned: (*shape[, count]) values that
    `fix` gave, or None. log: sampled evenly in the logarithm.
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
    def width(self) -> tuple[int, ...]:
        """Shape of one row of the column: `shape`, and the items of a permutation."""
        return (*self.shape, self.count or 0) if self.kind == "permutation" else self.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the column in memory: wide, so that products of columns do not overflow."""
        if self.kind == "menu" and self.values is not None:
            return self.values.dtype
        return np.dtype({"float": float, "bool": bool, "labels": np.int16}.get(self.kind, np.int64))

    @property
    def storage(self) -> np.dtype[Any]:
        """Smallest type that holds every value: what a run records."""
        if self.kind in {"float", "bool"} or (self.kind == "menu" and self.dtype.kind == "f"):
            return self.dtype
        if self.kind == "menu" and self.values is not None:
            lo, hi = self.values.min(), self.values.max()
        elif self.kind == "grid":
            lo, hi = self.lo, self.hi
        else:
            lo, hi = 0, (self.count or 1) - 1
        return np.promote_types(np.min_scalar_type(int(lo)), np.min_scalar_type(int(hi)))

    def at(self, position: Array) -> Array:
        """Values at the positions 0 .. options - 1 of a finite, listed domain."""
        if self.pinned is not None:
            return np.broadcast_to(self.pinned, np.shape(position))
        if self.kind == "grid":
            return np.asarray(int(self.lo) + self.step * position.astype(np.int64))
        if self.kind == "float":
            return np.full(np.shape(position), self.lo)
        if self.kind == "labels":
            return position.astype(self.dtype)
        assert self.values is not None
        return np.asarray(self.values[position])

    def position(self, values: Array) -> Array:
        """Positions of values that lie in the domain; the inverse of `at`."""
        if self.kind == "grid":
            return np.asarray((values - int(self.lo)) // self.step)
        if self.kind == "menu" and self.values is not None:
            return np.searchsorted(self.values, values)
        return np.asarray(values).astype(np.int64)

    @property
    def first(self) -> Array:
        """The canonical value of one row: what an inactive entry is pinned to."""
        if self.pinned is not None:
            return self.pinned
        if self.kind == "permutation":
            return np.broadcast_to(np.arange(self.count or 0), self.width)
        value = self.lo if self.kind == "float" else self.at(np.zeros((), np.int64))
        return np.broadcast_to(np.asarray(value, self.dtype), self.width)

    def from_unit(self, unit: Array) -> Array:
        """Map uniform numbers in [0, 1), shape (rows, *width), to values (rows, *width)."""
        if self.pinned is not None:
            return np.broadcast_to(self.pinned, unit.shape)
        if self.kind == "permutation":
            return np.argsort(unit, axis=-1, kind="stable")
        if self.kind == "float":
            if self.log:
                values = np.exp(np.log(self.lo) + unit * (np.log(self.hi) - np.log(self.lo)))
            else:
                values = self.lo + unit * (self.hi - self.lo)
            return np.clip(values, self.lo, self.hi)
        if self.log:
            lo, hi = np.log(self.lo - 0.5), np.log(self.hi + 0.5)
            return np.clip(np.rint(np.exp(lo + unit * (hi - lo))), self.lo, self.hi).astype(np.int64)
        return self.at(np.minimum((unit * self.count).astype(np.int64), (self.count or 1) - 1))

    def sample(self, rng: np.random.Generator, rows: int) -> Array:
        """Draw `rows` independent values, shape (rows, *width)."""
        return self.from_unit(rng.random((rows, *self.width)))

    def contains(self, column: Array) -> Array:
        """Which rows lie in the domain, shape (rows,)."""
        rows = len(column)
        if self.pinned is not None:
            inside = column == self.pinned
        elif self.kind == "permutation":
            inside = np.sort(column, axis=-1) == np.arange(self.count or 0)
        elif self.kind == "float":
            inside = (column >= self.lo) & (column <= self.hi)
        elif self.kind == "grid":
            inside = (column >= self.lo) & (column <= self.hi) & ((column - int(self.lo)) % self.step == 0)
        elif self.kind == "menu":
            inside = np.isin(column, self.values)
        else:
            inside = (column >= 0) & (column < (self.count or 0))
        return np.asarray(inside.reshape(rows, -1).all(axis=1))

    def encode(self, value: Any) -> Array:
        """One user value (a number, a label, a member, a nested list) as a row of the column."""
        if self.kind == "labels":
            cells = [self._label(v) for v in _flat(value)]
            given = np.array(cells, self.dtype)
        else:
            try:
                given = np.asarray(value)
            except ValueError:
                given = np.asarray(None)
            if given.dtype.kind not in "biuf" or (self.kind == "bool" and not np.isin(given, (0, 1)).all()):
                raise SpaceError(f"'{self.name}' must be {self.describe()}, got {value!r}.")
            if given.dtype.kind == "f" and self.dtype.kind in "iu" and np.any(given != np.floor(given)):
                raise SpaceError(f"'{self.name}' must be {self.describe()}, got {value!r}.")
        try:
            if given.size == math.prod(self.width):
                given = given.reshape(self.width)
            row = np.broadcast_to(given, self.width).astype(self.dtype)
        except ValueError:
            shape = given.shape if given.ndim else "one number"
            raise SpaceError(f"'{self.name}' must have shape {self.width}, got {shape}.") from None
        if not self.contains(row[None])[0]:
            raise SpaceError(f"'{self.name}' must be {self.describe()}, got {_short(value)}.")
        return row

    def decode(self, row: Array) -> Any:
        """One row of the column as a user value: a number, a label, or a nested list of them."""
        if self.kind == "labels":
            cells = np.empty(np.shape(row), object)
            cells[...] = [self.labels[i] for i in np.ravel(row)] if row.ndim == 0 else ""
            if row.ndim:
                flat = cells.reshape(-1)
                flat[:] = [self.labels[i] for i in np.ravel(row)]
                return cells.tolist()
            return self.labels[int(row)]
        return row.tolist()

    def _label(self, value: Any) -> int:
        for i, label in enumerate(self.labels):
            if label is value or (type(label) is type(value) and label == value):
                return i
            if isinstance(label, enum.Enum) and isinstance(value, str) and label.name == value:
                return i
        names = [label_name(v) for v in self.labels]
        raise SpaceError(f"'{self.name}' has no label {value!r}; {nearest(str(value), names)}")

    def describe(self) -> str:
        """The domain in words, for errors and for `optimize show`."""
        each = f" ({'x'.join(map(str, self.shape))} entries)" if self.shape else ""
        if self.pinned is not None:
            return f"fixed to {_short(self.decode(self.pinned))}"
        if self.kind == "permutation":
            return f"a permutation of 0..{(self.count or 1) - 1}{each}"
        if self.kind in {"grid", "float"}:
            word = "an integer" if self.kind == "grid" else "a number"
            step = f" in steps of {self.step}" if self.step != 1 else ""
            log = ", log scale" if self.log else ""
            return f"{word} from {self.lo:g} to {self.hi:g}{step}{log}{each}"
        if self.kind == "bool":
            return f"true or false{each}"
        names = [label_name(v) for v in self.labels] if self.kind == "labels" else np.asarray(self.values).tolist()
        return f"one of {_short(names)}{each}"

    def pin(self, value: Any) -> Domain:
        """The same domain with every entry fixed to `value`."""
        return replace(self, pinned=self.encode(value))


class Var:
    """A decision variable of a problem; see `Int`, `Float`, `Menu`, `Choice`, `Bool`, `Permutation`.

    shape: entries of a vector variable, as a number, an attribute's name, or a tuple of these.
    when: {name: value or values}: the variable is active only where each named variable or
    parameter has one of the values; inactive entries are pinned to the first of the domain.
    """

    def __init__(self, shape: Shape = (), when: When | None = None) -> None:
        self.shape = shape
        self.when: dict[str, Any] = dict(when or {})

    def resolve(self, name: str, owner: Any) -> Domain:
        """The domain of this variable for the problem `owner`."""
        parts = self.shape if isinstance(self.shape, tuple) else (self.shape,)
        shape: list[int] = []
        for part in parts:
            size = _attribute(name, "shape", part, owner)
            if isinstance(size, tuple):
                shape += [int(s) for s in size]
            elif isinstance(size, int | np.integer) and not isinstance(size, bool):
                shape.append(int(size))
            else:
                raise SpaceError(f"shape of '{name}' must be a whole number, got {size!r}.")
        if any(s < 1 for s in shape):
            raise SpaceError(f"shape of '{name}' must be positive, got {tuple(shape)}.")
        return self._domain(name, tuple(shape), owner)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        raise TypeError(f"{type(self).__name__} is not a kind of variable")


class Int(Var):
    """Whole numbers from lo to hi inclusive, on the grid of `step`.

    log: sampled evenly in the logarithm (excludes `step`).
    """

    def __init__(
        self,
        lo: int | str,
        hi: int | str,
        *,
        step: int | str = 1,
        log: bool = False,
        shape: Shape = (),
        when: When | None = None,
    ) -> None:
        super().__init__(shape, when)
        if log and step != 1:
            raise SpaceError("Int takes either log or step, not both.")
        self.lo, self.hi, self.step, self.log = lo, hi, step, log
        if isinstance(lo, int) and isinstance(hi, int) and isinstance(step, int):
            self._domain("Int", (), None)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        lo, hi, step = (
            _whole(name, word, _attribute(name, word, value, owner))
            for word, value in (("lo", self.lo), ("hi", self.hi), ("step", self.step))
        )
        if lo > hi:
            raise SpaceError(f"lo of '{name}' must not exceed hi, got lo={lo} and hi={hi}.")
        if step < 1:
            raise SpaceError(f"step of '{name}' must be at least 1, got {step}.")
        if (hi - lo) % step:
            below = lo + (hi - lo) // step * step
            raise SpaceError(f"hi of '{name}' must lie on the grid {lo}, {lo + step}, ...; got {hi}, use {below}.")
        if self.log and lo < 1:
            raise SpaceError(f"lo of '{name}' must be at least 1 with log, got {lo}.")
        return Domain(name, "grid", shape, lo, hi, step, (hi - lo) // step + 1, self.log)


class Float(Var):
    """Real numbers from lo to hi. log: sampled evenly in the logarithm."""

    def __init__(
        self,
        lo: float | str,
        hi: float | str,
        *,
        log: bool = False,
        shape: Shape = (),
        when: When | None = None,
    ) -> None:
        super().__init__(shape, when)
        self.lo, self.hi, self.log = lo, hi, log
        if not isinstance(lo, str) and not isinstance(hi, str):
            self._domain("Float", (), None)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        lo, hi = (float(_attribute(name, w, v, owner)) for w, v in (("lo", self.lo), ("hi", self.hi)))
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise SpaceError(f"bounds of '{name}' must be finite, got {lo:g} and {hi:g}.")
        if lo > hi:
            raise SpaceError(f"lo of '{name}' must not exceed hi, got lo={lo:g} and hi={hi:g}.")
        if self.log and lo <= 0:
            raise SpaceError(f"lo of '{name}' must be positive with log, got {lo:g}.")
        return Domain(name, "float", shape, lo, hi, log=self.log)


class Menu(Var):
    """One of an ordered list of numbers; the column holds the numbers themselves."""

    def __init__(self, *options: Any, shape: Shape = (), when: When | None = None) -> None:
        super().__init__(shape, when)
        self.options: tuple[Any, ...] | str
        self.options = options[0] if len(options) == 1 and isinstance(options[0], str) else options
        if not isinstance(self.options, str):
            self._domain("Menu", (), None)

    @classmethod
    def powers(cls, base: int, lo: int, hi: int, **settings: Any) -> Menu:
        """Powers of `base` from lo to hi: `Menu.powers(2, 16, 256)` is 16, 32, ..., 256."""
        if base < 2:
            raise SpaceError(f"base of Menu.powers must be at least 2, got {base}.")
        powers = (base**e for e in range(int(math.log(max(hi, 1), base)) + 2))
        return cls(*(p for p in powers if lo <= p <= hi), **settings)

    @classmethod
    def divisors(cls, of: int | str, **settings: Any) -> Menu:
        """The divisors of a number, or of the attribute of that name."""
        menu = cls(1, **settings)
        menu.options = "divisors of " + of if isinstance(of, str) else _divisors(of)
        return menu

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        options: Any = self.options
        if isinstance(options, str) and options.startswith("divisors of "):
            options = _divisors(_whole(name, "divisors", _attribute(name, "options", options[12:], owner)))
        elif isinstance(options, str):
            options = _attribute(name, "options", options, owner)
        options = tuple(options)
        if not options:
            raise SpaceError(f"Menu '{name}' must have at least one number, got none.")
        if any(isinstance(v, bool) or not isinstance(v, int | float | np.number) for v in options):
            raise SpaceError(f"Menu '{name}' takes numbers, got {_short(options)}; use Choice for labels.")
        values = np.unique(np.asarray(options))
        if len(values) != len(options):
            raise SpaceError(f"Menu '{name}' must not repeat a number, got {_short(options)}.")
        values = values.astype(float if values.dtype.kind == "f" else np.int64)
        return Domain(name, "menu", shape, float(values[0]), float(values[-1]), 1, len(values), values=values)


class Choice(Var):
    """One of a list of unordered labels, or of the members of an Enum."""

    def __init__(self, *options: Any, shape: Shape = (), when: When | None = None) -> None:
        super().__init__(shape, when)
        self.options = options
        self._from_attribute = len(options) == 1 and isinstance(options[0], str)
        if not self._from_attribute:
            self._domain("Choice", (), None)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        options = self.options
        if self._from_attribute and hasattr(owner, options[0]):
            options = tuple(getattr(owner, options[0]))
        elif len(options) == 1 and isinstance(options[0], type) and issubclass(options[0], enum.Enum):
            options = tuple(options[0])
        if not options:
            raise SpaceError(f"Choice '{name}' must have at least one label, got none.")
        for value in options:
            if isinstance(value, enum.Enum):
                continue
            if isinstance(value, bool | int | float | np.number):
                use = "Bool()" if isinstance(value, bool) else f"Menu({', '.join(map(str, options))})"
                raise SpaceError(f"Choice '{name}' takes labels, got the number {value!r}; use {use}.")
            if not isinstance(value, str):
                raise SpaceError(f"Choice '{name}' takes strings or Enum members, got {value!r}.")
        if len(set(options)) != len(options):
            raise SpaceError(f"Choice '{name}' must not repeat a label, got {_short(options)}.")
        return Domain(name, "labels", shape, count=len(options), labels=tuple(options))


class Bool(Var):
    """True or false; the column is a boolean array."""

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        return Domain(name, "bool", shape, 0, 1, 1, 2, values=np.array([False, True]))


class Permutation(Var):
    """An order of n items; a row of the column is a permutation of 0 .. n - 1."""

    def __init__(self, n: int | str, *, shape: Shape = (), when: When | None = None) -> None:
        super().__init__(shape, when)
        self.n = n

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        n = _whole(name, "n", _attribute(name, "n", self.n, owner))
        if n < 1:
            raise SpaceError(f"n of '{name}' must be at least 1, got {n}.")
        return Domain(name, "permutation", shape, 0, n - 1, 1, n)


def label_name(label: Any) -> str:
    """The label as text: the name of an Enum member, or the string itself."""
    return label.name if isinstance(label, enum.Enum) else str(label)


def _attribute(name: str, role: str, value: Any, owner: Any) -> Any:
    if not isinstance(value, str):
        return value
    if owner is None or not hasattr(owner, value):
        raise SpaceError(f"{role} of '{name}' names the attribute '{value}', which the problem does not have.")
    return getattr(owner, value)


def _whole(name: str, role: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or value != int(value):
        raise SpaceError(f"{role} of '{name}' must be a whole number, got {value!r}.")
    return int(value)


def _divisors(of: int) -> tuple[int, ...]:
    if of < 1:
        raise SpaceError(f"Menu.divisors needs a positive number, got {of}.")
    small = [d for d in range(1, math.isqrt(of) + 1) if of % d == 0]
    return tuple(sorted({*small, *(of // d for d in small)}))


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [cell for part in value for cell in _flat(part)]
    return [value]


def _short(value: Any) -> str:
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 90 else text[:80] + " ..."
