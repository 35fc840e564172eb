"""The serving simulator and Hermes: every figure beside its bar.

    python benchmarks/serving.py [LOG] [TRACE] [RECORDS]

LOG: a folder with a vLLM benchmark log (requests.jsonl, meta.json); TRACE: an Azure LLM 2023 file, for
its output lengths (lognormal ones of the same mean and spread where it is not given); RECORDS: a folder of
recorded runs of applications (record_*.json), for ranks learnt from few runs. CPU seconds of one
core. A Vidur or LLMServingSim run is not repeated here: LLMServingSim publishes 353 s a run (median, in a
third party's comparison), the BLIS simulator about 0.8 s, and ours is printed beside them.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lines import missed, show, timed

from tradespace.costmodels import architecture, iteration_law
from tradespace.hardware import device
from tradespace.problems.serving.cluster import Policy, run, single_stage
from tradespace.problems.serving.cluster_loop import processor_sharing
from tradespace.problems.serving.engine import Engine, simulate
from tradespace.problems.serving.generate import lognormal, requests
from tradespace.problems.serving.hermes import Hermes
from tradespace.problems.serving.pdgraph import stage_work
from tradespace.problems.serving.ranks import gittins_table, las_table, level_starts, serpt_table
from tradespace.problems.serving.readers import read_trace, write_csv
from tradespace.problems.serving.records import recorded_graphs
from tradespace.problems.serving.trace import LANGUAGE, Trace
from tradespace.problems.serving.validate import validate

Array = np.ndarray
Draw = Callable[[np.random.Generator, int], Array]


def speed() -> None:
    """Events and iterations a second."""
    print("speed, one core")
    rng = np.random.default_rng(0)
    count = 1_000_000
    size = rng.lognormal(0, 1.5, count)
    arrival = np.cumsum(rng.exponential(size.mean() / 0.8, count))
    seen = rng.lognormal(0, 1.5, 1000)
    for levels in (100, 1000):
        ages = level_starts([seen], levels)
        policy = Policy("table", gittins_table([seen], ages), ages)
        jobs = single_stage(arrival, size)
        outcome, seconds = timed(lambda jobs=jobs, policy=policy: run(jobs, policy))
        # arrivals, completions and preemptions; crossings of a level that change nothing are not counted
        rate = (2 * count + outcome.switches) / seconds
        show(
            f"M/G/1, Gittins table of {levels} levels", f"{rate / 1e6:.1f} M events/s", ">= 2 M", rate >= 2e6
        )
    law = iteration_law(device("a100-sxm-80gb"), architecture("llama-2-7b"))
    for batch, bar in ((12, None), (44, 1e6), (290, 2e5)):
        trace = requests(60 * batch, rate=1e4, input_mean=200, output_mean=300)
        engine = Engine(law, blocks=10**6, max_running=batch)
        replay, seconds = timed(lambda trace=trace, engine=engine: simulate(trace, engine))
        rate = replay.iterations / seconds
        text = "" if bar is None else f">= {bar / 1e6:g} M"
        met = None if bar is None else rate >= bar
        show(
            f"batched engine, mean batch {replay.mean_batch:.0f}",
            f"{rate / 1e6:.2f} M iterations/s",
            text,
            met,
        )


def closed_forms() -> None:
    """M/M/1, M/D/1, processor sharing."""
    print("closed forms, load 0.8, 8 x 200,000 jobs: mean response, 95 % interval, expected")
    load, count = 0.8, 200_000
    cases = (
        ("M/M/1 FCFS", "M", "static", 5.0),
        ("M/D/1 FCFS", "D", "static", 3.0),
        ("M/M/1 PS", "M", "ps", 5.0),
        ("M/D/1 PS", "D", "ps", 5.0),
        ("M/M/1 SRPT", "M", "remaining", 2.3527),  # Schrage and Miller's formula
    )
    for label, law, policy, expected in cases:
        means = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            arrival = np.cumsum(rng.exponential(1 / load, count))
            size = rng.exponential(1.0, count) if law == "M" else np.ones(count)
            if policy == "ps":
                finish = np.zeros(count)
                processor_sharing(arrival, size, finish)
            else:
                finish = run(single_stage(arrival, size), Policy(policy)).finish
            means.append((finish - arrival)[count // 10 :].mean())
        half = 2.365 * np.std(means, ddof=1) / np.sqrt(8)
        within = abs(np.mean(means) - expected) <= half
        show(label, f"{np.mean(means):.3f} ± {half:.3f}", f"{expected:.3f}", bool(within))


def laws(trace: Path | None) -> dict[str, Draw]:
    """The five laws of service demand."""

    def pareto(rng: np.random.Generator, n: int) -> Array:
        return (1 - rng.random(n) * (1 - 1e-4**1.2)) ** (-1 / 1.2)

    def bimodal(rng: np.random.Generator, n: int) -> Array:
        mean = np.where(rng.random(n) < 0.9, 5.0, 200.0)
        return np.maximum(0.05, mean * (1 + 0.2 * rng.standard_normal(n)))

    def lengths(rng: np.random.Generator, n: int) -> Array:
        if trace is None:
            return np.maximum(1.0, np.rint(lognormal(rng, n, 211.0, 0.77)))
        return rng.choice(read_trace(trace).output, n)

    return {
        "lognormal 1.5": lambda rng, n: rng.lognormal(0, 1.5, n),
        "bimodal": bimodal,
        "bounded Pareto 1.2": pareto,
        "chat output lengths": lengths,
        "near-deterministic": lambda rng, n: rng.gamma(25, 1 / 25, n),
    }


def gittins(trace: Path | None, draws: int = 6, count: int = 250_000) -> None:
    """Gittins from 1,000 samples against the best of FCFS, LAS, SERPT, and against the true law."""
    print(f"Gittins from 1,000 samples, load 0.8, mean (worst) over {draws} draws of {count:,} jobs")
    for name, draw in laws(trace).items():
        true = draw(np.random.default_rng(99), 200_000)
        fine = level_starts([np.sort(true)[::20]], 400)
        true_table = gittins_table([true], fine, tail=False)
        ratios = []
        for d in range(draws):
            rng = np.random.default_rng(d)
            size, seen = draw(rng, count), draw(rng, 1000)
            arrival = np.cumsum(rng.exponential(true.mean() / 0.8, count))
            jobs = single_stage(arrival, size)

            def mean(policy: Policy, jobs: Any = jobs) -> float:
                return float(run(jobs, policy).completion[count // 10 :].mean())

            ages = level_starts([seen])
            many = np.concatenate([[0.0], np.geomspace(size.min(), size.max(), 1500)])
            ours = mean(Policy("table", gittins_table([seen], ages), ages))
            serpt = mean(Policy("table", serpt_table([seen], many), many))
            las = (
                mean(Policy("table", las_table([seen], many), many))
                if name != "near-deterministic"
                else np.inf
            )
            best = min(mean(Policy()), las, serpt)
            ratios.append((ours / best, ours / mean(Policy("table", true_table, fine))))
        (a, b), (worst_a, worst_b) = np.mean(ratios, axis=0), np.max(ratios, axis=0)
        bar = 0.94 if name == "bimodal" else 1.03
        show(f"{name}: against the best of the three", f"{a:.3f} ({worst_a:.3f})", f"<= {bar}", a <= bar)
        show(f"{name}: against the true law", f"{b:.3f} ({worst_b:.3f})", "<= 1.04", b <= 1.04)


def hermes() -> None:
    """The mix on one server against application FCFS."""
    print("Hermes mix, one server, 2,000 applications, mean of 10 seeds: cut against application FCFS")
    for pooled in (False, True):
        for load in (0.7, 0.8, 0.9):
            cuts = {name: [] for name in ("gittins", "sjf-mean", "las", "oracle")}
            for seed in range(10):
                problem = Hermes(load=load, pooled=pooled, simulation_seed=seed)
                base = problem.measure(problem.outcome("fcfs"))
                for name in cuts:
                    m = problem.measure(problem.outcome(name))
                    keys = ("mean_completion", "p95_completion")
                    cuts[name].append([1 - m[k] / base[k] for k in keys])
            kind = "all work on the server" if pooled else "other backends apart"
            for name, values in cuts.items():
                mean, tail = np.mean(values, axis=0)
                bar = ">= 70 %, 75 %" if name == "gittins" else ""
                met = bool(mean >= 0.7 and tail >= 0.75) if bar else None
                show(f"load {load}, {kind}, {name}: mean, P95", f"{mean:.1%}, {tail:.1%}", bar, met)


def halves(records: Path, seeds: int = 8) -> None:
    """Recorded applications in a random order, the first half of their time seen, the other served."""
    print(f"recorded applications, halves in time, {seeds} seeds: mean cut against FCFS; the class worst off")
    runs = [(kind, run) for kind, graph in recorded_graphs(records).items() for run in graph.runs]
    for count in (100, 200, 600):
        cuts, worst = [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            chosen = [runs[i] for i in rng.permutation(len(runs))[:count]]
            work = [sum(stage_work(s, 1e-4, 0.06) for s in r if s.backend == LANGUAGE) for _, r in chosen]
            arrival = np.cumsum(rng.exponential(float(np.mean(work)) / 0.8, len(chosen)))
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                path = Path(folder) / "applications.csv"
                write_csv(Trace.of_applications(arrival, *zip(*chosen, strict=True)), path)
                problem = Hermes(trace=path)
                table = problem.policy_of(problem.point()["ranks"])
                fcfs, *rest = (problem.outcome(p).completion for p in ("fcfs", table, "sjf-mean", "oracle"))
            counted, kinds = problem.counted, [problem.jobs.kind == k for k in set(problem.jobs.kind)]
            cuts.append([1 - x[counted].mean() / fcfs[counted].mean() for x in rest])
            worst.append([max(x[k].mean() / fcfs[k].mean() - 1 for k in kinds) for x in rest])
        noise = np.std([c[0] - c[1] for c in cuts]) / np.sqrt(seeds)
        ours, means, known = (f"{c:.1%} ({w:+.1%})" for c, w in zip(*map(_mean, (cuts, worst)), strict=True))
        held = _mean(cuts)[0] >= _mean(cuts)[1] - 2 * noise and _mean(worst)[0] <= _mean(worst)[1] + 0.01
        show(f"{count} applications: rank table", ours, f">= class means {means}; exact {known}", bool(held))


def _mean(rows: list[list[float]]) -> Array:
    return np.mean(rows, axis=0)


def demo() -> None:
    """The scheduler in front of a real small GPT and a process pool, where PyTorch is installed."""
    if importlib.util.find_spec("torch") is None:
        print("live demo: skipped, PyTorch is not installed")
        return
    from tradespace.problems.serving.demo import demonstrate

    print("live demo: a small GPT and two tool processes, 40 applications, measured")
    for row in demonstrate():
        print("  " + "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{v:8}" for k, v in row.items()))


def main() -> None:
    """Print everything."""
    if sys.argv[1:] == ["demo"]:
        demo()
        return
    paths = [Path(p) for p in sys.argv[1:]]
    speed()
    closed_forms()
    gittins(paths[1] if len(paths) > 1 else None)
    hermes()
    if len(paths) > 2:
        halves(paths[2])
    if paths:
        print(f"real vLLM log {paths[0].name}")
        start = time.process_time()
        found = validate(paths[0])
        for row in found.rows:
            bar = "" if row["bar"] is None else f"<= {row['bar']:.0%}"
            peer = "" if row.get("peer") is None else f" (peer {row['peer']:+.1%})"
            show(
                f"{row['quantity']}, requests {row['requests']}",
                f"{row['error']:+.2%}{peer}",
                bar,
                row["within"],
            )
        print("  " + "; ".join(found.notes))
        print(f"  fit and replay: {time.process_time() - start:.1f} CPU s")
    demo()
    print("missed: " + (", ".join(missed) or "nothing"))


if __name__ == "__main__":
    main()
