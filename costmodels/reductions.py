"""Reductions along the last axis of a (rows, width) array: softmax, layer norm, sum, scan."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate, streams, traffic


def features(
    device: Device,
    dtype: str,
    *,
    rows: Number,
    width: Number,
    operations: float,
    exponentials: float = 0.0,
    writes: float = 1.0,
) -> Features:
    """Launch, arithmetic, exponentials, a fixed cost a row, traffic by level.

    One read a row while the row fits the innermost level, one more otherwise (online softmax,
    Milakov & Gimelshein 2018, section 3).
    """
    elements = rows * width
    item = size_of(dtype)
    again = width * item > device.innermost.capacity
    total = elements * item * (1.0 + writes) + np.where(again, elements * item, 0.0)
    flow = traffic(device, total, elements * item * (1.0 + writes))
    rate = device.peak("fp32")
    flops = operations * elements
    terms: dict[str, Number] = {
        "launch": calls(device, elements),
        "arithmetic": flops / rate,
        "exponentials": exponentials * elements / device.value("special"),
        "rows": np.where(elements > 0, rows, 0.0) / (device.clock * device.cores),
        **streams(device, flow),
    }
    return Features(terms, flops, flow, rate)


softmax_features = partial(features, operations=5.0, exponentials=1.0)
layer_norm_features = partial(features, operations=8.0)
reduction_features = partial(features, operations=1.0, writes=0.0)
scan_features = partial(features, operations=1.0)


def softmax(device: Device, *, rows: Shape, width: Shape, dtype: str = "bf16") -> Cost:
    """Softmax along the last axis of a (rows, width) array.

    >>> from tradespace.hardware import device
    >>> float(softmax(device("a100-sxm-80gb"), rows=4096, width=4096).time) > 0
    True
    """
    return evaluate("softmax", softmax_features, device, dtype, rows=rows, width=width)


def layer_norm(device: Device, *, rows: Shape, width: Shape, dtype: str = "bf16") -> Cost:
    """Layer or RMS normalisation along the last axis of a (rows, width) array."""
    return evaluate("layer_norm", layer_norm_features, device, dtype, rows=rows, width=width)


def reduction(device: Device, *, rows: Shape, width: Shape, dtype: str = "bf16") -> Cost:
    """Sum, maximum or mean along the last axis: one number a row is written."""
    return evaluate("reduction", reduction_features, device, dtype, rows=rows, width=width)


def scan(device: Device, *, rows: Shape, width: Shape, dtype: str = "bf16") -> Cost:
    """Cumulative sum along the last axis."""
    return evaluate("scan", scan_features, device, dtype, rows=rows, width=width)
