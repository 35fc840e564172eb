"""A plan that follows its module through training: measured again, solved again, changed between steps.

Every K steps the error of each codec on one batch is compared with what the plan was made from; a
tensor's gradient error is taken to grow as its relative codec error does, and the sum is corrected by
the plan's measured gradient error. The plan is solved again where an error moved by more than 20 %, the
error budget is broken, or memory is short or spare; it is changed where that is needed or gains 1 %.
K doubles while nothing changes. After Adacc; the rule is ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..graph import Graph
from ..liveness import Liveness
from ..replanning import Answer, least, score
from .codecs import codec, relative_error
from .executor import applied
from .profiling import Profile, distance, gradients, groups, step
from .program import Program, recording_of
from .recording import Loss, undisturbed

DRIFT, SPARE, GAIN = 0.2, 0.05, 0.01
FORGET = 0.5
LONGEST = 16


@dataclass(frozen=True)
class Event:
    """A change of plan, or why there was none. step_time and error are the model's, before and after."""

    step: int
    reason: str
    changed: int
    step_time: tuple[float, float]
    error: tuple[float, float]

    def __str__(self) -> str:
        did = f"{self.changed} tensors treated anew" if self.changed else "plan kept"
        times = " to ".join(f"{1e3 * t:.2f} ms" for t in self.step_time)
        errors = " to ".join(f"{e:.4f}" for e in self.error)
        return f"step {self.step}: {self.reason}; {did}, step time {times}, error {errors}"


class Evolution:
    """Runs a module by a plan and keeps the plan right.

        evolution = Evolution(model, memory, error_budget)
        for batch in batches:
            with evolution.apply():
                loss = model(*batch)
                loss.backward()
            optimizer.step()
            evolution.after_step(batch)

    The module must have been recorded by `Adacc.from_module`. memory: bytes, or a function that is asked at
    every check, such as of what is free; it may be set at any time. checks, check_seconds: how often it was
    measured, and for how long in all. events: what happened.
    """

    def __init__(
        self,
        module: nn.Module,
        memory: float | Callable[[], float],
        error_budget: float,
        labels: tuple[str, ...],
        *,
        every: int = 20,
        loss: Loss | None = None,
        actions: Sequence[str] | None = None,
        heard: Callable[[Event], None] | None = None,
    ) -> None:
        self.module, self.error_budget, self.labels = module, error_budget, labels
        self.free = memory if callable(memory) else None
        self.memory: float = memory() if callable(memory) else memory
        self.every, self.wait, self.loss, self.heard = every, every, loss, heard
        self.recording = recording_of(module)
        self.graph: Graph = self.recording.graph
        self.codec_errors: dict[tuple[int, str], float] | None = None
        self.correction = 1.0
        self.steps = self.checked = self.checks = 0
        self.check_seconds = 0.0
        self.events: list[Event] = []
        found = self.solve() if actions is None else score(Liveness(self.graph, labels), actions)
        if found is None:
            from ....errors import SpaceError

            raise SpaceError(
                f"no plan for this {type(module).__name__} fits {self.memory:,.0f} B and the error budget."
            )
        self.answer: Answer = found
        self.program = self._program()

    def _program(self) -> Program:
        return Program(self.module, self.recording, self.answer.actions)

    def solve(self, start: Sequence[str] | None = None) -> Answer | None:
        """The fastest plan by what is known now; start: a plan to begin from."""
        limits = {"peak": self.memory, "error": self.error_budget}
        return least(Liveness(self.graph, self.labels), "step_time", limits, start=start)

    def apply(self) -> contextlib.AbstractContextManager[Program]:
        """Carry out the plan of the moment for one step."""
        return applied(self.module, self.program)

    def after_step(self, batch: Any) -> None:
        """Count a step; every K of them measure, and change the plan where that is called for."""
        self.steps += 1
        if self.steps - self.checked < self.wait:
            return
        self.checked = self.steps
        self.checks += 1
        started = time.perf_counter()
        if self.free is not None:
            self.memory = self.free()
        drift = self._measure(batch)
        reason = self._reason(drift)
        changed = bool(reason) and self._replan(reason)
        self.check_seconds += time.perf_counter() - started
        self.wait = self.every if changed else min(2 * self.wait, LONGEST * self.every)

    def _measure(self, batch: Any) -> float:
        """Update the graph's errors; the largest relative drift of one that the plan uses."""
        with undisturbed(self.module):
            profile = Profile(self.module, batch, self.loss, self.recording)
            before, drift = self.codec_errors, 0.0
            found: dict[tuple[int, str], float] = {}
            tensors = list(self.graph.saved)
            for members in groups(tensors):
                middle = members[len(members) // 2]
                flat = profile.flat(middle)
                for t in tensors[middle].treatments:
                    if not t.codec or not t.error:
                        continue
                    now = relative_error(codec(t.codec, tensors[middle].width), flat)
                    old = now if before is None else before[middle, t.label]
                    new = FORGET * old + (1 - FORGET) * now
                    ratio = new / old if old else 1.0
                    if any(self.answer.actions[i] == t.label for i in members):
                        drift = max(drift, abs(ratio - 1))
                    for i in members:
                        found[i, t.label] = new
                        tensors[i] = _scaled(tensors[i], t.label, ratio)
            self.codec_errors = found
            self.graph = dataclasses.replace(self.graph, saved=tuple(tensors))
            return max(drift, self._correct(profile, batch))

    def _correct(self, profile: Profile, batch: Any) -> float:
        """Scale errors up where the plan's measured gradient error exceeds their sum; the change."""
        with applied(self.module, self._program()):
            torch.manual_seed(0)
            step(self.module, batch, self.loss)
            measured = distance(gradients(self.module), profile.exact) / self.graph.blocks
        predicted = score(Liveness(self.graph, self.labels), self.answer.actions).error
        if measured <= predicted or predicted == 0:
            return 0.0
        ratio = measured / predicted
        tensors = list(self.graph.saved)
        for i, t in enumerate(tensors):
            for treatment in t.treatments:
                tensors[i] = _scaled(tensors[i], treatment.label, ratio)
        self.graph = dataclasses.replace(self.graph, saved=tuple(tensors))
        return ratio - 1

    def _reason(self, drift: float) -> str:
        now = score(Liveness(self.graph, self.labels), self.answer.actions)
        if now.error > self.error_budget:
            return f"error {now.error:.4f} exceeds its budget {self.error_budget:g}"
        if now.peak > self.memory:
            return f"peak {now.peak:,.0f} B exceeds {self.memory:,.0f} B"
        if (
            self.memory < math.inf
            and now.peak < (1 - SPARE) * self.memory
            and any(a != self.labels[0] for a in now.actions)
        ):
            return f"{100 * (1 - now.peak / self.memory):.0f} % of the memory is spare"
        return f"an error moved by {100 * drift:.0f} %" if drift > DRIFT else ""

    def _replan(self, reason: str) -> bool:
        live = Liveness(self.graph, self.labels)
        before = score(live, self.answer.actions)
        broken = before.error > self.error_budget or before.peak > self.memory
        after = self.solve(self.answer.actions)
        if after is None and broken:  # no plan is as exact as asked: the most exact that fits the memory
            after = least(live, "error", {"peak": self.memory})
        keep = after is None or (not broken and after.step_time > (1 - GAIN) * before.step_time)
        chosen = before if keep or after is None else after
        changed = sum(a != b for a, b in zip(before.actions, chosen.actions, strict=True))
        event = Event(
            self.steps, reason, changed, (before.step_time, chosen.step_time), (before.error, chosen.error)
        )
        self.events.append(event)
        if self.heard is not None:
            self.heard(event)
        self.answer = chosen
        if changed:
            graph = self.graph
            self.recording = dataclasses.replace(self.recording, graph=graph)
            self.program = self._program()
        return changed > 0

    def log(self, study: Any) -> None:
        """Write the events to an Optuna study, where the dashboard shows them."""
        for number, event in enumerate(self.events):
            study.set_user_attr(f"adacc event {number:03d}", str(event))


def _scaled(tensor: Any, label: str, ratio: float) -> Any:
    """A saved tensor with one treatment's error scaled."""
    treatments = tuple(t.scaled(ratio) if t.label == label else t for t in tensor.treatments)
    return dataclasses.replace(tensor, treatments=treatments)


__all__ = ["Event", "Evolution"]
