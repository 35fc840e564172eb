"""Elementwise operators: every element read and written once, a few operations each."""

from __future__ import annotations

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate, streams, traffic


def features(
    device: Device, dtype: str, *, elements: Number, reads: Number, writes: Number, operations: Number
) -> Features:
    """Launch, arithmetic at the vector rate, traffic by level; the working set is all of it.

    On CPUs more than three operations mean a transcendental function: another library path, with a call
    and a cost an element of its own.
    """
    total = elements * (reads + writes) * size_of(dtype)
    flow = traffic(device, total, total)
    flops = elements * operations
    rate = device.peak("fp32")
    terms: dict[str, Number] = {"launch": calls(device, elements), **streams(device, flow)}
    if device.kind == "cpu":
        heavy = np.where(np.asarray(operations) > 3, 1.0, 0.0)
        terms |= {
            "arithmetic": (1.0 - heavy) * flops / rate,
            "transcendental": heavy * elements / device.value("special"),
            "call": heavy * calls(device, elements),
            "transcendental_far": heavy * flow["dram"] / device.bandwidth,
            **spills(device, total),
        }
    else:
        terms["arithmetic"] = flops / rate
    return Features(terms, flops, flow, rate)


def spills(device: Device, total: Number) -> dict[str, Number]:
    """Streams that outgrow L2 and L3, with the sharper edge that least-recently-used eviction gives them."""
    terms: dict[str, Number] = {}
    for inner, outer in (("l2", "l3"), ("l3", "dram")):
        level = device.level(inner)
        capacity = level.capacity * (device.cores if level.scope == "core" else 1.0)
        full = (total / capacity) ** 6
        terms[f"spill_{outer}"] = total * full / (1.0 + full) / device.level(outer).bandwidth
    return terms


def elementwise(
    device: Device,
    *,
    elements: Shape,
    reads: Shape = 1,
    writes: Shape = 1,
    operations: Shape = 1,
    dtype: str = "bf16",
) -> Cost:
    """One pass over arrays of `elements` numbers: add (reads 2), copy, GELU (operations about 10).

    reads, writes: operands read and written per element. operations: flops per element.
    All broadcast. Arithmetic runs at the fp32 vector rate whatever the dtype.

    >>> from tradespace.hardware import device
    >>> float(elementwise(device("a100-sxm-80gb"), elements=2**26, reads=2).time) > 3 * 2**27 / 2.039e12
    True
    """
    return evaluate(
        "elementwise",
        features,
        device,
        dtype,
        elements=elements,
        reads=reads,
        writes=writes,
        operations=operations,
    )


def copy(device: Device, *, elements: Shape, dtype: str = "bf16") -> Cost:
    """A copy inside the device's memory."""
    return elementwise(device, elements=elements, operations=0, dtype=dtype)


def add(device: Device, *, elements: Shape, dtype: str = "bf16") -> Cost:
    """Sum of two arrays."""
    return elementwise(device, elements=elements, reads=2, dtype=dtype)


def gelu(device: Device, *, elements: Shape, dtype: str = "bf16") -> Cost:
    """GELU or SiLU: about ten operations an element."""
    return elementwise(device, elements=elements, operations=10, dtype=dtype)
