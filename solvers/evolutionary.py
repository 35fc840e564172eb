"""Evolution of a population: `nsga2` for several objectives, `ga` for one.

Variation is in `variation.py`. Parents win tournaments between randomly permuted pairs: the feasible
before the infeasible, then the less violating, then the one that dominates the other directly, then
the one in the less crowded place (Deb et al. 2002 compare ranks instead, which collapses to one corner
of some fronts). The best of parents and children survive, by rank, then crowding. No point is asked twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..problems.batch import Batch, concatenate, take
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.scoring import Scores, evaluate, join_scores, take_scores
from .base import AskTell, Budget, Run
from .repair import mender
from .unseen import everything
from .variation import Coding, Genes, join

Array = npt.NDArray[Any]
LEAST, MOST, SLOW = 20, 200, 20
ROUNDS = 6
SCREENED = 4
PATIENCE = 60


def population_size(run: Run) -> int:
    """Points in a generation: the root of the evaluations, so 22 for 500 and 100 for 10,000; even.

    At most a quarter of a small budget, 20 where a row is slow and no number is given. A resumed run
    keeps the size it began with, so that a larger budget continues the same search.
    """
    planned: Budget = getattr(run, "planned", run.budget)
    evaluations = planned.evaluations
    if evaluations is None:
        return SLOW if run.problem.cost == "slow" else 100
    size = min(max(math.isqrt(evaluations), LEAST), MOST, max(4, evaluations // 4))
    return size + size % 2


class Evolution(AskTell):
    """What both have in common: generations, repair, duplicates, survival."""

    differential: ClassVar[float] = 0.0
    """Share of the children that move by differences of the population."""

    def begin(self, run: Run) -> None:
        """Prepare the coding and an empty population."""
        super().begin(run)
        self.run = run
        self.size = population_size(run)
        self.coding = Coding(self.space, self.differential)
        self._mend = mender(run.problem, run.goal)
        self._coarse = run.problem.coarse()
        self._seen: set[int] = set()
        self._asked: tuple[Batch, Genes] | None = None
        self._parents: tuple[Batch, Scores, Genes] | None = None
        self._costs, self._violation = np.empty((0, len(self.goal.objectives))), np.empty(0)
        self._rank, self._crowding = np.empty(0, np.int64), np.empty(0)
        self._unlisted = True

    @property
    def population(self) -> tuple[Batch, Scores] | None:
        """The surviving points and their scores, best first; None before the first `tell`."""
        return self._parents[:2] if self._parents else None

    # --- asking ---------------------------------------------------------------------------------
    def ask(self, n: int) -> Batch:
        """The next generation, made whole and cut to `n`; empty where nothing new is found."""
        batch, genes = self._first() if self._parents is None else self._next()
        if len(batch) > n:
            batch, genes = take(batch, slice(0, n)), genes.take(slice(0, n))
        self._seen.update(self.space.hashes(batch).tolist())
        self._asked = batch, genes
        return batch

    def _first(self) -> tuple[Batch, Genes]:
        """The start, what the problem guesses, variations of the start, then points spread over the space."""
        brood = _Brood(self, self.size)
        guesses = self.problem.guesses(self.run.goal)
        if self.start is not None:
            genes = self.coding.encode(self.start)
            brood.add(self.start, genes)
            self._add_guesses(brood, guesses)
            near = self.coding.vary(
                self.rng, genes.take(np.arange(self.size // 3 // 2 * 2) % len(genes)), 2.0
            )
            brood.add(*self.express(near))
        else:
            self._add_guesses(brood, guesses)
        return self._fill(brood)

    def _add_guesses(self, brood: _Brood, guesses: Sequence[Mapping[str, Any]]) -> None:
        """Put the problem's own first guesses into a generation."""
        if guesses:
            brood.add(*self.express(self.coding.encode(self.space.batch(guesses))))

    def _next(self) -> tuple[Batch, Genes]:
        """Children of tournament winners that were never asked before."""
        assert self._parents is not None
        if self._parents[1].failed.all():  # nothing to learn from
            return self._fill(_Brood(self, self.size))
        wanted = self.size * (SCREENED if self._coarse else 1)
        brood, genes, boost = _Brood(self, wanted), self._parents[2], 1.0
        for _ in range(ROUNDS):
            parents = self._winners(brood.missing + brood.missing % 2)
            brood.add(*self.express(self.coding.vary(self.rng, genes.take(parents), boost)))
            if brood.missing == 0:
                break
            boost *= 2.0
        return self._screen(*self._fill(brood))

    def _screen(self, batch: Batch, genes: Genes) -> tuple[Batch, Genes]:
        """The best of a large generation by the problem's cheaper referee, as many as a usual one has."""
        if self._coarse is None or len(batch) <= self.size:
            return batch, genes
        scores = evaluate(self._coarse, self._coarse.space.batch(batch))
        goal = self.run.goal
        costs = np.where(scores.failed[:, None], np.inf, goal.costs(scores.metrics))
        violation = np.where(scores.failed, np.inf, goal.violation(scores.metrics))
        kept = np.sort(self._order(*rank_and_crowding(costs, violation))[: self.size])
        return take(batch, kept), genes.take(kept)

    def _fill(self, brood: _Brood) -> tuple[Batch, Genes]:
        """Complete a generation with points drawn afresh, or with what is left of a small space."""
        for _ in range(ROUNDS):
            if brood.missing == 0:
                return brood.close()
            brood.add(*self.express(self.coding.draw(self.rng, self.size)))
        rest = everything(self.space) if brood.missing else None
        if rest is not None:
            rest = take(rest, self.rng.permutation(len(rest)))
            brood.add(*self.express(self.coding.encode(rest)))
        return brood.close()

    def _winners(self, parents: int) -> Array:
        """Rows of the parents: winners of pairs in random order, one pair a parent."""
        rows = len(self._violation)
        turns = -(-2 * parents // rows)
        pairs = np.concatenate([self.rng.permutation(rows) for _ in range(turns)])[: 2 * parents]
        one, two = pairs[0::2], pairs[1::2]
        return np.where(self._beaten(one, two), two, one)

    def _beaten(self, one: Array, two: Array) -> Array:
        """Where `two` is the better of two rows."""
        first, second = self._costs[one], self._costs[two]
        wins = (second <= first).all(axis=1)
        loses = (first <= second).all(axis=1)
        level = np.where(wins == loses, self._crowding[two] > self._crowding[one], wins)
        v, w = self._violation[one], self._violation[two]
        return np.where((v > 0) | (w > 0), w < v, level)

    def express(self, genes: Genes) -> tuple[Batch, Genes]:
        """The points behind genes, repaired where the problem knows how."""
        batch = self.coding.decode(genes)
        if self._mend is None:
            return batch, genes
        batch = self._mend(batch)
        return batch, self.coding.encode(batch)

    # --- telling --------------------------------------------------------------------------------
    def tell(self, batch: Batch, scores: Scores) -> None:
        """Let the best of the parents and these points survive."""
        asked, self._asked = self._asked, None
        genes = asked[1] if asked is not None and asked[0] is batch else self.coding.encode(batch)
        self._seen.update(self.space.hashes(batch).tolist() if asked is None or asked[0] is not batch else ())
        goal = self.run.goal
        costs = np.where(scores.failed[:, None], np.inf, goal.costs(scores.metrics))
        violation = np.where(scores.failed, np.inf, goal.violation(scores.metrics))
        if self._parents is not None:
            old, known, coded = self._parents
            batch, scores, genes = (
                concatenate([old, batch]),
                join_scores([known, scores]),
                join([coded, genes]),
            )
            costs = np.concatenate([self._costs, costs])
            violation = np.concatenate([goal.violation(known.metrics), violation])
            violation = np.where(scores.failed, np.inf, violation)
        self._survive(batch, scores, genes, costs, violation)

    def _survive(self, batch: Batch, scores: Scores, genes: Genes, costs: Array, violation: Array) -> None:
        rank, crowding = rank_and_crowding(costs, violation)
        kept = self._order(rank, crowding)[: self.size]
        self._parents = take(batch, kept), take_scores(scores, kept), genes.take(kept)
        self._costs, self._violation = costs[kept], violation[kept]
        self._rank, self._crowding = rank[kept], crowding[kept]

    def _order(self, rank: Array, crowding: Array) -> Array:
        """Rows from best to worst; ties in random order."""
        return np.lexsort((self.rng.random(len(rank)), -crowding, rank))


class NSGA2(Evolution):
    """Nondominated sorting with crowding, for any number of objectives."""

    name: ClassVar[str] = "nsga2"


class GA(Evolution):
    """A genetic algorithm for one objective; begins again around its best when it stands still."""

    name: ClassVar[str] = "ga"
    differential: ClassVar[float] = 0.2

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses several objectives."""
        if not goal.single:
            return f"it takes one objective and this goal has {len(goal.objectives)}; use nsga2"
        return None

    def begin(self, run: Run) -> None:
        """Prepare, having waited for nothing yet."""
        super().begin(run)
        self._waited, self._record = 0, (math.inf, math.inf)

    def _order(self, rank: Array, crowding: Array) -> Array:
        """Of equal points the newer survive, so that the population drifts over a plateau."""
        return np.lexsort((-np.arange(len(rank)), rank))

    def _survive(self, batch: Batch, scores: Scores, genes: Genes, costs: Array, violation: Array) -> None:
        super()._survive(batch, scores, genes, costs, violation)
        best = float(self._violation[0]), float(self._costs[0, 0])
        self._waited = 0 if best < self._record else self._waited + 1
        self._record = min(best, self._record)

    def _next(self) -> tuple[Batch, Genes]:
        if self._waited < PATIENCE:
            return super()._next()
        assert self._parents is not None
        self._waited = 0
        batch, scores, genes = self._parents
        best = np.arange(1)
        self._parents = take(batch, best), take_scores(scores, best), genes.take(best)
        self._costs, self._violation = self._costs[best], self._violation[best]
        self._rank, self._crowding = self._rank[best], self._crowding[best]
        return self._fill(_Brood(self, self.size))


class _Brood:
    """A generation while it is gathered: points never asked before, up to `size`."""

    def __init__(self, owner: Evolution, size: int) -> None:
        self.space, self.coding, self.seen = owner.space, owner.coding, owner._seen
        self.missing = size
        self._new: set[int] = set()
        self._parts: list[tuple[Batch, Genes]] = []

    def add(self, batch: Batch, genes: Genes) -> None:
        """Take the rows that are new, as many as are missing."""
        rows: list[int] = []
        for row, key in enumerate(self.space.hashes(batch).tolist()):
            if key not in self.seen and key not in self._new and len(rows) < self.missing:
                self._new.add(key)
                rows.append(row)
        self.missing -= len(rows)
        if len(rows) == len(batch):
            self._parts.append((batch, genes))
        elif rows:
            self._parts.append((take(batch, np.array(rows)), genes.take(np.array(rows))))

    def close(self) -> tuple[Batch, Genes]:
        """The generation; empty where nothing new was found."""
        if not self._parts:
            empty = Genes(
                np.empty((0, self.coding.width)),
                np.empty((0, len(self.coding.counts)), np.int64),
                tuple(np.empty((0, 1, 1), np.int64) for _ in self.coding.orders),
            )
            return Batch(self.space, {}, 0), empty
        return concatenate([b for b, _ in self._parts]), join([g for _, g in self._parts])


def rank_and_crowding(costs: Array, violation: Array) -> tuple[Array, Array]:
    """Ranks (0 is best) and crowding distances of rows, each (rows,).

    costs: (rows, objectives), minimised. violation: (rows,). The infeasible rank after all feasible
    rows, by violation; their distance is 0, as is that of a row whose costs another row has already.
    """
    rank = np.zeros(len(costs), np.int64)
    crowding = np.zeros(len(costs))
    feasible = violation <= 0
    good = slice(None) if feasible.all() else np.flatnonzero(feasible)
    kept = costs[good]
    if costs.shape[1] == 1:
        rank[good] = np.unique(kept[:, 0], return_inverse=True)[1]
    elif len(kept):
        import moocore

        rank[good] = moocore.pareto_rank(kept)
        crowding[good] = crowding_distance(kept, rank[good])
    if not isinstance(good, slice):
        above = rank[good].max() + 1 if len(good) else 0
        rank[~feasible] = above + np.unique(violation[~feasible], return_inverse=True)[1]
    return rank, crowding


def crowding_distance(costs: Array, rank: Array) -> Array:
    """Distance of each row to its neighbours of the same rank, summed over scaled objectives, (rows,).

    The ends of a front are infinitely far; of rows with equal costs one has a distance, the others 0.
    """
    distance = np.zeros(len(costs))
    order = np.lexsort((*costs.T[::-1], rank))
    same = (rank[order][1:] == rank[order][:-1]) & (costs[order][1:] == costs[order][:-1]).all(axis=1)
    distinct = order[np.r_[True, ~same]]
    total = np.zeros(len(distinct))
    values, ranks = _finite(costs[distinct]), rank[distinct]
    for column in values.T:
        along = np.lexsort((column, ranks))
        value, level = column[along], ranks[along]
        begins = np.r_[True, level[1:] != level[:-1]]
        ends = np.r_[begins[1:], True]
        firsts = np.flatnonzero(begins)
        span = value[ends] - value[firsts]
        span = np.repeat(np.where(span > 0, span, 1.0), np.diff(np.r_[firsts, len(value)]))
        gap = np.full(len(value), np.inf)
        gap[1:-1] = value[2:] - value[:-2]
        total[along] += np.where(begins | ends, np.inf, gap / span)
    distance[distinct] = total
    return distance


def _finite(costs: Array) -> Array:
    """Costs with infinite values moved just beyond the finite ones."""
    bad = ~np.isfinite(costs)
    if not bad.any():
        return costs
    safe = np.where(bad, 0.0, costs)
    reach = 1.0 + 2.0 * np.abs(safe).max()
    return np.where(bad, np.sign(costs) * reach, costs)
