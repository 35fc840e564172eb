"""Which steps to skip: errors of jumps, the shortest path, and schedules mended within limits."""

import itertools

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.diffusion import budgeting, jumps, shares
from tradespace.problems.diffusion.astraea import AstraeaShapes


def test_the_best_paths_are_those_of_trying_all():
    rng = np.random.default_rng(1)
    error = np.where(np.tri(7, 8, 0, bool), np.inf, rng.random((7, 8)))
    found = jumps.best_paths(error, 4, 5)
    every = []
    for inner in itertools.combinations(range(1, 7), 3):
        places = (0, *inner, 7)
        every.append((sum(error[a, b] for a, b in itertools.pairwise(places)), inner))
    expected = [list(inner) for _, inner in sorted(every)[:5]]
    assert [(np.flatnonzero(row) + 1).tolist() for row in found] == expected


def test_a_straight_line_is_jumped_without_error_and_a_bend_is_not():
    times = np.arange(6)[:, None]
    straight = np.hstack([times, 2 * times]).astype(np.float32)
    assert np.nanmax(np.where(np.isfinite(e := jumps.local_errors(straight)), e, 0)) < 1e-12
    bent = np.hstack([times, np.maximum(0, times - 2)]).astype(np.float32)
    made = jumps.local_errors(bent)
    spread = np.var(bent[-1])
    assert made[0, 2] == pytest.approx(0, abs=1e-12)
    assert made[1, 4] == pytest.approx(2**2 / 2 / spread)  # two beyond the bend, in one of two numbers
    assert np.isinf(made[3, 3])


def test_what_a_jump_misses_grows_as_single_skips_say():
    local = np.full((1, 3, 4), np.inf)
    local[0][np.triu_indices(3, 2, 4)] = [0.1, 0.4, 0.2]  # 0-2, 0-3, 1-3
    local[0, [0, 1, 2], [1, 2, 3]] = 0
    made = jumps.jump_errors(local, local, np.array([[0.3, 0.1]]))  # grows threefold, then halves
    assert made[0, 2] == pytest.approx(0.3)
    assert made[1, 3] == pytest.approx(0.1)
    assert made[0, 3] == pytest.approx(0.4 * (3 + 0.5) / 2)


@pytest.mark.parametrize("limit", ["kept<=0.4", "time_share<=0.6", "flops<=3e15"])
def test_mended_schedules_keep_their_whole_and_empty_steps(limit):
    problem = AstraeaShapes(steps=12, budget=0.9)
    goal = ts.Goal(limits=(limit,)).resolve(problem)
    rng = np.random.default_rng(2)
    rows = rng.choice([0, 10], (40, 11))
    made = budgeting.mend(problem.law, rows, goal)
    found = {**budgeting.costs(problem.law, made), "error": np.zeros(len(made))}
    assert goal.violation(found).max() <= 1e-12
    assert set(np.unique(made)) <= {0, 10}
    whole = budgeting.whole_steps(problem.law, 12, goal)
    assert (1 + (made == 10).sum(axis=1) == whole).all()
    assert (budgeting.mend(problem.law, made, goal) == made).all()
    partial = budgeting.mend(problem.law, rng.integers(0, 11, (40, 11)), goal)
    found = {**budgeting.costs(problem.law, partial), "error": np.zeros(len(made))}
    assert goal.violation(found).max() <= 1e-12


def test_steps_spread_evenly_are_as_many_as_asked():
    for steps in (2, 5, 20):
        for whole in range(1, steps + 1):
            assert (shares.evenly(whole, steps) == 10).sum() == whole - 1
