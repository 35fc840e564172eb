"""How points mix and mutate: each kind of variable in the coding that suits it.

Ordered numbers (floats, grids, menus) lie in the unit interval, logarithms taken where a variable says
so; labels and booleans are positions; orders are lists of items. Simulated binary crossover and
polynomial mutation follow Deb & Agrawal 1995 and Deb & Goyal 1996, with bounds as in
`deap.tools.cxSimulatedBinaryBounded`; they are written here over whole populations, because DEAP's, one
individual and one gene at a time, cost ten times as much. Orders go through DEAP's own operators.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..problems.batch import Batch
from ..problems.space import Space

Array = npt.NDArray[Any]
MATED = 0.9
CROSSOVER_ETA = 15.0
MUTATION_ETA = 7.0  # the customary 20 reaches less on zdt1-3, zdt6 and mw1: steps too short to leave a basin
CLOSE = 1e-14
RESET, REORDERED = 0.2, 0.5


@dataclass(frozen=True, eq=False)
class Genes:
    """Coded points: numbers (rows, n) in [0, 1], labels (rows, m), an order (rows, entries, items) each."""

    numbers: Array
    labels: Array
    orders: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Any) -> Genes:
        """The named rows."""
        return Genes(self.numbers[rows], self.labels[rows], tuple(order[rows] for order in self.orders))


def join(parts: Sequence[Genes]) -> Genes:
    """Coded points of several groups, in order."""
    if len(parts) == 1:
        return parts[0]
    return Genes(
        np.concatenate([p.numbers for p in parts]),
        np.concatenate([p.labels for p in parts]),
        tuple(np.concatenate(orders) for orders in zip(*(p.orders for p in parts), strict=True)),
    )


class Coding:
    """The coding of a space, and variation in it. Fixed variables have no genes.

    Inactive entries keep their genes: they return unchanged when their branch becomes active again.
    """

    def __init__(self, space: Space, differential: float = 0.0) -> None:
        self.space, self.differential = space, differential
        self.numbers: dict[str, slice] = {}
        self.labels: dict[str, slice] = {}
        self.orders: list[str] = []
        discrete: list[Array] = []
        counts: list[int] = []
        width = 0
        for name, domain in space.domains.items():
            if (
                domain.pinned is not None
                or domain.count == 1
                or (domain.kind == "float" and domain.lo == domain.hi)
            ):
                continue
            if domain.kind == "permutation":
                self.orders.append(name)
            elif domain.kind in {"labels", "bool"}:
                self.labels[name] = slice(len(counts), len(counts) + domain.cells)
                counts += [domain.count or 1] * domain.cells
            else:
                self.numbers[name] = slice(width, width + domain.cells)
                width += domain.cells
                if domain.kind != "float":
                    discrete.append(np.arange(width - domain.cells, width))
        self.width, self.counts = width, np.array(counts, np.int64)
        self.discrete = np.concatenate([np.empty(0, np.int64), *discrete])
        self._grid = _Grid([space.domains[n] for n in self.numbers])
        self.genes = max(1, width + len(counts) + sum(space.domains[n].entries for n in self.orders))

    # --- coding ---------------------------------------------------------------------------------
    def draw(self, rng: np.random.Generator, rows: int) -> Genes:
        """`rows` points spread over the space: a Latin hypercube, gene by gene."""

        def strata(columns: int) -> Array:
            places = rng.permuted(np.broadcast_to(np.arange(rows), (columns, rows)), axis=1).T
            return (places + rng.random((rows, columns))) / rows

        numbers, labels = strata(self.width), strata(len(self.counts))
        numbers[:, self.discrete] = self._grid.units(self._grid.positions(numbers[:, self.discrete]))
        orders = []
        for name in self.orders:
            domain = self.space.domains[name]
            orders.append(np.argsort(rng.random((rows, domain.entries, domain.count or 1)), axis=-1))
        return Genes(numbers, (labels * self.counts).astype(np.int64), tuple(orders))

    def encode(self, batch: Batch) -> Genes:
        """The genes of a batch."""
        rows, columns = len(batch), batch.__columns__
        numbers, labels = np.empty((rows, self.width)), np.empty((rows, len(self.counts)), np.int64)
        positions = [np.empty((rows, 0), np.int64)]
        for name, place in self.numbers.items():
            domain, column = self.space.domains[name], columns[name].reshape(rows, -1)
            if domain.kind == "float":
                values, lo, hi = column, domain.lo, domain.hi
                if domain.log:
                    values, lo, hi = np.log(column), np.log(lo), np.log(hi)
                numbers[:, place] = np.clip((values - lo) / (hi - lo), 0.0, 1.0)
            else:
                positions.append(domain.position(column))
        numbers[:, self.discrete] = self._grid.units(np.concatenate(positions, axis=1))
        for name, place in self.labels.items():
            labels[:, place] = columns[name].reshape(rows, -1)
        orders = [columns[n].reshape(rows, -1, self.space.domains[n].count or 1) for n in self.orders]
        return Genes(numbers, labels, tuple(orders))

    def decode(self, genes: Genes) -> Batch:
        """The points behind some genes, inactive entries pinned."""
        rows = len(genes)
        columns: dict[str, Array] = {}
        orders = dict(zip(self.orders, genes.orders, strict=True))
        for name, domain in self.space.domains.items():
            shape = (rows, *domain.width)
            if name in self.numbers:
                columns[name] = domain.from_unit(genes.numbers[:, self.numbers[name]].reshape(shape))
            elif name in self.labels:
                columns[name] = domain.at(genes.labels[:, self.labels[name]].reshape(shape))
            elif name in orders:
                columns[name] = orders[name].reshape(shape)
            else:
                columns[name] = np.broadcast_to(domain.first, shape)
        return self.space.canonical(columns, rows)

    # --- variation ------------------------------------------------------------------------------
    def vary(self, rng: np.random.Generator, parents: Genes, boost: float = 1.0) -> Genes:
        """Children of neighbouring parents (0 with 1, 2 with 3, ...): as many as parents.

        boost: factor on the mutation rate, which is one gene in a child.
        """
        mated = rng.random((len(parents) // 2, 1)) < MATED
        rate = min(0.5, boost / self.genes)
        numbers, labels = parents.numbers, parents.labels
        if self.width:
            numbers = self._vary_numbers(rng, numbers, mated, rate)
        if len(self.counts):
            labels = _mutate_labels(rng, _cross_labels(rng, labels, mated), self.counts, rate)
        if not self.orders:
            return Genes(numbers, labels, ())
        share = min(1.0, REORDERED * boost)
        with python_random(rng):
            orders = tuple(_vary_orders(rng, order, mated[:, 0], share) for order in parents.orders)
        return Genes(numbers, labels, orders)

    def _vary_numbers(self, rng: np.random.Generator, parents: Array, mated: Array, rate: float) -> Array:
        crossed = cross_numbers(rng, parents, mated)
        if self.differential:
            crossed = move_by_differences(rng, parents, crossed, self.differential)
        chosen = rng.random(crossed.shape) < rate
        children = mutate_numbers(rng, crossed, chosen)
        if not len(self.discrete):
            return children
        before = self._grid.positions(crossed[:, self.discrete])
        after = self._grid.positions(children[:, self.discrete])
        rows, genes = np.nonzero(chosen[:, self.discrete])
        after[rows, genes] = self._grid.moved(rng, before[rows, genes], after[rows, genes], genes)
        children[:, self.discrete] = self._grid.units(after)
        return children


class _Grid:
    """Ordered finite genes: positions 0 .. count - 1 and the middle of each in the unit interval."""

    def __init__(self, domains: Sequence[Any]) -> None:
        finite = [d for d in domains if d.kind != "float"]
        cells = [d.cells for d in finite]
        self.count = np.repeat(np.array([d.count for d in finite], np.int64), cells)
        self.log = np.flatnonzero(np.repeat(np.array([d.log for d in finite], bool), cells))
        lo = np.repeat(np.array([d.lo for d in finite], float), cells)[self.log]
        self.lo, self.log_lo = lo, np.log(lo - 0.5)
        self.span = np.log(lo + self.count[self.log] - 0.5) - self.log_lo

    def positions(self, unit: Array) -> Array:
        place = (unit * self.count).astype(np.int64)
        if len(self.log):
            whole = np.rint(np.exp(self.log_lo + unit[:, self.log] * self.span)) - self.lo
            place[:, self.log] = whole.astype(np.int64)
        return np.clip(place, 0, self.count - 1)

    def units(self, position: Array) -> Array:
        unit = (position + 0.5) / self.count
        if len(self.log):
            unit[:, self.log] = (np.log(self.lo + position[:, self.log]) - self.log_lo) / self.span
        return np.asarray(unit)

    def moved(self, rng: np.random.Generator, before: Array, after: Array, genes: Array) -> Array:
        """Positions after mutation: some drawn afresh, and none where it was."""
        count = self.count[genes]
        reset = rng.random(len(genes)) < RESET
        after = np.where(reset, (rng.random(len(genes)) * count).astype(np.int64), after)
        step = np.where(rng.random(len(genes)) < 0.5, -1, 1)
        step = np.where(before == 0, 1, np.where(before == count - 1, -1, step))
        return np.where(after == before, before + step, after)


def cross_numbers(rng: np.random.Generator, parents: Array, mated: Array) -> Array:
    """Simulated binary crossover of rows 0 with 1, 2 with 3, ..., in the unit cube.

    mated: (pairs, 1) which pairs cross; each of their genes does with probability one half.
    """
    first, second = parents[0::2], parents[1::2]
    crossed = (rng.random(first.shape) < 0.5) & mated & (np.abs(first - second) > CLOSE)
    a, b = first[crossed], second[crossed]
    low, high = np.minimum(a, b), np.maximum(a, b)
    middle, apart, draw = 0.5 * (low + high), high - low, rng.random(len(a))
    below = middle - 0.5 * apart * _spread(draw, 1.0 + 2.0 * low / apart)
    above = middle + 0.5 * apart * _spread(draw, 1.0 + 2.0 * (1.0 - high) / apart)
    swap = rng.random(len(a)) < 0.5
    children = parents.copy()
    children[0::2][crossed] = np.clip(np.where(swap, above, below), 0.0, 1.0)
    children[1::2][crossed] = np.clip(np.where(swap, below, above), 0.0, 1.0)
    return children


def move_by_differences(rng: np.random.Generator, parents: Array, children: Array, share: float) -> Array:
    """Some children replaced by their parent plus a share of the difference of two other parents, gene by
    gene (Storn & Price 1997): steps then have the size and direction of the population's own spread."""
    rows = np.flatnonzero(rng.random(len(parents)) < share)
    one, two = rng.integers(0, len(parents), (2, len(rows)))
    factor = rng.uniform(0.3, 0.9, (len(rows), 1))
    step = np.where(
        rng.random((len(rows), parents.shape[1])) < 0.9, factor * (parents[one] - parents[two]), 0.0
    )
    moved = children.copy()
    target = parents[rows] + step
    outside = (target < 0.0) | (target > 1.0)
    moved[rows] = np.where(outside, parents[rows], target)
    return moved


def _spread(draw: Array, reach: Array) -> Array:
    """How far children lie apart, relative to their parents: bounded by `reach` (Deb & Agrawal)."""
    share = draw * (2.0 - reach ** -(CROSSOVER_ETA + 1.0))
    base = np.where(share <= 1.0, share, 1.0 / (2.0 - share))
    return np.asarray(base ** (1.0 / (CROSSOVER_ETA + 1.0)))


def mutate_numbers(rng: np.random.Generator, numbers: Array, chosen: Array) -> Array:
    """Polynomial mutation of the chosen genes, in the unit cube."""
    old = numbers[chosen]
    draw = rng.random(len(old))
    down = draw < 0.5
    left = np.where(down, 1.0 - old, old) ** (MUTATION_ETA + 1.0)
    share = np.where(down, 2.0 * draw, 2.0 * (1.0 - draw))
    step = (share + (1.0 - share) * left) ** (1.0 / (MUTATION_ETA + 1.0)) - 1.0
    changed = numbers.copy()
    changed[chosen] = np.clip(old + np.where(down, step, -step), 0.0, 1.0)
    return changed


def _cross_labels(rng: np.random.Generator, parents: Array, mated: Array) -> Array:
    """Uniform crossover: each gene of a mated pair is exchanged with probability one half."""
    first, second = parents[0::2], parents[1::2]
    swap = (rng.random(first.shape) < 0.5) & mated
    children = np.empty_like(parents)
    children[0::2] = np.where(swap, second, first)
    children[1::2] = np.where(swap, first, second)
    return children


def _mutate_labels(rng: np.random.Generator, labels: Array, counts: Array, rate: float) -> Array:
    """Another label at some genes."""
    chosen = rng.random(labels.shape) < rate
    shift = 1 + (rng.random(labels.shape) * (counts - 1)).astype(np.int64)
    return np.where(chosen, (labels + shift) % counts, labels)


def _vary_orders(rng: np.random.Generator, parents: Array, mated: Array, share: float) -> Array:
    """Order crossover, then in a share of the children an inversion, some swaps or a shift."""
    from deap import tools

    rows, entries, items = parents.shape
    children = parents.copy()
    for pair in np.flatnonzero(mated).tolist():
        for entry in range(entries):
            one, two = parents[2 * pair, entry].tolist(), parents[2 * pair + 1, entry].tolist()
            if one != two:
                tools.cxOrdered(one, two)
            children[2 * pair, entry], children[2 * pair + 1, entry] = one, two
    moves = rng.random((rows, entries))
    for row, entry in np.argwhere(moves < share).tolist():
        order, move = children[row, entry].tolist(), moves[row, entry] / share
        if move < 0.4:
            tools.mutInversion(order)
        elif move < 0.7:
            tools.mutShuffleIndexes(order, 1.0 / items)
        else:
            order.insert(random.randrange(items), order.pop(random.randrange(items)))
        children[row, entry] = order
    return children


@contextmanager
def python_random(rng: np.random.Generator) -> Iterator[None]:
    """Python's global `random`, from which DEAP draws, seeded inside and restored after."""
    state = random.getstate()
    random.seed(int(rng.integers(2**62)))
    try:
        yield
    finally:
        random.setstate(state)
