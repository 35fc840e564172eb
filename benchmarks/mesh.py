"""LLM-Mesh against its bars.

    python benchmarks/mesh.py [--trace FILE] [paper] [packing] [speed] [policy] [live]

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

import tradespace as ts
from tradespace.costmodels.architectures import architecture
from tradespace.problems.serving.mesh.cluster import published
from tradespace.problems.serving.mesh.placement import LlmMeshPlacement
from tradespace.problems.serving.mesh.policy import POLICIES
from tradespace.problems.serving.mesh.problem import LlmMesh
from tradespace.problems.serving.mesh.reproduce import COUNTS, GAINS, GPUS, SHARES, SIZES, SYSTEMS, outcomes
from tradespace.problems.serving.mesh.simulate import simulate
from tradespace.problems.serving.mesh.workload import generated, read_functions

PARTS = ("paper", "packing", "speed", "policy", "live")


def show(what: str, ours: str, bar: str, holds: bool | None = None) -> None:
    """One line: figure beside bar."""
    mark = "" if holds is None else "ok" if holds else "MISSED"
    print(f"{what:58s} {ours:>22s}   {bar:32s} {mark}", flush=True)


def paper(trace: Path | None) -> None:
    """SLO-met gains, order of the systems, SLO share and nodes in use."""
    minutes = 30.0 if trace else 10.0
    found = outcomes(trace, minutes)
    paid = outcomes(trace, minutes, counts=(128,), paid=True)
    for size in SIZES:
        for base, (low, high) in GAINS.items():
            gains = [
                100 * (cells[size, 128, "mesh"].met.sum() / cells[size, 128, base].met.sum() - 1)
                for cells in (found, paid)
            ]
            near = 100 * low - 15 <= gains[0] <= 100 * high + 15
            bound = size != "13B" and base != "sllm+c+s"
            show(
                f"gain over {base}, 128 x {size} (first cache takes time)",
                f"{gains[0]:+.1f} % ({gains[1]:+.1f} %)",
                f"{100 * low:.0f} to {100 * high:.0f} %, within 15",
                near if bound else None,
            )
    for size in SIZES:
        for n in COUNTS:
            met = [int(found[size, n, s].met.sum()) for s in SYSTEMS]
            rising = all(a < b for a, b in itertools.pairwise(met))
            show(f"met, {n} x {size}: {', '.join(SYSTEMS)}", " < ".join(map(str, met)), "rising", rising)
        share = found[size, 32, "mesh"].share
        show(f"SLO share, mesh, 32 x {size}", f"{100 * share:.1f} %", ">= 97 %", share >= 0.97)
    for key, known in GPUS.items():
        size, n, system = key
        show(f"GPUs in use, {system}, {n} x {size}", f"{found[key].gpus:.2f}", f"paper {known:g}")
    for key, known in SHARES.items():
        size, n, system = key
        show(
            f"SLO share, {system}, {n} x {size}",
            f"{100 * found[key].share:.1f} %",
            f"paper {100 * known:.0f} %",
        )


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
