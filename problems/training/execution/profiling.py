"""Numbers for a recorded module: what each treatment of each saved tensor costs here, measured.

Tensors that play the same part in repeated blocks share their numbers: the times are those of a round
through all blocks (so that caches are as cold as in a step), the gradient error that of the middle block.
The four-bit codec of a tensor is the plainest whose error is at most 1.4 times the least.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ....errors import SpaceError
from ..actions import INT4, INT8, OFFLOAD, RECOMPUTE, RETAIN
from ..graph import GRADIENT, Graph, SavedTensor, Treatment
from .cells import LOCK, Cell, Recipe, apart, storage_of
from .codecs import candidates, codec, relative_error
from .executor import applied
from .live import LiveBytes, allocated_peak
from .places import Place, place_of
from .program import RECORDINGS, Program, Recording
from .recording import (
    Loss,
    call_module,
    loss_of,
    module_digest,
    record,
    repeated_blocks,
    undisturbed,
)
from .structure import other_bytes, saved_tensors, smallest
from .tape import window

if TYPE_CHECKING:
    from ...problem import Progress

ROUNDS = 7
WORTH = 1.4
"""How much smaller an error must be for a slower codec."""
STATE = {"adam": 2, "sgd": 0}
"""Copies of the weights that the optimiser keeps."""


def clock(device: torch.device) -> float:
    """Seconds: CPU time of this thread where it does all the work, else wall time after the GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside, as cost models of the host assume, so that a thread's CPU time is all of it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def least_seconds(run: Callable[[], Any], device: torch.device, rounds: int = ROUNDS) -> float:
    """The least of a few timings, after one run that is not timed."""
    run()
    best = float("inf")
    for _ in range(rounds):
        start = clock(device)
        run()
        best = min(best, clock(device) - start)
    return best


def step(module: nn.Module, batch: Any, loss: Loss | None = None) -> float:
    """One forward and backward pass with fresh gradients; the loss."""
    for p in module.parameters():
        p.grad = None
    value = loss_of(call_module(module, batch), loss)
    value.backward()
    return float(value.detach())


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the gradients there are, by parameter, sparse ones made dense."""
    return {n: p.grad.to_dense().clone() for n, p in module.named_parameters() if p.grad is not None}


def norm(tensors: Iterable[Tensor]) -> float:
    """Square root of the sum of all squares."""
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


def distance(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> float:
    """Relative distance between two sets of gradients; infinite where one lacks what the other has, or where
    one is not a number."""
    if found.keys() != exact.keys():
        return float("inf")
    size = norm(exact.values())
    apart = norm(torch.where(found[n] == exact[n], 0.0, found[n] - exact[n]) for n in exact)
    if math.isnan(apart):
        return float("inf")
    return apart / size if size else 0.0


def bits(tensor: Tensor) -> Tensor:
    """A tensor's bit patterns, so that NaN equals itself."""
    flat = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return flat.reshape(-1).view(torch.uint8)


def groups(saved: Sequence[SavedTensor]) -> list[list[int]]:
    """Tensors that play the same part in repeated blocks, in order of the blocks."""
    found: dict[tuple[Any, ...], list[int]] = {}
    counts: dict[tuple[Any, ...], int] = {}
    for i, t in enumerate(saved):
        if t.block < 0:
            found[i,] = [i]
            continue
        part = (t.producer, t.size, t.width, t.content, bool(t.refused))
        number = counts.get((t.block, *part), 0)
        counts[t.block, *part] = number + 1
        found.setdefault((*part, number), []).append(i)
    return list(found.values())


class Profile:
    """Measures one recorded module."""

    def __init__(self, module: nn.Module, batch: Any, loss: Loss | None, recording: Recording) -> None:
        self.module, self.batch, self.loss, self.recording = module, batch, loss, recording
        self.tape, self.saved = recording.tape, recording.graph.saved
        self.device = self.tape.device
        self.cells = self._capture()
        self._repeats: dict[int, bool] = {}
        with undisturbed(module):
            torch.manual_seed(0)
            step(module, batch, loss)
            self.exact = gradients(module)
            self.norm = norm(self.exact.values())

    def _capture(self) -> dict[int, tuple[Cell, torch.UntypedStorage]]:
        """Every planned buffer of one step: its cell, and its content."""
        found: dict[int, tuple[Cell, torch.UntypedStorage]] = {}
        wanted = {t.buffer for t in self.saved}
        noted = [t.buffer for t in self.saved if not t.refused]
        program = Program(self.module, self.recording, [RETAIN] * len(self.saved), noted=noted)

        def look(tensor: Tensor, cell: Cell) -> None:
            storage = storage_of(tensor)
            if cell.buffer in wanted and storage is not None:
                found.setdefault(cell.buffer, (cell, storage))

        program.look = look
        with undisturbed(self.module), applied(self.module, program):
            torch.manual_seed(0)
            step(self.module, self.batch, self.loss)
            named = dict(self.module.named_parameters())
            for t in self.saved:
                gradient = named[t.path].grad if t.content == GRADIENT else None
                if gradient is not None:
                    storage = gradient.untyped_storage()
                    found[t.buffer] = Cell(storage, t.buffer), storage
        return found

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Tensors that can be computed again from each."""
        found: list[list[int]] = [[] for _ in self.saved]
        for i, t in enumerate(self.saved):
            if t.parents and self.repeatable(i):
                for p in t.parents:
                    found[p].append(i)
        return tuple(map(tuple, found))

    def storage(self, i: int) -> torch.UntypedStorage:
        """A saved tensor's content."""
        return self.cells[self.saved[i].buffer][1]

    def flat(self, i: int) -> Tensor:
        """A saved tensor's whole storage as a flat tensor."""
        t = self.saved[i]
        dtype = self.tape.buffers[t.buffer].shape[0]
        return window(self.storage(i), (dtype, 0, (t.size // dtype.itemsize,), (1,)))

    def again(self, i: int) -> torch.UntypedStorage:
        """A saved tensor computed again from the saved tensors that it is made of."""
        cell = self.cells[self.saved[i].buffer][0]
        with LOCK, torch.no_grad(), apart():
            return Recipe(cell).run()

    def repeatable(self, i: int) -> bool:
        """Whether a saved tensor can be computed again, to the bit."""
        if i not in self._repeats:
            self._repeats[i] = self._repeat(i)
        return self._repeats[i]

    def _repeat(self, i: int) -> bool:
        if self.saved[i].refused or not self.cells[self.saved[i].buffer][0].calls:
            return False
        made, kept = self.again(i), self.storage(i)
        whole = torch.uint8, 0, (kept.nbytes(),), (1,)
        shape = self.tape.buffers[self.saved[i].buffer].shape
        parts = (
            (shape,)
            if made.nbytes() != kept.nbytes() or not self.tape.buffers[self.saved[i].buffer].dense
            else (whole,)
        )
        return all(torch.equal(bits(window(made, s)), bits(window(kept, s))) for s in parts)

    def seconds(self, run: Callable[[int], Any], members: Sequence[int]) -> float:
        """Seconds of one run, over a round through all members."""
        with torch.no_grad():
            return least_seconds(lambda: [run(i) for i in members] and None, self.device) / len(members)

    def error(
        self, i: int, label: str, treatments: Sequence[Treatment], heirs: Collection[int] = ()
    ) -> float:
        """Relative gradient error where only tensor i is coded, and some are computed again."""
        tensors = list(self.saved)
        tensors[i] = dataclasses.replace(tensors[i], treatments=tuple(treatments))
        again = Treatment(RECOMPUTE, "", 0, 0.0, 0.0, 0, 0)
        for h in heirs:
            tensors[h] = dataclasses.replace(tensors[h], treatments=(*_retain(tensors[h]), again))
        graph = dataclasses.replace(self.recording.graph, saved=tuple(tensors))
        recording = dataclasses.replace(self.recording, graph=graph)
        actions = [RETAIN] * len(tensors)
        actions[i] = label
        for h in heirs:
            actions[h] = RECOMPUTE
        return self.measured(Program(self.module, recording, actions))

    def error_passed_on(self, i: int, label: str, treatments: Sequence[Treatment]) -> tuple[float, float]:
        """What is added to the error of tensor i coded where those made of it are computed again, and where
        all that can be made of those are too."""
        lines = [set(self.children[i])]
        while more := {c for m in lines[-1] for c in self.children[m]} - lines[-1]:
            lines.append(lines[-1] | more)
        if not lines[0]:
            return 0.0, 0.0
        own = treatments[-1].error
        first = max(self.error(i, label, treatments, lines[0]), own)
        further = max(self.error(i, label, treatments, lines[-1]), first) if len(lines) > 1 else first
        return first - own, further - first

    def measured(self, program: Program) -> float:
        """Relative gradient error of a step by a program."""
        with undisturbed(self.module), applied(self.module, program):
            torch.manual_seed(0)
            step(self.module, self.batch, self.loss)
            return distance(gradients(self.module), self.exact)

    def coded(self, members: Sequence[int], label: str) -> Treatment | None:
        """The treatment of some like tensors by a codec."""
        middle = members[len(members) // 2]
        t, x = self.saved[middle], self.flat(middle)
        item, elements = x.element_size(), x.numel()
        if t.content == "mask":
            values = x.float() if x.dtype != torch.bool else x
            if len(values.unique()) > 2:
                return None
            name = "bits"
        elif t.content == "other" or (t.content == GRADIENT and label != INT8):
            return None
        elif label == INT8:
            name = "int8"
        else:
            names = candidates(t.content, elements, t.width)
            errors = {n: relative_error(codec(n, t.width), x) for n in names}
            name = next(n for n in names if errors[n] <= WORTH * min(errors.values()))
        made = codec(name, t.width)
        stored = made.stored(elements, item)
        if stored >= t.size:
            return None
        code = made.encode(x)
        if code is None:
            return None
        making = max(0, self._peak(lambda: made.encode(x)) - code.size)
        reading = max(0, self._peak(lambda: made.decode(code)) - t.size)
        codes = {i: made.encode(self.flat(i)) for i in members}
        if any(c is None for c in codes.values()):
            return None
        spent = self.seconds(lambda i: made.encode(self.flat(i)), members)
        spent += self.seconds(lambda i: made.decode(codes[i]), members)  # type: ignore[arg-type]
        treatment = Treatment(label, name, code.size, spent, 0.0, making, reading, made.kept)
        if made.lossless:
            error = 0.0
        elif t.content == GRADIENT:
            error = float((made.decode(code).double() - x.double()).norm()) / (self.norm or 1.0)
        else:
            error = self.error(middle, label, (*_retain(t), treatment))
        treatment = dataclasses.replace(treatment, error=error)
        if made.lossless or t.content == GRADIENT:
            return treatment
        passed = self.error_passed_on(middle, label, (*_retain(t), treatment))
        return dataclasses.replace(treatment, inherited=passed)

    def _peak(self, run: Callable[[], Any]) -> int:
        with LiveBytes() as counter, torch.no_grad():
            run()
        return int(counter.peak)

    def recomputed(self, members: Sequence[int]) -> Treatment | None:
        """The treatment of some like tensors by recomputing."""
        t = self.saved[members[0]]
        if not all(map(self.repeatable, members)):
            return None
        cell = self.cells[t.buffer][0]
        notes = {id(n): n for c in Recipe(cell).need for n in c.calls}
        states = sum(len(state) for note in notes.values() for _, state in note.states)
        # the allocator's, since an operator's own scratch memory passes no dispatch mode
        reading = max(0, allocated_peak(lambda: self.again(members[0])) - t.size)
        return Treatment(RECOMPUTE, "", states, self.seconds(self.again, members), 0.0, 0, reading)

    def moved(self, members: Sequence[int], place: Place) -> Treatment:
        """The treatment of some like tensors by moving them away: all, then all back, as in a step."""

        def run() -> None:
            away = [place.put(self.storage(i)) for i in members]
            while away:
                place.get(away.pop())

        with torch.no_grad():
            spent = least_seconds(run, self.device) / len(members)
        return Treatment(OFFLOAD, "", 0, spent, 0.0, 0, 0)

    def treatments(self, progress: Progress = lambda *_: None) -> tuple[SavedTensor, ...]:
        """Every saved tensor with what may be done with it."""
        place = place_of(self.module, self.device)
        found: dict[int, tuple[Treatment, ...]] = {}
        parts = groups(self.saved)
        for number, members in enumerate(parts):
            t = self.saved[members[0]]
            progress(f"measuring {t.name}", number / len(parts))
            made = [*_retain(t), self.coded(members, INT8), self.coded(members, INT4)]
            made += [self.moved(members, place), self.recomputed(members)]
            for i in members:
                found[i] = tuple(m for m in made if m is not None)
        return tuple(dataclasses.replace(t, treatments=found[i]) for i, t in enumerate(self.saved))


def _retain(t: SavedTensor) -> tuple[Treatment, ...]:
    return (Treatment(RETAIN, "", t.size, 0.0, 0.0, 0, 0),)


def static_bytes(module: nn.Module, optimizer: str) -> int:
    """Bytes of weights and module buffers, and of the optimiser's state."""
    weights = sum(int(p.numel() * p.element_size()) for p in module.parameters())
    return (1 + STATE[optimizer]) * weights + sum(int(b.numel() * b.element_size()) for b in module.buffers())


def structure_of(
    module: nn.Module, batch: Any, loss: Loss | None = None, optimizer: str = "adam"
) -> Recording:
    """The recording of a module without times: each tensor can only be retained."""
    tape = record(module, batch, loss)
    saved, recipes = saved_tensors(tape, repeated_blocks(module))
    if not saved:
        raise SpaceError(
            f"{type(module).__name__} saves no tensor of at least {smallest(tape):,.0f} B that a plan could "
            "decide about: nothing is saved to plan. Give a larger batch or module."
        )
    saved = tuple(dataclasses.replace(t, treatments=_retain(t)) for t in saved)
    other = other_bytes(tape, [t.buffer for t in saved])
    graph = Graph(
        type(module).__name__,
        module_digest(module),
        saved,
        other,
        tape.forward,
        static_bytes(module, optimizer),
        0.0,
        tape.blocks,
    )
    return Recording(tape, graph, recipes, batch, loss)


def profile(
    module: nn.Module,
    batch: Any,
    loss: Loss | None = None,
    optimizer: str = "adam",
    progress: Progress = lambda *_: None,
) -> Recording:
    """Record a module, measure every treatment here, and remember the recording for `apply`."""
    recording = structure_of(module, batch, loss, optimizer)
    tensors = Profile(module, batch, loss, recording).treatments(progress)
    graph = dataclasses.replace(recording.graph, saved=tensors)
    found = dataclasses.replace(recording, graph=graph)
    base = retained_seconds(module, found)
    again = [t.buffer for t in tensors if t.treatment(RECOMPUTE) is not None]
    followed = retained_seconds(module, found, again) - base if again else 0.0
    graph = dataclasses.replace(graph, saved=charged(found, max(0.0, followed)), base_seconds=base)
    found = dataclasses.replace(found, graph=graph)
    RECORDINGS[module] = found
    return found


def retained_seconds(module: nn.Module, recording: Recording, noted: Sequence[int] | None = None) -> float:
    """A step where everything is retained. noted: and the operators that make these buffers are followed."""
    program = Program(module, recording, [RETAIN] * len(recording.graph.saved), noted=noted)
    with undisturbed(module), applied(module, program):
        return least_seconds(lambda: step(module, recording.batch, recording.loss), recording.tape.device)


def charged(recording: Recording, seconds: float) -> tuple[SavedTensor, ...]:
    """The saved tensors where recomputing also pays its share of following the pass, by its operators."""
    recipes = recording.recipes
    saved = recording.graph.saved
    calls = {t.buffer: len(recipes[t.buffer].calls) for t in saved if t.treatment(RECOMPUTE) is not None}
    each = seconds / (sum(calls.values()) or 1)

    def paid(t: SavedTensor, way: Treatment) -> Treatment:
        more = each * calls[t.buffer] if way.label == RECOMPUTE else 0.0
        return dataclasses.replace(way, seconds=way.seconds + more)

    return tuple(dataclasses.replace(t, treatments=tuple(paid(t, w) for w in t.treatments)) for t in saved)


def remember(
    module: nn.Module, batch: Any, graph: Graph, loss: Loss | None = None, optimizer: str = "adam"
) -> Recording:
    """Record a module whose graph was measured before, such as in another process."""
    recording = structure_of(module, batch, loss, optimizer)
    fresh = recording.graph
    if fresh.digest != graph.digest or [t.size for t in fresh.saved] != [t.size for t in graph.saved]:
        raise SpaceError(
            f"the plan was made for another module (digest {graph.digest}, here {fresh.digest}); record "
            f"this one."
        )
    found = dataclasses.replace(recording, graph=graph)
    RECORDINGS[module] = found
    return found
