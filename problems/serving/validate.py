"""The batching model against a real log: fitted on the first requests, scored on the others.

Constants of the law are found by Nelder-Mead over whole simulations; nothing of the scored requests but
their arrivals and lengths enters the fit. Beside ours stands what another simulator publishes for the
same log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...costmodels.architectures import ARCHITECTURES
from ...costmodels.serving import widths
from ...errors import DataError
from ...hardware import device
from ...hardware.catalog import names
from .compiled import Array
from .engine import Engine, Replay, simulate
from .law import IterationLaw
from .readers import open_text, read_json, read_trace
from .trace import Trace

# A constant is its physical floor (datasheet bandwidth and peak) plus a positive excess, which is fitted.
FITTED = ("fixed", "per_decode", "per_cached", "per_token", "per_pair", "per_prefill", "start_up")
START = (2e-3, 1e-4, 2e-8, 2e-5, 1e-9, 1e-3, 0.1)
# Published with LLMServingSim for its own simulation of this log, all 300 requests (bench summaries).
PEER = {"mean latency": 0.005, "TTFT median": 0.008, "TPOT mean": 0.002}


@dataclass(frozen=True, eq=False)
class Log:
    """A real run: the trace, and seconds from arrival to the first and last token of each request."""

    trace: Trace
    first: Array
    last: Array

    @property
    def tpot(self) -> Array:
        """Seconds a token after the first."""
        return np.asarray((self.last - self.first) / np.maximum(self.trace.output - 1, 1))


def read_log(path: str | Path) -> Log:
    """A vLLM benchmark log with queued_ts, first_token_ts and last_token_ts a request."""
    path = Path(path)
    path = path / "requests.jsonl" if path.is_dir() else path
    trace = read_trace(path, "vllm")
    with open_text(path) as file:
        rows: list[Mapping[str, Any]] = [json.loads(line) for line in file if line.strip()]
    for i, row in enumerate(rows):
        for key in ("first_token_ts", "last_token_ts"):
            if not isinstance(row.get(key), int | float):
                raise DataError(f"row {i + 1} of {path.name}: {key} is missing.")
    queued, first, last = (
        np.array([r[k] for r in rows]) for k in ("queued_ts", "first_token_ts", "last_token_ts")
    )
    order = np.argsort(queued, kind="stable")
    return Log(trace, (first - queued)[order], (last - queued)[order])


def engine_of(log: str | Path, default_blocks: int = 4096) -> Engine:
    """Limits of the engine that made a log, from the `meta.json` beside it (defaults where there is none)."""
    path = Path(log)
    meta = (path if path.is_dir() else path.parent) / "meta.json"
    if not meta.is_file():
        return Engine(IterationLaw(), blocks=default_blocks)
    record = read_json(meta)
    try:
        cache, limits = record["kv_cache"], record["engine_kwargs"]
        numbers = {
            "blocks": int(cache["num_gpu_blocks"]) - 1,  # vLLM keeps one block for padding
            "block_size": int(cache["block_size"]),
            "max_running": int(limits["max_num_seqs"]),
            "token_budget": int(limits["max_num_batched_tokens"]),
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{meta.name} must hold kv_cache (num_gpu_blocks, block_size) and engine_kwargs (max_num_seqs, "
            f"max_num_batched_tokens): {type(error).__name__} {error}."
        ) from None
    odd = next((name for name, value in numbers.items() if not 1 <= value < 2**31), None)
    if odd is not None:
        raise DataError(f"{odd} in {meta.name} must be a count of at least 1, got {numbers[odd]}.")
    return Engine(IterationLaw(), **numbers)


def floors(log: str | Path) -> IterationLaw:
    """The least a law can be on the log's device for its model, by datasheet; zeros where unknown."""
    path = Path(log)
    meta = (path if path.is_dir() else path.parent) / "meta.json"
    record = read_json(meta) if meta.is_file() else {}
    model = str(record.get("model", "")).rpartition("/")[2].lower()
    label = str(record.get("hardware", {}).get("device_name", "")).lower().replace(" ", "")
    found = [name for name in names() if name.partition("-")[0] in label]
    if model not in ARCHITECTURES or not found:
        return IterationLaw()
    gpu, shape = device(found[0]), ARCHITECTURES[model]
    w, peak = widths(shape), gpu.peak("bf16")
    parameters = w["layers"] * w["layer_weights"]
    return IterationLaw(
        fixed=float(2 * (parameters + w["head_weights"]) / gpu.bandwidth),
        per_cached=float(shape.cache_bytes() / gpu.bandwidth),
        per_token=float(2 * parameters / peak),
        per_pair=float(4 * w["query_width"] * w["layers"] / peak),
    )


def fit(
    log: Log, engine: Engine, requests: int = 100, rounds: int = 3, floor: IterationLaw | None = None
) -> Engine:
    """The engine with constants fitted to the first requests of a log, none below its `floor`.

    Loss: mean absolute log error of the times to the first and to the last token.
    """
    floor = floor or IterationLaw()
    from scipy.optimize import minimize

    trace = log.trace.first(requests)

    def loss(scale: Array) -> float:
        replay = simulate(trace, _engine(engine, floor, scale))
        errors = [
            np.abs(np.log(ours / real[:requests]))
            for ours, real in ((replay.ttft, log.first), (replay.last_token - trace.arrival, log.last))
        ]
        return float(np.mean(errors))

    best = np.zeros(len(FITTED))
    for _ in range(rounds):
        simplex = best + np.vstack([np.zeros(len(FITTED)), 0.5 * np.eye(len(FITTED))])
        found = minimize(
            loss, best, method="Nelder-Mead",
            options={"maxfev": 500, "xatol": 1e-3, "fatol": 1e-5, "initial_simplex": simplex},
        )  # fmt: skip
        best = found.x
    return _engine(engine, floor, best)


def _engine(engine: Engine, floor: IterationLaw, logs: Array) -> Engine:
    values = dict(zip(FITTED, np.asarray(START) * np.exp(logs), strict=True))
    start_up = float(values.pop("start_up"))
    law = IterationLaw(**{k: getattr(floor, k) + float(v) for k, v in values.items()})
    return Engine(law, engine.blocks, engine.block_size, engine.max_running, engine.token_budget,
                  engine.swap, start_up)  # fmt: skip


def errors(log: Log, replay: Replay, rows: slice) -> dict[str, float]:
    """Relative errors of a replay on some requests; those per request are means of absolute errors."""
    ours, real = replay.ttft[rows], log.first[rows]
    pace, measured = replay.tpot[rows], log.tpot[rows]
    latency = (replay.last_token - replay.trace.arrival)[rows]
    return {
        "mean latency": float(latency.mean() / log.last[rows].mean() - 1),
        "TTFT median": float(np.median(ours) / np.median(real) - 1),
        "TTFT per request": float(np.abs(ours / real - 1).mean()),
        "TPOT mean": float(np.nanmean(pace) / np.nanmean(measured) - 1),
        "TPOT per request": float(np.nanmean(np.abs(pace / measured - 1))),
    }


BARS = {"mean latency": 0.03, "TTFT median": 0.03, "TPOT mean": 0.02, "TPOT per request": 0.10}
EARLY, EARLY_BAR = 40, 0.20


def validate(path: str | Path, fitted_on: int = 100) -> list[dict[str, Any]]:
    """Rows of quantity, ours (held out), bar, peer (its own figure on all requests), within.

    The last row is the time to first token of the first requests, before the queue builds up: those
    are among the fitted ones, and the only part of an overloaded log that tests a lightly loaded engine.
    """
    log = read_log(path)
    if len(log.trace) <= fitted_on:
        raise DataError(f"a log of {len(log.trace)} requests is too short to fit on {fitted_on} of them.")
    engine = fit(log, engine_of(path), fitted_on, floor=floors(path))
    replay = simulate(log.trace, engine)
    held_out = errors(log, replay, slice(fitted_on, None))
    rows = [
        {
            "quantity": name,
            "requests": f"{fitted_on + 1} to {len(log.trace)}",
            "error": value,
            "bar": BARS.get(name),
            "peer": PEER.get(name),
            "within": None if name not in BARS else abs(value) <= BARS[name],
        }
        for name, value in held_out.items()
    ]
    early = errors(log, replay, slice(0, EARLY))["TTFT per request"]
    rows.append(
        {
            "quantity": "TTFT per request",
            "requests": f"1 to {EARLY}",
            "error": early,
            "bar": EARLY_BAR,
            "peer": None,
            "within": early <= EARLY_BAR,
        }
    )
    return rows
