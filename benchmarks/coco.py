"""COCO's test functions as problems: what `solvers.py` compares solvers on.

A function is seen through a `Counter`: it counts every call, keeps the best feasible value after each
improvement, and ends a peer that would spend more than its budget. Ours and theirs go through the same
one, so the table rests on what was really evaluated.

Suites (Hansen et al., COCO; package `coco-experiment`): bbob-mixint (Tusar, Brockhoff & Hansen 2019: of
every five variables four are whole numbers with 2, 4, 8 and 16 values) and bbob-constrained (Dufosse &
Hansen: nine functions, each with six numbers of constraints).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tradespace as ts

MIXINT, CONSTRAINED = "bbob-mixint", "bbob-constrained"
# every other function of the first; each of the nine of the second, each number of constraints twice
BENCHMARKED = {
    MIXINT: (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23),
    CONSTRAINED: (1, 4, 8, 15, 22, 23, 29, 36, 37, 42, 44, 51),
}
INSTANCE = 1  # settings of ours were chosen on the other functions, instances 2 and up
PRECISION = 1e-8  # COCO's: values this near to each other are the same


class Spent(Exception):
    """The budget of a peer is spent."""


@dataclass(frozen=True)
class Case:
    """One function in one dimension."""

    suite: str
    function: int
    dimension: int
    instance: int = INSTANCE

    @property
    def name(self) -> str:
        """How it is called in the table."""
        return f"{self.suite} f{self.function:02d} d{self.dimension:02d} i{self.instance:02d}"


@dataclass
class Counter:
    """A function of COCO that counts: rows (n, dimension) in, values (n,) and constraints (n, m) out."""

    case: Case
    budget: int
    evaluations: int = 0
    best: float = np.inf
    least_violation: float = np.inf
    steps: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        import cocoex

        case = self.case
        options = f"dimensions: {case.dimension} instance_indices: {case.instance}"
        self._suite = cocoex.Suite(case.suite, "", options)
        self._function = self._suite.get_problem_by_function_dimension_instance(
            case.function, case.dimension, case.instance
        )
        self.lower = np.array(self._function.lower_bounds)
        self.upper = np.array(self._function.upper_bounds)
        self.integers = int(self._function.number_of_integer_variables)
        self.constraints = int(self._function.number_of_constraints)

    def __call__(self, points: Any) -> tuple[Any, Any]:
        """Values and constraints (each at most 0 where it holds). Raises Spent beyond the budget."""
        points = np.array(points, float)
        points[:, : self.integers] = np.rint(points[:, : self.integers])
        values, limits = np.empty(len(points)), np.empty((len(points), self.constraints))
        for row, point in enumerate(np.clip(points, self.lower, self.upper)):
            if self.evaluations >= self.budget:
                raise Spent
            self.evaluations += 1
            values[row] = self._function(point)
            if self.constraints:
                limits[row] = self._function.constraint(point)
            violation = float(np.maximum(limits[row], 0.0).sum())
            self.least_violation = min(self.least_violation, violation)
            if violation <= 0 and values[row] < self.best:
                self.best = float(values[row])
                self.steps.append((self.evaluations, self.best))
        return values, limits

    def record(self) -> dict[str, Any]:
        """What a run came to, as plain data."""
        return {
            "value": self.best if np.isfinite(self.best) else None,
            "violation": self.least_violation,
            "evaluations": self.evaluations,
            "steps": self.steps,
        }


def problem(counter: Counter) -> ts.Problem:
    """The same function as a problem of ours: whole numbers by their count of values, then real ones."""
    body: dict[str, Any] = {"__module__": __name__, "__qualname__": "Coco", "value": ts.Metric("1", "min")}
    body |= {f"g{i}": ts.Metric("1", at_most=0.0) for i in range(counter.constraints)}
    groups: list[tuple[str, int]] = []
    tops = counter.upper[: counter.integers]
    for top in dict.fromkeys(tops.tolist()):
        groups.append((f"whole{int(top) + 1}", int((tops == top).sum())))
        body[groups[-1][0]] = ts.Int(0, int(top), shape=groups[-1][1])
    real = counter.case.dimension - counter.integers
    if real:
        groups.append(("real", real))
        low, high = counter.lower[-1], counter.upper[-1]
        body["real"] = ts.Float(float(low), float(high), shape=real)

    def evaluate(self: Any, x: Any) -> dict[str, Any]:
        points = np.concatenate([np.asarray(x[name], float) for name, _ in groups], axis=1)
        values, limits = counter(points)
        return {"value": values} | {f"g{i}": limits[:, i] for i in range(counter.constraints)}

    body["evaluate"] = evaluate
    made: ts.Problem = type(ts.Problem)("Coco", (ts.Problem,), body)()
    return made
