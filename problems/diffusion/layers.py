"""A block as a sampling reads it: its tensors looked up once a run, its modulation made once a step.

At some hundred tokens a block's products take a few milliseconds, so that what stands between them (looking
up parameters, slicing weights, calling modules) is a tenth of a step. The arithmetic is `dit.Block`'s, in the
same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .dit import Block, turn


class Modulation(NamedTuple):
    """What the condition does to a block, each (n, 1, d): norms are multiplied by a factor and shifted, the
    branches' outputs gated. First attention, then the MLP."""

    shift_a: Tensor
    factor_a: Tensor
    gate_a: Tensor
    shift_m: Tensor
    factor_m: Tensor
    gate_m: Tensor


def modulations(shared: Tensor, tables: Tensor) -> list[Modulation]:
    """Those of all blocks. shared: (n, 6, d), the condition's; tables: (blocks, 6, d), their own."""
    made = (shared.unsqueeze(1) + tables).unsqueeze(3)
    factors = 1 + made[:, :, 1::3]
    return [
        Modulation(shift_a, factor_a, gate_a, shift_m, factor_m, gate_m)
        for (shift_a, _, gate_a, shift_m, _, gate_m), (factor_a, factor_m) in zip(
            (m.unbind(1) for m in made.unbind(1)), (f.unbind(1) for f in factors.unbind(1)), strict=True
        )
    ]


def normed(x: Tensor, shift: Tensor, factor: Tensor) -> Tensor:
    """Layer norm without parameters, multiplied and shifted: (n, rows, d)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), factor)


class Linear(NamedTuple):
    """A linear layer: x w^T + b."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Layer:
    """The tensors of a block. along, across: (tokens, dim) each, what turns queries and keys."""

    heads: int
    qkv: Linear
    query: Linear
    key_value: Linear
    out: Linear
    up: Linear
    down: Linear
    turned: Tensor
    along: Tensor
    across: Tensor

    @classmethod
    def of(cls, block: Block) -> Layer:
        """Views of the block's present parameters."""
        d = block.out.in_features
        qkv, out, up, down = (
            Linear(m.weight.detach(), m.bias.detach())
            for m in (block.qkv, block.out, block.mlp[0], block.mlp[2])
        )
        query, key_value = (Linear(qkv.weight[part], qkv.bias[part]) for part in (slice(d), slice(d, None)))
        along, across = block.turned.chunk(2, dim=-1)
        return cls(block.heads, qkv, query, key_value, out, up, down, block.turned, along, across)

    def split(self, x: Tensor, parts: int) -> Iterable[Tensor]:
        """(n, rows, parts x d) -> parts of (n, heads, rows, dim)."""
        n, rows, wide = x.shape
        shape = n, rows, parts, self.heads, wide // parts // self.heads
        return x.view(shape).permute(2, 0, 3, 1, 4).unbind(0)  # type: ignore[no-any-return]

    def placed(self, x: Tensor, each: Tensor | None = None) -> Tensor:
        """Queries or keys (n, heads, rows, dim) turned by their places; each: (n, rows) tokens, all: None."""
        if each is None:
            return turn(x, self.along, self.across)
        n, rows = each.shape
        turned = self.turned.index_select(0, each.reshape(-1)).view(n, 1, rows, -1)
        return turn(x, *turned.chunk(2, dim=-1))

    def mlp(self, x: Tensor) -> Tensor:
        """(n, rows, d) -> (n, rows, d)."""
        return self.down(F.gelu(self.up(x), approximate="tanh"))
