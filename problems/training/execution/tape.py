"""What one training step of a module did: its operators, the storages they made, and when each lived.

Everything below autograd: an operator is an ATen call, a buffer is a storage (so that views count once),
a reference says which part of a buffer an operator read. A buffer is made by one operator and perhaps
changed by more, in place; replaying these on the same inputs makes the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

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
    """Part of a tensor that the step did not make."""

    shape: Geometry


@dataclass(frozen=True, eq=False)
class Call:
    """One operator of the step. sources: the tensors it read. order: its event. random: whether it drew
    random numbers."""

    function: Any
    sources: tuple[Ref | Outer, ...]
    order: int
    random: bool

    @property
    def name(self) -> str:
        """The operator's name, such as addmm."""
        return str(self.function).split(".")[1]

    @property
    def reads(self) -> tuple[int, ...]:
        """Buffers it reads."""
        return tuple(dict.fromkeys(s.buffer for s in self.sources if isinstance(s, Ref)))


@dataclass(eq=False)
class Buffer:
    """A storage of the step.

    calls: the operator that made it, then those that changed it. position: which of the first one's
    outputs. created, died: events. natural: the event at which it would have died had the backward pass
    not needed it. packs: how often it was saved inside the module. outside: saved by what follows the
    module. rewritten: changed in place after it was saved, so that plans leave it alone.
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
    rewritten: bool = False
    forward: bool = True
    readers: list[int] = field(default_factory=list)

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

    stream: the operators of the module's forward in order, views left out. asked: which parameters and inputs
    require a gradient. gradients: of each parameter whose gradient has a storage of its own, the buffer and
    the event at which it is complete. The last event is the one at which the optimiser may read them.
    """

    buffers: tuple[Buffer, ...]
    packs: tuple[Pack, ...]
    stream: tuple[Call, ...]
    asked: tuple[bool, ...]
    blocks: int
    events: int
    forward: int
    device: torch.device
    gradients: tuple[tuple[str, int, int], ...] = ()


class Recipe:
    """How to make one buffer again: calls in order, reading buffers made elsewhere (`parents`)."""

    def __init__(self, target: int, made: tuple[int, ...], buffers: tuple[Buffer, ...]) -> None:
        self.target, self.made = target, made
        calls = {id(c): c for b in made for c in buffers[b].calls}
        self.calls = tuple(sorted(calls.values(), key=lambda c: c.order))
        self.parents = tuple(
            dict.fromkeys(r for call in self.calls for r in call.reads if r not in set(made))
        )
