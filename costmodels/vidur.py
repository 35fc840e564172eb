"""Kernels of Vidur (MIT, Microsoft): operators around the products, and attention, of several models in fp16.

As published, below `data/profiling`: compute/DEVICE/MODEL/mlp.csv and attention.csv, a column an operator and
statistic; or re-encoded: vidur/compute_DEVICE_MODEL.csv, a row an operator. Latencies are milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .fitting import Samples
from .profile_tables import Array, Table, groups, read_table

SOURCE = "Vidur profiling data, MIT, Microsoft"
DEVICES = {"a100": "a100-sxm-80gb", "h100": "h100-sxm-80gb"}
LEAST = 2.5e-6  # seconds: times are stored with a resolution of one microsecond
RECODED = re.compile(r"compute_([a-z0-9]+)_.*\.csv")


def read(files: Sequence[Path]) -> Iterator[tuple[str, str, Samples]]:
    """(device, "all", samples) of every table among some files."""
    for label, device in DEVICES.items():
        paths = [path for path in files if _device(path, "mlp.csv") == label]
        if paths:
            yield from ((device, "all", rows) for rows in _operators([read_table(p) for p in paths]))
        for path in files:
            if _device(path, "attention.csv") == label and path.name == "attention.csv":
                yield from ((device, "all", rows) for rows in _attention(read_table(path)))


def _device(path: Path, name: str) -> str | None:
    """The device of a table called `name` as published, or of a re-encoded one of operators."""
    match = RECODED.fullmatch(path.name)
    if match is not None and path.parent.name == "vidur":
        return match[1]
    below = path.parts[::-1]  # mlp.csv, MODEL, perhaps ORGANISATION, DEVICE, compute
    place = below.index("compute") if path.name == name and "compute" in below else 0
    return below[place - 1] if place in (3, 4) else None


def _seconds(table: Table, operator: str) -> Array:
    """The median of an operator on each row, NaN where the row is of another."""
    if "op" in table.columns:
        return np.where(table.text("op") == operator, 1e-3 * table.numbers("median_ms"), np.nan)
    name = f"time_stats.{operator}.median"
    return 1e-3 * table.numbers(name) if name in table.columns else np.full(len(table), np.nan)


def _operators(tables: Sequence[Table]) -> Iterator[Samples]:
    """Additions and gated activations, and norms; each model is a group of its own."""
    elementwise: list[Array] = []
    norms: list[Array] = []
    for number, table in enumerate(tables):
        tokens, ways = table.numbers("num_tokens"), table.numbers("num_tensor_parallel_workers")
        width, hidden = table.numbers("n_embd"), table.numbers("n_expanded_embd")
        gated = table.text("use_gated_mlp") == "True"
        for operator, rows, elements, reads, operations in (
            ("add", ways == 1, tokens * width, 2.0, 1.0),
            ("mlp_act", gated, tokens * hidden / ways, 2.0, 10.0),
        ):
            seconds = _seconds(table, operator)
            keep = rows & (seconds > LEAST)
            one = np.ones(keep.sum())
            elementwise.append(
                np.stack([elements[keep], reads * one, one, operations * one, seconds[keep],
                          2.0 * number * one + operations])
            )  # fmt: skip
        seconds = _seconds(table, "input_layernorm")
        keep = (ways == 1) & (seconds > LEAST)
        norms.append(np.stack([tokens[keep], width[keep], seconds[keep], np.full(keep.sum(), float(number))]))
    *columns, seconds, group = np.concatenate(elementwise, axis=1)
    names = ("elements", "reads", "writes", "operations")
    if len(seconds):
        yield Samples("elementwise", "fp16", dict(zip(names, columns, strict=True)), seconds, group, SOURCE)
    rows, width, seconds, group = np.concatenate(norms, axis=1)
    if len(seconds):
        yield Samples("layer_norm", "fp16", {"rows": rows, "width": width}, seconds, group, SOURCE)


def _attention(table: Table) -> Iterator[Samples]:
    """Decoding, and prefills that begin a sequence, on the heads of one worker."""
    ways, heads = table.numbers("num_tensor_parallel_workers"), table.numbers("n_q_head")
    geometry = {
        "heads": heads / ways,
        "kv_heads": np.maximum(table.numbers("n_kv_head") / ways, 1),
        "head_dim": table.numbers("n_embd") / heads,
    }
    batch, cached = table.numbers("batch_size"), table.numbers("kv_cache_size")
    chunk = table.numbers("prefill_chunk_size")
    group = groups(*geometry.values())
    for family, operator, name, length, rows in (
        ("attention_prefill", "attn_prefill", "sequence", chunk, (cached == 0) & (chunk > 0)),
        ("attention_decode", "attn_decode", "context", cached, (chunk == 0) & (cached > 0)),
    ):
        seconds = _seconds(table, operator)
        keep = rows & (seconds > LEAST)
        if keep.any():
            shapes = {"batch": batch, name: length, **geometry}
            seconds = np.where(keep, seconds, 1.0)
            yield Samples(family, "fp16", shapes, seconds, group, SOURCE).take(keep)
