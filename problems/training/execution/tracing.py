"""Follow one pass of a module, operator by operator, beside the recorded one.

The recorded stream of operators is only a hint: which operators to note, and which recorded buffer a new
storage stands for. Notes hold this pass's own arguments. Where the stream departs from the recorded one,
nothing more is noted, and what follows has no hint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .cells import Cell, Note, Slot, copied, is_apart, outputs, states_of, storage_of
from .tape import Geometry, geometry, window

HIDDEN = ("batch_norm", "_cudnn_rnn", "_fused_moving_avg", "set_", "resize", "_thnn_fused", "lift_fresh_copy")
"""Words in names of operators that keep or change state which their schema does not tell."""
EMPTY = frozenset(
    {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"}
)


@dataclass(frozen=True)
class Facts:
    """What an operator's schema says. written: places and names of the arguments that it changes. view:
    whether all it returns are parts of its arguments; makes: whether it returns anything else. pure: whether
    running it again with the same arguments and random state does the same."""

    view: bool
    makes: bool
    pure: bool
    random: bool
    empty: bool
    written: tuple[tuple[int, str], ...]

    @cached_property
    def places(self) -> frozenset[int]:
        """Places of the arguments that it changes."""
        return frozenset(place for place, _ in self.written)

    @cached_property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(name for _, name in self.written)


@cache
def facts(function: Any) -> Facts:
    """The facts of an operator."""
    schema = function._schema
    written = tuple(
        (i, a.name)
        for i, a in enumerate(schema.arguments)
        if a.alias_info is not None and a.alias_info.is_write
    )
    returned = [r.alias_info for r in schema.returns]
    view = bool(returned) and not written and all(a is not None and not a.is_write for a in returned)
    name = schema.name.partition("::")[2]
    return Facts(
        view,
        any(a is None for a in returned),
        schema.name.startswith("aten::") and not any(word in name for word in HIDDEN),
        torch.Tag.nondeterministic_seeded in function.tags,
        name in EMPTY,
        written,
    )


@dataclass(frozen=True)
class Step:
    """One operator of the recorded stream: whether to note it, and the buffers it makes, by output."""

    function: Any
    noted: bool
    buffers: Mapping[int, int]


class Opaque(Exception):
    """An argument that is no ordinary tensor, so that its operator cannot be noted."""


class Trace:
    """The cells of one pass while its forward runs. summed: whether what others are made from is watched by
    its bits, where what is made is not compared because something coded goes into it."""

    def __init__(self, steps: Sequence[Step], summed: bool = False) -> None:
        self.steps, self.summed = steps, summed
        self.casts = casts_kept()
        self.cells: dict[int, Cell] = {}
        self.place = 0
        self.departed: Any = None
        self.unwatched: dict[Cell, Geometry] = {}

    # --- cells
    def known(self, storage: torch.UntypedStorage) -> Cell | None:
        """The cell of a storage, or None."""
        cell = self.cells.get(storage._cdata)
        return None if cell is None or cell.reference.expired() else cell

    def cell(self, storage: torch.UntypedStorage, buffer: int = -1) -> Cell:
        """A new cell of a storage."""
        made = self.cells[storage._cdata] = Cell(storage, buffer)
        return made

    def enter(self, tensors: Sequence[Tensor]) -> None:
        """The inputs of the pass, whose versions are watched."""
        for tensor in tensors:
            storage = storage_of(tensor)
            if storage is not None:
                cell = self.known(storage) or self.cell(storage)
                cell.held = storage
                cell.watch(tensor.detach(), self.summed)

    def leave(self) -> None:
        """The forward pass is over: what is held from it is watched by its sum."""
        for cell, shape in self.unwatched.items():
            if cell.held is not None and not cell.watches:
                cell.watch(window(cell.held, shape), self.summed)
        self.unwatched, self.cells = {}, {}

    # --- operators
    def __call__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator and take note of it."""
        told = facts(function)
        if told.view or (self.casts and is_kept_cast(function, args)):
            return function(*args, **kwargs)
        step = self._step(function)
        note = write = None
        if step is not None and step.noted and told.pure:
            with contextlib.suppress(Opaque):
                if told.empty:
                    note = Note(function, (), {}, (), (), self.place)
                elif told.makes:
                    note = self._note(function, args, kwargs, told, None)
            with contextlib.suppress(Opaque):
                if len(told.written) == 1:
                    write = self._note(function, args, kwargs, told, self._written(told, args, kwargs))
        changed = self._before(told, args, kwargs, write)
        result = function(*args, **kwargs)
        if told.random:
            for made in (note, write):
                if made is not None:
                    made.forget_unused()
        if changed is not None and write is not None:
            changed.calls.append(write)
        if step is not None and (note is not None or step.buffers):
            self._made(outputs(result), note, step)
        return result

    def _step(self, function: Any) -> Step | None:
        if self.departed is not None:
            return None
        if self.place < len(self.steps) and self.steps[self.place].function is function:
            self.place += 1
            return self.steps[self.place - 1]
        self.departed = function
        return None

    def _made(self, results: Sequence[Any], note: Note | None, step: Step) -> None:
        for position, tensor in enumerate(results):
            if not isinstance(tensor, Tensor):
                continue
            storage = storage_of(tensor)
            if storage is None or not storage.nbytes() or self.known(storage) is not None:
                continue
            cell = self.cell(storage, step.buffers.get(position, -1))
            if note is not None and facts(note.function).empty:
                note = empty_note(tensor, note.order)  # made from sizes, whatever it was made like
            if note is not None:
                cell.calls.append(note)
                cell.position = position

    def _note(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], told: Facts, changed: Cell | None
    ) -> Note:
        """A note of a call. changed: the cell whose change it is, else what it makes."""
        slots: list[Slot] = []
        places, names = told.places, told.names
        kept = tuple([self._noted(a, changed, i in places, slots) for i, a in enumerate(args)])
        named = {name: self._noted(a, changed, name in names, slots) for name, a in kwargs.items()}
        states: tuple[Any, ...] = ()
        if told.random:
            device = next((a.device for a in args if isinstance(a, Tensor)), torch.device("cpu"))
            states = tuple(states_of(kwargs.get("device") or device, _generator(args, kwargs)))
        return Note(function, kept, named, tuple(slots), states, self.place)

    def _noted(self, argument: Any, changed: Cell | None, written: bool, slots: list[Slot]) -> Any:
        # no closure: one that calls itself would keep the cells until the garbage collector comes
        if isinstance(argument, Tensor):
            slots.append(self._slot(argument, changed, written))
            return slots[-1]
        if isinstance(argument, list | tuple):
            return [self._noted(a, changed, written, slots) for a in argument]
        return argument

    def _slot(self, tensor: Tensor, changed: Cell | None, written: bool) -> Slot:
        storage = storage_of(tensor)
        if storage is None:
            raise Opaque
        cell = self.known(storage)
        if cell is None:
            cell = self.cell(storage)
        if cell is not changed:
            cell.read = True
        if not written:
            settle(cell)
        if not cell.calls and cell is not changed:
            if not cell.ready:
                cell.held = storage
            if cell.held is None:
                pass  # what autograd saved of it is coded or moved away
            elif tensor.is_leaf:
                cell.watch(tensor, self.summed)
            else:
                self.unwatched.setdefault(cell, geometry(tensor))
        return Slot(None if cell is changed else cell, geometry(tensor), written)

    def _written(self, told: Facts, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Cell:
        """The noted cell that a call with one changed argument changes: a new one where others read it."""
        place, name = told.written[0]
        value = args[place] if place < len(args) else kwargs.get(name)
        storage = storage_of(value) if isinstance(value, Tensor) else None
        cell = None if storage is None else self.known(storage)
        if storage is None or cell is None or not cell.calls or cell.packed:
            raise Opaque
        if cell.read:
            whole = Slot(cell, (torch.uint8, 0, (storage.nbytes(),), (1,)), False)
            fresh = self._again(cell, storage)
            fresh.calls.append(Note(copied, (whole,), {}, (whole,), (), self.place))
            return fresh
        return cell

    def _again(self, cell: Cell, storage: torch.UntypedStorage) -> Cell:
        """The cell of what a storage will hold after a change."""
        fresh = self.cell(storage, cell.buffer if not cell.packed else -1)
        fresh.reference = cell.reference
        return fresh

    def _before(
        self, told: Facts, args: tuple[Any, ...], kwargs: dict[str, Any], write: Note | None
    ) -> Cell | None:
        """Make ready for a call that changes arguments; the cell whose change is noted."""
        changed = None
        for place, name in told.written:
            value = args[place] if place < len(args) else kwargs.get(name)
            for tensor in value if isinstance(value, list | tuple) else (value,):
                storage = storage_of(tensor) if isinstance(tensor, Tensor) else None
                cell = None if storage is None else self.known(storage)
                if storage is None or cell is None:
                    continue
                if write is not None and cell.calls and not cell.packed:
                    changed = cell
                    continue
                cell.freeze()
                self._again(cell, storage)
        return changed


def empty_note(tensor: Tensor, order: int) -> Note:
    """A note of what made an empty tensor."""
    sizes = (list(tensor.shape), list(tensor.stride()))
    how = {"dtype": tensor.dtype, "device": tensor.device}
    return Note(torch.ops.aten.empty_strided.default, sizes, how, (), (), order)


def casts_kept() -> bool:
    """Whether autocast around the pass keeps casts of weights, so that passes share them."""
    if not torch.is_autocast_cache_enabled():
        return False
    return any(map(torch.is_autocast_enabled, ("cpu", "cuda")))


def is_kept_cast(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operator casts a weight, which autocast does once for many passes: no step of any."""
    if function is not torch.ops.aten._to_copy.default:
        return False
    return bool(args[0].is_leaf and args[0].requires_grad)


def settle(cell: Cell) -> None:
    """What was made empty and filled by no operator was filled by something else: it cannot be made again."""
    if len(cell.calls) == 1 and facts(cell.calls[0].function).empty:
        cell.calls = []


def _generator(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Generator | None:
    found = kwargs.get("generator")
    return found if found is not None else next((a for a in args if isinstance(a, torch.Generator)), None)


class Tracing(TorchDispatchMode):  # type: ignore[misc]
    """The dispatch mode under which the forward pass runs."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_apart():
            return func(*args, **(kwargs or {}))
        return self.trace(func, args, kwargs or {})
