"""Referees: what they may return, which rows fail, and what stops a run."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.batch import take
from tradespace.problems.scoring import evaluate, failure, join_scores, take_scores


class Referee(ts.Problem):
    """Returns what its `returned` makes of the column `a`."""

    a = ts.Int(0, 999)
    kind = ts.Choice("x", "y")
    time = ts.Metric("s", "min")
    size = ts.Metric("B")


def scores(returned, rows=8, **declared):
    """Scores of a = 0 .. rows - 1 under a referee `returned(x)`."""

    class Made(Referee):
        def evaluate(self, x):
            return returned(x)

    return evaluate(Made(), Made().space.batch([{"a": i, "kind": "x"} for i in range(rows)]))


def good(x):
    return {"time": x.a * 2.0, "size": x.a}


def test_metrics_are_floats_in_the_order_declared():
    found = scores(lambda x: {"size": x.a, "time": x.a > 3})
    assert [*found.metrics] == ["time", "size"]
    assert {v.dtype for v in found.metrics.values()} == {np.dtype(float)}
    assert not found.failed.any()


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x: None, "must return a mapping"),
        (lambda x: {"time": x.a * 1.0}, "did not return the metric 'size'"),
        (lambda x: {**good(x), "sizes": x.a}, "no declared metric; did you mean 'size'"),
        (lambda x: {**good(x), "size": 3.0}, r"shape \(\); expected \(8,\)"),
        (lambda x: {**good(x), "size": np.ones((8, 1))}, r"shape \(8, 1\); expected \(8,\)"),
        (lambda x: {**good(x), "size": x.a[:3]}, r"shape \(3,\); expected \(8,\)"),
        (lambda x: {**good(x), "size": ["a"] * 8}, "expected numbers"),
        (lambda x: {**good(x), "size": ["1"] * 8}, "expected numbers"),
        (lambda x: {**good(x), "size": x.kind}, "expected numbers"),
        (lambda x: {**good(x), "size": x.a * 1j}, "expected numbers"),
        (lambda x: {**good(x), "size": ts.Estimate(x.a, np.ones(3))}, "sigma of 'size' with shape"),
        (lambda x: {**good(x), "size": x.kind == "z"}, "no label 'z'"),
        (lambda x: good(x) if x.tyme.any() else 0, "no column 'tyme'"),
    ],
)
def test_what_cannot_be_scored_stops_the_run(returned, words):
    with pytest.raises(ts.TradespaceError, match=words):
        scores(returned)


def test_a_row_with_nan_fails_alone():
    found = scores(lambda x: {**good(x), "size": np.where(x.a == 3, np.nan, x.a)})
    assert found.failed.tolist() == [False] * 3 + [True] + [False] * 4
    assert found.metrics["time"].tolist() == [2.0 * i for i in range(8)]


def test_nought_by_nought_is_a_failed_row_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scores(lambda x: {**good(x), "size": x.a / (x.a * 1.0)})
    assert found.failed.tolist() == [True] + [False] * 7


@pytest.mark.parametrize("bad", [{0}, {7}, {2, 3, 5}, {0, 1, 2, 3}])
def test_an_exception_is_located_and_fails_only_its_rows(bad):
    def returned(x):
        if bad & set(x.a.tolist()):
            raise ZeroDivisionError("no such kernel")
        return good(x)

    found = scores(returned)
    assert set(np.flatnonzero(found.failed)) == bad == set(found.errors)
    assert found.metrics["time"][6] == (np.nan if 6 in bad else 12.0)
    for row, sentence in found.errors.items():
        assert re.search(
            rf"raised ZeroDivisionError: no such kernel at .*test_scoring.py:\d+: .* \(point a={row}",
            sentence,
        )


def test_rows_that_stand_together_may_fail_up_to_half():
    """Conditions on a slow digit of an enumeration make neighbours fail together."""

    def returned(x):
        if (x.a < 500).any():
            raise ValueError("too small")
        return good(x)

    assert scores(returned, 1000).failed.sum() == 500


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (lambda x: {**good(x), "size": np.where(x.a < 7, np.nan, 1.0)}, "NaN in 'size'"),
        (lambda x: good(x) if (x.a >= 7).all() else [][0], "IndexError"),
    ],
)
def test_rows_fail_alone_however_many(returned, why):
    found = scores(returned)
    assert found.failed.tolist() == [True] * 7 + [False] * (len(found) - 7)
    assert why in failure(found)


def test_a_person_who_asks_for_points_that_all_raise_is_shown_why():
    class Broken(Referee):
        def evaluate(self, x):
            raise ValueError("broken")

    points = [{"a": a, "kind": "x"} for a in range(200)]
    assert len(evaluate(Broken(), Broken().space.batch(points)).errors) == 200
    with pytest.raises(ts.EvaluationError, match=r"broken at .*test_scoring.py"):
        Broken().score(points)


def test_a_batch_of_one_fails_as_a_row_and_raises_for_a_person():
    class Broken(Referee):
        def evaluate(self, x):
            raise ValueError("broken")

    batch = Broken().space.batch({"a": 1, "kind": "x"})
    found = evaluate(Broken(), batch)
    assert found.failed.tolist() == [True]
    assert "broken" in found.errors[0]
    with pytest.raises(ts.EvaluationError, match="broken"):
        Broken().score({"a": 1, "kind": "x"})


def test_an_interrupt_passes():
    def returned(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores(returned)


def test_an_empty_batch_scores_to_nothing():
    found = scores(lambda x: 1 / 0, rows=0)
    assert (len(found), [*found.metrics]) == (0, ["time", "size"])


def test_a_referee_that_is_missing_is_asked_for():
    with pytest.raises(ts.SpaceError, match=r"Referee defines no evaluate\(self, x\)"):
        Referee().score({"a": 1, "kind": "x"})


def test_a_metric_may_alias_a_column():
    class Share(ts.Problem):
        share = ts.Float(0, 1)
        out = ts.Metric("1", "min")

        def evaluate(self, x):
            return {"out": x.share}

    assert Share().score([{"share": 0.25}]).metrics["out"].tolist() == [0.25]


def test_sigma_stays_with_its_rows():
    def returned(x):
        if (x.a == 6).any():
            raise ValueError
        return {"time": ts.Estimate(x.a * 1.0, x.a / 100), "size": ts.Estimate(x.a, 0.5)}

    found = scores(returned)
    assert found.sigma["time"].tolist() == [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.0, 0.07]
    assert found.sigma["size"][0] == 0.5


def test_scores_are_cut_and_joined_with_their_errors():
    found = scores(lambda x: good(x) if not (x.a == 5).any() else 1 / 0)
    parts = [take_scores(found, slice(0, 3)), take_scores(found, np.arange(3, 8))]
    assert [*parts[1].errors] == [2]
    joined = join_scores(parts)
    assert joined.errors == found.errors
    assert np.array_equal(joined.metrics["time"], found.metrics["time"], equal_nan=True)


class Points(Referee):
    plan = ts.Bool(shape=2)

    @ts.pointwise
    def evaluate(self, x):
        """One point."""
        assert type(x.a) is int
        assert x["kind"] in ("x", "y")
        if x.a == 2:
            raise ValueError("two")
        estimate = ts.Estimate(x.a * 1.0, 0.1) if x.a else 0.0
        return {"time": estimate, "size": x.plan.sum()}


def test_pointwise_scores_one_point_at_a_time():
    space = Points().space
    batch = space.batch([{"a": i, "kind": "x", "plan": [True, i % 2]} for i in range(5)])
    found = evaluate(Points(), batch)
    assert found.failed.tolist() == [False, False, True, False, False]
    assert found.metrics["size"][[0, 1, 3]].tolist() == [1.0, 2.0, 2.0]
    assert found.sigma["time"].tolist() == [0.0, 0.1, 0.0, 0.1, 0.1]
    assert evaluate(Points(), take(batch, slice(0, 0))).failed.shape == (0,)
    assert Points.evaluate.__doc__ == "One point."


def test_score_takes_a_point_a_list_or_a_batch():
    class Good(Referee):
        def evaluate(self, x):
            return good(x)

    point = {"a": 3, "kind": "y"}
    batch = Good().space.batch([point, point])
    assert [len(Good().score(p)) for p in (point, [point], batch)] == [1, 1, 2]
