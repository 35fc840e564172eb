"""A budget of tokens for each denoising step, as numbers, JSON and a check.

A budget is the share of the tokens that each block computes: 1 all of them, 0 none (the model's previous
output stands). The first step is always 1, because there is nothing yet to read instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...errors import DataError, SpaceError
from ...text import parse_json, read_text
from .weights import Weights, calibrated

FORMAT = "tradespace astraea schedule"


@dataclass(frozen=True)
class Schedule:
    """Budgets of the steps, in order; weights: those of the tokens' score that they were found with.

    model: what they were found for, in words. Iterating gives the budgets.

    >>> s = Schedule((1.0, 0.5, 0.0))
    >>> s.mean, Schedule.from_json(s.to_json()) == s
    (0.5, True)
    """

    budgets: tuple[float, ...]
    weights: Weights = field(default_factory=calibrated)
    model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "budgets", tuple(float(b) for b in self.budgets))
        if not self.budgets:
            raise SpaceError("A schedule must have a budget for at least one step, got none.")
        for i, budget in enumerate(self.budgets):
            if not 0 <= budget <= 1:
                raise SpaceError(f"The budget of step {i} must be within [0, 1], got {budget:g}.")
        if self.budgets[0] != 1:
            raise SpaceError(
                f"The budget of the first step must be 1 (nothing is cached before it), "
                f"got {self.budgets[0]:g}."
            )

    @classmethod
    def uniform(cls, budget: float, steps: int) -> Self:
        """The first step whole, the others alike, so that the mean is `budget` in (0, 1].

        >>> round(Schedule.uniform(0.5, 20).mean, 9)
        0.5
        """
        if not 0 < budget <= 1:
            raise SpaceError(f"The budget must be within (0, 1], got {budget:g}.")
        if budget * steps < 1:
            raise SpaceError(
                f"A budget of {budget:g} over {steps} steps is less than the first step, "
                f"which is always whole; use at least {1 / steps:g}."
            )
        rest = (budget * steps - 1) / (steps - 1) if steps > 1 else 1.0
        return cls((1.0, *[rest] * (steps - 1)))

    def __len__(self) -> int:
        return len(self.budgets)

    def __iter__(self) -> Any:
        return iter(self.budgets)

    @property
    def mean(self) -> float:
        """Share of the tokens over all steps."""
        return float(np.mean(self.budgets))

    @property
    def plain(self) -> bool:
        """Whether every step is whole."""
        return all(b == 1 for b in self.budgets)

    def keeps(self, step: int) -> bool:
        """Whether a later step reads tokens cached at this one or before."""
        return any(0 < b < 1 for b in self.budgets[step + 1 :])

    def to_json(self) -> str:
        """One JSON object."""
        content = {"format": FORMAT, "version": 1, "model": self.model, "steps": len(self),
                   **self.weights.record(), "budgets": list(self.budgets)}  # fmt: skip
        return json.dumps(content, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` writes. DataError where it is something else."""
        content = parse_json(text, "the schedule")
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f'A schedule must be a JSON object with "format": "{FORMAT}", got another.')
        budgets = content.get("budgets")
        if not isinstance(budgets, list) or not all(
            isinstance(b, int | float) and not isinstance(b, bool) for b in budgets
        ):
            raise DataError("A schedule's budgets must be numbers, got something else.")
        stated = "w_a" in content or "w_b" in content
        weights = Weights.from_record(content, "A schedule") if stated else calibrated()
        if content.get("steps", len(budgets)) != len(budgets):
            raise DataError(f"A schedule of {content['steps']} steps must have as many budgets, "
                            f"got {len(budgets)}.")  # fmt: skip
        return cls(tuple(budgets), weights, str(content.get("model", "")))

    def save(self, path: Path | str) -> None:
        """Write the JSON to a file."""
        Path(path).write_text(self.to_json() + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file that `save` wrote."""
        return cls.from_json(read_text(path, "schedule"))


def as_schedule(schedule: Schedule | Iterable[float] | None, steps: int) -> Schedule:
    """A schedule of exactly `steps` budgets; None: every step whole."""
    if schedule is None:
        return Schedule((1.0,) * steps)
    made = schedule if isinstance(schedule, Schedule) else Schedule(tuple(_numbers(schedule)))
    if len(made) != steps:
        raise SpaceError(f"The schedule has {len(made)} budgets but {steps} steps were asked for; "
                         f"give {steps} budgets, or steps={len(made)}.")  # fmt: skip
    return made


def _numbers(values: Iterable[float]) -> Sequence[float]:
    return [float(v) for v in values]
