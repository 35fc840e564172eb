"""A plan for a recorded module, ready to run: what becomes of each buffer, what of the stream is noted."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import PlanWarning, SpaceError
from ..actions import OFFLOAD, RECOMPUTE, RETAIN
from ..graph import GRADIENT, Graph
from .cells import Cell
from .codecs import Codec, codec
from .places import place_of
from .tape import Recipe, Tape, window
from .tracing import Step
from .waiting import Waiting


@dataclass(frozen=True, eq=False)
class Recording:
    """A module's tape, the graph made of it, recipes by buffer; the batch and loss it was recorded on."""

    tape: Tape
    graph: Graph
    recipes: Mapping[int, Recipe]
    batch: Any = None
    loss: Callable[[Any], Tensor] | None = None


RECORDINGS: weakref.WeakKeyDictionary[nn.Module, Recording] = weakref.WeakKeyDictionary()
"""Modules that were recorded in this process."""


class Program:
    """A plan for a recorded module, ready to run.

    noted: follow every pass, also the operators that make these buffers. strict: refuse a pass that
    departs from the recorded one, where else a warning says so once.
    """

    def __init__(
        self,
        module: nn.Module,
        recording: Recording,
        actions: Sequence[str],
        stochastic: bool = False,
        *,
        strict: bool = False,
        noted: Sequence[int] | None = None,
    ) -> None:
        self.recording, self.strict = recording, strict
        self.tape = tape = recording.tape
        self.name = type(module).__name__
        parameters = dict(module.named_parameters(remove_duplicate=False))
        self.action: dict[int, str] = {}
        self.codecs: dict[int, Codec] = {}
        self.gradients: list[tuple[int, nn.Parameter]] = []
        for tensor, label in zip(recording.graph.saved, actions, strict=True):
            treatment = tensor.treatment(label)
            if treatment is None:
                why = (
                    tensor.refused
                    if label == RECOMPUTE
                    else f"it holds {tape.buffers[tensor.buffer].shape[0]}"
                )
                raise SpaceError(f"tensor '{tensor.name}' cannot be treated by '{label}': {why}.")
            if treatment.codec:
                self.codecs[tensor.buffer] = codec(treatment.codec, tensor.width, stochastic)
            if tensor.content != GRADIENT:
                self.action[tensor.buffer] = label
            elif label != RETAIN:
                self.action[tensor.buffer] = label
                self.gradients.append((tensor.buffer, parameters[tensor.path]))
        self.dropped = {b for b, label in self.action.items() if label == RECOMPUTE}
        self.steps = _steps(recording, {*self.dropped, *(noted or ())})
        self.follows = bool(self.dropped) or noted is not None
        self.lossy = any(not c.lossless for c in self.codecs.values())
        coded = {b for b, label in self.action.items() if label != RETAIN and tape.buffers[b].forward}
        self.active = bool(coded) or noted is not None
        self.entries = tuple(p.source for p in tape.packs)
        self.place = place_of(module, tape.device) if OFFLOAD in self.action.values() else None
        self.look: Callable[[Tensor, Cell], None] | None = None
        self.departures: list[str] = []
        self.passes = 0

    def label(self, buffer: int) -> str:
        """What becomes of a buffer."""
        return self.action.get(buffer, RETAIN)

    def keep(self, buffer: int, tensor: Tensor) -> Callable[[], torch.UntypedStorage] | None:
        """Code the storage of a tensor, or begin to move it away; what brings it back. None where it is not
        of the recorded kind, so that it stays."""
        storage, dtype = tensor.untyped_storage(), tensor.dtype
        if buffer not in self.codecs:
            assert self.place is not None
            return partial(self.place.get, self.place.put(storage))
        coding = self.codecs[buffer]
        elements = storage.nbytes() // dtype.itemsize
        recorded = self.tape.buffers[buffer].shape[0]
        if dtype != recorded or storage.nbytes() % dtype.itemsize or not coding.takes(elements):
            return None
        code = coding.encode(window(storage, (dtype, 0, (elements,), (1,))))
        return None if code is None else lambda: coding.decode(code).untyped_storage()

    def is_exact(self, buffer: int) -> bool:
        """Whether a buffer that is coded or moved away comes back to the bit."""
        return buffer not in self.codecs or self.codecs[buffer].lossless

    def depart(self, what: str) -> None:
        """A pass is not the recorded one: say so once, or refuse it."""
        told = (
            f"{self.name} {what}. The plan is carried out for what is as recorded, the rest is kept: "
            "gradients are right, the promised memory and time do not hold. Record the module again."
        )
        if self.strict:
            raise SpaceError(told)
        if not self.departures:
            warnings.warn(told, PlanWarning, stacklevel=5)
        self.departures.append(told)

    def waiting(self) -> Waiting:
        """What the plan does with gradients."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            if self.gradients:
                self.depart("runs beside torch.distributed, which reads gradients during the backward pass")
            return Waiting({})
        return Waiting({p: partial(self.keep, b) for b, p in self.gradients})


def _steps(recording: Recording, made_again: set[int]) -> tuple[Step, ...]:
    """The recorded stream; noted is what the recipes of some buffers run."""
    tape = recording.tape
    noted = {id(c) for b in made_again for c in recording.recipes[b].calls}
    buffers: dict[int, dict[int, int]] = {}
    for buffer in tape.buffers:
        if buffer.packs or id(buffer.calls[0]) in noted:
            buffers.setdefault(id(buffer.calls[0]), {})[buffer.position] = buffer.index
    return tuple(Step(c.function, id(c) in noted, buffers.get(id(c), {})) for c in tape.stream)


def actions_of(recording: Recording, plan: Any) -> tuple[str, ...]:
    """The labels of a plan: a point, a list of labels, or an `Answer`. Raises SpaceError where it does
    not fit."""
    graph = recording.graph
    digest = getattr(plan, "digest", "") or graph.digest
    if digest != graph.digest:
        raise SpaceError(
            f"the plan was made for another module (digest {digest}, here {graph.digest}); record this one."
        )
    labels = getattr(plan, "actions", None) or (plan["action"] if isinstance(plan, Mapping) else plan)
    if len(labels) != len(graph.saved):
        raise SpaceError(
            f"the plan decides about {len(labels)} tensors, this module saves {len(graph.saved)}: it was "
            f"made for another module."
        )
    if isinstance(plan, Mapping):  # in a point a label that a tensor does not have stands for retain
        pairs = zip(graph.saved, map(str, labels), strict=True)
        return tuple(label if t.treatment(label) is not None else RETAIN for t, label in pairs)
    return tuple(map(str, labels))


def recording_of(module: nn.Module) -> Recording:
    """The recording of a module. Raises SpaceError where there is none."""
    found = RECORDINGS.get(module)
    if found is None:
        raise SpaceError(
            f"this {type(module).__name__} was not recorded in this process; call "
            f"Adacc.from_module(module, example_batch) first."
        )
    return found
