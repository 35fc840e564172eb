"""A training step from operators: forward, backward, recompute, optimiser, gradient exchange.

Backward of C = A B is dA = dC B^T and dB = A^T dC: two products of the same flops. Backward of fused
attention does five products for the forward's two (FlashAttention 2, section 3.1), so 2.5x its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .architectures import Architecture
from .attention import attention_prefill
from .collective import all_reduce
from .cost import Cost, Number
from .evaluate import Shape
from .matrix import gemm
from .pointwise import elementwise
from .reductions import softmax
from .transformer import head, linear_operators

ATTENTION_BACKWARD = 2.5


@dataclass(frozen=True)
class LayerStep:
    """Forward and backward costs of one layer's operators, by name."""

    forward: Mapping[str, Cost]
    backward: Mapping[str, Cost]


def layer_step(
    device: Device,
    model: Architecture,
    *,
    batch: Shape,
    sequence: Shape,
    ways: int = 1,
    causal: bool = True,
    dtype: str = "bf16",
) -> LayerStep:
    """Every operator of one layer, forward and backward, for `batch` sequences of `sequence` tokens."""
    tokens = np.asarray(batch) * np.asarray(sequence)
    forward = dict(linear_operators(device, model, tokens=tokens, ways=ways, dtype=dtype))
    forward["attention"] = attention_prefill(
        device,
        batch=batch,
        sequence=sequence,
        heads=model.heads // ways,
        kv_heads=max(model.kv_heads // ways, 1),
        head_dim=model.head_dim,
        dtype=dtype,
        causal=causal,
    )
    inner, width = model.intermediate // ways, (model.heads + 2 * model.kv_heads) * model.head_dim // ways
    products = {
        "qkv": (width, model.hidden),
        "out": (model.hidden, model.heads * model.head_dim // ways),
        "up": ((2 if model.gated else 1) * inner, model.hidden),
        "down": (model.hidden, inner),
    }
    backward: dict[str, Cost] = {}
    for name, cost in forward.items():
        if name in products:
            n, k = products[name]
            backward[name] = gemm(device, m=tokens, n=k, k=n, dtype=dtype) + gemm(
                device, m=n, n=k, k=tokens, dtype=dtype
            )
        elif name == "attention":
            backward[name] = cost * ATTENTION_BACKWARD
        elif name in {"all_reduce", "glue"}:
            backward[name] = cost
        elif name.endswith("_add"):
            continue  # the gradient of a sum is the incoming gradient: nothing moves
        else:
            backward[name] = cost * 1.5  # one operand more is read than in the forward pass
    return LayerStep(forward, backward)


def optimizer(device: Device, *, parameters: Shape) -> Cost:
    """Adam in mixed precision: fp32 weight, two moments and gradient read, three written, a bf16 copy."""
    return elementwise(device, elements=parameters, reads=4, writes=3, operations=12, dtype="fp32")


def training_step(
    device: Device,
    model: Architecture,
    *,
    batch: Shape,
    sequence: Shape,
    micro_batches: int = 1,
    ways: int = 1,
    replicas: int = 1,
    recomputed: Number = 0.0,
    dtype: str = "bf16",
) -> Cost:
    """One optimiser step on one device: `micro_batches` times forward and backward, then Adam.

    batch: sequences of one micro-batch. ways: tensor parallelism. replicas: data parallelism, whose
    gradients are exchanged once, not overlapped. recomputed: fraction of layers whose forward pass is
    repeated in the backward pass.
    """
    step = layer_step(device, model, batch=batch, sequence=sequence, ways=ways, dtype=dtype)
    forward = sum(step.forward.values(), Cost.zero())
    backward = sum(step.backward.values(), Cost.zero())
    layers = forward * (model.layers * (1.0 + np.asarray(recomputed, dtype=np.float64)[()]))
    layers = layers + backward * float(model.layers)
    if model.vocabulary:
        tokens = np.asarray(batch) * np.asarray(sequence)
        logits = head(device, model, tokens=tokens, ways=ways, dtype=dtype)
        loss = softmax(device, rows=tokens, width=model.vocabulary // ways, dtype=dtype)
        layers = layers + logits * 3.0 + loss * 2.0
    weights = model.parameters // ways
    total = layers * float(micro_batches) + optimizer(device, parameters=weights)
    if replicas > 1:
        total = total + all_reduce(device, bytes=weights * size_of(dtype), devices=replicas)
    return total
