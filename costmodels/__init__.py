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
    from .architectures import Architecture, architecture
    from .attention import attention_decode, attention_prefill
    from .collective import all_gather, all_reduce, all_to_all, reduce_scatter
    from .cost import Cost
    from .evaluate import OutsideCalibration
    from .indexing import gather, scatter
    from .matrix import gemm
    from .overhead import glue
    from .pointwise import add, copy, elementwise, gelu
    from .quantization import dequantize, quantize
    from .reductions import layer_norm, reduction, scan, softmax
    from .serving import IterationLaw, iteration_law, serving_iteration
    from .sorting import sort
    from .training import layer_step, optimizer, training_step
    from .transfers import transfer
    from .uncertainty import draw, interval

VERSION = "0.6"  # changes whenever a coefficient or a formula does

# No module may be called like a public name: importing it would put the module in the name's place.
_HOME = {
    "Architecture": "architectures",
    "Cost": "cost",
    "IterationLaw": "serving",
    "OutsideCalibration": "evaluate",
    "add": "pointwise",
    "all_gather": "collective",
    "all_reduce": "collective",
    "all_to_all": "collective",
    "architecture": "architectures",
    "attention_decode": "attention",
    "attention_prefill": "attention",
    "copy": "pointwise",
    "dequantize": "quantization",
    "draw": "uncertainty",
    "elementwise": "pointwise",
    "gather": "indexing",
    "gelu": "pointwise",
    "gemm": "matrix",
    "glue": "overhead",
    "interval": "uncertainty",
    "iteration_law": "serving",
    "layer_norm": "reductions",
    "layer_step": "training",
    "optimizer": "training",
    "quantize": "quantization",
    "reduce_scatter": "collective",
    "reduction": "reductions",
    "scan": "reductions",
    "scatter": "indexing",
    "serving_iteration": "serving",
    "softmax": "reductions",
    "sort": "sorting",
    "training_step": "training",
    "transfer": "transfers",
}
__all__ = [
    "VERSION",
    "Architecture",
    "Cost",
    "IterationLaw",
    "OutsideCalibration",
    "add",
    "all_gather",
    "all_reduce",
    "all_to_all",
    "architecture",
    "attention_decode",
    "attention_prefill",
    "copy",
    "dequantize",
    "draw",
    "elementwise",
    "gather",
    "gelu",
    "gemm",
    "glue",
    "interval",
    "iteration_law",
    "layer_norm",
    "layer_step",
    "optimizer",
    "quantize",
    "reduce_scatter",
    "reduction",
    "scan",
    "scatter",
    "serving_iteration",
    "softmax",
    "sort",
    "training_step",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
