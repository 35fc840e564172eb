"""One sampling of one batch with token budgets: the blocks' caches and what each step does with them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SpaceError
from .dit import VideoDiT
from .layers import Layer, Modulation, modulations, normed
from .selection import BlockCache, chosen_count
from .sparse_attention import attend, put, take
from .weights import Weights, calibrated


def plain_block(layer: Layer, x: Tensor, by: Modulation) -> Tensor:
    """All tokens through a block that nothing is kept of: (n, tokens, d) -> (n, tokens, d)."""
    n, tokens, d = x.shape
    q, k, v = layer.split(layer.qkv(normed(x, by.shift_a, by.factor_a)), 3)
    attended = F.scaled_dot_product_attention(layer.placed(q), layer.placed(k), v)
    x = torch.addcmul(x, by.gate_a, layer.out(attended.transpose(1, 2).reshape(n, tokens, d)))
    return torch.addcmul(x, by.gate_m, layer.mlp(normed(x, by.shift_m, by.factor_m)))


def whole_block(layer: Layer, x: Tensor, by: Modulation) -> tuple[Tensor, BlockCache]:
    """All tokens through a block, and the caches that this fills. x: (n, tokens, d)."""
    n, tokens, d = x.shape
    q, k, v = layer.split(layer.qkv(normed(x, by.shift_a, by.factor_a)), 3)
    attended, lse = attend(layer.placed(q), layer.placed(k), v)
    attention = layer.out(attended.transpose(1, 2).reshape(n, tokens, d))
    middle = torch.addcmul(x, by.gate_a, attention)
    mlp = layer.mlp(normed(middle, by.shift_m, by.factor_m))
    return torch.addcmul(middle, by.gate_m, mlp), BlockCache.fresh(x, [attention, mlp], lse)


def sparse_block(
    layer: Layer, x: Tensor, by: Modulation, cache: BlockCache, chosen: int, weights: Weights
) -> Tensor:
    """`chosen` tokens of each sample through a block; the others read the cached branches, under the
    present gates. Keys and values are those of all tokens. x: (n, tokens, d), written over."""
    n, _, d = x.shape
    rows = cache.choose(x, chosen, weights)
    own = cache.enter(x, rows)
    every = normed(x, by.shift_a, by.factor_a)
    k, v = layer.split(layer.key_value(every), 2)
    (q,) = layer.split(layer.query(take(every, rows)), 1)
    attended, lse = attend(layer.placed(q, rows.each), layer.placed(k), v)
    cache.attended(rows, lse)
    made = layer.out(attended.transpose(1, 2).reshape(n, chosen, d))
    own = torch.addcmul(own, by.gate_a, made)
    attention, mlp = cache.branches
    put(attention, rows, made)
    put(mlp, rows, layer.mlp(normed(own, by.shift_m, by.factor_m)))
    return x.addcmul_(by.gate_a, attention).addcmul_(by.gate_m, mlp)


class TokenRun:
    """The caches of one batch from its first step to its last. flops: operations so far, all samples."""

    def __init__(self, model: VideoDiT, weights: Weights | None = None) -> None:
        self.model, self.weights = model, weights or calibrated()
        self.layers = [Layer.of(block) for block in model.blocks]
        self.tables = torch.stack([block.table.detach() for block in model.blocks])
        self.caches: list[BlockCache] = []
        self.output: Tensor | None = None
        self.flops = 0.0

    @property
    def cache_bytes(self) -> int:
        """Memory of the caches and of the model's output kept for steps without tokens."""
        held = 0 if self.output is None else self.output.numel() * self.output.element_size()
        return held + sum(cache.bytes for cache in self.caches)

    def velocity(
        self, clip: Tensor, time: Tensor, classes: Tensor, budget: float, *, keep: bool, reused: bool = False
    ) -> Tensor:
        """The model's output at one step.

        budget: share of the tokens in [0, 1]. keep: a later step reads the caches. reused: the next step has
        no tokens and takes this output again.
        """
        if budget == 0:
            if self.output is None:
                raise SpaceError("A step without tokens needs an output before it, got none.")
            for cache in self.caches:
                cache.skipped += 1
            return self.output
        config = self.model.config
        chosen = chosen_count(budget, config.tokens)
        x, shared, condition = self.model.tokens(clip, time, classes)
        if chosen < config.tokens and not self.caches:
            raise SpaceError(f"A step with a budget of {budget:g} needs a whole step before it, got none.")
        x = self.blocks(x, shared, chosen, keep)
        self.flops += clip.shape[0] * config.flops(chosen)
        output = self.model.velocity(x, clip, time, condition)
        self.output = output if reused else None
        return output

    def blocks(self, x: Tensor, shared: Tensor, chosen: int, keep: bool) -> Tensor:
        """All blocks with `chosen` tokens of each sample. keep: fill caches where all are chosen."""
        by = modulations(shared, self.tables)
        if chosen < x.shape[1]:
            for layer, part, cache in zip(self.layers, by, self.caches, strict=True):
                x = sparse_block(layer, x, part, cache, chosen, self.weights)
            return x
        if not keep:
            for layer, part in zip(self.layers, by, strict=True):
                x = plain_block(layer, x, part)
            return x
        self.caches = []
        for layer, part in zip(self.layers, by, strict=True):
            x, cache = whole_block(layer, x, part)
            self.caches.append(cache)
        return x
