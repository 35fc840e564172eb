"""What one transformer block saves for its backward pass, tensor by tensor, with exact bytes.

Three roles. An anchor is always stored as it is: the block's input, and statistics too small or too
sensitive to touch (log-sum-exp, mean and reciprocal deviation). A saved tensor is what a plan decides
about. A transient is never saved, but must be computed again on the way to a saved tensor that was
dropped. Every saved tensor is needed by the backward pass; that is why it is saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...costmodels import Cost
from .models import Transformer
from .operators import Operators, Pass

Array = npt.NDArray[Any]
Role = Literal["anchor", "saved", "transient"]
Content = Literal["activation", "bounded", "mask", "statistics"]


@dataclass(frozen=True)
class Tensor:
    """One tensor of a block.

    content: "activation" (outlier channels), "bounded" (in [0, 1]), "mask" (a byte an element, of which
    one bit counts), "statistics". width: channels, the length of its last axis. size: bytes.
    producer: the operator that makes it. seconds: that operator's forward time. parents: what it reads.
    """

    name: str
    role: Role
    content: Content
    elements: int
    width: int
    size: int
    producer: str = ""
    seconds: float = 0.0
    parents: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Vectors of `width` channels."""
        return self.elements // self.width

    @property
    def needed(self) -> bool:
        """Whether the backward pass reads it."""
        return self.role != "transient"


@dataclass(frozen=True, eq=False)
class Block:
    """The tensors of one block in topological order, and what surrounds them.

    gradients: bytes of the largest set of activation gradients alive at once in the block's backward.
    forward, backward: cost of all operators, saved or not.
    """

    tensors: tuple[Tensor, ...]
    gradients: int
    forward: Cost
    backward: Cost

    @property
    def saved(self) -> tuple[Tensor, ...]:
        """What a plan decides about, in topological order."""
        return tuple(t for t in self.tensors if t.role == "saved")

    @property
    def anchors(self) -> int:
        """Bytes that are always stored."""
        return sum(t.size for t in self.tensors if t.role == "anchor")

    @property
    def whole(self) -> int:
        """Bytes stored where every saved tensor is retained."""
        return self.anchors + sum(t.size for t in self.saved)

    def recomputed(self, dropped: Array) -> Array:
        """Which tensors are computed again in the backward pass, by closure.

        dropped: (..., saved) booleans, what a plan does not store. Returns (..., tensors) booleans: each
        dropped tensor, and each transient that a recomputed tensor reads. Whatever else a recomputed
        tensor reads is stored or itself recomputed, and the chain ends at the anchors, so that every
        choice can be executed.
        """
        position = {t.name: i for i, t in enumerate(self.tensors)}
        again = np.zeros((*dropped.shape[:-1], len(self.tensors)), bool)
        for i, tensor in enumerate(self.saved):
            again[..., position[tensor.name]] = dropped[..., i]
        transient = np.array([t.role == "transient" for t in self.tensors])
        for i in reversed(range(len(self.tensors))):
            for parent in self.tensors[i].parents:
                p = position[parent]
                if transient[p]:
                    again[..., p] |= again[..., i]
        return again


class _Builder:
    """Collects the tensors and the operators of a block in order."""

    def __init__(self, operators: Operators) -> None:
        self.item = operators.item
        self.tensors: list[Tensor] = []
        self.total = Pass(Cost.zero(), Cost.zero())

    def run(self, made: Pass) -> float:
        """Count an operator; return its forward seconds."""
        self.total += made
        return float(made.forward.time)

    def anchor(self, name: str, elements: int, width: int, item: int, producer: str = "") -> None:
        """A tensor that is always stored."""
        content: Content = "activation" if name == "input" else "statistics"
        self.tensors.append(Tensor(name, "anchor", content, elements, width, elements * item, producer))

    def add(
        self,
        name: str,
        rows: int,
        width: int,
        producer: str,
        made: Pass,
        parents: tuple[str, ...],
        *,
        role: Role = "saved",
        content: Content = "activation",
    ) -> None:
        """A tensor and the operator that makes it."""
        size = rows * width * (1 if content == "mask" else self.item)
        seconds = self.run(made)
        self.tensors.append(
            Tensor(name, role, content, rows * width, width, size, producer, seconds, parents)
        )

    def block(self, gradients: int) -> Block:
        """The finished block."""
        return Block(tuple(self.tensors), gradients, self.total.forward, self.total.backward)


def gpt_block(
    shape: Transformer, operators: Operators, *, batch: int, sequence: int, fused: bool, dropout: bool
) -> Block:
    """A GPT block: norm, attention, projection, add; norm, expand, GELU, contract, add.

    fused: one attention kernel that saves its output and the log-sum-exp; else the probabilities are
    saved as PyTorch's eager operators save them. dropout: masks of a byte an element on both residual
    branches, and on the probabilities where they exist (a fused kernel replays its generator).
    """
    b, s, h, f = batch, sequence, shape.hidden, shape.feed_forward
    n, a, d = b * s, shape.heads, shape.head_dim
    ops, make = operators, _Builder(operators)
    make.anchor("input", n * h, h, ops.item)
    make.anchor("norm1_statistics", 2 * n, 2, 4, "layer_norm")
    make.add("norm1", n, h, "layer_norm", ops.norm(n, h), ("input",))
    make.add("qkv", n, 3 * h, "linear", ops.linear(n, h, 3 * h), ("norm1",))
    if fused:
        make.anchor("log_sum_exp", n * a, 1, 4, "attention")
        make.add("attention", n, h, "attention", ops.attention(b, s, a, a, d), ("qkv",))
    else:
        make.add("scores", b * a * s, s, "product", ops.product(b * a, s, s, d), ("qkv",), role="transient")
        soft = ops.softmax(b * a * s, s)
        make.add("probabilities", b * a * s, s, "softmax", soft, ("scores",), content="bounded")
        weights = "probabilities"
        if dropout:
            mask = ops.random_mask(n * a * s)
            make.add("probability_mask", b * a * s, s, "dropout", mask, (), content="mask")
            drop = ops.pointwise(n * a * s, reads=2)
            read = ("probabilities", "probability_mask")
            make.add("dropped_probabilities", b * a * s, s, "dropout", drop, read, content="bounded")
            weights = "dropped_probabilities"
        make.add("attention", n, h, "product", ops.product(b * a, s, d, s), (weights, "qkv"))
    make.add("projection", n, h, "linear", ops.linear(n, h, h), ("attention",), role="transient")
    residual: tuple[str, ...] = ("input", "projection")
    if dropout:
        make.add("residual_mask1", n, h, "dropout", ops.random_mask(n * h), (), content="mask")
        residual = (*residual, "residual_mask1")
    make.add("middle", n, h, "add", ops.pointwise(n * h, reads=len(residual)), residual)
    make.anchor("norm2_statistics", 2 * n, 2, 4, "layer_norm")
    make.add("norm2", n, h, "layer_norm", ops.norm(n, h), ("middle",))
    make.add("expand", n, f, "linear", ops.linear(n, h, f), ("norm2",))
    make.add("gelu", n, f, "gelu", ops.pointwise(n * f, operations=10), ("expand",))
    make.run(ops.linear(n, f, h))
    if dropout:
        make.add("residual_mask2", n, h, "dropout", ops.random_mask(n * h), (), content="mask")
    make.run(ops.pointwise(n * h, reads=3 if dropout else 2))
    return make.block(_gradients(n, h, 2 * f, 0 if fused else 2 * n * a * s, ops.item))


def llama_block(shape: Transformer, operators: Operators, *, batch: int, sequence: int, fused: bool) -> Block:
    """A LLaMA block: RMS norm, q, k, v, rotary, attention, add; RMS norm, gate, up, SiLU, product, add.

    Rotary embeddings are linear: only their outputs are saved. The RMS norm is one fused operator that
    saves its input and the reciprocal deviation.
    """
    b, s, h, f = batch, sequence, shape.hidden, shape.feed_forward
    n, a, g, d = b * s, shape.heads, shape.kv_heads, shape.head_dim
    ops, make = operators, _Builder(operators)
    make.anchor("input", n * h, h, ops.item)
    make.anchor("norm1_statistics", n, 1, 4, "rms_norm")
    make.add("norm1", n, h, "rms_norm", ops.norm(n, h), ("input",))
    for name, heads in (("query", a), ("key", g)):
        raw = f"{name}_unrotated"
        make.add(raw, n, heads * d, "linear", ops.linear(n, h, heads * d), ("norm1",), role="transient")
        make.add(name, n, heads * d, "rotary", ops.pointwise(n * heads * d, reads=2, operations=4), (raw,))
    make.add("value", n, g * d, "linear", ops.linear(n, h, g * d), ("norm1",))
    if fused:
        make.anchor("log_sum_exp", n * a, 1, 4, "attention")
        make.add("attention", n, h, "attention", ops.attention(b, s, a, g, d), ("query", "key", "value"))
    else:
        product = ops.product(b * a, s, s, d)
        make.add("scores", b * a * s, s, "product", product, ("query", "key"), role="transient")
        soft = ops.softmax(b * a * s, s)
        make.add("probabilities", b * a * s, s, "softmax", soft, ("scores",), content="bounded")
        make.add("attention", n, h, "product", ops.product(b * a, s, d, s), ("probabilities", "value"))
    make.add("projection", n, h, "linear", ops.linear(n, h, h), ("attention",), role="transient")
    make.add("middle", n, h, "add", ops.pointwise(n * h, reads=2), ("input", "projection"))
    make.anchor("norm2_statistics", n, 1, 4, "rms_norm")
    make.add("norm2", n, h, "rms_norm", ops.norm(n, h), ("middle",))
    make.add("gate", n, f, "linear", ops.linear(n, h, f), ("norm2",))
    make.add("up", n, f, "linear", ops.linear(n, h, f), ("norm2",))
    make.add("silu", n, f, "silu", ops.pointwise(n * f, operations=10), ("gate",))
    make.add("gated", n, f, "multiply", ops.pointwise(n * f, reads=2), ("silu", "up"))
    make.run(ops.linear(n, f, h))
    make.run(ops.pointwise(n * h, reads=2))
    return make.block(_gradients(n, h, 3 * f, 0 if fused else 2 * n * a * s, ops.item))


def _gradients(tokens: int, hidden: int, mlp: int, scores: int, item: int) -> int:
    """Bytes of activation gradients alive at once: the residual stream's, and the larger branch's.

    mlp: channels of gradients alive around the activation function (its output's and its input's; for
    SwiGLU the product's and both factors'). scores: elements of the two score gradients of unfused
    attention. Attention holds the gradients of its output, q, k and v. A recomputed transient is
    never larger than these, and dies before they are born.
    """
    attention = max(4 * tokens * hidden, scores + tokens * hidden)
    return item * (tokens * hidden + max(attention, tokens * mlp))


def describe(block: Block) -> list[Mapping[str, Any]]:
    """One row a tensor: name, role, producer, bytes, seconds."""
    return [
        {"tensor": t.name, "role": t.role, "producer": t.producer, "size": t.size, "seconds": t.seconds}
        for t in block.tensors
    ]
