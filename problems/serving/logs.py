"""Logs of real vLLM engines: what each request took, and the limits of the engine that served it.

A log is a folder with `requests.jsonl` (input_toks, output_toks, queued_ts, first_token_ts, last_token_ts
and where known scheduled_ts of each request) and where known `meta.json` (engine, cache, device). What
`meta.json` does not say of the cache is read off the waiting of the requests, or follows from the device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...costmodels.architectures import ARCHITECTURES, Architecture
from ...costmodels.serving import IterationLaw, widths
from ...errors import DataError
from ...hardware import device
from ...hardware.catalog import names
from ...text import Record, read_json, read_records, read_text
from .compiled import Array
from .engine import Engine
from .trace import Trace

REQUESTS, META, USAGE = "requests.jsonl", "meta.json", "timeseries.csv"
BLOCK, RUNNING, BUDGET = 16, 256, 2048  # vLLM's defaults
UTILISATION, RESERVE = 0.9, 0.05  # vLLM's share of the memory, and a guess of what activations take of it
WAITED = 30  # iterations of decode after which a request is taken to have waited for room
LEAST_USAGE = 0.02  # share of the cache in use from which a reading is exact enough
WITNESSES = 5  # requests that must have waited before their waiting says what the cache holds
TIMES = ("queued_ts", "first_token_ts", "last_token_ts")
LENGTHS = ("input_toks", "output_toks")
ANSWERED = (*LENGTHS, "first_token_ts", "last_token_ts")


@dataclass(frozen=True, eq=False)
class Log:
    """A real run: the trace, and seconds from arrival until a request was scheduled (NaN where unknown)
    and had its first and last token. meta: what `meta.json` holds. usage: (s, share of the cache in use)
    from `timeseries.csv`. failed: requests left out, without answer."""

    trace: Trace
    scheduled: Array
    first: Array
    last: Array
    meta: Mapping[str, Any]
    usage: tuple[tuple[float, float], ...] = ()
    failed: int = 0

    @property
    def tpot(self) -> Array:
        """Seconds a token after the first; NaN where there is only one."""
        steps = np.where(self.trace.output > 1, self.trace.output - 1, np.nan)
        return np.asarray((self.last - self.first) / steps)

    def setting(self, *paths: str) -> Any:
        """The first of some settings of `meta.json`, each as 'part.part', that has a value; else None."""
        for path in paths:
            value: Any = self.meta
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                return value
        return None

    def count(self, *paths: str) -> int | None:
        """The same as a count; DataError where it is none."""
        value = self.setting(*paths)
        if value is None:
            return None
        good = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < 2**31
        if not good or value != int(value):
            name = paths[0].rpartition(".")[2]
            raise DataError(f"{name} in {META} must be a count of at least 1, got {value!r}.")
        return int(value)


def find(path: str | Path) -> Path:
    """The file of requests that a path means: itself, in the folder, or in the only folder below with one."""
    path = Path(path)
    if not path.is_dir():
        return path
    for pattern in (f"{REQUESTS}*", f"*/{REQUESTS}*", f"*/*/{REQUESTS}*"):
        found = sorted(path.glob(pattern))
        if len(found) > 1:
            listed = ", ".join(str(f.parent.relative_to(path)) for f in found[:4])
            raise DataError(f"{path} holds {len(found)} logs ({listed}, ...); name one of them.")
        if found:
            return found[0]
    raise DataError(f"{path} holds no {REQUESTS}, the log of a vLLM benchmark.")


def read_log(path: str | Path) -> Log:
    """A log by its folder or file; requests without an answer are left out and counted.

    Raises DataError for a missing column, a time that runs backwards, or a file without answers.
    """
    path = find(path)
    records = read_records(path, "log")
    read = [_row(found, f"row {n} of {path.name}") for n, found in enumerate(records, 1)]
    rows = [row for row in read if all(row[key] for key in ANSWERED)]
    if not rows:
        raise DataError(f"{path.name} has no answered requests.")
    rows.sort(key=lambda row: row["queued_ts"])
    queued, first, last = (np.array([row[key] for row in rows], float) for key in TIMES)
    scheduled = np.array([np.nan if row["scheduled_ts"] is None else row["scheduled_ts"] for row in rows])
    wrong = np.flatnonzero((first <= queued) | (last < first))
    if len(wrong):
        row = rows[int(wrong[0])]
        raise DataError(
            f"{path.name}: the request queued at {row['queued_ts']} has its first token at "
            f"{row['first_token_ts']} and its last at {row['last_token_ts']}; times must rise."
        )
    tokens = [np.array([row[key] for row in rows]) for key in LENGTHS]
    meta = path.parent / META
    record = read_json(meta) if meta.is_file() else {}
    if not isinstance(record, dict):
        raise DataError(f"{META} must hold an object of settings.")
    trace = Trace.of_requests(queued - queued[0], *tokens, name=path.parent.name)
    usage = _usage(path.parent / USAGE)
    return Log(trace, scheduled - queued, first - queued, last - queued, record, usage, len(read) - len(rows))


def _usage(path: Path) -> tuple[tuple[float, float], ...]:
    if not path.is_file():
        return ()
    try:
        return tuple((float(row["t"]), float(row["kv_cache_pct"]) / 100) for row in read_records(path))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path.name} must have the columns t and kv_cache_pct of numbers: {error}") from None


def _row(found: Record, where: str) -> Record:
    row = {key: found.get(key) for key in (*LENGTHS, *TIMES, "scheduled_ts")}
    for key, value in row.items():
        if value is None and key not in ("queued_ts", *LENGTHS):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
            given = "is missing" if value is None else f"must be a number, got {value!r}"
            raise DataError(f"{where}: {key} {given}.")
    return row


# --- the engine behind it ------------------------------------------------------------------------------
def engine_of(log: Log, kv_tokens: int | None = None, seen: int | None = None) -> tuple[Engine, str, bool]:
    """The engine that made a log, where its cache's size comes from, and whether that size is exact.

    kv_tokens: tokens that the cache holds, where the user knows. seen: requests whose times may be looked
    at (all). Raises DataError where nothing tells the size of the cache.
    """
    replicas = log.count("engine_kwargs.data_parallel_size") or 1
    if replicas > 1:
        raise DataError(
            f"the log is of {replicas} engines side by side (data_parallel_size); one is simulated."
        )
    kwargs, scheduler = "engine_kwargs.", "resolved_config.scheduler_config."
    size = log.count("kv_cache.block_size", "resolved_config.cache_config.block_size") or BLOCK
    running = log.count(kwargs + "max_num_seqs", scheduler + "max_num_seqs") or RUNNING
    budget = log.count(kwargs + "max_num_batched_tokens", scheduler + "max_num_batched_tokens") or BUDGET
    tokens, source, exact = _cache(log, size, running, kv_tokens, seen)
    blocks = max(tokens // size - 1, 1)  # vLLM keeps one block for padding
    need = -(-(log.trace.input + log.trace.output) // size)
    if kv_tokens is None and not exact:
        blocks = max(blocks, int(need.max()))
    engine = Engine(IterationLaw(), blocks, size, running, budget)
    return engine, source, exact


def _cache(
    log: Log, size: int, running: int, kv_tokens: int | None, seen: int | None
) -> tuple[int, str, bool]:
    """Tokens of the cache, by the best witness there is."""
    if kv_tokens is not None:
        return kv_tokens, "as given", True
    config = "resolved_config.cache_config."
    blocks = log.count("kv_cache.num_gpu_blocks", config + "num_gpu_blocks")
    if blocks is not None:
        return blocks * size, f"{META} says so", True
    tokens = log.count("kv_cache.num_kv_tokens", config + "kv_cache_size_tokens")
    if tokens is not None:
        return tokens, f"{META} says so", True
    seen = len(log.trace) if seen is None else seen
    held = held_when_waiting(log, size, running, seen)
    if held is not None:
        return held, "what running requests held while others waited", False
    held = held_by_usage(log, size, seen)
    if held is not None:
        return held, f"what running requests held against the usage in {USAGE}", False
    derived = derived_cache(log)
    if derived is not None:
        return derived, "memory of the device less the model's weights, approximate", False
    raise DataError(
        f"nothing tells how many tokens the cache held: {META} has no kv_cache.num_gpu_blocks, no request "
        f"of the first {seen} waited for room, and its device's memory or its model is unknown; give "
        "--kv-tokens."
    )


def held_when_waiting(log: Log, size: int, running: int, seen: int) -> int | None:
    """Tokens in the cache whenever a request that had waited for room got it: their median.

    A first come, first served engine admits the head of its queue as soon as it fits, so the cache is full
    to within a prompt then. Only the first `seen` requests are looked at, while no later one runs.
    """
    trace, iteration = log.trace, float(np.nanmedian(log.tpot[:seen]))
    start = trace.arrival + log.scheduled
    end = trace.arrival + log.last
    if not np.isfinite(start[:seen]).all():
        return None
    until = start[seen:].min() if len(trace) > seen else np.inf
    waited = (log.scheduled[:seen] > WAITED * iteration) & (start[:seen] < until)
    found = []
    for at in start[:seen][waited]:
        inside = (start[:seen] <= at) & (end[:seen] > at)
        freed = (end[:seen] <= at) & (end[:seen] > at - WAITED * iteration)
        if inside.sum() < running and freed.any():
            found.append(held_at(log, size, seen, float(at)))
    return int(np.median(found)) if len(found) >= WITNESSES else None


def held_at(log: Log, size: int, seen: int, at: float) -> float:
    """Tokens, in whole blocks, of the first `seen` requests that run at a time (s from the first arrival)."""
    trace = log.trace
    since = np.where(np.isfinite(log.scheduled), log.scheduled, log.first)
    start, first, end = (trace.arrival[:seen] + t[:seen] for t in (since, log.first, log.last))
    share = np.clip((at - first) / np.maximum(end - first, 1e-9), 0, 1)
    blocks = np.ceil((trace.input[:seen] + share * trace.output[:seen]) / size)
    return float(size * blocks[(start <= at) & (end > at)].sum())


def held_by_usage(log: Log, size: int, seen: int) -> int | None:
    """Tokens held over the share of the cache in use, while none but the first `seen` requests had come."""
    until = log.trace.arrival[seen] if seen < len(log.trace) else np.inf
    found = [
        held_at(log, size, seen, t) / share for t, share in log.usage if share >= LEAST_USAGE and t < until
    ]
    return int(np.median(found)) if len(found) >= WITNESSES else None


def derived_cache(log: Log) -> int | None:
    """Tokens that the devices' memory holds beside weights and activations; None where unknown."""
    memory, shape = log.setting("hardware.device_total_memory_bytes"), model_of(log)
    if shape is None or not isinstance(memory, int | float):
        return None
    share = log.setting("kv_cache.gpu_memory_utilization", "engine_kwargs.gpu_memory_utilization",
                        "resolved_config.cache_config.gpu_memory_utilization")  # fmt: skip
    share = float(share) if isinstance(share, int | float) else UTILISATION
    room = shards_of(log) * memory * (share - RESERVE) - 2 * shape.parameters
    return int(room / shape.cache_bytes()) if room > 0 else None


def model_of(log: Log) -> Architecture | None:
    """The model of a log where its name is a known one."""
    name = str(log.setting("model", "engine_kwargs.model") or "").rstrip("/").rpartition("/")[2].lower()
    return next((a for known, a in ARCHITECTURES.items() if name in (known, f"{known}-instruct")), None)


def shards_of(log: Log) -> int:
    """Devices that share each layer."""
    return log.count("engine_kwargs.tensor_parallel_size") or 1


def floors(log: Log) -> IterationLaw:
    """The least a law can be on a log's devices for its model, by datasheet; zeros where unknown."""
    words = re.split(r"[^a-z0-9]+", str(log.setting("hardware.device_name") or "").lower())
    words += [a + b for a, b in pairwise(words)]
    found = [device(name) for name in names() if name.partition("-")[0] in words]
    shape, dtype = model_of(log), str(log.setting("engine_kwargs.dtype") or "")
    quantised = log.setting("engine_kwargs.quantization", "resolved_config.model_config.quantization")
    if shape is None or not found or quantised or dtype not in ("bfloat16", "float16", "half"):
        return IterationLaw()
    peak = shards_of(log) * max(gpu.peak("bf16") for gpu in found)
    bandwidth = shards_of(log) * max(gpu.bandwidth for gpu in found)
    cached = log.setting("engine_kwargs.kv_cache_dtype") in (None, "auto")
    w = widths(shape)
    parameters = w["layers"] * w["layer_weights"]
    return IterationLaw(
        weights=float(2 * (parameters + w["head_weights"]) / bandwidth),
        per_cached=float(shape.cache_bytes() / bandwidth) if cached else 0.0,
        per_token=float(2 * parameters / peak),
        per_pair=float(4 * w["query_width"] * w["layers"] / peak),
    )


def published(path: str | Path) -> dict[str, float]:
    """What another simulator's summary beside a log says of its own errors on it: 'mean latency', ...

    The table has the columns Metric, vLLM, Sim and Diff%, as LLMServingSim writes it; empty without one.
    """
    folder = find(path).parent
    quantities = {"Latency Mean": "mean latency", "TTFT Median": "TTFT median", "TPOT Mean": "TPOT mean"}
    found: dict[str, float] = {}
    for file in sorted({*folder.glob("*summary*.txt"), *folder.parent.glob("validation/*summary*.txt")}):
        for line in read_text(file, "summary").splitlines():
            match = re.fullmatch(r"\s*(\w+ \w+)\s+([\d.]+)\s+([\d.]+)\s+\S+\s*", line)
            if match and match[1] in quantities and float(match[2]) > 0:
                found[quantities[match[1]]] = float(match[3]) / float(match[2]) - 1
    return found
