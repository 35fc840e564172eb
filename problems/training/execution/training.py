"""Train a small module by a plan and by other policies, side by side: peak bytes, step time, loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from .... import units
from ..actions import INT4, INT8, RETAIN
from ..graph import GRADIENT
from .catalogue import ready, small_module
from .evolution import Evolution
from .executor import applied
from .live import allocated_peak
from .modules import characters, draw_batch
from .profiling import clock, distance, gradients, one_thread, step
from .program import Program, recording_of
from .recording import repeated_blocks, undisturbed

if TYPE_CHECKING:
    from ...problem import Progress
    from ..module import AdaccModule

RATE = 3e-3
LAST = 10
BUDGETS = (0.75, 0.5, 0.25, 0.1, 0.0)
UNFUSED = "aot_eager_decomp_partition"
SAVED_OPERATORS = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
)


@dataclass(eq=False)
class Policy:
    """One way to train: a module of its own, how it is called and inside which context.

    predicted_peak, predicted_seconds: what a plan promised, or None. note: what else to say. follow: what
    keeps its plan right.
    """

    name: str
    module: nn.Module
    call: Callable[..., Any]
    context: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    predicted_peak: float | None = None
    predicted_seconds: float | None = None
    note: str = ""
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    follow: Evolution | None = None

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.module.parameters(), RATE)

    def gradients(self, batch: Sequence[Tensor]) -> float:
        """Forward and backward; the loss."""
        with self.context():
            value = self.call(*batch)
            value.backward()
        return float(value.detach())

    def step(self, batch: Sequence[Tensor], seed: int) -> None:
        """One step of training, timed without the optimiser."""
        device = next(self.module.parameters()).device
        self.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(seed)
        start = clock(device)
        self.losses.append(self.gradients(batch))
        self.seconds.append(clock(device) - start)
        self.optimizer.step()

    def evolve(self, batch: Sequence[Tensor]) -> None:
        """Count a step, after it; where the plan changes, times and predictions are those of the new one."""
        if self.follow is None:
            return
        before = self.follow.program
        self.follow.after_step(batch)
        if self.follow.program is not before:
            self.seconds.clear()
            self.predicted_peak, self.predicted_seconds = (
                self.follow.answer.peak,
                self.follow.answer.step_time,
            )

    def gradient_error(self, batch: Sequence[Tensor]) -> float:
        """Relative error of the gradients by this policy, with the weights of the moment."""
        with undisturbed(self.module):
            torch.manual_seed(0)
            step(self.module, batch)
            exact = gradients(self.module)
            torch.manual_seed(0)
            with self.context():
                step(self.module, batch)
            return distance(gradients(self.module), exact)

    def measure(self, batch: Sequence[Tensor]) -> int:
        """Peak bytes of a step beyond weights and optimiser state."""
        self.optimizer.zero_grad(set_to_none=True)
        self.gradients(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.peak = allocated_peak(lambda: self.gradients(batch))
        self.optimizer.zero_grad(set_to_none=True)
        return self.peak


def planned(
    name: str, problem: AdaccModule, actions: Sequence[str], seed: int, stochastic: bool = False
) -> Policy:
    """Training by a plan of a problem's small module."""
    module = small_module(problem, seed)
    recording = ready(problem, module)
    graph = recording.graph
    chosen = [
        a if t.treatment(a) is not None else "retain" for t, a in zip(graph.saved, actions, strict=True)
    ]
    program = Program(module, recording_of(module), chosen, stochastic)
    metrics = problem.replace(offload=True).score({"action": chosen}).metrics
    return Policy(
        name,
        module,
        module,
        partial(applied, module, program),
        float(metrics["peak"][0]),
        float(metrics["step_time"][0]),
    )


def evolving(
    problem: AdaccModule,
    actions: Sequence[str],
    seed: int,
    every: int,
    limits: Mapping[str, float],
    heard: Callable[[str], None] | None = None,
) -> Policy:
    """Training by a plan that follows the module, measured every so many steps. limits: on peak and error."""
    module = small_module(problem, seed)
    saved = ready(problem, module).graph.saved
    chosen = [a if t.treatment(a) is not None else "retain" for t, a in zip(saved, actions, strict=True)]
    follow = Evolution(
        module, limits["peak"], limits["error"], problem.action_labels, every=every, actions=chosen,
        heard=None if heard is None else lambda event: heard(str(event)),
    )  # fmt: skip
    now = follow.answer
    return Policy("this plan, evolved", module, module, follow.apply, now.peak, now.step_time, follow=follow)


def checkpointed(name: str, module: nn.Module, selective: bool = False) -> Policy:
    """Training with PyTorch's checkpointing of each repeated block, whole or selective."""

    def decide(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        keep = str(operator).split(".")[1] in SAVED_OPERATORS
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    extra = {"context_fn": partial(create_selective_checkpoint_contexts, decide)} if selective else {}
    for block in repeated_blocks(module):
        inner = module.get_submodule(block)
        inner.forward = partial(checkpoint, inner.forward, use_reentrant=False, **extra)
    return Policy(name, module, module)


def budgeted(
    name: str,
    make: Callable[[], nn.Module],
    budget: float,
    batch: Sequence[Tensor],
    backend: str = UNFUSED,
) -> Policy | str:
    """Training with PyTorch's activation memory budget, or why it does not work here.

    backend: of `torch.compile`; `UNFUSED` needs no C++ compiler, "inductor" also fuses operators.
    """
    import torch._dynamo
    import torch._functorch.config as config

    torch._dynamo.reset()
    module = make()
    try:
        with config.patch(activation_memory_budget=budget):
            call = torch.compile(module, backend=backend)
            call(*batch).backward()
    except Exception as error:
        return f"{name} does not run here: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return Policy(name, module, call, note=f"budget {budget:g}, compiled by {backend}")


def best_budget(make: Callable[[], nn.Module], batch: Sequence[Tensor], peak: int) -> Policy | str:
    """PyTorch's largest activation memory budget whose measured peak is within `peak`, else its smallest
    peak."""
    found: Policy | str = "not tried"
    least: Policy | None = None
    for budget in BUDGETS:
        found = budgeted("activation_memory_budget", make, budget, batch)
        if isinstance(found, str):
            return found
        if found.measure(batch) <= peak:
            return found
        least = found if least is None or found.peak < least.peak else least
    assert least is not None
    least.note += "; no budget reaches the plan's peak"
    return least


def train(
    policies: Sequence[Policy], text: Tensor, batch: int, sequence: int, steps: int, seed: int, tell: Progress
) -> None:
    """Train every policy on the same batches, step by step in turn."""
    generator = torch.Generator().manual_seed(seed + 1)
    for number in range(steps):
        pieces = draw_batch(text, batch, sequence, generator)
        for policy in policies:
            policy.step(pieces, seed * 1_000_003 + number)
            if number + 1 < steps:
                policy.evolve(pieces)
        tell(f"step {number + 1} of {steps}", (number + 1) / steps)


def compare(
    problem: AdaccModule,
    point: Mapping[str, Any],
    *,
    steps: int = 100,
    text: Path | None = None,
    seed: int = 0,
    evolve: int = 0,
    limits: Mapping[str, float] | None = None,
    heard: Callable[[str], None] | None = None,
    tell: Progress = lambda *_: None,
) -> list[dict[str, Any]]:
    """Rows for `optimize apply`: the plan, no policy, PyTorch's own policies, one codec everywhere.

    evolve: also the plan measured every so many steps (0: not), within `limits`; `heard` is told its events.
    """
    letters = characters(text)
    generator = torch.Generator().manual_seed(seed)
    batch = draw_batch(letters, problem.batch, problem.sequence, generator)
    graph = problem.step

    def fresh() -> nn.Module:
        return small_module(problem, seed)

    tell("measuring bytes", 0.0)
    actions = [str(a) for a in point["action"]]
    plan = planned("this plan", problem, actions, seed)
    none = fresh()
    policies = [plan, Policy("no policy", none, none), checkpointed("full checkpointing", fresh())]
    policies.append(checkpointed("selective checkpointing", fresh(), selective=True))
    if evolve:
        policies.insert(1, evolving(problem, actions, seed, evolve, limits or {}, heard))
    first = len(policies)
    for policy in policies:
        policy.measure(batch)
    tell("compiling PyTorch's memory budget", 0.0)
    said = best_budget(fresh, batch, plan.peak)
    if isinstance(said, Policy):
        policies.append(said)
    policies += [
        planned(
            f"{label} everywhere",
            problem,
            [RETAIN if t.content == GRADIENT else label for t in graph.saved],
            seed,
        )
        for label in (INT8, INT4)
    ]
    for policy in policies[first:]:
        policy.measure(batch)
    for policy in policies:  # measuring has drawn no step; the same weights for all
        policy.optimizer.zero_grad(set_to_none=True)
    with one_thread():
        train(policies, letters, problem.batch, problem.sequence, steps, seed, tell)
    for p in policies:
        if p.follow is not None:
            before, changes = p.peak, sum(e.changed > 0 for e in p.follow.events)
            p.peak = max(before, p.measure(batch))
            p.note = (
                f"measured {p.follow.checks} times, every {evolve} steps or seldomer, in "
                f"{p.follow.check_seconds:.1f} s; the plan changed {changes} times"
            )
    rows = [
        {
            "policy": p.name,
            "predicted MiB": None if p.predicted_peak is None else p.predicted_peak / units.MiB,
            "measured MiB": (p.peak + graph.static) / units.MiB,
            "predicted ms": None if p.predicted_seconds is None else 1e3 * p.predicted_seconds,
            "measured ms": 1e3 * min(p.seconds),
            "loss": float(np.mean(p.losses[-LAST:])),
            "gradient error": None
            if p.predicted_peak is None
            else p.gradient_error(batch) / problem.step.blocks,
            "note": p.note,
        }
        for p in policies
    ]
    if isinstance(said, str):
        rows.append({"policy": "activation_memory_budget", "note": said})
    return rows
