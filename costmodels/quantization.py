"""Quantisation by groups: absolute maximum, scale, round, pack; and back."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate, streams, traffic

# Array passes of an eager implementation (one framework operator each), which is what calibration times;
# one fused kernel makes one pass with the same coefficients.
EAGER_PASSES = {"quantize": 10.0, "dequantize": 6.0}


def features(
    device: Device, dtype: str, *, elements: Number, bits: Number, group: Number, passes: float, writes: bool
) -> Features:
    """Each pass reads and writes the array once; the packed copy and a 16-bit scale a group once."""
    wide = elements * size_of(dtype)
    packed = elements * bits / 8 + 2 * elements / np.maximum(group, 1.0)
    total = 2 * passes * wide - wide + packed
    flow = traffic(device, total, 2 * wide + packed)
    flops = elements * (6.0 if writes else 3.0)
    rate = device.peak("fp32")
    return Features(
        terms={
            "launch": calls(device, elements, passes),
            "arithmetic": flops / rate,
            **streams(device, flow),
        },
        flops=flops,
        traffic=flow,
        peak=rate,
    )


EAGER_FEATURES = {
    "quantize": partial(features, passes=EAGER_PASSES["quantize"], writes=True),
    "dequantize": partial(features, passes=EAGER_PASSES["dequantize"], writes=False),
}
quantize_features = partial(features, passes=1.0, writes=True)
dequantize_features = partial(features, passes=1.0, writes=False)


def quantize(
    device: Device,
    *,
    elements: Shape,
    bits: Shape = 4,
    group: Shape = 128,
    fused: bool = True,
    dtype: str = "bf16",
) -> Cost:
    """From `dtype` to `bits` bits with one scale a group; fused is one kernel, else eager passes."""
    law = quantize_features if fused else EAGER_FEATURES["quantize"]
    return evaluate("quantize", law, device, dtype, elements=elements, bits=bits, group=group)


def dequantize(
    device: Device,
    *,
    elements: Shape,
    bits: Shape = 4,
    group: Shape = 128,
    fused: bool = True,
    dtype: str = "bf16",
) -> Cost:
    """From `bits` bits back to `dtype`."""
    law = dequantize_features if fused else EAGER_FEATURES["dequantize"]
    return evaluate("dequantize", law, device, dtype, elements=elements, bits=bits, group=group)
