"""Evolution: its laws, known optima, orders, conditions, repair, and what it leaves alone."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradespace as ts
from tradespace.problems.batch import Batch
from tradespace.solvers.evolutionary import GA, NSGA2, Evolution, crowding_distance, rank_and_crowding
from tradespace.solvers.portfolio import choose
from tradespace.solvers.reference import Bag, Tree, TwoGoals
from tradespace.solvers.testing import SolverContract
from tradespace.solvers.variation import Coding, cross_numbers, mutate_numbers, python_random


class TestNSGA2(SolverContract):
    solver = "nsga2"


class TestGA(SolverContract):
    solver = "ga"


class Tour(ts.Problem):
    """The shortest round trip through seven places."""

    towns: int = 7

    tour = ts.Permutation("towns")

    length = ts.Metric("m", "min")

    @property
    def distances(self) -> Any:
        places = np.random.default_rng(self.towns).random((self.towns, 2))
        return np.linalg.norm(places[:, None] - places[None], axis=2)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"length": self.distances[x.tour, np.roll(x.tour, -1, axis=1)].sum(axis=1)}


class Zdt1(ts.Problem):
    """A convex front over ten numbers (Zitzler, Deb & Thiele 2000)."""

    x = ts.Float(0, 1, shape=10)

    first = ts.Metric("1", "min")
    second = ts.Metric("1", "min")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        away = 1 + 9 * x.x[:, 1:].mean(axis=1)
        return {"first": x.x[:, 0].copy(), "second": away * (1 - np.sqrt(x.x[:, 0] / away))}


class Scales(ts.Problem):
    """A logarithmic number, a logarithmic integer and a grid, each with a known best value."""

    rate = ts.Float(1e-6, 1.0, log=True)
    size = ts.Int(1, 100_000, log=True)
    tile = ts.Int(16, 256, step=16)
    menu = ts.Menu.powers(2, 1, 1024)

    error = ts.Metric("1", "min")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        terms = [np.log10(x.rate) + 3, np.log10(x.size / 700), (x.tile - 144) / 100, np.log2(x.menu) - 5]
        return {"error": sum(np.abs(term) for term in terms)}


class Sparse(ts.Problem):
    """At most three of ten may be taken; `repair` drops those beyond."""

    taken = ts.Bool(shape=10)

    worth = ts.Metric("1", "max")
    count = ts.Metric("1", at_most=3)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"worth": x.taken @ np.arange(1.0, 11.0), "count": x.taken.sum(axis=1)}

    def repair(self, x: Batch) -> dict[str, Any]:
        return {"taken": x.taken & (np.cumsum(x.taken[:, ::-1], axis=1)[:, ::-1] <= 3)}


def search(
    problem: ts.Problem, evaluations: int, solver: Evolution | None = None, seed: int = 0, **given: Any
) -> tuple[Evolution, list[Batch]]:
    """Ask and tell without a driver; the solver and what it asked."""
    solver = solver or NSGA2()
    goal = given.pop("goal", ts.Goal()).resolve(problem)
    budget = ts.Budget(evaluations=evaluations)
    solver.begin(SimpleNamespace(problem=problem, goal=goal, budget=budget, seed=seed, start=None, **given))
    asked: list[Batch] = []
    left = evaluations
    while left > 0 and len(batch := solver.ask(left)):
        asked.append(batch)
        left -= len(batch)
        solver.tell(batch, problem.score(batch))
    return solver, asked


def hashes(batches: list[Batch]) -> list[int]:
    return [key for batch in batches for key in batch.__space__.hashes(batch).tolist()]


# --- known optima ------------------------------------------------------------------------------------
def test_mixed_reaches_the_optimum_of_an_exhaustive_search() -> None:
    problem = ts.problem("mixed").fix(order=[0, 1, 2, 3], share=0.5, overlap=False)
    goal = ts.Goal(minimize="time", limits=("stored<=100MiB",))
    exact = ts.solve(problem, "exhaustive", goal)
    found = ts.solve(problem, "ga", goal, ts.Budget(evaluations=4_000))
    assert found.metrics["time"] == exact.metrics["time"]


def test_knapsack_front_is_that_of_an_exhaustive_search() -> None:
    problem = Bag()
    goal = ts.Goal(maximize=("value", "comfort"))
    exact = ts.solve(problem, "exhaustive", goal)
    found = ts.solve(problem, "nsga2", goal, ts.Budget(evaluations=200))
    full = ts.solve(problem, "nsga2", goal, ts.Budget(evaluations=10_000))
    assert found.front_size >= 0.6 * exact.front_size
    assert full.front_size == exact.front_size
    assert full.certificate.kind == "proven"


def test_knapsack_of_24_items_reaches_the_proven_optimum() -> None:
    problem = ts.problem("knapsack", items=24)
    proven = ts.solve(problem, "milp", budget=ts.Budget(gap=0.0))
    found = ts.solve(problem, "ga", budget=ts.Budget(evaluations=20_000))
    assert found.metrics["value"] == pytest.approx(proven.metrics["value"])


def test_shortest_tour_is_found_among_all() -> None:
    problem = Tour()
    rest = list(itertools.permutations(range(1, 7)))
    lengths = problem.score([{"tour": [0, *order]} for order in rest]).metrics["length"]
    found = ts.solve(problem, "ga", budget=ts.Budget(evaluations=2_000))
    assert found.metrics["length"] == pytest.approx(lengths.min())


def test_every_scale_of_number_reaches_its_best() -> None:
    best = ts.solve(Scales(), "ga", budget=ts.Budget(evaluations=3_000)).best
    assert best is not None
    assert (best["tile"], best["menu"]) == (144, 32)
    assert best["rate"] == pytest.approx(1e-3, rel=0.05)
    assert best["size"] == pytest.approx(700, rel=0.05)


def test_front_of_zdt1_is_approached() -> None:
    solver, _ = search(Zdt1(), 5_000)
    assert solver.population is not None
    metrics = solver.population[1].metrics
    assert (metrics["second"] - (1 - np.sqrt(metrics["first"])) < 0.1).mean() > 0.9


# --- points ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("problem", [ts.problem("mixed"), Tree(), Tour(), Scales(), Bag()])
def test_no_point_is_asked_twice(problem: ts.Problem) -> None:
    _, asked = search(problem, 1_000)
    keys = hashes(asked)
    assert len(keys) == len(set(keys))
    assert all(problem.space.contains(batch).all() for batch in asked)
    canonical = [problem.space.canonical(batch.__columns__, len(batch)) for batch in asked]
    assert hashes(canonical) == keys


def test_a_small_space_is_exhausted_without_repeats() -> None:
    problem = Tree()
    _, asked = search(problem, 10_000)
    assert len(hashes(asked)) == problem.space.size


def test_fixed_variables_stay_fixed() -> None:
    problem = ts.problem("mixed").fix(order=[3, 1, 2, 0], streams=2)
    _, asked = search(problem, 200)
    assert all((batch.order == [3, 1, 2, 0]).all() for batch in asked)


@pytest.mark.parametrize("problem", [ts.problem("mixed"), Tree(), Tour(), Scales(), Bag(), Zdt1()])
def test_coding_gives_back_the_points_it_was_made_of(problem: ts.Problem) -> None:
    batch = problem.space.sample(np.random.default_rng(3), 200)
    coding = Coding(problem.space)
    again = coding.decode(coding.encode(batch))
    for name in problem.space.domains:
        if problem.space.domains[name].kind == "float":
            np.testing.assert_allclose(again.__columns__[name], batch.__columns__[name], rtol=1e-12)
        else:
            np.testing.assert_array_equal(again.__columns__[name], batch.__columns__[name])


def test_start_leads_the_first_generation() -> None:
    problem = Tour(towns=12)
    tour = [int(i) for i in np.random.default_rng(1).permutation(12)]
    result = ts.solve(problem, "ga", budget=ts.Budget(evaluations=40), start={"tour": tour})
    assert result.start is not None
    assert result.metrics["length"] <= result.start["length"]
    solver = GA()
    start = problem.space.batch({"tour": tour})
    run = SimpleNamespace(
        problem=problem, goal=problem.default_goal, budget=ts.Budget(400), seed=0, start=start
    )
    solver.begin(run)  # type: ignore[arg-type]
    first = solver.ask(1_000)
    assert first.tour[0].tolist() == tour
    assert len(first) == 20


def test_repair_keeps_every_point_within_its_limit() -> None:
    _, asked = search(Sparse(), 150)
    assert all((batch.taken.sum(axis=1) <= 3).all() for batch in asked)
    assert ts.solve(Sparse(), "ga", budget=ts.Budget(evaluations=150)).metrics["worth"] == 27


class Misrepaired(Sparse):
    """A repair that gives another shape."""

    def repair(self, x: Batch) -> dict[str, Any]:
        return {"taken": x.taken[:, :5]}


class Unrepaired(Scales):
    """A repair that leaves the space."""

    def repair(self, x: Batch) -> dict[str, Any]:
        return {"tile": x.tile + 1}


class Unknown(Scales):
    """A repair of a variable that is not there."""

    def repair(self, x: Batch) -> dict[str, Any]:
        return {"tyle": x.tile}


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (Misrepaired(), r"gave 'taken' the shape \(\d+, 5\)"),
        (Unrepaired(), "left 'tile' outside its domain: an integer from 16 to 256 in steps of 16"),
        (Unknown(), "must return a batch or a mapping from variables to columns"),
    ],
)
def test_a_wrong_repair_is_named(problem: ts.Problem, sentence: str) -> None:
    with pytest.raises(ts.SpaceError, match=sentence):
        search(problem, 50)


# --- order of survival -------------------------------------------------------------------------------
def test_infeasible_rank_after_feasible_by_violation() -> None:
    costs = np.array([[5.0, 5.0], [0.0, 0.0], [1.0, 1.0], [4.0, 6.0], [9.0, 9.0]])
    violation = np.array([0.0, 2.0, 0.5, 0.0, np.inf])
    rank, crowding = rank_and_crowding(costs, violation)
    assert rank.tolist() == [0, 2, 1, 0, 3]
    assert (crowding[[1, 2, 4]] == 0).all()


def test_failed_rows_leave_the_population_first() -> None:
    class Half(Scales):
        def evaluate(self, x: Batch) -> dict[str, Any]:
            return {"error": np.where(x.tile < 64, np.nan, 1.0 * x.tile)}

    solver, _ = search(Half(), 200)
    assert solver.population is not None
    assert not solver.population[1].failed.any()


def test_crowding_is_the_scaled_gap_between_neighbours() -> None:
    costs = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0], [1.0, 2.0], [9.0, 9.0]])
    distance = crowding_distance(costs, np.array([0, 0, 0, 0, 0, 1]))
    assert distance[[0, 3, 5]].tolist() == [np.inf] * 3
    assert sorted(distance[[1, 4]].tolist()) == [0.0, 3 / 4 + 3 / 4]
    assert distance[2] == 3 / 4 + 2 / 4


def test_infinite_costs_are_ranked_without_a_warning() -> None:
    costs = np.array([[0.0, np.inf], [1.0, 2.0], [-np.inf, 5.0], [2.0, 3.0]])
    rank, crowding = rank_and_crowding(costs, np.zeros(4))
    assert rank.tolist() == [1, 0, 0, 1]
    assert not np.isnan(crowding).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-12, 1e-3, 0.5, 1.0]))
def test_variation_stays_in_the_unit_cube(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    parents = np.clip(rng.random() + spread * rng.normal(size=(20, 6)), 0, 1)
    children = cross_numbers(rng, parents, np.ones((10, 1), bool))
    children = mutate_numbers(rng, children, rng.random(children.shape) < 0.5)
    assert ((children >= 0) & (children <= 1)).all()


def test_crossover_keeps_the_mean_of_distant_bounds() -> None:
    rng = np.random.default_rng(0)
    parents = np.tile([[0.45], [0.55]], (20_000, 1))
    children = cross_numbers(rng, parents, np.ones((20_000, 1), bool))
    assert children.mean() == pytest.approx(0.5, abs=1e-3)
    assert np.abs(children - 0.5).mean() == pytest.approx(0.05, rel=0.02)


# --- what it leaves alone, and what it refuses --------------------------------------------------------
def test_global_random_state_is_untouched() -> None:
    random.seed(7)
    before = random.getstate()
    first = hashes(search(Tour(), 300)[1])
    assert random.getstate() == before
    random.seed(8)
    assert hashes(search(Tour(), 300)[1]) == first


def test_global_random_state_comes_back_after_an_error() -> None:
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), python_random(np.random.default_rng(0)):
        _ = 1 / int(random.random())
    assert random.getstate() == before


def test_another_seed_searches_elsewhere() -> None:
    assert hashes(search(Zdt1(), 100, seed=1)[1]) != hashes(search(Zdt1(), 100, seed=2)[1])


@pytest.mark.parametrize(
    ("evaluations", "size"), [(10_000, 100), (500, 22), (300, 20), (40, 10), (5, 4), (10**6, 200)]
)
def test_population_follows_the_budget(evaluations: int, size: int) -> None:
    solver = NSGA2()
    run = SimpleNamespace(
        problem=Zdt1(), goal=Zdt1().default_goal, budget=ts.Budget(evaluations), seed=0, start=None
    )
    solver.begin(run)  # type: ignore[arg-type]
    assert len(solver.ask(10**6)) == size


def test_a_larger_budget_continues_the_same_search(tmp_path: Any) -> None:
    problem = Scales()
    first = ts.solve(problem, "ga", budget=ts.Budget(evaluations=100), runs=tmp_path)
    assert first.run_dir is not None
    more = ts.resume(first.run_dir, problem=problem, budget=ts.Budget(evaluations=2_000))
    assert more.evaluated_here == 1_900
    assert more.metrics["error"] < first.metrics["error"]


def test_ga_refuses_several_objectives_and_names_nsga2() -> None:
    with pytest.raises(ts.SolverUnavailable, match="takes one objective and this goal has 2; use nsga2"):
        ts.solve(TwoGoals(), "ga", budget=ts.Budget(evaluations=10))


class Wide(ts.Problem):
    """More scalars than a model-based sampler takes."""

    x = ts.Float(0, 1, shape=100)

    total = ts.Metric("1", "min")
    spread: ClassVar[Any] = ts.Metric("1", "max")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        return {"total": x.x.sum(axis=1), "spread": np.ptp(x.x, axis=1)}


@pytest.mark.parametrize(
    ("problem", "evaluations", "name"),
    [
        (Zdt1(), 10_000, "nsga2"), (Zdt1(), 1_000, "nsga2"), (Zdt1(), 999, "tpe"), (Zdt1(), None, "nsga2"),
        (Scales(), 10_000, "memetic"), (Scales(), 500, "tpe"), (Wide(), 500, "nsga2"),
        (Tour(towns=12), 500, "ga"),
    ],
)  # fmt: skip
def test_auto_evolves_many_rows_and_models_few(
    problem: ts.Problem, evaluations: int | None, name: str
) -> None:
    budget = ts.Budget(evaluations=evaluations, seconds=5.0)
    assert choose(problem, problem.default_goal, budget)[0].name == name
