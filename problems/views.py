"""Structured views of a problem: what lets a solver prove what others only hope for.

A view is checked, never trusted: its answer is scored by the referee, and a disagreement is a
`ViewMismatch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .faults import told

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class MilpView:
    """A mixed-integer linear model of a problem's decisions.

    model: a Pyomo model without objective. metrics: metric -> linear expression in SI units; the
    goal's objectives and limits are attached to these. decode: reads the solved model, returns a
    point (or the part of it that `decides` names). encode: sets the model's variables to a point, for
    warm starts and tests; it returns the point it stands for where that differs (a view may leave out
    dominated or symmetric points, and then stands in one that is at least as good), or None.
    upper: metrics modelled as epigraphs (variables bounded below), which may only be minimised or
    limited from above. decides: variables it chooses; None for all. exact: whether bound and metrics
    are those of the referee; where False the bound is shown as the view's own.
    """

    model: Any
    metrics: Mapping[str, Any]
    decode: Callable[[], Mapping[str, Any]]
    encode: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
    upper: tuple[str, ...] = ()
    decides: tuple[str, ...] | None = None
    exact: bool = True

    def __post_init__(self) -> None:
        for name in ("decode", "encode"):
            object.__setattr__(self, name, told(getattr(self, name)))


@dataclass(frozen=True, eq=False)
class PackingView:
    """Items to place in bins of several types, the bins' cost to be least.

    demands: (types, items, dimensions) demand of each item in each bin type; NaN where it may not go.
    capacities: (types, dimensions). costs: (types,) cost of one bin in the unit of `metric`.
    counts: (types,) bins available, or None for unlimited. metric: the metric that the total cost is.
    limits: metrics whose limits it honours. decode: from (bin type, items) lists to a point, or to the
    part of it that `decides` names. constant: what the metric adds to the bins' cost. others: further
    metrics that are sums over bins, with the (types,) cost of one bin in each, for goals of these.
    """

    demands: Array
    capacities: Array
    costs: Array
    metric: str
    decode: Callable[[Sequence[tuple[int, Sequence[int]]]], Mapping[str, Any]]
    counts: Array | None = None
    limits: tuple[str, ...] = ()
    decides: tuple[str, ...] | None = None
    constant: float = 0.0
    others: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decode", told(self.decode))

    def of(self, metric: str) -> PackingView:
        """The view of another of its metrics; itself where it has none of that name."""
        if metric not in self.others:
            return self
        return replace(self, metric=metric, costs=self.others[metric], constant=0.0)


@dataclass(frozen=True, eq=False)
class JobClass:
    """One class of jobs: its service demand (values, s, with probabilities), rate and holding cost.

    values: (n,) service times or samples. weights: (n,) probabilities, or None for equal samples.
    discrete: whether `values` are the whole law rather than samples of it.
    """

    name: str
    values: Array
    weights: Array | None = None
    rate: float = 1.0
    holding_cost: float = 1.0
    discrete: bool = True


@dataclass(frozen=True, eq=False)
class JobsView:
    """A single-server scheduling problem that an index policy solves.

    classes: the job classes. ages: (levels,) attained service at which each column of the rank table
    begins. decides: the variable that holds the (classes, levels) table of ranks in [0, 1], lowest
    served first; only their order matters. metric: the metric that the index minimises.
    """

    classes: tuple[JobClass, ...]
    ages: Array
    decides: str
    metric: str
    assumptions: tuple[str, ...] = field(default=())


def dense_ranks(values: Array) -> Array:
    """Order of some numbers as dense ranks scaled to [0, 1]; equal numbers share a rank."""
    _, inverse = np.unique(values, return_inverse=True)
    top = max(int(inverse.max(initial=0)), 1)
    return inverse.reshape(np.shape(values)) / top
