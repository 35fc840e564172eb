"""The index-policy queue against closed forms, dynamic programming, and the solver's Gittins ranks."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradespace.problems.gittins_rank import Law, stopped_rank
from tradespace.problems.serving.cluster import (
    Backends,
    Jobs,
    Policy,
    run,
    single_stage,
)
from tradespace.problems.serving.cluster_loop import processor_sharing
from tradespace.problems.serving.ranks import (
    bucketed,
    gittins_table,
    las_table,
    level_starts,
    table,
)
from tradespace.problems.views import JobClass, JobsView
from tradespace.solvers.gittins import rank_table

LOAD, COUNT, RUNS = 0.8, 60_000, 8


def interval(laws: str, policy: str) -> tuple[float, float]:
    """Mean response and four standard errors of it."""
    means = []
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, 7])
        arrival = np.cumsum(rng.exponential(1 / LOAD, COUNT))
        size = rng.exponential(1.0, COUNT) if laws == "M" else np.ones(COUNT)
        if policy == "ps":
            finish = np.zeros(COUNT)
            processor_sharing(arrival, size, finish)
        else:
            finish = run(single_stage(arrival, size), Policy(policy)).finish
        means.append((finish - arrival)[COUNT // 10 :].mean())
    return float(np.mean(means)), 4 * float(np.std(means) / np.sqrt(RUNS))


def srpt_exponential(load: float) -> float:
    """Mean response of M/M/1-SRPT with mean service 1 (Schrage and Miller 1966), integrated."""
    x = np.linspace(0, 40, 400_001)
    density = np.exp(-x)
    dx = x[1] - x[0]
    part = load * np.concatenate([[0], np.cumsum((x * density)[1:] + (x * density)[:-1]) * dx / 2])
    square = np.concatenate([[0], np.cumsum((x * x * density)[1:] + (x * x * density)[:-1]) * dx / 2])
    waiting = load * (square + x * x * density) / (2 * (1 - part) ** 2)
    stay = np.concatenate([[0], np.cumsum(1 / (1 - part[1:]) + 1 / (1 - part[:-1])) * dx / 2])
    return float(np.sum((waiting + stay) * density) * dx)


@pytest.mark.parametrize(
    ("laws", "policy", "expected"),
    [
        ("M", "static", 1 / (1 - LOAD)),
        ("D", "static", 1 + LOAD / (2 * (1 - LOAD))),
        ("M", "ps", 1 / (1 - LOAD)),
        ("D", "ps", 1 / (1 - LOAD)),
        ("M", "remaining", srpt_exponential(LOAD)),
    ],
)
def test_closed_forms(laws: str, policy: str, expected: float) -> None:
    mean, error = interval(laws, policy)
    assert mean == pytest.approx(expected, abs=error + 0.002)


def test_every_order_of_exponential_jobs_has_the_same_mean() -> None:
    rng = np.random.default_rng(0)
    arrival, size = np.cumsum(rng.exponential(1 / LOAD, 200_000)), rng.exponential(1.0, 200_000)
    ages = np.concatenate([[0], np.geomspace(0.01, 12, 199)])
    fcfs = run(single_stage(arrival, size), Policy()).completion.mean()
    las = run(single_stage(arrival, size), Policy("table", las_table([size], ages), ages)).completion.mean()
    assert las == pytest.approx(fcfs, rel=0.03)


def job_laws(longest: int, most: int) -> st.SearchStrategy[list[tuple[list[int], int]]]:
    """Supports of discrete laws, and a seed of their probabilities."""
    support = st.lists(st.integers(1, longest), min_size=1, max_size=3, unique=True)
    return st.lists(st.tuples(support, st.integers(0, 10**6)), min_size=2, max_size=most)


@settings(max_examples=40)
@given(job_laws(6, 4) | job_laws(3, 6))
def test_gittins_equals_dynamic_programming_on_tiny_instances(specs: list[tuple[list[int], int]]) -> None:
    laws = []
    for values, seed in specs:
        weights = np.random.default_rng(seed).integers(1, 5, len(values)).astype(float)
        laws.append((np.array(sorted(values), float), weights / weights.sum()))

    @cache
    def best(ages: tuple[int, ...]) -> float:
        """Least expected sum of completion times from here; -1 marks a job that is done."""
        alive = [i for i, a in enumerate(ages) if a >= 0]
        if not alive:
            return 0.0
        return min(serve(ages, i, best) for i in alive)

    def serve(ages: tuple[int, ...], i: int, then) -> float:  # type: ignore[no-untyped-def]
        values, masses = laws[i]
        left = values > ages[i]
        ends = masses[left & (values == ages[i] + 1)].sum() / masses[left].sum()
        waiting = sum(a >= 0 for a in ages)
        done, older = ((*ages[:i], a, *ages[i + 1 :]) for a in (-1, ages[i] + 1))
        return float(waiting + ends * then(done) + (1 - ends) * (then(older) if ends < 1 else 0.0))

    levels = np.arange(6.0)
    ranks = table([stopped_rank(Law(v, m), levels) for v, m in laws])
    start = tuple(0 for _ in laws)
    total = 0.0
    for sizes in itertools.product(*(range(len(v)) for v, _ in laws)):
        chance = float(np.prod([laws[i][1][k] for i, k in enumerate(sizes)]))
        size = np.array([laws[i][0][k] for i, k in enumerate(sizes)])
        jobs = single_stage(np.zeros(len(laws)), size, np.arange(len(laws)))
        total += chance * float(run(jobs, Policy("table", ranks, levels)).completion.sum())
    assert total == pytest.approx(best(start), rel=1e-9)


def test_our_table_orders_as_the_solver_does() -> None:
    rng = np.random.default_rng(5)
    samples = [rng.lognormal(m, 1.0, 400) for m in (0.0, 1.0, 2.0)]
    ages = level_starts(samples, 40)
    view = JobsView(tuple(JobClass(str(i), s, discrete=False) for i, s in enumerate(samples)), ages, "r", "m")
    ours, theirs = gittins_table(samples, ages), rank_table(view)
    pairs = [np.sign(t.ravel()[:, None] - t.ravel()[None, :]) for t in (ours, theirs)]
    assert (pairs[0] == pairs[1]).mean() > 0.95


def test_jobs_older_than_every_sample_come_last_but_first_in_the_artefact() -> None:
    samples = np.array([1.0, 2.0, 3.0])
    ages = np.array([0.0, 1.0, 10.0])
    law = Law.of_samples(samples, ages, tail=False)
    assert stopped_rank(law, np.array([20.0])).tolist() == [np.inf]
    assert table([[1.0, 2.0, np.inf]]).argmax() == 2
    assert bucketed(samples, ages)[2] == 0


def test_bimodal_laws_separate_gittins_from_the_others() -> None:
    rng = np.random.default_rng(2)

    def draw(n: int) -> np.ndarray:
        short = rng.random(n) < 0.9
        return np.maximum(0.05, np.where(short, 5.0, 200.0) * (1 + 0.2 * rng.standard_normal(n)))

    size, seen = draw(60_000), draw(1000)
    arrival = np.cumsum(rng.exponential(size.mean() / LOAD, len(size)))
    ages = level_starts([seen])
    jobs = single_stage(arrival, size)
    las = run(jobs, Policy("table", las_table([seen], ages), ages)).completion.mean()
    ours = run(jobs, Policy("table", gittins_table([seen], ages), ages)).completion.mean()
    assert ours < 0.6 * las


def test_several_servers_take_the_lowest_ranks() -> None:
    jobs = single_stage(np.array([0.0, 0.0, 0.0, 1.0]), np.array([4.0, 3.0, 2.0, 1.0]))
    outcome = run(jobs, Policy("remaining"), servers=2)
    assert outcome.finish.tolist() == [7.0, 3.0, 2.0, 2.0] or outcome.finish[3] == 2.0
    assert outcome.busy == pytest.approx(10.0)


def test_an_instance_started_ahead_saves_its_warm_up() -> None:
    jobs = Jobs(
        np.array([0.0]), np.array([0, 3]), np.array([0, 1, 0]), np.array([10.0, 5.0, 1.0]),
        np.array([0, 1, 2]), np.array([0]), np.array([np.inf]),
    )  # fmt: skip
    never = np.full(3, np.inf)
    cold = run(jobs, Policy(), backends=Backends(np.array([1]), np.array([4.0]), np.array([0])))
    ahead = np.array([7.0, np.inf, np.inf])
    warm = run(
        jobs,
        Policy(),
        backends=Backends(np.array([1]), np.array([4.0]), np.array([0]), ahead, np.array([1, 0, 0])),
    )
    assert np.isinf(never).all()
    assert cold.finish[0] == 20.0
    assert warm.finish[0] == 17.0
    assert warm.waited[1] == 1.0


def test_work_is_conserved_and_switching_costs() -> None:
    rng = np.random.default_rng(1)
    arrival, size = np.cumsum(rng.exponential(1.3, 5000)), rng.exponential(1.0, 5000)
    free = run(single_stage(arrival, size), Policy("remaining"), record=20_000)
    dear = run(single_stage(arrival, size), Policy("remaining"), switch=0.5)
    assert free.busy == pytest.approx(size.sum())
    assert (free.intervals[:, 3] - free.intervals[:, 2]).sum() == pytest.approx(size.sum())
    assert dear.completion.mean() > free.completion.mean()
