"""`memetic`: a global search whose best points are polished by local ones, for one objective over numbers.

Every part is a known one. Where all variables are real: starts of SciPy's sequential quadratic
programming (Kraft 1988) with gradients by differences, from the best of some random points, for a part of
the budget. Where some are whole: differential evolution (Storn & Price 1997). Then, from the best, CMA-ES
with margin (Hamano et al. 2022, the package `cmaes`) ranked by violation, then value; after each of its
runs the neighbours of the best in every whole number, and a quadratic programme over the real ones. The
last rows of a budget are for polish.

The shares were chosen on functions and instances of COCO that `benchmarks/solvers.py` does not score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import SolverUnavailable
from ..problems.batch import take
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from .base import Budget, Certificate, OneShot, Run
from .repair import mender
from .variation import Coding, Genes

Array = npt.NDArray[Any]
SCALARS = 64
LEAST_ROWS = 1_000  # of a round, however few the budget states
PLANNED = 10_000  # rows a round where the budget states none
STARTS, EVOLVED, TAIL = 0.6, 0.4, 0.1  # shares of a round
STEP, FINEST = 1e-6, 1e-9  # of gradients by differences, in the unit cube
PEOPLE, MOST_PEOPLE = 30, 100
MARGIN_COUNT = 1_000  # whole numbers of more values are treated as real by CMA-ES
IDLE = 100
NO_BOUND = "sampling gives no bound"


class Spent(Exception):
    """Nothing is left to spend, or nothing new to score."""


class Memetic(OneShot):
    """Differential evolution, CMA-ES with margin and sequential quadratic programming in turns."""

    name: ClassVar[str] = "memetic"
    needs_budget: ClassVar[bool] = True

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses several objectives, and spaces that are not of 2 to 64 numbers, always active."""
        if not goal.single:
            return f"it takes one objective and this goal has {len(goal.objectives)}; use nsga2"
        space = problem.space
        coding = Coding(space)
        others = [*coding.labels, *coding.orders, *(n for n in coding.numbers if space.conditions[n])]
        if others:
            return f"'{others[0]}' is no number that is always active; use ga"
        if not 2 <= coding.width <= SCALARS:
            return f"it takes 2 to {SCALARS} numbers and this space has {coding.width}; use ga"
        return None

    def solve(self, run: Run) -> Certificate:
        """Rounds of the search until the budget is spent."""
        cube = Cube(run)
        planned: Budget = getattr(run, "planned", run.budget)
        rows = planned.evaluations or PLANNED
        rng = np.random.default_rng(np.random.SeedSequence([run.seed, 0x3E3E]))
        try:
            if run.start is not None:
                cube.score(cube.coding.encode(run.start).numbers)
            while True:
                _round(cube, rng, cube.rows + max(rows, LEAST_ROWS), first=cube.rows <= 1)
        except Spent:
            size = run.problem.space.size
            if size is not None and cube.rows >= size:
                return Certificate.proven(f"all {size:,} points scored")
            return Certificate.none(NO_BOUND)


@dataclass
class Answer:
    """A scored point: coordinates in the unit cube, total violation, cost, excess of each limit."""

    unit: Array
    violation: float
    cost: float
    excess: Array

    @property
    def key(self) -> tuple[float, float]:
        """What is compared: violation, then cost."""
        return self.violation, self.cost if self.violation <= 0 else np.inf


class Cube:
    """The space as a unit cube: scores points, remembers the best, ends the search at the budget."""

    def __init__(self, run: Run) -> None:
        self.run, self.coding = run, Coding(run.problem.space)
        self.width = self.coding.width
        self.whole = np.zeros(self.width, bool)
        self.whole[self.coding.discrete] = True
        self.count = np.zeros(self.width, np.int64)
        self.count[self.coding.discrete] = self.coding._grid.count
        self.best = Answer(np.full(self.width, 0.5), np.inf, np.inf, np.empty(0))
        self._mend = mender(run.problem, run.goal)
        self._seen: set[int] = set()
        self._idle = 0

    @property
    def rows(self) -> int:
        """Different points scored so far."""
        return len(self._seen)

    def score(self, units: Array) -> tuple[Array, Array, Array]:
        """Costs (n,), violations (n,) and excesses (n, limits) of points (n, width) in the unit cube.

        Raises Spent where the budget ends before the last of them.
        """
        run, units = self.run, np.atleast_2d(units)
        seconds = run.seconds_left
        if seconds is not None and seconds <= 0:
            raise Spent
        empty = np.empty((len(units), 0), np.int64)
        batch = self.coding.decode(Genes(np.clip(units, 0.0, 1.0), empty, ()))
        batch = self._mend(batch) if self._mend else batch
        hashes = run.problem.space.hashes(batch).tolist()
        fresh = [h not in self._seen for h in hashes]
        left = run.evaluations_left
        cut = len(units)
        if left is not None and np.count_nonzero(fresh) > left:
            cut = int(np.searchsorted(np.cumsum(fresh), left, side="right"))
        if cut == 0:
            raise Spent
        scores = run.score(take(batch, slice(0, cut)))
        self._idle = 0 if any(fresh[:cut]) else self._idle + 1
        self._seen.update(hashes[:cut])
        goal, failed = run.goal, scores.failed
        sign = [
            limit.sign * (scores.metrics[limit.metric] - limit.bound) / limit.size for limit in goal.limits
        ]
        excess = np.where(failed[:, None], np.inf, np.array(sign).reshape(len(goal.limits), cut).T)
        costs = np.where(failed, np.inf, goal.costs(scores.metrics)[:, 0])
        violation = np.where(failed, np.inf, goal.violation(scores.metrics))
        for row in range(cut):
            found = Answer(units[row], float(violation[row]), float(costs[row]), excess[row])
            if found.key < self.best.key:
                self.best = found
        size = run.problem.space.size
        left = run.evaluations_left
        if cut < len(units) or self._idle >= IDLE or (size is not None and self.rows >= size) or left == 0:
            raise Spent
        return costs, violation, excess

    def order(self, units: Array) -> Array:
        """Rows of points from best to worst."""
        costs, violation, _ = self.score(units)
        return np.lexsort((np.where(violation > 0, 0.0, costs), violation))


def _round(cube: Cube, rng: np.random.Generator, end: int, *, first: bool) -> None:
    """One round: starts or evolution, then CMA-ES and polish in turns, the last rows for polish."""
    rows = end - cube.rows
    begun, real = cube.rows, np.flatnonzero(~cube.whole)
    tail = min(int(TAIL * rows), 12 * (len(real) + 1) + 2 * int(cube.whole.sum()))
    if cube.whole.any():
        people = min(max(PEOPLE, 3 * cube.width), MOST_PEOPLE)
        evolve(cube, rng, begun + int(EVOLVED * rows), people, keep=not first)
    else:
        restarts(cube, rng, begun + int(STARTS * rows))
    least = 4 + int(3 * np.log(cube.width))
    turn = 0
    while cube.rows < end - tail - 2 * least:
        before = cube.rows
        if turn == 0 or turn % 2:
            adapt(cube, rng, cube.best.unit, 0.2 if turn == 0 else 0.1, least, end - tail)
        else:
            adapt(cube, rng, None, 0.3, least * 2 ** min(turn // 2, 4), end - tail)
        neighbours(cube)
        program(cube, cube.best.unit, real)
        turn += 1
        if cube.rows == before:
            cube.score(rng.random((least, cube.width)))
    step = STEP
    while cube.rows < end:
        program(cube, cube.best.unit, real, step)
        neighbours(cube)
        moved = cube.best.unit + np.where(cube.whole, 0.0, rng.normal(size=cube.width) * 1e-3)
        cube.score(moved if len(real) else rng.random((least, cube.width)))
        step = max(step / 10, FINEST)


def restarts(cube: Cube, rng: np.random.Generator, end: int) -> None:
    """Quadratic programmes from the best of random points, until two more end where the best one did."""
    real, same = np.arange(cube.width), 0
    while cube.rows < end and same < 2:
        units = rng.random((2 * cube.width, cube.width))
        start, before = units[cube.order(units)[0]], cube.best.key
        found = program(cube, start, real)
        costs, violation, _ = cube.score(found)
        if violation[0] <= 0 and abs(costs[0] - before[1]) < 1e-6 * max(1.0, abs(before[1])):
            same += 1


def evolve(cube: Cube, rng: np.random.Generator, end: int, people: int, *, keep: bool) -> None:
    """Differential evolution: half of the trials move toward the best, a gene in two trials is redrawn.

    keep: whether the best known is one of the first population.
    """
    places = rng.permuted(np.broadcast_to(np.arange(people), (cube.width, people)), axis=1).T
    units = (places + rng.random((people, cube.width))) / people
    if keep or np.isfinite(cube.best.violation):
        units[0] = cube.best.unit
    costs, violation, _ = cube.score(units)
    while cube.rows + people <= end:
        best = units[np.lexsort((costs, violation))[0]]
        one, two = rng.integers(0, people, (2, people))
        factor = rng.uniform(0.4, 0.9, (people, 1))
        pull = np.where(rng.random((people, 1)) < 0.5, factor * (best - units), 0.0)
        trial = units + pull + factor * (units[one] - units[two])
        crossed = rng.random(units.shape) < 0.9
        crossed[np.arange(people), rng.integers(cube.width, size=people)] = True
        trial = np.where(crossed, trial, units)
        drawn = rng.random(units.shape) < 0.5 / cube.width
        trial = np.where(drawn, rng.random(units.shape), trial)
        trial = np.where((trial < 0.0) | (trial > 1.0), units, trial)
        before = cube.rows
        c, v, _ = cube.score(trial)
        better = (v < violation) | ((v == violation) & (c <= costs)) | ((v <= 0) & (violation > 0))
        units[better], costs[better], violation[better] = trial[better], c[better], v[better]
        if cube.rows == before:
            return


def adapt(
    cube: Cube, rng: np.random.Generator, mean: Array | None, sigma: float, size: int, end: int
) -> None:
    """One run of CMA-ES with margin, from `mean` or anywhere, until it stands still."""
    try:
        from cmaes import CMAwM
    except ImportError:
        raise SolverUnavailable("solver 'memetic' needs the package 'cmaes'; pip install cmaes.") from None
    margin = cube.whole & (cube.count <= MARGIN_COUNT) & (cube.count > 1)
    margin[cube.coding.discrete[cube.coding._grid.log]] = False
    step = np.where(margin, 1.0 / np.maximum(cube.count, 1), 0.0)
    bounds = np.stack([step / 2, 1.0 - step / 2], axis=1)
    begin = np.clip(
        rng.random(cube.width) if mean is None else mean, bounds[:, 0] + 1e-3, bounds[:, 1] - 1e-3
    )
    seed = int(rng.integers(2**31))
    search = CMAwM(mean=begin, sigma=sigma, bounds=bounds, steps=step, seed=seed, population_size=size)
    patience, waited, best = 10 + 30 * cube.width // size, 0, (np.inf, np.inf)
    while cube.rows + size <= end:
        asked = [search.ask() for _ in range(size)]
        units = np.array([shown for shown, _ in asked])
        costs, violation, _ = cube.score(units)
        order = np.lexsort((np.where(violation > 0, 0.0, costs), violation))
        rank = np.empty(size)
        rank[order] = np.arange(size)
        search.tell([(raw, float(r)) for (_, raw), r in zip(asked, rank, strict=True)])
        top = order[0]
        found = (float(violation[top]), float(costs[top]) if violation[top] <= 0 else np.inf)
        level = found[0] == best[0] and best[1] - found[1] < 1e-9 * max(1.0, abs(found[1]))
        waited = 0 if found < best and not level else waited + 1
        best = min(best, found)
        spread = search._cma._sigma * np.sqrt(np.diag(search._cma._C).max())
        if waited > patience or spread < 1e-7 or search.should_stop():
            return


def neighbours(cube: Cube) -> None:
    """Step to the best of the points one whole number away from the best, while that improves it."""
    grid, places = cube.coding._grid, cube.coding.discrete
    while len(places):
        unit, before = cube.best.unit, cube.best.key
        position = grid.positions(np.clip(unit[None, places], 0.0, 1.0))[0]
        moves = np.repeat(position[None], 2 * len(places), axis=0)
        moves[np.arange(2 * len(places)), np.arange(2 * len(places)) // 2] += np.tile([-1, 1], len(places))
        moves = moves[((moves >= 0) & (moves < grid.count)).all(axis=1)]
        near = np.repeat(unit[None], len(moves), axis=0)
        near[:, places] = grid.units(moves)
        cube.score(near)
        if not cube.best.key < before:
            return


def program(cube: Cube, start: Array, real: Array, step: float = STEP) -> Array:
    """A sequential quadratic programme over the real coordinates from `start`; where it ended, (width,).

    Gradients are differences, scored as one batch; objective and limits are scaled by their first values.
    """
    if not len(real):
        return start
    from scipy.optimize import minimize

    start = np.clip(start, 0.0, 1.0)
    known: dict[bytes, tuple[float, Array]] = {}
    slopes: dict[bytes, tuple[Array, Array]] = {}

    def units(z: Array) -> Array:
        points = np.repeat(start[None], len(z), axis=0)
        points[:, real] = np.clip(z, 0.0, 1.0)
        return points

    def value(z: Array) -> tuple[float, Array]:
        key = z.tobytes()
        if key not in known:
            costs, _, excess = cube.score(units(z[None]))
            known[key] = float(costs[0]), excess[0]
        return known[key]

    def slope(z: Array) -> tuple[Array, Array]:
        key = z.tobytes()
        if key not in slopes:
            cost, excess = value(z)
            width = np.where(z + step <= 1.0, step, -step)
            costs, _, excesses = cube.score(units(z + np.diag(width)))
            slopes[key] = (costs - cost) / width, ((excesses - excess) / width[:, None]).T
        return slopes[key]

    z = start[real]
    cost, excess = value(z)
    if not np.isfinite(cost):
        return start
    size, sizes = max(abs(cost), 1e-6), np.maximum(np.abs(excess), 1e-6)
    limits: list[dict[str, Any]] = []
    if len(excess):
        limits.append({
            "type": "ineq",
            "fun": lambda z: -value(z)[1] / sizes,
            "jac": lambda z: -slope(z)[1] / sizes[:, None],
        })  # fmt: skip
    with np.errstate(all="ignore"):
        found = minimize(  # type: ignore[call-overload]  # the stubs know no such constraints
            lambda z: value(z)[0] / size, z, jac=lambda z: slope(z)[0] / size, method="SLSQP",
            bounds=[(0.0, 1.0)] * len(real), constraints=limits, options={"maxiter": 100, "ftol": 1e-14},
        )  # fmt: skip
    end = start.copy()
    if np.isfinite(found.x).all():
        end[real] = np.clip(found.x, 0.0, 1.0)
    return end
