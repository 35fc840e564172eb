"""Declarations: what may be declared, what it resolves to, and how a mistake is named."""

from __future__ import annotations

import enum
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tradespace as ts
from tradespace.problems.space import Space


class Codec(enum.Enum):
    RAW = 16
    INT8 = 8


class Level(enum.IntEnum):
    HIGH = 8
    LOW = 4


class Owner:
    hidden = 12
    top = 128
    dtypes = ("bf16", "fp8")
    sizes = (16, 64)
    two = (2, 3)
    nothing = None
    half = 0.5


def domain(variable, owner=None):
    return Space(owner or Owner(), {"v": variable}).domains["v"]


def column(variable):
    """Every value of a scalar variable, in the order of its domain."""
    space = Space(Owner(), {"v": variable})
    return [p["v"] for batch in space.enumerate() for p in space.points(batch)]


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        (ts.Int(2, 5), [2, 3, 4, 5]),
        (ts.Int(16, 64, step=16), [16, 32, 48, 64]),
        (ts.Int(-2, "hidden", step=7), [-2, 5, 12]),
        (ts.Menu(64, 16, 32), [16, 32, 64]),
        (ts.Menu(0.5, 2), [0.5, 2.0]),
        (ts.Menu("sizes"), [16, 64]),
        (ts.Menu.powers(2, 16, 128), [16, 32, 64, 128]),
        (ts.Menu.powers(2, 20, "top"), [32, 64, 128]),
        (ts.Menu.divisors(12), [1, 2, 3, 4, 6, 12]),
        (ts.Menu.divisors("hidden"), [1, 2, 3, 4, 6, 12]),
        (ts.Choice("b", "a"), ["b", "a"]),
        (ts.Choice("dtypes"), ["bf16", "fp8"]),
        (ts.Choice(Codec), [Codec.RAW, Codec.INT8]),
        (ts.Choice(Level), [Level.HIGH, Level.LOW]),
        (ts.Bool(), [False, True]),
        (ts.Permutation(3), [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]),
    ],
)
def test_a_declaration_stands_for_these_values_in_this_order(variable, values):
    assert column(variable) == values


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: ts.Int(5, 2), "must not exceed"),
        (lambda: ts.Int(16, 250, step=16), "use 240"),
        (lambda: ts.Int(0, 8, step=0), "at least 1"),
        (lambda: ts.Int(1, 64, step=2, log=True), "not both"),
        (lambda: ts.Int(0, 64, log=True), "at least 1 with log"),
        (lambda: ts.Int(0.5, 3), "whole number"),
        (lambda: ts.Int(0, math.inf), "whole number"),
        (lambda: ts.Int(0, math.nan), "whole number"),
        (lambda: ts.Int(0, 2**62), "2\\^61"),
        (lambda: ts.Int(True, 4), "number"),
        (lambda: ts.Float(1, 0), "must not exceed"),
        (lambda: ts.Float(0, 1, log=True), "positive with log"),
        (lambda: ts.Float(0, math.inf), "finite"),
        (lambda: ts.Float(0, None), "must be a number"),
        (lambda: ts.Menu(), "at least one"),
        (lambda: ts.Menu(1, 1.0), "repeat"),
        (lambda: ts.Menu(1, math.nan), "finite"),
        (lambda: ts.Menu("a", "b"), "use Choice"),
        (lambda: ts.Menu.powers(1, 1, 8), "at least 2"),
        (lambda: ts.Menu.powers(2, 17, 31), "at least one"),
        (lambda: ts.Menu.divisors(0), "positive"),
        (lambda: ts.Choice(), "at least one label"),
        (lambda: ts.Choice(32, 64, 128), r"use Menu\(32, 64, 128\)"),
        (lambda: ts.Choice(True, False), r"use Bool\(\)"),
        (lambda: ts.Choice("a", "b", "a"), "repeat"),
        (lambda: ts.Choice("RAW", Codec.RAW), "repeat"),
        (lambda: ts.Choice("a", None), "strings or Enum"),
        (lambda: ts.Permutation(0), "at least 1"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused_where_it_stands(declare, words):
    with pytest.raises(ts.SpaceError, match=words):
        declare()


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (ts.Int(1, "hiden"), "did you mean 'hidden'"),
        (ts.Int(1, "half"), "hi of 'v' must be a whole number, got 0.5"),
        (ts.Int(1, "nothing"), "hi of 'v' must be a number, got None"),
        (ts.Float(0, "dtypes"), "must be a number"),
        (ts.Choice("dtyps"), "did you mean 'dtypes'"),
        (ts.Choice("hidden"), "must be a list"),
        (ts.Menu("dtypes"), "use Choice"),
        (ts.Menu("sises"), "did you mean 'sizes'"),
        (ts.Menu.divisors("half"), "whole number"),
        (ts.Bool(shape="hiden"), "did you mean 'hidden'"),
        (ts.Bool(shape=0), "positive"),
        (ts.Bool(shape=1.5), "whole number"),
        (ts.Permutation("nothing"), "n of 'v'"),
    ],
)
def test_an_attribute_that_cannot_stand_there_is_named(variable, words):
    with pytest.raises(ts.SpaceError, match=words):
        domain(variable)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(3, (3,)), ("hidden", (12,)), ("two", (2, 3)), (("hidden", 2), (12, 2)), ((2, 2), (2, 2))],
)
def test_shapes_may_name_attributes(shape, expected):
    assert domain(ts.Bool(shape=shape)).shape == expected
    assert domain(ts.Permutation(4, shape=shape)).width == (*expected, 4)


@given(st.integers(1, 2**40), st.integers(0, 2**40), st.integers(0, 2**32 - 1))
def test_log_sampling_stays_inside_and_reaches_both_ends(lo, span, seed):
    whole = domain(ts.Int(lo, lo + span, log=True))
    real = domain(ts.Float(lo, lo + span, log=True))
    unit = np.concatenate([[0.0, np.nextafter(1.0, 0)], np.random.default_rng(seed).random(50)])
    for each in (whole, real):
        values = each.from_unit(unit)
        assert each.contains(values).all()
        assert values[0] == pytest.approx(lo)
        assert values[1] == pytest.approx(lo + span, rel=1e-9)


def test_log_integers_are_drawn_evenly_by_octave():
    values = domain(ts.Int(1, 1023, log=True)).sample(np.random.default_rng(0), 200_000)
    counts = np.bincount(np.log2(values).astype(int), minlength=10)
    # An octave [2^k, 2^(k+1)) holds the share log(2) of log(2 * 1023.5), the first a little less or more.
    assert counts[3:].max() / counts[3:].min() < 1.1


@pytest.mark.parametrize("lo_hi", [(0, 2**61), (-(2**61), 2**61), (2**61 - 5, 2**61)])
def test_huge_ranges_are_sampled_inside(lo_hi):
    each = domain(ts.Int(*lo_hi))
    unit = np.array([0.0, 0.5, np.nextafter(1.0, 0)])
    assert each.contains(each.from_unit(unit)).all()


def test_a_float_over_the_whole_range_is_sampled_without_overflow():
    each = domain(ts.Float(-1.7e308, 1.7e308))
    assert np.isfinite(each.sample(np.random.default_rng(0), 100)).all()


def test_every_permutation_has_its_lexicographic_place():
    import itertools

    each = domain(ts.Permutation(5))
    assert each.at(np.arange(120)).tolist() == [list(p) for p in itertools.permutations(range(5))]


def test_samples_of_a_permutation_are_uniform():
    drawn = domain(ts.Permutation(3)).sample(np.random.default_rng(0), 60_000)
    counts = np.unique(drawn @ [9, 3, 1], return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 9_600


def test_a_label_may_be_given_as_declared_or_by_the_name_of_its_member():
    each = domain(ts.Choice(Codec))
    assert each.encode(Codec.INT8) == each.encode("INT8") == 1
    with pytest.raises(ts.SpaceError, match="no label 8"):
        each.encode(8)
    assert domain(ts.Choice(Level)).encode(4) == 1


def test_a_name_that_is_another_members_value_is_refused():
    class Crossed(enum.StrEnum):
        A = "B"
        B = "A"

    with pytest.raises(ts.SpaceError, match="name of another"):
        ts.Choice(Crossed)


def test_forty_thousand_labels_keep_their_positions():
    each = domain(ts.Choice(*(f"l{i}" for i in range(40_000))))
    assert each.decode(each.encode("l39999")) == "l39999"
    assert each.at(np.array([39_999]))[0] == 39_999


def test_the_domain_in_words_names_its_range():
    assert domain(ts.Int(16, 64, step=16)).describe() == "an integer from 16 to 64 in steps of 16"
    assert domain(ts.Bool(shape=(2, 3))).describe() == "true or false (2x3 entries)"
    assert domain(ts.Choice(Codec)).describe() == "one of ['RAW', 'INT8']"


def test_a_number_with_a_unit_is_shown_in_it_and_read_in_any_of_its_spellings():
    clock = domain(ts.Menu(5e8, 1e9, unit="Hz", help="of the cores"))
    assert clock.describe() == "one of 500 MHz, 1 GHz"
    assert clock.help == "of the cores"
    assert clock.encode("500 MHz") == clock.encode("5e8") == clock.encode(5e8) == 5e8
    held = domain(ts.Float(0, 90, unit="s"))
    assert held.describe() == "a number from 0 s to 90 s"
    assert held.encode("1.5min") == 90.0
    for each, text in ((clock, "600MHz"), (clock, "500 MB"), (held, "soon")):
        with pytest.raises(ts.SpaceError, match=each.describe()):
            each.encode(text)
    with pytest.raises(ts.SpaceError, match="must be"):
        domain(ts.Menu(1, 2)).encode("1")
