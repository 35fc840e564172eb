"""Units: SI inside, human units at the edges, and the way back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tradespace as ts
from tradespace import units


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("24GiB", "B", 24 * 2**30),
        ("90 kB", "B", 90_000),
        ("1e3", "B", 1000),
        ("250us", "s", 250e-6),
        ("250 µs", "s", 250e-6),
        ("250μs", "s", 250e-6),
        ("1.5 min", "s", 90),
        ("2h", "s", 7200),
        ("12 %", "1", 0.12),
        ("0.5", "1", 0.5),
        ("3 GiB/s", "B/s", 3 * 2**30),
        ("312Tflop/s", "flop/s", 312e12),
        ("1.41GHz", "Hz", 1.41e9),
        ("2kWh", "J", 7.2e6),
        ("826 mm2", "m2", 826e-6),
        ("826 mm²", "m2", 826e-6),
        ("-3ms", "s", -3e-3),
        ("1_000", "B", 1000),
        (".5", "", 0.5),
        ("inf", "B", math.inf),
        ("7", "widget", 7),
        ("7 widget", "widget", 7),
    ],
)
def test_a_number_with_a_unit_is_read_as_si(text, unit, value):
    assert units.parse(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        *(("", "B"), ("B", "B"), ("nan", "B"), ("1,000", "B"), ("1 mB", "B"), ("3 GB", "")),
        *(
            ("1Ks", "s"),
            ("3 B", "s"),
            ("3 %", "s"),
            ("1e", "s"),
            ("1..2", "s"),
            ("1 2", "s"),
            ("one", "s"),
            ("3 1", "1"),
        ),
    ],
)
def test_what_does_not_fit_is_refused(text, unit):
    with pytest.raises(ts.GoalError):
        units.parse(text, unit)


def test_a_near_miss_names_the_unit_meant():
    with pytest.raises(ts.GoalError, match=r"must fit 'B', got 'gib'; did you mean 'GiB'\?"):
        units.parse("24gib", "B")
    with pytest.raises(ts.GoalError, match=r"must be a bare number, got 'GB'"):
        units.parse("24GB", "")


UNITS = st.sampled_from(["s", "B", "J", "W", "Hz", "flop", "B/s", "flop/s", "bit", "m2", "1", "", "widget"])
SIZES = st.floats(1e-14, 1e17).flatmap(lambda v: st.sampled_from([v, -v]))


@given(SIZES, UNITS, st.integers(2, 9))
def test_what_is_shown_reads_back_to_its_digits(value, unit, digits):
    shown = units.show(value, unit, digits)
    assert units.parse(shown, unit) == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits), abs=1e-300)


@given(
    st.floats(-1e6, 1e6),
    UNITS.flatmap(lambda u: st.tuples(st.just(u), st.sampled_from(sorted(units.scales(u))))),
)
def test_every_spelling_of_a_unit_is_a_factor(number, spelled):
    unit, spelling = spelled
    assert units.parse(f"{number!r}{spelling}", unit) == pytest.approx(number * units.scales(unit)[spelling])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.4112, "s", "411.2 ms"),
        (2.5e-6, "s", "2.5 µs"),
        (90 * 60, "s", "90 min"),
        (10_000, "s", "2.778 h"),
        (40 * 2**30, "B", "40 GiB"),
        (1023, "B", "1.023 kB"),
        (0, "B", "0 B"),
        (0.25, "1", "0.25"),
        (826e-6, "m2", "826 mm²"),
        (312e12, "flop/s", "312 Tflop/s"),
        (123456, "1", "123456"),
        (None, "s", "unknown"),
        (math.inf, "B", "inf"),
    ],
)
def test_numbers_are_shown_for_people(value, unit, text):
    assert units.show(value, unit) == text
