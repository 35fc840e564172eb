"""Every solver name that is promised answers or refuses in a sentence, and gets past rows that fail."""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.batch import Batch
from tradespace.solvers.portfolio import SOLVERS
from tradespace.solvers.pymoo_algorithms import MANY, SINGLE

ABSTRACT = {"BaseSampler", "BaseGASampler"}


def sampler_names() -> list[str]:
    """Optuna's samplers, those included that need more than a seed."""
    optuna = pytest.importorskip("optuna")
    return [f"optuna:{n}" for n in optuna.samplers.__all__ if n.endswith("Sampler") and n not in ABSTRACT]


PYMOO = [f"pymoo:{name}" for name in (*SINGLE, *MANY)]
NAMES = [*SOLVERS, *sampler_names(), *PYMOO]
with_pymoo = pytest.mark.skipif(importlib.util.find_spec("pymoo") is None, reason="pymoo is not installed")


class Half(ts.Problem):
    """A share of the space cannot be scored; the least of the rest is 0 at (0.9, 0.3)."""

    share: float = 0.5

    x = ts.Float(0, 1)
    y = ts.Float(0, 1)

    depth = ts.Metric("1", "min")
    length = ts.Metric("1")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        lost = x.x < self.share
        depth = (x.x - 0.9) ** 2 + (x.y - 0.3) ** 2
        return {"depth": np.where(lost, np.nan, depth), "length": np.where(lost, np.nan, x.x + x.y)}


class Single(ts.Problem):
    """Nothing to decide."""

    x = ts.Int(3, 3)
    y = ts.Menu(8)

    depth = ts.Metric("1", "min")
    length = ts.Metric("1")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"depth": 1.0 * x.x, "length": 1.0 * x.y}


class Kinds(ts.Problem):
    """Every kind of variable, vectors and conditions, and half of the space cannot be scored."""

    whole = ts.Int(0, 9)
    size = ts.Int(1, 1000, log=True)
    share = ts.Float(0, 1, shape=2)
    tile = ts.Menu(1, 2, 4, 8)
    kind = ts.Choice("a", "b", "c")
    packed = ts.Bool()
    bits = ts.Int(0, 3, shape=2, when={"kind": "a"})

    depth = ts.Metric("1", "min")
    length = ts.Metric("1")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        depth = np.abs(x.whole - 7.0) + np.log(x.size) + x.share.sum(axis=1) + x.tile + x.bits.sum(axis=1)
        return {"depth": np.where(x.whole < 5, np.nan, depth + x.packed), "length": 1.0 * x.whole}


class Ordered(ts.Problem):
    """A permutation beside a number."""

    order = ts.Permutation(4)
    whole = ts.Int(0, 9)

    depth = ts.Metric("1", "min")
    length = ts.Metric("1")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        depth = x.order[:, 0] + 0.1 * x.whole
        return {"depth": np.where(x.order[:, 1] < 2, np.nan, depth), "length": 1.0 * x.order[:, 2]}


FEWER = {"gp": 10, "optuna:GPSampler": 10}
"""Rows of solvers whose steps cost seconds: the first ten are drawn without a model."""


def answers_or_refuses(name: str, problem: ts.Problem, goal: ts.Goal) -> bool:
    """Whether the solver answered. Fails where the answer is none, or the refusal no sentence."""
    rows = FEWER.get(name, 12)
    try:
        result = ts.solve(problem, name, goal, budget=ts.Budget(evaluations=rows))
    except ts.SolverUnavailable as refused:
        said = str(refused)
        assert "\n" not in said
        assert 20 < len(said) < 500
        assert "cannot go on" not in said or name == "optuna:BruteForceSampler"
        return False
    assert 1 <= result.evaluations <= rows
    assert result.feasible
    assert all(np.isfinite(value) for value in result.metrics.values())
    return True


GOALS = {
    f"{len(minimise)} objectives, {len(limits)} limits": ts.Goal(minimize=minimise, limits=limits)
    for minimise, limits in itertools.product((("depth",), ("depth", "length")), ((), ("length<=8",)))
}
PROBLEMS = (Single(), Half(), Kinds(), Ordered())
STRUCTURED = {"milp", "packing", "gittins", "nested"}  # they need a view


@pytest.mark.parametrize("name", NAMES)
def test_every_solver_answers_or_refuses_in_a_sentence(name: str) -> None:
    answered = {
        (type(problem), goal)
        for problem in PROBLEMS
        for goal in GOALS
        if answers_or_refuses(name, problem, GOALS[goal])
    }
    able = name not in STRUCTURED and (not name.startswith("pymoo:") or importlib.util.find_spec("pymoo"))
    if able and name not in {"gp", "cmaes", "optuna:GPSampler", "optuna:CmaEsSampler"}:  # they need a package
        needs_more = {"optuna:GridSampler", "optuna:PartialFixedSampler"}
        assert bool(answered) == (name not in needs_more)


FAST = [
    *("ga", "nsga2", "memetic", "random", "sobol", "qmc", "tpe", "cmaes", "optuna:CmaEsSampler"),
    *(pytest.param(f"pymoo:{name}", marks=with_pymoo) for name in SINGLE),
]


@pytest.mark.parametrize("name", FAST)
def test_the_least_is_found_beside_a_space_that_fails(name: str) -> None:
    for package in {"cmaes": ("cmaes",), "optuna:CmaEsSampler": ("cmaes",), "memetic": ("cmaes",)}.get(
        name, ()
    ):
        pytest.importorskip(package)
    for share, seed in itertools.product((0.5, 0.7), range(2)):
        result = ts.solve(Half(share=share), name, budget=ts.Budget(evaluations=120), seed=seed)
        assert result.metrics["depth"] < 0.01
        assert any(f"of {result.evaluations} rows (" in note for note in result.notes)


def test_gp_finds_the_least_beside_a_space_that_fails() -> None:
    pytest.importorskip("torch")
    result = ts.solve(Half(), "optuna:GPSampler", budget=ts.Budget(evaluations=15))
    assert result.metrics["depth"] < 0.02


@pytest.mark.parametrize(
    "name", ["ga", "random", "tpe", "cmaes", "memetic", pytest.param("pymoo:ga", marks=with_pymoo)]
)
def test_a_search_goes_on_where_its_first_rows_were_unlucky(name: str) -> None:
    """Two points in a hundred can be scored."""
    result = ts.solve(Half(share=0.98), name, budget=ts.Budget(evaluations=200), seed=1)
    assert result.feasible


@with_pymoo
@pytest.mark.parametrize("name", PYMOO)
def test_an_algorithm_of_pymoo_repeats_itself_after_others_ran(name: str) -> None:
    """Its parts may be shared by all algorithms of a class, its draws unseeded."""
    goal = ts.Goal(minimize=("depth", "length")) if name.removeprefix("pymoo:") in MANY else ts.Goal()
    first = ts.solve(Half(), name, goal, budget=ts.Budget(evaluations=60), seed=4)
    for other in (Kinds(), Single()):
        answers_or_refuses(name, other, ts.Goal())
    again = ts.solve(Half(), name, goal, budget=ts.Budget(evaluations=60), seed=4)
    assert again.front_columns["depth"].tolist() == first.front_columns["depth"].tolist()
    assert again.best == first.best


class Never(Half):
    """Nothing can be scored."""

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"depth": np.full(len(x), np.nan), "length": x.x}


class Raises(Half):
    """The referee raises everywhere."""

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"depth": {}["depth"], "length": x.x}


@pytest.mark.parametrize(
    ("problem", "said"), [(Never(), "NaN in 'depth'"), (Raises(), "raised KeyError: 'depth' at")]
)
@pytest.mark.parametrize("name", ["ga", "random"])
def test_a_referee_that_fails_everywhere_ends_the_search_early(
    name: str, problem: ts.Problem, said: str
) -> None:
    rows = []
    budget = ts.Budget(evaluations=100_000)
    with pytest.raises(ts.EvaluationError, match=rf"on all [\d,]+ rows and on 1,000 points.*{said}"):
        ts.solve(problem, name, budget=budget, observer=lambda session: rows.append(session.evaluations))
    assert max(rows, default=0) <= 2_048


def test_one_row_that_fails_is_named() -> None:
    class Lost(Single):
        def evaluate(self, x: Batch) -> dict[str, Any]:
            return {"depth": np.nan * x.x, "length": 1.0 * x.y}

    with pytest.raises(ts.EvaluationError, match="failed on the only row tried: NaN in 'depth'"):
        ts.solve(Lost())
