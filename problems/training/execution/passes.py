"""One forward pass by a program: what autograd saves in it becomes handles on cells.

A tensor is dropped only where this pass's notes say how to make it again; what the pass has that was not
recorded is kept as it is, by way of the hooks that were there before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....errors import SpaceError
from ..actions import RECOMPUTE, RETAIN
from .cells import LOCK, Cell, apart, storage_of
from .program import Program
from .sums import total
from .tape import Geometry, Ref, geometry, window
from .tracing import Trace, Tracing, settle


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
        if shape is None or shape[0] != tensor.dtype or not _alike(shape[2], tensor.shape):
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


def _alike(recorded: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether sizes differ in the batch at most: as many, and the last the same."""
    return len(recorded) == len(sizes) and tuple(recorded[-1:]) == tuple(sizes[-1:])


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
