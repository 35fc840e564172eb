"""Fused attention: prefill (queries = keys, causal or not) and decode (one query a sequence)."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, calls, evaluate, streams, traffic

BLOCK = 128.0


def prefill_features(
    device: Device,
    dtype: str,
    *,
    batch: Number,
    sequence: Number,
    heads: Number,
    kv_heads: Number,
    head_dim: Number,
    causal: bool,
) -> Features:
    """Two products a head of s x s x d, s^2 exponentials a head, halved where causal; q, k, v, out once.

    "waves": blocks of 128 queries in whole waves over the cores; "serial": one block's pass over the keys.
    """
    item = size_of(dtype)
    half = 0.5 if causal else 1.0
    pairs = batch * heads * sequence * sequence * half
    flops = 4.0 * pairs * head_dim
    total = 2.0 * batch * sequence * head_dim * (heads + kv_heads) * item
    flow = traffic(device, total, total)
    peak = device.peak(dtype)
    blocks = batch * heads * np.ceil(sequence / BLOCK)
    cores = device.cores
    per_block = 4.0 * BLOCK * half * (sequence + BLOCK) * head_dim * cores / peak
    return Features(
        terms={
            "launch": calls(device, pairs),
            "arithmetic": flops / peak,
            "waves": np.ceil(blocks / cores) * per_block,
            "exponentials": pairs / device.value("special"),
            "serial": np.ceil(sequence / BLOCK) * BLOCK * 64.0 / device.clock * np.where(pairs > 0, 1.0, 0.0),
            **streams(device, flow),
        },
        flops=flops,
        traffic=flow,
        peak=peak,
    )


def decode_features(
    device: Device,
    dtype: str,
    *,
    batch: Number,
    context: Number,
    heads: Number,
    kv_heads: Number,
    head_dim: Number,
) -> Features:
    """The KV cache read once; one query a head. "serial": the longest chain over keys of one block."""
    item = size_of(dtype)
    cache = 2.0 * batch * context * kv_heads * head_dim * item
    flow = traffic(device, cache, cache)
    pairs = batch * heads * context
    flops = 4.0 * pairs * head_dim
    peak = device.peak(dtype)
    return Features(
        terms={
            "launch": calls(device, pairs),
            "arithmetic": flops / device.peak("fp32"),
            "exponentials": pairs / device.value("special"),
            "serial": context / device.clock,
            **streams(device, flow),
        },
        flops=flops,
        traffic=flow,
        peak=peak,
    )


def attention_prefill(
    device: Device,
    *,
    batch: Shape,
    sequence: Shape,
    heads: Shape,
    kv_heads: Shape,
    head_dim: Shape,
    dtype: str = "bf16",
    causal: bool = True,
) -> Cost:
    """Fused attention of every token with every earlier one (every one, where not causal).

    >>> from tradespace.hardware import device
    >>> shape = dict(batch=1, sequence=4096, heads=32, kv_heads=8, head_dim=128)
    >>> float(attention_prefill(device("a100-sxm-80gb"), **shape).flops)
    137438953472.0
    """
    return evaluate(
        "attention_prefill",
        partial(prefill_features, causal=causal),
        device,
        dtype,
        batch=batch,
        sequence=sequence,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
    )


def attention_decode(
    device: Device,
    *,
    batch: Shape,
    context: Shape,
    heads: Shape,
    kv_heads: Shape,
    head_dim: Shape,
    dtype: str = "bf16",
) -> Cost:
    """One new token a sequence against a KV cache of `context` tokens."""
    return evaluate(
        "attention_decode",
        decode_features,
        device,
        dtype,
        batch=batch,
        context=context,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
    )
