"""A batched language-model engine, iteration by iteration, with everything that surrounds it.

Rules after vLLM V1: running requests first, one token each; then prompts in chunks within a token
budget; on a shortage of KV blocks the last in order is preempted and comes back first, by recomputing
(what survives of its blocks is used again) or by swapping; nothing is admitted in an iteration that
preempted; admission reserves blocks for the whole prompt. Applications release a stage when the one
before has ended; other backends are slots without batching, served in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...costmodels.serving import IterationLaw
from ...errors import DataError, nearest
from .blocks import fresh_table
from .compiled import Array
from .engine_loop import (
    BATCH,
    FAIR,
    FAR,
    FIXED,
    ITERATIONS,
    ORACLE,
    PREEMPTIONS,
    REUSED,
    TABLE,
    TOKENS,
    replay,
)  # fmt: skip
from .trace import LANGUAGE, Trace

HORIZON = 1e18


@dataclass(frozen=True)
class Engine:
    """One engine: its iteration law and its limits.

    blocks: KV blocks of `block_size` tokens. max_running: requests a batch. token_budget: tokens an
    iteration. swap: seconds a token to move its cache out or in; None recomputes instead. start_up:
    seconds that the very first iteration costs more.
    """

    law: IterationLaw
    blocks: int = 4096
    block_size: int = 16
    max_running: int = 256
    token_budget: int = 2048
    swap: float | None = None
    start_up: float = 0.0


@dataclass(frozen=True, eq=False)
class Order:
    """In which order calls are served; lower ranks first, then earlier release.

    kind: "fixed" (`ranks`, one an application: zeros are request FCFS, arrival times application FCFS,
    deadlines EDF), "table" (`table` (rows, levels) by the row of each stage and the seconds it has had),
    "fair" (least served tokens first, input / 10 + output) or "oracle" (least work left).
    refresh: seconds between re-rankings. per_input, per_output: seconds a token is worth.
    """

    kind: Literal["fixed", "table", "fair", "oracle"] = "fixed"
    ranks: Array | None = None
    table: Array | None = None
    ages: Array | None = None
    rows: Array | None = None
    refresh: float = 0.5
    per_input: float = 1e-4
    per_output: float = 0.06


@dataclass(frozen=True, eq=False)
class Replay:
    """What became of a trace: times in seconds, NaN where the horizon came first.

    finish (applications,); released, first_token, last_token (calls,).
    """

    trace: Trace
    finish: Array
    released: Array
    first_token: Array
    last_token: Array
    busy: float
    end: float
    iterations: int
    preemptions: int
    tokens: int
    mean_batch: float
    reused_blocks: int
    sigma: float = 0.0

    @property
    def completion(self) -> Array:
        """Seconds from arrival to the end, (applications,)."""
        return np.asarray(self.finish - self.trace.arrival)

    @property
    def ttft(self) -> Array:
        """Seconds from release to the first token, (calls,)."""
        return np.asarray(self.first_token - self.released)

    @property
    def tpot(self) -> Array:
        """Seconds a token after the first, (calls,); NaN where there is only one."""
        steps = np.where(self.trace.output > 1, self.trace.output - 1, np.nan)
        return np.asarray((self.last_token - self.first_token) / steps)

    @property
    def utilisation(self) -> float:
        """Share of the time in which the engine worked."""
        return self.busy / self.end if self.end > 0 else 0.0


def simulate(
    trace: Trace,
    engine: Engine,
    order: Order | None = None,
    *,
    capacities: dict[str, int] | None = None,
    horizon: float | None = None,
) -> Replay:
    """Run a trace through one engine and the slots of other backends.

    capacities: slots by backend (unlimited where not given). horizon: seconds after which to stop.
    Raises DataError where a request can never fit or a backend is unknown.
    """
    order = order or Order()
    capacities = capacities or {}
    for name in capacities:
        if name not in trace.backends:
            raise DataError(f"unknown backend '{name}'; {nearest(name, trace.backends)}")
    need = -(-(trace.input + trace.output) // engine.block_size)
    if len(need) and need.max() > engine.blocks:
        i = int(np.argmax(need))
        raise DataError(
            f"call {i + 1} of {trace.name} needs {int(need[i])} KV blocks; the engine has {engine.blocks}."
        )
    n, calls = len(trace), len(trace.input)
    kind = {"fixed": FIXED, "table": TABLE, "fair": FAIR, "oracle": ORACLE}[order.kind]
    language = trace.backends.index(LANGUAGE) if LANGUAGE in trace.backends else -1
    slots = np.array([capacities.get(b, FAR) for b in trace.backends], np.int64)
    use_prefix = trace.prefix_tokens == engine.block_size and len(trace.prefix) > 0
    out = {name: np.full(calls, np.nan) for name in ("released", "first", "last")}
    finish, counts = np.full(n, np.nan), np.zeros(5, np.int64)
    work = trace.work(order.per_input, order.per_output)
    busy, end = replay(
        engine.law.constants, engine.block_size, engine.max_running, engine.token_budget,
        -1.0 if engine.swap is None else engine.swap, engine.start_up, fresh_table(engine.blocks),
        kind, order.refresh, np.zeros(n) if order.ranks is None else np.array(order.ranks, float),
        np.zeros((1, 1)) if order.table is None else np.asarray(order.table, float),
        np.zeros(1) if order.ages is None else np.asarray(order.ages, float),
        np.zeros(len(trace.unit), np.int64) if order.rows is None else np.asarray(order.rows, np.int64),
        np.array([order.per_input, order.per_output]), trace.arrival, trace.stage_start.astype(np.int64),
        trace.backend.astype(np.int64), language, trace.seconds, work, slots,
        trace.call_start.astype(np.int64), trace.input.astype(np.int64), trace.output.astype(np.int64),
        trace.prefix_start.astype(np.int64) if use_prefix else np.zeros(calls + 1, np.int64),
        trace.prefix.astype(np.int64) if use_prefix else np.zeros(1, np.int64),
        HORIZON if horizon is None else horizon,
        finish, out["released"], out["first"], out["last"], counts,
    )  # fmt: skip
    iterations = int(counts[ITERATIONS])
    return Replay(
        trace, finish, out["released"], out["first"], out["last"], float(busy), float(end), iterations,
        int(counts[PREEMPTIONS]), int(counts[TOKENS]), float(counts[BATCH] / max(1, iterations)),
        int(counts[REUSED]), engine.law.sigma,
    )  # fmt: skip
