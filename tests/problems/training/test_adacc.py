"""The referee against a plain loop; plans that hold their limits, grow with memory and ignore units."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.training.actions import CODECS, codec_error, codec_seconds, coded_size
from tradespace.problems.training.adacc import Adacc
from tradespace.problems.training.milp import flat_view
from tradespace.problems.training.operators import Operators
from tradespace.problems.training.report import runs, timeline

pytestmark = pytest.mark.filterwarnings("ignore::tradespace.costmodels.OutsideCalibration")
SMALL = {"model": "gpt2", "batch": 4, "sequence": 256}


class FlatAdacc(Adacc):
    """The same problem with the textbook view."""

    def milp_view(self, given=None):
        return flat_view(self.step)


def share_of_activations(problem: Adacc, share: float) -> Adacc:
    """The problem with memory for a share of what keeping everything stores."""
    step = problem.step
    fixed = step.static + step.embedding + max(step.head, step.block.gradients)
    return problem.replace(memory=fixed + share * step.layers * step.block.whole)


@cache
def solved(
    layers: int, attention: str, share: float = 0.4, scale: float = 1.0, gap: float | None = None
) -> tuple[Adacc, ts.Result]:
    problem = share_of_activations(Adacc(layers=layers, attention=attention, time_scale=scale), share)
    return problem, ts.solve(problem, solver="milp", budget=ts.Budget(seconds=30, gap=gap))


def by_hand(problem: Adacc, rows: list[list[str]]) -> tuple[float, float, float]:
    """Step time, peak and error by loops over blocks and tensors."""
    step, block = problem.step, problem.step.block
    operators = Operators(problem.device, problem.precision)
    tensors = {t.name: t for t in block.tensors}
    seconds, error, moved, prefix = float(step.base.time), 0.0, 0.0, float(step.static + step.embedding)
    peak = 0.0
    for row in rows:
        action = {t.name: a for t, a in zip(block.saved, row, strict=True)}
        again: set[str] = set()

        def compute(name: str, again: set[str] = again, action: dict[str, str] = action) -> None:
            if name in again:
                return
            again.add(name)
            for parent in tensors[name].parents:
                if tensors[parent].role == "transient" or action.get(parent) == "recompute":
                    compute(parent)

        workspace = 0.0
        for name, label in action.items():
            tensor = tensors[name]
            if label == "recompute":
                compute(name)
            elif label == "retain":
                prefix += tensor.size
            elif label == "offload":
                moved += operators.transfer(tensor.size)
            else:
                assert label in CODECS
                prefix += coded_size(tensor, label, operators.item)
                seconds += codec_seconds(tensor, label, operators)
                error += codec_error(block, tensor, label) / len(rows)
            workspace += 0 if label == "retain" else tensor.size
        prefix += sum(t.size for t in block.tensors if t.role == "anchor")
        seconds += sum(tensors[name].seconds for name in again)
        peak = max(peak, prefix + workspace + block.gradients)
    seconds += max(0.0, moved - problem.overlap * step.forward) + max(
        0.0, moved - problem.overlap * step.backward
    )
    return seconds, max(peak, prefix + step.head), error


@pytest.mark.parametrize(
    "changes",
    [{}, {"attention": "unfused"}, {"offload": True, "overlap": 0.01}, {"model": "llama-7b", "layers": 5}],
)
def test_referee_agrees_with_a_plain_loop(changes: dict) -> None:
    problem = Adacc(**{**SMALL, **changes})
    batch = problem.space.sample(np.random.default_rng(1), 5)
    metrics = problem.score(batch).metrics
    for row, point in enumerate(problem.space.points(batch)):
        expected = by_hand(problem, point["action"])
        found = tuple(float(metrics[name][row]) for name in ("step_time", "peak", "error"))
        assert found == pytest.approx(expected, rel=1e-12)


def test_keeping_everything_costs_nothing_and_peaks_where_the_step_says() -> None:
    problem = Adacc()
    metrics = problem.score({"action": [["retain"] * problem.tensor_count] * 48}).metrics
    assert metrics["step_time"][0] == problem.step.base_seconds
    assert metrics["peak"][0] == problem.step.keep_everything
    assert metrics["error"][0] == 0


@pytest.mark.parametrize("attention", ["fused", "unfused"])
@pytest.mark.parametrize("layers", [12, 24, 48, 96])
def test_a_plan_at_40_percent_is_within_its_limits_and_its_gap(layers: int, attention: str) -> None:
    problem, result = solved(layers, attention)
    assert result.metrics["peak"] <= problem.memory
    assert result.metrics["error"] <= problem.error_budget
    assert result.certificate.gap <= 1e-4
    assert result.seconds <= 10


@pytest.mark.parametrize("attention", ["fused", "unfused"])
def test_more_memory_never_makes_a_slower_plan(attention: str) -> None:
    shares = (0.2, 0.3, 0.4, 0.6, 0.8, 1.1)
    times = [solved(12, attention, share, gap=1e-9)[1].metrics["step_time"] for share in shares]
    assert all(later <= earlier * (1 + 1e-8) for earlier, later in pairwise(times))
    assert times[-1] == pytest.approx(Adacc(layers=12, attention=attention).step.base_seconds)


@pytest.mark.parametrize("attention", ["fused", "unfused"])
def test_the_same_plan_when_every_time_is_divided_by_1000(attention: str) -> None:
    _, result = solved(24, attention, gap=1e-9)
    _, small = solved(24, attention, scale=1e-3, gap=1e-9)
    assert small.metrics["step_time"] == pytest.approx(result.metrics["step_time"] / 1000)
    assert small.best == result.best


def test_both_views_reach_the_same_step_time() -> None:
    goal = ts.Goal()
    found = [
        ts.solve(
            share_of_activations(kind(**SMALL, layers=4), 0.4),
            solver="milp",
            goal=goal,
            budget=ts.Budget(seconds=30),
        ).metrics["step_time"]
        for kind in (Adacc, FlatAdacc)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_the_least_peak_is_reached_within_a_step_time() -> None:
    problem = Adacc(**SMALL)
    goal = ts.Goal(
        minimize=("peak",), limits=(f"step_time<={1.1 * problem.step.base_seconds}",), no_limits=("peak",)
    )
    result = ts.solve(problem, solver="milp", goal=goal, budget=ts.Budget(seconds=30))
    assert result.certificate.gap <= 1e-4
    assert result.metrics["step_time"] <= 1.1 * problem.step.base_seconds
    back = problem.replace(memory=result.metrics["peak"])
    again = ts.solve(back, solver="milp", budget=ts.Budget(seconds=30))
    assert again.metrics["step_time"] <= result.metrics["step_time"] * (1 + 1e-6)


def test_offload_is_never_slower_than_without_it() -> None:
    plain = share_of_activations(Adacc(**SMALL, layers=6), 0.3)
    moving = plain.replace(offload=True)
    without = ts.solve(plain, solver="milp", budget=ts.Budget(seconds=20))
    along = ts.solve(moving, solver="milp", budget=ts.Budget(seconds=20, gap=1e-2))
    assert along.metrics["step_time"] <= without.metrics["step_time"] * 1.0001
    assert along.metrics["peak"] <= plain.memory


def test_an_unreachable_limit_is_explained_with_the_least_peak_and_its_price() -> None:
    problem = Adacc()
    text = problem.explain_infeasible(ts.Goal(limits=("peak<=20GiB",)).resolve(problem))
    step = problem.step
    least = step.static + step.embedding + step.layers * step.block.anchors + step.head
    assert "peak <= 20 GiB leaves no feasible plan for adacc (gpt2-xl, a100-sxm-80gb)." in text
    assert f"least reachable peak is {least / ts.GiB:.3g} GiB, at" in text
    assert "more step time" in text
    tried = text.split("--limit '")[1].split("'")[0]
    assert problem.explain_infeasible(ts.Goal(limits=(tried,)).resolve(problem)) == ""


def test_limits_that_conflict_only_together_are_explained_together() -> None:
    problem = Adacc()
    limits = ("peak<=36GiB", f"step_time<={1.01 * problem.step.base_seconds}")
    text = problem.explain_infeasible(ts.Goal(limits=limits).resolve(problem))
    assert "With the other limits held" in text
    assert "peak can be" in text
    assert "step_time can be" in text


def test_the_table_adds_up_to_the_metrics() -> None:
    problem, result = solved(24, "unfused")
    rows = problem.summary(result.best)
    total = rows[-1]
    assert [row["tensor"] for row in rows] == [*problem.tensor_names, "total"]
    overhead = result.metrics["step_time"] - problem.step.base_seconds
    assert total["time ms"] == pytest.approx(1e3 * overhead, rel=1e-9)
    assert total["error"] == pytest.approx(result.metrics["error"])
    assert total["stored MiB"] + total["freed MiB"] == pytest.approx(24 * total["MiB"])
    treatments = ("retain", "packed", "int8", "int4", "recompute")
    assert sum(total[name] for name in treatments) == 24 * problem.tensor_count
    masks = [row for row in rows if "mask" in row["tensor"]]
    assert masks
    assert all(row["int8"] == row["int4"] == 0 for row in masks)
    assert runs(["retain", "retain", "int4", "retain"]) == "retain 1-2 4, int4 3"


def test_the_timeline_peaks_where_the_referee_says() -> None:
    problem, result = solved(12, "fused")
    parts = timeline(problem, result.best)
    assert sum(parts.values()).max() == pytest.approx(result.metrics["peak"], rel=1e-12)
    figures = problem.figures(result.best)
    assert set(figures) == {"memory", "plan"}
