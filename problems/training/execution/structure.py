"""From a tape to what a plan decides about: which buffers, their kind, and how each can be made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..graph import GRADIENT, STATISTICS_SHARE, SavedTensor
from .tape import Buffer, Recipe, Tape
from .tracing import facts

SMALLEST = 1024
LONGEST = 64
SMALL_BLOCK = 2
"""Saved tensors of a block whose output may be computed again too, as in a plain chain of layers."""
BOUNDED = ("_softmax", "_safe_softmax", "sigmoid", "relu")
RANDOM = ("bernoulli_", "native_dropout")


def smallest(tape: Tape) -> float:
    """Bytes below which no plan decides about a tensor."""
    largest = max((b.size for b in tape.buffers if b.packs and b.forward), default=0)
    return float(max(SMALLEST, STATISTICS_SHARE * largest))


def plannable(tape: Tape) -> tuple[int, ...]:
    """Buffers that a plan decides about: made and saved inside the module, not tiny, let go of before the
    end."""
    floor = smallest(tape)
    return tuple(
        b.index
        for b in tape.buffers
        if b.packs
        and b.forward
        and b.size >= floor
        and not b.outside
        and not b.rewritten
        and b.natural < tape.forward
        and b.died > b.natural
    )


def content(buffer: Buffer) -> str:
    """activation, bounded (never negative), mask (0 or one other value), or other (no codec takes it)."""
    dtype = buffer.shape[0]
    names = [call.name for call in buffer.calls]
    drawn = any(n in RANDOM for n in names)
    if dtype == torch.bool or (drawn and (buffer.position or names[0] in {"empty_like", "empty"})):
        return "mask" if buffer.dense else "other"
    if not dtype.is_floating_point or not buffer.dense:
        return "other"
    return "bounded" if names[-1] in BOUNDED and not buffer.position else "activation"


def width(tape: Tape, buffer: Buffer) -> int:
    """Channels: the longest contiguous last axis under which the buffer was made or saved."""
    shapes = [buffer.shape, *(tape.packs[k].source.shape for k in buffer.packs)]
    elements = buffer.size // buffer.shape[0].itemsize
    widths = [s[2][-1] for s in shapes if s[2] and s[3][-1] == 1 and elements % s[2][-1] == 0]
    return max(widths, default=1)


def recipe(tape: Tape, target: int) -> Recipe | str:
    """How to make a buffer again from saved ones, or why that cannot be."""
    buffers = tape.buffers
    saved = {b.index for b in buffers if b.packs and b.forward}
    needed, queue = {target}, [target]
    while queue:
        buffer = buffers[queue.pop()]
        for call in buffer.calls:
            if not facts(call.function).pure:
                return f"{call.name} may depend on more than its arguments, or change more than its result"
            for r in call.reads:
                if r in needed:
                    continue
                if any(c.order > call.order for c in buffers[r].calls):
                    return f"what {call.name} reads is changed in place later"
                if buffers[r].rewritten:
                    return f"what {call.name} reads is changed in place after it was saved"
                if not buffers[r].forward:
                    return f"what {call.name} reads is made outside the module"
                if r not in saved:
                    needed.add(r)
                    queue.append(r)
        if len(needed) > LONGEST:
            return f"more than {LONGEST} operators would have to run again"
    made = Recipe(target, tuple(sorted(needed)), buffers)
    inside = sum(b.block == buffers[target].block for b in buffers if b.packs and b.forward)
    if buffers[target].block_output and inside > SMALL_BLOCK:
        return "a block's output is where recomputing begins"
    first = unpacked(tape, target)
    if any(buffers[p].died < first for p in made.parents):
        return "what it is made of is freed before it is asked for"
    if any(call.order >= tape.forward for call in made.calls):
        return "it is made in the backward pass"
    return made


def unpacked(tape: Tape, buffer: int) -> int:
    """The event at which the backward pass first asks for a buffer."""
    return min(tape.packs[k].unpacked for k in tape.buffers[buffer].packs)


def saved_tensors(
    tape: Tape, blocks: Sequence[str] = ()
) -> tuple[tuple[SavedTensor, ...], dict[int, Recipe]]:
    """What a plan decides about, and recipes by buffer. blocks: names of the repeated ones."""
    chosen = plannable(tape)
    place = {b: i for i, b in enumerate(chosen)}
    recipes: dict[int, Recipe] = {}
    tensors = []
    for index in chosen:
        buffer = tape.buffers[index]
        found = recipe(tape, index)
        refused = ""
        parents: tuple[int, ...] = ()
        if isinstance(found, str):
            refused = found
        else:
            recipes[index] = found
            parents = tuple(place[p] for p in found.parents if p in place)
        tensors.append(
            SavedTensor(
                index, buffer.path, buffer.producer, content(buffer), buffer.block, buffer.size,
                width(tape, buffer), buffer.created, tape.packs[buffer.packs[0]].event, buffer.natural,
                unpacked(tape, index), buffer.died,
                parents, refused,
            )
        )  # fmt: skip
    return (*tensors, *gradients(tape, blocks)), recipes


def gradients(tape: Tape, blocks: Sequence[str]) -> Iterator[SavedTensor]:
    """The parameters' gradients that a plan decides about. They wait for the last event, the optimiser's."""
    floor, end = smallest(tape), tape.events - 1
    for name, index, event in tape.gradients:
        buffer = tape.buffers[index]
        if buffer.size < floor:
            continue
        block = next((i for i, b in enumerate(blocks) if f"{name}.".startswith(f"{b}.")), -1)
        shape = tape.buffers[index].shape[2]
        yield SavedTensor(
            index, name, GRADIENT, GRADIENT, block, buffer.size, shape[-1] if shape else 1, buffer.created,
            event, event + 1, end, tape.events, (), "it is asked for once",
        )  # fmt: skip


def other_bytes(tape: Tape, chosen: Sequence[int]) -> np.ndarray:
    """(events,) bytes alive in the recorded step of everything but the chosen buffers."""
    change = np.zeros(tape.events + 1, np.int64)
    left = set(chosen)
    for buffer in tape.buffers:
        if buffer.index not in left:
            change[buffer.created] += buffer.size
            change[buffer.died] -= buffer.size
    return np.cumsum(change)[: tape.events]
