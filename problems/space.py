"""The typed space of a problem: what a point may be, how many there are, how to list them.

A space is static and ordered. Conditional variables (`when`) do not change its columns: an inactive
entry is pinned to the first value of its domain, and points are compared after that pinning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SpaceError, nearest
from .batch import Batch
from .enumeration import Enumeration, count_points
from .variables import Domain, Var, label_name

Array = npt.NDArray[Any]
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

    def __init__(self, owner: Any, variables: Mapping[str, Var], pins: Mapping[str, Any] | None = None) -> None:
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
            if parent not in self.domains:
                if not hasattr(owner, parent) or parent in variables:
                    known = [*self.domains, *getattr(owner, "_parameters", ())]
                    raise SpaceError(f"'when' of '{name}' names '{parent}'; {nearest(parent, known)}")
                value = getattr(owner, parent)
                if value not in options and label_name(value) not in options:
                    self.never.add(name)
                continue
            domain = self.domains[parent]
            if parent == name:
                raise SpaceError(f"'when' of '{name}' names itself.")
            if domain.kind in {"float", "permutation"}:
                raise SpaceError(f"'when' of '{name}' names '{parent}', which is {domain.describe()}; use a Choice.")
            own = self.domains[name].shape
            if domain.shape not in {(), own}:
                raise SpaceError(
                    f"'when' of '{name}' needs '{parent}' to be a scalar or of shape {own}, got {domain.shape}."
                )
            free = Domain(**{**domain.__dict__, "pinned": None, "shape": ()})
            yield Condition(parent, np.array([free.encode(option) for option in options]))

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

    @property
    def conditional(self) -> bool:
        """Whether any variable has a `when`."""
        return bool(self.never) or any(self.conditions.values())

    def enumerate(self, rows: int = 16_384) -> Enumeration:
        """Every distinct point once, in chunks of about `rows` rows, as a sequence of batches."""
        return Enumeration(self, rows)

    def active(self, columns: Mapping[str, Array], name: str, rows: int) -> Array:
        """Where `name` is active, shape (rows, *shape)."""
        shape = (rows, *self.domains[name].shape)
        mask = np.full(shape, name not in self.never)
        for condition in self.conditions[name]:
            parent = condition.parent
            holds = condition.holds(columns) & self.active(columns, parent, rows)
            mask &= holds.reshape(rows, *([1] * (len(shape) - 1))) if holds.ndim == 1 else holds
        return mask

    def canonical(self, columns: Mapping[str, Array], rows: int) -> Batch:
        """A batch of these columns, inactive entries pinned to the first of their domain."""
        result = dict(columns)
        for name in self.order:
            if name in self.never or self.conditions[name]:
                domain = self.domains[name]
                mask = self.active(result, name, rows)
                if domain.kind == "permutation":
                    mask = mask[..., None]
                result[name] = np.where(mask, result[name], domain.first).astype(domain.dtype)
        return Batch(self, {name: result[name] for name in self.domains}, rows)

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
            return points
        listed: Sequence[Mapping[str, Any]]
        listed = [points] if isinstance(points, Mapping) else list(points)
        for point in listed:
            unknown = next((n for n in point if n not in self.domains), None)
            if unknown is not None:
                raise SpaceError(f"a point has no variable '{unknown}'; {nearest(unknown, self.domains)}")
        columns = {}
        for name, domain in self.domains.items():
            optional = domain.pinned is not None or name in self.never or self.conditions[name]
            cells = []
            for point in listed:
                if name in point:
                    cells.append(domain.encode(point[name]))
                elif optional:
                    cells.append(domain.first)
                else:
                    raise SpaceError(f"a point must give '{name}' ({domain.describe()}); it is missing.")
            columns[name] = np.array(cells, domain.dtype).reshape(len(listed), *domain.width)
        return self.canonical(columns, len(listed))

    def points(self, batch: Batch) -> list[Point]:
        """The rows of a batch as mappings from names to Python values (labels, numbers, lists)."""
        columns = {name: np.asarray(batch._columns[name]) for name in self.domains}
        return [
            {name: self.domains[name].decode(column[row]) for name, column in columns.items()}
            for row in range(len(batch))
        ]

    def contains(self, batch: Batch) -> Array:
        """Which rows lie in the space, shape (rows,)."""
        inside = np.ones(len(batch), bool)
        for name, domain in self.domains.items():
            inside &= domain.contains(np.asarray(batch._columns[name]))
        return inside

    def storage(self, batch: Batch) -> dict[str, Array]:
        """The columns of a batch in the smallest types that hold them: what a run records."""
        return {n: np.asarray(batch._columns[n]).astype(d.storage) for n, d in self.domains.items()}

    def restore(self, columns: Mapping[str, Array]) -> Batch:
        """The batch that `storage` wrote.

        Raises SpaceError where a column is missing, has another shape or holds a foreign value.
        """
        rows = len(next(iter(columns.values()))) if columns else 0
        wide = {}
        for name, domain in self.domains.items():
            if name not in columns or columns[name].shape != (rows, *domain.width):
                raise SpaceError(f"the recorded column '{name}' is missing or has another shape.")
            wide[name] = columns[name].astype(domain.dtype)
        batch = Batch(self, wide, rows)
        if not self.contains(batch).all():
            raise SpaceError("the recorded rows hold values outside the space.")
        return batch

    @cached_property
    def _weights(self) -> dict[str, Array]:
        rng = np.random.default_rng(0x7A5E)
        return {
            name: rng.integers(1, 2**63, size=max(1, math.prod(domain.width)), dtype=np.uint64) | np.uint64(1)
            for name, domain in self.domains.items()
        }

    def hashes(self, batch: Batch) -> Array:
        """A 64-bit hash of each canonical row, shape (rows,), the same in every process."""
        total = np.zeros(len(batch), np.uint64)
        for name, weight in self._weights.items():
            column = np.asarray(batch._columns[name])
            bits = (column + 0.0).view(np.uint64) if column.dtype.kind == "f" else column.astype(np.uint64)
            bits = bits.reshape(len(batch), -1)
            mixed = (bits ^ (bits >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
            total += (mixed * weight).sum(axis=1, dtype=np.uint64)
        total ^= total >> np.uint64(32)
        total *= np.uint64(0xD6E8FEB86659FD93)
        return total ^ (total >> np.uint64(29))
