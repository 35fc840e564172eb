"""A plan carried out on an unmodified module, through the hooks that autograd offers for saved tensors.

A tensor that autograd saves becomes a handle on a box, one box a storage. A box holds the storage, a
code, the place it was moved to, or how to make it again from other boxes; it lives as long as a handle
or another box needs it, so that memory is freed by reference counting alone, as without a plan. What is
recomputed runs the recorded operators on the same inputs: the same bits.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import SpaceError
from ..actions import OFFLOAD, RECOMPUTE, RETAIN
from ..graph import GRADIENT, Graph
from .codecs import Codec, codec
from .places import place_of
from .recording import input_tensors
from .tape import Outer, Recipe, Ref, Tape, generator_state, geometry, window
from .waiting import Waiting


@dataclass(frozen=True, eq=False)
class Recording:
    """A module's tape, the graph made of it, and recipes by buffer."""

    tape: Tape
    graph: Graph
    recipes: Mapping[int, Recipe]


RECORDINGS: weakref.WeakKeyDictionary[nn.Module, Recording] = weakref.WeakKeyDictionary()
"""Modules that were recorded in this process."""


CHANGED = "{} was changed in place after it was saved; the backward pass needs it as it was."


class Program:
    """A plan for a recorded module, ready to run."""

    def __init__(
        self, module: nn.Module, recording: Recording, actions: Sequence[str], stochastic: bool = False
    ) -> None:
        self.tape, self.recording = recording.tape, recording
        tensors = recording.graph.saved
        tape = self.tape
        named = dict([*module.named_parameters(), *module.named_buffers()])
        self.outer = {"parameter": [named[n] for n in tape.parameters], "constant": list(tape.constants)}
        self.action: dict[int, str] = {b.index: RETAIN for b in tape.buffers if b.packs}
        self.codecs: dict[int, Codec] = {}
        self.gradients: list[tuple[int, nn.Parameter]] = []
        for tensor, label in zip(tensors, actions, strict=True):
            treatment = tensor.treatment(label)
            if treatment is None:
                why = (
                    tensor.refused
                    if label == RECOMPUTE
                    else f"it holds {tape.buffers[tensor.buffer].shape[0]}"
                )
                raise SpaceError(f"tensor '{tensor.name}' cannot be treated by '{label}': {why}.")
            self.action[tensor.buffer] = label
            if treatment.codec:
                self.codecs[tensor.buffer] = codec(treatment.codec, tensor.width, stochastic)
            if tensor.content == GRADIENT and label != RETAIN:
                self.gradients.append((tensor.buffer, named[tensor.path]))
        dropped = [b for b, label in self.action.items() if label == RECOMPUTE]
        self.recipes = {b: recording.recipes[b] for b in dropped}
        self.parent = {p for recipe in self.recipes.values() for p in recipe.parents}
        self.snapshots = {call.packs for recipe in self.recipes.values() for call in recipe.random}
        self.entries = [pack.source for pack in tape.packs]
        # nothing is done with these, and nothing is made from them
        self.plain = [
            isinstance(e, Outer) or (self.action[e.buffer] == RETAIN and e.buffer not in self.parent)
            for e in self.entries
        ]
        self.place = place_of(module, tape.device) if OFFLOAD in self.action.values() else None
        self.name = type(module).__name__

    def keep(self, buffer: int, storage: torch.UntypedStorage) -> Any:
        """Code a buffer, or begin to move it away."""
        if buffer not in self.codecs:
            assert self.place is not None
            return self.place.put(storage)
        made = self.tape.buffers[buffer]
        dtype = made.shape[0]
        flat = window(storage, (dtype, 0, (made.size // dtype.itemsize,), (1,)))
        return self.codecs[buffer].encode(flat)

    def fetch(self, buffer: int, kept: Any) -> torch.UntypedStorage:
        """The storage that `keep` was given."""
        if buffer not in self.codecs:
            assert self.place is not None
            return self.place.get(kept)
        return self.codecs[buffer].decode(kept).untyped_storage()

    def waiting(self) -> Waiting:
        """What the plan does with gradients."""
        return Waiting({p: (partial(self.keep, b), partial(self.fetch, b)) for b, p in self.gradients})


class _Box:
    """What is known of one buffer in one pass; see the module's first lines."""

    __slots__ = (
        "__weakref__",
        "alias",
        "buffer",
        "code",
        "moved",
        "parents",
        "run",
        "states",
        "storage",
        "version",
    )

    def __init__(self, run: _Pass, buffer: int) -> None:
        self.run, self.buffer = run, buffer
        self.storage: torch.UntypedStorage | None = None
        self.alias: Tensor | None = None
        self.version = 0
        self.code: Any = None
        self.moved: Any = None
        self.states: dict[int, Tensor] = {}
        self.parents: dict[int, _Box] | None = None

    def fill(self, tensor: Tensor) -> None:
        """Take the buffer in, as the plan says."""
        program, buffer = self.run.program, self.buffer
        label = program.action[buffer]
        if label == RETAIN:
            self.alias, self.version = tensor.detach(), tensor._version
            self.storage = tensor.untyped_storage()
        elif label == OFFLOAD:
            self.moved = program.keep(buffer, tensor.untyped_storage())
        elif label == RECOMPUTE:
            recipe = program.recipes[buffer]
            self.parents = {p: self.run.box(p) for p in recipe.parents}
            self.states = {call.packs: self.run.states[call.packs] for call in recipe.random}
        else:
            self.code = program.keep(buffer, tensor.untyped_storage())

    def get(self, own: bool = False) -> torch.UntypedStorage:
        """The buffer's storage, made again where it is not there. own: asked for by autograd itself."""
        if self.storage is None:
            with torch.no_grad():
                self.storage = self._make()
        elif self.alias is not None and self.alias._version != self.version:
            name = self.run.program.tape.buffers[self.buffer]
            raise SpaceError(CHANGED.format(f"a tensor of '{name.path}' ({name.producer})"))
        if own:
            self.code = self.moved = None
        return self.storage

    def _make(self) -> torch.UntypedStorage:
        program = self.run.program
        if self.code is not None:
            return program.fetch(self.buffer, self.code)
        if self.moved is not None:
            return program.fetch(self.buffer, self.moved)
        if self.parents is None:
            raise SpaceError(
                f"{program.name} did not save what a recomputed tensor needs; record the module again."
            )
        parents, states = self.parents, self.states
        for parent in parents.values():  # each before anything is made here, so that scratch does not add up
            parent.get()

        def fetch(leaf: Ref | Outer) -> Tensor:
            if isinstance(leaf, Ref):
                return window(parents[leaf.buffer].get(), leaf.shape)
            return self.run.outer(leaf)

        made = program.recipes[self.buffer].run(fetch, lambda call: states[call.packs])
        self.parents, self.states = None, {}
        return made


class _Pass:
    """One forward pass of the module and the backward pass that follows it."""

    def __init__(self, program: Program, inputs: list[Tensor]) -> None:
        self.program, self.inputs = program, inputs
        self.boxes: dict[int, weakref.ref[_Box]] = {}
        self.states: dict[int, Tensor] = {}
        self.count = 0
        self.versions = [p._version for p in program.outer["parameter"]]
        self.snapshot()

    def snapshot(self) -> None:
        """Note the random generator's state where something drawn next will be drawn again."""
        if self.count in self.program.snapshots:
            self.states[self.count] = generator_state(self.program.tape.device)

    def box(self, buffer: int) -> _Box:
        """The box of a buffer, a new one where there is none."""
        found = self.boxes[buffer]() if buffer in self.boxes else None
        if found is None:
            found = _Box(self, buffer)
            self.boxes[buffer] = weakref.ref(found)
        return found

    def outer(self, leaf: Outer) -> Tensor:
        """A parameter, input or constant as a recorded operator read it."""
        if leaf.kind == "input":
            tensor = self.inputs[leaf.index]
        else:
            tensor = self.program.outer[leaf.kind][leaf.index]
            if leaf.kind == "parameter" and tensor._version != self.versions[leaf.index]:
                raise SpaceError(
                    f"parameter '{self.program.tape.parameters[leaf.index]}' was changed between forward "
                    f"and backward; "
                    "what is recomputed would not be what was computed."
                )
        tensor = tensor.detach()
        return tensor if geometry(tensor) == leaf.shape else window(tensor.untyped_storage(), leaf.shape)

    def pack(self, tensor: Tensor) -> Any:
        """What autograd keeps instead of a tensor."""
        program = self.program
        if self.count >= len(program.entries):
            raise SpaceError(
                self.mismatch(f"saves more than the {len(program.entries)} tensors of the recorded step")
            )
        source = program.entries[self.count]
        if source.shape[2] != tensor.shape or source.shape[0] != tensor.dtype:
            raise SpaceError(
                self.mismatch(
                    f"saved {tuple(tensor.shape)} {tensor.dtype} as its tensor {self.count + 1} where "
                    f"{source.shape[2]} {source.shape[0]} was recorded"
                )
            )
        self.count += 1
        if program.snapshots:
            self.snapshot()
        if program.plain[self.count - 1]:
            return tensor, tensor._version
        assert isinstance(source, Ref)
        box = self.box(source.buffer)
        if box.storage is None and box.code is None and box.moved is None and box.parents is None:
            box.fill(tensor)
        return box, source.shape if geometry(tensor) == source.shape else geometry(tensor)

    def mismatch(self, what: str) -> str:
        """A sentence for a pass that is not the recorded one."""
        return (
            f"{self.program.name} {what}; the plan is for a step of the recorded shapes and mode. "
            "Record it again."
        )


def unpack(packed: Any) -> Tensor:
    """The tensor that autograd asks for."""
    if isinstance(packed, Tensor):
        return packed
    box, shape = packed
    if isinstance(box, Tensor):
        if box._version != shape:
            raise SpaceError(CHANGED.format("a tensor or parameter"))
        return box
    return window(box.get(own=True), shape)


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


@contextlib.contextmanager
def applied(module: nn.Module, program: Program) -> Iterator[Program]:
    """Run a program: every forward pass of the module inside saves its tensors as the program says."""
    current: list[_Pass] = []

    def enter(_: Any, args: Any, kwargs: Any) -> None:
        current.append(_Pass(program, input_tensors(args, kwargs)))

    def leave(*_: Any) -> None:
        run = current.pop()
        run.states = {}
        if run.count not in {0, len(program.entries)}:
            raise SpaceError(
                run.mismatch(f"saved {run.count} tensors where {len(program.entries)} were recorded")
            )

    def pack(tensor: Tensor) -> Any:
        return current[-1].pack(tensor) if current else tensor

    handles = [
        module.register_forward_pre_hook(enter, with_kwargs=True),
        module.register_forward_hook(leave, always_call=False),
    ]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack), program.waiting().watching():
            yield program
    finally:
        for handle in handles:
            handle.remove()


def apply(
    module: nn.Module, plan: Any, *, stochastic: bool = False
) -> contextlib.AbstractContextManager[Program]:
    """Carry out a plan on a recorded module: `with apply(module, plan): loss = module(x); loss.backward()`.

    plan: the point of a solution, or its labels. stochastic: codecs round at random, so that gradients of
    linear layers have no bias. Raises SpaceError where the plan or the module is another.
    """
    recording = recording_of(module)
    return applied(module, Program(module, recording, actions_of(recording, plan), stochastic))


__all__ = ["RECORDINGS", "Program", "Recording", "applied", "apply", "recording_of"]
