"""Counting the distinct points of a space after inactive entries are pinned.

A variable matters to others only through the conditions (`when`) that it fulfils. Counting branches
over which of them hold, parents first; what no condition ties together any more is counted apart and
multiplied, so that a tree of conditions costs a sum over its branches, never a product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .domain import Domain
    from .space import Condition, Space

Held = frozenset["Condition"]


def count_points(space: Space) -> int | None:
    """Distinct points of a space after pinning; None where a variable is continuous."""
    return _count(space, space.order, {}, None)


def count_entry(space: Space, group: tuple[str, ...], entry: int) -> int | None:
    """Distinct joint values of one entry of some variables of equal shape that others do not govern."""
    return _count(space, group, {}, entry)


def components(space: Space, names: tuple[str, ...], known: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The names in groups tied by conditions, where a tie through a known variable does not count.

    Groups keep the order of `names`.
    """
    leader = {name: name for name in names}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for name in names:
        for condition in space.conditions[name]:
            if condition.parent not in known:
                leader[find(name)] = find(condition.parent)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(find(name), []).append(name)
    return [tuple(group) for group in groups.values()]


def _count(space: Space, names: tuple[str, ...], held: dict[str, Held], entry: int | None) -> int | None:
    """Points of the named variables, given which conditions the earlier ones fulfil.

    names: parents before children. entry: which entry of the vectors is counted; None where not yet one.
    """
    total = 1
    for group in components(space, names, held):
        count = _count_group(space, group, held, entry)
        if count is None:
            return None
        total *= count
    return total


def _count_group(
    space: Space, group: tuple[str, ...], held: dict[str, Held], entry: int | None
) -> int | None:
    scalars = [n for n in group if not space.domains[n].shape]
    if entry is None and not scalars:
        return _count_entries(space, group, held)
    name = scalars[0] if entry is None else group[0]
    rest = tuple(n for n in group if n != name)
    kinds = _kinds(space, name, held, entry)
    if kinds is None:
        return None
    total = 0
    for fulfilled, count in kinds.items():
        below = _count(space, rest, {**held, name: fulfilled}, entry)
        if below is None:
            return None
        total += count * below
    return total


def _count_entries(space: Space, group: tuple[str, ...], held: dict[str, Held]) -> int | None:
    """Vectors of equal shape, entry by entry; entries that are fixed alike are counted once."""
    domains = [space.domains[name] for name in group]
    pins = [d.pinned.reshape(d.entries, -1) for d in domains if d.pinned is not None]
    alike: Counter[tuple[Any, ...]] = Counter()
    first: dict[tuple[Any, ...], int] = {}
    for entry in range(domains[0].entries) if pins else (0,):
        key = tuple(pin[entry].tobytes() for pin in pins)
        first.setdefault(key, entry)
        alike[key] += 1 if pins else domains[0].entries
    total = 1
    for key, times in alike.items():
        count = _count(space, group, held, first[key])
        if count is None:
            return None
        total *= count**times
    return total


def _kinds(space: Space, name: str, held: dict[str, Held], entry: int | None) -> Counter[Held] | None:
    """How many values of one entry fulfil which conditions; None where there is no end of them."""
    if name in space.never or any(c not in held[c.parent] for c in space.conditions[name]):
        return Counter({frozenset(): 1})
    domain: Domain = space.domains[name]
    conditions = [c for cs in space.conditions.values() for c in cs if c.parent == name]
    if domain.pinned is not None:
        fixed = domain.entry(entry or 0).first
        return Counter({frozenset(c for c in conditions if fixed in c.allowed): 1})
    if domain.options is None:
        return None
    kinds: Counter[Held] = Counter()
    named = np.unique(np.concatenate([c.allowed for c in conditions])) if conditions else np.empty(0)
    for value in named:
        kinds[frozenset(c for c in conditions if value in c.allowed)] += 1
    if domain.options > len(named):
        kinds[frozenset()] += domain.options - len(named)
    return kinds
