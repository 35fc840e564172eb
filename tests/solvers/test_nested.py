"""Two levels: the same answer as one, what is computed once, what the certificate says."""

from __future__ import annotations

import numpy as np
import pytest

import tradespace as ts
from tradespace.errors import SolverUnavailable
from tradespace.problems.tutorial.two_level import TwoLevel, count_work
from tradespace.search.folder import RunFolder
from tradespace.search.run import regoal
from tradespace.solvers import nested


class Small(TwoLevel):
    tile = ts.Menu(8, 16, 32)
    reach = ts.Menu(2.5, 3.0)
    merge = ts.Menu(1, 4)
    cores = ts.Menu(4, 16)
    buffer = ts.Menu(8192, 65536)
    bandwidth = ts.Menu(25.6e9)


class Partial(ts.Problem):
    """A view that packs for a given room, which it leaves to others."""

    room = ts.Int(4, 9)
    bin = ts.Int(0, 4, shape=5)

    price = ts.Metric("1", "min")
    excess = ts.Metric("1", at_most=0.0)

    sizes = np.array([4.0, 3.0, 2.0, 2.0, 1.0])

    def evaluate(self, x):
        load = np.stack([np.where(x.bin == b, self.sizes, 0).sum(axis=1) for b in range(5)], axis=1)
        return {
            "price": (load > 0).sum(axis=1) * (1 + x.room) + 0.5,
            "excess": np.maximum(load - x.room[:, None], 0).sum(axis=1),
        }

    def packing_view(self, given=None):
        room = (given or {}).get("room", 4)

        def decode(plan):
            placed = [0] * 5
            for b, (_, held) in enumerate(plan):
                for item in held:
                    placed[item] = b
            return {"bin": placed}

        return ts.PackingView(
            self.sizes[None, :, None], np.array([[room]]), np.array([1.0 + room]), "price", decode,
            limits=("excess",), decides=("bin",), constant=0.5,
        )  # fmt: skip


class PartialMilp(ts.Problem):
    """A knapsack whose capacity is another variable that the MILP view leaves to others."""

    capacity = ts.Int(3, 6)
    noise = ts.Float(0.0, 1.0)
    taken = ts.Bool(shape=4)

    value = ts.Metric("1", "max")
    over = ts.Metric("1", at_most=0.0)

    weights = np.array([2.0, 3.0, 4.0, 1.0])

    def evaluate(self, x):
        weight = x.taken @ self.weights
        value = x.taken @ (self.weights + 0.5) - 0.3 * x.capacity**2 / 2 - (x.noise - 0.5) ** 2
        return {"value": value, "over": weight - x.capacity}

    def milp_view(self, given=None):
        import pyomo.environ as pyo

        given = given or {"capacity": 3, "noise": 0.0}
        model = pyo.ConcreteModel()
        model.taken = pyo.Var(range(4), domain=pyo.Binary)
        weight = pyo.quicksum(w * model.taken[i] for i, w in enumerate(self.weights.tolist()))
        value = pyo.quicksum((w + 0.5) * model.taken[i] for i, w in enumerate(self.weights.tolist()))
        fixed = 0.3 * given["capacity"] ** 2 / 2 + (given["noise"] - 0.5) ** 2

        def encode(point):
            for i, taken in enumerate(point["taken"]):
                model.taken[i] = int(taken)

        def decode():
            return {"taken": [round(pyo.value(model.taken[i])) == 1 for i in range(4)]}

        metrics = {"value": value - fixed, "over": weight - given["capacity"]}
        return ts.MilpView(model, metrics, decode, encode, decides=("taken",))


def test_two_levels_find_what_one_finds_and_prove_it():
    nested, whole = (ts.solve(Small(), name) for name in ("nested", "exhaustive"))
    assert nested.metrics["frame"] == whole.metrics["frame"]
    assert nested.certificate.kind == "proven"
    assert nested.evaluations == whole.evaluations


def test_the_front_of_two_levels_is_the_whole_front():
    goal = ts.Goal(minimize=("frame", "area"))
    nested, whole = (ts.solve(Small(), name, goal) for name in ("nested", "exhaustive"))
    fronts = [np.unique(r.front[["frame", "area"]].to_numpy(), axis=0) for r in (nested, whole)]
    np.testing.assert_allclose(*fronts)


def test_the_slow_part_is_computed_once_a_setting():
    count_work.cache_clear()
    ts.solve(Small(scene_seed=5), "nested")
    assert count_work.cache_info().misses == 12


def test_a_packing_view_that_decides_part_is_nested():
    nested, whole = (ts.solve(Partial(), name) for name in ("nested", "exhaustive"))
    assert nested.metrics["price"] == whole.metrics["price"]
    assert nested.certificate.kind == "proven"
    assert "inner level bin by" in " ".join(nested.notes)


@pytest.mark.parametrize("inner", ["packing", "milp"])
def test_a_view_solves_the_inner_level_where_enumeration_is_too_long(inner, monkeypatch):
    monkeypatch.setattr("tradespace.solvers.nested.INNER", (inner,))
    if inner == "packing":
        result = ts.solve(Partial(), "nested")
        assert result.metrics["price"] == ts.solve(Partial(), "exhaustive").metrics["price"]
        assert result.certificate.kind == "proven"
    else:
        fixed = PartialMilp().fix(noise=0.5)
        result = ts.solve(fixed, "nested")
        assert result.metrics["value"] == ts.solve(fixed, "exhaustive").metrics["value"]


def test_a_search_of_the_outer_level_says_what_was_not_tried():
    result = ts.solve(PartialMilp(), "nested", budget=ts.Budget(evaluations=600), seed=1)
    best = ts.solve(PartialMilp().fix(noise=0.5), "exhaustive").metrics["value"]
    assert result.metrics["value"] == pytest.approx(best, abs=0.05)
    assert result.evaluations <= 600
    assert result.certificate.kind == "none"
    assert "other settings were not tried" in result.certificate.statement


def test_the_same_seed_gives_the_same_answer():
    budget = ts.Budget(evaluations=400)
    first, second = (ts.solve(PartialMilp(), "nested", budget=budget, seed=4) for _ in range(2))
    assert (first.best, first.evaluations) == (second.best, second.evaluations)


def test_a_start_is_kept():
    start = {"capacity": 6, "noise": 0.5, "taken": [True, True, False, True]}
    result = ts.solve(PartialMilp(), "nested", budget=ts.Budget(evaluations=200), start=start)
    assert result.metrics["value"] >= result.start["value"]


@pytest.mark.parametrize(
    ("problem", "budget", "sentence"),
    [
        (ts.problem("knapsack", items=4), ts.Budget(), "no variable is marked slow"),
        (Small(), ts.Budget(evaluations=100), "has no room for 4"),
        (PartialMilp(), ts.Budget(), "has no end"),
        (
            Small().fix(cores=4, lanes=8, buffer=8192, frequency=1e9, bandwidth=25.6e9),
            ts.Budget(),
            "all variables are slow",
        ),
    ],
)
def test_problems_without_two_levels_are_refused_in_words(problem, budget, sentence):
    with pytest.raises(SolverUnavailable, match=sentence):
        ts.solve(problem, "nested", budget=budget)


def test_a_slow_variable_may_not_hang_on_a_fast_one():
    class Hanging(ts.Problem):
        slow = ("a",)
        b = ts.Bool()
        a = ts.Int(0, 3, when={"b": True})
        value = ts.Metric("1", "min")

        def evaluate(self, x):
            return {"value": x.a + 1.0}

    with pytest.raises(SolverUnavailable, match="active only for some 'b'"):
        ts.solve(Hanging(), "nested")


def test_no_setting_of_the_outer_level_meets_the_limits():
    result = ts.solve(Small(), "nested", goal=ts.Goal(limits=("area<=0.1",)))
    assert not result.feasible
    assert result.certificate.kind == "proven"


class Wide(ts.Problem):
    """Two slow settings, each with 43,200 designs to enumerate; some fail, and waste never helps."""

    slow = ("mode",)

    mode = ts.Menu(1, 2)
    size = ts.Int(1, 60)
    speed = ts.Int(1, 60)
    waste = ts.Int(0, 11)

    price = ts.Metric("1", "min")
    delay = ts.Metric("1", "min")
    heat = ts.Metric("1", at_most=50.0)

    def evaluate(self, x):
        delay = np.where(x.waste == 3, np.nan, 1e3 / (x.size * x.speed) + (x.mode - 1.3) ** 2)
        return {
            "price": x.size + 0.1 * x.speed + x.waste,
            "delay": delay,
            "heat": x.speed * x.mode * 0.5 + x.waste,
        }


@pytest.mark.parametrize("limit", ["heat<=20", "heat<=0.1"])
@pytest.mark.parametrize("most", [10_000, 100])
def test_a_long_inner_level_keeps_the_rows_that_answer(tmp_path, monkeypatch, limit, most):
    """Front, count of rows and answer are those of recording everything; the record is small."""
    monkeypatch.setattr(nested, "MOST_KEPT", most)
    goal = ts.Goal(limits=(limit,))
    runs = {
        keep: ts.solve(Wide(), "nested", goal=goal, runs=tmp_path, keep_all=keep) for keep in (False, True)
    }
    short, whole = runs[False], runs[True]
    assert short.evaluations == whole.evaluations == 86_400
    assert short.feasible == whole.feasible == (limit != "heat<=0.1")
    assert short.metrics == whole.metrics
    assert short.certificate.record() == whole.certificate.record()
    if short.feasible:
        assert short.front_size == whole.front_size > 20
    rows = [sum(len(r["failed"]) for r in RunFolder(run.run_dir).read_rows([])) for run in runs.values()]
    assert rows[1] == 86_400
    assert rows[0] < 8_000


def test_recorded_rows_answer_other_bounds_too(tmp_path):
    """What a tighter or looser limit would bring is in the record, for every setting tried."""
    found = ts.solve(Wide(), "nested", runs=tmp_path)
    for bound in (5.0, 20.0, 80.0):
        goal = ts.Goal(limits=(f"heat<={bound}",), minimize=("delay",))
        again = regoal(found.run_dir, goal)
        assert again.metrics["delay"] == ts.solve(Wide(), "nested", goal=goal).metrics["delay"]


class Many(Wide):
    mode = ts.Menu(1, 2, 3, 4, 5, 6)


def test_a_budget_of_rows_counts_those_not_kept():
    found = ts.solve(Many(), "nested", budget=ts.Budget(evaluations=200_000))
    assert found.evaluations == 4 * 43_200
    assert found.certificate.kind == "none"
