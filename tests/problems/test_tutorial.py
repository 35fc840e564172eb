"""The tutorial problems against loops over one point, and what each is there to show."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.batch import take
from tradespace.problems.scoring import evaluate
from tradespace.problems.tutorial.knapsack import Knapsack
from tradespace.problems.tutorial.matmul_tile import MatmulTile
from tradespace.problems.tutorial.memory_plan import MemoryPlan
from tradespace.problems.tutorial.mixed import Codec, Mixed

ALL = [
    MatmulTile(),
    Knapsack(),
    Knapsack(unit_value=1e-8),
    MemoryPlan(),
    MemoryPlan(time_scale=1e-6),
    Mixed(),
]


@pytest.mark.parametrize("problem", ALL, ids=lambda p: type(p).__name__)
def test_the_score_of_a_row_does_not_depend_on_its_neighbours(problem):
    batch = problem.space.sample(np.random.default_rng(0), 100)
    whole = evaluate(problem, batch).metrics
    cuts = [slice(0, 1), slice(1, 33), slice(33, 100)]
    parts = [evaluate(problem, take(batch, cut)).metrics for cut in cuts]
    for name, values in whole.items():
        assert np.array_equal(values, np.concatenate([p[name] for p in parts])), name


@pytest.mark.parametrize("problem", ALL, ids=lambda p: type(p).__name__)
def test_every_sample_scores_to_finite_numbers(problem):
    scores = evaluate(problem, problem.space.sample(np.random.default_rng(1), 500))
    assert not scores.failed.any()
    assert all(np.isfinite(v).all() for v in scores.metrics.values())


def front(problem: ts.Problem) -> int:
    """Members of the feasible front of a finite problem, by comparing all pairs."""
    goal, costs = problem.default_goal, []
    for batch in problem.space.enumerate():
        metrics = evaluate(problem, batch).metrics
        costs.append(goal.costs(metrics)[goal.violation(metrics) == 0])
    points = np.unique(np.concatenate(costs), axis=0)
    dominated = [(np.all(points <= p, axis=1) & np.any(points < p, axis=1)).any() for p in points]
    return len(points) - sum(dominated)


def test_matmul_tile_trades_latency_against_shared_memory():
    assert MatmulTile().space.size == 16 * 16 * 5 * 2
    assert front(MatmulTile()) >= 20


def test_matmul_tile_is_its_formula():
    problem = MatmulTile(m=1000, n=2000, k=512)
    point = {"tile_m": 64, "tile_n": 128, "stages": 3, "layout": "column"}
    found = {n: float(v[0]) for n, v in problem.score(point).metrics.items()}
    device = problem.device
    tiles = math.ceil(1000 / 64) * math.ceil(2000 / 128)
    assert found["traffic"] == tiles * (64 + 128) * 512 * 2
    assert found["shared_memory"] == (64 + 128) * 32 * 2 * 3
    rounds = math.ceil(tiles / device.cores)
    at_peak = rounds * 2 * 64 * 128 * 512 / (device.peak("bf16") / device.cores)
    assert found["latency"] > at_peak
    assert found["latency"] < problem.score({**point, "stages": 1}).metrics["latency"][0]
    assert found["latency"] > problem.score({**point, "layout": "row"}).metrics["latency"][0]


def test_knapsack_sums_what_is_packed():
    problem = Knapsack(items=10)
    weights, values, comforts = problem.tables()
    x = problem.space.sample(np.random.default_rng(0), 50)
    found = problem.score(x).metrics
    for row, point in enumerate(problem.space.points(x)):
        chosen = [i for i, packed in enumerate(point["packed"]) if packed]
        assert found["value"][row] == sum(int(values[i]) for i in chosen)
        assert found["comfort"][row] == sum(int(comforts[i]) for i in chosen)
        assert found["weight"][row] == sum(int(weights[i]) for i in chosen)
    assert problem.default_goal.limits[0].bound == math.floor(0.5 * weights.sum())
    with pytest.raises(ts.SpaceError, match="needs items >= 1"):
        Knapsack(fill=2)


@pytest.mark.parametrize("unit", [1e-11, 1e-8, 1.0])
def test_knapsack_values_scale_exactly(unit):
    x = Knapsack().space.sample(np.random.default_rng(0), 50)
    one = Knapsack().score(x).metrics["value"]
    assert np.array_equal(Knapsack(unit_value=unit).score(x).metrics["value"], one * unit)


def test_memory_plan_peaks_at_the_worst_moment():
    problem = MemoryPlan(operators=12)
    sizes, times = problem.tables()
    x = problem.space.sample(np.random.default_rng(0), 50)
    found = problem.score(x).metrics
    for row, point in enumerate(problem.space.points(x)):
        alive = peak = 0.0
        for size, kept in zip(sizes, point["keep"], strict=True):
            peak = max(peak, alive + size)
            alive += size if kept else 0
        assert found["peak"][row] == peak
        redone = math.fsum(t for t, kept in zip(times, point["keep"], strict=True) if not kept)
        assert found["recompute_time"][row] == pytest.approx(redone, rel=1e-12)


def test_mixed_has_every_kind_and_pins_what_does_not_matter():
    problem = Mixed()
    assert {d.kind for d in problem.space.domains.values()} == {
        "labels",
        "menu",
        "permutation",
        "bool",
        "grid",
        "float",
    }
    kept = {
        "action": ["keep", "drop", "compress", "compress"],
        "codec": ["INT8", "INT4", "RAW", "INT4"],
        "group": 128,
        "order": [3, 2, 1, 0],
        "overlap": False,
        "streams": 4,
        "share": 0.5,
    }
    point = problem.space.points(problem.space.batch(kept))[0]
    assert point["codec"] == [Codec.RAW, Codec.RAW, Codec.RAW, Codec.INT4]
    assert point["group"] == [32, 32, 32, 128]
    assert point["streams"] == 1
    stored = problem.score(kept).metrics["stored"][0]
    assert stored == 2**20 * (64 + 0 + 128 + 32 * (4 + 16 / 128) / 16)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("matmul-tile", {}),
        ("memory-plan", {"operators": 6}),
        ("knapsack", {"items": 6}),
        ("server-packing", {"services": 6}),
        ("mg1", {}),
        ("mixed", {}),
        ("two-level", {"discs": 200}),
    ],
)
def test_a_small_problem_draws_any_point(name: str, sizes: dict[str, int]) -> None:
    problem = ts.problem(name, **sizes)
    for point in problem.space.points(problem.space.sample(np.random.default_rng(1), 2)):
        for figure in problem.figures(point).values():  # type: ignore[attr-defined]
            assert all(axes.get_title(loc="left") for axes in figure.axes if axes.get_label() != "<colorbar>")
