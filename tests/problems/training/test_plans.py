"""Block plans and the two programmes over them, against brute force and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradespace.hardware import device
from tradespace.problems.training.actions import table
from tradespace.problems.training.adacc import Adacc
from tradespace.problems.training.counts import PlanCounts, tail_length
from tradespace.problems.training.milp import count_view, flat_view
from tradespace.problems.training.operators import Operators
from tradespace.problems.training.plans import BULK, LAST, TAIL, Planner
from tradespace.problems.training.step import Step, blocks_by_label
from tradespace.solvers.highs import minimize
from tradespace.solvers.linear import Constraint, compile_model

SMALL = {"model": "gpt2", "batch": 4, "sequence": 256, "dropout": False}


def all_choices(step: Step) -> np.ndarray:
    """Every way to treat one block, (labels ** tensors, tensors)."""
    grid = np.indices((len(step.table.labels),) * len(step.block.saved))
    return grid.reshape(len(step.block.saved), -1).T


def unbeaten(costs: np.ndarray) -> set[tuple[float, ...]]:
    """The distinct rows that no other row is at least as good as in every column."""
    rows = np.unique(costs, axis=0)
    kept = [r for r in rows if not ((rows <= r).all(axis=1) & (rows < r).any(axis=1)).any()]
    return {tuple(r) for r in kept}


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        *((n, c) for n in (BULK, LAST, TAIL) for c in ({}, {"attention": "unfused"})),
        (LAST, {"offload": True}),
    ],
)
def test_block_plans_are_the_pareto_front_of_brute_force(names: tuple[str, ...], changes: dict) -> None:
    step = Adacc(**SMALL, **changes).step
    planner = Planner(step.block, step.table)
    everything = planner.scaled(planner.price(all_choices(step), planner.whole).costs(names), names)
    distinct = np.unique(everything, axis=0)
    from moocore import is_nondominated

    expected = {tuple(r) for r in distinct[is_nondominated(distinct)]}
    found = planner.scaled(planner.pareto(planner.whole, names).costs(names), names)
    assert {tuple(r) for r in found} == expected
    assert len(found) == len(expected)


def test_moocore_and_the_definition_agree() -> None:
    from moocore import is_nondominated

    costs = np.random.default_rng(0).integers(0, 6, (400, 4)).astype(float)
    assert {tuple(r) for r in costs[is_nondominated(costs)]} == unbeaten(costs)


def best_time(step: Step, view, memory: float, budget: float) -> float | None:
    """The least step time of a view under both limits, solved to the end."""
    model = compile_model(view.model, view.metrics)
    limits = [
        Constraint(model.metrics["peak"], upper=memory),
        Constraint(model.metrics["error"], upper=budget),
    ]
    outcome = minimize(model, model.metrics["step_time"], limits, gap=1e-9, seconds=60)
    return None if outcome.x is None else model.metrics["step_time"].value(outcome.x)


def limit(step: Step, share: float) -> float:
    """Memory that holds a share of what keeping everything stores."""
    last = max(step.head, step.block.gradients)
    return step.static + step.embedding + last + share * step.layers * step.block.whole


@pytest.mark.parametrize("attention", ["fused", "unfused"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_one_block_counts_equal_flat_equal_brute_force(attention: str, share: float) -> None:
    problem = Adacc(**SMALL, layers=1, attention=attention, vocabulary=50)
    step = problem.step
    memory = step.static + step.embedding + step.block.gradients + step.block.whole * (0.85 + share / 4)
    problem = problem.replace(memory=memory)
    choices = all_choices(step)
    least = np.inf
    for start in range(0, len(choices), 4096):
        rows = choices[start : start + 4096, None, :]
        batch = problem.space.restore({"action": rows.astype(np.int16)})
        metrics = problem.score(batch).metrics
        fits = (metrics["peak"] <= memory) & (metrics["error"] <= problem.error_budget)
        least = min(least, metrics["step_time"][fits].min(initial=np.inf))
    counted = best_time(step, count_view(step), memory, problem.error_budget)
    flat = best_time(step, flat_view(step), memory, problem.error_budget)
    if np.isinf(least):
        assert counted is None
        assert flat is None
    else:
        assert counted == pytest.approx(least, rel=1e-7)
        assert flat == pytest.approx(least, rel=1e-7)


@pytest.mark.parametrize(
    "changes", [{}, {"attention": "unfused"}, {"model": "llama-7b", "hidden": 512, "heads": 8}]
)
@pytest.mark.parametrize("layers", [2, 3])
def test_counts_equal_flat_on_several_blocks(changes: dict, layers: int) -> None:
    step = Adacc(**{**SMALL, **changes}, layers=layers, vocabulary=50).step
    memory = limit(step, 0.7)
    counted = best_time(step, count_view(step), memory, 0.005)
    assert counted is not None
    assert counted == pytest.approx(best_time(step, flat_view(step), memory, 0.005), rel=1e-7)


def shared() -> Step:
    """A step whose query, key and value come from one product that is not saved: one part of three."""
    step = Adacc(**SMALL, layers=3, vocabulary=50).step
    by_name = {t.name: t for t in step.block.tensors}
    qkv = by_name["qkv"]
    thirds = [
        replace(
            qkv, name=name, elements=qkv.elements // 3, width=qkv.width // 3, size=qkv.size // 3,
            seconds=qkv.seconds / 20, parents=("product",),
        )
        for name in ("query", "key", "value")
    ]  # fmt: skip
    made = []
    for tensor in step.block.tensors:
        if tensor.name == "qkv":
            made += [replace(tensor, name="product", role="transient"), *thirds]
        elif "qkv" in tensor.parents:
            made.append(replace(tensor, parents=("query", "key", "value")))
        else:
            made.append(tensor)
    block = replace(step.block, tensors=tuple(made))
    return replace(step, block=block, table=table(block, Operators(device("a100-sxm-80gb"), "bf16"), False))


def test_tensors_that_share_a_transient_form_one_part() -> None:
    step = shared()
    planner = Planner(step.block, step.table)
    names = [[step.block.saved[i].name for i in part] for part in planner.parts]
    assert ["query", "key", "value"] in names
    assert sorted(i for part in planner.parts for i in part) == list(planner.whole)
    assert all(len(part) == 1 for part in names if "query" not in part)


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_counts_equal_flat_where_tensors_share_a_transient(share: float) -> None:
    step = shared()
    memory = limit(step, share)
    counted = best_time(step, count_view(step), memory, 0.002)
    flat = best_time(step, flat_view(step), memory, 0.002)
    assert counted == pytest.approx(flat, rel=1e-7)
    assert counted is not None


def heavy(step: Step, factor: float) -> Step:
    """A step whose codecs and recomputing materialise more than the tensor itself."""
    return replace(step, table=replace(step.table, workspace=step.table.workspace * factor))


def test_only_the_last_block_can_hold_the_peak() -> None:
    for changes in ({}, {"attention": "unfused"}, {"offload": True}, {"model": "llama-7b"}):
        assert tail_length(Adacc(**changes).step) == 1


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_a_longer_tail_keeps_the_counts_exact(factor: float) -> None:
    step = heavy(Adacc(**SMALL, layers=4, vocabulary=50).step, factor)
    assert tail_length(step) > 1
    memory = limit(step, 0.9) + (factor - 1) * 0.6 * step.block.whole
    counted = best_time(step, count_view(step), memory, 0.005)
    assert counted is not None
    assert counted == pytest.approx(best_time(step, flat_view(step), memory, 0.005), rel=1e-7)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([1.0, 1.5, 3.0]))
def test_the_peak_lies_in_the_tail_or_at_the_loss(seed: int, factor: float) -> None:
    step = heavy(Adacc(**SMALL, layers=6, vocabulary=50).step, factor)
    choice = np.random.default_rng(seed).integers(0, len(step.table.labels), (6, len(step.block.saved)))
    planner = Planner(step.block, step.table)
    plans = planner.price(choice, planner.whole)
    moments = step.moments(step.block.anchors + plans.stored[None], plans.workspace[None])[0]
    assert moments.argmax() >= 6 - min(6, tail_length(step)) or moments.max() == moments[-1]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), offload=st.booleans())
def test_a_stand_in_is_at_least_as_good_in_every_metric(seed: int, offload: bool) -> None:
    problem = Adacc(**SMALL, layers=3, offload=offload)
    counts = PlanCounts(problem.step)
    choice = np.random.default_rng(seed).integers(0, len(problem.action_labels), (3, problem.tensor_count))
    chosen = counts.choice(counts.values(choice))
    points = [{"action": counts.labels(choice)}, {"action": counts.labels(chosen)}]
    for values in problem.score(points).metrics.values():
        assert values[1] <= values[0] * (1 + 1e-9)


@pytest.mark.parametrize(("labels", "layers"), [(2, 3), (5, 5_000), (7, 700)])
def test_blocks_are_counted_by_label_however_many_there_are(labels, layers):
    choice = np.random.default_rng(0).integers(labels, size=(3, layers, 2))
    choice[0] = labels - 1
    counted = np.stack([(choice == label).sum(axis=1).T for label in range(labels)])
    assert np.array_equal(blocks_by_label(choice, labels), counted)
