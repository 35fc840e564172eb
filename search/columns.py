"""A problem's variables as the parameters of Optuna trials: at most 40, long vectors in summary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ..problems.batch import Batch, active
from ..problems.domain import Domain, label_name
from ..problems.problem import Problem

Array = npt.NDArray[Any]
MOST_PARAMETERS = 40
MOST_ENTRIES = 16
MOST_COUNTS = 8
LOG_RATIO = 16.0


@dataclass(frozen=True)
class Column:
    """One parameter over the rows: values, and where it is active (None for everywhere)."""

    name: str
    distribution: BaseDistribution
    values: list[Any]
    active: list[bool] | None = None


def parameter_columns(problem: Problem, batch: Batch) -> tuple[list[Column], int]:
    """The parameters of a batch, and how many were left out because there are more than 40.

    Scalars come first, then the entries of vectors of up to 16, then summaries of longer ones: counts
    a label, or smallest, mean and largest.
    """
    domains = [d for d in problem.space.domains.values() if d.pinned is None and d.options != 1 and d.cells]
    domains.sort(key=lambda d: (d.cells > 1) + (d.cells > MOST_ENTRIES))
    columns: list[Column] = []
    count = 0
    for domain in domains:
        for column in _columns(domain, batch):
            count += 1
            if len(columns) < MOST_PARAMETERS:
                columns.append(column)
    return columns, count - len(columns)


def _columns(domain: Domain, batch: Batch) -> Iterator[Column]:
    values = batch.__columns__[domain.name].reshape(len(batch), domain.cells)
    if domain.cells > MOST_ENTRIES:
        yield from _summary(domain, values)
        return
    mask = active(batch, domain.name).reshape(len(batch), domain.entries)
    items = domain.cells // max(1, domain.entries)
    distribution = _distribution(domain)
    for cell in range(domain.cells):
        name = domain.name if not domain.width else f"{domain.name}[{cell}]"
        held = mask[:, cell // items]
        listed = _plain(domain, values[:, cell])
        yield Column(name, distribution, listed, None if held.all() else held.tolist())


def _summary(domain: Domain, values: Array) -> Iterator[Column]:
    """A long vector in a few numbers a row."""
    if domain.kind == "permutation":
        return
    if domain.kind in {"labels", "bool"}:
        names = [label_name(v) for v in domain.labels] if domain.kind == "labels" else ["", "true"]
        shown = range(len(names)) if domain.kind == "labels" else [1]
        everywhere = IntDistribution(0, domain.cells)
        for position in list(shown)[:MOST_COUNTS]:
            counts = np.count_nonzero(values == position, axis=1)
            yield Column(f"{domain.name}: {names[position]}", everywhere, counts.tolist())
        return
    if not len(values):
        return
    for word, numbers in (
        ("min", values.min(axis=1)),
        ("mean", values.mean(axis=1)),
        ("max", values.max(axis=1)),
    ):
        low, high = float(values.min()), float(values.max())
        listed = np.clip(numbers.astype(float), low, high).tolist()
        yield Column(f"{domain.name}: {word}", FloatDistribution(low, high), listed)


def _plain(domain: Domain, column: Array) -> list[Any]:
    if domain.kind == "labels":
        names = np.array([label_name(v) for v in domain.labels], object)
        return list(names[column].tolist())
    return list(column.tolist())


def _distribution(domain: Domain) -> BaseDistribution:
    """Where one entry of a variable may lie; ordered menus are numbers, so that axes are to scale."""
    if domain.kind == "labels":
        return CategoricalDistribution([label_name(v) for v in domain.labels])
    if domain.kind == "bool":
        return CategoricalDistribution([False, True])
    if domain.kind == "permutation":
        return IntDistribution(0, max(0, (domain.count or 1) - 1))
    if domain.kind == "float":
        return FloatDistribution(float(domain.lo), float(domain.hi), log=domain.log and domain.lo > 0)
    low, high = (v.item() for v in domain.at(np.array([0, (domain.count or 1) - 1])))
    log = (domain.log or domain.kind == "menu") and low > 0 and high >= LOG_RATIO * low
    if isinstance(low, float):
        return FloatDistribution(low, high, log=log)
    return IntDistribution(
        low, high, log=log and low >= 1, step=1 if log or domain.kind == "menu" else domain.step
    )
