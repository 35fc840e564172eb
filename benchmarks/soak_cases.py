"""Searches drawn at random for the soak: a problem, its parameters, a solver, a seed, a budget, workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import tradespace as ts
from tradespace.errors import TradespaceError
from tradespace.problems.registry import load

USER_FILE = '''"""Problems whose rows take a while, so that a kill strikes in the middle of a search."""

import time

import numpy as np

import tradespace as ts


class Paced(ts.Problem):
    """Two conflicting sums over three integers; a batch takes `pause` seconds, some rows fail."""

    side: int = 40
    pause: float = 0.002

    a = ts.Int(1, "side")
    b = ts.Int(1, "side")
    c = ts.Int(1, "side")

    left = ts.Metric("s", "min")
    right = ts.Metric("J", "min")
    sum = ts.Metric("1", at_least=3)

    def evaluate(self, x):
        time.sleep(self.pause)
        point = np.stack([x.a, x.b, x.c], axis=1).astype(float)
        left = point @ np.array([0.1, 0.7, 0.3]) + (x.a % 7)
        return {
            "left": np.where(x.c % 13 == 0, np.nan, left),
            "right": 1 / x.a + 2 / x.b + (x.c % 5) * 0.01,
            "sum": point.sum(axis=1),
        }


class Dear(ts.Problem):
    """A sphere over four numbers, declared slow: a row a shard, a chunk a batch."""

    pause: float = 0.002
    cost = "slow"

    x = ts.Float(-1, 1, shape=3)
    kind = ts.Choice("a", "b")

    loss = ts.Metric("1", "min")

    def evaluate(self, x):
        time.sleep(self.pause * len(x))
        return {"loss": ((x.x - 0.3) ** 2).sum(axis=1) + np.where(x.kind == "b", 0.1, 0.0)}
'''
VIEWS = {"milp", "packing", "gittins", "nested"}
MANY = ("random", "sobol")
EVOLUTION = ("nsga2", "ga")
FEW = {"tpe": (20, 120), "cmaes": (20, 120), "qmc": (20, 120), "nsga3": (20, 120), "gp": (8, 16)}


@dataclass(frozen=True)
class Kind:
    """A problem with the ranges of its parameters, the solvers to draw from, its rows a second."""

    name: str
    ranges: dict[str, tuple[float, float]]
    solvers: tuple[str, ...]
    rows: int


KINDS = (
    Kind("Paced", {"side": (8, 110), "pause": (0.0, 0.01)},
         (*MANY, "nsga2", "tpe", "nsga3", "exhaustive", "exhaustive"), 40_000),
    Kind("Dear", {"pause": (0.0005, 0.004)}, (*MANY, *EVOLUTION, "tpe", "cmaes", "memetic"), 300),
    Kind("knapsack", {"items": (4, 40), "items_seed": (0, 99)},
         (*MANY, *EVOLUTION, "tpe", "gp", "exhaustive", "milp", "milp"), 60_000),
    Kind("matmul-tile", {"m": (256, 8192)}, (*MANY, "nsga2", "tpe", "qmc", "exhaustive"), 5_000),
    Kind("memory-plan", {"operators": (6, 40), "chain_seed": (0, 99)},
         (*MANY, *EVOLUTION, "tpe", "milp", "exhaustive"), 30_000),
    Kind("mixed", {}, (*MANY, "nsga2", "tpe"), 20_000),
    Kind("server-packing", {"services": (4, 30), "services_seed": (0, 99)},
         (*MANY, "ga", "cmaes", "packing"), 20_000),
    Kind("mg1", {"arrivals": (300, 900)}, ("random", "ga", "gittins"), 120),
    Kind("two-level", {"discs": (300, 2000)}, ("random", "nsga2", "nested"), 300),
    Kind("adacc", {"layers": (2, 12), "batch": (1, 8)}, ("random", "ga", "milp"), 4_000),
    Kind("llm-mesh-placement", {"models": (4, 24)}, ("random", "ga", "packing"), 3_000),
    Kind("astraea-shapes", {"steps": (10, 30)}, ("random", "memetic", "cmaes"), 6_000),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One search to be run, on the command line or in this process."""

    problem: str
    parameters: tuple[tuple[str, float], ...]
    solver: str
    seed: int
    evals: int
    workers: int

    @property
    def arguments(self) -> list[str]:
        """The arguments of `optimize run`."""
        options = [str(v) for name, value in self.parameters
                   for v in (f"--{name.replace('_', '-')}", value)]  # fmt: skip
        return ["run", self.problem, *options, "--solver", self.solver, "--seed", str(self.seed),
                "--evals", str(self.evals), "--workers", str(self.workers), "--json"]  # fmt: skip

    @property
    def exact(self) -> bool:
        """Whether an interrupted search ends in the very same point; else in the same value."""
        return self.solver not in VIEWS

    def made(self) -> ts.Problem:
        """The problem."""
        return load(self.problem)(**dict(self.parameters))

    def solve(self, **given: Any) -> ts.Result:
        """The search in this process."""
        return ts.solve(
            self.made(), self.solver, budget=ts.Budget(evaluations=self.evals), seed=self.seed,
            **{"workers": 1, "storage": "none", **given},
        )  # fmt: skip

    def expected(self) -> ts.Result | str:
        """The answer of an undisturbed search, or the sentence that refuses it."""
        try:
            return self.solve()
        except TradespaceError as error:
            return str(error)


def draw(rng: np.random.Generator, user_file: Path) -> Case:
    """A search that takes from some milliseconds to about a second."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    parameters = tuple(
        (name, int(rng.integers(low, high + 1)) if isinstance(low, int) else round(rng.uniform(low, high), 4))
        for name, (low, high) in kind.ranges.items()
    )
    solver = kind.solvers[int(rng.integers(len(kind.solvers)))]
    low, high = FEW.get(solver, (min(100, kind.rows), kind.rows // (8 if solver in EVOLUTION else 1)))
    evals = int(np.exp(rng.uniform(np.log(low), np.log(max(high, low + 1)))))
    if solver == "exhaustive":
        evals = 2_000_000
    workers = 1 if rng.random() < 0.8 else 2
    name = f"{user_file}:{kind.name}" if kind.name[0].isupper() else kind.name
    return Case(name, parameters, solver, int(rng.integers(1_000)), evals, workers)


def warm_up(user_file: Path) -> None:
    """Every kind of search once, tiny: what a process imports and compiles once is no leak."""
    rng = np.random.default_rng(0)
    for kind in KINDS:
        for solver in dict.fromkeys(kind.solvers):
            case = draw(rng, user_file)
            name = f"{user_file}:{kind.name}" if kind.name[0].isupper() else kind.name
            least = tuple((n, low) for n, (low, _) in kind.ranges.items())
            replace(case, problem=name, parameters=least, solver=solver, evals=16, workers=1).expected()


def agree(expected: ts.Result, found: ts.Result, exact: bool) -> str | None:
    """What differs between an undisturbed answer and another; None where nothing does."""
    if exact:
        pairs = {
            "evaluations": (expected.evaluations, found.evaluations),
            "point": (expected.best, found.best),
            "metrics": (expected.metrics, found.metrics),
            "front": (_front(expected), _front(found)),
        }
        for name, (a, b) in pairs.items():
            if a != b:
                return f"{name} {str(b)[:80]}, undisturbed {str(a)[:80]}"
    for objective in expected.goal["objectives"]:
        name = objective["metric"]
        one, other = expected.metrics.get(name), found.metrics.get(name)
        if (one is None) != (other is None):
            return f"'{name}' is {other}, undisturbed {one}"
        if one is not None and other is not None and abs(one - other) > 2e-6 * max(abs(one), abs(other)):
            return f"'{name}' is {other}, undisturbed {one}"
    if expected.certificate.kind != found.certificate.kind:
        return f"certificate '{found.certificate.kind}', undisturbed '{expected.certificate.kind}'"
    return None


def _front(result: ts.Result) -> list[tuple[Any, ...]]:
    columns = result.front_columns.values()
    return sorted((str(row) for row in zip(*(c.tolist() for c in columns), strict=True)), key=str)  # type: ignore[misc]
