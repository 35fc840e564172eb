"""Calling a referee and reading what it returns: shapes checked, bad rows failing alone."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import EvaluationError, TradespaceError, nearest
from .batch import Batch, Labels, take
from .faults import where
from .names import spelled

if TYPE_CHECKING:
    from .problem import Problem

Array = npt.NDArray[Any]
LOCATED = 64
"""Rows of a batch whose exception is reported with file, line and point; the rest by its words alone."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A metric with its model error: value (rows,) and sigma, the relative standard deviation."""

    value: Any
    sigma: Any


@dataclass(frozen=True, eq=False)
class Scores:
    """Metrics of a batch: name -> (rows,) float, NaN where the row failed.

    sigma: relative standard deviation for the metrics that state one. errors: row -> sentence.
    """

    metrics: dict[str, Array]
    sigma: dict[str, Array]
    failed: Array
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.failed)


def take_scores(scores: Scores, rows: Array | slice) -> Scores:
    """The named rows of some scores."""
    errors = {}
    if scores.errors:
        kept = np.arange(len(scores))[rows].tolist()
        errors = {place: scores.errors[row] for place, row in enumerate(kept) if row in scores.errors}
    return Scores(
        {n: v[rows] for n, v in scores.metrics.items()},
        {n: v[rows] for n, v in scores.sigma.items()},
        scores.failed[rows],
        errors,
    )


def join_scores(parts: list[Scores]) -> Scores:
    """Scores of consecutive batches as one."""
    if len(parts) == 1:
        return parts[0]
    errors: dict[int, str] = {}
    start = 0
    for part in parts:
        errors |= {start + row: text for row, text in part.errors.items()}
        start += len(part)
    names = list(dict.fromkeys(n for p in parts for n in p.sigma))
    return Scores(
        {n: np.concatenate([p.metrics[n] for p in parts]) for n in parts[0].metrics},
        {n: np.concatenate([p.sigma.get(n, np.zeros(len(p))) for p in parts]) for n in names},
        np.concatenate([p.failed for p in parts]),
        errors,
    )


def evaluate(problem: Problem, batch: Batch) -> Scores:
    """Score a batch with the problem's referee.

    A row with NaN in any metric fails alone; an exception is located by halving and fails its rows.
    Raises EvaluationError where a metric is missing or unknown, or has another shape than (rows,).
    """
    if not len(batch):
        empty = np.empty(0)
        return Scores(dict.fromkeys(problem.metrics, empty), {}, np.empty(0, bool), {})
    return _Halving(problem).score(batch)


def failure(scores: Scores) -> str:
    """Why rows failed: the first exception, else the metrics that hold NaN."""
    nan = ", ".join(f"'{name}'" for name, values in scores.metrics.items() if np.isnan(values).any())
    return next(iter(scores.errors.values()), f"NaN in {nan}")


def _read(problem: Problem, returned: Any, rows: int) -> Scores:
    name = f"{type(problem).__name__}.evaluate"
    declared = problem.metrics
    if not isinstance(returned, Mapping):
        raise EvaluationError(
            f"{name} must return a mapping from metrics to arrays, got {type(returned).__name__}."
        )
    returned = {spelled(str(key)): value for key, value in returned.items()}
    for key in returned:
        if key not in declared:
            raise EvaluationError(
                f"{name} returned '{key}', which is no declared metric; {nearest(key, declared)}"
            )
    metrics: dict[str, Array] = {}
    sigma: dict[str, Array] = {}
    failed = np.zeros(rows, bool)
    for key in declared:
        if key not in returned:
            raise EvaluationError(f"{name} did not return the metric '{key}'.")
        value = returned[key]
        if isinstance(value, Estimate):
            spread = _column(name, f"sigma of '{key}'", value.sigma)
            if spread.shape not in {(), (1,), (rows,)}:
                raise EvaluationError(
                    f"{name} returned sigma of '{key}' with shape {spread.shape}; expected ({rows},)."
                )
            sigma[key] = np.broadcast_to(spread, (rows,))
            value = value.value
        column = _column(name, f"metric '{key}'", value)
        if column.shape != (rows,):
            raise EvaluationError(
                f"{name} returned metric '{key}' with shape {column.shape}; expected ({rows},)."
            )
        metrics[key] = column
        failed |= np.isnan(column)
    return Scores(metrics, sigma, failed, {})


def _column(name: str, what: str, value: Any) -> Array:
    """What a referee returned as floats; labels, texts and complex numbers are not numbers."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "biufO" and not isinstance(value, Labels):
            return array.astype(float, copy=False)
    except (TypeError, ValueError):
        pass
    raise EvaluationError(f"{name} returned {what} of {type(value).__name__}; expected numbers.")


class _Halving:
    """Scores a batch; where the referee raises, halves it until the raising rows stand alone."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.raised = problem, 0

    def score(self, batch: Batch) -> Scores:
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                returned = self.problem.evaluate(batch)
        except TradespaceError:
            raise
        except (Exception, SystemExit) as error:
            if len(batch) == 1:
                return self._failed(batch, error)
            middle = len(batch) // 2
            halves = (slice(0, middle), slice(middle, None))
            return join_scores([self.score(take(batch, half)) for half in halves])
        return _read(self.problem, returned, len(batch))

    def _failed(self, batch: Batch, error: BaseException) -> Scores:
        self.raised += 1
        sentence = f"{type(self.problem).__name__}.evaluate raised {type(error).__name__}: {error}"
        if self.raised <= LOCATED:
            sentence = _sentence(self.problem, batch, error)
        nan = np.full(1, np.nan)
        return Scores(dict.fromkeys(self.problem.metrics, nan), {}, np.ones(1, bool), {0: sentence})


def _sentence(problem: Problem, batch: Batch, error: BaseException) -> str:
    """What was raised, where in the user's code, at which point."""
    point = problem.space.points(batch)[0]
    place = where(error, inspect.unwrap(type(problem).evaluate).__code__.co_filename)
    shown = ", ".join(f"{k}={v!r}"[:60] for k, v in list(point.items())[:8])
    return f"{type(problem).__name__}.evaluate raised {type(error).__name__}: {error}{place} (point {shown})"


def pointwise(function: Callable[[Any, Any], Mapping[str, Any]]) -> Callable[[Any, Batch], dict[str, Any]]:
    """Turn a referee of one point into a referee of a batch.

    The function gets `self` and one point, whose attributes are plain numbers, labels or arrays, and
    returns one number (or `Estimate`) a metric.
    """

    @functools.wraps(function)
    def evaluate(self: Any, x: Batch) -> dict[str, Any]:
        rows = [function(self, Row(point)) for point in self.space.points(x)]
        merged: dict[str, Any] = {}
        for key in rows[0]:
            cells = [row[key] for row in rows]
            if any(isinstance(cell, Estimate) for cell in cells):
                pairs = [(c.value, c.sigma) if isinstance(c, Estimate) else (c, 0.0) for c in cells]
                merged[key] = Estimate(*np.array(pairs, float).T)
            else:
                merged[key] = np.array(cells, float)
        return merged

    return evaluate


class Row:
    """One point for a `pointwise` referee: `x.name` and `x["name"]`, as in a batch."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        for name, value in point.items():
            setattr(self, name, np.asarray(value) if isinstance(value, list) else value)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)
