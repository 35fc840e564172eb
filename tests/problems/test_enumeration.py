"""Counting and listing: every canonical point once, against brute force, in constant memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradespace as ts
from tests.problems.spaces import brute_force, problem_of, variables
from tradespace.problems.space import Space


def listed(space: Space, rows: int) -> list[str]:
    return sorted(repr(point) for batch in space.enumerate(rows) for point in space.points(batch))


@given(variables(), st.sampled_from([1, 7, 64, 16_384]))
@settings(max_examples=150)
def test_size_and_enumeration_equal_brute_force(made, rows):
    space = problem_of(made).space
    expected = brute_force(made)
    assert space.size == len(expected)
    assert listed(space, rows) == expected


def test_counting_conditions_costs_a_sum_over_branches():
    body = {"__module__": __name__, "__qualname__": "Tree", "root": ts.Choice("a", "b")}
    for i in range(60):
        body[f"gate{i}"] = ts.Bool(when={"root": "a"})
        body[f"leaf{i}"] = ts.Int(1, 10**9, when={f"gate{i}": True})
    tree = type(ts.Problem)("Tree", (ts.Problem,), body)()
    assert tree.space.size == (10**9 + 1) ** 60 + 1


def test_a_wide_range_may_be_a_parent():
    class Gate(ts.Problem):
        size = ts.Int(1, 10**12)
        extra = ts.Bool(when={"size": (1, 2, 10**12)})

    assert Gate().space.size == 10**12 + 3


def test_ties_too_wide_to_list_are_still_enumerated_once():
    class Gate(ts.Problem):
        on = ts.Bool()
        a = ts.Int(1, 1200, when={"on": True})
        b = ts.Int(1, 1000, when={"on": True})

    space = Gate().space
    assert space.size == 1 + 1_200_000
    hashes = np.concatenate([space.hashes(batch) for batch in space.enumerate()])
    assert len(hashes) == len(np.unique(hashes)) == space.size


def test_a_continuous_variable_makes_the_space_endless_only_where_it_is_active():
    class Maybe(ts.Problem):
        on = ts.Bool()
        level = ts.Float(0, 1, when={"on": True})

    assert Maybe().space.size is None
    assert Maybe().fix(on=False).space.size == 1
    assert listed(Maybe().fix(on=False).space, 10) == ["{'on': False, 'level': 0.0}"]
    with pytest.raises(ts.SpaceError, match="not finite"):
        Maybe().space.enumerate()


def test_a_vector_fixed_to_unequal_entries_may_hang_on_a_scalar():
    class Plan(ts.Problem):
        on = ts.Bool()
        act = ts.Choice("keep", "drop", shape=3, when={"on": True})
        codec = ts.Int(1, 4, shape=3, when={"act": "drop"})

    space = Plan().fix(act=["keep", "drop", "drop"]).space
    assert space.size == 1 + 4 * 4
    assert len(listed(space, 5)) == len(set(listed(space, 5))) == 17


def test_the_enumeration_is_indexed_and_constant_in_memory():
    class Huge(ts.Problem):
        a = ts.Int(1, 1000)
        b = ts.Int(1, 1000)
        c = ts.Permutation(8)

    space = Huge().space
    chunks = space.enumerate()
    assert space.size == 10**6 * math.factorial(8)
    middle = chunks.chunk(len(chunks) // 2)
    assert 0 < len(middle) <= 16_384
    assert space.contains(middle).all()
    assert len(np.unique(space.hashes(middle))) == len(middle)


def test_chunks_are_cut_by_bytes_for_wide_variables():
    class Long(ts.Problem):
        plan = ts.Int(0, 1, shape=5000)

    batch = Long().space.enumerate().chunk(0)
    assert batch.plan.nbytes <= 64 << 20
