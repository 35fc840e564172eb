"""What a replay amounts to: completion, first token, pace, share within limits, and whether to trust it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import Array
from .engine import Replay

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def spread(values: Array) -> dict[str, float]:
    """Mean and quantiles of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return dict.fromkeys(("mean", *QUANTILES), float("nan"))
    return {"mean": float(finite.mean()), **{n: float(np.quantile(finite, q)) for n, q in QUANTILES.items()}}


def summary(
    replay: Replay, *, ttft_limit: float | None = None, tpot_limit: float | None = None
) -> dict[str, float]:
    """Times in seconds, rates a second, shares.

    within: share of calls that kept both limits; a call that never finished kept none. goodput: such
    calls a second. saturated: 1 where the offered work is within the law's error of what the engine can do.
    """
    out: dict[str, float] = {}
    for name, values in (("completion", replay.completion), ("ttft", replay.ttft), ("tpot", replay.tpot)):
        out |= {f"{name}_{k}": v for k, v in spread(values).items()}
    done = np.isfinite(replay.last_token)
    kept = done.copy()
    if ttft_limit is not None:
        kept &= replay.ttft <= ttft_limit
    if tpot_limit is not None:
        kept &= ~(replay.tpot > tpot_limit)
    finished = np.isfinite(replay.finish)
    late = np.isfinite(replay.trace.deadline)
    met = finished & (replay.finish <= replay.trace.deadline)
    out["within"] = float(kept.mean()) if len(kept) else float("nan")
    out["goodput"] = float(kept.sum() / replay.end) if replay.end > 0 else 0.0
    out["deadlines_met"] = float(met[late].mean()) if late.any() else float("nan")
    out["unfinished"] = float((~finished).mean())
    out["utilisation"] = replay.utilisation
    out["preemptions"] = float(replay.preemptions)
    out["mean_batch"] = replay.mean_batch
    out["saturated"] = float(saturated(replay))
    return out


def saturated(replay: Replay) -> bool:
    """Whether the result lies within the model's error of full load, where completion times mean little.

    The queue's growth over the span of arrivals tells offered from served work; an engine whose law errs
    by sigma may be saturated where its utilisation while arrivals last is above 1 / (1 + sigma).
    """
    trace = replay.trace
    span = float(trace.arrival[-1] - trace.arrival[0])
    if span <= 0:
        return False
    half = trace.arrival <= trace.arrival[0] + span / 2
    backlog = [
        float(np.count_nonzero((trace.arrival <= t) & ~(replay.finish <= t)))
        for t in (trace.arrival[0] + span / 2, trace.arrival[-1])
    ]
    growing = backlog[1] > 1.5 * backlog[0] + 3 * np.sqrt(max(1.0, backlog[0])) and half.any()
    busy_share = replay.busy / max(replay.end - float(trace.arrival[0]), 1e-12)
    drain = replay.end - float(trace.arrival[-1])
    return bool(growing or drain > 0.5 * span or busy_share > 1.0 / (1.0 + max(replay.sigma, 0.01)))


def by_class(replay: Replay) -> list[dict[str, Any]]:
    """One row a class of applications: how many, and the spread of their completion times."""
    rows = []
    for c, name in enumerate(replay.trace.classes):
        own = replay.trace.kind == c
        if own.any():
            rows.append({"class": name, "applications": int(own.sum()), **spread(replay.completion[own])})
    return rows
