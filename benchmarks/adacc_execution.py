"""Adacc's plans on real modules against its bars: bytes, times, PyTorch's own budget, loss, codecs.

    python benchmarks/adacc_execution.py [bytes] [times] [peer] [loss] [monotone] [solve] [codecs] [drift]

One thread; times are CPU seconds of that thread, the least over interleaved rounds. Bytes are those of
the allocator. Without arguments everything runs, in some fifteen minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

import tradespace as ts
from tradespace.problems.training import adacc
from tradespace.problems.training.actions import RETAIN
from tradespace.problems.training.adacc import Adacc
from tradespace.problems.training.execution.codecs import CODECS, codec
from tradespace.problems.training.execution.evolution import Evolution
from tradespace.problems.training.execution.live import allocated_peak
from tradespace.problems.training.execution.modules import (
    FAMILIES,
    Shape,
    characters,
    draw_batch,
    language_model,
)
from tradespace.problems.training.execution.profiling import remember, step
from tradespace.problems.training.execution.training import BUDGETS, UNFUSED, Policy, budgeted
from tradespace.problems.training.graph import GRADIENT
from tradespace.problems.training.module import AdaccModule
from tradespace.problems.training.replanning import Answer, frontier, least

SHARES = (0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.15)
TEXT = characters()
missed: list[str] = []


def bar(met: bool, what: str) -> str:
    """A mark, and a note of what was missed."""
    if not met:
        missed.append(what)
    return "ok" if met else "MISSED"


@cache
def recorded(family: str, layers: int = 4, hidden: int = 128, sequence: int = 128, dropout: float = 0.1):
    """A module, a batch and its problem."""
    shape = Shape(layers, hidden, 4, sequence, dropout=0.0 if family == "llama" else dropout)
    module = language_model(family, shape)
    batch = draw_batch(TEXT, 8, sequence, torch.Generator().manual_seed(0))
    return module, batch, Adacc.from_module(module, batch, memory="8GiB", offload=True)


def whole(problem: AdaccModule) -> float:
    """Peak where everything is retained."""
    return float(problem.score({"action": ["retain"] * problem.tensor_count}).metrics["peak"][0])


def fitted(problem: AdaccModule, share: float) -> Answer | None:
    """The fastest plan with a share of the activations' bytes, within the default error budget."""
    limits = {"peak": whole(problem) - (1 - share) * problem.step.activations, "error": problem.error_budget}
    return least(problem.liveness, "step_time", limits, seconds=20)


def run_of(module, batch, actions: Sequence[str]) -> Callable[[], object]:
    """One step by a plan."""

    def run() -> None:
        with adacc.apply(module, list(actions)):
            step(module, batch)

    return run


def peak_of(module, run: Callable[[], object]) -> int:
    """Allocated peak of a warm step with fresh gradients."""
    run()
    for p in module.parameters():
        p.grad = None
    return allocated_peak(run)


def bytes_() -> None:
    """Predicted and allocated peak beyond the weights; the limit."""
    print("\nbytes: allocated peak <= limit always, predicted within 2 %")
    for family in FAMILIES:
        module, batch, problem = recorded(family)
        graph = problem.step
        for share in SHARES:
            answer = fitted(problem, share)
            if answer is None:
                least_peak = least(problem.liveness, "peak", {"error": problem.error_budget})
                bar(False, f"bytes {family} {share}")
                print(
                    f"  {family:8} {share:4.0%}  no plan; least "
                    f"{(least_peak.peak - graph.static) / 1e6:.2f} MB"
                )
                continue
            limit = whole(problem) - (1 - share) * graph.activations - graph.static
            found = peak_of(module, run_of(module, batch, answer.actions))
            predicted = answer.peak - graph.static
            error = predicted / found - 1
            mark = bar(found <= limit and abs(error) <= 0.02, f"bytes {family} {share}")
            print(
                f"  {family:8} {share:4.0%}  limit {limit / 1e6:7.3f}  predicted {predicted / 1e6:7.3f}  "
                f"allocated {found / 1e6:7.3f} MB  error {error:+.4%}  {mark}",
                flush=True,
            )
        within = problem.replace(offload=False)
        tightest = least(within.liveness, "peak", {"error": problem.error_budget}, seconds=20)
        found = peak_of(module, run_of(module, batch, tightest.actions))
        share = 1 - (whole(problem) - tightest.peak) / graph.activations
        print(
            f"  {family:8} without offload the least is {share:.1%}: predicted "
            f"{(tightest.peak - graph.static) / 1e6:.3f}, allocated {found / 1e6:.3f} MB",
            flush=True,
        )


def twelve(problem: AdaccModule) -> list[list[str]]:
    """Plans that differ in what they do: solved for budgets, and one treatment everywhere."""
    saved = problem.step.saved

    def everywhere(*labels: str) -> list[str]:
        return [next((a for a in labels if t.treatment(a)), "retain") for t in saved]

    found = [
        everywhere("retain"),
        everywhere("int8"),
        everywhere("int4"),
        everywhere("recompute"),
        everywhere("offload"),
        everywhere("recompute", "int4"),
        everywhere("recompute", "offload"),
    ]
    half = everywhere("recompute")
    found.append([a if t.block < 2 else "retain" for a, t in zip(half, saved, strict=True)])
    moved = everywhere("offload")
    found.append([a if t.block < 2 else "retain" for a, t in zip(moved, saved, strict=True)])
    found += [list(a.actions) for a in (fitted(problem, s) for s in (0.6, 0.3, 0.2)) if a is not None]
    return found[:12]


def interleaved(runs: Sequence[Callable[[], object]], rounds: int = 12) -> list[float]:
    """Least CPU seconds of each run, round by round in turn."""
    for run in runs:
        run()
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for i, run in enumerate(runs):
            start = time.thread_time()
            run()
            best[i] = min(best[i], time.thread_time() - start)
    return best


def times() -> None:
    """Predicted and measured step time over plans."""
    print("\ntimes: Spearman >= 0.9 over 12 plans, mean absolute error <= 20 %")
    for family in FAMILIES:
        module, batch, problem = recorded(family)
        plans = twelve(problem)
        predicted = [float(problem.score({"action": p}).metrics["step_time"][0]) for p in plans]
        measured = interleaved([run_of(module, batch, p) for p in plans])
        rank = float(spearmanr(predicted, measured).statistic)
        error = float(np.mean([abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)]))
        mark = bar(rank >= 0.9 and error <= 0.2, f"times {family}")
        print(
            f"  {family:8} {len(plans)} plans, {1e3 * min(measured):.1f} to {1e3 * max(measured):.1f} ms  "
            f"Spearman {rank:.3f}  error {error:.1%}  {mark}",
            flush=True,
        )
        print(
            "           predicted/measured",
            " ".join(f"{p / m:.2f}" for p, m in zip(predicted, measured, strict=True)),
        )


def peer() -> None:
    """PyTorch's activation memory budget, without and with Inductor, and the plan given its bytes."""
    for backend in (UNFUSED, "inductor"):
        print(
            f"\npeer: step time beside PyTorch's activation_memory_budget ({backend}) at its allocated bytes"
        )
        _peer(backend)


def _peer(backend: str) -> None:
    module, batch, problem = recorded("gpt", dropout=0.0)
    plain = run_of(module, batch, [RETAIN] * len(problem.step.saved))

    def compiled(budget: float) -> Policy | str:
        return budgeted("", lambda: language_model("gpt", Shape(4, 128, 4, 128)), budget, batch, backend)

    def best(theirs: int, error: float) -> Answer | None:
        limits = {"peak": theirs + problem.step.static, "error": error}
        return least(problem.liveness, "step_time", limits, seconds=20)

    whole = compiled(1.0)
    if not isinstance(whole, Policy):
        print("  ", whole)
        return
    size = whole.measure(batch)
    eager, kept = interleaved([plain, lambda: whole.gradients(batch)], 15)
    print(
        f"  nothing recomputed: compiled {size / 1e6:6.2f} MB {1e3 * kept:6.1f} ms, "
        f"eager {peak_of(module, plain) / 1e6:6.2f} MB {1e3 * eager:6.1f} ms",
        flush=True,
    )
    for budget in BUDGETS:
        policy = compiled(budget)
        assert isinstance(policy, Policy), policy
        theirs = policy.measure(batch)
        ours, exact = best(theirs, problem.error_budget), best(theirs, 0.0)
        if ours is None:
            print(f"  budget {budget:4.2f}  theirs {theirs / 1e6:6.2f} MB: no plan fits")
            continue
        found = peak_of(module, run_of(module, batch, ours.actions))
        runs = [run_of(module, batch, ours.actions), lambda policy=policy: policy.gradients(batch)]
        runs += [run_of(module, batch, exact.actions)] if exact is not None else []
        seconds = interleaved(runs, 15)
        mark = bar(seconds[0] <= seconds[1] and found <= theirs, f"peer {backend} {budget}")
        lossless = f"  without codecs {1e3 * seconds[2]:.1f} ms" if exact is not None else ""
        print(
            f"  budget {budget:4.2f}  theirs {theirs / 1e6:6.2f} MB {1e3 * seconds[1]:6.1f} ms   "
            f"ours {found / 1e6:6.2f} MB {1e3 * seconds[0]:6.1f} ms{lossless}  "
            f"over nothing recomputed: theirs {seconds[1] / kept:.2f}, ours {seconds[0] / eager:.2f}  {mark}",
            flush=True,
        )


SEEDS = 3


def trained(family: str, seed: int, change: Callable[[nn.Module], Any]) -> float:
    """Loss, mean of the last 30 of 300 steps. change: given the module, a function of a batch that runs a
    step forward and backward."""
    module = language_model(family, Shape(4, 64, 4, 64), seed)
    draws, run, losses = torch.Generator().manual_seed(seed), change(module), []
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    for _ in range(300):
        optimizer.zero_grad(set_to_none=True)
        losses.append(run(draw_batch(TEXT, 8, 64, draws)))
        optimizer.step()
    return float(np.mean(losses[-30:]))


def loss() -> None:
    """Loss after 300 steps at 40 % of the bytes, paired by seed: same weights, same batches.

    A relative gradient error grows as the gradient itself shrinks, threefold in 300 steps: only the plan
    that evolves stays within its error budget. `chance` is a random error of the frozen plan's first size.
    """
    print("\nloss: after 300 steps <= 0.005 above no policy at 40 % of the bytes, default error budget")
    for family in ("gpt", "llama"):
        _, batch, problem = recorded(family, hidden=64, sequence=64, dropout=0.0)
        answer = fitted(problem, 0.4)
        size = answer.error * problem.step.blocks

        def plain(module: nn.Module) -> Callable[[Any], float]:
            return lambda pieces: step(module, pieces)

        def by(plan: Sequence[str], problem: AdaccModule = problem, batch: Any = batch) -> Any:
            def change(module: nn.Module) -> Callable[[Any], float]:
                remember(module, batch, problem.step)

                def run(pieces: Any) -> float:
                    with adacc.apply(module, plan):
                        return step(module, pieces)

                return run

            return change

        def shaken(module: nn.Module, size: float = size) -> Callable[[Any], float]:
            """What chance does to the loss: a random gradient error as large as the plan's, without bias."""
            draws = torch.Generator().manual_seed(99)

            def run(pieces: Any) -> float:
                value = step(module, pieces)
                for p in module.parameters():
                    scale = size * p.grad.square().mean().sqrt()
                    p.grad += scale * torch.randn(p.shape, generator=draws)
                return value

            return run

        def evolved(module: nn.Module, problem: AdaccModule = problem, batch: Any = batch) -> Any:
            remember(module, batch, problem.step)
            memory = whole(problem) - 0.6 * problem.step.activations
            follow = Evolution(module, memory, problem.error_budget, problem.action_labels)
            before: list[Any] = []

            def run(pieces: Any) -> float:
                if before:  # the optimiser has stepped
                    follow.after_step(before.pop())
                before.append(pieces)
                with follow.apply():
                    return step(module, pieces)

            return run

        ways = {"plan, evolved": evolved, "plan, frozen": by(list(answer.actions)), "chance": shaken}
        ways |= {
            f"{c} everywhere": by([RETAIN if t.content == GRADIENT else c for t in problem.step.saved])
            for c in ("int8", "int4")
        }
        exact = [trained(family, seed, plain) for seed in range(SEEDS)]
        for name, way in ways.items():
            seeds = range(1 if "everywhere" in name else SEEDS)
            values = [trained(family, seed, way) - exact[seed] for seed in seeds]
            mark = bar(max(values) <= 0.005, f"loss {family}") if name == "plan, evolved" else ""
            shown = " ".join(f"{v:+.4f}" for v in values)
            print(f"  {family:6} {name:16} {shown}  mean {np.mean(values):+.4f}  {mark}", flush=True)


def monotone() -> None:
    """Step times over 20 budgets."""
    print("\nmonotone: 20 budgets, no inversion")
    for family in FAMILIES:
        _, _, problem = recorded(family)
        budgets = [whole(problem) - (1 - s) * problem.step.activations for s in np.linspace(0.95, 0.15, 20)]
        found = frontier(problem.step, problem.action_labels, budgets, problem.error_budget)
        seconds = [a.step_time for a in found if a is not None]
        mark = bar(seconds == sorted(seconds), f"monotone {family}")
        gap = max(a.gap for a in found if a is not None)
        print(
            f"  {family:8} {len(seconds)} feasible, {1e3 * seconds[0]:.2f} to {1e3 * seconds[-1]:.2f} ms, "
            f"largest gap {gap:.1e}  {mark}"
        )


def solve() -> None:
    """Gap and seconds of the programme by shapes and of that of real modules."""
    print(
        "\nsolve: all four actions, fused: gap <= 1 % at 96 blocks, <= 1.5 % at 12 and 48, 60 s; without "
        "offload <= 0.01 %, 10 s"
    )
    for attention in ("fused", "unfused"):
        for offload in (True, False):
            for layers in (12, 48, 96):
                problem = Adacc(layers=layers, attention=attention, offload=offload)
                made = problem.step
                fixed = made.static + made.embedding + max(made.head, made.block.gradients)
                problem = problem.replace(memory=fixed + 0.4 * made.layers * made.block.whole)
                result = ts.solve(
                    problem, "milp", budget=ts.Budget(seconds=9 if not offload else 55, gap=1e-5)
                )
                gap = result.metrics["step_time"] / result.certificate.bound - 1
                most, limit = (1e-4, 10) if not offload else (0.01 if layers == 96 else 0.015, 60)
                mark = bar(gap <= most and result.seconds <= limit, f"solve {attention} {offload} {layers}")
                print(
                    f"  {attention:8} {'four actions' if offload else 'no offload':12} {layers:3} blocks  "
                    f"gap {gap:.1e} in {result.seconds:.1f} s  {mark}"
                )
    for family in FAMILIES:
        _, _, problem = recorded(family)
        start = time.process_time()
        answer = fitted(problem, 0.4)
        print(
            f"  {family}, a real module of {problem.tensor_count} tensors: gap {answer.gap:.1e} in "
            f"{time.process_time() - start:.1f} CPU s"
        )


def codecs() -> None:
    """Seconds of encode and decode over those of copying as many bytes.

    Encode reads the tensor and writes the code, decode reads the code and writes the tensor: as many bytes
    read, and as many written, as by one copy of tensor and code. That copy is timed in the same rounds, into
    memory that exists; the codecs allocate theirs. 24 MiB: source and target do not fit the last level cache,
    and the C library still reuses freed memory (from 32 MiB on every new page costs more than its copy).
    """
    print("\ncodecs: encode + decode within 2x of a copy of the bytes they read and write (fp32)")
    draws = torch.Generator().manual_seed(0)
    for size in (24, 4):
        elements = size << 18
        for name in CODECS:
            x = torch.randn(elements, generator=draws)
            x = x.abs() if name == "uint4" else (x > 1) / 0.9 if name == "bits" else x
            made = codec(name, 512)
            code = made.encode(x)
            moved = torch.ones(4 * elements + code.size, dtype=torch.uint8)
            room = torch.empty_like(moved)
            copy, encode, decode = interleaved(
                (partial(room.copy_, moved), partial(made.encode, x), partial(made.decode, code)), 25
            )
            ratio = (encode + decode) / copy
            mark = bar(ratio <= 2, f"codec {name}") if size == 24 else ""
            print(
                f"  {size:2} MiB  {name:14} encode {1e3 * encode:6.2f}  decode {1e3 * decode:6.2f}  "
                f"copy {1e3 * copy:5.2f} ms ({2e-9 * len(moved) / copy:.0f} GB/s)  ratio {ratio:5.2f} {mark}",
                flush=True,
            )


def drift() -> None:
    """A plan made at initialisation, frozen and evolved, over training whose statistics drift."""
    print("\ndrift: 200 steps from initialisation at 30 % of the bytes, plan frozen and evolved")
    labels = ("retain", "int8", "int4", "recompute")
    for rate in (3e-3, 3e-2):
        ends = {}
        for evolve in (None, False, True):
            module = language_model("gpt", Shape(4, 64, 4, 64), 1)
            draws = torch.Generator().manual_seed(1)
            batch = draw_batch(TEXT, 8, 64, torch.Generator().manual_seed(0))
            problem = Adacc.from_module(module, batch, memory="8GiB")
            memory = whole(problem) - 0.7 * problem.step.activations
            run = Evolution(module, memory, 0.02, labels, every=20 if evolve else 10**9)
            optimizer, last = torch.optim.AdamW(module.parameters(), rate), []
            for _ in range(200):
                pieces = draw_batch(TEXT, 8, 64, draws)
                optimizer.zero_grad(set_to_none=True)
                if evolve is None:
                    value = module(*pieces)
                    value.backward()
                else:
                    with run.apply():
                        value = module(*pieces)
                        value.backward()
                optimizer.step()
                last.append(float(value.detach()))
                run.after_step(batch)
            ends[evolve] = (np.mean(last[-20:]), run)
        losses = f"no policy {ends[None][0]:.4f}, frozen {ends[False][0]:.4f}, evolved {ends[True][0]:.4f}"
        print(f"  rate {rate}: loss {losses}; events:")
        for event in ends[True][1].events or ["none: nothing moved enough to ask for another plan"]:
            print("   ", event)


PARTS = {
    "bytes": bytes_,
    "times": times,
    "peer": peer,
    "loss": loss,
    "monotone": monotone,
    "solve": solve,
    "codecs": codecs,
    "drift": drift,
}


def main() -> None:
    """Run the named parts, or all."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
    print("\nevery bar met" if not missed else f"\nmissed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
