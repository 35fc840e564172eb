"""What is wanted of a problem: objectives and limits over its metrics, changeable at run time.

    Goal(minimize=("latency",), limits=("peak<=24GiB", "error<=error_budget"))

A goal names metrics; `resolve` binds it to a problem's declared metrics and to numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import units
from ..errors import GoalError, nearest
from .names import spelled

Array = npt.NDArray[Any]
_LIMIT = re.compile(r"\s*([^\s\d<>=][^\s<>=]*)\s*(<=|>=|==|=<|=>|<|>|=)\s*([^\s<>=].*?)\s*$")


@dataclass(frozen=True, eq=False)
class Metric:
    """A declared output of a referee.

    unit: SI unit ("s", "B", "J", "1", ...). direction: "min" or "max" makes it a default objective,
    None neither. at_most, at_least: the default limit, as a number, a quantity ("24GiB") or the name
    of an attribute of the problem.
    """

    unit: str = ""
    direction: str | None = None
    at_most: float | str | None = None
    at_least: float | str | None = None
    help: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str):
            raise GoalError(f"unit of a Metric must be a text such as 's', got {self.unit!r}.")
        if self.direction not in ("min", "max", None):
            raise GoalError(f"direction of a Metric must be 'min', 'max' or None, got {self.direction!r}.")


@dataclass(frozen=True)
class Objective:
    """One metric to minimise or maximise."""

    metric: str
    direction: str
    unit: str = ""

    @property
    def sign(self) -> float:
        """+1 for a metric to minimise, -1 for one to maximise."""
        return 1.0 if self.direction == "min" else -1.0


@dataclass(frozen=True)
class Limit:
    """`metric <= bound` or `metric >= bound`; `scale` divides the excess where the bound is 0."""

    metric: str
    sense: str
    bound: float
    unit: str = ""
    scale: float | None = None

    @property
    def sign(self) -> float:
        """+1 for an upper limit, -1 for a lower one."""
        return 1.0 if self.sense == "<=" else -1.0

    @property
    def size(self) -> float:
        """What an excess is divided by."""
        return max(abs(self.bound), self.scale or 0.0) or 1.0

    def excess(self, values: Array) -> Array:
        """How far each value lies beyond the bound, in the metric's unit; 0 where it holds."""
        with np.errstate(invalid="ignore"):
            beyond = np.maximum(self.sign * (values - self.bound), 0.0)
        return np.where(values == self.bound, 0.0, beyond)

    def __str__(self) -> str:
        return f"{self.metric} {self.sense} {units.show(self.bound, self.unit, 6)}"


@dataclass(frozen=True)
class Goal:
    """A user's wish, in words; empty fields keep the problem's defaults.

    minimize, maximize: metrics that replace all default objectives, in that order.
    limits: texts such as "peak<=24GiB"; each replaces the default limit on the same metric and side,
    else adds. no_limits: metrics whose limits are dropped.
    """

    minimize: tuple[str, ...] = ()
    maximize: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    no_limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("minimize", "maximize", "limits", "no_limits"):
            value = getattr(self, name)
            texts = (value,) if isinstance(value, str) else value
            if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
                what = "limits such as 'peak<=24GiB'" if name == "limits" else "names of metrics"
                raise GoalError(f"{name} of a Goal must be {what}, got {value!r}.")
            texts = tuple(texts)
            object.__setattr__(self, name, tuple(map(spelled, texts)) if name != "limits" else texts)

    def resolve(self, problem: Any) -> ResolvedGoal:
        """Bind this goal to a problem's metrics.

        Raises GoalError for an unknown metric, a limit that cannot be read, a unit that does not fit,
        a limit given twice or limits that contradict each other.
        """
        metrics: Mapping[str, Metric] = problem.metrics
        wished = [(n, "min") for n in self.minimize] + [(n, "max") for n in self.maximize]
        if not wished:
            wished = [(n, m.direction) for n, m in metrics.items() if m.direction]
        if not wished:
            raise GoalError(
                f"{type(problem).__name__} has no default objective; name one with --minimize or --maximize."
            )
        objectives: list[Objective] = []
        for name, direction in wished:
            _known(name, metrics, "objective")
            if name in {o.metric for o in objectives}:
                raise GoalError(f"'{name}' is an objective twice.")
            objectives.append(Objective(name, direction, metrics[name].unit))
        for name in self.no_limits:
            _known(name, metrics, "limit")
        limits: dict[tuple[str, str], Limit] = {}
        for name, metric in metrics.items():
            for sense, given in (("<=", metric.at_most), (">=", metric.at_least)):
                if given is not None and name not in self.no_limits:
                    bound = _bound(problem, name, metric.unit, given)
                    if bound is not None:
                        limits[name, sense] = Limit(name, sense, bound, metric.unit)
        given_here: set[tuple[str, str]] = set()
        for text in self.limits:
            limit = parse_limit(text, problem)
            key = (limit.metric, limit.sense)
            if key in given_here:
                raise GoalError(
                    f"the limit '{text}' is the second one for {limit.metric} {limit.sense}; give one."
                )
            given_here.add(key)
            limits[key] = limit
        for (name, sense), limit in limits.items():
            lower = limits.get((name, ">="))
            if sense == "<=" and lower and lower.bound > limit.bound:
                raise GoalError(f"the limits '{limit}' and '{lower}' contradict each other.")
        return ResolvedGoal(tuple(objectives), tuple(limits.values()))


def parse_limit(text: str, problem: Any) -> Limit:
    """Read `metric (<=|>=) (number [unit] | attribute)`; a bare number is SI."""
    match = _LIMIT.match(text)
    if not match:
        raise GoalError(f"the limit '{text}' cannot be read; write it like 'peak<=24GiB'.")
    name, sense, given = spelled(match[1]), match[2], match[3]
    if sense not in {"<=", ">="}:
        proper = "<=" if "<" in sense else ">=" if ">" in sense else "<="
        raise GoalError(f"the limit '{text}' uses '{sense}'; write '{name}{proper}{given}'.")
    _known(name, problem.metrics, "limit")
    unit = problem.metrics[name].unit
    bound = _bound(problem, name, unit, given)
    if bound is None:
        raise GoalError(f"the limit '{text}' names '{given}', which is None.")
    return Limit(name, sense, bound, unit)


def _bound(problem: Any, name: str, unit: str, given: float | str) -> float | None:
    """The number behind a limit; None where the attribute it names is None (no limit)."""
    if isinstance(given, str):
        if given.isidentifier() and hasattr(problem, given):
            value = getattr(problem, given)
            if value is None:
                return None
        elif given.isidentifier() and given not in {"inf", "nan"}:
            raise GoalError(
                f"the limit of '{name}' names '{given}', which is neither a number nor an attribute; "
                f"{nearest(given, getattr(problem, '_parameters', ()))}"
            )
        else:
            value = units.parse(given, unit)
    else:
        value = given
    if not isinstance(value, int | float | np.number) or math.isnan(float(value)):
        raise GoalError(f"the limit of '{name}' must be a number, got {value!r}.")
    return float(value)


def _known(name: str, metrics: Mapping[str, Metric], role: str) -> None:
    if name not in metrics:
        raise GoalError(f"the {role} '{name}' is no metric; {nearest(name, metrics)}")


@dataclass(frozen=True)
class ResolvedGoal:
    """A goal bound to numbers: what solvers and the archive read."""

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = field(default=())

    @property
    def single(self) -> bool:
        """Whether there is one objective."""
        return len(self.objectives) == 1

    def costs(self, metrics: Mapping[str, Array]) -> Array:
        """Objectives to minimise, shape (rows, objectives); maximised metrics change sign."""
        return np.stack([o.sign * metrics[o.metric] for o in self.objectives], axis=1)

    def violation(self, metrics: Mapping[str, Array]) -> Array:
        """Sum of the relative excesses over the limits, shape (rows,); NaN counts as infinite."""
        first = next(iter(metrics.values()))
        total = np.zeros(len(first))
        for limit in self.limits:
            total += limit.excess(metrics[limit.metric]) / limit.size
        return np.where(np.isnan(total), np.inf, total)

    def scaled_by(self, metrics: Mapping[str, Array]) -> ResolvedGoal:
        """The goal with a scale for each limit at 0: the metric's median over these rows."""
        scaled = []
        for limit in self.limits:
            if limit.bound == 0 and limit.scale is None:
                values = np.abs(metrics[limit.metric])
                values = values[np.isfinite(values)]
                limit = replace(limit, scale=float(np.median(values)) if len(values) else 1.0)
            scaled.append(limit)
        return replace(self, limits=tuple(scaled))

    def describe(self) -> str:
        """The goal in words: `minimise latency, subject to peak <= 24 GiB`."""
        words = ", ".join(
            f"{'minimise' if o.direction == 'min' else 'maximise'} {o.metric}" for o in self.objectives
        )
        return words + (", subject to " + ", ".join(map(str, self.limits)) if self.limits else "")

    def record(self) -> dict[str, Any]:
        """The goal as plain data."""
        return {
            "objectives": [{"metric": o.metric, "direction": o.direction} for o in self.objectives],
            "limits": [
                {"metric": v.metric, "sense": v.sense, "bound": v.bound, "unit": v.unit} for v in self.limits
            ],
        }
