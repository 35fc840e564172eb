"""Mean ranks of solvers over blocks, and what they allow one to say (Demsar 2006).

A block is one run of every solver under equal conditions: a seed on one problem, a function in a
benchmark. In each block the best solver has rank 1, equals share the mean of their ranks. Friedman's test
asks whether all solvers could be equally good; Nemenyi's critical difference says how far two mean ranks
must lie apart to differ at the 5 % level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LEVEL = 0.05
FEW_BLOCKS = 5


@dataclass(frozen=True)
class Ranking:
    """Mean ranks, less is better.

    blocks: how many were ranked. p: probability of ranks so unequal where all solvers are equally good
    (Friedman), None where it cannot be computed. critical: the critical difference at the 5 % level.
    """

    mean_ranks: dict[str, float]
    blocks: int
    p: float | None
    critical: float | None

    @property
    def order(self) -> list[str]:
        """Solvers, best mean rank first."""
        return sorted(self.mean_ranks, key=lambda name: self.mean_ranks[name])

    @property
    def level(self) -> list[str]:
        """Solvers that the best one is not shown to differ from, itself included."""
        if self.p is None or self.critical is None or self.p > LEVEL:
            return self.order
        least = self.mean_ranks[self.order[0]]
        return [name for name in self.order if self.mean_ranks[name] - least <= self.critical]

    def statement(self) -> str:
        """What the ranks say, in a sentence or two."""
        order = self.order
        if len(order) < 2:
            return "one solver has nothing to be ranked against."
        if self.p is None or self.critical is None:
            lacking = {0: "no seed was run by all", 1: "one seed was run by all"}
            reason = lacking.get(self.blocks, "equal values in every block")
            return f"{reason}: ranks say nothing beyond the values."
        friedman = f"Friedman over {self.blocks} blocks: p = {self.p:.2g}"
        few = f"; with fewer than {FEW_BLOCKS} blocks that is weak" if self.blocks < FEW_BLOCKS else ""
        if self.p > LEVEL:
            return f"{friedman}: no difference is shown{few}."
        first = [name for name in order if self.mean_ranks[name] == self.mean_ranks[order[0]]]
        near = [name for name in self.level if name not in first]
        apart = f"Nemenyi's critical difference {self.critical:.2f} (5 %)"
        leading = (
            f"{first[0]} is first" if len(first) == 1 else f"{' and '.join(first)} share the first place"
        )
        if not near:
            return f"{friedman}. {apart}: {leading}, ahead of every other{few}."
        return f"{friedman}. {apart}: {leading}, not shown to differ from {', '.join(near)}{few}."

    def record(self) -> dict[str, Any]:
        """The ranking as plain data."""
        return {
            "mean_ranks": {name: self.mean_ranks[name] for name in self.order},
            "blocks": self.blocks,
            "friedman_p": self.p,
            "critical_difference": self.critical,
            "level_with_best": self.level,
            "statement": self.statement(),
        }


def ranking(solvers: Sequence[str], values: Array) -> Ranking:
    """Rank solvers by values (blocks, solvers), less is better; NaN is the worst.

    >>> ranking(["a", "b"], np.array([[1.0, 2.0], [3.0, 3.0]])).mean_ranks
    {'a': 1.25, 'b': 1.75}
    """
    from scipy.stats import rankdata

    values = np.where(np.isnan(values), np.inf, np.asarray(values, float))
    blocks, count = values.shape
    ranks = rankdata(values, axis=1) if values.size else np.full((1, count), (count + 1) / 2)
    means = dict(zip(solvers, ranks.mean(axis=0).tolist(), strict=True))
    p = friedman(ranks) if blocks > 1 and count > 1 else None
    return Ranking(means, blocks, p, critical_difference(count, blocks) if p is not None else None)


def friedman(ranks: Array) -> float | None:
    """Friedman's test of ranks (blocks, solvers), ties corrected, in the form of Iman & Davenport 1980.

    Chi-square is too cautious for few blocks; None where every block is one tie.
    """
    from scipy.stats import f

    blocks, count = ranks.shape
    middle = (count + 1) / 2
    spread = float(((ranks - middle) ** 2).sum())
    if spread == 0:
        return None
    statistic = (count - 1) * blocks**2 * float(((ranks.mean(axis=0) - middle) ** 2).sum()) / spread
    most = blocks * (count - 1)
    if statistic >= most * (1 - 1e-12):
        # all blocks agree: the share of the count! orders that do, any of them being the first
        return float(math.exp(-(blocks - 1) * math.lgamma(count + 1)))
    ratio = (blocks - 1) * statistic / (most - statistic)
    return float(f.sf(ratio, count - 1, (count - 1) * (blocks - 1)))


def critical_difference(count: int, blocks: int) -> float:
    """Nemenyi's: q sqrt(k (k + 1) / (6 N)), q the studentised range's 5 % point over sqrt 2.

    >>> round(critical_difference(4, 24), 2)  # q = 2.569, Demsar 2006, table 5
    0.96
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - LEVEL, count, math.inf)) / math.sqrt(2)
    return q * math.sqrt(count * (count + 1) / (6 * blocks))
