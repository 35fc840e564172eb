"""Sampling without a model: independent draws, and Sobol points."""

from __future__ import annotations

from typing import ClassVar

from ..problems.batch import Batch, take
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from .base import AskTell, Budget, Run
from .repair import mender
from .uninterrupted import sobol_tables

BATCH, SLOW_BATCH = 1_024, 16
SOBOL_DIMENSIONS = 21_201


class Random(AskTell):
    """Independent uniform draws (in the logarithm where a variable says so)."""

    name: ClassVar[str] = "random"

    def begin(self, run: Run) -> None:
        """Ask the problem how it repairs points."""
        super().begin(run)
        self.mend = mender(run.problem, run.goal)

    def ask(self, n: int) -> Batch:
        """The next draws, always drawn by the batch and cut to `n`."""
        rows = SLOW_BATCH if self.problem.cost == "slow" else BATCH
        batch = take(self.space.sample(self.rng, rows), slice(0, n))
        return self.mend(batch) if self.mend else batch


class Sobol(AskTell):
    """Scrambled Sobol points: even coverage of every pair of dimensions."""

    name: ClassVar[str] = "sobol"

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses more dimensions than the direction numbers cover."""
        width = problem.space.unit_width
        if width > SOBOL_DIMENSIONS:
            return f"{width:,} scalar variables exceed Sobol's {SOBOL_DIMENSIONS:,} dimensions"
        return None

    def begin(self, run: Run) -> None:
        """Make the sequence."""
        from scipy.stats import qmc

        super().begin(run)
        sobol_tables()
        self.mend = mender(run.problem, run.goal)
        self.sequence = qmc.Sobol(max(1, self.space.unit_width), scramble=True, rng=self.rng)

    def ask(self, n: int) -> Batch:
        """The next points of the sequence, always drawn by the batch and cut to `n`."""
        unit = self.sequence.random(SLOW_BATCH if self.problem.cost == "slow" else BATCH)
        batch = self.space.from_unit(unit[:n, : self.space.unit_width])
        return self.mend(batch) if self.mend else batch
