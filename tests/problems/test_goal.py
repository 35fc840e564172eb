"""Goals: what replaces what, the grammar of limits, violation and its scale."""

from __future__ import annotations

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.goal import Limit, Objective, ResolvedGoal, parse_limit


class Plan(ts.Problem):
    budget: float = ts.param(8 * ts.GiB, unit="B")
    nothing: float | None = None
    deadline: float = ts.param(0.25, unit="s")

    a = ts.Int(0, 9)

    latency = ts.Metric("s", "min")
    rate = ts.Metric("request/s", "max", at_least=10)
    peak = ts.Metric("B", at_most="budget")
    error = ts.Metric("1", at_most="5 %")
    free = ts.Metric("B", at_most="nothing")

    @property
    def doubled(self):
        return 2 * self.budget


PLAN = Plan()


def limits(goal: ts.Goal, problem=PLAN) -> list[str]:
    return [f"{v.metric}{v.sense}{v.bound:g}" for v in goal.resolve(problem).limits]


DEFAULT = ["rate>=10", "peak<=8.58993e+09", "error<=0.05"]


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("peak<=24GiB", 24 * 2**30),
        ("peak <= 24 GiB", 24 * 2**30),
        ("peak<=90kB", 90_000),
        ("peak<=1.5e3", 1500),
        ("peak>=1_000 B", 1000),
        ("peak<=doubled", 16 * 2**30),
        ("latency<=250us", 250e-6),
        ("latency<=250µs", 250e-6),
        ("latency<=250μs", 250e-6),
        ("latency<=2ms", 2e-3),
        ("latency<=1.5min", 90),
        ("latency<=deadline", 0.25),
        ("latency<=-1", -1),
        ("latency<=inf", np.inf),
        ("error<=12%", 0.12),
        ("error <= .5", 0.5),
        ("rate>=2krequest/s", 2000),
    ],
)
def test_a_limit_reads_as_si(text, bound):
    assert parse_limit(text, PLAN).bound == pytest.approx(bound, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("peak<24GiB", "write 'peak<=24GiB'"),
        ("peak=24GiB", "write 'peak<=24GiB'"),
        ("peak>24GiB", "write 'peak>=24GiB'"),
        ("24GiB>=peak", "cannot be read"),
        ("peak", "cannot be read"),
        ("peak<=", "cannot be read"),
        ("", "cannot be read"),
        ("paek<=1", "did you mean 'peak'"),
        ("peak<=24gib", "did you mean 'GiB'"),
        ("peak<=24G", "must fit 'B'"),
        ("peak<=24ms", "must fit 'B', got 'ms'"),
        ("latency<=24GiB", "must fit 's', got 'GiB'"),
        ("latency<=1E", "must fit 's', got 'E'"),
        ("peak<=1,000 B", "must fit 'B'"),
        ("peak<=bugdet", "did you mean 'budget'"),
        ("peak<=nan", "not a number"),
        ("peak<=nothing", "which is None"),
        ("peak<=latency", "must be a number"),
        ("peak<=score", "must be a number"),
        ("1<=peak<=2", "cannot be read"),
        ("peak<=2<=3", "must fit 'B'"),
    ],
)
def test_a_limit_that_cannot_be_read_says_how_to_write_it(text, words):
    with pytest.raises(ts.GoalError, match=words):
        parse_limit(text, PLAN)


def test_the_default_goal_is_what_the_metrics_declare():
    goal = PLAN.default_goal
    assert goal.objectives == (Objective("latency", "min", "s"), Objective("rate", "max", "request/s"))
    assert limits(ts.Goal()) == DEFAULT
    assert goal.describe().startswith(
        "minimise latency, maximise rate, subject to rate >= 10 request/s, peak <= 8 GiB"
    )


def test_objectives_replace_all_defaults_in_the_order_given():
    goal = ts.Goal(minimize=("peak", "error"), maximize="rate").resolve(PLAN)
    assert [(o.metric, o.direction) for o in goal.objectives] == [
        ("peak", "min"),
        ("error", "min"),
        ("rate", "max"),
    ]


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (ts.Goal(limits="peak<=1"), ["rate>=10", "peak<=1", "error<=0.05"]),
        (ts.Goal(limits="peak>=1"), [*DEFAULT, "peak>=1"]),
        (ts.Goal(limits=("latency<=1", "rate>=3")), ["rate>=3", *DEFAULT[1:], "latency<=1"]),
        (ts.Goal(no_limits="peak"), ["rate>=10", "error<=0.05"]),
        (ts.Goal(no_limits="peak", limits="peak<=1"), ["rate>=10", "error<=0.05", "peak<=1"]),
    ],
)
def test_a_limit_replaces_the_default_on_its_metric_and_side_else_adds(goal, expected):
    assert limits(goal) == expected


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (ts.Goal(minimize="latncy"), "did you mean 'latency'"),
        (ts.Goal(minimize=("peak", "peak")), "twice"),
        (ts.Goal(minimize="peak", maximize="peak"), "twice"),
        (ts.Goal(limits=("peak<=1", "peak<=2")), "second one"),
        (ts.Goal(limits=("peak<=1", "peak>=2")), "contradict"),
        (ts.Goal(no_limits="paek"), "did you mean 'peak'"),
    ],
)
def test_a_goal_that_cannot_be_meant_is_refused(goal, words):
    with pytest.raises(ts.GoalError, match=words):
        goal.resolve(PLAN)


def test_without_a_default_objective_one_is_asked_for():
    class Silent(ts.Problem):
        size = ts.Metric("B")

    with pytest.raises(ts.GoalError, match="--minimize or --maximize"):
        _ = Silent().default_goal


def test_a_default_limit_follows_its_parameter():
    assert limits(ts.Goal(), PLAN.replace(budget=5.0))[1] == "peak<=5"
    assert limits(ts.Goal(), PLAN.replace(nothing=3.0))[-1] == "free<=3"


def test_violation_is_the_sum_of_relative_excesses():
    goal = ResolvedGoal((Objective("a", "min"),), (Limit("a", "<=", 10.0), Limit("b", ">=", -4.0)))
    metrics = {"a": np.array([10.0, 15.0, 5.0, np.nan, np.inf]), "b": np.array([-4.0, -6.0, -5.0, 0.0, 0.0])}
    assert goal.violation(metrics).tolist() == [0.0, 0.5 + 0.5, 0.25, np.inf, np.inf]


def test_a_limit_at_zero_is_scaled_by_the_median_of_the_first_rows():
    goal = ResolvedGoal((Objective("a", "min"),), (Limit("a", "<=", 0.0),))
    rows = {"a": np.array([-4.0, 2.0, 8.0, np.nan])}
    assert goal.scaled_by(rows).violation(rows)[:3].tolist() == [0.0, 0.5, 2.0]
    assert goal.scaled_by({"a": np.zeros(3)}).violation({"a": np.ones(1)}).tolist() == [1.0]


def test_an_infinite_limit_holds_everywhere():
    goal = ResolvedGoal((Objective("a", "min"),), (Limit("a", "<=", np.inf),))
    assert goal.violation({"a": np.array([1.0, np.inf, -np.inf])}).tolist() == [0.0, 0.0, 0.0]


def test_costs_are_to_be_minimised():
    goal = ts.Goal(minimize="latency", maximize="rate").resolve(PLAN)
    assert goal.costs({"latency": np.array([1.0]), "rate": np.array([2.0])}).tolist() == [[1.0, -2.0]]


def test_a_metric_has_a_direction_or_none():
    with pytest.raises(ts.GoalError, match="'min', 'max' or None"):
        ts.Metric("s", "minimise")
