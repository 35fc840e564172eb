"""Decision variables as the user declares them.

A declaration (`Int`, `Float`, `Menu`, `Choice`, `Bool`, `Permutation`) may name attributes of its
problem where a number or a list of options is expected; `declaration.resolve(name, problem)` looks
them up and returns a `Domain`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import SpaceError, nearest
from .domain import Domain, label_name, short

Shape = int | str | tuple[int | str, ...]
When = Mapping[str, Any]
LARGEST = 2**61

__all__ = ["Bool", "Choice", "Domain", "Float", "Int", "Menu", "Permutation", "Var", "label_name"]


class Var:
    """A decision variable of a problem; see `Int`, `Float`, `Menu`, `Choice`, `Bool`, `Permutation`.

    shape: entries of a vector variable, as a number, an attribute's name, or a tuple of these.
    when: {name: value or values}: the variable is active only where each named variable or
    parameter has one of the values; inactive entries are pinned to the first of the domain.
    unit: SI unit of its numbers, for people: answers are shown in it and `--fix` reads it. help: what it
    decides, for `optimize show`.
    """

    def __init__(self, shape: Shape = (), when: When | None = None, help: str = "", unit: str = "1") -> None:
        self.shape = shape
        self.when: dict[str, Any] = dict(when or {})
        self.help, self.unit = help, unit

    def resolve(self, name: str, owner: Any) -> Domain:
        """The domain of this variable for the problem `owner`."""
        parts = tuple(self.shape) if isinstance(self.shape, tuple | list) else (self.shape,)
        shape: list[int] = []
        for part in parts:
            size = _attribute(name, "shape", part, owner)
            shape += [_whole(name, "shape", s) for s in (size if isinstance(size, tuple) else (size,))]
        if any(s < 1 for s in shape):
            raise SpaceError(f"shape of '{name}' must be positive, got {tuple(shape)}.")
        return replace(self._domain(name, tuple(shape), owner), unit=self.unit, help=self.help)

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
        help: str = "",
        unit: str = "1",
    ) -> None:
        super().__init__(shape, when, help, unit)
        if log and step != 1:
            raise SpaceError("Int takes either log or step, not both.")
        self.lo, self.hi, self.step, self.log = lo, hi, step, log
        if not any(isinstance(v, str) for v in (lo, hi, step)):
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
            raise SpaceError(
                f"hi of '{name}' must lie on the grid {lo}, {lo + step}, ...; got {hi}, use {below}."
            )
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
        help: str = "",
        unit: str = "1",
    ) -> None:
        super().__init__(shape, when, help, unit)
        self.lo, self.hi, self.log = lo, hi, log
        if not isinstance(lo, str) and not isinstance(hi, str):
            self._domain("Float", (), None)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        lo, hi = (
            _number(name, word, _attribute(name, word, value, owner))
            for word, value in (("lo", self.lo), ("hi", self.hi))
        )
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise SpaceError(f"bounds of '{name}' must be finite, got {lo:g} and {hi:g}.")
        if lo > hi:
            raise SpaceError(f"lo of '{name}' must not exceed hi, got lo={lo:g} and hi={hi:g}.")
        if self.log and lo <= 0:
            raise SpaceError(f"lo of '{name}' must be positive with log, got {lo:g}.")
        return Domain(name, "float", shape, lo, hi, log=self.log)


class Menu(Var):
    """One of an ordered list of numbers, given one by one or as a list; the column holds the numbers."""

    def __init__(
        self,
        *options: Any,
        shape: Shape = (),
        when: When | None = None,
        help: str = "",
        unit: str = "1",
    ) -> None:
        super().__init__(shape, when, help, unit)
        listed = _one_list(options)
        self._options: Callable[[str, Any], Any] = lambda name, owner: listed
        if len(options) == 1 and isinstance(options[0], str):
            self._options = lambda name, owner: _attribute(name, "options", options[0], owner)
        else:
            self._domain("Menu", (), None)

    @classmethod
    def powers(cls, base: int, lo: int | str, hi: int | str, **settings: Any) -> Menu:
        """Powers of `base` from lo to hi: `Menu.powers(2, 16, 256)` is 16, 32, ..., 256."""
        if base < 2:
            raise SpaceError(f"base of Menu.powers must be at least 2, got {base}.")

        def options(name: str, owner: Any) -> tuple[int, ...]:
            bounds = (("lo", lo), ("hi", hi))
            return _powers(
                base, *(_whole(name, word, _attribute(name, word, v, owner)) for word, v in bounds)
            )

        return cls._computed(options, isinstance(lo, str) or isinstance(hi, str), settings)

    @classmethod
    def divisors(cls, of: int | str, **settings: Any) -> Menu:
        """The divisors of a number, or of the attribute of that name."""

        def options(name: str, owner: Any) -> tuple[int, ...]:
            return _divisors(_whole(name, "divisors", _attribute(name, "divisors", of, owner)))

        return cls._computed(options, isinstance(of, str), settings)

    @classmethod
    def _computed(cls, options: Callable[[str, Any], Any], later: bool, settings: dict[str, Any]) -> Menu:
        menu = cls(1, **settings)
        menu._options = options
        if not later:
            menu._domain("Menu", (), None)
        return menu

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        options = _listed(name, "Menu", self._options(name, owner))
        if not options:
            raise SpaceError(f"Menu '{name}' must have at least one number, got none.")
        if any(isinstance(v, bool) or not isinstance(v, int | float | np.number) for v in options):
            raise SpaceError(f"Menu '{name}' takes numbers, got {short(options)}; use Choice for labels.")
        if not all(math.isfinite(v) and (isinstance(v, float) or abs(v) <= LARGEST) for v in options):
            raise SpaceError(f"Menu '{name}' takes finite numbers, got {short(options)}.")
        values = np.unique(np.asarray(options))
        if len(values) != len(options):
            raise SpaceError(f"Menu '{name}' must not repeat a number, got {short(options)}.")
        values = values.astype(float if values.dtype.kind == "f" else np.int64)
        return Domain(name, "menu", shape, float(values[0]), float(values[-1]), 1, len(values), values=values)


class Choice(Var):
    """One of some unordered labels, given one by one or as a list, or of the members of an Enum.

    A single string names the attribute that lists the labels.
    """

    def __init__(self, *options: Any, shape: Shape = (), when: When | None = None, help: str = "") -> None:
        super().__init__(shape, when, help)
        self.options = _one_list(options)
        self._attribute = options[0] if len(options) == 1 and isinstance(options[0], str) else None
        if self._attribute is None:
            self._domain("Choice", (), None)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        options: Any = self.options
        if self._attribute is not None:
            options = _attribute(name, "the list of labels", self._attribute, owner)
        elif len(options) == 1 and isinstance(options[0], type) and issubclass(options[0], enum.Enum):
            options = options[0]
        options = _listed(name, "Choice", options)
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
        names = [label_name(v) for v in options]
        if len(set(names)) != len(names) or len(set(options)) != len(options):
            raise SpaceError(f"Choice '{name}' must not repeat a label, got {short(options)}.")
        places = {label: place for place, label in enumerate(names)}
        for place, value in enumerate(options):
            if isinstance(value, str) and places.get(value, place) != place:
                raise SpaceError(
                    f"Choice '{name}': {value!r} is the value of one label and the name of another."
                )
        return Domain(name, "labels", shape, count=len(options), labels=options)


class Bool(Var):
    """True or false; the column is a boolean array."""

    def __init__(self, shape: Shape = (), when: When | None = None, help: str = "") -> None:
        super().__init__(shape, when, help)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        return Domain(name, "bool", shape, 0, 1, 1, 2)


class Permutation(Var):
    """An order of n items; a row of the column is a permutation of 0 .. n - 1."""

    def __init__(self, n: int | str, *, shape: Shape = (), when: When | None = None, help: str = "") -> None:
        super().__init__(shape, when, help)
        self.n = n
        if not isinstance(n, str):
            self._domain("Permutation", (), None)

    def _domain(self, name: str, shape: tuple[int, ...], owner: Any) -> Domain:
        n = _whole(name, "n", _attribute(name, "n", self.n, owner))
        if n < 1:
            raise SpaceError(f"n of '{name}' must be at least 1, got {n}.")
        return Domain(name, "permutation", shape, 0, n - 1, 1, n)


def _attribute(name: str, role: str, value: Any, owner: Any) -> Any:
    if not isinstance(value, str):
        return value
    if owner is None or not hasattr(owner, value):
        known = [n for n in dir(owner) if not n.startswith("_")] if owner is not None else []
        close = nearest(value, known)
        hint = f"; {close}" if close.startswith("did") else "."
        raise SpaceError(
            f"{role} of '{name}' names the attribute '{value}', which the problem does not have{hint}"
        )
    return getattr(owner, value)


def _number(name: str, role: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise SpaceError(f"{role} of '{name}' must be a number, got {value!r}.")
    return float(value)


def _whole(name: str, role: str, value: Any) -> int:
    number = _number(name, role, value)
    if not math.isfinite(number) or value != int(value):
        raise SpaceError(f"{role} of '{name}' must be a whole number, got {value!r}.")
    if abs(number) > LARGEST:
        raise SpaceError(f"{role} of '{name}' must lie within 2^61 of zero, got {value!r}.")
    return int(value)


def _one_list(options: tuple[Any, ...]) -> tuple[Any, ...]:
    """Options given one by one, or as one list."""
    whole = len(options) == 1 and isinstance(options[0], list | tuple | range | np.ndarray)
    return tuple(options[0]) if whole else options


def _listed(name: str, kind: str, options: Any) -> tuple[Any, ...]:
    if isinstance(options, str | set | frozenset) or not isinstance(options, Iterable):
        raise SpaceError(f"options of {kind} '{name}' must be a list, got {options!r}.")
    try:
        return tuple(options)
    except TypeError:
        raise SpaceError(f"options of {kind} '{name}' must be a list, got {options!r}.") from None


def _divisors(of: int) -> tuple[int, ...]:
    if of < 1:
        raise SpaceError(f"Menu.divisors needs a positive number, got {of}.")
    small = [d for d in range(1, math.isqrt(of) + 1) if of % d == 0]
    return tuple(sorted({*small, *(of // d for d in small)}))


def _powers(base: int, lo: int, hi: int) -> tuple[int, ...]:
    powers, power = [], 1
    while power <= hi:
        powers += [power] if power >= lo else []
        power *= base
    return tuple(powers)
