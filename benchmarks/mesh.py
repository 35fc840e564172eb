"""LLM-Mesh against its bars.

    python benchmarks/mesh.py [--trace FILE] [paper] [level] [noise] [packing] [speed] [policy] [live]

FILE: the SLINFER artefact's trace of 128 functions (JSON, may be gzipped); else a generated trace, on
which the published ranges need not hold. Seconds are of the process (CPU).
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from lines import show

import tradespace as ts
from tradespace.costmodels.architectures import architecture
from tradespace.problems.serving.mesh import paper as known
from tradespace.problems.serving.mesh.cluster import TOKENS, ServiceLevel, published
from tradespace.problems.serving.mesh.paper import COUNTS, GAINS, SIZES, SYSTEMS
from tradespace.problems.serving.mesh.placement import LlmMeshPlacement
from tradespace.problems.serving.mesh.policy import POLICIES
from tradespace.problems.serving.mesh.problem import LlmMesh
from tradespace.problems.serving.mesh.reproduce import ARTEFACT, VARIANTS, met_by, outcome
from tradespace.problems.serving.mesh.simulate import simulate
from tradespace.problems.serving.mesh.workload import generated, jittered, read_functions

PARTS = ("paper", "level", "noise", "packing", "speed", "policy", "live")


def paper(trace: Path | None) -> None:
    """SLO-met gains, order of the systems, SLO share and nodes in use."""
    minutes = 30.0 if trace else 10.0
    for size in SIZES:
        for base, (low, high) in GAINS.items():
            gains = []
            for variant in (ARTEFACT, *VARIANTS):
                full = replace(variant, polls=True, read_limits=True)
                ours = outcome(trace, minutes, size, 128, "mesh", full).met.sum()
                gains.append(100 * (ours / outcome(trace, minutes, size, 128, base, variant).met.sum() - 1))
            without = ", ".join(f"{g:+.0f}" for g in gains[1:])
            show(
                f"gain over {base}, 128 x {size} (first cache free, no polls, own limits)",
                f"{gains[0]:+.1f} % ({without})",
                f"{100 * low:.0f} to {100 * high:.0f} %, within 15",
                100 * low - 15 <= gains[0] <= 100 * high + 15,
            )
    gaps = []
    for size in SIZES:
        for n in COUNTS:
            found = {system: outcome(trace, minutes, size, n, system) for system in SYSTEMS}
            met = [int(found[s].met.sum()) for s in SYSTEMS]
            rising = all(a < b for a, b in itertools.pairwise(met))
            show(f"met, {n} x {size}: {', '.join(SYSTEMS)}", " < ".join(map(str, met)), "rising", rising)
            for system, cell in found.items():
                ours = (cell.cpus, cell.gpus)
                gaps += [
                    (a - b, f"{system}, {n} x {size}")
                    for a, b in zip(ours, known.NODES[size, n, system], strict=True)
                ]
                share = known.SHARES.get((size, n, system))
                if share:
                    what = f"SLO share, {system}, {n} x {size}"
                    show(what, f"{100 * cell.share:.1f} %", f"paper {100 * share:.0f} %")
        share = outcome(trace, minutes, size, 32, "mesh").share
        show(f"SLO share, mesh, 32 x {size}", f"{100 * share:.1f} %", ">= 97 %", share >= 0.97)
    worst = max(gaps, key=lambda gap: abs(gap[0]))
    mean = np.mean([abs(gap) for gap, _ in gaps])
    show("nodes in use, 72 figures: mean error", f"{mean:.3f}", f"largest {worst[0]:+.2f} ({worst[1]})")


def level(trace: Path | None) -> None:
    """Nine cells under both meanings of TPOT: sharing against the rival without, and what misses are."""
    for size in SIZES:
        for n in COUNTS:
            load = read_functions(trace, n, 30.0) if trace else generated(n, 10.0)
            for tokens in TOKENS:
                aim, shapes = ServiceLevel(tokens=tokens), [architecture(SIZES[size])] * n
                full, without = (
                    simulate(load, published(SIZES[size]), shapes, POLICIES[system], aim)
                    for system in ("mesh", "mesh without sharing")
                )
                refused = ~np.isfinite(full.finish)
                served_late = int((~full.met & ~refused).sum())
                show(
                    f"{n} x {size}, {tokens}: met; late though admitted, of {len(full.met)}",
                    f"{100 * full.share:.2f} %; {served_late}",
                    f">= {100 * without.share:.2f} % without sharing, less 1",
                    full.share >= without.share - 0.01,
                )


def noise(trace: Path | None, repeats: int = 3) -> None:
    """The same with arrivals up to 50 ms later: how far one run of the trace is from another."""
    for size in SIZES:
        for n in COUNTS[1:]:
            whole = read_functions(trace, n) if trace else generated(n, 10.0)
            met = np.array(
                [[met_by(jittered(whole, seed), size, n, s) for s in SYSTEMS] for seed in range(repeats)]
            )
            rising = int((np.diff(met, axis=1) > 0).all(axis=1).sum())
            means = " < ".join(
                f"{m:.0f}±{d:.0f}" for m, d in zip(met.mean(axis=0), met.std(axis=0), strict=True)
            )
            holds = bool((np.diff(met.mean(axis=0)) > 0).all())
            show(f"met, {n} x {size}, {repeats} runs, rising in {rising}", means, "rising on average", holds)
            if n == max(COUNTS):
                gains = 100 * (met[:, 3:] / met[:, :3] - 1)
                text = ", ".join(
                    f"{m:.0f}±{d:.0f}" for m, d in zip(gains.mean(axis=0), gains.std(axis=0), strict=True)
                )
                ranges = ", ".join(f"{100 * a:.0f}..{100 * b:.0f}" for a, b in GAINS.values())
                show(f"gains, {n} x {size}", text + " %", f"paper {ranges} %")


def packing(trace: Path | None) -> None:
    """Up to 200 instances on three kinds of nodes in 60 s, against best-fit decreasing."""
    for models, load in ((50, 1.0), (100, 1.0), (200, 0.7), (200, 1.3)):
        problem = LlmMeshPlacement(
            models=models, load_scale=load, large_nodes=24, large_price=7.0, cpu_memory=96 * ts.units.GiB
        )
        scores = problem.score(list(problem.baselines().values()))
        fitting = (scores.metrics["overload"] <= 0) & (scores.metrics["unserved"] == 0)
        quick = float(np.where(fitting, scores.metrics["price"], np.inf)[1])
        begun = time.process_time()
        result = ts.solve(problem, solver="packing", budget=ts.Budget(seconds=60))
        seconds = time.process_time() - begun
        price, bound = float(result.metrics["price"]), float(result.certificate.bound or 0)
        cheapest = min(kind.price for kind in problem.kinds)
        show(
            f"{problem.item_count} instances, 3 kinds: price, bound, {seconds:.0f} s",
            f"{price:g}, {bound:g}",
            f"gap <= 1 node; best fit {quick:g}",
            price - bound <= cheapest + 1e-9 and price <= quick,
        )
    goal = ts.Goal(minimize=["gpus"])
    begun = time.process_time()
    result = ts.solve(problem, solver="packing", goal=goal, budget=ts.Budget(seconds=60))
    seconds = time.process_time() - begun
    gpus, bound = float(result.metrics["gpus"]), float(result.certificate.bound or 0)
    what = f"{problem.item_count} instances, 3 kinds: fewest GPUs, bound, {seconds:.0f} s"
    show(what, f"{gpus:g}, {bound:g}", "gap <= 1 node", gpus - bound <= 1)


def speed(trace: Path | None) -> None:
    """128 models on 8 nodes: seconds of a whole trace, and at three times its load."""
    shape = architecture("llama-2-7b")
    whole = read_functions(trace, 128) if trace else generated(128, 30.0)
    arrivals = replace(whole, arrival=whole.arrival / 3)
    for name, requests in (("trace", whole), ("trace, three times as dense", arrivals)):
        for system in ("mesh", "sllm"):
            begun = time.process_time()
            outcome = simulate(requests, published(), [shape] * 128, POLICIES[system])
            seconds = time.process_time() - begun
            rate = outcome.iterations / seconds
            show(
                f"{system}, {len(requests)} requests, {name} ({100 * outcome.share:.0f} % met)",
                f"{seconds:.1f} s, {rate / 1e3:.0f} k it/s", "<= 20 s", seconds <= 20,
            )  # fmt: skip


def policy(trace: Path | None) -> None:
    """A policy found on one half of the trace, judged on the other."""
    common = {"models": 128, "minutes": 20.0, "trace": trace}
    first = LlmMesh(part="first half", **common).fix(admission="validated", sharing="elastic")
    second = LlmMesh(part="second half", **common)
    start = first.baselines()["mesh"]
    goal = ts.Goal(maximize=["met"])
    begun = time.process_time()
    result = ts.solve(first, solver="tpe", goal=goal, budget=ts.Budget(evaluations=80), start=start)
    seconds = time.process_time() - begun
    before = [float(p.score([start]).metrics["met"][0]) for p in (first, second)]
    after = [float(p.score([result.best]).metrics["met"][0]) for p in (first, second)]
    what = f"TPE, 80 policies, {seconds:.0f} s: met, training half"
    show(what, f"{after[0]:.4f}", f">= published {before[0]:.4f}", after[0] >= before[0])
    show(
        "the same policy: met, other half",
        f"{after[1]:.4f}",
        f">= published {before[1]:.4f}",
        after[1] >= before[1],
    )
    print("   ", {k: (round(v, 3) if isinstance(v, float) else v) for k, v in (result.best or {}).items()})


def live(trace: Path | None) -> None:
    """Two small GPTs on this CPU: measured against predicted."""
    from tradespace.problems.serving.mesh.live import live as serve

    for row in serve():
        show(f"live, {row['quantity']}", f"{row['measured']:.4g}", f"predicted {row['predicted']:.4g}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="which (all)")
    parser.add_argument("--trace", type=Path, default=None)
    given = parser.parse_args()
    for part in given.parts or PARTS:
        print(f"--- {part}")
        globals()[part](given.trace)
