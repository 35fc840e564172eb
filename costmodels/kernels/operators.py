"""One PyTorch kernel a family: a shape in, a callable out that runs the kernel once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F

from ...errors import DataError, nearest

Kernel = Callable[[], object]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


def build(family: str, dtype: str, shape: Mapping[str, float], device: str = "cpu") -> Kernel:
    """The kernel of one shape, its inputs allocated and filled; call it to run once."""
    if family not in _BUILDERS:
        raise DataError(f"no PyTorch kernel for '{family}'; {nearest(family, _BUILDERS)}")
    sizes = {name: int(value) for name, value in shape.items()}
    kernel: Kernel = _BUILDERS[family](DTYPES[dtype], torch.device(device), sizes)
    return kernel


def _gemm(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    """torch.nn.functional.linear, or a batched product."""
    if s["batch"] == 1:
        x, weight = _normal(dtype, device, s["m"], s["k"]), _normal(dtype, device, s["n"], s["k"])
        return lambda: F.linear(x, weight)
    a, b = (
        _normal(dtype, device, s["batch"], s["m"], s["k"]),
        _normal(dtype, device, s["batch"], s["k"], s["n"]),
    )
    return lambda: torch.bmm(a, b)


def _prefill(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    q = _normal(dtype, device, s["batch"], s["heads"], s["sequence"], s["head_dim"])
    k, v = (_normal(dtype, device, s["batch"], s["kv_heads"], s["sequence"], s["head_dim"]) for _ in range(2))
    grouped = s["heads"] != s["kv_heads"]
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)


def _decode(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    q = _normal(dtype, device, s["batch"], s["heads"], 1, s["head_dim"])
    k, v = (_normal(dtype, device, s["batch"], s["kv_heads"], s["context"], s["head_dim"]) for _ in range(2))
    grouped = s["heads"] != s["kv_heads"]
    return lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=grouped)


def _elementwise(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    """Copy (no operations), add (two operands), else GELU."""
    x, y = _normal(dtype, device, s["elements"]), _normal(dtype, device, s["elements"])
    out = torch.empty_like(x)
    if s["operations"] == 0:
        return lambda: out.copy_(x)
    if s["reads"] == 2:
        return lambda: torch.add(x, y, out=out)
    return lambda: F.gelu(x)


def _softmax(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    x = _normal(dtype, device, s["rows"], s["width"])
    return lambda: F.softmax(x, dim=-1)


def _layer_norm(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    x, weight, bias = (
        _normal(dtype, device, s["rows"], s["width"]),
        *(_normal(dtype, device, s["width"]) for _ in "wb"),
    )
    return lambda: F.layer_norm(x, (s["width"],), weight, bias)


def _quantize(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    """Eager INT4 with one scale a group, two numbers a byte."""
    x = _normal(dtype, device, s["elements"] // s["group"], s["group"])
    return lambda: int4(x)


def int4(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(groups, group) -> packed (groups, group / 2) bytes and scales (groups, 1)."""
    scale = x.abs().amax(dim=-1, keepdim=True) / 7
    code = (x / scale).round().clamp(-8, 7).to(torch.int8) + 8
    code = code.to(torch.uint8)
    return code[:, ::2] | (code[:, 1::2] << 4), scale


def _dequantize(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    packed, scale = int4(_normal(dtype, device, s["elements"] // s["group"], s["group"]))

    def run() -> torch.Tensor:
        low, high = packed & 15, packed >> 4
        return (torch.stack((low, high), dim=-1).flatten(1).to(dtype) - 8) * scale

    return run


def _gather(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    table = _normal(dtype, device, s["table"], s["width"])
    index = torch.randint(s["table"], (s["count"],), device=device)
    return lambda: torch.index_select(table, 0, index)


def _scatter(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    table = _normal(dtype, device, s["table"], s["width"])
    index = torch.randint(s["table"], (s["count"],), device=device)
    source = _normal(dtype, device, s["count"], s["width"])
    return lambda: table.index_add_(0, index, source)


def _sort(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    """In turn over several inputs: a branch predictor learns one small input by heart."""
    copies = max(1, min(64, 2**18 // (s["rows"] * s["width"])))
    inputs = cycle([_normal(dtype, device, s["rows"], s["width"]) for _ in range(copies)])
    return lambda: torch.sort(next(inputs), dim=-1)


def _layer(dtype: torch.dtype, device: torch.device, s: dict[str, int]) -> Kernel:
    """A whole pre-norm transformer layer with GELU, fused attention and a 4x inner width."""
    tokens, hidden, heads = s["sequence"], s["hidden"], s["heads"]
    x = _normal(dtype, device, s["batch"], tokens, hidden)
    one, zero = (
        torch.ones(hidden, dtype=dtype, device=device),
        torch.zeros(hidden, dtype=dtype, device=device),
    )
    qkv, out = _normal(dtype, device, 3 * hidden, hidden), _normal(dtype, device, hidden, hidden)
    up, down = _normal(dtype, device, 4 * hidden, hidden), _normal(dtype, device, hidden, 4 * hidden)

    def run() -> torch.Tensor:
        normed = F.layer_norm(x, (hidden,), one, zero)
        parts = (
            F.linear(normed, qkv).view(s["batch"], tokens, 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        y = x + F.linear(mixed.transpose(1, 2).reshape(s["batch"], tokens, hidden), out)
        return y + F.linear(F.gelu(F.linear(F.layer_norm(y, (hidden,), one, zero), up)), down)

    return run


def _normal(dtype: torch.dtype, device: torch.device, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float32, device=device).to(dtype)


_BUILDERS: dict[str, Callable[[torch.dtype, torch.device, dict[str, int]], Any]] = {
    "gemm": _gemm,
    "attention_prefill": _prefill,
    "attention_decode": _decode,
    "elementwise": _elementwise,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "gather": _gather,
    "scatter": _scatter,
    "sort": _sort,
    "layer": _layer,
}
