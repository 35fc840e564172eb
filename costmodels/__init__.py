"""Operator cost models: shapes and a device in, a `Cost` out.

    from tradespace.costmodels import gemm
    from tradespace.hardware import device

    gemm(device("h100-sxm-80gb"), m=8192, n=8192, k=8192).time

Shapes and device fields broadcast; a sweep puts designs on the last axis:

>>> import numpy as np
>>> from tradespace.costmodels import gemm
>>> from tradespace.hardware import device
>>> designs = device("a100-sxm-80gb").sweep(dram_bandwidth=np.linspace(1e12, 3e12, 5))
>>> gemm(designs, m=np.array([1, 16, 256])[:, None], n=4096, k=4096).time.shape
(3, 5)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attention import attention_decode, attention_prefill
    from .collective import all_gather, all_reduce, all_to_all, reduce_scatter
    from .cost import Cost
    from .elementwise import add, copy, elementwise, gelu
    from .evaluate import OutsideCalibration
    from .gather import gather, scatter
    from .gemm import gemm
    from .quantize import dequantize, quantize
    from .reduction import layer_norm, reduction, scan, softmax
    from .sort import sort
    from .transfer import transfer

VERSION = "0.1"  # changes whenever a coefficient or a formula does

_HOME = {
    "Cost": "cost",
    "OutsideCalibration": "evaluate",
    "add": "elementwise",
    "all_gather": "collective",
    "all_reduce": "collective",
    "all_to_all": "collective",
    "attention_decode": "attention",
    "attention_prefill": "attention",
    "copy": "elementwise",
    "dequantize": "quantize",
    "elementwise": "elementwise",
    "gather": "gather",
    "gelu": "elementwise",
    "gemm": "gemm",
    "layer_norm": "reduction",
    "quantize": "quantize",
    "reduce_scatter": "collective",
    "reduction": "reduction",
    "scan": "reduction",
    "scatter": "gather",
    "softmax": "reduction",
    "sort": "sort",
    "transfer": "transfer",
}
__all__ = ["VERSION", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
