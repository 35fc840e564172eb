"""What one training step of a module did: its operators, the storages they made, and when each lived.

Everything below autograd: an operator is an ATen call, a buffer is a storage (so that views count once),
a reference says which part of a buffer an operator read. A buffer is made by one operator and perhaps
changed by more, in place; replaying these on the same inputs makes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_unflatten

Geometry = tuple[torch.dtype, int, tuple[int, ...], tuple[int, ...]]


def geometry(tensor: Tensor) -> Geometry:
    """Type, offset, sizes and strides of a tensor in its storage."""
    return tensor.dtype, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def window(storage: torch.UntypedStorage, shape: Geometry) -> Tensor:
    """The tensor of a geometry in a storage."""
    dtype, offset, size, stride = shape
    made = torch.empty(0, dtype=dtype, device=storage.device)
    return made.set_(storage, offset, size, stride)


@dataclass(frozen=True)
class Ref:
    """Part of a buffer of the tape."""

    buffer: int
    shape: Geometry


@dataclass(frozen=True)
class Outer:
    """Part of a tensor that the step did not make. kind: parameter, input or constant."""

    kind: str
    index: int
    shape: Geometry


@dataclass(frozen=True, eq=False)
class Call:
    """One operator that makes or changes buffers. order: its event. packs: tensors saved before it."""

    function: Any
    leaves: tuple[Any, ...]
    spec: Any
    order: int
    random: bool
    packs: int

    @property
    def name(self) -> str:
        """The operator's name, such as addmm."""
        return str(self.function).split(".")[1]

    @property
    def reads(self) -> tuple[int, ...]:
        """Buffers it reads."""
        return tuple(dict.fromkeys(leaf.buffer for leaf in self.leaves if isinstance(leaf, Ref)))


@dataclass(eq=False)
class Buffer:
    """A storage of the step.

    calls: the operator that made it, then those that changed it. position: which of the first one's
    outputs. created, died: events. natural: the event at which it would have died had the backward pass
    not needed it. packs: how often it was saved inside the module. outside: saved by what follows the
    module. changed: event of the last change.
    """

    index: int
    size: int
    shape: Geometry
    calls: list[Call]
    position: int
    path: str
    block: int
    created: int
    died: int = -1
    natural: int = -1
    packs: list[int] = field(default_factory=list)
    outside: bool = False
    block_output: bool = False
    forward: bool = True
    readers: list[int] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """The event after which its content is final."""
        return self.calls[-1].order

    @property
    def dense(self) -> bool:
        """Whether its first tensor fills the storage."""
        dtype, offset, size, _ = self.shape
        return offset == 0 and torch.Size(size).numel() * dtype.itemsize == self.size

    @property
    def producer(self) -> str:
        """The operators that make it."""
        return "+".join(call.name for call in self.calls)


@dataclass(frozen=True, eq=False)
class Pack:
    """One tensor that autograd saved. unpacked: the event at which the backward pass asked for it."""

    source: Ref | Outer
    event: int
    unpacked: int


@dataclass(frozen=True, eq=False)
class Tape:
    """A recorded step. events: how many. forward: those of the forward pass.

    gradients: of each parameter whose gradient has a storage of its own, the buffer and the event at which
    it is complete. The last event is the one at which the optimiser may read them.
    """

    buffers: tuple[Buffer, ...]
    packs: tuple[Pack, ...]
    parameters: tuple[str, ...]
    constants: tuple[Tensor, ...]
    inputs: int
    blocks: int
    events: int
    forward: int
    device: torch.device
    gradients: tuple[tuple[str, int, int], ...] = ()


class Recipe:
    """How to make one buffer again: calls in order, reading buffers made elsewhere (`parents`).

    Scratch buffers are dropped after their last reader.
    """

    def __init__(self, target: int, made: tuple[int, ...], buffers: tuple[Buffer, ...]) -> None:
        self.target, self.made = target, made
        calls = {id(c): c for b in made for c in buffers[b].calls}
        self.calls = tuple(sorted(calls.values(), key=lambda c: c.order))
        self.parents = tuple(
            dict.fromkeys(r for call in self.calls for r in call.reads if r not in set(made))
        )
        self.steps: list[tuple[Call, list[tuple[int, Ref | Outer]], list[tuple[int, int]], list[int]]] = []
        last = {r: n for n, call in enumerate(self.calls) for r in call.reads}
        for number, call in enumerate(self.calls):
            slots = [(i, leaf) for i, leaf in enumerate(call.leaves) if isinstance(leaf, Ref | Outer)]
            outputs = [(buffers[b].position, b) for b in made if buffers[b].calls[0] is call]
            ended = [b for b in made if b != target and last.get(b, -1) == number]
            self.steps.append((call, slots, outputs, ended))

    @property
    def random(self) -> tuple[Call, ...]:
        """Calls that draw random numbers."""
        return tuple(call for call in self.calls if call.random)

    def run(
        self, fetch: Callable[[Ref | Outer], Tensor], state: Callable[[Call], Tensor]
    ) -> torch.UntypedStorage:
        """Make the buffer. fetch: a tensor made elsewhere. state: the generator's before a random call."""
        made: dict[int, torch.UntypedStorage] = {}
        for call, slots, outputs, ended in self.steps:
            leaves = list(call.leaves)
            for place, leaf in slots:
                inner = isinstance(leaf, Ref) and leaf.buffer in made
                leaves[place] = window(made[leaf.buffer], leaf.shape) if inner else fetch(leaf)  # type: ignore[union-attr]
            args, kwargs = tree_unflatten(leaves, call.spec)
            if call.random:
                with generator_at(state(call)):
                    result = call.function(*args, **kwargs)
            else:
                result = call.function(*args, **kwargs)
            if outputs:
                results = tree_leaves(result)
                for position, buffer in outputs:
                    made[buffer] = results[position].untyped_storage()
                del results
            del result, leaves, args, kwargs
            for buffer in ended:
                del made[buffer]
        return made.pop(self.target)


class generator_at:
    """The CPU's or a GPU's default generator at a recorded state, and back after the block."""

    def __init__(self, state: Tensor) -> None:
        self.state = state

    def __enter__(self) -> None:
        self.before = generator_state(len(self.state))
        _set_state(self.state)

    def __exit__(self, *_: object) -> None:
        _set_state(self.before)


GPU_STATE = 16
"""Bytes of a GPU generator's state: seed and offset."""


def generator_state(size: int | torch.device) -> Tensor:
    """State of the default generator of a device (or of the device whose states have `size` bytes)."""
    gpu = size == GPU_STATE if isinstance(size, int) else size.type == "cuda"
    return torch.cuda.get_rng_state() if gpu else torch.get_rng_state()


def _set_state(state: Tensor) -> None:
    (torch.cuda.set_rng_state if len(state) == GPU_STATE else torch.set_rng_state)(state)
