"""Gittins ranks against brute force and closed forms; the policy against others on fresh seeds."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradespace as ts
from tradespace.errors import SolverUnavailable, SpaceError, ViewMismatch
from tradespace.problems.gittins_rank import (
    Law,
    RankTable,
    brute_force,
    fit_tail,
    stopped_rank,
    tail_quantile,
    tail_survival,
)
from tradespace.problems.tutorial.mg1 import MG1, MIXES
from tradespace.search.trust.stochastic import fresh_seeds, replicate
from tradespace.solvers.gittins import rank_table

SEEDS = st.integers(0, 2**32 - 1)


def random_law(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 40))
    return Law.discrete(
        np.round(rng.exponential(5, count), int(rng.integers(0, 6))) + 0.05, rng.random(count) + 0.01
    )


def ages_of(law, seed):
    rng = np.random.default_rng([seed, 1])
    ages = np.concatenate([[0.0], law.values, rng.uniform(0, law.values[-1], 20)])
    return ages[ages < law.values[-1]]


# --- ranks ------------------------------------------------------------------------------------------------
@given(SEEDS)
@settings(max_examples=150, deadline=None)
def test_ranks_at_any_age_equal_brute_force(seed):
    law = random_law(seed)
    ages = ages_of(law, seed)
    expected = np.array([brute_force(law, age) for age in ages])
    np.testing.assert_allclose(RankTable([law]).rank(0, ages), expected, rtol=1e-9, atol=1e-9 * law.mean)


@given(SEEDS, st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_ranks_scale_with_time_and_cost_and_ignore_other_classes(seed, factor):
    law, other = random_law(seed), random_law(seed + 1)
    ages = ages_of(law, seed)
    rank = RankTable([law]).rank(0, ages)
    scaled = RankTable([Law(law.values * factor, law.masses)]).rank(0, ages * factor)
    beside = RankTable([other, law], [1.0, factor]).rank(1, ages)
    np.testing.assert_allclose(scaled, factor * rank, rtol=1e-9, atol=1e-9 * law.mean * factor)
    np.testing.assert_allclose(beside, rank / factor, rtol=1e-9, atol=1e-9 * law.mean / factor)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_stopping_only_at_the_values_of_a_law_loses_nothing(seed):
    law = random_law(seed)
    starts = np.concatenate([[0.0], law.values])
    expected = [brute_force(law, age) for age in starts]
    np.testing.assert_allclose(stopped_rank(law, starts), expected, rtol=1e-9)


def test_closed_forms():
    ages = np.array([0.0, 1.0, 2.5])
    np.testing.assert_allclose(RankTable([Law.discrete([7.0])]).rank(0, ages), 7 - ages)
    p, s1, s2 = 0.3, 4.0, 9.0
    two = RankTable([Law.discrete([s1, s2], [p, 1 - p])])
    first = np.minimum((s1 - ages) / p, p * (s1 - ages) + (1 - p) * (s2 - ages))
    np.testing.assert_allclose(two.rank(0, ages), first)
    np.testing.assert_allclose(two.rank(0, [4.0, 6.0]), [5.0, 3.0])


def test_a_memoryless_law_keeps_its_rank_and_an_ageing_one_its_mean_residual():
    steps = np.arange(1, 4001)
    geometric = Law.discrete(steps, 0.99 ** (steps - 1))
    ranks = stopped_rank(geometric, np.arange(0.0, 500.0, 10))
    np.testing.assert_allclose(ranks, 100.0, rtol=1e-9)
    uniform = Law.discrete(np.arange(1.0, 11.0))
    ages = np.arange(0.0, 10.0)
    residual = [(uniform.values[uniform.values > a] - a).mean() for a in ages]
    np.testing.assert_allclose(RankTable([uniform]).rank(0, ages), residual)


def test_a_law_of_falling_hazard_ranks_by_attained_service():
    quantiles = (1 - (np.arange(20_000) + 0.5) / 20_000) ** (-1 / 1.5)
    ages = np.geomspace(1.0, 20.0, 8)
    ranks = stopped_rank(Law.discrete(quantiles), ages)[:-1]
    assert (np.diff(ranks) > 0).all()


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_jobs_older_than_every_sample_come_last_the_younger_first(seed):
    laws = [random_law(seed), random_law(seed + 1)]
    table = RankTable(laws)
    old = np.array([1.0, 1.5, 9.0]) * max(law.values[-1] for law in laws)
    late = table.rank(0, old)
    assert (np.diff(late) > 0).all()
    assert all((table.rank(c, ages_of(law, seed)) < late[0]).all() for c, law in enumerate(laws))


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.5])
def test_the_fitted_tail_is_the_tail(shape):
    rng = np.random.default_rng(0)
    uniform = rng.random(100_000)
    excess = -np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape
    fitted = fit_tail(excess)
    for survival in (0.1, 0.01, 0.001):
        assert tail_survival(*fitted, np.quantile(excess, 1 - survival)) == pytest.approx(survival, rel=0.25)
        assert tail_survival(*fitted, tail_quantile(*fitted, survival)) == pytest.approx(survival)
    assert Law.of_samples(1 + excess).masses.sum() == pytest.approx(1.0)


def test_a_grid_moves_samples_right_never_left():
    samples = np.random.default_rng(1).lognormal(0, 1, 1000)
    law = Law.of_samples(samples, tail=False)
    for age in np.quantile(samples, [0.1, 0.5, 0.9]):
        assert law.masses[law.values <= age].sum() <= (samples <= age).mean() + 1e-12


def test_the_rank_table_is_fast():
    samples = np.random.default_rng(0).lognormal(0, 1.5, 1000)
    table, ages = RankTable([Law.discrete(samples)]), np.random.default_rng(1).uniform(0, 9, 1_000_000)
    build = min(_cpu(lambda: RankTable([Law.of_samples(samples)])) for _ in range(20))
    assert build <= 1e-3
    assert min(_cpu(lambda: table.rank(0, ages)) for _ in range(3)) <= 1.0


def _cpu(work):
    began = time.process_time()
    work()
    return time.process_time() - began


# --- the queue --------------------------------------------------------------------------------------------
def plain_queue(arrivals, classes, sizes, table, ages):
    """The same queue without any shortcut: one level at a time."""
    done, level, waiting, arrived, now = np.zeros(len(arrivals)), [0] * len(arrivals), [], 0, 0.0
    while arrived < len(arrivals) or waiting:
        if not waiting:
            now = max(now, arrivals[arrived])
        while arrived < len(arrivals) and arrivals[arrived] <= now:
            waiting.append(arrived)
            arrived += 1
        job = min(waiting, key=lambda j: (table[classes[j], level[j]], j))
        while True:
            here = level[job]
            end = ages[here + 1] if here + 1 < len(ages) else np.inf
            now += min(sizes[job], end) - ages[here]
            while arrived < len(arrivals) and arrivals[arrived] < now:
                waiting.append(arrived)
                arrived += 1
            if sizes[job] <= end:
                done[job] = now
                waiting.remove(job)
                break
            level[job] += 1
            others = [table[classes[j], level[j]] for j in waiting if j != job]
            if others and min(others) < table[classes[job], level[job]]:
                break
    return done


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_compiled_queue_equals_the_plain_one(seed):
    from tradespace.problems.tutorial.queue import simulate

    rng = np.random.default_rng(seed)
    jobs, kinds, levels = 60, int(rng.integers(1, 4)), int(rng.integers(1, 7))
    arrivals, sizes = np.cumsum(rng.exponential(1.2, jobs)), rng.exponential(1.0, jobs)
    classes = rng.integers(0, kinds, jobs)
    ages = np.concatenate([[0.0], np.sort(rng.uniform(0.05, 3, levels - 1))])
    table = rng.integers(0, 5, (kinds, levels)) / 4
    done = np.empty(jobs)
    simulate(arrivals, classes, sizes, table, ages, done)
    np.testing.assert_allclose(done, plain_queue(arrivals, classes, sizes, table, ages), rtol=1e-12)


def test_first_come_first_served_waits_as_pollaczek_and_khinchine_say():
    problem = MG1(mix="steady", load=0.7, arrivals=400_000, resolution=4)
    response = problem.score([{"ranks": np.zeros((1, 4)).tolist()}]).metrics["response"][0]
    arrival_rate, mean, square = 0.7, 1.0, 1.0 + 0.2**2
    assert response == pytest.approx(mean + arrival_rate * square / (2 * (1 - 0.7)), rel=0.02)


def test_exponential_classes_follow_the_c_mu_rule():
    ranks = rank_table(MG1(mix="exponential", samples=200_000, resolution=12).jobs_view())
    assert (ranks[0, :6] < ranks[1, :6].min()).all()


@pytest.mark.parametrize("mix", [m for m in MIXES if m != "exponential"])
def test_gittins_is_near_the_best_of_the_simple_orders(mix):
    problem = MG1(mix=mix, arrivals=100_000, resolution=120)
    table = rank_table(problem.jobs_view())
    levels = table.shape[1]
    served = np.tile(np.arange(levels) / levels, (table.shape[0], 1))
    orders = [table, served, np.zeros_like(table)]
    cost = problem.score([{"ranks": t.tolist()} for t in orders]).metrics["holding_cost"]
    assert cost[0] <= 1.03 * cost[1:].min()


class SmallTables(MG1):
    """The rank table on a grid coarse enough to try all of them."""

    ranks = ts.Menu(0.0, 0.25, 0.5, 0.75, 1.0, shape=("class_count", "level_count"))

    @property
    def ages(self):
        return np.array([0.0, 2.0])


def test_the_best_of_all_small_tables_does_not_beat_gittins_on_fresh_seeds():
    problem = SmallTables(arrivals=2_000)
    best = ts.solve(problem, "exhaustive").best
    view = problem.jobs_view()
    mine = {"ranks": rank_table(view).tolist()}

    class Coarse(MG1):
        ages = SmallTables.ages

    whole = Coarse(arrivals=40_000)
    difference = []
    for seed in fresh_seeds(whole, 12):
        values = whole.replace(simulation_seed=seed).score([best, mine]).metrics["holding_cost"]
        difference.append(values[0] - values[1])
    assert np.mean(difference) >= -2 * np.std(difference, ddof=1) / np.sqrt(len(difference))


# --- the solver -------------------------------------------------------------------------------------------
def test_the_certificate_is_about_the_expectation_and_names_its_assumptions():
    result = ts.solve(MG1())
    assert result.solver == "gittins"
    assert result.certificate.kind == "proven"
    assert not result.certificate.exact
    assert "expected" in result.certificate.statement
    assert any("Poisson" in a for a in result.certificate.assumptions)
    sampled = ts.solve(MG1(mix="bimodal"))
    assert sampled.certificate.kind == "none"
    assert "samples" in sampled.certificate.statement


@pytest.mark.parametrize(
    ("goal", "sentence"),
    [
        (ts.Goal(minimize=("response_p99",)), "the jobs view optimises 'holding_cost', not 'response_p99'"),
        (ts.Goal(maximize=("holding_cost",)), "cannot be maximised"),
        (ts.Goal(limits=("response<=20",)), "honours no limits, and there is one on 'response'"),
    ],
)
def test_other_goals_are_refused_in_words(goal, sentence):
    with pytest.raises(SolverUnavailable, match=sentence):
        ts.solve(MG1(), "gittins", goal=goal)


def test_laws_that_are_no_laws_are_refused():
    view = MG1().jobs_view()
    with pytest.raises(ViewMismatch, match="must be positive"):
        rank_table(ts.JobsView((ts.JobClass("a", np.array([0.0, 1.0])),), view.ages, "ranks", "holding_cost"))
    with pytest.raises(ViewMismatch, match="begin at 0"):
        rank_table(ts.JobsView(view.classes, np.array([1.0, 2.0]), "ranks", "holding_cost"))


# --- fresh seeds ------------------------------------------------------------------------------------------
def test_answers_of_a_simulation_are_scored_again_on_ten_fresh_seeds(tmp_path):
    result = ts.solve(MG1(arrivals=500), runs=tmp_path)
    mean, half, seeds = result.replications["holding_cost"]
    problem = MG1(arrivals=500)
    again = [
        problem.replace(simulation_seed=s).score([result.best]).metrics["holding_cost"][0]
        for s in fresh_seeds(problem)
    ]
    assert (seeds, mean) == (10, pytest.approx(np.mean(again)))
    assert half == pytest.approx(2.262 * np.std(again, ddof=1) / np.sqrt(10), rel=1e-3)
    assert problem.simulation_seed not in fresh_seeds(problem)
    assert ts.Result.load(result.run_dir).replications == result.replications


def test_deterministic_problems_have_no_replications():
    assert ts.solve(ts.problem("knapsack", items=6)).replications == {}


def test_a_stochastic_problem_needs_a_seed_to_change():
    class Seedless(ts.Problem):
        stochastic = True
        a = ts.Int(0, 3)
        value = ts.Metric("1", "min")

        def evaluate(self, x):
            return {"value": x.a.astype(float)}

    with pytest.raises(SpaceError, match="simulation_seed"):
        replicate(Seedless(), {"a": 1})
