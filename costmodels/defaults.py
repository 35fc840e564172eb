"""Coefficients for a device nobody calibrated, by kind and operator family.

Linear families: each coefficient multiplies a term in seconds at datasheet rates, so 1 is ideal and
1.25 is an attained fraction of 0.8. "gemm" on GPUs and accelerators: see `tiles`.
"""

from __future__ import annotations

# Between what A100 and a 32-core Xeon attain; per layer and per request as on A100.
_SERVING = {
    "per_layer": 3e-4,
    "per_request": 3e-4,
    "compute": 0.4,
    "weights": 0.9,
    "cache": 0.7,
    "attention": 0.4,
}
_STREAM = {"launch": 1.0, "arithmetic": 1.5, "l2": 1.0, "dram": 1.25}
_GPU: dict[str, dict[str, float]] = {
    "gemm": {
        "efficiency": 0.95,
        "step": 2.0,
        "tile": 2000.0,
        "launch": 1.4,
        "second": 1.2,
        "dram": 0.82,
        "short": 0.3,
        "p": 3.9,
        "droop": 0.12,
    },
    "attention_prefill": {
        "launch": 2.5,
        "arithmetic": 1.2,
        "waves": 0.2,
        "exponentials": 1.0,
        "queries": 6.0,
        "keys": 12.0,
        "dram": 0.3,
        "serial": 1.0,
    },
    "attention_decode": {
        "launch": 2.2,
        "split": 0.5,
        "combine": 0.3,
        "waves": 2.0,
        "items": 0.4,
        "l2": 1.0,
        "dram": 0.3,
        "queries": 4.0,
        "serial": 0.2,
    },
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
    "all_reduce": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "all_gather": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "reduce_scatter": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "all_to_all": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "send": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "glue": {},
    "serving": _SERVING,
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
    "all_reduce": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "all_gather": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "reduce_scatter": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "all_to_all": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "send": {"launch": 2.5, "hops": 0.8, "staged": 1.0, "small": 1.0, "medium": 0.6, "link": 1.35},
    "glue": {},
    "serving": _SERVING,
}  # fmt: skip
DEFAULTS = {"gpu": _GPU, "accelerator": _GPU, "cpu": _CPU}

# One standard deviation of the log ratio without any calibration: what a plain roofline missed by on
# A100 and H100 data (35 to 50 % for GEMM, 70 to 85 % for attention and collectives).
SIGMAS = {
    "glue": 0.0,
    "serving": 0.3,
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
