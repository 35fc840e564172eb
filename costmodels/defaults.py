"""Coefficients for a device nobody calibrated, by kind and operator family.

Linear families: each coefficient multiplies a term in seconds at datasheet rates, so 1 is ideal and
1.25 is an attained fraction of 0.8. "gemm" on GPUs and accelerators: see `tiles`.
"""

from __future__ import annotations

# Between an A100 under an older engine (per layer 0.25 ms) and an RTX 4090 under vLLM 0.19 (none visible).
_SERVING = {
    "per_layer": 1e-4,
    "per_request": 1e-4,
    "compute": 0.6,
    "weights": 0.92,
    "cache": 0.85,
    "attention": 0.5,
}
_STREAM = {"launch": 1.5, "arithmetic": 1.0, "l2": 0.45, "dram": 1.05}
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
    # Means of what A100 and H100 were fitted to.
    "attention_prefill": {
        "launch": 5.3,
        "arithmetic": 0.4,
        "waves": 0.1,
        "chain": 0.5,
        "exponentials": 3.0,
        "queries": 3.7,
        "keys": 9.5,
        "dram": 1.0,
        "starts": 0.15,
        "serial": 0.3,
    },
    "attention_decode": {
        "launch": 4.5,
        "shuffle": 1.5,
        "split": 1.0,
        "combine": 0.4,
        "chain": 4.0,
        "dram": 1.0,
        "queries": 2.0,
        "waves": 2.2,
        "wide": 2.0,
        "serial": 0.25,
        "sequences": 1.3,
    },
    "elementwise": _STREAM,
    "softmax": {**_STREAM, "exponentials": 1.0, "rows": 0.0},
    "layer_norm": {**_STREAM, "launch": 2.0, "dram": 1.6},
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
    "glue": {},
    "serving": _SERVING,
}  # fmt: skip
DEFAULTS = {"gpu": _GPU, "accelerator": _GPU, "cpu": _CPU}

# Standard deviation of the log ratio without calibration: the largest that these defaults showed on any of
# A100, H100, V100, T4 and RTX 4090 (`benchmarks/costmodels.py`), or a guess where nobody measured.
SIGMAS = {
    "gemm": 0.5,
    "attention_prefill": 0.5,
    "attention_decode": 0.5,
    "elementwise": 0.35,
    "softmax": 0.45,
    "layer_norm": 0.5,
    "transfer": 0.25,
    "all_reduce": 0.35,
    "all_gather": 0.35,
    "reduce_scatter": 0.35,
    "all_to_all": 0.35,
    "gather": 0.8,
    "scatter": 0.8,
    "sort": 0.8,
    "glue": 0.5,
    "serving": 0.7,
}
