"""What carrying out a plan costs beyond the kernels that it runs again, on GPT blocks.

    python benchmarks/adacc_overhead.py [rounds]

CPU time of one thread. Every round runs all kinds of steps one after another; what is printed is the median
over the rounds. Kernels that run again are timed alone: the operators that recipes run, in their order, with
their arguments at hand, without anything of ours. Overhead = plan step - plain step - kernels, over the plain
step. A plan that recomputes nothing is carried out by hooks alone: here one that codes the smallest tensor.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from tradespace.problems.training.adacc import Adacc
from tradespace.problems.training.execution import cells
from tradespace.problems.training.execution.executor import applied
from tradespace.problems.training.execution.modules import Shape, characters, draw_batch, language_model
from tradespace.problems.training.execution.profiling import step
from tradespace.problems.training.execution.program import Program, recording_of

HEAVY = ("addmm", "mm", "bmm", "attention")
BARS = {512: {"hooks": 0.02, "cheap": 0.08, "everything": 0.08}, 128: {"cheap": 0.6, "everything": 0.6}}


def seconds(run: Callable[[], Any]) -> float:
    """CPU time of this thread."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def plan_of(problem: Any, kind: str) -> list[str]:
    """The labels of a kind of plan."""

    smallest = min((t for t in problem.step.saved if t.treatment("int8")), key=lambda t: t.size)

    def label(t: Any) -> str:
        if kind == "retain" or (kind == "cheap" and any(word in t.producer for word in HEAVY)):
            return "retain"
        if kind == "hooks":
            return "int8" if t is smallest else "retain"
        return "recompute" if t.treatment("recompute") else "retain"

    return [label(t) for t in problem.step.saved]


def by_plan(module: nn.Module, batch: Any, program: Program) -> None:
    """One step by a plan."""
    with applied(module, program):
        step(module, batch)


def kernels_of(module: nn.Module, batch: Any, plan: Program) -> list[Callable[[], Any]]:
    """The calls that a step by a plan runs again, with their arguments."""
    calls: list[Callable[[], Any]] = []
    whole = cells.Recipe._call

    def call(self: Any, note: Any, made: Any, among: Any) -> Any:
        function = note.function

        def ran(*args: Any, **kwargs: Any) -> Any:
            calls.append(partial(function, *args, **kwargs))
            return function(*args, **kwargs)

        note.function = ran
        try:
            return whole(self, note, made, among)
        finally:
            note.function = function

    cells.Recipe._call = call  # type: ignore[method-assign]
    try:
        by_plan(module, batch, plan)
    finally:
        cells.Recipe._call = whole  # type: ignore[method-assign]
    return calls


def rerun(calls: list[Callable[[], Any]]) -> None:
    """The kernels alone."""
    with cells.again():
        for call in calls:
            call()


def measure(width: int, batch: int, sequence: int, rounds: int) -> bool:
    """Print the overheads of a width; whether the bars are met."""
    shape = Shape(2, width, 8 if width > 128 else 4, sequence, dropout=0.0)
    module = language_model("gpt", shape)
    example = draw_batch(characters(), batch, sequence, torch.Generator().manual_seed(0))
    problem = Adacc.from_module(module, example, memory="64GiB", offload=True)
    recording = recording_of(module)
    plans = {
        kind: Program(module, recording, plan_of(problem, kind))
        for kind in ("retain", "hooks", "cheap", "everything")
    }
    again = {kind: kernels_of(module, example, plans[kind]) for kind in ("cheap", "everything")}
    runs: dict[str, Callable[[], Any]] = {"plain": partial(step, module, example)}
    runs |= {kind: partial(by_plan, module, example, plan) for kind, plan in plans.items()}
    runs |= {f"kernels of {kind}": partial(rerun, calls) for kind, calls in again.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            spent = seconds(run)
            if number > 1:
                found[name].append(spent)
    middle = {name: statistics.median(spent) for name, spent in found.items()}
    print(f"width {width}, {batch} x {sequence} tokens: plain step {middle['plain'] * 1e3:.2f} ms")
    met = True
    for kind in plans:
        paired = zip(
            found[kind], found["plain"], found.get(f"kernels of {kind}", [0.0] * rounds), strict=True
        )
        share = statistics.median(p - q - k for p, q, k in paired) / middle["plain"]
        bar = BARS[width].get("hooks" if kind == "retain" else kind)
        met &= bar is None or share <= bar
        known = "" if bar is None else f"   bar {bar:.0%} {'ok' if share <= bar else 'MISSED'}"
        replayed = (
            f", {len(again[kind])} kernels {middle[f'kernels of {kind}'] * 1e3:.2f} ms"
            if kind in again
            else ""
        )
        print(
            f"  {kind:10} step {middle[kind] * 1e3:8.2f} ms{replayed:32} overhead {share:+.1%}{known}",
            flush=True,
        )
    return met


if __name__ == "__main__":
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    results = [measure(512, 8, 128, count or 15), measure(128, 4, 64, count or 60)]
    sys.exit(0 if all(results) else 1)
