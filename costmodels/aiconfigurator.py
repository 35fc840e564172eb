"""Kernels of NVIDIA's AIConfigurator (Apache-2.0): products, attention, collectives of serving engines.

As published, below `systems/data`: SYSTEM/BACKEND/VERSION/KIND_perf.parquet (or .txt), of which the newest
version of each backend is read; or re-encoded: aiconfigurator/SYSTEM_KIND.csv. Latencies are milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..hardware.catalog import names
from .fitting import Samples
from .profile_tables import Table, groups, read_table

SOURCE = "AIConfigurator silicon tables, Apache-2.0, NVIDIA"
PUBLISHED = {
    "gemm_perf": "gemm",
    "context_attention_perf": "attention_context",
    "generation_attention_perf": "attention_generation",
    "nccl_perf": "nccl",
}
RECODED = re.compile(
    r"([a-z]+\d+[a-z]*_[a-z]+)_(gemm_bfloat16|gemm_fp8|attention_context|attention_generation|nccl)\.csv"
)
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "fp8": "fp8"}
HALVES = ("bfloat16", "float16")


def read(files: Sequence[Path]) -> Iterator[tuple[str, str, Samples]]:
    """(device, "all", samples) of every table among some files."""
    for system, kind, path in [*_recoded(files), *_published(files)]:
        device = next((n for n in names() if n.startswith(system.replace("_", "-") + "-")), None)
        if device is None:
            continue
        table = read_table(path).named({"latency": "latency_ms", "gemm_dtype": "dtype"})
        yield from ((device, "all", samples) for samples in _samples(kind, table))


def _recoded(files: Sequence[Path]) -> Iterator[tuple[str, str, Path]]:
    for path in files:
        match = RECODED.fullmatch(path.name)
        if match is not None and path.parent.name == "aiconfigurator":
            yield match[1], match[2], path


def _published(files: Sequence[Path]) -> Iterator[tuple[str, str, Path]]:
    newest: dict[tuple[str, str, str], Path] = {}
    for path in files:
        if path.stem in PUBLISHED and path.suffix in {".parquet", ".txt", ".csv"} and len(path.parts) > 4:
            system, backend, _ = path.parts[-4:-1]
            key = (system, PUBLISHED[path.stem], backend)
            if key not in newest or _age(newest[key]) < _age(path):
                newest[key] = path
    yield from ((system, kind, path) for (system, kind, _), path in sorted(newest.items()))


def _age(path: Path) -> tuple[tuple[int, ...], bool]:
    """What orders the versions of one backend's table; of one version, Parquet is the later form."""
    release, rest = re.fullmatch(r"v?([\d.]*)(.*)", path.parent.name).groups()  # type: ignore[union-attr]
    stage = -1 if re.match(r"\.?(rc|a|b|dev)", rest) else 1 if rest else 0
    numbers = [int(part) for part in release.split(".") if part]
    numbers += [0] * (4 - len(numbers))
    return (*numbers, stage, *(int(part) for part in re.findall(r"\d+", rest))), path.suffix == ".parquet"


def _samples(kind: str, table: Table) -> Iterator[Samples]:
    if kind == "gemm":
        dtype = table.text("dtype")
        for theirs, ours in DTYPES.items():
            if (dtype == theirs).any():
                yield _gemm(table, ours).take(dtype == theirs)
    elif kind.startswith("gemm"):
        yield _gemm(table, DTYPES[kind.removeprefix("gemm_")])
    elif kind == "nccl":
        yield from _collectives(table)
    else:
        yield from _attention(table, kind == "attention_context")


def _gemm(table: Table, dtype: str) -> Samples:
    m, n, k = (table.numbers(name) for name in "mnk")
    shapes = {"m": m, "n": n, "k": k, "batch": np.ones_like(m)}
    return Samples("gemm", dtype, shapes, 1e-3 * table.numbers("latency_ms"), groups(n, k), SOURCE)


def _attention(table: Table, prefill: bool) -> Iterator[Samples]:
    """Full windows, 16-bit caches, FlashAttention 2 and 3 (head sizes above 256 run another kernel)."""
    heads, kv, dim = (table.numbers(n) for n in ("num_heads", "num_key_value_heads", "head_dim"))
    kv = np.where(kv == 0, heads, kv)
    keep = np.isin(table.text("kv_cache_dtype"), HALVES) & (dim <= 256)
    if "window_size" in table.columns:
        keep &= table.numbers("window_size") == 0
    if not keep.any():
        return
    length = table.numbers("isl") + (0.0 if prefill else table.numbers("step"))
    shapes = {
        "batch": table.numbers("batch_size"),
        "sequence" if prefill else "context": length,
        "heads": heads,
        "kv_heads": kv,
        "head_dim": dim,
    }
    family = "attention_prefill" if prefill else "attention_decode"
    seconds = 1e-3 * table.numbers("latency_ms")
    yield Samples(family, "bf16", shapes, seconds, groups(heads, kv, dim), SOURCE).take(keep)


def _collectives(table: Table) -> Iterable[Samples]:
    """message_size counts elements (half takes longer than int8 at equal size)."""
    operations = {"all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
                  "alltoall": "all_to_all"}  # fmt: skip
    item = np.where(table.text("nccl_dtype") == "half", 2.0, 1.0)
    size, devices = table.numbers("message_size"), table.numbers("num_gpus")
    seconds = 1e-3 * table.numbers("latency_ms")
    operation = table.text("op_name")
    for theirs, ours in operations.items():
        keep = operation == theirs
        shapes = {"bytes": (item * size)[keep], "devices": devices[keep]}
        yield Samples(ours, "int8", shapes, seconds[keep], groups(size[keep]), SOURCE)
