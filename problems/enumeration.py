"""Counting and listing every point of a finite space, each once, in constant memory.

The points are numbers in a mixed radix. A digit is one entry of a variable, or the joint entry of
variables that a `when` ties together, with its admissible combinations listed. The last digits form
an inner block that is computed once; the others change once a chunk and cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError
from .batch import Batch
from .variables import Domain

if TYPE_CHECKING:
    from .space import Space

Array = npt.NDArray[Any]
JOINT_LIMIT = 1 << 20
CHUNK_BYTES = 32 << 20


def count_points(space: Space) -> int | None:
    """Distinct points of a space after pinning; None where a variable is continuous."""
    total = 1
    for group in _components(space):
        counted = _count_group(space, group)
        if counted is None:
            return None
        total *= counted
    return total


def _components(space: Space) -> list[list[str]]:
    """Variables tied by `when`, each group in topological order, groups in declaration order."""
    leader = {name: name for name in space.domains}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for name, conditions in space.conditions.items():
        for condition in conditions:
            leader[find(name)] = find(condition.parent)
    groups: dict[str, list[str]] = {}
    for name in space.domains:
        groups.setdefault(find(name), [])
    for name in space.order:
        groups[find(name)].append(name)
    return list(groups.values())


def _signatures(space: Space, name: str, group: list[str]) -> dict[tuple[bool, ...], int] | None:
    """How many values of `name` satisfy which of the conditions that others put on it."""
    domain = space.domains[name]
    conditions = [c for other in group for c in space.conditions[other] if c.parent == name]
    if not conditions:
        return None if domain.options is None else {(): domain.options}
    pinned = domain.pinned is not None
    column = np.unique(np.asarray(domain.pinned).ravel()) if pinned else domain.at(np.arange(domain.count or 0))
    table = np.stack([np.isin(column, c.allowed) for c in conditions], axis=1)
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    if pinned and len(kinds) > 1:
        return None
    return {tuple(map(bool, k)): 1 if pinned else int(n) for k, n in zip(kinds, counts, strict=True)}


def _count_group(space: Space, group: list[str]) -> int | None:
    """Points of one group by recursion over scalars, then entry by entry over vectors."""
    scalars = [n for n in group if not space.domains[n].shape]
    vectors = [n for n in group if space.domains[n].shape]
    mixed_pins = any(
        space.domains[n].pinned is not None and len(np.unique(np.asarray(space.domains[n].pinned).ravel())) > 1
        for n in vectors
    )
    if mixed_pins and len(group) > 1:
        return _count_pinned_vectors(space, group, scalars, vectors)

    def signature_holds(env: dict[str, tuple[bool, ...]], child: str) -> bool:
        if child in space.never:
            return False
        for condition in space.conditions[child]:
            parents = [c for other in group for c in space.conditions[other] if c.parent == condition.parent]
            held = env[condition.parent]
            if not held or not held[next(i for i, c in enumerate(parents) if c is condition)]:
                return False
        return True

    def walk(names: list[str], env: dict[str, tuple[bool, ...]], rest: list[str]) -> int | None:
        if not names:
            return vector_count(rest, env) if rest else 1
        name, later = names[0], names[1:]
        if not signature_holds(env, name):
            return walk(later, {**env, name: ()}, rest)
        kinds = _signatures(space, name, group)
        if kinds is None:
            return None
        total = 0
        for held, count in kinds.items():
            below = walk(later, {**env, name: held}, rest)
            if below is None:
                return None
            total += count * below
        return total

    def vector_count(names: list[str], env: dict[str, tuple[bool, ...]]) -> int | None:
        total = 1
        for shape in dict.fromkeys(space.domains[n].shape for n in names):
            each = walk([n for n in names if space.domains[n].shape == shape], env, [])
            if each is None:
                return None
            total *= each ** math.prod(shape)
        return total

    return walk(scalars, {}, vectors)


def _count_pinned_vectors(space: Space, group: list[str], scalars: list[str], vectors: list[str]) -> int | None:
    """Groups with a vector fixed to unequal entries: entries are counted one by one."""
    if scalars:
        raise SpaceError("a vector fixed to unequal entries cannot depend on a scalar variable.")
    shape = space.domains[vectors[0]].shape
    total = 1
    for entry in range(math.prod(shape)):
        options = _joint_table(space, group, entry)
        if options is None:
            return None
        total *= len(next(iter(options.values())))
    return total


def _scalar_copy(domain: Domain, entry: int) -> Domain:
    pinned = None
    if domain.pinned is not None:
        cells = np.asarray(domain.pinned)
        pinned = cells if not domain.shape else cells.reshape(domain.entries, *domain.width[len(domain.shape) :])[entry]
    return Domain(**{**domain.__dict__, "shape": (), "pinned": pinned})


def _options(domain: Domain) -> Array:
    """All values of one entry of a finite domain, (options[, items])."""
    if domain.kind == "permutation" and domain.pinned is None:
        raise SpaceError(f"'{domain.name}' is {domain.describe()}; permutations are not enumerated.")
    if domain.pinned is not None:
        return np.asarray(domain.pinned)[None]
    return domain.at(np.arange(domain.options or 0))


def _joint_table(space: Space, group: list[str], entry: int) -> dict[str, Array] | None:
    """Admissible combinations of one entry of a group, name -> (combinations,)."""
    copies = {name: _scalar_copy(space.domains[name], entry) for name in group}
    if any(d.options is None for d in copies.values()):
        return None
    table: dict[str, Array] = {}
    rows = 1
    for name in group:
        options = _options(copies[name])
        mask = np.full(rows, name not in space.never)
        for condition in space.conditions[name]:
            mask &= np.isin(table[condition.parent], condition.allowed) & table[f"?{condition.parent}"]
        repeats = np.where(mask, len(options), 1)
        rows = int(repeats.sum())
        if rows > JOINT_LIMIT:
            raise SpaceError(f"{', '.join(group)} have more than {JOINT_LIMIT:,} joint values; they cannot be listed.")
        starts = np.concatenate([[0], np.cumsum(repeats)[:-1]])
        position = np.arange(rows) - np.repeat(starts, repeats)
        table = {key: np.repeat(column, repeats, axis=0) for key, column in table.items()}
        table[name] = options[position]
        table[f"?{name}"] = np.repeat(mask, repeats)
    return {name: table[name] for name in group}


class _Digit:
    """One place of the mixed radix: entry `entry` of each of `names`, with `count` combinations."""

    def __init__(self, names: list[str], entry: int | None, count: int, table: dict[str, Array] | Domain) -> None:
        self.names, self.entry, self.count, self._table = names, entry, count, table

    def columns(self, position: Array) -> dict[str, Array]:
        if isinstance(self._table, Domain):
            return {self.names[0]: self._table.at(position)}
        return {name: column[position] for name, column in self._table.items()}


class Enumeration:
    """All points of a finite space as a sequence of batches; `chunk(i)` makes the i-th.

    rows: wished rows a chunk. Raises SpaceError where the space is not finite.
    """

    def __init__(self, space: Space, rows: int = 16_384) -> None:
        if space.size is None:
            raise SpaceError("the space is not finite, so it cannot be enumerated.")
        self.space = space
        width = sum(math.prod(d.width) * d.dtype.itemsize for d in space.domains.values())
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
        for group in _components(space):
            shapes = {space.domains[name].shape for name in group}
            domain = space.domains[group[0]]
            if len(group) == 1 and not space.never.intersection(group):
                for entry in range(domain.entries):
                    one = _scalar_copy(domain, entry)
                    listed = one if one.kind != "permutation" and one.pinned is None else {group[0]: _options(one)}
                    yield _Digit(group, entry if domain.shape else None, one.options or 0, listed)
            elif len(shapes) == 1:
                for entry in range(domain.entries):
                    table = _joint_table(space, group, entry)
                    assert table is not None
                    count = len(next(iter(table.values())))
                    yield _Digit(group, entry if domain.shape else None, count, table)
            else:
                self._filtered = True
                for name in group:
                    whole = space.domains[name]
                    for entry in range(whole.entries):
                        one = _scalar_copy(whole, entry)
                        yield _Digit(
                            [name], entry if whole.shape else None, one.options or 0, {name: _options(one)}
                        )

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
                {n: np.tile(c, (repeat, *[1] * (c.ndim - 1))) for n, c in values.items()} for values in self._block
            ]
        return self._tiles[repeat]

    def __len__(self) -> int:
        """Number of chunks."""
        return math.prod(d.count for d in self._outer[:-1]) * self._runs

    def __iter__(self) -> Iterator[Batch]:
        return (self.chunk(i) for i in range(len(self)))

    def chunk(self, index: int) -> Batch:
        """The `index`-th batch of points."""
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
                        columns[name] = np.empty((rows, domain.entries, *domain.width[len(domain.shape) :]), domain.dtype)
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
        for name in space.domains:
            same &= (canonical._columns[name] == shaped[name]).reshape(rows, -1).all(axis=1)
        return Batch(space, {n: c[same] for n, c in shaped.items()}, int(same.sum()))

