"""A schedule on a model in place: the user's own sampling loop or pipeline runs, with fewer tokens.

    with attach(pipeline.transformer, Schedule.load("schedule.json")) as attached:
        pipeline(prompt, num_inference_steps=20)
    print(attached.cache_bytes)

Steps are told apart by the time that the model is called with. Several calls at one time, such as with and
without a prompt, each have caches of their own.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SpaceError
from .diffusers_blocks import FAMILIES, BlockCall
from .dit import VideoDiT
from .schedule import Schedule
from .selection import BlockCache, Weights, chosen_count
from .tokens import TokenRun


class Steps:
    """Which step of the schedule a call belongs to, and which of the calls at that step it is."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.step, self.call = -1, 0
        self.time: Tensor | None = None
        self.first: Tensor | None = None

    def at(self, time: Any) -> tuple[int, int]:
        """Step and call number of a call at a time. SpaceError for a step that the schedule lacks."""
        now = torch.as_tensor(time).detach().clone()
        if self.time is not None and torch.equal(now, self.time):
            self.call += 1
            return self.step, self.call
        if self.step + 1 == self.length and self.first is not None and torch.equal(now, self.first):
            self.step = -1  # the next clip
        if self.step + 1 == self.length:
            raise SpaceError(
                f"The schedule has {self.length} budgets but the pipeline asks for step {self.length + 1}; "
                f"sample with {self.length} steps, or search for a longer schedule."
            )
        self.step, self.call, self.time = self.step + 1, 0, now
        if self.step == 0:
            self.first = now
        return self.step, 0


@dataclass
class Branch:
    """The caches of one of the calls that a step makes."""

    caches: dict[int, BlockCache] = field(default_factory=dict)
    output: Tensor | None = None

    @property
    def bytes(self) -> int:
        """Memory held."""
        held = 0 if self.output is None else self.output.numel() * self.output.element_size()
        return held + sum(cache.bytes for cache in self.caches.values())


@dataclass
class Attached:
    """What an attached schedule has done. cache_bytes: most memory held; steps: taken in the present clip."""

    schedule: Schedule
    cache_bytes: int = 0
    steps: int = 0

    def note(self, step: int, held: int) -> None:
        """A step was made, with so many bytes of caches."""
        self.steps = step + 1
        self.cache_bytes = max(self.cache_bytes, held)


@contextlib.contextmanager
def attach(
    model: nn.Module, schedule: Schedule | list[float] | tuple[float, ...], weights: Weights | None = None
) -> Iterator[Attached]:
    """Run the model with a schedule's budgets while the context lasts.

    model: our `VideoDiT`, or a Wan or CogVideoX transformer of diffusers. Each call must be under
    `torch.no_grad()` or `torch.inference_mode()`, as pipelines do. SpaceError for a model without blocks
    that are known, and for a number of steps that is not the schedule's.
    """
    budgets = schedule if isinstance(schedule, Schedule) else Schedule(tuple(schedule))
    chosen = weights or Weights(budgets.w_a, budgets.w_b)
    attached = Attached(budgets)
    undo = _own(model, attached, chosen) if isinstance(model, VideoDiT) else _theirs(model, attached, chosen)
    try:
        yield attached
    finally:
        undo()
    if attached.steps != len(budgets):
        raise SpaceError(
            f"The schedule has {len(budgets)} budgets but the pipeline stopped after {attached.steps} steps; "
            f"sample with {len(budgets)} steps, or search for a shorter schedule."
        )


def _own(model: VideoDiT, attached: Attached, weights: Weights) -> Callable[[], None]:
    budgets = attached.schedule
    steps, runs = Steps(len(budgets)), [TokenRun(model, weights)]

    def forward(clip: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        step, call = steps.at(time)
        if step == 0 and call == 0:
            runs.clear()
        if call == len(runs):
            runs.append(TokenRun(model, weights))
        following = budgets.budgets[step + 1 : step + 2] == (0.0,)
        made = runs[call].velocity(
            clip, time, classes, budgets.budgets[step], keep=budgets.keeps(step),
            reused=following,
        )  # fmt: skip
        attached.note(step, sum(run.cache_bytes for run in runs))
        return made

    return _replaced({model: forward})


def _theirs(model: nn.Module, attached: Attached, weights: Weights) -> Callable[[], None]:
    budgets = attached.schedule
    blocks = [m for m in model.modules() if type(m).__name__ in FAMILIES]
    if not blocks:
        known = ", ".join(["VideoDiT", *FAMILIES])
        raise SpaceError(
            f"attach: the model must have attention blocks that are known ({known}), "
            f"got {type(model).__name__} with none."
        )
    if getattr(model, "is_cache_enabled", False):
        raise SpaceError("attach: the model has a cache of diffusers enabled; call disable_cache() first.")
    steps = Steps(len(budgets))
    branches: list[Branch] = []
    signature = inspect.signature(model.forward)
    whole = model.forward
    present: dict[str, Any] = {}

    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        step, call = steps.at(bound.arguments["timestep"])
        if step == 0 and call == 0:
            branches.clear()
        if call == len(branches):
            branches.append(Branch())
        branch, budget = branches[call], budgets.budgets[step]
        if budget == 0:
            for cache in branch.caches.values():
                cache.skipped += 1
            assert branch.output is not None
            attached.note(step, sum(b.bytes for b in branches))
            return _as_asked(branch.output, bound.arguments.get("return_dict", True))
        present.update(branch=branch, budget=budget, keep=budgets.keeps(step))
        made = whole(*args, **kwargs)
        following = budgets.budgets[step + 1 : step + 2] == (0.0,)
        branch.output = made[0] if following else None
        attached.note(step, sum(b.bytes for b in branches))
        return made

    def of_block(number: int, block: nn.Module) -> Callable[..., Any]:
        plain, family = block.forward, FAMILIES[type(block).__name__]
        names = inspect.signature(plain)

        def call(*args: Any, **kwargs: Any) -> Any:
            branch, budget = present["branch"], present["budget"]
            bound = names.bind(*args, **kwargs).arguments
            tokens = bound["hidden_states"].shape[1]
            rows = chosen_count(budget, tokens)
            if rows == tokens:
                if not present["keep"]:
                    return plain(*args, **kwargs)
                branch.caches.pop(number, None)
            with_cache = BlockCall(branch.caches.get(number), rows, weights)
            made = family(block, bound, with_cache)
            branch.caches[number] = with_cache.cache
            return made

        return call

    made_new: dict[nn.Module, Callable[..., Any]] = {b: of_block(i, b) for i, b in enumerate(blocks)}
    return _replaced({model: forward, **made_new})


def _replaced(forwards: dict[nn.Module, Callable[..., Any]]) -> Callable[[], None]:
    """Give modules other forwards; the function that gives them their own again."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.forward = forward

    def undo() -> None:
        for module, own in before.items():
            if own is None:
                del module.forward
            else:
                module.forward = own

    return undo


def _as_asked(sample: Tensor, as_object: bool) -> Any:
    """The output that a transformer of diffusers returns."""
    if not as_object:
        return (sample,)
    from diffusers.models.modeling_outputs import Transformer2DModelOutput

    return Transformer2DModelOutput(sample=sample)
