"""Small problems to test solvers on: their optimum is known by brute force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..problems.batch import Batch, concatenate
from ..problems.goal import Goal, Metric
from ..problems.problem import Problem
from ..problems.scoring import Scores
from ..problems.variables import Bool, Choice, Float, Int, Menu
from ..problems.views import MilpView


class Valley(Problem):
    """One integer, one objective: the least of a skewed valley at x = 7."""

    x = Int(-20, 20)

    depth = Metric("1", "min")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """A parabola."""
        return {"depth": (x.x - 7.0) ** 2}


class OnePoint(Problem):
    """A space of a single point."""

    x = Int(3, 3)
    rest = Menu(8, shape=2)

    value = Metric("1", "min")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Its value."""
        return {"value": x.x * 2.0}


class Tree(Problem):
    """Conditions, a vector and a limit: 2 kinds, of which one has three active entries."""

    kind = Choice("plain", "split")
    parts = Menu(1, 2, 4, shape=3, when={"kind": "split"})
    width = Int(1, 4)

    time = Metric("s", "min")
    bytes = Metric("B", at_most=40)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Splitting pays and takes room."""
        split = x.kind == "split"
        parts = x.parts.sum(axis=1)
        return {
            "time": np.where(split, 24.0 / parts, 10.0) + 8.0 / x.width,
            "bytes": np.where(split, 4.0 * parts, 6.0) + 3.0 * x.width,
        }


class TwoGoals(Problem):
    """Two conflicting objectives over 400 points, some of equal cost."""

    a = Int(1, 20)
    b = Int(1, 20)

    left = Metric("s", "min")
    right = Metric("J", "max")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Small numbers conflict with large ones; b acts by thirds, so that costs repeat."""
        return {"left": x.a + x.b // 3.0, "right": np.sqrt(x.a) * 3 + x.b // 3}


class Impossible(Problem):
    """No point meets the limit."""

    x = Int(1, 50)

    price = Metric("1", "min")
    room = Metric("1", at_most=0.5)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Room is at least one."""
        return {"price": 51.0 - x.x, "room": 1.0 * x.x}


class Holes(Problem):
    """A quarter of the points cannot be scored."""

    x = Int(0, 63)

    value = Metric("1", "min")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """NaN at every fourth point, the best among them."""
        return {"value": np.where(x.x % 4 == 0, np.nan, 1.0 * x.x)}


class Bag(Problem):
    """A knapsack of given integer items with a MILP view; `scale` multiplies every value."""

    weights: tuple[int, ...] = (4, 7, 2, 9, 5, 3, 8, 6)
    values: tuple[int, ...] = (9, 12, 3, 17, 8, 5, 13, 10)
    comforts: tuple[int, ...] = (2, 1, 9, 1, 6, 7, 2, 4)
    room: float = 22.0
    scale: float = 1.0

    taken = Bool(shape="count")

    value = Metric("1", "max")
    comfort = Metric("1")
    weight = Metric("1", at_most="room")

    @property
    def count(self) -> int:
        """Items."""
        return len(self.weights)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Sums of whole numbers, exact in any batch."""
        taken = x.taken.astype(np.int64)
        return {
            "value": taken @ np.array(self.values) * self.scale,
            "comfort": taken @ np.array(self.comforts),
            "weight": taken @ np.array(self.weights),
        }

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """One binary an item."""
        import pyomo.environ as pyo

        model = pyo.ConcreteModel()
        model.taken = pyo.Var(range(self.count), domain=pyo.Binary)

        def total(column: Any, factor: float = 1.0) -> Any:
            return pyo.quicksum(float(c) * factor * model.taken[i] for i, c in enumerate(column))

        def encode(point: Mapping[str, Any]) -> None:
            for i, taken in enumerate(point["taken"]):
                model.taken[i] = int(taken)

        def decode() -> dict[str, Any]:
            return {"taken": [round(pyo.value(model.taken[i])) == 1 for i in range(self.count)]}

        metrics = {
            "value": total(self.values, self.scale),
            "comfort": total(self.comforts),
            "weight": total(self.weights),
        }
        return MilpView(model, metrics, decode, encode)


def random_bag(items: int, seed: int, **settings: Any) -> Bag:
    """Items with values near their weights: the hard kind."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(10, 100, items)
    values = weights + rng.integers(-9, 10, items)
    comforts = 110 - weights + rng.integers(-9, 10, items)
    columns = {"weights": weights, "values": values, "comforts": comforts}
    listed: dict[str, Any] = {name: tuple(column.tolist()) for name, column in columns.items()}
    return Bag(**listed, room=float(weights.sum() // 2), **settings)


def every_point(problem: Problem) -> tuple[Batch, Scores]:
    """All points of a small problem and their scores, by the referee alone."""
    batch = concatenate(list(problem.space.enumerate(1 << 16)))
    return batch, problem.score(batch)


def true_optimum(problem: Problem, goal: Goal | None = None) -> float | None:
    """The best feasible value of a single objective, by brute force; None where nothing is feasible."""
    resolved = (goal or Goal()).resolve(problem)
    _, scores = every_point(problem)
    feasible = (resolved.violation(scores.metrics) <= 0) & ~scores.failed
    if not feasible.any():
        return None
    costs = resolved.costs(scores.metrics)[feasible, 0]
    return float(costs.min() * resolved.objectives[0].sign)


def true_front(problem: Problem, goal: Goal | None = None) -> set[tuple[float, ...]]:
    """Objective values of every nondominated feasible point, by comparing all pairs."""
    resolved = (goal or Goal()).resolve(problem)
    _, scores = every_point(problem)
    feasible = (resolved.violation(scores.metrics) <= 0) & ~scores.failed
    costs = np.unique(resolved.costs(scores.metrics)[feasible], axis=0)
    signs = np.array([o.sign for o in resolved.objectives])
    beaten = [bool(((costs <= row).all(axis=1) & (costs < row).any(axis=1)).any()) for row in costs]
    return {tuple(row * signs) for row, lost in zip(costs, beaten, strict=True) if not lost}


SINGLE = (Valley(), OnePoint(), Tree(), Holes(), Bag())
"""Small finite problems of one objective with a feasible point."""


class Bowl(Problem):
    """Two whole and two real numbers around (3, 7, 0.25, 100), of which one limit cuts a side off."""

    whole = Int(0, 9, shape=2)
    share = Float(0, 1)
    rate = Float(1, 1e4, log=True)

    depth = Metric("1", "min")
    slope = Metric("1", at_most=0.0)

    def evaluate(self, x: Any) -> dict[str, Any]:
        away = ((x.whole - np.array([3, 7])) ** 2).sum(axis=1)
        return {
            "depth": 0.1 * away + (x.share - 0.25) ** 2 + (np.log10(x.rate) - 2) ** 2,
            "slope": x.share + np.log10(x.rate) - 2.0,
        }
