"""Packing against brute force, under changes that must not matter, and its refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradespace as ts
from tradespace.errors import SolverUnavailable, ViewMismatch
from tradespace.problems.tutorial.server_packing import ServerPacking
from tradespace.solvers.bins import Bins, whole_numbers
from tradespace.solvers.knapsack_pricing import Pricer


class Packed(ts.Problem):
    """A packing view as a problem: which bin each item goes to, and each bin's type (-1: unused)."""

    view: tuple = ()
    honest: bool = True

    bin = ts.Int(0, "last", shape="items")
    kind = ts.Int(0, "last_kind", shape="items")

    price = ts.Metric("1", "min")
    excess = ts.Metric("1", at_most=0.0)
    spread = ts.Metric("1")

    @property
    def parts(self):
        return tuple(np.array(part, float) for part in self.view[:3])

    @property
    def items(self):
        return self.parts[0].shape[1]

    @property
    def last(self):
        return self.items - 1

    @property
    def last_kind(self):
        return len(self.parts[2]) - 1

    def evaluate(self, x):
        demands, capacities, costs = self.parts
        cost, excess = np.zeros(len(x)), np.zeros(len(x))
        for row in range(len(x)):
            for b in np.unique(x.bin[row]):
                held, kind = np.flatnonzero(x.bin[row] == b), x.kind[row, b]
                cost[row] += costs[kind]
                load = demands[kind, held].sum(axis=0)
                over = np.where(np.isnan(load), 1.0, load - capacities[kind] * (1 + 1e-9))
                excess[row] += np.maximum(over, 0).sum()
        return {"price": cost if self.honest else cost + 1, "excess": excess, "spread": cost}

    def packing_view(self, given=None):
        demands, capacities, costs = self.parts
        counts = np.array(self.view[3]) if len(self.view) > 3 else None

        def decode(plan):
            placed, kind = [0] * self.items, [0] * self.items
            for b, (t, held) in enumerate(plan):
                kind[b] = t
                for item in held:
                    placed[item] = b
            return {"bin": placed, "kind": kind}

        return ts.PackingView(demands, capacities, costs, "price", decode, counts, ("excess",))


def problem_of(demands, capacities, costs, counts=None, **settings):
    nested = [np.asarray(part, float).tolist() for part in (demands, capacities, costs)]
    as_tuple = tuple(_tuples(part) for part in nested) + (() if counts is None else (tuple(counts),))
    return Packed(view=as_tuple, **settings)


def _tuples(value):
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def pack(demands, capacities, costs, counts=None, seconds=20.0, **settings):
    return ts.solve(
        problem_of(demands, capacities, costs, counts, **settings),
        "packing",
        budget=ts.Budget(seconds=seconds),
    )


def cheapest(demands, capacities, costs, counts=None):
    """Least cost over all partitions, by recursion over the first item's bin; infinite where none fits."""
    types, items, _ = demands.shape
    fits = [
        [
            bool(
                (
                    demands[t, [i for i in range(items) if s >> i & 1]].sum(axis=0) <= capacities[t] + 1e-9
                ).all()
            )
            for s in range(1 << items)
        ]
        for t in range(types)
    ]
    left = [items] * types if counts is None else list(counts)

    def search(rest):
        if not rest:
            return 0.0
        first, best = rest & -rest, math.inf
        others = rest ^ first
        subset = others
        while True:
            for t in range(types):
                if left[t] and fits[t][subset | first]:
                    left[t] -= 1
                    best = min(best, costs[t] + search(others ^ subset))
                    left[t] += 1
            if not subset:
                return best
            subset = (subset - 1) & others

    return search((1 << items) - 1)


@st.composite
def instances(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    types, items, dims = (int(rng.integers(1, m)) for m in (4, 7, 4))
    capacities = rng.integers(5, 30, (types, dims))
    base = rng.integers(0, 14, (items, dims))
    demands = (base[None] + rng.integers(0, 4, (types, items, dims))).astype(float)
    demands[rng.random((types, items)) < 0.1] = np.nan
    costs = rng.integers(1, 9, types) / 2
    counts = rng.integers(0, 4, types).tolist() if rng.random() < 0.4 else None
    return demands, capacities, costs, counts


@given(instances())
@settings(max_examples=60, deadline=None)
def test_the_plan_costs_what_brute_force_finds_and_is_proven(instance):
    demands, capacities, costs, counts = instance
    best = cheapest(np.nan_to_num(demands, nan=1e9), capacities, costs, counts)
    result = pack(*instance)
    assert result.certificate.kind == "proven"
    if math.isinf(best):
        assert result.certificate.infeasible
    else:
        assert result.metrics["price"] == pytest.approx(best)


def test_nodes_left_above_the_best_plan_do_not_raise_the_bound_above_it():
    sizes = [5, 11, 5, 9, 14, 6, 4, 15]
    demands = np.repeat(np.array(sizes, float)[None, :, None], 3, axis=0)
    demands[0, 4] = np.nan
    result = pack(demands, [[33], [30], [24]], [3.5, 0.5, 4.0], [2, 2, 3])
    assert (result.metrics["price"], result.certificate.bound) == (4.5, 4.5)


@given(instances(), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_order_of_items_and_units_do_not_matter(instance, seed):
    demands, capacities, costs, counts = instance
    order = np.random.default_rng(seed).permutation(demands.shape[1])
    plain = pack(demands, capacities, costs, counts)
    permuted = pack(demands[:, order], capacities, costs, counts)
    scaled = pack(demands * 0.001, capacities * 0.001, costs * 1024, counts)
    assert plain.certificate.infeasible == permuted.certificate.infeasible == scaled.certificate.infeasible
    if plain.feasible:
        assert permuted.metrics["price"] == plain.metrics["price"] == scaled.metrics["price"] / 1024


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_pricing_finds_the_best_content_whatever_the_grid(seed):
    rng = np.random.default_rng(seed)
    groups, dims = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    demands, capacity = rng.integers(0, 12, (groups, dims)), rng.integers(3, 40, dims)
    profits, copies = rng.random(groups) - 0.1, rng.integers(0, 4, groups)
    best = 0.0
    for content in itertools.product(*(range(c + 1) for c in copies)):
        if (np.array(content) @ demands <= capacity).all():
            best = max(best, float(np.array(content) @ profits))
    for cells in (1_000_000, 60):
        pattern = Pricer(demands, np.ones(groups, bool), capacity, cells).best(profits, copies)
        assert pattern.profit == pytest.approx(best, abs=1e-9)
        assert pattern.upper >= best - 1e-9
        assert (pattern.copies @ demands <= capacity).all()
        assert (pattern.copies <= copies).all()
        short = Pricer(demands, np.ones(groups, bool), capacity, cells).best(profits, copies, nodes=3)
        assert short.profit <= best + 1e-9 <= short.upper + 2e-9


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_simple_bounds_stay_below_the_optimum(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 20, int(rng.integers(1, 8))).astype(float)[None, :, None]
    capacities, costs = np.array([[20]]), np.array([2.0])
    bins = Bins.of(ts.PackingView(sizes, capacities, costs, "price", lambda plan: {}))
    best = cheapest(sizes, capacities, costs)
    plan = bins.best_fit_decreasing()
    assert max(bins.volume_bound(), bins.large_item_bound()) <= best + 1e-9 <= bins.cost(plan) + 2e-9


def test_demands_that_are_no_decimals_round_up_for_the_plan_and_down_for_the_bound():
    up, down, room = whole_numbers(np.sqrt([2.0, 3.0, 5.0]), 7.0, np.ones(3, np.int64))
    scale = room / min(7.0, float(np.sqrt([2.0, 3.0, 5.0]).sum()))
    assert (up >= np.sqrt([2, 3, 5]) * scale).all()
    assert (down <= np.sqrt([2, 3, 5]) * scale).all()
    rng = np.random.default_rng(3)
    demands = rng.uniform(0.1, 0.6, (1, 9, 2)) * math.pi / 3
    result = pack(demands, [[1.0, 1.0]], [1.0])
    assert result.feasible
    assert result.certificate.bound <= cheapest(demands, np.ones((1, 2)), [1.0]) <= result.metrics["price"]


@pytest.mark.parametrize("third", [1 / 3, 0.1 + 0.2 + 1 / 30])
def test_three_thirds_fill_a_bin(third):
    assert pack(np.full((1, 9, 1), third), [[1.0]], [1.0]).metrics["price"] == 3


def test_items_that_take_nothing_share_one_bin():
    assert pack(np.zeros((1, 4, 1)), [[15]], [0.5]).metrics["price"] == 0.5


def test_triplets_that_fill_every_bin_are_proven():
    rng = np.random.default_rng(1)
    sizes = []
    for _ in range(20):
        first = int(rng.integers(380, 500))
        second = int(rng.integers(250, (1000 - first) // 2 + 1))
        sizes += [first, second, 1000 - first - second]
    result = pack(np.array(sizes, float)[None, :, None], [[1000]], [1.0])
    assert (result.metrics["price"], result.certificate.kind) == (20, "proven")


def test_costs_sum_only_to_what_bins_can_cost():
    view = ts.PackingView(np.ones((2, 3, 1)), np.ones((2, 1)), np.array([2.5, 4.0]), "price", lambda plan: {})
    bins = Bins.of(view)
    assert [bins.round_up(b) for b in (0.1, 2.6, 5.0, 5.1, 6.6, 7.6)] == [2.5, 4.0, 5.0, 6.5, 7.5, 8.0]


def test_servers_are_packed_as_cheaply_as_exhaustive_finds():
    for seed in range(3):
        problem = ServerPacking(services=3, services_seed=seed)
        proven, swept = (ts.solve(problem, name) for name in ("packing", "exhaustive"))
        assert proven.metrics["price"] == swept.metrics["price"]
        assert proven.certificate.kind == "proven"


def test_too_few_servers_are_infeasible():
    assert ts.solve(ServerPacking(services=30, stock=1), "packing").certificate.infeasible


def test_auto_takes_the_packing_view():
    assert ts.solve(ServerPacking(services=12), budget=ts.Budget(seconds=10)).solver == "packing"


@pytest.mark.parametrize(
    ("goal", "sentence"),
    [
        (ts.Goal(minimize=("servers",)), "the packing view optimises 'price', not 'servers'"),
        (ts.Goal(maximize=("price",)), "cannot be maximised"),
        (ts.Goal(limits=("servers<=3",)), "does not honour the limit on 'servers'"),
        (ts.Goal(minimize=("price", "servers")), "not 'price', 'servers'"),
    ],
)
def test_goals_of_other_metrics_are_refused_in_words(goal, sentence):
    with pytest.raises(SolverUnavailable, match=sentence):
        ts.solve(ServerPacking(), "packing", goal=goal)


def test_a_view_that_misstates_the_cost_is_a_mismatch():
    with pytest.raises(ViewMismatch, match="disagree on 'price'"):
        pack(np.ones((1, 3, 1)), [[2]], [1.0], honest=False)


def test_a_view_that_breaks_a_limit_is_a_mismatch():
    class Tight(Packed):
        def evaluate(self, x):
            return {**super().evaluate(x), "excess": np.ones(len(x))}

    with pytest.raises(ViewMismatch, match="breaks excess"):
        ts.solve(Tight(view=problem_of(np.ones((1, 3, 1)), [[2]], [1.0]).view), "packing")


def test_a_view_whose_parts_do_not_fit_is_a_mismatch():
    with pytest.raises(ViewMismatch, match="demands of shape"):
        pack(np.ones((1, 3, 2)), [[2]], [1.0])


def test_an_interruption_keeps_the_best_plan():
    rng = np.random.default_rng(0)
    problem = problem_of(rng.integers(20, 51, (1, 60, 3)), [[100, 100, 100]], [1.0])
    shown = []

    def stop(session):
        shown.append(session.incumbent)
        if session.incumbent is not None and len(shown) > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as struck:
        ts.solve(problem, "packing", observer=stop)
    result = struck.value.result
    assert (result.stop_reason, result.feasible) == ("interrupted", True)
    assert result.certificate.bound <= result.metrics["price"]


def test_the_deadline_is_kept_with_a_plan_and_a_bound():
    rng = np.random.default_rng(0)
    result = pack(rng.integers(5, 60, (2, 300, 3)), [[100, 100, 100], [70, 70, 90]], [3.0, 2.0], seconds=1.5)
    assert result.seconds < 6
    assert result.feasible
    assert result.certificate.bound <= result.metrics["price"]


def test_the_same_seed_gives_the_same_plan():
    first, second = (ts.solve(ServerPacking(services=20), "packing", seed=3) for _ in range(2))
    assert first.best == second.best
