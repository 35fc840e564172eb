"""Shapes to time: log-uniform over each family's sizes, so that every memory level is touched.

Results stay below 24 MiB on a CPU: from 32 MiB on, glibc asks the system for every one of them, and
timings tell about the page allocator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, nearest

Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """One kernel to time: family, dtype, shape by name, and its group for the split."""

    family: str
    dtype: str
    shape: dict[str, float]
    group: float


def cases(
    family: str, dtype: str, count: int, seed: int = 0, scale: float = 1.0, most: float = 0.0
) -> list[Case]:
    """`count` shapes of a family. scale: how much more work than one CPU core takes (a GPU: 1000).
    most: elements that streaming families reach at least, so that some shapes outgrow every cache.

    >>> [case.shape["width"] > 0 for case in cases("softmax", "fp32", 3)]
    [True, True, True]
    """
    known = [*_DRAWS, *_STREAMS]
    if family not in known:
        raise DataError(f"no shapes to time for '{family}'; {nearest(family, known)}")
    rng = np.random.default_rng([seed, *family.encode(), *dtype.encode()])
    drawn = []
    # One coordinate is stratified: the size that decides the memory level.
    for number, place in enumerate(rng.permutation(count)):
        at = (place + rng.random()) / count
        if family in _STREAMS:
            shape = _STREAMS[family](rng, _log(2**10, max(6e6, most / scale), at) * scale)
        else:
            shape = _DRAWS[family](rng, at, scale)
        drawn.append(Case(family, dtype, {k: float(v) for k, v in shape.items()}, float(number)))
    return drawn


def _log(low: float, high: float, at: float) -> float:
    return float(np.exp(np.log(low) + at * (np.log(high) - np.log(low))))


def _pick(rng: Rng, *options: int) -> int:
    return int(rng.choice(options))


def _gemm(rng: Rng, at: float, scale: float) -> dict[str, float]:
    """Work from 1e5 to 4e9 flops, a quarter of it with few rows."""
    m = _pick(rng, 1, 2, 4, 8) if rng.random() < 0.3 else round(_log(8, 2048, rng.random()))
    product = _log(2e5, 4e9, at) * scale / (2 * m)
    ratio = _log(0.2, 5.0, rng.random())
    most = 8192 if scale == 1 else 65536
    n = min(max(round(np.sqrt(product * ratio) / 8) * 8, 16), most)
    k = min(max(round(product / n / 8) * 8, 16), most)
    return {"m": m, "n": n, "k": k, "batch": 1}


def _prefill(rng: Rng, at: float, scale: float) -> dict[str, float]:
    heads, dim = _pick(rng, 2, 4, 8, 12), _pick(rng, 64, 128)
    sequence = round(_log(16, 1024 * scale**0.5, at))
    most = max(1.0, 2.5e9 * scale / (2 * heads * dim * sequence**2))
    return {"batch": round(_log(1, min(most, 16), rng.random())), "sequence": sequence, "heads": heads,
            "kv_heads": heads, "head_dim": dim}  # fmt: skip


def _decode(rng: Rng, at: float, scale: float) -> dict[str, float]:
    heads, dim = _pick(rng, 2, 4, 8, 12), _pick(rng, 64, 128)
    total = _log(64, 8192, at) * scale
    batch = _pick(rng, 1, 1, 2, 4, 8)
    return {"batch": batch, "context": max(round(total / batch), 16), "heads": heads, "kv_heads": heads,
            "head_dim": dim}  # fmt: skip


def _elementwise(rng: Rng, elements: float) -> dict[str, float]:
    kind = _pick(rng, 0, 1, 2)
    return {
        "elements": round(elements),
        "reads": 2 if kind == 1 else 1,
        "writes": 1,
        "operations": (0, 1, 10)[kind],
    }


def _rows(rng: Rng, elements: float) -> dict[str, float]:
    width = round(_log(64, 8192, rng.random()))
    return {"rows": max(round(elements / width), 1), "width": width}


def _quantize(rng: Rng, at: float, scale: float) -> dict[str, float]:
    group = _pick(rng, 32, 64, 128)
    return {"elements": round(_log(2**11, 2**22, at) * scale / group) * group, "bits": 4, "group": group}


def _gather(rng: Rng, at: float, scale: float) -> dict[str, float]:
    width = _pick(rng, 1, 4, 16, 64, 256, 1024)
    table = max(round(_log(2**9, 2**24, at) * scale / width), 16)
    count = max(round(_log(2**10, 2**20, rng.random()) * scale / max(width, 4) ** 0.5), 64)
    return {"count": min(count, round(2**22 * scale / width)), "width": width, "table": table}


def _sort(rng: Rng, at: float, scale: float) -> dict[str, float]:
    elements = _log(2**9, 2**19, at) * scale
    width = round(_log(16, elements, rng.random()))
    return {"rows": max(round(elements / width), 1), "width": width}


def _layer(rng: Rng, at: float, scale: float) -> dict[str, float]:
    hidden = _pick(rng, 256, 384, 512, 768)
    tokens = _log(32, 768, at)
    batch = _pick(rng, 1, 2, 4)
    return {
        "batch": batch,
        "sequence": max(round(tokens / batch), 8),
        "hidden": hidden,
        "heads": hidden // 64,
    }


_DRAWS: dict[str, Callable[[Rng, float, float], dict[str, float]]] = {
    "gemm": _gemm,
    "attention_prefill": _prefill,
    "attention_decode": _decode,
    "quantize": _quantize,
    "dequantize": _quantize,
    "gather": _gather,
    "scatter": _gather,
    "sort": _sort,
    "layer": _layer,
}
_STREAMS: dict[str, Callable[[Rng, float], dict[str, float]]] = {
    "elementwise": _elementwise,
    "softmax": _rows,
    "layer_norm": _rows,
}
