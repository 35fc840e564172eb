"""Calling a referee and reading what it returns: shapes checked, bad rows failing alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import EvaluationError, TradespaceError, nearest
from .batch import Batch, take

if TYPE_CHECKING:
    from .problem import Problem

Array = npt.NDArray[Any]


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
    return Scores(
        {n: v[rows] for n, v in scores.metrics.items()},
        {n: v[rows] for n, v in scores.sigma.items()},
        scores.failed[rows],
        {},
    )


def join_scores(parts: list[Scores]) -> Scores:
    """Scores of consecutive batches as one."""
    if len(parts) == 1:
        return parts[0]
    errors, start = {}, 0
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
    Raises EvaluationError where more than half of the rows fail, a metric is missing or unknown, or
    has another shape than (rows,).
    """
    try:
        scores = _read(problem, problem.evaluate(batch), len(batch))
    except TradespaceError:
        raise
    except Exception as error:
        if len(batch) == 1:
            raise _raised(problem, batch, error) from error
        scores = _halve(problem, batch)
    if scores.failed.any() and 2 * scores.failed.sum() > len(batch) and len(batch) > 1:
        reason = next(iter(scores.errors.values()), "NaN in " + ", ".join(_nan_metrics(scores)))
        share = f"{int(scores.failed.sum())} of {len(batch)} rows"
        raise EvaluationError(f"{type(problem).__name__}.evaluate failed on {share}: {reason}")
    return scores


def _nan_metrics(scores: Scores) -> list[str]:
    return [name for name, values in scores.metrics.items() if np.isnan(values).any()]


def _read(problem: Problem, returned: Any, rows: int) -> Scores:
    name = f"{type(problem).__name__}.evaluate"
    declared = problem.metrics
    if not isinstance(returned, Mapping):
        raise EvaluationError(f"{name} must return a mapping from metrics to arrays, got {type(returned).__name__}.")
    for key in returned:
        if key not in declared:
            raise EvaluationError(f"{name} returned '{key}', which is no declared metric; {nearest(str(key), declared)}")
    metrics: dict[str, Array] = {}
    sigma: dict[str, Array] = {}
    failed = np.zeros(rows, bool)
    for key in declared:
        if key not in returned:
            raise EvaluationError(f"{name} did not return the metric '{key}'.")
        value = returned[key]
        if isinstance(value, Estimate):
            sigma[key] = np.broadcast_to(np.asarray(value.sigma, float), (rows,))
            value = value.value
        try:
            column = np.asarray(value, float)
        except (TypeError, ValueError):
            raise EvaluationError(f"{name} returned metric '{key}' of {type(value).__name__}; expected numbers.") from None
        if column.shape != (rows,):
            raise EvaluationError(f"{name} returned metric '{key}' with shape {column.shape}; expected ({rows},).")
        metrics[key] = column
        failed |= np.isnan(column)
    return Scores(metrics, sigma, failed, {})


def _halve(problem: Problem, batch: Batch) -> Scores:
    """Score rows whose batch raised: halves until the raising rows stand alone."""
    limit = len(batch) // 2 + 1
    raised: list[BaseException] = []

    def part(rows: Batch) -> Scores:
        if len(raised) >= min(limit, 64) and len(raised) * 2 > limit:
            raise _raised(problem, rows, raised[0]) from raised[0]
        try:
            return _read(problem, problem.evaluate(rows), len(rows))
        except TradespaceError:
            raise
        except Exception as error:
            if len(rows) == 1:
                raised.append(error)
                if len(raised) >= 8 and len(raised) * 2 > limit:
                    raise _raised(problem, rows, error) from error
                nan = np.full(1, np.nan)
                sentence = str(_raised(problem, rows, error))
                return Scores({m: nan for m in problem.metrics}, {}, np.ones(1, bool), {0: sentence})
            middle = len(rows) // 2
            return join_scores([part(take(rows, slice(0, middle))), part(take(rows, slice(middle, None)))])

    return part(batch)


def _raised(problem: Problem, batch: Batch, error: BaseException) -> EvaluationError:
    point = problem.space.points(take(batch, slice(0, 1)))[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "tradespace" not in f.filename and not f.filename.endswith("scoring.py")]
    where = f" at {own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else ""
    shown = ", ".join(f"{k}={v!r}"[:60] for k, v in list(point.items())[:8])
    return EvaluationError(
        f"{type(problem).__name__}.evaluate raised {type(error).__name__}: {error}{where} (point {shown})"
    )


def pointwise(function: Callable[[Any, Any], Mapping[str, Any]]) -> Callable[[Any, Batch], dict[str, Any]]:
    """Turn a referee of one point into a referee of a batch.

    The function gets `self` and one point, whose attributes are plain numbers, labels or arrays, and
    returns one number (or `Estimate`) a metric.
    """

    def evaluate(self: Any, x: Batch) -> dict[str, Any]:
        rows = [function(self, Row(point)) for point in self.space.points(x)]
        merged: dict[str, Any] = {}
        for key in rows[0] if rows else ():
            cells = [row[key] for row in rows]
            if isinstance(cells[0], Estimate):
                merged[key] = Estimate([c.value for c in cells], [c.sigma for c in cells])
            else:
                merged[key] = np.array(cells, float)
        return merged

    evaluate.__doc__ = function.__doc__
    return evaluate


class Row:
    """One point for a `pointwise` referee: variables as attributes."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        for name, value in point.items():
            setattr(self, name, np.asarray(value) if isinstance(value, list) else value)


