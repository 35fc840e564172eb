"""A schedule on a model in place: the user's own sampling loop or pipeline runs, with fewer tokens.

    with attach(pipeline.transformer, Schedule.load("schedule.json")) as attached:
        pipeline(prompt, num_inference_steps=20)
    print(attached.cache_bytes)

Calls are told apart by what the model is called with (`calls`): with and without a prompt, each has caches of
its own, in whatever order and at whichever steps they come.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from ...errors import SpaceError
from .calls import Attached, Branch, Calls
from .diffusers_blocks import FAMILIES, BlockCall
from .dit import VideoDiT
from .schedule import Schedule
from .selection import chosen_count
from .tokens import TokenRun
from .weights import Weights

_ATTACHED: WeakSet[nn.Module] = WeakSet()


@contextlib.contextmanager
def attach(
    model: nn.Module, schedule: Schedule | list[float] | tuple[float, ...], weights: Weights | None = None
) -> Iterator[Attached]:
    """Run the model with a schedule's budgets while the context lasts.

    model: our `VideoDiT`, or a Wan or CogVideoX transformer of diffusers. Each call must be under
    `torch.no_grad()` or `torch.inference_mode()`, as pipelines do. SpaceError for a model without blocks
    that are known, and for a number of steps that is not the schedule's. A clip that is left before its last
    step and followed by another is a warning.
    """
    budgets = schedule if isinstance(schedule, Schedule) else Schedule(tuple(schedule))
    chosen = weights or budgets.weights
    attached = Attached(budgets)
    if model in _ATTACHED:
        raise SpaceError("attach: the model has a schedule attached already; leave that context first.")
    undo = (_own if isinstance(model, VideoDiT) else _theirs)(model, Calls(attached), chosen)
    _ATTACHED.add(model)
    try:
        yield attached
    finally:
        undo()
        _ATTACHED.discard(model)
    if attached.steps != len(budgets):
        raise SpaceError(
            f"The schedule has {len(budgets)} budgets but the pipeline stopped after {attached.steps} steps; "
            f"sample with {len(budgets)} steps, or search for a shorter schedule."
        )


def _own(model: VideoDiT, calls: Calls, weights: Weights) -> Callable[[], None]:
    runs: WeakKeyDictionary[Branch, TokenRun] = WeakKeyDictionary()

    def forward(clip: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        def compute(branch: Branch, budget: float, keep: bool) -> Tensor:
            run = runs.setdefault(branch, TokenRun(model, weights))
            made = run.velocity(clip, time, classes, budget, keep=keep)
            branch.caches = dict(enumerate(run.caches))
            return made

        _without_gradients(model, clip)
        return calls.output(time, clip, classes, compute)

    return _replaced({model: forward})


def _theirs(model: nn.Module, calls: Calls, weights: Weights) -> Callable[[], None]:
    blocks = [m for m in model.modules() if type(m).__name__ in FAMILIES]
    if not blocks:
        known = ", ".join(["VideoDiT", *FAMILIES])
        raise SpaceError(
            f"attach: the model must have attention blocks that are known ({known}), "
            f"got {type(model).__name__} with none."
        )
    if getattr(model, "is_cache_enabled", False):
        raise SpaceError("attach: the model has a cache of diffusers enabled; call disable_cache() first.")
    signature, whole = inspect.signature(model.forward), model.forward
    present: list[tuple[Branch, float, bool]] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        given = dict(bound.arguments)
        latents, time = given.pop("hidden_states"), given.pop("timestep")
        as_object = given.pop("return_dict", True)

        def compute(branch: Branch, budget: float, keep: bool) -> Tensor:
            present.append((branch, budget, keep))
            try:
                made: Tensor = whole(*args, **kwargs)[0]
                return made
            finally:
                present.pop()

        _without_gradients(model, latents)
        return _as_asked(calls.output(time, latents, given, compute), as_object)

    def of_block(number: int, block: nn.Module) -> Callable[..., Any]:
        plain, family = block.forward, FAMILIES[type(block).__name__]
        names = inspect.signature(plain)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not present:  # by itself, not as a part of the model
                return plain(*args, **kwargs)
            branch, budget, keep = present[-1]
            bound = names.bind(*args, **kwargs).arguments
            tokens = bound["hidden_states"].shape[1]
            rows = chosen_count(budget, tokens)
            if rows == tokens:
                branch.caches.pop(number, None)
                if not keep:
                    return plain(*args, **kwargs)
            with_cache = BlockCall(branch.caches.get(number), rows, weights)
            made = family(block, bound, with_cache)
            assert with_cache.cache is not None
            branch.caches[number] = with_cache.cache
            return made

        return call

    made_new: dict[nn.Module, Callable[..., Any]] = {b: of_block(i, b) for i, b in enumerate(blocks)}
    return _replaced({model: forward, **made_new})


def _without_gradients(model: nn.Module, latents: Tensor) -> None:
    """Raises SpaceError where autograd would follow a call: caches written in place have no gradient."""
    if torch.is_grad_enabled() and (
        latents.requires_grad or any(p.requires_grad for p in model.parameters())
    ):
        raise SpaceError(
            "attach: a schedule gives no gradients; call the model under torch.no_grad() or "
            "torch.inference_mode()."
        )


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
