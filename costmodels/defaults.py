"""Coefficients for a device nobody calibrated, by kind and operator family.

Linear families: each coefficient multiplies a term in seconds at datasheet rates, so 1 is ideal and
1.25 is an attained fraction of 0.8. "gemm" on GPUs and accelerators: see `tiles`.
"""

from __future__ import annotations

_STREAM = {"launch": 1.0, "arithmetic": 1.5, "l2": 1.0, "dram": 1.25}
_GPU: dict[str, dict[str, float]] = {
    "gemm": {
        "efficiency": 0.95,
        "ramp": 24.0,
        "tile": 2e-6,
        "launch": 1.8e-6,
        "dram": 0.8,
        "l2": 0.6,
        "p": 3.5,
    },
    "attention_prefill": {"launch": 4.0, "arithmetic": 1.9, "exponentials": 1.0, "serial": 1.0, "dram": 1.5},
    "attention_decode": {"launch": 5.0, "arithmetic": 1.0, "serial": 1.0, "l2": 1.0, "dram": 1.3},
    "elementwise": _STREAM,
    "softmax": {**_STREAM, "exponentials": 1.0, "rows": 0.0},
    "layer_norm": {**_STREAM, "rows": 0.0},
    "reduction": {**_STREAM, "rows": 0.0},
    "scan": {**_STREAM, "rows": 0.0},
    "quantize": _STREAM,
    "dequantize": _STREAM,
    "gather": {**_STREAM, "index": 1.0},
    "scatter": {**_STREAM, "index": 1.0},
    "sort": {**_STREAM, "compare": 4.0},
    "transfer": {"latency": 1.0, "link": 1.2},
    "all_reduce": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "all_gather": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "reduce_scatter": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "all_to_all": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "send": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "glue": {"launch": 0.0},
}
_CPU_STREAM = {"launch": 1.0, "arithmetic": 1.0, "l1": 1.0, "l2": 1.0, "l3": 1.0, "dram": 1.0}
_CPU: dict[str, dict[str, float]] = {
    "gemm": {"launch": 1.0, "arithmetic": 1.6, "thin": 4.0, "ramp": 1.0, "pack": 1.0, "l1": 1.0, "l2": 1.0,
             "l3": 1.0, "dram": 1.2, "activations": 1.0},
    "attention_prefill": {**_CPU_STREAM, "launch": 5.0, "arithmetic": 2.0, "exponentials": 1.0},
    "attention_decode": {**_CPU_STREAM, "launch": 5.0, "arithmetic": 4.0, "exponentials": 1.0},
    "elementwise": _CPU_STREAM,
    "softmax": {**_CPU_STREAM, "exponentials": 1.0, "rows": 1.0},
    "layer_norm": {**_CPU_STREAM, "rows": 1.0},
    "reduction": {**_CPU_STREAM, "rows": 1.0},
    "scan": {**_CPU_STREAM, "rows": 1.0},
    "quantize": _CPU_STREAM,
    "dequantize": _CPU_STREAM,
    "gather": {**_CPU_STREAM, "index": 1.0},
    "scatter": {**_CPU_STREAM, "index": 1.0},
    "sort": {**_CPU_STREAM, "compare": 4.0},
    "transfer": {"latency": 1.0, "link": 1.2},
    "all_reduce": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "all_gather": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "reduce_scatter": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "all_to_all": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "send": {"launch": 3.0, "hops": 1.3, "link": 1.6},
    "glue": {"launch": 0.0},
}  # fmt: skip
DEFAULTS = {"gpu": _GPU, "accelerator": _GPU, "cpu": _CPU}

# One standard deviation of the log ratio without any calibration: what a plain roofline missed by on
# A100 and H100 data (35 to 50 % for GEMM, 70 to 85 % for attention and collectives).
SIGMAS = {
    "gemm": 0.45,
    "attention_prefill": 0.8,
    "attention_decode": 0.8,
    "elementwise": 0.25,
    "softmax": 0.5,
    "layer_norm": 0.5,
    "transfer": 0.25,
    "all_reduce": 0.7,
    "all_gather": 0.7,
    "reduce_scatter": 0.7,
    "all_to_all": 0.7,
    "send": 0.7,
    "gather": 0.8,
    "scatter": 0.8,
    "sort": 0.8,
}
