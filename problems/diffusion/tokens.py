"""One sampling of one batch with token budgets: the blocks' caches and what each step does with them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SpaceError
from .dit import Block, VideoDiT, modulated
from .selection import BlockCache, Weights, chosen_count
from .sparse_attention import attend, put, take


def whole_block(block: Block, x: Tensor, shared: Tensor) -> tuple[Tensor, BlockCache]:
    """All tokens through a block, and the caches that this fills. x: (n, tokens, d); shared: (n, 6, d)."""
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = block.modulation(shared)
    n, tokens, d = x.shape
    q, k, v = (block.split(part) for part in block.qkv(modulated(x, shift_a, scale_a)).chunk(3, dim=-1))
    attended, lse = attend(block.placed(q), block.placed(k), v)
    attention = block.out(attended.transpose(1, 2).reshape(n, tokens, d))
    middle = torch.addcmul(x, gate_a, attention)
    mlp = block.mlp(modulated(middle, shift_m, scale_m))
    return torch.addcmul(middle, gate_m, mlp), BlockCache.fresh(x, [attention, mlp], lse)


def sparse_block(
    block: Block, x: Tensor, shared: Tensor, cache: BlockCache, chosen: int, weights: Weights
) -> Tensor:
    """`chosen` tokens of each sample through a block; the others read the cached branches, under the
    present gates. Keys and values are those of all tokens."""
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = block.modulation(shared)
    n, _, d = x.shape
    rows = cache.choose(x, chosen, weights)
    weight, bias = block.qkv.weight, block.qkv.bias
    normed = modulated(x, shift_a, scale_a)
    k, v = (block.split(part) for part in F.linear(normed, weight[d:], bias[d:]).chunk(2, dim=-1))
    q = block.placed(block.split(F.linear(take(normed, rows), weight[:d], bias[:d])), rows)
    attended, lse = attend(q, block.placed(k), v)
    attention, mlp = cache.branches
    cache.computed(x, rows, lse)
    put(attention, rows, block.out(attended.transpose(1, 2).reshape(n, chosen, d)))
    middle = torch.addcmul(x, gate_a, attention)
    put(mlp, rows, block.mlp(modulated(take(middle, rows), shift_m, scale_m)))
    return torch.addcmul(middle, gate_m, mlp)


class TokenRun:
    """The caches of one batch from its first step to its last. flops: operations so far, all samples."""

    def __init__(self, model: VideoDiT, weights: Weights | None = None) -> None:
        self.model, self.weights = model, weights or Weights()
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
        if chosen < x.shape[1]:
            for block, cache in zip(self.model.blocks, self.caches, strict=True):
                x = sparse_block(block, x, shared, cache, chosen, self.weights)
            return x
        if not keep:
            for block in self.model.blocks:
                x = block(x, shared)
            return x
        self.caches = []
        for block in self.model.blocks:
            x, cache = whole_block(block, x, shared)
            self.caches.append(cache)
        return x
