"""Gather and scatter of rows of a table by an index."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate, misses, streams

LINE = 64.0


def features(
    device: Device, dtype: str, *, count: Number, width: Number, table: Number, passes: float
) -> Features:
    """Whole cache lines a row; the working set is the distinct part of the table plus the result.

    Distinct rows of `count` uniform draws from `table`: table (1 - exp(-count/table)).
    """
    item = size_of(dtype)
    row = np.ceil(width * item / LINE) * LINE
    rows = np.maximum(table, 1.0)
    distinct = rows * -np.expm1(-count / rows) * row
    total = count * (passes * row + width * item + 8.0)
    working = distinct + count * (width * item + 8.0)
    levels = [name for name in device.levels if name != "shared"]
    flow: dict[str, Number] = {levels[0]: total}
    for inner, outer in pairwise(levels):
        flow[outer] = total * misses(device, working, inner)
    cycles = 1.0 / (device.clock * device.cores)
    terms: dict[str, Number] = {"launch": calls(device, count), "index": count * cycles}
    if device.kind == "cpu":
        # Rows stream at a level's bandwidth; narrow ones wait for its latency instead.
        payload = count * width * item * (1.0 + passes)
        stream = {level: payload * moved / np.maximum(total, 1.0) for level, moved in flow.items()}
        terms |= {
            **streams(device, stream),
            "rows": np.where(np.asarray(width) > 1, count, 0.0) * cycles,
            "elements": count * width * cycles,
            "far": count * cycles * misses(device, count * width * item, levels[1]),
            **{
                f"wait_{level}": 100.0 * cycles * count * misses(device, distinct, level)
                for level in levels[:-1]
            },
        }
    else:
        terms |= streams(device, flow)
    return Features(terms, 0.0 * total, flow, device.peak("fp32"))


gather_features = partial(features, passes=1.0)
scatter_features = partial(features, passes=2.0)


def gather(device: Device, *, count: Shape, width: Shape, table: Shape, dtype: str = "bf16") -> Cost:
    """`count` rows of `width` numbers, at uniform random indices of a table of `table` rows."""
    return evaluate("gather", gather_features, device, dtype, count=count, width=width, table=table)


def scatter(device: Device, *, count: Shape, width: Shape, table: Shape, dtype: str = "bf16") -> Cost:
    """`count` rows of `width` numbers added into a table of `table` rows: read, add, write."""
    return evaluate("scatter", scatter_features, device, dtype, count=count, width=width, table=table)
