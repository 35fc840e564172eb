"""The typed space of a problem: what a point may be, how many there are, how to list them.

A space is static and ordered. Conditional variables (`when`) do not change its columns: an inactive
entry is pinned to the first value of its domain, and points are compared after that pinning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError, nearest
from .batch import Batch
from .counting import count_points
from .domain import Domain, label_name
from .enumeration import Enumeration
from .goal import Metric
from .names import spelled
from .variables import Var

Array = npt.NDArray[Any]
HASH_CELLS = 1 << 16
Point = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Condition:
    """Entries of a variable are active only where `parent` has one of `allowed`."""

    parent: str
    allowed: Array

    def holds(self, columns: Mapping[str, Array]) -> Array:
        """Where the condition holds, shape (rows, *shape of the parent)."""
        column = columns[self.parent]
        if len(self.allowed) == 1:
            return np.asarray(column == self.allowed[0])
        return np.isin(column, self.allowed)


class Space:
    """The resolved variables of a problem, in declaration order."""

    def __init__(
        self, owner: Any, variables: Mapping[str, Var], pins: Mapping[str, Any] | None = None
    ) -> None:
        self.domains: dict[str, Domain] = {n: v.resolve(n, owner) for n, v in variables.items()}
        for name, value in (pins or {}).items():
            if name not in self.domains:
                raise SpaceError(f"no variable '{name}' to fix; {nearest(name, self.domains)}")
            self.domains[name] = self.domains[name].pin(value)
        self.conditions: dict[str, tuple[Condition, ...]] = {}
        self.never: set[str] = set()
        for name, variable in variables.items():
            self.conditions[name] = tuple(self._conditions(name, variable, owner, variables))
        self.order = self._topological()

    def _conditions(
        self, name: str, variable: Var, owner: Any, variables: Mapping[str, Var]
    ) -> Iterator[Condition]:
        for parent, wanted in variable.when.items():
            options = list(wanted) if isinstance(wanted, tuple | list | set | frozenset) else [wanted]
            if not options:
                raise SpaceError(f"'when' of '{name}' gives no value for '{parent}'.")
            if parent not in self.domains:
                value = getattr(owner, parent, None)
                if not hasattr(owner, parent) or isinstance(value, Metric) or callable(value):
                    known = [*self.domains, *getattr(owner, "_parameters", ())]
                    raise SpaceError(
                        f"'when' of '{name}' names '{parent}', which is no variable or parameter; "
                        f"{nearest(parent, known)}"
                    )
                if value not in options and label_name(value) not in options:
                    self.never.add(name)
                continue
            domain = self.domains[parent]
            if parent == name:
                raise SpaceError(f"'when' of '{name}' names itself.")
            if domain.kind in {"float", "permutation"}:
                raise SpaceError(
                    f"'when' of '{name}' names '{parent}', which is {domain.describe()}; use a Choice."
                )
            own = self.domains[name].shape
            if domain.shape not in {(), own}:
                raise SpaceError(
                    f"'when' of '{name}' needs '{parent}' to be a scalar or of shape {own}, "
                    f"got {domain.shape}."
                )
            free = replace(domain, pinned=None, shape=())
            yield Condition(parent, np.unique([free.encode(option) for option in options]))

    def _topological(self) -> tuple[str, ...]:
        order: list[str] = []
        waiting = dict(self.conditions)
        while waiting:
            ready = [n for n, cs in waiting.items() if all(c.parent not in waiting for c in cs)]
            if not ready:
                raise SpaceError(f"'when' of {', '.join(sorted(waiting))} forms a circle.")
            for name in ready:
                del waiting[name]
            order += ready
        return tuple(order)

    def __len__(self) -> int:
        return len(self.domains)

    @property
    def scalars(self) -> int:
        """Number of scalar decisions: entries of all variables that are not fixed."""
        return sum(math.prod(d.width) for d in self.domains.values() if d.pinned is None)

    @cached_property
    def size(self) -> int | None:
        """Number of distinct points, counted after pinning; None where there is no end of them."""
        return count_points(self)

    def record(self) -> dict[str, Any]:
        """The space as plain data: what identifies it."""
        return {
            name: domain.record()
            | {
                "when": [[c.parent, c.allowed.tolist()] for c in self.conditions[name]],
                "never": name in self.never,
            }
            for name, domain in self.domains.items()
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], pins: Mapping[str, Any] | None = None) -> Space:
        """The space that `record` describes, some variables pinned."""
        made = cls(None, {})
        made.domains = {name: Domain.from_record(name, kept) for name, kept in record.items()}
        for name, value in (pins or {}).items():
            made.domains[name] = made.domains[name].pin(value)
        made.conditions = {
            name: tuple(Condition(parent, np.asarray(allowed)) for parent, allowed in kept["when"])
            for name, kept in record.items()
        }
        made.never = {name for name, kept in record.items() if kept["never"]}
        made.order = made._topological()
        return made

    def enumerate(self, rows: int = 16_384) -> Enumeration:
        """Every distinct point once, in chunks of about `rows` rows, as a sequence of batches."""
        return Enumeration(self, rows)

    def active(self, columns: Mapping[str, Array], name: str, rows: int) -> Array:
        """Where `name` is active, shape (rows, *shape)."""
        return self._mask(columns, name, rows, {})

    def _mask(self, columns: Mapping[str, Array], name: str, rows: int, known: dict[str, Array]) -> Array:
        """Activity of `name`; `known` keeps that of its ancestors, so that each is computed once."""
        if name not in known:
            shape = (rows, *self.domains[name].shape)
            mask = np.full(shape, name not in self.never)
            for condition in self.conditions[name]:
                holds = condition.holds(columns)
                if condition.parent in self._conditional:
                    holds = holds & self._mask(columns, condition.parent, rows, known)
                mask &= holds.reshape(rows, *([1] * (len(shape) - 1))) if holds.ndim == 1 else holds
            known[name] = mask
        return known[name]

    @cached_property
    def _conditional(self) -> tuple[str, ...]:
        """Variables that may be inactive, parents first."""
        return tuple(n for n in self.order if n in self.never or self.conditions[n])

    def canonical(self, columns: Mapping[str, Array], rows: int) -> Batch:
        """A batch of these columns, inactive entries pinned to the first of their domain."""
        result = {name: columns[name] for name in self.domains}
        masks: dict[str, Array] = {}
        for name in self._conditional:
            domain = self.domains[name]
            mask = self._mask(result, name, rows, masks)
            if domain.item:
                mask = mask[..., None]
            result[name] = np.where(mask, result[name], domain.first).astype(domain.dtype, copy=False)
        return Batch(self, result, rows)

    def sample(self, rng: np.random.Generator, rows: int) -> Batch:
        """`rows` independent points."""
        return self.canonical({n: d.sample(rng, rows) for n, d in self.domains.items()}, rows)

    @property
    def unit_width(self) -> int:
        """Columns that `from_unit` reads: one a scalar decision."""
        return sum(math.prod(d.width) for d in self.domains.values())

    def from_unit(self, unit: Array) -> Batch:
        """Map points of the unit cube, shape (rows, unit_width), to a batch."""
        columns, start = {}, 0
        for name, domain in self.domains.items():
            stop = start + math.prod(domain.width)
            columns[name] = domain.from_unit(unit[:, start:stop].reshape(len(unit), *domain.width))
            start = stop
        return self.canonical(columns, len(unit))

    def batch(self, points: Iterable[Mapping[str, Any]] | Mapping[str, Any] | Batch) -> Batch:
        """A batch of points given as mappings from variable names to values.

        Raises SpaceError for an unknown or missing name, or a value outside its domain. Inactive and
        fixed variables may be left out.
        """
        if isinstance(points, Batch):
            return points if points.__space__ is self else self._adopt(points)
        listed: Sequence[Mapping[str, Any]]
        if isinstance(points, Mapping):
            listed = [points]
        else:
            listed = (
                list(points) if isinstance(points, Iterable) and not isinstance(points, str) else [points]
            )
        strange = next((p for p in listed if not isinstance(p, Mapping)), None)
        if strange is not None:
            raise SpaceError(f"a point must map variables to values, got {strange!r:.60}.")
        if any(n not in self.domains for point in listed for n in point):
            listed = [{spelled(str(n)): value for n, value in point.items()} for point in listed]
        for point in listed:
            unknown = next((n for n in point if n not in self.domains), None)
            if unknown is not None:
                raise SpaceError(f"a point has no variable '{unknown}'; {nearest(unknown, self.domains)}")
        columns = {}
        for name, domain in self.domains.items():
            if all(name in point for point in listed):
                columns[name] = domain.column([point[name] for point in listed])
            elif domain.pinned is not None or name in self._conditional:
                given = [domain.encode(point[name]) if name in point else domain.first for point in listed]
                columns[name] = np.array(given, domain.dtype)
            else:
                raise SpaceError(f"a point must give '{name}' ({domain.describe()}); it is missing.")
        return self.canonical(columns, len(listed))

    def _adopt(self, batch: Batch) -> Batch:
        """A batch of another space as one of this space; raises SpaceError where it does not lie in it."""
        columns = {n: c for n, c in batch.__columns__.items() if n in self.domains}
        if [*columns] != [*self.domains] or len(columns) != len(batch.__columns__):
            raise SpaceError(
                f"the batch has the variables {', '.join(batch.__columns__)}, not {', '.join(self.domains)}."
            )
        for name, domain in self.domains.items():
            other = batch.__space__.domains[name]
            if (other.kind, other.labels) != (domain.kind, domain.labels):
                columns[name] = domain.column(other.decode_rows(columns[name]))
        return self.restore(columns, len(batch))

    def points(self, batch: Batch) -> list[Point]:
        """The rows of a batch as mappings from names to Python values (labels, numbers, lists)."""
        columns = [domain.decode_rows(batch.__columns__[name]) for name, domain in self.domains.items()]
        if not columns:
            return [{} for _ in range(len(batch))]
        return [dict(zip(self.domains, row, strict=True)) for row in zip(*columns, strict=True)]

    def contains(self, batch: Batch) -> Array:
        """Which rows lie in the space, shape (rows,)."""
        inside = np.ones(len(batch), bool)
        for name, domain in self.domains.items():
            inside &= domain.contains(batch.__columns__[name])
        return inside

    def storage(self, batch: Batch) -> dict[str, Array]:
        """The columns of a batch in the smallest types that hold them: what a run records."""
        return {n: batch.__columns__[n].astype(d.storage) for n, d in self.domains.items()}

    def restore(self, columns: Mapping[str, Array], rows: int | None = None) -> Batch:
        """The batch that `storage` wrote. rows: needed only where there are no variables.

        Raises SpaceError where a column is missing, has another shape or holds a foreign value.
        """
        rows = len(next(iter(columns.values()), ())) if rows is None else rows
        wide = {}
        for name, domain in self.domains.items():
            if name not in columns or columns[name].shape != (rows, *domain.width):
                raise SpaceError(f"the recorded column '{name}' is missing or has another shape.")
            wide[name] = columns[name].astype(domain.dtype)
        batch = Batch(self, wide, rows)
        if not self.contains(batch).all():
            raise SpaceError("the recorded rows hold values outside the space.")
        return self.canonical(wide, rows)

    @cached_property
    def _weights(self) -> Array:
        """An odd random number a cell, (cells, 1), the same in every process."""
        cells = sum(domain.cells for domain in self.domains.values())
        mixed = np.arange(1, cells + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return (mixed ^ (mixed >> np.uint64(31)) | np.uint64(1))[:, None]

    def hashes(self, batch: Batch) -> Array:
        """A 64-bit hash of each canonical row, shape (rows,), the same in every process."""
        total = np.zeros(len(batch), np.uint64)
        block = max(1, HASH_CELLS // max(1, len(self._weights)))
        for start in range(0, len(batch), block):
            total[start : start + block] = self._hash_block(batch, slice(start, start + block))
        total ^= total >> np.uint64(32)
        total *= np.uint64(0xD6E8FEB86659FD93)
        return total ^ (total >> np.uint64(29))

    def _hash_block(self, batch: Batch, rows: slice) -> Array:
        """Sum over the cells of mixed value times weight, modulo 2^64, shape (rows,)."""
        bits = np.empty((len(self._weights), len(range(*rows.indices(len(batch))))), np.uint64)
        start = 0
        for name, domain in self.domains.items():
            column = batch.__columns__[name][rows]
            if domain.dtype.kind == "f":
                column = (column + 0.0).view(np.uint64)
            stop = start + domain.cells
            bits[start:stop] = column.reshape(-1, domain.cells).T
            start = stop
        bits ^= bits >> np.uint64(31)
        bits *= np.uint64(0x9E3779B97F4A7C15)
        bits ^= bits >> np.uint64(29)
        bits *= self._weights
        return np.asarray(bits.sum(axis=0))
