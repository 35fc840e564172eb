"""Points brought within the limits by the problem itself, before they are scored.

A problem may define `repair(batch)` or `repair(batch, goal)`; every search that proposes points one by one
applies it. A sampler with a model is told the score under the point that it proposed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import SpaceError
from ..problems.batch import Batch
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.space import Space

Mend = Callable[[Batch], Batch]


def mender(problem: Problem, goal: ResolvedGoal) -> Mend | None:
    """What repairs a batch of the problem under a goal; None where the problem does not say how."""
    method = getattr(problem, "repair", None)
    if not callable(method):
        return None
    given = (goal,) if len(inspect.signature(method).parameters) > 1 else ()
    name, space = type(problem).__name__, problem.space

    def mend(batch: Batch) -> Batch:
        return repaired(space, batch, method(batch, *given), name) if len(batch) else batch

    return mend


def repaired(space: Space, batch: Batch, returned: Any, problem: str) -> Batch:
    """The batch that a problem's `repair` gave: a batch, or a mapping from names to changed columns.

    Raises SpaceError for an unknown name, another shape or a value outside the space.
    """
    changed = returned.__columns__ if isinstance(returned, Batch) else returned
    if not isinstance(changed, Mapping) or any(name not in space.domains for name in changed):
        raise SpaceError(f"{problem}.repair must return a batch or a mapping from variables to columns.")
    columns = dict(batch.__columns__)
    for name, column in changed.items():
        domain = space.domains[name]
        values = (
            np.array(column).view(np.ndarray)
            if domain.kind != "labels"
            else np.asarray(column).view(np.ndarray)
        )
        if values.shape != columns[name].shape:
            raise SpaceError(
                f"{problem}.repair gave '{name}' the shape {values.shape}, not {columns[name].shape}."
            )
        columns[name] = values.astype(domain.dtype)
    result = Batch(space, columns, len(batch))
    for name, domain in space.domains.items():
        if not domain.contains(result.__columns__[name]).all():
            raise SpaceError(f"{problem}.repair left '{name}' outside its domain: {domain.describe()}.")
    return space.canonical(result.__columns__, len(batch))
