"""Listing every point of a finite space, each once, in constant memory.

The points are numbers in a mixed radix. A digit is one entry of a variable, or the joint entry of
variables that a `when` ties together, with its admissible combinations listed. The last digits form
an inner block that is computed once; the others change once a chunk and cost nothing. Where a tie has
too many combinations to list, or reaches from a scalar into a vector, all combinations are made and
the canonical ones kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError
from .batch import Batch, take
from .counting import components, count_entry
from .domain import Domain

if TYPE_CHECKING:
    from .space import Space

Array = npt.NDArray[Any]
JOINT_LIMIT = 1 << 20
CHUNK_BYTES = 32 << 20


def _joint_table(space: Space, group: tuple[str, ...], entry: int) -> dict[str, Array]:
    """Admissible combinations of one entry of a group, name -> (combinations, *item)."""
    table: dict[str, Array] = {}
    active: dict[str, Array] = {}
    rows = 1
    for name in group:
        mask = np.full(rows, name not in space.never)
        for condition in space.conditions[name]:
            mask &= np.isin(table[condition.parent], condition.allowed) & active[condition.parent]
        options = _options(space.domains[name].entry(entry), bool(mask.any()))
        repeats = np.where(mask, len(options), 1)
        rows = int(repeats.sum())
        position = np.arange(rows) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        table = {key: np.repeat(column, repeats, axis=0) for key, column in table.items()}
        active = {key: np.repeat(column, repeats) for key, column in active.items()}
        table[name], active[name] = options[position], np.repeat(mask, repeats)
    return table


def _options(domain: Domain, active: bool = True) -> Array:
    """All values of a scalar domain, first the canonical one; only this one where it is never active."""
    if not active or domain.pinned is not None or domain.options is None:
        return domain.first[None]
    return domain.at(np.arange(domain.options))


class _Digit:
    """One place of the mixed radix: entry `entry` of each of `names`, with `count` combinations."""

    def __init__(self, names: tuple[str, ...], entry: int | None, listed: dict[str, Array] | Domain) -> None:
        self.names, self.entry = names, entry
        if isinstance(listed, Domain) and (listed.pinned is not None or listed.options is None):
            listed = {listed.name: listed.first[None]}
        self._listed = listed
        self.count = (listed.options or 1) if isinstance(listed, Domain) else len(next(iter(listed.values())))
        if self.count >= 2**63:
            raise SpaceError(f"'{names[0]}' has {self.count:.3g} values; they cannot be listed.")

    def columns(self, position: Array) -> dict[str, Array]:
        if isinstance(self._listed, Domain):
            return {self.names[0]: self._listed.at(position)}
        return {name: column[position] for name, column in self._listed.items()}


class Enumeration:
    """All points of a finite space as a sequence of batches; `chunk(i)` makes the i-th.

    rows: wished rows a chunk. Raises SpaceError where the space is not finite.
    """

    def __init__(self, space: Space, rows: int = 16_384) -> None:
        if space.size is None:
            raise SpaceError("the space is not finite, so it cannot be enumerated.")
        self.space, self.rows = space, rows
        width = sum(d.cells * d.dtype.itemsize for d in space.domains.values())
        rows = max(1, min(rows, CHUNK_BYTES // max(1, width)))
        self._filtered = False
        self._digits = list(self._make_digits())
        inner, self._inner_rows = len(self._digits), 1
        while inner and self._inner_rows * self._digits[inner - 1].count <= rows:
            inner -= 1
            self._inner_rows *= self._digits[inner].count
        self._inner = self._digits[inner:]
        self._outer = self._digits[:inner]
        self._run = max(1, rows // self._inner_rows) if self._outer else 1
        self._runs = -(-self._outer[-1].count // self._run) if self._outer else 1
        self._block = self._expand(self._inner)
        self._tiles: dict[int, list[dict[str, Array]]] = {1: self._block}

    def _make_digits(self) -> Iterator[_Digit]:
        space = self.space
        for group in components(space, space.order, {}):
            domain = space.domains[group[0]]
            entries: list[int | None] = list(range(domain.entries)) if domain.shape else [None]
            alike = all(space.domains[name].shape == domain.shape for name in group)
            if len(group) == 1 and group[0] not in space.never:
                for entry in entries:
                    yield _Digit(group, entry, domain.entry(entry or 0))
            elif alike and all((count_entry(space, group, e or 0) or 0) <= JOINT_LIMIT for e in entries):
                for entry in entries:
                    yield _Digit(group, entry, _joint_table(space, group, entry or 0))
            else:
                self._filtered = True
                for name in group:
                    whole = space.domains[name]
                    for place in range(whole.entries):
                        yield _Digit((name,), place if whole.shape else None, whole.entry(place))

    def _expand(self, digits: list[_Digit]) -> list[dict[str, Array]]:
        """The columns of each inner digit over the whole inner block."""
        rows, after = self._inner_rows, self._inner_rows
        expanded = []
        for digit in digits:
            after //= digit.count
            position = (np.arange(rows) // after) % digit.count
            expanded.append(digit.columns(position))
        return expanded

    def _tiled(self, repeat: int) -> list[dict[str, Array]]:
        """The inner block `repeat` times over; at most two lengths occur, both are kept."""
        if repeat not in self._tiles:
            self._tiles[repeat] = [
                {n: np.tile(c, (repeat, *[1] * (c.ndim - 1))) for n, c in values.items()}
                for values in self._block
            ]
        return self._tiles[repeat]

    def __len__(self) -> int:
        """Number of chunks."""
        return math.prod(d.count for d in self._outer[:-1]) * self._runs

    def __iter__(self) -> Iterator[Batch]:
        return (batch for batch in map(self.chunk, range(len(self))) if len(batch))

    def chunk(self, index: int) -> Batch:
        """The `index`-th batch of points; it may be empty where conditions leave none."""
        space, fixed = self.space, []
        repeat, run = 1, None
        if self._outer:
            index, slot = divmod(index, self._runs)
            last = self._outer[-1]
            start = slot * self._run
            run = np.arange(start, min(start + self._run, last.count))
            repeat = len(run)
            for digit in reversed(self._outer[:-1]):
                index, position = divmod(index, digit.count)
                fixed.append((digit, digit.columns(np.array([position]))))
        rows = repeat * self._inner_rows
        columns: dict[str, Array] = {}

        def place(digit: _Digit, values: dict[str, Array]) -> None:
            for name, column in values.items():
                domain = space.domains[name]
                wide = column if len(column) == rows else np.broadcast_to(column, (rows, *column.shape[1:]))
                if digit.entry is None:
                    columns[name] = wide.astype(domain.dtype, copy=False)
                else:
                    if name not in columns:
                        columns[name] = np.empty((rows, domain.entries, *domain.item), domain.dtype)
                    columns[name][:, digit.entry] = wide

        for digit, values in fixed:
            place(digit, values)
        if run is not None:
            values = self._outer[-1].columns(run)
            place(self._outer[-1], {n: np.repeat(c, self._inner_rows, axis=0) for n, c in values.items()})
        for digit, values in zip(self._inner, self._tiled(repeat), strict=True):
            place(digit, values)
        shaped = {n: columns[n].reshape(rows, *space.domains[n].width) for n in space.domains}
        if not self._filtered:
            return Batch(space, shaped, rows)
        canonical = space.canonical(shaped, rows)
        same = np.ones(rows, bool)
        for name, domain in space.domains.items():
            same &= (canonical.__columns__[name] == shaped[name]).reshape(rows, domain.cells).all(axis=1)
        return take(canonical, same)
