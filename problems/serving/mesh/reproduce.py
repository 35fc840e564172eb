"""The paper's tables beside ours: SLO-met requests, nodes in use, concurrency, ablations, and pictures.

Given the artefact's trace file the workload is the paper's; else a generated trace of the same skew and
load, on which only order can be compared. The baselines are as the artefact runs them: published limits,
a queued request asks again every 0.25 s, halves of a CPU node run side by side and those of a GPU take
turns, and a first cache takes its time after the load, which the service level does not excuse. What each
of these does is shown by leaving it out (`VARIANTS`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....costmodels.architectures import architecture
from ....errors import DataError, nearest
from ..trace import Trace
from . import paper
from .cluster import Cluster, ServiceLevel, concurrency_limit, published
from .paper import COUNTS, SIZES, SYSTEMS
from .policy import POLICIES
from .simulate import Outcome, simulate
from .workload import generated, jittered, read_functions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READ, REBUILT = "read", "reconstructed"
CLOSE, RUNS = 0.03, 4
"""A step of less is looked at again in so many runs with jittered arrivals."""
HALVES = (
    "The paper has that at one size too: its gain over sllm+c+s reaches 70 %, over sllm+c at most 62 %; "
    "fixed parts limit large models (section IX-E)."
)
SHOWN = 64
"""Models of the run whose nodes and tokens are drawn."""


@dataclass(frozen=True)
class Variant:
    """How the systems are modelled: whether first caches take time, queued requests poll, limits are read."""

    allocates: bool = True
    polls: bool = True
    read_limits: bool = True

    @property
    def assumptions(self) -> str:
        """In words."""
        parts = ["six-constant law for times", "SLO by TTFT and mean TPOT"]
        parts += [] if self.allocates else ["first caches cost no time"]
        parts += [] if self.polls else ["most urgent queued request first in the baselines"]
        parts += [] if self.read_limits else ["limits derived from the law"]
        return "; ".join(parts)


ARTEFACT = Variant()
VARIANTS = (Variant(allocates=False), Variant(polls=False), Variant(read_limits=False))
"""Each leaves out one of the artefact's mechanisms: ablations of the difference between paper and ours."""


@lru_cache(maxsize=4)
def requests(path: Path | None, models: int, minutes: float) -> Trace:
    """The paper's trace at a number of models, or a generated one."""
    return read_functions(path, models, minutes) if path is not None else generated(models, minutes)


@lru_cache(maxsize=256)
def outcome(
    path: Path | None, minutes: float, size: str, models: int, system: str, variant: Variant = ARTEFACT
) -> Outcome:
    """One system on the trace: size and models as in the paper's end-to-end figure."""
    cluster, policy = published(SIZES[size]), POLICIES[system]
    if not variant.allocates:
        cluster = Cluster(tuple(replace(k, allocates=False) for k in cluster.kinds), cluster.counts)
    baseline = policy.admission == "limit"
    if baseline and not variant.polls:
        policy = replace(policy, poll=0.0)
    limits = paper.limits(size, system) if baseline and variant.read_limits else None
    shapes = [architecture(SIZES[size])] * models
    return simulate(requests(path, models, minutes), cluster, shapes, policy, limits=limits)


def _row(
    quantity: str, known: Any, ours: float, ratio: float | None, workload: str, assumptions: str, label: str
) -> dict[str, Any]:
    return {
        "quantity": quantity, "paper": known, "ours": ours, "ratio": ratio, "workload": workload,
        "assumptions": assumptions, "mechanism": label,
    }  # fmt: skip


def reproduce(
    trace: Path | None = None,
    minutes: float | None = None,
    sizes: tuple[str, ...] = tuple(SIZES),
    ablations: bool = True,
) -> Iterator[dict[str, Any]]:
    """Rows of quantity, paper, ours, ratio, workload, assumptions and how the mechanism is known.

    trace: the artefact's JSON of 128 functions (30 minutes); else a generated trace of 10 minutes.
    ablations: also leave out one mechanism after the other.
    """
    path, minutes = _workload(trace, minutes, sizes)
    label = f"{path.name if path is not None else 'generated trace'}, {minutes:g} min, 4 CPU + 4 GPU"
    yield from _limits(sizes)
    yield from _concurrency(sizes)
    for size in sizes:
        for n in COUNTS:
            yield from _cell(path, minutes, size, n, label)
        yield from _gains(path, minutes, size, label, ARTEFACT)
    if not ablations:
        return
    for size in sizes:
        yield from _order(path, minutes, size, label)
        for variant in VARIANTS:
            yield from _gains(path, minutes, size, label, variant)
    if "7B" in sizes:
        yield from _ablations(path, minutes, label)
        yield from _resizing(path, minutes, label)
        yield from _nodes(path, minutes)


def _workload(path: Path | None, minutes: float | None, sizes: Sequence[str]) -> tuple[Path | None, float]:
    unknown = next((size for size in sizes if size not in SIZES), None)
    if unknown is not None or not sizes:
        raise DataError(f"sizes must be of {', '.join(SIZES)}; {nearest(str(unknown), SIZES)}")
    found = minutes if minutes is not None else 30.0 if path is not None else 10.0
    if not found > 0:
        raise DataError(f"minutes of the trace must be above 0, got {found:g}.")
    return (Path(path) if path is not None else None), found


def _limits(sizes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Concurrency limits that a system without token scheduling sets, derived and published."""
    load, how = "4K tokens a request", "memory and TPOT at full context"
    for size in sizes:
        shape, cluster = architecture(SIZES[size]), published(SIZES[size])
        for share, known in zip((1.0, 0.5), paper.LIMITS[size], strict=True):
            for kind, limit in zip(cluster.kinds, known, strict=True):
                ours = concurrency_limit(kind, shape, ServiceLevel(), share)
                if not ours:  # half a node is too little; the whole one is taken
                    ours = concurrency_limit(kind, shape, ServiceLevel())
                what = f"concurrency limit, {size}, {share:g} {kind.name} node"
                yield _row(what, limit, float(ours), ours / limit, load, how, REBUILT)


def _concurrency(sizes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Requests at once with a whole node, a half and a quarter: what fixed parts cost."""
    how = "memory and TPOT at full context"
    for (name, size, context), known in paper.CONCURRENCY.items():
        if size not in sizes:
            continue
        shape = architecture(SIZES[size])
        kind = next(k for k in published(SIZES[size]).kinds if k.name == name)
        for part, limit in zip((1.0, 0.5, 0.25), known, strict=False):
            ours = float(concurrency_limit(kind, shape, ServiceLevel(), part, context=context))
            what = f"requests at once, {size}, {part:g} {name} node"
            yield _row(what, limit, ours, ours / limit, f"{context} tokens a request", how, REBUILT)


def _nodes(path: Path | None, minutes: float) -> Iterator[dict[str, Any]]:
    """What CPU nodes are worth, and how many nodes of static halves a mesh replaces (figures 24, 32)."""
    name = path.name if path is not None else "generated trace"

    def met(system: str, cpus: int, gpus: int, models: int) -> float:
        limits = paper.limits("7B", system) if POLICIES[system].admission == "limit" else None
        shapes, cluster = [architecture(SIZES["7B"])] * models, published(SIZES["7B"], cpus, gpus)
        load = requests(path, models, minutes)
        return float(simulate(load, cluster, shapes, POLICIES[system], limits=limits).met.sum())

    label, how = f"{name}, {minutes:g} min", ARTEFACT.assumptions
    counts = (0, 1, 2, 3, 4, 6)
    served = [met("mesh", cpus, 2, 64) for cpus in counts]
    worth = float(np.interp(met("mesh", 0, 3, 64), np.maximum.accumulate(served), counts))
    low, high = paper.CPUS_A_GPU
    ratio = worth / min(max(worth, low), high)
    known = f"{low:g} to {high:g}"
    yield _row("CPU nodes that serve as one GPU node, 64 x 7B", known, worth, ratio, label, how, READ)
    halves = met("sllm+c+s", 4, 4, 128)
    ratio = met("mesh", 2, 2, 128) / halves
    what = "met by 2 + 2 nodes of the mesh over 4 + 4 of sllm+c+s, 128 x 7B"
    yield _row(what, 1.0, ratio, ratio, label, how, READ)


def _cell(path: Path | None, minutes: float, size: str, n: int, label: str) -> Iterator[dict[str, Any]]:
    """SLO share and nodes in use of each system, and whether they rise in the paper's order."""
    how, met = ARTEFACT.assumptions, []
    for system in SYSTEMS:
        found = outcome(path, minutes, size, n, system)
        met.append(int(found.met.sum()))
        cpus, gpus = paper.NODES[size, n, system]
        for name, known, ours in (
            ("SLO share", paper.SHARES.get((size, n, system)), found.share),
            ("CPUs in use", cpus, found.cpus),
            ("GPUs in use", gpus, found.gpus),
        ):
            ratio = ours / known if known else None
            yield _row(f"{name}, {system}, {n} x {size}", known, ours, ratio, label, how, READ)
    steps = float(sum(a < b for a, b in pairwise(met)))
    yield _row(f"steps up of sllm, +c, +c+s, mesh (of 3), {n} x {size}", None, steps, None, label, how, READ)


def _order(path: Path | None, minutes: float, size: str, label: str) -> Iterator[dict[str, Any]]:
    """Small or falling steps from one system to the next, again with arrivals up to 50 ms later."""
    for n in COUNTS:
        met = [int(outcome(path, minutes, size, n, system).met.sum()) for system in SYSTEMS]
        for (lesser, a), (greater, b) in pairwise(zip(SYSTEMS, met, strict=True)):
            if b > a * (1 + CLOSE):
                continue
            steps = []
            for seed in range(RUNS):
                load = jittered(requests(path, n, minutes), seed)
                pair = [met_by(load, size, n, system) for system in (lesser, greater)]
                steps.append(pair[1] / max(pair[0], 1) - 1)
            rising = sum(step > 0 for step in steps)
            what = (
                f"{greater} over {lesser}, {n} x {size}: mean step, rises in {rising} of {RUNS} jittered runs"
            )
            yield _row(what, None, float(np.mean(steps)), None, label, ARTEFACT.assumptions, READ)
            if greater == "sllm+c+s" and np.mean(steps) <= 0:
                text = f"{n} x {size}: static halves serve no more than whole nodes. {HALVES}"
                yield {"quantity": text}


def met_by(load: Trace, size: str, models: int, system: str) -> int:
    """Requests of a load whose service level a system meets on the published nodes."""
    baseline = POLICIES[system].admission == "limit"
    limits = paper.limits(size, system) if baseline else None
    shapes = [architecture(SIZES[size])] * models
    return int(simulate(load, published(SIZES[size]), shapes, POLICIES[system], limits=limits).met.sum())


def _gains(
    path: Path | None, minutes: float, size: str, label: str, variant: Variant
) -> Iterator[dict[str, Any]]:
    """Gains of SLO-met requests at 128 models; the ratio is to the nearest figure in the paper's range."""
    n, how = max(COUNTS), variant.assumptions
    full = outcome(path, minutes, size, n, "mesh", Variant(allocates=variant.allocates)).met.sum()
    for base, (low, high) in paper.GAINS.items():
        gain = float(full / max(outcome(path, minutes, size, n, base, variant).met.sum(), 1) - 1)
        ratio = (1 + gain) / (1 + min(max(gain, low), high))
        known = f"{low:.2f} to {high:.2f}"
        yield _row(f"SLO-met gain over {base}, {n} x {size}", known, gain, ratio, label, how, READ)


def _ablations(path: Path | None, minutes: float, label: str) -> Iterator[dict[str, Any]]:
    """The full system with one part off, 64 x 7B (figure 23)."""
    how = ARTEFACT.assumptions
    for name in ("mesh without preemption", "mesh prefill first", *paper.ABLATIONS):
        found = outcome(path, minutes, "7B", 64, name)
        share = {"mesh": 0.99, "mesh without sharing": 0.89}.get(name)
        gpus = paper.ABLATIONS.get(name, (None, None))[1]
        for what, known, ours in (("SLO share", share, found.share), ("GPUs in use", gpus, found.gpus)):
            ratio = ours / known if known else None
            yield _row(f"{what}, {name}, 64 x 7B", known, ours, ratio, label, how, READ)


def _resizing(path: Path | None, minutes: float, label: str) -> Iterator[dict[str, Any]]:
    """Part of their lives that instances spend in resizes, without and with the published watermark."""
    how = "resize times of figure 17, linear in the new size"
    for watermark, known in paper.RESIZING.items():
        policy = replace(POLICIES["mesh"], watermark=watermark)
        shapes = [architecture(SIZES["7B"])] * 64
        ours = simulate(requests(path, 64, minutes), published(SIZES["7B"]), shapes, policy).resizing
        what = f"part of life spent in resizes, watermark {watermark:g}, 64 x 7B"
        yield _row(what, known, ours, ours / known, label, how, READ)


def figures(
    trace: Path | None = None, minutes: float | None = None, sizes: tuple[str, ...] = tuple(SIZES)
) -> dict[str, Figure]:
    """SLO share and GPU nodes against model count; the nodes over time and tokens of one run."""
    from .figures import gantt, nodes_in_use, occupancy, shares

    path, minutes = _workload(trace, minutes, sizes)
    found = {
        (size, n, system): outcome(path, minutes, size, n, system)
        for size in sizes for n in COUNTS for system in SYSTEMS
    }  # fmt: skip
    size = "7B" if "7B" in sizes else sizes[0]
    drawn = simulate(
        requests(path, SHOWN, minutes), published(SIZES[size]),
        [architecture(SIZES[size])] * SHOWN, POLICIES["mesh"], record=True,
    )  # fmt: skip
    return {
        "slo-share": shares(found), "nodes": nodes_in_use(found), "occupancy": occupancy(drawn),
        "tokens": gantt(drawn),
    }  # fmt: skip
