"""Spaces against brute force: size, enumeration, sampling, encoding, storage, hashes."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradespace as ts
from tests.problems.spaces import brute_force, canonical, nested, problem_of, variables
from tradespace.problems.batch import concatenate, take
from tradespace.problems.space import Space

SEEDS = st.integers(0, 2**32 - 1)


@given(variables(), SEEDS)
@settings(max_examples=60)
def test_samples_are_canonical_points_of_the_space(made, seed):
    space = problem_of(made).space
    batch = space.sample(np.random.default_rng(seed), 40)
    assert space.contains(batch).all()
    assert {repr(p) for p in space.points(batch)} <= set(brute_force(made))


@given(variables(), SEEDS)
@settings(max_examples=60)
def test_points_encode_decode_and_store_without_loss(made, seed):
    space = problem_of(made).space
    batch = space.sample(np.random.default_rng(seed), 20)
    points = space.points(batch)
    assert space.points(space.batch(points)) == points
    assert [space.points(space.batch(p))[0] for p in points] == points
    assert space.points(space.restore(space.storage(batch))) == points
    assert (space.hashes(space.batch(points)) == space.hashes(batch)).all()


@given(variables(pins=False), SEEDS)
@settings(max_examples=60)
def test_canonical_is_what_the_conditions_say_and_idempotent(made, seed):
    space = problem_of(made).space
    rng = np.random.default_rng(seed)
    raw = {v.name: [v.options[i] for i in rng.integers(0, len(v.options), v.entries)] for v in made}
    batch = space.batch({v.name: nested(v, raw[v.name]) for v in made})
    done = canonical(made, raw)
    assert space.points(batch) == [{v.name: nested(v, done[v.name]) for v in made}]
    again = space.canonical(batch.__columns__, 1)
    assert space.points(again) == space.points(batch)


@given(variables(), SEEDS)
@settings(max_examples=60)
def test_hashes_agree_exactly_where_canonical_points_agree(made, seed):
    space = problem_of(made).space
    batch = space.sample(np.random.default_rng(seed), 60)
    pairs = {(repr(p), int(h)) for p, h in zip(space.points(batch), space.hashes(batch), strict=True)}
    assert len(pairs) == len({p for p, _ in pairs}) == len({h for _, h in pairs})


@given(variables(), SEEDS)
@settings(max_examples=30)
def test_the_unit_cube_covers_every_finite_space(made, seed):
    space = problem_of(made).space
    rng = np.random.default_rng(seed)
    batch = space.from_unit(rng.random((400, space.unit_width)))
    assert space.contains(batch).all()
    if (space.size or 0) <= 3:
        assert len({repr(p) for p in space.points(batch)}) >= min(space.size or 0, 2)


class Wide(ts.Problem):
    plan = ts.Int(0, 255, shape=40)
    flag = ts.Bool(shape=(3, 5))
    level = ts.Float(-1, 1, shape=2)


def test_a_hundred_thousand_distinct_rows_have_distinct_hashes():
    space = Wide().space
    batch = space.sample(np.random.default_rng(1), 100_000)
    assert len(np.unique(space.hashes(batch))) == 100_000


def test_hashes_do_not_depend_on_the_batch_a_row_stands_in():
    space = Wide().space
    batch = space.sample(np.random.default_rng(1), 3000)
    one = [int(space.hashes(take(batch, [row]))[0]) for row in (0, 17, 2999)]
    assert one == [int(space.hashes(batch)[row]) for row in (0, 17, 2999)]


def test_minus_zero_and_zero_are_one_point():
    class Signed(ts.Problem):
        a = ts.Float(-1, 1)

    space = Signed().space
    assert len(np.unique(space.hashes(space.batch([{"a": 0.0}, {"a": -0.0}])))) == 1


def test_hashes_are_the_same_in_another_process():
    code = (
        "import tradespace as ts\n"
        "class P(ts.Problem):\n"
        "    a = ts.Int(0, 9); b = ts.Choice('x', 'y', when={'a': (1, 2)})\n"
        "s = P().space; print(int(s.hashes(s.batch({'a': 2, 'b': 'y'}))[0]))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout


def test_an_empty_batch_is_a_batch():
    space = Wide().space
    batch = take(space.sample(np.random.default_rng(0), 4), np.zeros(4, bool))
    assert (len(batch), len(space.hashes(batch)), len(space.points(batch))) == (0, 0, 0)
    assert space.contains(batch).shape == (0,)
    assert len(space.restore(space.storage(batch))) == 0
    assert len(concatenate([batch, batch])) == 0


def test_a_space_without_variables_has_one_point():
    class Nothing(ts.Problem):
        pass

    space = Nothing().space
    assert space.size == 1
    assert [space.points(b) for b in space.enumerate()] == [[{}]]
    assert len(take(space.batch([{}, {}]), slice(0, 1))) == 1


# --- when: what is refused -----------------------------------------------------------------------
def space_of(**declared):
    return Space(None, declared)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"a": ts.Bool(when={"b": True}), "b": ts.Bool(when={"a": True})}, "circle"),
        ({"a": ts.Bool(when={"a": True})}, "itself"),
        ({"a": ts.Bool(), "b": ts.Bool(when={"aa": True})}, "did you mean 'a'|no variable"),
        ({"a": ts.Float(0, 1), "b": ts.Bool(when={"a": 0.5})}, "Choice"),
        ({"a": ts.Choice("x", "y"), "b": ts.Bool(when={"a": "z"})}, "no label 'z'"),
        ({"a": ts.Int(0, 3), "b": ts.Bool(when={"a": 7})}, "from 0 to 3"),
        ({"a": ts.Int(0, 3), "b": ts.Bool(when={"a": ()})}, "no value"),
        ({"a": ts.Bool(shape=2), "b": ts.Bool(when={"a": True})}, "shape"),
        ({"a": ts.Bool(shape=2), "b": ts.Bool(shape=3, when={"a": True})}, "shape"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(declared, words):
    with pytest.raises(ts.SpaceError, match=words):
        space_of(**declared)


def test_a_condition_on_a_metric_or_a_method_is_refused():
    class Bad(ts.Problem):
        a = ts.Bool(when={"latency": 3})
        latency = ts.Metric("s", "min")

    with pytest.raises(ts.SpaceError, match="no variable or parameter"):
        _ = Bad().space


def test_a_condition_on_a_parameter_reads_its_value():
    class Mode(ts.Problem):
        mode: str = "train"
        remat = ts.Bool(when={"mode": "train"})

    assert Mode().space.size == 2
    assert Mode(mode="serve").space.size == 1
    assert not ts.active(Mode(mode="serve").space.batch({}), "remat").any()


# --- points and batches of users -----------------------------------------------------------------
class Tile(ts.Problem):
    largest: int = 8
    tile = ts.Int(1, "largest")
    layout = ts.Choice("row", "column")
    plan = ts.Bool(shape=(2, 3))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"tile": 1, "layout": "row"}, "must give 'plan'"),
        ({"tile": 1, "layout": "row", "plan": False, "tyle": 3}, "did you mean 'tile'"),
        ({"tile": 9, "layout": "row", "plan": False}, "from 1 to 8"),
        ({"tile": 1.5, "layout": "row", "plan": False}, "integer"),
        ({"tile": math.inf, "layout": "row", "plan": False}, "integer"),
        ({"tile": 2**80, "layout": "row", "plan": False}, "integer"),
        ({"tile": "1", "layout": "row", "plan": False}, "integer"),
        ({"tile": 1, "layout": "rwo", "plan": False}, "did you mean 'row'"),
        ({"tile": 1, "layout": 0, "plan": False}, "no label 0"),
        ({"tile": 1, "layout": "row", "plan": [[True] * 2] * 3}, r"shape \(2, 3\), got \(3, 2\)"),
        ({"tile": 1, "layout": "row", "plan": 2}, "true or false"),
    ],
)
def test_a_point_outside_the_space_is_refused_in_words(point, words):
    with pytest.raises(ts.SpaceError, match=words):
        Tile().space.batch(point)


def test_a_batch_of_another_space_is_checked_on_entry():
    small, large = Tile(largest=4), Tile(largest=8)
    points = [{"tile": 3, "layout": "column", "plan": True}, {"tile": 7, "layout": "row", "plan": False}]
    batch = large.space.batch(points)
    assert small.space.points(small.space.batch(take(batch, [0])))[0]["layout"] == "column"
    with pytest.raises(ts.SpaceError, match="outside"):
        small.space.batch(batch)


def test_a_label_keeps_its_meaning_in_a_space_with_other_labels():
    class Cut(ts.Problem):
        menu: tuple = ("a", "b", "c")
        label = ts.Choice("menu")

    other = Cut(menu=("c", "a"))
    moved = other.space.batch(Cut().space.batch([{"label": "a"}, {"label": "c"}]))
    assert [p["label"] for p in other.space.points(moved)] == ["a", "c"]
    with pytest.raises(ts.SpaceError, match="no label 'b'"):
        other.space.batch(Cut().space.batch({"label": "b"}))


@pytest.mark.parametrize("damage", ["missing", "shape", "value"])
def test_recorded_columns_are_checked(damage):
    space = Tile().space
    columns = space.storage(space.sample(np.random.default_rng(0), 5))
    if damage == "missing":
        del columns["plan"]
    elif damage == "shape":
        columns["plan"] = columns["plan"][:, 0]
    else:
        columns["tile"] = columns["tile"] + 100
    with pytest.raises(ts.SpaceError):
        space.restore(columns)


def test_stored_columns_are_small_whole_numbers():
    class Ranges(ts.Problem):
        near = ts.Int(0, 255)
        signed = ts.Int(-1, 2**40)
        far = ts.Int(0, 2**61)
        many = ts.Menu(-3, 70_000)
        bit = ts.Bool(shape=1000)
        label = ts.Choice("a", "b")

    space = Ranges().space
    far = {"near": 255, "signed": 2**40 - 1, "far": 2**61 - 1, "many": -3, "bit": True, "label": "b"}
    stored = space.storage(space.batch(far))
    assert {n: c.dtype.kind for n, c in stored.items() if c.dtype.kind == "f"} == {}
    assert sum(c.nbytes for n, c in stored.items() if n != "bit") <= 1 + 8 + 8 + 4 + 1
    assert stored["bit"].nbytes == 1000
    assert space.points(space.restore(stored))[0]["far"] == 2**61 - 1
