"""The scheduler on this machine: a tiny GPT on the CPU and a pool of processes, FCFS against Gittins.

Needs PyTorch. The language model has one slot; tools run in processes. Every class is measured alone
first, and these recorded runs are all that the ranks know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from .pdgraph import Recorder, Run, prospects
from .scheduler import HermesScheduler, Order
from .trace import LANGUAGE

SHARES = {"chat": 0.6, "agent": 0.25, "report": 0.15}


def tiny_gpt(width: int = 128, layers: int = 2, vocabulary: int = 256) -> Callable[[int], int]:
    """A randomly weighted decoder; the function generates so many tokens and returns the last."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layer = torch.nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True, dropout=0.0)
    stack = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()
    embedding, head = torch.nn.Embedding(vocabulary, width), torch.nn.Linear(width, vocabulary)

    def generate(tokens: int) -> int:
        text = torch.zeros(1, 1, dtype=torch.long)
        with torch.no_grad():
            for _ in range(tokens):
                hidden = stack(embedding(text[:, -32:]))
                text = torch.cat([text, head(hidden[:, -1:]).argmax(-1)], dim=1)
        return int(text[0, -1])

    return generate


def tool(rounds: int) -> int:
    """Work for a process: a sum of squares."""
    return sum(i * i for i in range(rounds))


def plan(kind: str, rng: np.random.Generator) -> list[tuple[str, str, int]]:
    """Stages (unit, backend, size) of one application."""
    if kind == "chat":
        return [("answer", LANGUAGE, int(rng.integers(4, 12)))]
    if kind == "agent":
        steps: list[tuple[str, str, int]] = []
        for _ in range(1 + int(rng.geometric(0.4))):
            steps += [("think", LANGUAGE, int(rng.integers(6, 14))), ("tool", "tool", 100_000)]
        return steps
    return [("outline", LANGUAGE, 20), ("write", LANGUAGE, int(rng.integers(80, 260)))]


async def _serve(
    scheduler: HermesScheduler,
    work: list[tuple[float, str, list[tuple[str, str, int]]]],
    generate: Callable[[int], int],
    pool: ProcessPoolExecutor,
) -> None:
    loop = asyncio.get_running_loop()

    async def away(size: int) -> int:
        return await loop.run_in_executor(pool, tool, size)

    async def one(delay: float, kind: str, steps: list[tuple[str, str, int]]) -> None:
        await asyncio.sleep(delay)
        app = scheduler.application(kind)
        for unit, backend, size in steps:
            if backend == LANGUAGE:
                await scheduler.submit(app, unit, partial(generate, size))
            else:
                await scheduler.submit(app, unit, partial(away, size), backend=backend)
        scheduler.finish(app)

    await asyncio.gather(*(one(*item) for item in work))


def demonstrate(applications: int = 40, load: float = 0.85, seed: int = 0) -> list[dict[str, Any]]:
    """Measured completion times under both orders, on the same applications.

    Rows: order, mean and P95 completion (s), by class the mean.
    """
    rng = np.random.default_rng(seed)
    generate, recorder = tiny_gpt(), Recorder()
    backends = {LANGUAGE: 1, "tool": 2}
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(tool, [1, 1]))
        generate(8)
        solo: dict[str, list[Run]] = {}
        for kind in SHARES:
            for _ in range(25):
                alone = HermesScheduler(None, backends=backends, recorder=recorder)
                asyncio.run(_serve(alone, [(0.0, kind, plan(kind, rng))], generate, pool))
        for kind, graph in recorder.graphs().items():
            solo[kind] = [list(run) for run in graph.runs]
        known = prospects(solo, least=5)
        kinds = [str(k) for k in rng.choice(list(SHARES), applications, p=list(SHARES.values()))]
        plans = [plan(kind, rng) for kind in kinds]
        demand = sum(
            share * np.mean([sum(s.seconds for s in r if s.backend == LANGUAGE) for r in solo[k]])
            for k, share in SHARES.items()
        )
        delays = np.cumsum(rng.exponential(float(demand) / load, applications))
        rows: list[dict[str, Any]] = []
        orders: tuple[Order, ...] = ("fcfs", "gittins")
        for order in orders:
            scheduler = HermesScheduler(known, backends=backends, order=order)
            begun = time.perf_counter()
            work = [(float(d), k, p) for d, k, p in zip(delays, kinds, plans, strict=True)]
            asyncio.run(_serve(scheduler, work, generate, pool))
            every = np.array([a.completion for a in scheduler.finished], float)
            own = {k: np.array([a.kind == k for a in scheduler.finished]) for k in SHARES}
            rows.append(
                {
                    "order": order,
                    "mean s": scheduler.mean_completion,
                    "P95 s": float(np.quantile(every, 0.95)),
                    **{f"{k} s": float(every[mine].mean()) for k, mine in own.items() if mine.any()},
                    "wall s": time.perf_counter() - begun,
                }
            )
    return rows
