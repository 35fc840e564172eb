"""What a framework spends around its operators: views, allocation, cold caches between kernels.

Sums of operators timed one by one fall short of the layer they make (17 % on a CPU). The glue of a
layer is a multiple of the call overhead plus its activations and weights once more through memory; the
coefficients are calibrated on whole layers, and zero where nobody has.
"""

from __future__ import annotations

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate


def features(device: Device, dtype: str, *, tokens: Number, hidden: Number) -> Features:
    """Calls, the layer's activations and a share of its weights at the outermost bandwidth."""
    moved = tokens * hidden * size_of(dtype)
    weights = np.where(np.asarray(tokens) > 0, hidden * hidden * size_of(dtype), 0.0)
    return Features(
        terms={
            "launch": calls(device, moved),
            "activations": moved / device.bandwidth,
            "weights": weights / device.bandwidth,
        },
        flops=0.0 * moved,
        traffic={},
        peak=1.0,
    )


def glue(device: Device, *, tokens: Shape, hidden: Shape, dtype: str = "bf16") -> Cost:
    """The overhead of one transformer layer on `tokens` tokens."""
    return evaluate("glue", features, device, dtype, tokens=tokens, hidden=hidden)
