"""Pareto plans of one block, part by part: every way to treat some tensors that no other way beats.

Costs add over the tensors of a block, except that tensors which read the same transient share its
recomputing. Tensors so joined form a part; parts are independent. Within a part, dynamic programming
over the tensors, children before parents: a partial plan carries its costs and the transients it will
have to compute; among partial plans that demand the same transients, one that is no better in any cost
is dropped. The choice may ask for fewer costs than there are: a block whose workspace never binds
needs no plan that saves workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .actions import Table
from .block import Block

Array = npt.NDArray[Any]
Part = tuple[int, ...]
DIGITS = 12  # costs closer than 1e-12 of their scale are equal, so that rounding decides nothing


@dataclass(frozen=True, eq=False)
class Plans:
    """Plans of one part; choice (plans, tensors of the part) holds positions of labels, costs are (plans,).

    stored, workspace: bytes, anchors not counted. seconds: codecs and recomputing. error: relative
    gradient error. transfer: seconds on the host link, one way.
    """

    choice: Array
    stored: Array
    workspace: Array
    seconds: Array
    error: Array
    transfer: Array

    def __len__(self) -> int:
        return len(self.choice)

    @property
    def held(self) -> Array:
        """Bytes alive in the block's own backward: stored and materialised."""
        return self.stored + self.workspace

    def costs(self, names: tuple[str, ...]) -> Array:
        """The named costs side by side, (plans, names)."""
        return np.stack([np.asarray(getattr(self, name)) for name in names], axis=1)


BULK = ("stored", "seconds", "error", "transfer")
"""What matters of a block whose own backward never holds the peak."""
LAST = ("stored", "held", "seconds", "error", "transfer")
"""What matters of the last block."""
TAIL = ("stored", "workspace", "seconds", "error", "transfer")
"""What matters of any block."""


@dataclass(frozen=True, eq=False)
class Planner:
    """The plans of one block under one table of choices."""

    block: Block
    table: Table

    @property
    def whole(self) -> Part:
        """All saved tensors."""
        return tuple(range(len(self.block.saved)))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The saved tensors in independent parts, by position; see the module's first lines."""
        readers: dict[str, set[str]] = {}
        for tensor in reversed(self.block.tensors):  # children first: a transient hands its readers on
            reading = {tensor.name} if tensor.role == "saved" else readers.get(tensor.name, set())
            for parent in tensor.parents:
                readers.setdefault(parent, set()).update(reading)
        joined = [{tensor.name} for tensor in self.block.saved]
        for tensor in self.block.tensors:
            if tensor.role == "transient":
                touched = [part for part in joined if part & readers.get(tensor.name, set())]
                joined = [part for part in joined if part not in touched]
                joined += [set().union(*touched)] if touched else []
        position = {tensor.name: i for i, tensor in enumerate(self.block.saved)}
        return tuple(sorted(tuple(sorted(position[name] for name in part)) for part in joined))

    def price(self, choice: Array, part: Part) -> Plans:
        """The costs of given choices for a part, (plans, tensors of the part) positions of labels."""
        table, columns = self.table, list(part)

        def total(costs: Array) -> Array:
            return np.asarray(costs[columns, choice].sum(axis=1))

        dropped = np.zeros((len(choice), len(self.block.saved)), bool)
        dropped[:, columns] = choice == table.dropped
        producing = np.array([t.seconds for t in self.block.tensors])
        recomputing = np.where(self.block.recomputed(dropped), producing, 0.0).sum(axis=1)
        return Plans(
            choice,
            total(table.stored),
            total(table.workspace),
            total(table.seconds) + recomputing,
            total(table.error),
            total(table.transfer),
        )

    @cached_property
    def scales(self) -> dict[str, float]:
        """The size of each cost, which its differences are compared with."""
        whole = float(self.block.whole)
        table = self.table
        return {
            "stored": whole,
            "workspace": whole,
            "held": whole,
            "seconds": sum(t.seconds for t in self.block.tensors) or 1.0,
            "error": float(table.error.max(axis=1).sum()) or 1.0,
            "transfer": float(table.transfer.max(axis=1).sum()) or 1.0,
        }

    def scaled(self, costs: Array, names: tuple[str, ...]) -> Array:
        """Costs (..., names) in units of their scales, rounded."""
        return np.asarray(np.round(costs / np.array([self.scales[name] for name in names]), DIGITS))

    def pareto(self, part: Part, names: tuple[str, ...]) -> Plans:
        """The plans of a part that no other beats in all of the named costs; most stored bytes first."""
        block, table = self.block, self.table
        each = {
            "stored": table.stored,
            "workspace": table.workspace,
            "held": table.stored + table.workspace,
            "seconds": table.seconds,
            "error": table.error,
            "transfer": table.transfer,
        }
        prices = np.stack([each[name] for name in names], axis=2)
        seconds = names.index("seconds")
        position = {t.name: i for i, t in enumerate(block.tensors)}
        own = {block.saved[i].name: i for i in part}
        place = {i: column for column, i in enumerate(part)}
        costs = np.zeros((1, len(names)))
        choice = np.zeros((1, len(part)), np.int64)
        demand = np.zeros((1, len(block.tensors)), bool)
        for i in reversed(range(len(block.tensors))):
            tensor = block.tensors[i]
            above = [position[p] for p in tensor.parents if block.tensors[position[p]].role == "transient"]
            if tensor.role == "transient":
                costs[demand[:, i], seconds] += tensor.seconds
                demand[:, above] |= demand[:, [i]]
            elif tensor.name in own:
                index, options = own[tensor.name], np.tile(np.arange(len(table.labels)), len(costs))
                costs, choice, demand = (
                    np.repeat(a, len(table.labels), axis=0) for a in (costs, choice, demand)
                )
                costs += prices[index, options]
                choice[:, place[index]] = options
                drop = options == table.dropped
                costs[drop, seconds] += tensor.seconds
                demand[np.ix_(drop, above)] = True
            else:
                continue
            demand[:, i] = False
            keep = _undominated(self.scaled(costs, names), demand)
            costs, choice, demand = costs[keep], choice[keep], demand[keep]
        stored = table.stored[list(part), choice].sum(axis=1)
        order = np.lexsort((*choice.T, costs[:, seconds], -stored))
        return self.price(choice[order], part)

    def better(self, plans: Plans, part: Part, choice: Array, names: tuple[str, ...]) -> int:
        """Position of a plan at least as good as one given choice in all of the named costs.

        The one with the least seconds of these. `plans` must be the Pareto plans of these costs.
        """
        given = self.scaled(self.price(choice[None], part).costs(names), names)
        near = self.scaled(plans.costs(names), names) <= given + 10.0 ** (1 - DIGITS)
        fits = np.flatnonzero(near.all(axis=1))
        return int(fits[np.argmin(plans.seconds[fits])])


def _undominated(costs: Array, demand: Array) -> Array:
    """Indices of rows that no row with the same demand beats, one of equals."""
    from moocore import is_nondominated

    kept = []
    _, group = np.unique(demand, axis=0, return_inverse=True)
    group = group.reshape(-1)
    for g in range(int(group.max()) + 1):
        rows = np.flatnonzero(group == g)
        kept.append(rows[is_nondominated(costs[rows])])
    return np.concatenate(kept)
