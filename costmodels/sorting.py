"""Sorting rows: comparisons n log2 n on CPUs, radix passes over the bits on GPUs."""

from __future__ import annotations

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate, streams, traffic


def features(device: Device, dtype: str, *, rows: Number, width: Number) -> Features:
    """Keys and 64-bit positions move together, once a merge level (CPU) or once a radix digit (GPU)."""
    elements = rows * width
    item = size_of(dtype) + 8.0
    depth = np.log2(np.maximum(width, 2.0))
    passes = (
        depth if device.kind == "cpu" else np.full_like(np.asarray(depth), np.ceil(8 * size_of(dtype) / 8))
    )
    total = 2.0 * elements * item * passes
    flow = traffic(device, total, 2.0 * elements * item)
    return Features(
        terms={
            "launch": calls(device, elements),
            "compare": elements * depth / (device.clock * device.cores),
            "rows": np.where(elements > 0, rows, 0.0) / (device.clock * device.cores),
            **streams(device, flow),
        },
        flops=0.0 * elements,
        traffic=flow,
        peak=device.peak("fp32"),
    )


def sort(device: Device, *, rows: Shape, width: Shape, dtype: str = "fp32") -> Cost:
    """Sort each of `rows` rows of `width` keys, with their positions."""
    return evaluate("sort", features, device, dtype, rows=rows, width=width)
