"""The laws that every solver keeps, as a class for pytest: subclass it and name the solver.

    from tradespace.solvers.testing import SolverContract

    class TestClimber(SolverContract):
        solver = "climber.py:Climber"

It drives whole searches, so it uses the public package like any test, and needs pytest (extra `test`).
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tradespace as ts

from .portfolio import make
from .reference import SINGLE, Bag, Holes, Impossible, OnePoint, Tree, TwoGoals, Valley, true_optimum

OTHER_PROCESS = """
import json, pickle, sys
sys.path[:] = json.loads(sys.argv[1])
import tradespace as ts
problem, solver, budget, seed = pickle.loads(bytes.fromhex(sys.argv[2]))
result = ts.solve(problem, solver, budget=ts.Budget(evaluations=budget), seed=seed)
print(json.dumps([result.best, result.metrics, result.evaluations]))
"""


class SolverContract:
    """Laws of every solver. `solver` is its name; the problems may be replaced where it takes others."""

    solver: ClassVar[str]
    finite: ClassVar[tuple[ts.Problem, ...]] = SINGLE
    """Problems with a known optimum; those that the solver refuses are left out."""
    deterministic: ClassVar[ts.Problem] = Tree()
    evaluations: ClassVar[int] = 300

    def solve(self, problem: ts.Problem, evaluations: int | None = None, **settings: Any) -> ts.Result:
        """Run the solver; skips what it refuses."""
        budget = ts.Budget(evaluations=evaluations or self.evaluations)
        refused = make(self.solver).accepts(problem, problem.default_goal, budget)
        if refused:
            pytest.skip(f"{self.solver} refuses {type(problem).__name__}: {refused}")
        return ts.solve(problem, self.solver, budget=budget, **settings)

    @pytest.mark.parametrize("evaluations", [1, 7, 100])
    def test_budget_is_kept(self, evaluations: int) -> None:
        assert self.solve(self.deterministic, evaluations).evaluations <= evaluations

    def test_same_seed_same_answer(self) -> None:
        first, second = (self.solve(self.deterministic, seed=5) for _ in range(2))
        assert (first.best, first.metrics, first.evaluations) == (
            second.best,
            second.metrics,
            second.evaluations,
        )

    def test_same_seed_same_answer_in_another_process(self) -> None:
        """Another process, with other hashes of texts. The problem's class must be importable."""
        here = self.solve(self.deterministic, seed=5)
        asked = pickle.dumps((self.deterministic, self.solver, self.evaluations, 5))
        run = subprocess.run(
            [sys.executable, "-c", OTHER_PROCESS, json.dumps(sys.path), asked.hex()],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "4711"},
        )
        answered = json.loads(run.stdout.splitlines()[-1])
        assert answered == [here.best, here.metrics, here.evaluations]

    def test_accepting_keeps_nothing(self) -> None:
        """The answer is that of a fresh solver, whatever it was asked about before."""
        asked = make(self.solver)
        before = dict(vars(asked))
        budget = ts.Budget(evaluations=self.evaluations)
        for problem in (self.deterministic, *self.finite, TwoGoals(), Impossible()):
            asked.accepts(problem, problem.default_goal, budget)
        assert vars(asked) == before
        fresh = self.solve(self.deterministic, seed=5)
        again = ts.solve(self.deterministic, asked, budget=budget, seed=5)
        assert (again.best, again.metrics) == (fresh.best, fresh.metrics)

    def test_same_seed_same_answer_with_two_workers(self) -> None:
        alone, shared = (
            self.solve(self.deterministic, seed=5),
            self.solve(self.deterministic, seed=5, workers=2),
        )
        assert (alone.best, alone.metrics, alone.evaluations) == (
            shared.best,
            shared.metrics,
            shared.evaluations,
        )

    def test_infeasible_is_never_reported_feasible(self) -> None:
        result = self.solve(Impossible())
        assert not result.feasible
        assert result.front_size == 0

    def test_a_row_that_fails_is_never_the_answer(self) -> None:
        result = self.solve(Holes())
        assert result.feasible
        assert np.isfinite(result.metrics["value"])

    def test_resumes_to_the_same_answer(self, tmp_path: Path) -> None:
        half = max(1, self.evaluations // 2)
        whole = self.solve(self.deterministic, seed=3)
        first = self.solve(self.deterministic, half, seed=3, runs=tmp_path)
        assert first.run_dir is not None
        budget = ts.Budget(evaluations=self.evaluations)
        again = ts.resume(first.run_dir, problem=self.deterministic, budget=budget)
        assert (again.best, again.metrics) == (whole.best, whole.metrics)
        assert again.evaluations == whole.evaluations
        assert again.evaluated_here == whole.evaluations - first.evaluations

    @pytest.mark.parametrize("problem", [OnePoint(), Valley()], ids=["one point", "one variable"])
    def test_smallest_spaces(self, problem: ts.Problem) -> None:
        result = self.solve(problem)
        assert result.evaluations <= (problem.space.size or 0)
        assert result.feasible

    def test_an_exhausted_space_ends_the_search(self) -> None:
        result = self.solve(Valley(), 100_000)
        assert result.evaluations <= 41
        assert result.metrics["depth"] == 0

    @pytest.mark.parametrize("place", range(len(SINGLE)))
    def test_nothing_beats_the_known_optimum(self, place: int) -> None:
        problem = self.finite[place % len(self.finite)]
        result = self.solve(problem)
        objective = problem.default_goal.objectives[0]
        optimum = true_optimum(problem)
        assert optimum is not None
        value = result.metrics[objective.metric]
        assert objective.sign * (value - optimum) >= 0
        if result.certificate.kind == "proven":
            assert value == optimum
        if result.certificate.bound is not None:
            assert objective.sign * (optimum - result.certificate.bound) >= -1e-9 * abs(optimum)

    def test_a_front_holds_no_dominated_point(self) -> None:
        problem = TwoGoals()
        result = self.solve(problem)
        costs = problem.default_goal.costs(result.front_columns)
        beaten = (costs[:, None] <= costs[None]).all(2) & (costs[:, None] < costs[None]).any(2)
        assert not beaten.any()

    def test_start_is_scored_and_compared(self) -> None:
        result = self.solve(Bag(), start={"taken": [True] + [False] * 7})
        assert result.start == {"value": 9.0, "comfort": 2.0, "weight": 4.0}
        assert result.metrics["value"] >= 9
