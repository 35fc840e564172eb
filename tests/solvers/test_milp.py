"""MILP views: no false proof, wrong views caught, fronts complete, conflicts named."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradespace as ts
from tradespace.solvers.reference import Bag, random_bag, true_front, true_optimum

TWO = ts.Goal(maximize=("value", "comfort"))


def front_of(result: ts.Result) -> set[tuple[float, ...]]:
    """Objective values of a result's front."""
    names = [o["metric"] for o in result.goal["objectives"]]
    return set(zip(*(result.front_columns[n].tolist() for n in names), strict=True))


def memory_plan(operators: int, scale: float = 1.0, **settings: Any) -> ts.Problem:
    """The shipped memory plan with short chains."""
    return ts.problem("memory-plan", operators=operators, time_scale=scale, **settings)


def milp(problem: ts.Problem, goal: ts.Goal | None = None, **settings: Any) -> ts.Result:
    return ts.solve(problem, "milp", goal, **settings)


# --- no false proof ------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e-11, 1e9])
def test_the_unit_of_the_objective_changes_no_answer(scale: float) -> None:
    bag = random_bag(16, seed=1)
    result = milp(bag.replace(scale=scale))
    assert result.certificate.kind == "proven"
    assert result.metrics["value"] == pytest.approx(true_optimum(bag) * scale, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e-9])
def test_operator_times_in_nanoseconds_change_no_plan(scale: float) -> None:
    whole, small = milp(memory_plan(60)), milp(memory_plan(60, scale))
    assert small.certificate.kind == whole.certificate.kind == "proven"
    assert small.metrics["recompute_time"] / scale == pytest.approx(whole.metrics["recompute_time"], rel=1e-6)
    short = memory_plan(12, scale, memory=500 * ts.MiB)
    assert milp(short).metrics["recompute_time"] == pytest.approx(true_optimum(short), rel=1e-9)


def test_an_optimum_of_zero_is_proven() -> None:
    result = milp(memory_plan(10, memory=1e12))
    assert result.metrics["recompute_time"] == 0
    assert result.certificate.kind == "proven"


def test_the_gap_is_relative_to_the_value_and_not_to_what_a_constant_hides() -> None:
    """Nearly everything is kept: the objective is a large constant less a sum almost as large."""
    loose = memory_plan(40, 1e-9, memory=2.3 * ts.GiB)
    result = milp(loose)
    assert result.certificate.kind == "proven"
    assert result.certificate.gap <= 1e-6


def test_a_limit_far_below_the_largest_coefficient_holds() -> None:
    bag = Bag(weights=(10**9, 5, 4, 3, 10**8, 2), values=(9, 5, 4, 3, 8, 2), comforts=(1,) * 6, room=8.0)
    result = milp(bag)
    assert result.feasible
    assert result.metrics["value"] == true_optimum(bag) == 8
    assert result.certificate.kind == "proven"


def test_a_gap_that_was_asked_for_is_what_proven_means() -> None:
    result = milp(random_bag(40, seed=3), budget=ts.Budget(gap=0.05))
    assert result.certificate.kind == "proven"
    assert result.certificate.gap <= 0.05


# --- wrong views ---------------------------------------------------------------------------------------
class Tampered(Bag):
    """A bag whose view is changed by `fault`."""

    fault: str = ""

    def milp_view(self, given: Mapping[str, Any] | None = None) -> ts.MilpView:
        import pyomo.environ as pyo

        view = super().milp_view()
        model = view.model
        if self.fault == "forbids":
            model.wrong = pyo.Constraint(expr=model.taken[0] + model.taken[3] <= 1)
        if self.fault == "decode":
            return replace(view, decode=lambda: {"taken": [not t for t in view.decode()["taken"]]})
        if self.fault == "decode outside":
            return replace(view, decode=lambda: {"taken": [7] * self.count})
        if self.fault == "metric":
            return replace(view, metrics={**view.metrics, "value": view.metrics["value"] + 1e-3})
        if self.fault == "name":
            return replace(view, metrics={**view.metrics, "worth": view.metrics["value"]})
        if self.fault == "encode":
            return replace(view, encode=lambda point: None)
        if self.fault == "free":
            model.more = pyo.Var(domain=pyo.NonNegativeReals)
            return replace(view, metrics={**view.metrics, "value": view.metrics["value"] + model.more})
        if self.fault == "product":
            return replace(view, metrics={**view.metrics, "value": model.taken[0] * model.taken[1]})
        if self.fault == "set":
            model.one = pyo.SOSConstraint(var=model.taken, sos=1)
        return view


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("forbids", "forbids"),
        ("decode", "disagree"),
        ("decode outside", "outside the space"),
        ("metric", "disagree on 'value'"),
        ("name", "worth"),
        ("encode", "unset"),
        ("free", "unset|without end"),
    ],
)
def test_a_wrong_view_is_caught(fault: str, said: str) -> None:
    with pytest.raises(ts.ViewMismatch, match=said):
        milp(Tampered(fault=fault))


@pytest.mark.parametrize(("fault", "said"), [("product", "'value' .* not linear"), ("set", "SOSConstraint")])
def test_what_no_linear_programme_holds_is_refused_and_never_dropped(fault: str, said: str) -> None:
    with pytest.raises(ts.GoalError, match=said):
        milp(Tampered(fault=fault))


def test_a_view_that_forbids_the_start_is_caught() -> None:
    """Of 24 items few random points fit; the user's own start shows that the bound is wrong."""
    base = random_bag(24, seed=2)

    class Narrow(type(base)):  # type: ignore[misc]
        """Forbids what the start packs."""

        def milp_view(self, given: Mapping[str, Any] | None = None) -> ts.MilpView:
            import pyomo.environ as pyo

            view = super().milp_view()
            best = milp(base).best["taken"]
            view.model.wrong = pyo.Constraint(
                expr=sum(view.model.taken[i] if t else 1 - view.model.taken[i] for i, t in enumerate(best))
                <= 20
            )
            return view

    narrow = Narrow(**base.parameters)
    with pytest.raises(ts.ViewMismatch, match=r"forbids|beats"):
        milp(narrow, start=milp(base).best)


def test_a_view_that_leaves_out_part_of_the_front_is_caught() -> None:
    with pytest.raises(ts.ViewMismatch, match="forbids"):
        milp(Tampered(fault="forbids"), TWO)


class Lazy(ts.Problem):
    """The largest of three sums, modelled as an epigraph with `slack` too much."""

    slack: float = 0.0

    chosen = ts.Bool(shape=3)

    peak = ts.Metric("1", "min")
    gain = ts.Metric("1", at_least=5)

    def evaluate(self, x: Any) -> dict[str, Any]:
        pick = x.chosen.astype(float)
        return {"peak": (pick * [3.0, 4.0, 5.0]).max(axis=1), "gain": pick @ np.array([2.0, 3.0, 4.0])}

    def milp_view(self, given: Mapping[str, Any] | None = None) -> ts.MilpView:
        import pyomo.environ as pyo

        model = pyo.ConcreteModel()
        model.chosen = pyo.Var(range(3), domain=pyo.Binary)
        model.peak = pyo.Var(bounds=(0, None))
        sizes = (3.0, 4.0, 5.0)
        model.rows = pyo.Constraint(
            range(3), rule=lambda m, i: m.peak >= (1 + self.slack) * sizes[i] * m.chosen[i]
        )

        def encode(point: Mapping[str, Any]) -> None:
            for i, p in enumerate(point["chosen"]):
                model.chosen[i] = int(p)
            model.peak = max((1 + self.slack) * s * p for s, p in zip(sizes, point["chosen"], strict=True))

        gain = 2 * model.chosen[0] + 3 * model.chosen[1] + 4 * model.chosen[2]
        return ts.MilpView(
            model,
            {"peak": model.peak, "gain": gain},
            lambda: {"chosen": [round(pyo.value(model.chosen[i])) == 1 for i in range(3)]},
            encode,
            upper=("peak",),
        )


def test_an_epigraph_is_compared_both_ways() -> None:
    assert milp(Lazy()).metrics["peak"] == 4
    with pytest.raises(ts.ViewMismatch, match="'peak'"):
        milp(Lazy(slack=0.2))
    with pytest.raises(ts.ViewMismatch, match="'peak'"):
        milp(Lazy(slack=0.2), ts.Goal(maximize=("gain",), limits=("peak<=4.2",)))


def test_an_epigraph_can_neither_be_maximised_nor_limited_from_below() -> None:
    for goal in (ts.Goal(maximize=("peak",)), ts.Goal(limits=("peak>=3",))):
        with pytest.raises(ts.SolverUnavailable, match="peak"):
            milp(Lazy(), goal)


def test_a_metric_of_zero_is_no_mismatch() -> None:
    result = milp(Lazy(), ts.Goal(minimize=("gain", "peak"), no_limits=("gain",)))
    assert front_of(result) == {(0.0, 0.0)}


def test_an_inexact_view_gives_no_certificate() -> None:
    class Rough(Bag):
        """Says that its view approximates."""

        def milp_view(self, given: Mapping[str, Any] | None = None) -> ts.MilpView:
            return replace(super().milp_view(), exact=False)

    for goal in (None, TWO):
        result = milp(Rough(), goal)
        assert result.feasible
        assert result.certificate.kind == "none"
        assert "approximates" in result.certificate.statement


# --- limits --------------------------------------------------------------------------------------------
def test_an_infeasible_goal_names_the_limits_that_conflict_and_what_can_be_reached() -> None:
    result = milp(Bag(), ts.Goal(limits=("value>=60", "weight<=20")))
    assert result.stop_reason == "infeasible"
    assert not result.feasible
    said = result.certificate.statement
    reached = true_optimum(Bag(room=20.0))
    assert "'value >= 60'" in said
    assert f"largest reachable value is {reached:g}" in said
    assert "least reachable weight" in said


def test_a_limit_that_alone_is_out_of_reach_is_named() -> None:
    said = milp(Bag(), ts.Goal(limits=("value>=1000",))).certificate.statement
    assert "largest reachable value" in said


# --- fronts --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_the_sweep_finds_every_efficient_point(seed: int) -> None:
    bag = random_bag(10, seed, scale=1e-9)
    result = milp(bag, TWO)
    assert result.certificate.kind == "proven"
    assert front_of(result) == true_front(bag, TWO)


def test_the_sweep_ends_where_values_are_tiny_against_the_coefficients() -> None:
    bag = Bag(weights=(1, 1, 1, 1), values=(1, 2, 3, 4), comforts=(10**7, 3, 1, 2), room=2.0)
    assert front_of(milp(bag, TWO)) == true_front(bag, TWO)


def test_the_sweep_keeps_the_budget() -> None:
    result = milp(random_bag(14, 0), TWO, budget=ts.Budget(evaluations=6))
    assert result.evaluations <= 6
    assert result.certificate.kind == "none"
    assert "stopped" in result.certificate.statement


def test_the_time_limit_is_kept() -> None:
    began = time.monotonic()
    hard = random_bag(400, 7)
    goal = ts.Goal(maximize=("value", "comfort"))
    result = milp(hard, goal, budget=ts.Budget(seconds=0.5))
    assert result.certificate.kind == "none"
    assert "stopped" in result.certificate.statement
    assert time.monotonic() - began < 60  # it would run for hours


# --- exhaustive = milp ---------------------------------------------------------------------------------
class Plain(ts.Problem):
    """A random linear problem over vectors and a menu, with its view."""

    entries: int = 2
    table_seed: int = 0
    share: float = 0.5

    use = ts.Bool(shape="entries")
    level = ts.Int(0, 2, shape="entries")
    width = ts.Menu(1, 2, 5)

    gain = ts.Metric("1", "max")
    loss = ts.Metric("1")
    load = ts.Metric("B", at_most="most", at_least="least")

    def table(self) -> dict[str, Any]:
        rng = np.random.default_rng(self.table_seed)
        return {m: rng.integers(-5, 10, 2 * self.entries + 1) for m in ("gain", "loss", "load")}

    @property
    def most(self) -> float:
        return float(np.floor(self.share * 3 * np.abs(self.table()["load"]).sum()))

    @property
    def least(self) -> float:
        return -self.most / 2

    def evaluate(self, x: Any) -> dict[str, Any]:
        columns = np.concatenate([x.use, x.level, x.width[:, None]], axis=1).astype(np.int64)
        return {metric: columns @ row for metric, row in self.table().items()}

    tied = False

    def milp_view(self, given: Mapping[str, Any] | None = None) -> ts.MilpView:
        import pyomo.environ as pyo

        model, n, menu = pyo.ConcreteModel(), range(self.entries), (1, 2, 5)
        model.use = pyo.Var(n, domain=pyo.Binary)
        model.level = pyo.Var(n, domain=pyo.Integers, bounds=(0, 2))
        model.width = pyo.Var(range(3), domain=pyo.Binary)
        model.one = pyo.Constraint(expr=sum(model.width[j] for j in range(3)) == 1)
        if self.tied:
            model.tie = pyo.Constraint(n, rule=lambda m, i: m.level[i] <= 2 * m.use[i])

        def expression(row: Any) -> Any:
            use, level, width = row[: self.entries], row[self.entries : -1], row[-1]
            return sum(int(use[i]) * model.use[i] + int(level[i]) * model.level[i] for i in n) + sum(
                int(width) * w * model.width[j] for j, w in enumerate(menu)
            )

        def encode(point: Mapping[str, Any]) -> None:
            for i in n:
                model.use[i], model.level[i] = int(point["use"][i]), int(point["level"][i])
            for j, w in enumerate(menu):
                model.width[j] = int(point["width"] == w)

        def decode() -> dict[str, Any]:
            return {
                "use": [round(pyo.value(model.use[i])) == 1 for i in n],
                "level": [round(pyo.value(model.level[i])) for i in n],
                "width": next(w for j, w in enumerate(menu) if pyo.value(model.width[j]) > 0.5),
            }

        return ts.MilpView(model, {m: expression(row) for m, row in self.table().items()}, decode, encode)


class Conditional(Plain):
    """The same, with each level tied to its use."""

    level = ts.Int(0, 2, shape="entries", when={"use": True})

    tied = True


@given(
    kind=st.sampled_from([Plain, Conditional]),
    entries=st.integers(1, 3),
    table_seed=st.integers(0, 10_000),
    share=st.sampled_from([0.02, 0.1, 0.3, 1.0]),
)
@settings(max_examples=25)
def test_exhaustive_and_milp_agree(kind: type[Plain], entries: int, table_seed: int, share: float) -> None:
    problem = kind(entries=entries, table_seed=table_seed, share=share)
    every, proof = ts.solve(problem, "exhaustive"), milp(problem)
    assert every.certificate.kind == "proven"
    assert proof.feasible == every.feasible
    if every.feasible:
        assert proof.certificate.kind == "proven"
        assert proof.metrics["gain"] == every.metrics["gain"] == true_optimum(problem)
    else:
        assert proof.certificate.infeasible


@given(kind=st.sampled_from([Plain, Conditional]), table_seed=st.integers(0, 10_000))
@settings(max_examples=8)
def test_the_sweep_and_exhaustive_give_one_front(kind: type[Plain], table_seed: int) -> None:
    problem, goal = kind(table_seed=table_seed), ts.Goal(maximize=("gain",), minimize=("loss",))
    every, swept = ts.solve(problem, "exhaustive", goal), milp(problem, goal)
    assert front_of(swept) == front_of(every) == true_front(problem, goal)
    assert swept.certificate.kind == "proven" or not every.feasible
