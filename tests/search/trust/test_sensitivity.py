"""Sobol indexes against the closed form of Ishigami's function and against SALib; one change at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.scoring import evaluate
from tradespace.search.trust.sensitivity import indexes, moves, one_at_a_time, sobol


class Ishigami(ts.Problem):
    """sin a + 7 sin² b + 0.1 c⁴ sin a over (-pi, pi)³."""

    a = ts.Float(-math.pi, math.pi)
    b = ts.Float(-math.pi, math.pi)
    c = ts.Float(-math.pi, math.pi)
    y = ts.Metric("1", "min", at_most=5.0)

    def evaluate(self, x: Any) -> dict[str, Any]:
        return {"y": np.sin(x.a) + 7 * np.sin(x.b) ** 2 + 0.1 * x.c**4 * np.sin(x.a)}


def test_indexes_of_ishigami() -> None:
    found = {s.name: s for s in sobol(Ishigami(), "y", rows=8_192)}
    first = {"a": 0.3139, "b": 0.4424, "c": 0.0}
    total = {"a": 0.5576, "b": 0.4424, "c": 0.2437}
    for name in first:
        assert abs(found[name].first - first[name]) < 0.04
        assert abs(found[name].total - total[name]) < 0.04
        assert abs(found[name].first - first[name]) < 2 * found[name].first_error + 0.01


def test_indexes_agree_with_salib() -> None:
    analyze = pytest.importorskip("SALib.analyze.sobol", reason="SALib is not installed").analyze
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5, 256)) + np.linspace(0, 3, 256)  # A, B, and three mixed samples
    interleaved = np.stack([values[0], *values[2:], values[1]], axis=1).ravel()
    names = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[0, 1]] * 3}
    theirs = analyze(names, interleaved, calc_second_order=False, num_resamples=2)
    first, total = indexes(values)
    assert np.allclose(first, theirs["S1"], rtol=0.02, atol=0.02)
    assert np.allclose(total, theirs["ST"], rtol=0.02, atol=0.02)


def test_one_change_says_how_far_and_what_stays_feasible() -> None:
    problem = Ishigami()
    base = problem.space.batch({"a": 0.1, "b": 0.5, "c": 0.0})
    names, moved = moves(problem, base, 0)
    assert moved is not None
    scores = evaluate(problem, moved)
    reference = float(evaluate(problem, base).metrics["y"][0])
    reaches = one_at_a_time(names, scores, problem.default_goal, reference, "y")
    assert reaches[0].name == "b"
    assert reaches[0].all_high > reaches[0].high
    assert all(r.all_low <= r.low and r.high <= r.all_high for r in reaches if np.isfinite(r.low))


class Constant(ts.Problem):
    """Nothing moves."""

    a = ts.Int(0, 3)
    b = ts.Int(0, 3)
    y = ts.Metric("1", "min")

    def evaluate(self, x: Any) -> dict[str, Any]:
        return {"y": np.ones(len(x))}


def test_a_constant_has_no_indexes() -> None:
    assert sobol(Constant(), "y", rows=64) == []
