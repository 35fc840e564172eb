"""How many blocks follow each Pareto plan: the whole step as a small integer programme's data.

All blocks are alike, so a plan of the step is a count of each block plan, and which plans the last
blocks have. The peak needs no more: block l's backward holds P(l) + W(l), where P(l) is what blocks
1..l stored and W(l) what is materialised for l. For any l, with k blocks from l + 1 to the last,

    P(L) + W(L) - P(l) - W(l) >= (S + W)min + (k - 1) Smin - Wmax

so that with `tail` = the least k for which this is not negative, only the last `tail` blocks can hold
the peak. With whole-block workspace every tensor is either stored or materialised in full, hence
S + W >= Wmax and tail = 1: the programme below is exact, not a relaxation, whatever the order of the
bulk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .plans import BULK, LAST, TAIL, Planner, Plans
from .step import Step

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class PlanCounts:
    """Plans of the bulk and of the last blocks.

    bulk: plans that matter where the block's own backward never holds the peak. last: plans of the
    `tail` blocks at the end.
    """

    step: Step
    planner: Planner
    bulk: Plans
    last: Plans
    tail: int

    @classmethod
    def of(cls, step: Step) -> PlanCounts:
        """The plan counts of a step."""
        planner = Planner(step.block, step.table)
        tail = min(tail_length(step), step.layers)
        return cls(step, planner, planner.pareto(BULK), planner.pareto(cls.criteria(tail)), tail)

    @staticmethod
    def criteria(tail: int) -> tuple[str, ...]:
        """The costs that matter of a block at the end."""
        return LAST if tail == 1 else TAIL

    @property
    def bulk_layers(self) -> int:
        """Blocks before the tail."""
        return self.step.layers - self.tail

    def stand_in(self, choice: Array) -> tuple[Array, list[int]]:
        """Counts (bulk plans,) and tail positions at least as good as a point, (layers, tensors)."""
        counts = np.zeros(len(self.bulk), int)
        rows, inverse = np.unique(choice[: self.bulk_layers], axis=0, return_inverse=True)
        for row, uses in zip(rows, np.bincount(inverse.reshape(-1), minlength=len(rows)), strict=True):
            counts[self.planner.better(self.bulk, row, BULK)] += uses
        names = self.criteria(self.tail)
        tail = [self.planner.better(self.last, row, names) for row in choice[self.bulk_layers :]]
        return counts, tail

    def choice(self, counts: Sequence[int] | Array, tail: Sequence[int]) -> Array:
        """The point of some counts, (layers, tensors): the bulk by workspace, largest first."""
        order = np.argsort(-self.bulk.workspace, kind="stable")
        bulk = np.repeat(self.bulk.choice[order], np.asarray(counts)[order], axis=0)
        return np.concatenate([bulk, self.last.choice[list(tail)]])

    def labels(self, choice: Array) -> list[list[str]]:
        """A point's positions as labels."""
        return [[self.step.table.labels[j] for j in row] for row in choice]


def tail_length(step: Step) -> int:
    """Blocks at the end that can hold the peak; see the module's first lines."""
    table, anchors = step.table, step.block.anchors
    held = anchors + (table.stored + table.workspace).min(axis=1).sum()
    stored = anchors + table.stored.min(axis=1).sum()
    short = float(table.workspace.max(axis=1).sum()) - float(held)
    return 1 + max(0, math.ceil(short / float(stored)))
