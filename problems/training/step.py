"""One training step around the blocks: static memory, embedding, loss, optimiser, base times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...costmodels import Cost
from .actions import Table, table
from .block import Block, gpt_block, llama_block
from .models import Transformer
from .operators import Operators

Array = npt.NDArray[Any]

STATE = {"adam": 16, "sgd": 8}
"""Bytes a weight: half-precision weight and gradient, fp32 master copy (and two moments for Adam); in
fp32 training weight and gradient of 4 bytes, no copy: the same sum."""
TRAFFIC = {"adam": 14, "sgd": 6}
"""Bytes a weight read, and written, by the optimiser's step in mixed precision."""


@dataclass(frozen=True, eq=False)
class Step:
    """What a plan is judged against; every block is the same.

    static: bytes of weights, gradients and optimiser state. embedding: bytes stored before the first
    block. head: bytes alive on top of every block's while the loss runs backward. base: cost of the
    step without a plan. forward, backward: seconds of all blocks, during `overlap` of which the host
    link can hide transfers.
    """

    block: Block
    table: Table
    layers: int
    static: int
    embedding: int
    head: int
    base: Cost
    forward: float
    backward: float
    overlap: float

    @property
    def base_seconds(self) -> float:
        """Seconds of the step where every saved tensor is retained."""
        return float(self.base.time)

    @property
    def windows(self) -> tuple[float, float]:
        """Seconds of transfer hidden under the forward and under the backward pass."""
        return self.overlap * self.forward, self.overlap * self.backward

    def exposed(self, transfer: Array) -> Array:
        """Seconds by which moving to the host and back outlasts the passes; transfer: one way."""
        return sum((np.maximum(transfer - window, 0.0) for window in self.windows), np.zeros(()))

    def moments(self, stored: Array, workspace: Array) -> Array:
        """Bytes alive at the moments that can hold the peak.

        stored, workspace: bytes of each block, (rows, layers). Returns (rows, layers + 1): the backward
        of each block, in order of the blocks, then the loss. Block l's backward holds what blocks
        1..l stored, what is materialised for l, and the gradients inside it. Its forward holds no more:
        what is in use there is stored or materialised again in the backward.
        """
        before = self.static + self.embedding + np.cumsum(stored, axis=1)
        blocks = before + workspace + self.block.gradients
        return np.concatenate([blocks, before[:, -1:] + self.head], axis=1)

    @property
    def keep_everything(self) -> int:
        """Peak bytes where every saved tensor is retained."""
        last = max(self.block.gradients, self.head)
        return self.static + self.embedding + self.layers * self.block.whole + last


@dataclass(frozen=True, eq=False)
class Chosen:
    """What plans choose, whatever an operator takes: no draw of the cost models' errors changes it.

    counts: blocks by (tensor, label), where any row has some, each (rows,). again: blocks in which each
    tensor is computed again, (tensors, rows). peak: most bytes alive, (rows,).
    """

    counts: dict[tuple[int, int], Array]
    again: Array
    peak: Array

    def total(self, each: Array) -> Array:
        """Sum over blocks and saved tensors of what each choice costs, (tensors, labels): (rows,)."""
        total = np.zeros(len(self.peak))
        for cell, count in self.counts.items():
            if each[cell]:
                total += count * each[cell]
        return total


def chosen_actions(step: Step, choice: Array) -> Chosen:
    """What plans choose; choice: position of the label of each saved tensor, (rows, layers, tensors)."""
    table = step.table
    counts = {
        (i, label): count
        for label, blocks in enumerate(blocks_by_label(choice, len(table.labels)))
        for i, count in enumerate(blocks)
        if count.any()
    }
    cell = choice + len(table.labels) * np.arange(choice.shape[2])
    stored = step.block.anchors + table.stored.take(cell).sum(axis=2)
    workspace = table.workspace.take(cell).sum(axis=2)
    again = step.block.recomputed(choice == table.dropped).sum(axis=1, dtype=np.int32)
    peak = step.moments(stored, workspace).max(axis=1)
    return Chosen(counts, np.ascontiguousarray(again.T.astype(float)), peak)


def blocks_by_label(choice: Array, labels: int) -> Array:
    """In how many blocks each tensor has each label, (labels, tensors, rows); choice as above.

    All labels are counted in one sum of 63 bits, each in its share of them, so many blocks at a time.
    """
    rows, layers, tensors = choice.shape
    bits = 63 // labels
    shift, most = bits * np.arange(labels), 2**bits - 1
    counts = np.zeros((labels, tensors, rows))
    for start in range(0, layers, most):
        packed = (1 << shift).take(choice[:, start : start + most]).sum(axis=1)
        counts += (packed.T >> shift[:, None, None]) & most
    return counts


def training_step(
    shape: Transformer,
    operators: Operators,
    *,
    batch: int,
    sequence: int,
    fused: bool,
    dropout: bool,
    offload: bool,
    overlap: float,
    optimizer: str,
    shards: int,
) -> Step:
    """The step of one transformer; see the parameters of `Adacc`.

    Embedding: token numbers (8 bytes) and its dropout mask. Loss: the last block's output, the final
    norm's statistics and output; logits in the activations' type, fp32 log-probabilities and their
    gradient.
    """
    ops, n, h, v = operators, batch * sequence, shape.hidden, shape.vocabulary
    if shape.family == "gpt":
        block = gpt_block(shape, ops, batch=batch, sequence=sequence, fused=fused, dropout=dropout)
    else:
        block = llama_block(shape, ops, batch=batch, sequence=sequence, fused=fused)
    ends = ops.pointwise(n * h) + ops.norm(n, h) + ops.linear(n, h, v) + ops.softmax(n, v)
    update = ops.update(math.ceil(shape.parameters / shards), TRAFFIC[optimizer])
    forward, backward = block.forward * shape.layers, block.backward * shape.layers
    return Step(
        block=block,
        table=table(block, ops, offload),
        layers=shape.layers,
        static=math.ceil(STATE[optimizer] * shape.parameters / shards),
        embedding=8 * n + (n * h if dropout and shape.family == "gpt" else 0),
        head=2 * n * h * ops.item + 8 * n + n * v * (ops.item + 4 + 4),
        base=forward + backward + ends.forward + ends.backward + update,
        forward=float(forward.time),
        backward=float(backward.time),
        overlap=overlap,
    )
