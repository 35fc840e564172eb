"""Which step and which condition a call of an attached model belongs to, and what is kept for it.

A pipeline calls the model in ways that no schedule knows: with and without a prompt, without one in part of
the steps, twice at one time, again after a failure, for the next clip. Nothing here is told apart by counting
calls: a step is a time and the latents it begins with, a condition is all other arguments, and what has
nothing recent to read is computed whole. A pipeline of another number of steps is a sentence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import SpaceError
from .schedule import Schedule
from .selection import BlockCache


class Steps:
    """Which step of the schedule a call belongs to.

    A step is a time and the latents that it begins with. Calls that share both, such as with and without a
    prompt, are one step; a time repeated with other latents, as second-order schedulers do, is the next.
    Going back in time begins another clip.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.clip, self.step, self.direction = 0, -1, 0.0
        self.present: tuple[Tensor, Tensor] | None = None
        self.excused = False

    def at(self, time: Any, latents: Tensor) -> int:
        """Step of a call. SpaceError for one that the schedule lacks; a warning where another clip begins
        before this one had all of its steps, unless the model failed meanwhile."""
        now = torch.as_tensor(time).detach().clone()
        if self.present is not None:
            before, begun = self.present
            if same(now, before) and same(latents, begun):
                return self.step
            moved = float(now.double().max() - before.double().max())
            again = moved * self.direction < 0 or (moved == 0 and self.step == 0)
            if again:
                self._leave()
            elif self.step + 1 == self.length:
                raise SpaceError(
                    f"The schedule has {self.length} budgets but the pipeline asks for step "
                    f"{self.length + 1}; sample with {self.length} steps, or search for a longer schedule "
                    "(a second-order scheduler asks the model about twice a step)."
                )
            elif self.direction == 0:
                self.direction = moved
        self.step, self.present = self.step + 1, (now, latents.detach().clone())
        return self.step

    def _leave(self) -> None:
        if self.step + 1 < self.length and not self.excused:
            warnings.warn(
                f"A clip ended after {self.step + 1} of the {self.length} steps that the schedule has; "
                "its tokens were not those that the schedule was found for.",
                stacklevel=2,
            )
        self.clip, self.step, self.direction, self.excused = self.clip + 1, -1, 0.0, False


def same(one: Any, other: Any) -> bool:
    """Whether two arguments of a model are equal: tensors by type and value, NaN equal to itself.

    >>> same((torch.zeros(2), {"scale": 1.0}), (torch.zeros(2), {"scale": 1.0}))
    True
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        return alike and (
            torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())
        )
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other or (
        not isinstance(one, Tensor) and not isinstance(other, Tensor) and bool(one == other)
    )


def kept(value: Any) -> Any:
    """An argument as it is now, whatever its owner writes over it later."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {name: kept(part) for name, part in value.items()}
    return type(value)(map(kept, value)) if type(value) in (list, tuple) else value


@dataclass(eq=False)
class Branch:
    """What is kept of the calls with one condition, such as one prompt. step: of the last of them."""

    given: Any
    caches: dict[int, BlockCache] = field(default_factory=dict)
    output: Tensor | None = None
    step: int = -1

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


Compute = Callable[[Branch, float, bool], Tensor]
"""The model's output, given what is kept, the share of the tokens, and whether a later step reads caches."""


class Calls:
    """The calls of one model under a schedule, told apart by step and condition.

    A condition that was not asked at the step before is computed whole, as is one whose last call failed.
    """

    def __init__(self, attached: Attached) -> None:
        self.attached, self.schedule = attached, attached.schedule
        self.steps = Steps(len(self.schedule))
        self.branches: list[Branch] = []
        self.busy = False

    def output(self, time: Any, latents: Tensor, given: Any, compute: Compute) -> Tensor:
        """The model's output at one call: computed, or the condition's last one where that stands.

        given: all that the output depends on beside time and latents.
        """
        if self.busy:
            raise SpaceError(
                "attach: the model was called while a call was under way; give each thread its own model."
            )
        self.busy = True
        try:
            clip = self.steps.clip
            step = self.steps.at(time, latents)
            if self.steps.clip != clip:
                self.branches.clear()
            branch = self._branch((latents.shape, latents.dtype, torch.is_inference_mode_enabled(), given))
            if branch.step != step:
                self._advance(branch, step, compute)
                branch.step = step
            self.attached.steps = step + 1
            self.attached.cache_bytes = max(self.attached.cache_bytes, sum(b.bytes for b in self.branches))
            assert branch.output is not None
            return branch.output.clone()  # whoever asked may write over it
        finally:
            self.busy = False

    def _branch(self, given: Any) -> Branch:
        found = next((branch for branch in self.branches if same(branch.given, given)), None)
        if found is None:
            found = Branch(kept(given))
            self.branches.append(found)
        return found

    def _advance(self, branch: Branch, step: int, compute: Compute) -> None:
        """Bring a condition to a step."""
        recent = step > 0 and branch.step == step - 1
        budget = self.schedule.budgets[step] if recent else 1.0
        if budget == 0:
            for cache in branch.caches.values():
                cache.skipped += 1
            return
        if not recent:
            branch.caches.clear()
        try:
            branch.output = compute(branch, budget, self.schedule.keeps(step)).detach()
        except BaseException:
            self.branches.remove(branch)  # some of its blocks are a step further than others
            self.steps.excused = True
            raise
