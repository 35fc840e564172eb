"""A plan carried out on an unmodified module, through the hooks that autograd offers for saved tensors.

A plan is a hint about what to drop, code or move away; what is done is decided by the pass that runs. Where a
plan recomputes, the forward pass is followed operator by operator (`tracing`), and a tensor is dropped only
if *this* pass's notes say how to make it again; what the pass has that was not recorded is kept as it is.
So a departure costs memory, and the gradient is plain autograd's: the same bits, except for what is coded.

Hooks are set while the module's own forward runs and taken back however it ends. What a plan keeps as it is
goes to the hooks that were there before, so that plans nest, also with `save_on_cpu` and `checkpoint`.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import nn

from ....errors import PlanWarning
from .passes import Pass
from .program import Program, actions_of, recording_of
from .recording import input_tensors


@contextlib.contextmanager
def applied(module: nn.Module, program: Program) -> Iterator[Program]:
    """Run a program: every forward pass of the module inside saves its tensors as the program says."""
    local = threading.local()

    def passes() -> list[tuple[Pass | None, FrameType]]:
        found: list[tuple[Pass | None, FrameType]] = local.__dict__.setdefault("passes", [])
        return found

    def enter(_: Any, args: Any, kwargs: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if passes():  # an interrupt skips hooks: a pass whose caller runs no more is over
            frames = set(_callers())
            while passes() and passes()[-1][1] not in frames:
                end(False)
        program.passes += 1
        run = None
        able = torch._C._autograd._saved_tensors_hooks_is_enabled()
        if program.active and not able:
            program.depart("runs inside a transform of torch.func, which allows no hooks for saved tensors")
        elif program.active and torch.is_grad_enabled():
            inputs = input_tensors(args, kwargs)
            asked = (*(p.requires_grad for p in module.parameters()), *(t.requires_grad for t in inputs))
            follows = program.follows or bool(program.departures) or asked != program.tape.asked
            run = Pass(program, inputs, follows)
        passes().append((run, next(_callers())))
        if run is not None:
            run.enter()

    def leave(_: Any, __: Any, output: Any) -> None:
        if passes():
            end(output is not None)

    def end(finished: bool) -> None:
        run, _ = passes().pop()
        if run is not None:
            run.leave(finished)

    # last in, first out: nothing of another hook runs inside
    handles = [
        module.register_forward_pre_hook(_Hook(enter), with_kwargs=True),
        module.register_forward_hook(_Hook(leave), prepend=True, always_call=True),
    ]
    before = program.passes
    try:
        with program.waiting().watching():
            yield program
        if program.passes == before:
            warnings.warn(
                f"no forward pass of this {program.name} ran by its plan while that was applied. Call the "
                "module itself; inside what torch.compile made of it, plans are not carried out.",
                PlanWarning,
                stacklevel=3,
            )
    finally:
        for handle in handles:
            handle.remove()
        while passes():  # after an interrupt, which skips hooks
            end(False)


def _callers() -> Iterator[FrameType]:
    """The frames that run now, from the one that called a hook."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is nn.Module._call_impl.__code__:
            yield frame
        frame = frame.f_back


class _Hook:
    """A hook of a module of which copies have none: a plan belongs to the module it was applied to."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run

    def __call__(self, *args: Any) -> Any:
        return self.run(*args)

    def __reduce__(self) -> Any:
        return _Hook, (_nothing,)


def _nothing(*_: Any) -> None:
    """What the hook of a copy does."""


def apply(
    module: nn.Module, plan: Any, *, stochastic: bool = False, strict: bool = False
) -> contextlib.AbstractContextManager[Program]:
    """Carry out a plan on a recorded module: `with apply(module, plan): loss = module(x); loss.backward()`.

    plan: the point of a solution, or its labels. stochastic: codecs round at random, so that gradients of
    linear layers have no bias. Gradients are plain autograd's, to the bit where nothing is coded. A pass that
    departs from the recorded one (other operators) is kept from there on as without a plan, and a PlanWarning
    says so once; strict: a SpaceError instead. Raises SpaceError where the plan or the module is another, and
    in the backward pass where what it computes from was changed since the forward pass.
    """
    recording = recording_of(module)
    program = Program(module, recording, actions_of(recording, plan), stochastic, strict=strict)
    return applied(module, program)


__all__ = ["applied", "apply"]
