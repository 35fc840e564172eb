"""Fused attention: prefill (queries = keys, causal or not) and decode (one query a sequence)."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, evaluate, streams, traffic

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

    "waves": blocks of 128 queries, whole waves over the cores, each against its keys.
    "chain": the longest block. "starts": 1000 cycles a wave. "serial": 1000 cycles a query block.
    """
    item = size_of(dtype)
    half = 0.5 if causal else 1.0
    pairs = batch * heads * sequence * sequence * half
    busy = np.where(pairs > 0, 1.0, 0.0)
    flops = 4.0 * pairs * head_dim
    queries = 2.0 * batch * sequence * head_dim * heads * item
    keys = 2.0 * batch * sequence * head_dim * kv_heads * item
    flow = traffic(device, queries + keys, queries + keys)
    peak = device.peak(dtype)
    terms: dict[str, Number] = {
        "launch": busy * device.launch,
        "arithmetic": flops / peak,
        "exponentials": pairs / device.value("special"),
    }
    if device.kind == "cpu":
        rows = batch * heads * sequence / (device.clock * device.cores)
        terms |= {
            "rows": rows,
            # Blocks of 32 queries below 768, of 256 above: short products attain less.
            "blocks": 32.0 * batch * heads * np.ceil(sequence / 32) / (device.clock * device.cores),
            "short": 4.0 * half * batch * heads * head_dim * sequence * np.minimum(sequence, 768.0) / peak,
            **streams(device, flow),
        }
    else:
        cores, cycles = device.cores, 1000.0 / device.clock
        steps = np.ceil(sequence / BLOCK)
        waves = np.ceil(batch * heads * steps / cores)
        tile = 4.0 * BLOCK * BLOCK * head_dim * cores / peak
        cache = device.level("l2").bandwidth
        terms |= {
            "waves": busy * waves * tile * (half * (steps - 1.0) + 1.0),
            "chain": busy * steps * tile,
            "queries": queries / cache,
            "keys": keys / cache,
            "dram": flow["dram"] / device.bandwidth,
            "starts": busy * waves * cycles,
            "serial": busy * steps * cycles,
        }
    return Features(terms, flops, flow, peak)


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
    """The KV cache read once; one query a head.

    Grouped queries (heads > kv_heads) split the context over idle cores: a second kernel combines
    ("split", "combine" by the number of steps), and several sequences with several KV heads cost a
    reshuffle. "items": blocks of 128 keys, whole waves, at a core's share of bandwidth; "chain": the
    longest run of blocks on one core; "waves" and "wide": 1000 cycles a wave, the latter by head size;
    "serial": steps of one sequence; "sequences": 1000 cycles a sequence.
    """
    item = size_of(dtype)
    pairs = batch * heads * context
    busy = np.where(pairs > 0, 1.0, 0.0)
    cache = 2.0 * batch * context * kv_heads * head_dim * item
    queries = 2.0 * batch * heads * head_dim * item
    flow = traffic(device, cache + queries, cache + queries)
    flops = 4.0 * pairs * head_dim
    peak = device.peak(dtype)
    terms: dict[str, Number] = {
        "launch": busy * device.launch,
        "exponentials": pairs / device.value("special"),
    }
    if device.kind == "cpu":
        rows = batch * heads / (device.clock * device.cores)
        terms |= {"arithmetic": flops / device.peak("fp32"), "rows": rows, **streams(device, flow)}
    else:
        cores, clock, launch = device.cores, device.clock, busy * device.launch
        steps = np.ceil(context / BLOCK)
        grouped = np.where(heads > kv_heads, 1.0, 0.0)
        blocks = batch * kv_heads
        items = np.ceil(blocks * steps / cores)
        waves = np.ceil(blocks / cores)
        chain = np.where(heads > kv_heads, items, waves * steps)
        l2 = device.level("l2").bandwidth
        terms |= {
            "shuffle": launch * grouped * np.where((kv_heads > 1) & (batch > 1), 1.0, 0.0),
            "split": launch * grouped * np.where(context > BLOCK, 1.0, 0.0),
            "combine": launch * grouped * np.minimum(np.log2(np.maximum(steps, 1.0)), 7.0),
            "chain": chain * BLOCK / clock,
            "items": items * BLOCK * head_dim * 2.0 * item * cores / device.bandwidth,
            "l2": cache / l2,
            "dram": flow["dram"] / device.bandwidth,
            "queries": queries / l2,
            "waves": busy * waves * 1000.0 / clock,
            "wide": busy * waves * head_dim * 8.0 / clock,
            "serial": busy * steps * 100.0 / clock,
            "sequences": busy * batch * 1000.0 / (cores * clock),
        }
    return Features(terms, flops, flow, peak)


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
