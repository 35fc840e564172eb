"""The weights of a token's score: the paper's two, and ours that spreads the waits; calibrated ones ship.

Read in the paper's reviews (ASTRAEA, 2506.05096): w_a x LSE x change + w_b x exp(steps skipped). Its weights
are not published. On the small model significance never pays: where many tokens waited alike, it decides
among them by what they show, in each block by itself, and a token is then fresh in some blocks only. So age
alone ships (benchmarks/astraea_score.py). Ours is `spread`: among equal waits the first tokens go first, in
every block the same, so that a small w_a changes little instead of deciding all equal waits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Self

from ...errors import DataError, SpaceError


@dataclass(frozen=True)
class Weights:
    """w_a: of the significance (1 is the average token's). w_b: of the penalty exp(steps skipped).

    spread: steps, at most 1, by which tokens' waits differ before any of them waited. The paper's score has
    none; without w_a a score is age alone.
    """

    w_a: float
    w_b: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        for name in ("w_a", "w_b", "spread"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise SpaceError(f"Weights: {name} must be a finite number of at least 0, got {value!r}.")
        if self.w_a + self.w_b == 0:
            raise SpaceError("Weights: w_a and w_b must not both be 0; nothing would tell tokens apart.")
        if self.spread > 1:
            raise SpaceError(f"Weights: spread must be at most 1 step, got {self.spread:g}.")

    @classmethod
    def paper(cls, w_a: float = 1.0, w_b: float = 0.05) -> Self:
        """The paper's terms alone; the weights are ours, since it states none."""
        return cls(w_a, w_b, 0.0)

    def record(self) -> dict[str, float]:
        """As JSON takes them."""
        return {"w_a": self.w_a, "w_b": self.w_b, "spread": self.spread}

    @classmethod
    def from_record(cls, data: Any, name: str) -> Self:
        """Read what `record` writes; without a spread it is the paper's score.

        DataError where it is something else.
        """
        numbers = [data.get("w_a"), data.get("w_b"), data.get("spread", 0.0)]
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            raise DataError(f"{name} must hold numbers w_a, w_b and spread, got {numbers}.")
        return cls(*map(float, numbers))


@lru_cache(maxsize=1)
def calibrated() -> Weights:
    """The weights that ship, from the file that says how good each was on the calibration prompts."""
    text = files(__package__).joinpath("data", "weights.json").read_text()
    return Weights.from_record(json.loads(text), "the shipped weights")
