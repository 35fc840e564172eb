"""The archive against brute force, with ties, duplicates and infinite costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradespace.problems.goal import Objective, ResolvedGoal
from tradespace.search.archive import Archive, knee, nondominated

VALUES = st.one_of(st.integers(0, 6).map(float), st.just(np.inf))


@st.composite
def batches(draw, objectives=st.integers(1, 4)):
    """Batches of costs of equal width: few distinct values, so that ties and duplicates abound."""
    width = draw(objectives)
    row = st.lists(VALUES, min_size=width, max_size=width)
    listed = draw(st.lists(st.lists(row, max_size=30), max_size=8))
    return width, [np.array(batch, float).reshape(-1, width) for batch in listed]


def dominated(costs: np.ndarray) -> np.ndarray:
    """Rows that another row beats, and repeats of an earlier row, by comparing all pairs."""
    as_good = (costs[:, None] <= costs[None]).all(axis=2)
    equal = (costs[:, None] == costs[None]).all(axis=2)
    earlier = np.tri(len(costs), k=-1, dtype=bool).T
    return (as_good & ~equal).any(axis=0) | (equal & earlier).any(axis=0)


def archive_of(width: int, parts: list[np.ndarray]) -> Archive:
    """An archive that was offered the parts in turn."""
    goal = ResolvedGoal(tuple(Objective(f"m{i}", "min") for i in range(width)))
    archive, start = Archive(goal), 0
    for costs in parts:
        ids = np.arange(start, start + len(costs))
        archive.add(ids, costs, np.zeros(len(costs)), np.zeros(len(costs), bool))
        start += len(costs)
    archive.merge()
    return archive


@given(batches())
def test_the_front_is_what_all_pairs_give(made):
    width, parts = made
    costs = np.concatenate([np.empty((0, width)), *parts])
    archive = archive_of(width, parts)
    if width == 1:
        assert archive.ids.tolist() == ([int(np.argmin(costs))] if len(costs) else [])
    else:
        assert sorted(archive.ids.tolist()) == np.flatnonzero(~dominated(costs)).tolist()
    assert archive.rows == len(costs)


@given(batches(st.integers(2, 3)))
def test_nondominated_keeps_one_of_equal_rows(made):
    width, parts = made
    costs = np.concatenate([np.empty((0, width)), *parts])
    kept = costs[nondominated(costs)] if len(costs) else costs
    assert len(np.unique(kept, axis=0)) == len(kept) == np.count_nonzero(~dominated(costs))


@given(batches(st.just(2)), st.integers(1, 7))
def test_the_order_of_batches_is_all_that_counts(made, size):
    _, parts = made
    costs = np.concatenate([np.empty((0, 2)), *parts])
    again = archive_of(2, [costs[i : i + size] for i in range(0, len(costs), size)])
    assert again.ids.tolist() == archive_of(2, parts).ids.tolist()


@pytest.mark.parametrize("batch", [1, 5_000])
def test_a_front_larger_than_the_buffer(batch):
    rng = np.random.default_rng(0)
    first = rng.permutation(20_000).astype(float)
    costs = np.stack([first, -first + (rng.random(20_000) < 0.3) * 3], axis=1)[
        : 4_000 if batch == 1 else None
    ]
    archive = archive_of(2, [costs[i : i + batch] for i in range(0, len(costs), batch)])
    assert sorted(archive.ids.tolist()) == np.flatnonzero(nondominated(costs)).tolist()


def test_failed_and_infeasible_rows_stay_out():
    archive = Archive(ResolvedGoal((Objective("a", "min"),)))
    archive.add(np.arange(2), np.array([[1.0], [2.0]]), np.array([0.5, 0.25]), np.zeros(2, bool))
    assert archive.best() == 1
    assert not archive.feasible
    archive.add(
        np.arange(2, 5),
        np.array([[np.nan], [9.0], [0.0]]),
        np.array([np.inf, 0, 0]),
        np.array([1, 0, 1], bool),
    )
    assert archive.best() == 3
    assert (archive.rows, archive.feasible, archive.failed) == (5, 1, 2)


def test_the_knee_is_a_finite_point():
    assert knee(np.array([[1.0, np.inf], [2.0, 5.0], [5.0, 2.0]])) in {1, 2}
    assert knee(np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0]])) == 1
    assert knee(np.array([[3.0, 3.0]])) == 0
