"""The batching model against a real log: fitted on the first requests, scored on the others.

The whole log is simulated, as the first requests share the engine with those that follow; constants of the
law are found by Nelder-Mead over such simulations. Nothing of the scored requests but their arrivals and
lengths enters the fit. Where another simulator's figures for the same log lie beside it, they are shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...costmodels.serving import IterationLaw
from ...errors import DataError
from .compiled import Array
from .engine import Engine, Replay, simulate
from .logs import Log, engine_of, floors, published, read_log

# A constant is its physical floor (datasheet bandwidth and peak) plus a positive excess, which is fitted.
# Excesses start in these proportions, the first at half of a fast token's time above the floor.
START = {
    "fixed": 1.0, "per_decode": 0.05, "per_cached": 1e-5, "per_token": 1e-2, "per_pair": 5e-7,
    "per_prefill": 0.5, "weights": 0.3, "start_up": 20.0,
}  # fmt: skip
WIDE = (-2.0, 0.0)  # logarithms of other starts, of the constants that have several optima
FIRST, ROUNDS, EVALUATIONS = 250, 2, 500
BARS = {"mean latency": 0.06, "TTFT median": 0.10, "TPOT mean": 0.08}
EARLY, EARLY_BAR = 40, 0.20


@dataclass(frozen=True)
class Validation:
    """Rows of quantity, requests, error, bar, within (and peer, where one is published); notes in words."""

    rows: list[dict[str, Any]]
    notes: list[str]


def fit(
    log: Log,
    engine: Engine,
    requests: int = 100,
    *,
    floor: IterationLaw | None = None,
    exact: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Engine:
    """The engine with constants fitted to the first requests of a log, none below its `floor`.

    Loss: mean absolute log error of the times to the first and to the last token and of the time a token.
    exact: whether the cache's size is known; else it is fitted too. progress: called with the part done.
    """
    from scipy.optimize import minimize

    floor = floor or IterationLaw()
    pace = float(np.nanquantile(log.tpot[:requests], 0.05))
    scale = 0.5 * max(pace - floor.weights, 0.1 * pace)
    least = int((-(-(log.trace.input + log.trace.output) // engine.block_size)).max())

    def made(logs: Array) -> Engine:
        values = {k: scale * START[k] * float(np.exp(v)) for k, v in zip(START, logs, strict=False)}
        start_up = values.pop("start_up")
        law = IterationLaw(**{k: getattr(floor, k) + v for k, v in values.items()})
        blocks = engine.blocks if exact else max(least, round(engine.blocks * float(np.exp(logs[-1]))))
        return replace(engine, law=law, start_up=start_up, blocks=blocks)

    real = (log.first[:requests], log.last[:requests], log.tpot[:requests])
    done = 0

    def loss(logs: Array) -> float:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(1.0, done / (FIRST * len(WIDE) ** 2 + ROUNDS * EVALUATIONS)))
        replay = simulate(log.trace, made(logs))
        ours = (replay.ttft, replay.last_token - log.trace.arrival, replay.tpot)
        return float(
            sum(np.nanmean(np.abs(np.log(a[:requests] / b))) for a, b in zip(ours, real, strict=True))
        )

    steps = np.append(np.full(len(START), 0.5), [] if exact else [0.05])

    def descend(start: Array, evaluations: int) -> tuple[float, Array]:
        found = minimize(
            loss, start, method="Nelder-Mead",
            options={"maxfev": evaluations, "xatol": 1e-3, "fatol": 1e-5,
                     "initial_simplex": start + np.vstack([np.zeros(len(steps)), np.diag(steps)])},
        )  # fmt: skip
        return float(found.fun), found.x

    starts = [np.zeros(len(steps)) for _ in itertools.product(WIDE, WIDE)]
    for start, (token, start_up) in zip(starts, itertools.product(WIDE, WIDE), strict=True):
        start[list(START).index("per_token")] = token
        start[list(START).index("start_up")] = start_up
    best = min((descend(start, FIRST) for start in starts), key=lambda pair: pair[0])[1]
    for _ in range(ROUNDS):
        best = descend(best, EVALUATIONS)[1]
    return made(best)


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


def validate(
    path: str | Path,
    fitted_on: int = 100,
    *,
    kv_tokens: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Validation:
    """Fit on the first requests of a log, score on the others.

    kv_tokens: tokens that the engine's cache holds, where the log does not tell. The last row is the time
    to first token of the first requests, before the queue builds up: those are among the fitted ones, and
    the only part of an overloaded log that tests a lightly loaded engine.

    Raises DataError for a log that cannot be read, is too short, or says nothing of its cache.
    """
    log = read_log(path)
    if len(log.trace) <= fitted_on:
        raise DataError(f"a log of {len(log.trace)} requests is too short to fit on {fitted_on} of them.")
    if not np.isfinite(log.tpot[:fitted_on]).any():
        raise DataError(
            f"none of the first {fitted_on} requests has two tokens, of which a pace could be fitted."
        )
    engine, source, exact = engine_of(log, kv_tokens, fitted_on)
    engine = fit(log, engine, fitted_on, floor=floors(log), exact=exact, progress=progress)
    replay, peer = simulate(log.trace, engine), published(path)
    rows: list[dict[str, Any]] = []

    def add(name: str, first: int, last: int, error: float, bar: float | None) -> None:
        known = {"peer": peer.get(name) if first > 1 else None} if peer else {}
        within = None if bar is None else abs(error) <= bar
        row = {"quantity": name, "requests": f"{first} to {last}", "error": error, "bar": bar}
        rows.append(row | known | {"within": within})

    for name, error in errors(log, replay, slice(fitted_on, None)).items():
        add(name, fitted_on + 1, len(log.trace), error, BARS.get(name))
    early = errors(log, replay, slice(0, EARLY))["TTFT per request"]
    add("TTFT per request", 1, EARLY, early, EARLY_BAR)
    tokens = engine.blocks * engine.block_size
    notes = [f"cache of {tokens:,} tokens: {source}{'' if exact else ', then fitted'}"]
    if log.failed:
        notes.append(f"{log.failed} requests without an answer are left out")
    if peer:
        notes.append(
            "peer: another simulator's own figures, of all requests, from the summary beside the log"
        )
    return Validation(rows, notes)
