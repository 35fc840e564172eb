"""The contents of the storages of one pass of a module, and how each can be made again from what is there.

A cell is one content of a storage: a change in place after anybody read it begins a new cell, made from the
old one, as in static single assignment. A noted cell knows the operators that made and changed it *in this
pass*: their arguments, scalars and random states, where a tensor argument is a slot, part of another cell.
Any other cell holds its content: an input, a parameter, or what was made by an operator that was not noted.
A cell whose content went elsewhere (coded, moved away) knows how to fetch it.

Running operators again on the same inputs makes the same bits. On a CPU that is not trusted but compared: a
sum of the bits of what autograd saved is kept, and asked again of what is made, so that whatever an operator
depends on besides its arguments, and whatever changed them unseen, ends in a sentence.

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
from .sums import fits, total
from .tape import Geometry, geometry, window

LOCK = threading.RLock()
"""Held while operators run again: the random generators that they use are everyone's."""


def storage_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """The storage of an ordinary strided tensor; None for others (sparse, subclasses, lazily conjugated)."""
    if tensor.layout is not torch.strided or type(tensor) not in _ORDINARY or tensor.is_neg():
        return None
    if tensor.is_conj() or tensor.is_quantized or tensor.is_mkldnn:
        return None
    try:
        return tensor.untyped_storage()
    except NotImplementedError:  # inside a transform of torch.func
        return None


_ORDINARY = {Tensor, torch.nn.Parameter, torch.nn.Buffer}


class Watch:
    """Part of a cell that is read again later: how it was, so that a change is noticed.

    By its bits where they are summed, else by its version counter, which sees every change through PyTorch.
    The tensor is kept where no graph hangs on it.
    """

    __slots__ = ("shape", "storage", "tensor", "total", "version")

    def __init__(self, tensor: Tensor, summed: bool) -> None:
        self.shape, self.storage = geometry(tensor), tensor.untyped_storage()
        self.tensor = weakref.ref(tensor) if tensor.requires_grad else lambda: tensor
        self.version = 0 if tensor.is_inference() else tensor._version
        self.total = total(tensor) if summed else None

    def changed(self) -> bool:
        """Whether it is no longer what it was."""
        if not fits(self.storage, self.shape):
            return True
        if self.total is not None:
            before, self.total = self.total, None  # asked once
            return before != total(window(self.storage, self.shape))
        tensor = self.tensor()
        if tensor is None or tensor.is_inference():
            return False
        replaced = tensor.untyped_storage()._cdata != self.storage._cdata  # through `.data`
        return not replaced and tensor._version != self.version


@dataclass(slots=True, eq=False)
class Slot:
    """Part of a cell as an operator read it. cell: None for the cell that the operator changes. written:
    whether the operator changes it."""

    cell: Cell | None
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
    """One content of a storage; see the module's first lines.

    buffer: of the recorded step that it stands for, or -1. calls: the operators that made and changed it;
    none where that is not known. position: its tensor among the first one's outputs. held: its content.
    code: what fetches its content. exact: whether that is the content, to the bit. packed: whether autograd
    saved it, so that others are made from it rather than from what it is made of. read: whether a note reads
    it. sums: of the parts that are made again, as they were.
    """

    __slots__ = (
        "__weakref__",
        "buffer",
        "calls",
        "code",
        "exact",
        "held",
        "packed",
        "position",
        "read",
        "reference",
        "sums",
        "watches",
    )

    def __init__(self, storage: torch.UntypedStorage, buffer: int = -1) -> None:
        self.reference = StorageWeakRef(storage)
        self.buffer = buffer
        self.calls: list[Note] = []
        self.position = 0
        self.held: torch.UntypedStorage | None = None
        self.code: Callable[[], torch.UntypedStorage] | None = None
        self.exact = True
        self.packed = self.read = False
        self.sums: dict[Geometry, int | None] = {}
        self.watches: list[Watch] = []

    def watch(self, tensor: Tensor, summed: bool) -> None:
        """Notice changes of a part of the cell: by its bits (`summed`), or its version counter on a device
        where what is made from it is not compared."""
        if summed or tensor.device.type != "cpu":
            shape = geometry(tensor)
            if not any(w.shape == shape for w in self.watches):
                self.watches.append(Watch(tensor, summed))

    def freeze(self) -> None:
        """Keep a copy of the content, which is about to change in place."""
        if self.held is not None and self.read:
            self.held, self.watches = self.held.clone(), []

    @property
    def ready(self) -> bool:
        """Whether the content is at hand."""
        return self.held is not None or self.code is not None

    def content(self) -> torch.UntypedStorage:
        """The content at hand. Raises SpaceError where it was changed since."""
        if self.held is None:
            assert self.code is not None
            self.held = self.code()
        for watch in self.watches:
            if watch.changed():
                raise changed(watch.shape)
        return self.held

    def part(self, shape: Geometry) -> Tensor:
        """A part of the content at hand. Raises SpaceError where it was changed or freed since."""
        storage = self.content()
        if not fits(storage, shape):
            raise changed(shape)
        return window(storage, shape)

    def get(self) -> torch.UntypedStorage:
        """The content, made again where it is not at hand."""
        waiting = [] if self.ready else [(self, Recipe(self))]
        while waiting:
            cell, recipe = waiting[-1]
            missing = [p for p in recipe.parents if not p.ready]
            if missing:  # each before anything is made here, so that scratch does not add up
                waiting += [(p, Recipe(p)) for p in reversed(missing)]
                continue
            waiting.pop()
            if not cell.ready:
                cell.held, cell.calls = recipe.run(), []
                cell.exact = all(p.exact for p in recipe.parents)
        return self.content()

    def note(self, tensor: Tensor) -> None:
        """Remember how a part is that will be made again. Bytes are reserves of fused layers, which hold
        memory that nobody wrote."""
        shape = geometry(tensor)
        if shape not in self.sums and tensor.dtype is not torch.uint8:
            with torch.no_grad(), apart():
                self.sums[shape] = total(tensor)

    def compare(self, shape: Geometry) -> Tensor:
        """A part made again. Raises SpaceError where it is not what it was."""
        made = window(self.get(), shape)
        before = self.sums.get(shape)
        if before is not None:
            if self.exact and total(made) != before:
                raise changed(shape)
            del self.sums[shape]  # compared once
        return made


def changed(shape: Geometry) -> SpaceError:
    """Why a tensor cannot be made again."""
    size = "x".join(map(str, shape[2])) or "scalar"
    return SpaceError(
        f"a tensor ({size} {str(shape[0])[6:]}) cannot be computed again as it was: what it is computed from "
        "was changed or freed between the forward and the backward pass, or by something that PyTorch "
        "does not see, such as NumPy. Run backward first, or retain this tensor."
    )


class Recipe:
    """The operators that make a cell again, the cells on the way (`need`), and those to start from."""

    def __init__(self, target: Cell) -> None:
        self.target = target
        need, parents = {target: None}, dict[Cell, None]()
        waiting = [target]
        while waiting:
            for note in waiting.pop().calls:
                for slot in note.slots:
                    other = slot.cell
                    if other is None or other in need or other in parents:
                        continue
                    if other.ready or other.packed or not other.calls:
                        parents[other] = None
                    else:
                        need[other] = None
                        waiting.append(other)
        self.parents, self.need = tuple(parents), tuple(need)

    def run(self) -> torch.UntypedStorage:
        """Make the target. What is made on the way is freed after its last reader."""
        notes: dict[int, tuple[Note, list[Cell]]] = {}
        for cell in self.need:
            for note in cell.calls:
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
                source = note.slots[0].cell if note.function is copied else None
                if source in made and last[source] == number:  # nobody else reads it
                    made[cells[0]] = made.pop(source)
                    continue
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
            found = window(made[cell], slot.shape) if cell in made else cell.part(slot.shape)
            return found.clone() if slot.written and slot.cell is not None else found

        args = tuple(_filled(a, tensor) for a in note.args)
        kwargs = {name: _filled(a, tensor) for name, a in note.kwargs.items()}
        if not note.states:
            return outputs(note.function(*args, **kwargs))
        with generators_at(note.states):
            return outputs(note.function(*args, **kwargs))


def copied(tensor: Tensor) -> Tensor:
    """What makes the new content of a storage that is changed after it was read, before the change."""
    return tensor.clone()


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
