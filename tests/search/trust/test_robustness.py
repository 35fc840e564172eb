"""Draws of model errors, judged against closed forms; which measurement settles a choice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import tradespace as ts
from tradespace.problems.scoring import evaluate
from tradespace.problems.training.step import blocks_by_label
from tradespace.search.trust.attribution import attribute, explained, known
from tradespace.search.trust.robustness import judge, outcomes, robust_choice

DRAWS = 2_000
NEAR = 0.03


class Designs(ts.Problem):
    """Designs whose time and memory have errors from sources, each a factor exp(load x z)."""

    times: tuple[float, ...] = (1.0, 1.05)
    loads: tuple[tuple[float, ...], ...] = ((0.04, 0.0), (0.0, 0.03))
    sizes: tuple[float, ...] = (1.0, 1.0)
    size_load: float = 0.0
    room: float = 10.0
    drawn: tuple[float, ...] = ()

    design = ts.Int(0, "last")

    time = ts.Metric("s", "min")
    size = ts.Metric("B", at_most="room")

    @property
    def last(self) -> int:
        return len(self.times) - 1

    def draw(self, rng: np.random.Generator) -> ts.Problem:
        return self.replace(drawn=tuple(rng.standard_normal(len(self.loads[0])).tolist()))

    @property
    def deviations(self) -> dict[str, float]:
        return {f"source {i}": z for i, z in enumerate(self.drawn)}

    def evaluate(self, x: Any) -> dict[str, Any]:
        z = np.array(self.drawn) if self.drawn else np.zeros(len(self.loads[0]))
        time = np.array(self.times) * np.exp(np.array(self.loads) @ z)
        size = np.array(self.sizes) * np.exp(self.size_load * z[-1])
        return {"time": time[x.design], "size": size[x.design]}


def found(problem: ts.Problem, draws: int = DRAWS, answer: int = 0) -> Any:
    batch = problem.space.batch([{"design": i} for i in range(problem.space.size or 0)])
    return judge(outcomes(problem, problem.default_goal, batch, draws), answer)


def test_probability_and_regret_of_two_designs_follow_the_closed_form() -> None:
    made = found(Designs())
    mean, spread = -math.log(1.05), math.hypot(0.04, 0.03)
    assert abs(made.best - norm.cdf(-mean / spread)) < NEAR
    assert abs(made.within - norm.cdf((math.log(1.01) - mean) / spread)) < NEAR
    regret = math.exp(mean + spread**2 / 2) * norm.cdf(mean / spread + spread) - norm.cdf(mean / spread)
    assert abs(made.regret_mean - regret) < 0.002
    assert made.runner_up == 1
    assert made.rivals[0][1] == pytest.approx(1 - made.best)


def test_an_error_that_all_designs_share_leaves_the_choice_sure() -> None:
    made = found(Designs(loads=((0.3, 0.0), (0.3, 0.0))), 200)
    assert made.best == 1.0
    assert made.measure == ()
    assert made.spread["time"][2] > 1.3


def test_a_limit_holds_as_often_as_its_error_lets_it() -> None:
    problem = Designs(times=(1.0, 2.0), sizes=(1.0, 0.5), size_load=0.05, room=1.04)
    made = found(problem)
    assert abs(made.feasible - norm.cdf(math.log(1.04) / 0.05)) < NEAR


@pytest.mark.parametrize("seed", range(3))
def test_the_source_that_decides_is_named_however_loud_the_shared_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    decides = int(rng.integers(4))
    difference = rng.uniform(0.01, 0.03, 4)
    difference[decides] = 0.15
    shared = rng.uniform(0.0, 0.5, 4)
    loads = (tuple(shared.tolist()), tuple((shared + difference).tolist()))
    made = found(Designs(times=(1.0, 1.02), loads=loads))
    assert made.measure[0][0] == f"source {decides}"
    assert made.measure[0][1] > made.right + 0.1
    assert max(made.sources, key=lambda s: s.share).name == f"source {decides}"


def test_knowing_noise_adds_nothing() -> None:
    rng = np.random.default_rng(0)
    right = np.eye(3, dtype=bool)[rng.integers(3, size=3_000)]
    noise = rng.standard_normal(3_000)
    assert known(right, [noise], 0).mean() < 0.03
    assert not attribute(right, {"noise": noise}, 0)[0].sure
    assert explained(rng.standard_normal(3_000), noise) < 0.01


def test_a_choice_by_quantile_prefers_the_sure_design_and_keeps_the_limit() -> None:
    steady = Designs(times=(1.0, 1.05), loads=((0.3, 0.0), (0.0, 0.01)))
    batch = steady.space.batch([{"design": 0}, {"design": 1}])
    chosen = robust_choice(outcomes(steady, steady.default_goal, batch, 500), 0.95)
    assert (chosen.index, chosen.met) == (1, True)
    tight = Designs(times=(1.0, 2.0), sizes=(1.0, 0.5), size_load=0.05, room=1.04)
    both = outcomes(tight, tight.default_goal, tight.space.batch([{"design": 0}, {"design": 1}]), 500)
    assert robust_choice(both, 0.95).index == 1
    assert robust_choice(both, 0.5).index == 0
    alone = outcomes(tight, tight.default_goal, tight.space.batch([{"design": 0}]), 500)
    refused = robust_choice(alone, 0.95)
    assert not refused.met
    assert refused.feasible < 0.95


def test_solve_takes_the_robust_answer_records_it_and_proves_nothing(tmp_path: Path) -> None:
    risky = Designs(times=(1.0, 1.05), loads=((0.3, 0.0), (0.0, 0.01)))
    result = ts.solve(risky, robust=0.95, runs=tmp_path)
    assert result.best == {"design": 1}
    assert result.metrics["time"] == 1.05
    assert result.certificate.kind == "none"
    assert result.robust["nominal"]["point"] == {"design": 0}
    assert result.robust["quantiles"]["time"] < result.robust["nominal"]["quantiles"]["time"]
    loaded = ts.Result.load(str(result.run_dir))
    assert (loaded.best, loaded.robust) == (result.best, result.robust)
    again = ts.resume(str(result.run_dir), problem=risky)
    assert (again.best, again.robust["quantiles"]) == (result.best, result.robust["quantiles"])


def test_a_chance_constraint_that_nothing_meets_is_said() -> None:
    tight = Designs(times=(1.0, 2.0), sizes=(1.0, 0.99), size_load=0.05, room=1.04)
    result = ts.solve(tight, robust=0.95)
    assert not result.robust["met"]
    assert result.best == {"design": 1}
    assert "no candidate meets every limit in 95 %" in result.certificate.statement


@pytest.mark.parametrize(
    ("options", "words"), [({"robust": 95}, "0.95"), ({"robust": 0.9, "pick": "0"}, "pick")]
)
def test_quantiles_that_are_none_are_refused_before_the_search(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ts.GoalError, match=words):
        ts.solve(Designs(), **options)


def test_robustness_without_errors_changes_nothing_and_says_so() -> None:
    result = ts.solve(ts.problem("knapsack", items=6), robust=0.9)
    assert result.certificate.kind == "proven"
    assert any("states no model error" in note for note in result.notes)


class Stated(ts.Problem):
    """A referee that states an error and draws nothing."""

    tile = ts.Int(1, 4)
    time = ts.Metric("s", "min", at_most=1.1)

    def evaluate(self, x: Any) -> dict[str, Any]:
        return {"time": ts.Estimate(x.tile * 1.0, 0.1)}


def test_a_stated_error_is_drawn_where_the_problem_draws_none() -> None:
    problem = Stated()
    batch = problem.space.batch([{"tile": 1}, {"tile": 2}])
    made = judge(outcomes(problem, problem.default_goal, batch, DRAWS))
    assert abs(made.feasible - norm.cdf(math.log(1.1) / 0.1)) < NEAR
    assert made.sources[0].name == "the stated error of time"


def test_the_first_draws_are_the_same_whatever_their_number() -> None:
    problem = Designs()
    batch = problem.space.batch([{"design": 0}, {"design": 1}])
    few, many = (outcomes(problem, problem.default_goal, batch, n, seed=7) for n in (10, 20))
    assert np.array_equal(few.costs, many.costs[:10])


def test_draws_of_a_device_name_families_and_how_to_measure_them() -> None:
    problem = ts.problem("adacc", layers=2)
    drawn = problem.draw(np.random.default_rng(0))
    assert problem.deviations == {}
    assert "gemm on a100-sxm-80gb" in drawn.deviations
    assert problem.measurement("gemm on a100-sxm-80gb") == "optimize calibrate a100-sxm-80gb --family gemm"
    assert problem.measurement("luck") == ""


def test_draws_that_share_what_no_error_changes_score_as_draws_on_their_own() -> None:
    problem = ts.problem("adacc", layers=3, offload=True)
    batch = problem.space.sample(np.random.default_rng(1), 50)
    evaluate(problem, batch)
    for draw in range(3):
        shared = evaluate(problem.draw(np.random.default_rng(draw)), batch)
        drawn = problem.draw(np.random.default_rng(draw))
        alone = type(drawn.device).from_record(drawn.device.record())
        assert not alone.kept
        apart = evaluate(drawn.replace(device=alone), problem.space.batch(problem.space.points(batch)))
        for name in problem.metrics:
            np.testing.assert_array_equal(shared.metrics[name], apart.metrics[name])
    assert drawn.device.kept is problem.device.kept
    assert problem.device.kept
    other = evaluate(problem.replace(batch=8), batch)
    assert (other.metrics["peak"] < shared.metrics["peak"]).all()


def test_blocks_are_counted_by_label_however_many_there_are() -> None:
    choice = np.random.default_rng(0).integers(5, size=(2, 5_000, 3))
    counts = blocks_by_label(choice, 5)
    assert counts.tolist() == [
        [(choice[:, :, i] == label).sum(axis=1).tolist() for i in range(3)] for label in range(5)
    ]
