"""Matrix products: C[m, n] = A[m, k] B[k, n], `batch` of them. B is the weight where there is one."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate, misses, streams, traffic
from .tiles import BOUNDS, gemm_time


def features(device: Device, dtype: str, *, m: Number, n: Number, k: Number, batch: Number) -> Features:
    """Tiles and waves on GPUs and accelerators, a non-negative sum over memory levels on CPUs."""
    item = size_of(dtype)
    flops = 2.0 * m * n * k * batch
    busy = np.where(flops > 0, 1.0, 0.0)
    weights = busy * batch * k * n * item
    activations = busy * batch * (m * k * item + m * n * max(item, 2.0))
    flow = traffic(device, weights + activations, weights + activations)
    if device.kind != "cpu":
        law = partial(gemm_time, device, dtype, m, n, k, batch, weights + activations)
        return Features({}, flops, flow, device.peak(dtype), law, BOUNDS)
    peak = device.peak(dtype)
    # Micro-kernels are 16 to 32 columns wide and take k in pairs (oneDNN, OpenBLAS): padding is paid.
    padded = 2.0 * batch * m * np.ceil(n / 16) * 16 * np.ceil(k / 2) * 2
    levels = streams(device, dict.fromkeys(flow, weights))
    inner: dict[str, Number] = dict.fromkeys(flow, 1.0)
    for near, far in pairwise(flow):
        inner[far] = misses(device, weights + activations, near)
    return Features(
        terms={
            "launch": calls(device, flops),
            "arithmetic": padded / peak,
            "thin": 2.0 * batch * np.minimum(m, 4.0) * n * k / peak,
            "ramp": 64.0 * busy * batch * m * n / peak,
            "pack": busy * batch * m * k * item / device.innermost.bandwidth,
            **{name: levels[name] * inner[name] for name in levels},
            "repack": np.where(np.asarray(m) > 1, weights, 0.0) / device.innermost.bandwidth,
            "repack_far": np.where(np.asarray(m) > 1, levels["dram"] * inner["dram"], 0.0),
            "activations": activations / device.level("l2").bandwidth,
        },
        flops=flops,
        traffic=flow,
        peak=peak,
    )


def gemm(device: Device, *, m: Shape, n: Shape, k: Shape, batch: Shape = 1, dtype: str = "bf16") -> Cost:
    """`batch` products of (m, k) by (k, n); a matrix-vector product has m = 1.

    >>> from tradespace.hardware import device
    >>> cost = gemm(device("a100-sxm-80gb"), m=4096, n=4096, k=4096)
    >>> bool(cost.time > cost.flops / 312e12)
    True
    """
    return evaluate("gemm", features, device, dtype, m=m, n=n, k=k, batch=batch)
