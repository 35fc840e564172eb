"""A run's problem as the run recorded it: space, metrics, limits and rows, without the referee.

It stands in where the class cannot be had: one of a notebook or of a function that this process does not
have, or one with parameters that only Python can set. What needs no evaluation goes on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DataError, EvaluationError
from ..problems.batch import Batch
from ..problems.goal import Metric
from ..problems.problem import Problem, ProblemType
from ..problems.space import Space

KEPT = ("unit", "direction", "at_most", "at_least", "help")


class StandIn(Problem, cost="slow"):
    """What a run recorded of its problem; it evaluates nothing, which is the slowest of all."""

    _missing = "its referee was not recorded."

    def evaluate(self, x: Batch) -> Mapping[str, Any]:
        """Raises EvaluationError: only recorded rows have metrics."""
        raise EvaluationError(self._missing)


def stand_in(record: Mapping[str, Any], missing: str) -> StandIn:
    """The problem of a run.json as far as it is recorded. missing: why its class cannot be had.

    Raises DataError where the record is from a version that kept too little.
    """
    try:
        identity, kept = record["identity"], record["referee"]
        parameters = record["parameters"] or identity["parameters"]
        metrics = {n: Metric(**{k: m[k] for k in KEPT}) for n, m in identity["metrics"].items()}
        body = {"__module__": __name__, "__doc__": kept["summary"], "_missing": missing, **metrics}
        body["__annotations__"] = dict.fromkeys(parameters, Any)
        cls: Any = ProblemType(identity["class"], (StandIn,), body)
        problem: StandIn = cls(**parameters)
        space = Space.from_record(identity["space"], record["fixed"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{missing} (It recorded too little to go on without: {error}.)") from None
    problem.__dict__.update(kept["bounds"])
    problem.__dict__.update({"space": space, "digest": record["digest"], "_fixed": record["fixed"]})
    problem.__dict__["identity"] = lambda: identity
    return problem


def referee_record(problem: Problem) -> dict[str, Any]:
    """What a stand-in needs beside the identity: its first line, and the numbers behind named limits."""
    named = [b for m in problem.metrics.values() for b in (m.at_most, m.at_least) if isinstance(b, str)]
    bounds = {n: getattr(problem, n) for n in named if n.isidentifier() and hasattr(problem, n)}
    return {
        "summary": (type(problem).__doc__ or "").strip().split("\n")[0],
        "bounds": {n: None if b is None else float(b) for n, b in bounds.items()},
    }
