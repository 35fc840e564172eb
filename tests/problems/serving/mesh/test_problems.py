"""The mesh's search problems: placement against brute force, baselines, capacity, what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import tradespace as ts
from tradespace.errors import DataError, SpaceError
from tradespace.problems.serving.mesh.placement import LlmMeshPlacement
from tradespace.problems.serving.mesh.problem import LlmMesh, LlmMeshCapacity
from tradespace.problems.serving.mesh.reproduce import figures, reproduce
from tradespace.units import GiB

SMALL = LlmMeshPlacement(models=6, cpu_nodes=1, gpu_nodes=2, large_nodes=1, cpu_memory=60 * GiB)


def least(problem, metric, served=True):
    points = itertools.product(range(problem.node_count + 1), repeat=problem.item_count)
    scores = problem.score([{"node": p} for p in points])
    fine = scores.metrics["overload"] <= 0
    if served:
        fine &= scores.metrics["unserved"] == 0
    values = scores.metrics[metric][fine]
    return values.max() if metric == "load" else values.min()


@pytest.mark.parametrize("solver", ["packing", "milp"])
@pytest.mark.parametrize("metric", ["price", "gpus"])
def test_the_least_price_and_the_fewest_gpus_are_those_of_brute_force(solver, metric):
    goal = ts.Goal(minimize=[metric])
    result = ts.solve(SMALL, solver=solver, goal=goal, budget=ts.Budget(seconds=20))
    assert result.metrics[metric] == least(SMALL, metric)
    assert result.certificate.kind == "proven"


def test_other_goals_are_those_of_brute_force():
    scarce = LlmMeshPlacement(models=6, cpu_nodes=1, gpu_nodes=1, cpu_memory=60 * GiB, gpu_memory=40 * GiB)
    goal = ts.Goal(maximize=["load"], no_limits=["unserved"])
    result = ts.solve(scarce, solver="milp", goal=goal, budget=ts.Budget(seconds=20))
    assert result.metrics["load"] == pytest.approx(least(scarce, "load", served=False))


def test_packing_is_never_worse_than_best_fit_decreasing():
    for models in (10, 30):
        problem = LlmMeshPlacement(models=models, large_nodes=10, load_scale=1.5)
        scores = problem.score(list(problem.baselines().values()))
        feasible = (scores.metrics["overload"] <= 0) & (scores.metrics["unserved"] == 0)
        result = ts.solve(problem, solver="packing", budget=ts.Budget(seconds=10))
        assert result.metrics["price"] <= scores.metrics["price"][feasible].min()


def test_views_are_the_referee():
    ts.check(SMALL)


def test_the_policy_problem_scores_the_published_systems():
    problem = LlmMesh(models=12, minutes=2.0, cpu_nodes=1, gpu_nodes=1)
    points = problem.baselines()
    scores = problem.score(list(points.values()))
    met = dict(zip(points, scores.metrics["met"], strict=True))
    assert met["mesh"] >= met["sllm"]
    assert np.isfinite(scores.metrics["node_price"]).all()
    figures = problem.figures(points["mesh"])
    assert set(figures) == {"occupancy", "tokens"}


def test_more_nodes_are_bought_only_where_the_level_asks_for_them():
    problem = LlmMeshCapacity(models=8, minutes=1.0, most_cpus=2, most_gpus=1, draws=1, slo=0.9)
    scores = problem.score(list(problem.space.points(next(iter(problem.space.enumerate(rows=10))))))
    result = ts.solve(problem, budget=ts.Budget(evaluations=10))
    fine = scores.metrics["met_surely"] >= 0.9
    assert result.metrics["price_bought"] == scores.metrics["price_bought"][fine].min()
    front = problem.summary(result.best)
    assert all(a["price 1/h"] < b["price 1/h"] for a, b in itertools.pairwise(front))
    assert next(row for row in front if row["holds"] == "yes")["price 1/h"] == result.metrics["price_bought"]
    assert set(problem.figures(result.best)) == {"capacity"}


def test_the_reproduction_names_paper_and_ours():
    rows = list(reproduce(minutes=0.3, sizes=("7B",)))
    assert {"quantity", "paper", "ours", "ratio", "workload", "assumptions", "mechanism"} == set(rows[0])
    assert all(row["mechanism"] in {"read", "reconstructed"} for row in rows)
    assert set(figures(minutes=0.3, sizes=("7B",))) == {"slo-share", "nodes", "occupancy", "tokens"}
    with pytest.raises(DataError, match="sizes must be of 3B, 7B, 13B"):
        next(reproduce(sizes=("70B",)))


def test_bad_input_is_named():
    with pytest.raises(SpaceError, match="'gpu_nodes' of llm-mesh-placement must not be negative, got -1"):
        LlmMeshPlacement(gpu_nodes=-1)
    with pytest.raises(SpaceError, match=r"model 'llama-2-70b' needs .* the largest node has"):
        LlmMeshPlacement(sizes=("llama-2-70b",), cpu_memory=64 * GiB)
    with pytest.raises(SpaceError, match="TPOT of 1 ms is below"):
        LlmMeshPlacement(tpot=0.001)
    with pytest.raises(SpaceError, match="'gpu_price' of llm-mesh-placement must not be negative, got -4"):
        LlmMeshPlacement(gpu_price=-4.0)
    with pytest.raises(SpaceError, match="'gpu_nodes' of llm-mesh must not be negative, got -1"):
        LlmMesh(gpu_nodes=-1)
    with pytest.raises(SpaceError, match=r"'slo' of llm-mesh-capacity is a share from 0 to 1, got 1\.5"):
        LlmMeshCapacity(slo=1.5)
    with pytest.raises(SpaceError, match=r"TPOT of 2 ms is below .* 14\.7 ms alone"):
        LlmMeshCapacity(tpot=0.002)
    with pytest.raises(DataError, match="there is no trace file"):
        LlmMeshCapacity(trace=Path("nowhere.json"))


def test_the_picture_of_a_placement_stacks_the_demands_of_each_node() -> None:
    problem = LlmMeshPlacement(models=6, cpu_nodes=4, gpu_nodes=2)
    point = problem.baselines()["best-fit decreasing"]
    figure = problem.figures(point)["nodes"]
    rows = problem.summary(point)
    for axes, share in zip(figure.axes, ("memory GiB", "time share"), strict=True):
        bars = [(round(b.get_x() + b.get_width() / 2), b.get_height()) for b in axes.patches]
        for place, row in enumerate(rows):
            full = row[share] / (row["of"] if share == "memory GiB" else 1.0)
            assert sum(h for at, h in bars if at == place) == pytest.approx(full)
