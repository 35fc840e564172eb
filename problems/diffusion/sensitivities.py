"""What each step's budget is worth in quality, measured around a uniform schedule; a table for other models.

Errors of several steps do not really add up, and least so around the full run, where every step alone loses
almost nothing. Around the uniform schedule of the budget in question they order schedules well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...text import read_json
from .law import TENTHS
from .shares import Tenths, plain

Array = npt.NDArray[np.float64]
FORMAT = "tradespace astraea sensitivities"
LEVELS = (0, 2, 8, TENTHS)
"""Tenths at which a step is measured, beside those that the uniform schedule gives it."""


def single_steps(budget: float, steps: int) -> Tenths:
    """The uniform schedule, then those in which one step has another level; a step's levels together.

    Shape (1 + (steps - 1) x levels, steps - 1).
    """
    uniform = plain(budget, steps)["uniform"]
    later = steps - 1
    made = np.tile(uniform, (later, len(LEVELS), 1))
    for step in range(later):
        made[step, :, step] = LEVELS
    return np.concatenate([uniform[None], made.reshape(-1, later)])


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """error: (steps - 1, 11) latent error that a step with so many tenths adds to one with all, around the
    uniform schedule. constant: what makes their sum over the uniform schedule its error.

    source: what it was measured on. transferred: whether that is another model than the one planned.
    """

    error: Array
    source: str
    constant: float = 0.0
    transferred: bool = False

    @classmethod
    def from_single_steps(cls, errors: Array, budget: float, steps: int, source: str) -> Sensitivities:
        """From the errors of `single_steps`. Between levels a line; more tokens never add error."""
        uniform = plain(budget, steps)["uniform"]
        base, table = float(errors[0]), errors[1:].reshape(steps - 1, len(LEVELS))
        made = np.empty((steps - 1, TENTHS + 1))
        for step, (row, level) in enumerate(zip(table, uniform.tolist(), strict=True)):
            known = {**dict(zip(LEVELS, row.tolist(), strict=True)), level: base}
            places = sorted(known)
            made[step] = np.interp(np.arange(TENTHS + 1), places, [known[place] for place in places])
        made = np.minimum.accumulate(made, axis=1)
        made -= made[:, -1:]
        return cls(made, source, base - float(made[np.arange(steps - 1), uniform].sum()))

    def resampled(self, steps: int) -> Sensitivities:
        """The table for another number of steps: the same place in the run, the same error."""
        later = len(self.error)
        if later == steps - 1:
            return self
        at = (np.arange(1, steps) / steps) * (later + 1)
        places = np.arange(1, later + 1)
        made = np.stack([np.interp(at, places, column) for column in self.error.T], axis=1)
        return Sensitivities(made, self.source, self.constant, self.transferred)

    def record(self) -> dict[str, Any]:
        """As JSON takes it, four digits."""
        rows = [[float(f"{value:.4g}") for value in row] for row in self.error]
        return {"format": FORMAT, "steps": len(self.error) + 1, "source": self.source, "error": rows}

    @classmethod
    def from_record(cls, data: Any, name: str) -> Sensitivities:
        """Read what `record` writes; DataError where it is something else."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise DataError(f'{name} must be a JSON object with "format": "{FORMAT}", got another.')
        try:
            error = np.array(data["error"], float)
        except (KeyError, TypeError, ValueError):
            error = np.empty(0)
        if error.ndim != 2 or error.shape[1] != TENTHS + 1 or len(error) + 1 != data.get("steps"):
            raise DataError(
                f"{name} must hold a row of {TENTHS + 1} errors for each step but the first, got an array "
                f"of shape {error.shape} for {data.get('steps')} steps."
            )
        if not (np.isfinite(error).all() and (error >= 0).all()):
            raise DataError(f"{name} must hold errors of at least 0, got others.")
        return cls(error, str(data.get("source", "unnamed")))

    @classmethod
    def load(cls, path: Path) -> Sensitivities:
        """A file of the user's."""
        return cls.from_record(read_json(path, "file of sensitivities"), f"the sensitivities in {path}")


def shipped() -> Sensitivities:
    """The table measured on the small model, marked as transferred to whatever is planned with it."""
    text = files(__package__).joinpath("data", "sensitivities.json").read_text()
    found = Sensitivities.from_record(json.loads(text), "the shipped sensitivities")
    return Sensitivities(found.error, found.source, transferred=True)
