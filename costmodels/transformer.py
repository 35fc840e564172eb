"""Transformer layers and models from operators: prefill, decode, and both in one iteration.

An iteration runs the tokens of its prefill chunks and its decoding requests through ONE product a
weight matrix; only attention is separate. Summing a prefill and a decode measured apart over-estimates
such a step by 1.5 to 3x.
"""

from __future__ import annotations

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .architectures import Architecture
from .attention import attention_decode, attention_prefill
from .collective import all_reduce
from .cost import Cost
from .evaluate import Shape
from .indexing import gather
from .matrix import gemm
from .overhead import glue
from .pointwise import elementwise
from .reductions import layer_norm


def linear_operators(
    device: Device, model: Architecture, *, tokens: Shape, ways: int = 1, dtype: str = "bf16"
) -> dict[str, Cost]:
    """Every operator of one layer but attention itself, by name, for `tokens` tokens.

    ways: tensor parallelism; heads and intermediate are divided, two all-reduces are added.
    """
    tokens = np.asarray(tokens)
    width = (model.heads + 2 * model.kv_heads) * model.head_dim // ways
    inner, rows = model.intermediate // ways, model.heads * model.head_dim // ways
    values = tokens * model.hidden
    operators = {
        "attention_norm": layer_norm(device, rows=tokens, width=model.hidden, dtype=dtype),
        "qkv": gemm(device, m=tokens, n=width, k=model.hidden, dtype=dtype),
        "out": gemm(device, m=tokens, n=model.hidden, k=rows, dtype=dtype),
        "attention_add": elementwise(device, elements=values, reads=2, dtype=dtype),
        "mlp_norm": layer_norm(device, rows=tokens, width=model.hidden, dtype=dtype),
        "up": gemm(device, m=tokens, n=(2 if model.gated else 1) * inner, k=model.hidden, dtype=dtype),
        "activation": elementwise(
            device, elements=tokens * inner, reads=2 if model.gated else 1, operations=10, dtype=dtype
        ),
        "down": gemm(device, m=tokens, n=model.hidden, k=inner, dtype=dtype),
        "mlp_add": elementwise(device, elements=values, reads=2, dtype=dtype),
        "glue": glue(device, tokens=tokens, hidden=model.hidden, dtype=dtype),
    }
    if model.gated:  # rotary position embedding of queries and keys
        turned = tokens * (model.heads + model.kv_heads) * model.head_dim / ways
        operators["rotary"] = elementwise(device, elements=np.ceil(turned), operations=6, dtype=dtype)
    if ways > 1:
        message = np.ceil(values * size_of(dtype))
        operators["all_reduce"] = all_reduce(device, bytes=message, devices=ways) * 2.0
    return operators


def head(device: Device, model: Architecture, *, tokens: Shape, ways: int = 1, dtype: str = "bf16") -> Cost:
    """Final norm and the product with the vocabulary, for the tokens that need logits."""
    norm = layer_norm(device, rows=tokens, width=model.hidden, dtype=dtype)
    return norm + gemm(device, m=tokens, n=model.vocabulary // ways, k=model.hidden, dtype=dtype)


def iteration(
    device: Device,
    model: Architecture,
    *,
    prefill_batch: Shape = 0,
    prefill_length: Shape = 0,
    decode_batch: Shape = 0,
    decode_context: Shape = 0,
    ways: int = 1,
    dtype: str = "bf16",
) -> Cost:
    """One serving iteration: `prefill_batch` prompts of `prefill_length` and `decode_batch` requests
    with `decode_context` tokens of cache each, through one product a weight matrix.

    >>> from tradespace.hardware import device
    >>> from tradespace.costmodels.architectures import architecture
    >>> llama, gpu = architecture("llama-2-7b"), device("a100-sxm-80gb")
    >>> alone = iteration(gpu, llama, prefill_batch=1, prefill_length=512).time
    >>> both = iteration(gpu, llama, prefill_batch=1, prefill_length=512, decode_batch=8, decode_context=512)
    >>> bool(both.time < alone + iteration(gpu, llama, decode_batch=8, decode_context=512).time)
    True
    """
    prompts, length, requests, context = (
        np.asarray(value) for value in (prefill_batch, prefill_length, decode_batch, decode_context)
    )
    heads, kv_heads = max(model.heads // ways, 1), max(model.kv_heads // ways, 1)
    tokens = prompts * length + requests
    layer = sum(linear_operators(device, model, tokens=tokens, ways=ways, dtype=dtype).values(), Cost.zero())
    if np.any(prompts * length > 0):
        layer = layer + attention_prefill(
            device,
            batch=prompts,
            sequence=length,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=model.head_dim,
            dtype=dtype,
        )
    if np.any(requests > 0):
        layer = layer + attention_decode(
            device,
            batch=requests,
            context=context,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=model.head_dim,
            dtype=dtype,
        )
    total = layer * float(model.layers)
    if model.vocabulary:
        total = total + gather(device, count=tokens, width=model.hidden, table=model.vocabulary, dtype=dtype)
        total = total + head(device, model, tokens=prompts + requests, ways=ways, dtype=dtype)
    return total


def prefill(
    device: Device, model: Architecture, *, batch: Shape, sequence: Shape, ways: int = 1, dtype: str = "bf16"
) -> Cost:
    """The prompts of `batch` requests of `sequence` tokens, up to the first token."""
    return iteration(device, model, prefill_batch=batch, prefill_length=sequence, ways=ways, dtype=dtype)


def decode(
    device: Device, model: Architecture, *, batch: Shape, context: Shape, ways: int = 1, dtype: str = "bf16"
) -> Cost:
    """One token for each of `batch` requests with `context` tokens of cache."""
    return iteration(device, model, decode_batch=batch, decode_context=context, ways=ways, dtype=dtype)
