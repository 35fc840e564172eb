"""The storages of one pass of a module, and how each can be made again from what is still there.

A cell is one storage. A noted cell knows the operators that made and changed it *in this pass*: their
arguments, scalars and random states, where a tensor argument is a slot, part of another cell after so many
changes. Running them again on the same inputs makes the same bits. Any other cell holds its content: an
input, a parameter, or what was made by an operator that was not noted. A cell whose content went elsewhere
(coded, moved away) knows how to fetch it.

Cells point to the cells they are made of, never back, so that counting references frees everything.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from ....errors import SpaceError
from .tape import Geometry, geometry, window

LOCK = threading.RLock()
"""Held while operators run again: the random generators that they use are everyone's."""


def storage_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """The storage of an ordinary strided tensor; None for others (sparse, subclasses, lazily conjugated)."""
    if tensor.layout is not torch.strided or type(tensor) not in _ORDINARY or tensor.is_neg():
        return None
    if tensor.is_conj() or tensor.is_quantized or tensor.is_mkldnn:
        return None
    return tensor.untyped_storage()


_ORDINARY = {Tensor, torch.nn.Parameter, torch.nn.Buffer}


class Watch:
    """Part of a cell that is read again later: how it was, so that a change is noticed.

    The version counter sees every change through PyTorch. On a CPU a sum of the bit patterns (`summed`) also
    sees those through NumPy or `.data`. The tensor itself, which may carry a graph, is not kept.
    """

    __slots__ = ("shape", "storage", "tensor", "total", "version")

    def __init__(self, tensor: Tensor, summed: bool) -> None:
        self.shape, self.storage = geometry(tensor), tensor.untyped_storage()
        self.tensor = weakref.ref(tensor)
        self.version = 0 if tensor.is_inference() else tensor._version
        self.total = total(tensor) if summed else None

    def changed(self) -> bool:
        """Whether it is no longer what it was."""
        tensor = self.tensor()
        if tensor is not None and not tensor.is_inference():
            replaced = tensor.untyped_storage()._cdata != self.storage._cdata  # through `.data`
            if not replaced and tensor._version != self.version:
                return True
        if self.total is None:
            return False
        dtype, offset, size, _ = self.shape
        if self.storage.nbytes() < (offset + bool(torch.Size(size).numel())) * dtype.itemsize:
            return True  # freed, as sharded parameters are
        before, self.total = self.total, None  # asked once
        return before != total(window(self.storage, self.shape))


def total(tensor: Tensor) -> int | None:
    """The sum of a CPU tensor's bit patterns; None elsewhere, where asking would wait for the device."""
    if tensor.device.type != "cpu" or not tensor.numel():
        return None
    flat = tensor.detach()
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    size = flat.element_size()
    if flat.is_contiguous() and (flat.numel() * size) % 8 == 0 and (flat.storage_offset() * size) % 8 == 0:
        return int(flat.view(-1).view(torch.int64).sum())
    return int(flat.view(_INTEGERS[size]).sum(dtype=torch.int64))


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(slots=True, eq=False)
class Slot:
    """Part of a cell as an operator read it. cell: None for the cell that the operator changes. k: after how
    many of its calls. written: whether the operator changes it."""

    cell: Cell | None
    k: int
    shape: Geometry
    written: bool


@dataclass(slots=True, eq=False)
class Note:
    """An operator that ran in this pass. args, kwargs: with slots in the place of tensors. states: of the
    generators that it draws from (None: the default one of a device). order: its place in the pass."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    slots: tuple[Slot, ...]
    states: tuple[tuple[torch.Generator | None, Tensor], ...]
    order: int

    def forget_unused(self) -> None:
        """Right after the operator ran: forget states of generators that it did not draw from."""
        self.states = tuple((g, s) for g, s in self.states if not torch.equal(_state(g, len(s)), s))


class Cell:
    """A storage of a pass; see the module's first lines.

    buffer: of the recorded step that it stands for, or -1. calls: the operators that made and changed it;
    none where that is not known. position: its tensor among the first one's outputs. held: its content.
    code: what fetches its content. at: after how many calls content was taken. packed: whether autograd saved
    it, so that others are made from it rather than from what it is made of. read: whether a note reads it.
    least: after how many calls it is asked for, at the least.
    """

    __slots__ = (
        "__weakref__",
        "at",
        "buffer",
        "calls",
        "code",
        "held",
        "least",
        "packed",
        "position",
        "read",
        "reference",
        "watches",
    )

    def __init__(self, storage: torch.UntypedStorage, buffer: int = -1) -> None:
        self.reference = StorageWeakRef(storage)
        self.buffer = buffer
        self.calls: list[Note] = []
        self.position = 0
        self.held: torch.UntypedStorage | None = None
        self.code: Callable[[], torch.UntypedStorage] | None = None
        self.at = 0
        self.least = 1 << 30
        self.packed = self.read = False
        self.watches: list[Watch] = []

    def watch(self, tensor: Tensor, summed: bool) -> None:
        """Notice changes of a part of the cell."""
        shape = geometry(tensor)
        if not any(w.shape == shape and (w.total is not None or not summed) for w in self.watches):
            self.watches.append(Watch(tensor, summed))

    def ask(self) -> int:
        """After how many calls the content of now is taken; it will be asked for."""
        self.least = min(self.least, len(self.calls))
        return len(self.calls)

    def hold(self, storage: torch.UntypedStorage) -> None:
        """Keep the content."""
        self.held, self.at = storage, len(self.calls)

    def freeze(self) -> None:
        """Keep a copy of the content, which is about to change in place."""
        if self.held is not None and self.read:
            self.held, self.watches = self.held.clone(), []

    def ready(self, k: int) -> bool:
        """Whether the content after k calls is at hand."""
        return self.at == k and (self.held is not None or self.code is not None)

    def content(self) -> torch.UntypedStorage:
        """The content at hand. Raises SpaceError where it was changed since."""
        if self.held is None:
            assert self.code is not None
            self.held = self.code()
        for watch in self.watches:
            if watch.changed():
                size = "x".join(map(str, watch.shape[2])) or "scalar"
                raise SpaceError(
                    f"a tensor ({size} {str(watch.shape[0])[6:]}) that the plan computes from was changed or "
                    "freed between the forward and the backward pass; what is recomputed would not be what "
                    "was computed. Run backward first, or retain what is computed from it."
                )
        return self.held

    def get(self, k: int) -> torch.UntypedStorage:
        """The storage as it was after k calls, made again where it is not at hand."""
        if self.ready(k):
            return self.content()
        waiting: list[tuple[Cell, int, Recipe]] = [(self, k, Recipe(self, k))]
        while waiting:
            cell, at, recipe = waiting[-1]
            missing = [(p, n) for p, n in recipe.parents if not p.ready(n)]
            if missing:  # each before anything is made here, so that scratch does not add up
                waiting += [(p, n, Recipe(p, n)) for p, n in reversed(missing)]
                continue
            waiting.pop()
            if not cell.ready(at):
                cell.held, cell.at = recipe.run(), at
                if at == len(cell.calls) == cell.least:
                    cell.calls = []  # nothing else will be asked of them
        return self.content()


class Recipe:
    """The operators that make a cell again as it was after k calls, and the cells they start from."""

    def __init__(self, target: Cell, k: int) -> None:
        self.target = target
        need, parents = {target: k}, {}
        waiting = [target]
        while waiting:
            cell = waiting.pop()
            for note in cell.calls[: need[cell]]:
                for slot in note.slots:
                    other = slot.cell
                    if other is None or other in parents:
                        continue
                    if other in need:
                        if need[other] < slot.k:
                            need[other] = slot.k
                            waiting.append(other)
                    elif other.ready(slot.k) or other.packed or not other.calls:
                        parents[other] = slot.k
                    else:
                        need[other] = slot.k
                        waiting.append(other)
        self.parents = tuple(parents.items())
        self.need = need

    def run(self) -> torch.UntypedStorage:
        """Make the target. What is made on the way is freed after its last reader."""
        notes: dict[int, tuple[Note, list[Cell]]] = {}
        for cell, k in self.need.items():
            for note in cell.calls[:k]:
                notes.setdefault(id(note), (note, []))[1].append(cell)
        order = sorted(notes.values(), key=lambda found: found[0].order)
        last: dict[Cell, int] = {}
        for number, (note, cells) in enumerate(order):
            for used in (*(s.cell for s in note.slots), *cells):
                if used is not None:
                    last[used] = number
        ended: dict[int, list[Cell]] = {}
        for cell, number in last.items():
            if cell is not self.target:
                ended.setdefault(number, []).append(cell)
        made: dict[Cell, torch.UntypedStorage] = {}
        with again():
            for number, (note, cells) in enumerate(order):
                results = self._call(note, cells, made)
                for cell in cells:
                    if cell.calls[0] is note:
                        made[cell] = results[cell.position].untyped_storage()
                del results
                for cell in ended.get(number, ()):
                    made.pop(cell, None)
        return made[self.target]

    def _call(self, note: Note, cells: list[Cell], made: dict[Cell, torch.UntypedStorage]) -> list[Any]:
        def tensor(slot: Slot) -> Tensor:
            cell = cells[0] if slot.cell is None else slot.cell
            found = window(made[cell] if cell in made else cell.content(), slot.shape)
            return found.clone() if slot.written and slot.cell is not None else found

        args = tuple(_filled(a, tensor) for a in note.args)
        kwargs = {name: _filled(a, tensor) for name, a in note.kwargs.items()}
        if not note.states:
            return outputs(note.function(*args, **kwargs))
        with generators_at(note.states):
            return outputs(note.function(*args, **kwargs))


def _filled(argument: Any, tensor: Callable[[Slot], Tensor]) -> Any:
    if type(argument) is Slot:
        return tensor(argument)
    if type(argument) is list:
        return [_filled(a, tensor) for a in argument]
    return argument


def outputs(result: Any) -> list[Any]:
    """The tensors that an operator returned, in order."""
    return [result] if isinstance(result, Tensor) else tree_leaves(result)


class apart:
    """What runs inside is no part of a pass."""

    def __enter__(self) -> None:
        _APART.depth += 1

    def __exit__(self, *_: object) -> None:
        _APART.depth -= 1


class again(apart):
    """Operators run again: below autograd, without autocast; kernels still see that gradients are wanted."""

    def __enter__(self) -> None:
        super().__enter__()
        self.guards = (
            torch.enable_grad(),
            torch._C._AutoDispatchBelowAutograd(),
            torch._C._ExcludeDispatchKeyGuard(_AUTOCAST),
        )
        for guard in self.guards:
            guard.__enter__()

    def __exit__(self, *_: object) -> None:
        for guard in reversed(self.guards):
            guard.__exit__(None, None, None)
        super().__exit__()


class _Apart(threading.local):
    depth = 0


_APART = _Apart()
_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU) | torch._C.DispatchKeySet(
    torch._C.DispatchKey.AutocastCUDA
)


def is_apart() -> bool:
    """Whether what this thread runs is no part of a pass."""
    return _APART.depth > 0


class generators_at:
    """Random generators at recorded states inside, and back after the block."""

    def __init__(self, states: tuple[tuple[torch.Generator | None, Tensor], ...]) -> None:
        self.states = states

    def __enter__(self) -> None:
        self.before = tuple((g, _state(g, len(s))) for g, s in self.states)
        for generator, state in self.states:
            _set_state(generator, state)

    def __exit__(self, *_: object) -> None:
        for generator, state in self.before:
            _set_state(generator, state)


GPU_STATE = 16
"""Bytes of a GPU generator's state: seed and offset."""


def states_of(device: torch.device, generator: torch.Generator | None) -> Iterator[tuple[Any, Tensor]]:
    """The state of the generator that an operator on a device draws from."""
    if generator is not None:
        yield generator, generator.get_state()
    elif device.type == "cuda":
        yield None, torch.cuda.get_rng_state(device)
    else:
        yield None, torch.get_rng_state()


def _state(generator: torch.Generator | None, size: int) -> Tensor:
    if generator is not None:
        return generator.get_state()
    return torch.cuda.get_rng_state() if size == GPU_STATE else torch.get_rng_state()


def _set_state(generator: torch.Generator | None, state: Tensor) -> None:
    if generator is not None:
        generator.set_state(state)
    elif len(state) == GPU_STATE:
        torch.cuda.set_rng_state(state)
    else:
        torch.set_rng_state(state)
