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
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import PlanWarning, SpaceError
from ..actions import OFFLOAD, RECOMPUTE, RETAIN
from ..graph import GRADIENT, Graph
from .cells import LOCK, Cell, apart, storage_of
from .codecs import Codec, codec
from .places import place_of
from .recording import input_tensors
from .sums import total
from .tape import Geometry, Recipe, Ref, Tape, geometry, window
from .tracing import Step, Trace, Tracing, settle
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
            return Waiting({})  # others read gradients while the backward pass runs, to sum them
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


@dataclass(slots=True, eq=False)
class Handle:
    """What autograd keeps instead of a tensor that is coded, moved or dropped: part of a cell."""

    cell: Cell
    shape: Geometry

    def unpack(self) -> Tensor:
        """The tensor."""
        with LOCK, torch.no_grad(), apart():
            made = self.cell.compare(self.shape)
            self.cell.code = None
            return made


@dataclass(slots=True, eq=False)
class Kept:
    """What autograd keeps of a tensor that stays, as it does without a plan: a change in place is noticed."""

    tensor: Any
    version: int
    outer: Callable[[Any], Tensor] | None

    def unpack(self) -> Tensor:
        """The tensor."""
        if self.outer is not None:
            return self.outer(self.tensor)
        tensor: Tensor = self.tensor
        if not tensor.is_inference() and tensor._version != self.version:
            size = "x".join(map(str, tensor.shape)) or "scalar"
            raise SpaceError(
                f"a tensor ({size} {str(tensor.dtype)[6:]}) was changed in place after it was saved; the "
                "backward pass needs it as it was."
            )
        return tensor


class Pass:
    """One forward pass of the module: what autograd saves in it becomes handles."""

    def __init__(self, program: Program, inputs: Sequence[Tensor], follows: bool) -> None:
        self.program = program
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
        self.outer: tuple[Any, Any] | None = hooks
        self.trace = Trace(program.steps, program.follows and program.lossy)
        self.count, self.matches = 0, True
        self.totals: dict[Cell, int | None] = {}
        self.mode = Tracing(self.trace) if follows else None
        if follows:
            self.trace.enter(inputs)
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, unpack)

    def enter(self) -> None:
        """The forward pass begins."""
        self.hooks.__enter__()
        if self.mode is not None:
            self.mode.__enter__()

    def leave(self, finished: bool) -> None:
        """The forward pass is over. finished: without an exception."""
        program, trace = self.program, self.trace
        follows = self.mode is not None
        if self.mode is not None:
            self.mode.__exit__(None, None, None)
        self.hooks.__exit__(None, None, None)
        del self.hooks, self.mode  # they point back
        trace.leave()
        self.totals = {}
        if not finished:
            return
        if not follows:
            if not self.matches or self.count < len(program.entries):
                program.depart(f"saved other tensors than the {len(program.entries)} of the recorded step")
        elif trace.departed is not None:
            program.depart(f"ran {_name(trace.departed)} as operator {trace.place + 1}{self._expected()}")
        elif trace.place < len(trace.steps):
            program.depart(f"stopped after {trace.place} of the {len(trace.steps)} recorded operators")

    def _expected(self) -> str:
        trace = self.trace
        if trace.place == len(trace.steps):
            return ", after the last of the recorded step"
        return f" where {_name(trace.steps[trace.place].function)} was recorded"

    def pack(self, tensor: Tensor) -> Any:
        """What autograd keeps instead of a tensor."""
        storage = storage_of(tensor)
        if storage is None:
            self.count += 1
            return self.stays(tensor)
        cell = self.trace.known(storage) if self.mode is not None else self._counted(tensor, storage)
        if cell is None:
            return self.stays(tensor)
        settle(cell)
        if self.program.look is not None:
            self.program.look(tensor, cell)
        label = self.program.label(cell.buffer)
        if label == RETAIN:
            if cell.calls and cell.held is None:
                cell.held = storage
            if cell.held is not None:
                cell.watch(tensor.detach(), self.trace.summed)
            cell.packed = True
            return self.stays(tensor)
        if label == RECOMPUTE:
            if not cell.calls:
                return self.stays(tensor)
            cell.note(tensor)
        elif not (cell.packed and cell.ready):
            with torch.no_grad(), apart():
                code = None if cell.packed else self.program.keep(cell.buffer, tensor)
            if code is None:
                cell.buffer = -1
                return self.pack_again(tensor)
            cell.code, cell.held, cell.watches = code, None, []
            cell.exact = self.program.is_exact(cell.buffer)
        cell.packed = True
        return Handle(cell, geometry(tensor))

    def pack_again(self, tensor: Tensor) -> Any:
        """Keep a tensor that its plan's codec does not take."""
        storage = tensor.untyped_storage()
        cell = self.trace.known(storage)
        if cell is not None and (cell.read or cell.calls):
            cell.held, cell.watches = storage, []
            cell.watch(tensor.detach(), self.trace.summed)
            cell.packed = True
        return self.stays(tensor)

    def stays(self, tensor: Tensor) -> Any:
        """Keep a tensor as it is, by way of the hooks that were there before."""
        if self.outer is not None:
            return Kept(self.outer[0](tensor), 0, self.outer[1])
        kept = tensor if tensor.is_leaf else tensor.detach()
        return Kept(kept, 0 if kept.is_inference() else kept._version, None)

    def _counted(self, tensor: Tensor, storage: torch.UntypedStorage) -> Cell | None:
        """Where operators are not followed: the cell that the next recorded saved tensor stands for."""
        entries = self.program.entries
        source = entries[self.count] if self.count < len(entries) else None
        self.count += 1
        shape = None if source is None else source.shape
        if shape is None or shape[0] != tensor.dtype or len(shape[2]) != tensor.dim():
            self.matches = False
        if not self.matches or not isinstance(source, Ref) or self.program.label(source.buffer) == RETAIN:
            return None
        cell = self.trace.known(storage)
        repeated = len(self.program.tape.buffers[source.buffer].packs) > 1
        if cell is None:
            cell = self.trace.cell(storage, source.buffer)
            if repeated:
                self.totals[cell] = _whole(storage)
        elif cell.buffer != source.buffer or self.totals.get(cell, 0) != _whole(storage):
            return None
        return cell


def _whole(storage: torch.UntypedStorage) -> int:
    """The sum of a storage's bit patterns, to see whether it was written again."""
    flat = window(storage, (torch.uint8, 0, (storage.nbytes(),), (1,)))
    found = total(flat)
    return int(flat.sum(dtype=torch.int64)) if found is None else found


def _name(function: Any) -> str:
    return str(function).removeprefix("aten.").removesuffix(".default")


def unpack(packed: Handle | Kept) -> Tensor:
    """The tensor that autograd asks for."""
    return packed.unpack()


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


__all__ = ["RECORDINGS", "Program", "Recording", "applied", "apply", "recording_of"]
