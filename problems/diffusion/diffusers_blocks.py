"""Blocks of diffusers' video transformers with selected tokens: Wan 2.1/2.2 and CogVideoX.

Each function does what the block's own `forward` does, with its own sub-modules, for the selected video
tokens; keys and values are those of all tokens, text is computed whole. diffusers itself is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .selection import BlockCache
from .sparse_attention import Rows, attend, put, take
from .weights import Weights


class BlockCall:
    """One call of one block: the rows to compute and the cache they go to.

    cache: None for a whole step, which makes a new one.
    """

    def __init__(self, cache: BlockCache | None, rows: int, weights: Weights) -> None:
        self.cache, self.count, self.weights = cache, rows, weights
        self.rows: Rows | None = None
        self.branches: list[Tensor] = []
        self.inputs: Tensor | None = None
        self.lse: Tensor | None = None

    def choose(self, x: Tensor) -> None:
        """Select among the block's inputs x: (n, tokens, d)."""
        self.inputs = x
        if self.cache is not None:
            self.rows = self.cache.choose(x, self.count, self.weights)
            self.cache.enter(x, self.rows)

    def at(self, x: Tensor) -> Tensor:
        """The selected rows of something with a row for each token, or with one for all of them."""
        if self.rows is None or x.shape[1] == 1:
            return x
        return take(x, self.rows)

    def attended(self, lse: Tensor) -> None:
        """The log-sum-exp (n, heads, rows) of this step's queries."""
        self.lse = lse
        if self.cache is not None and self.rows is not None:
            self.cache.attended(self.rows, lse)

    def branch(self, made: Tensor) -> Tensor:
        """Keep a branch's output for the selected rows; that of all rows comes back."""
        if self.cache is None or self.rows is None:
            self.branches.append(made)
            return made
        kept = self.cache.branches[len(self.branches)]
        put(kept, self.rows, made.to(kept.dtype))
        self.branches.append(kept)
        return kept

    def done(self) -> None:
        """The whole step's outputs are the cache."""
        if self.cache is None:
            assert self.inputs is not None
            assert self.lse is not None
            self.cache = BlockCache.fresh(self.inputs, self.branches, self.lse)


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions on neighbouring pairs: x (..., dim); cosine, sine broadcast, each value twice."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    across = torch.stack([-second, first], dim=-1).flatten(-2)
    return (x.float() * cosine + across.float() * sine).type_as(x)


def wan(block: Any, given: Mapping[str, Any], call: BlockCall) -> Tensor:
    """`WanTransformerBlock`: self-attention, cross-attention to the text, feed-forward."""
    x, text, embedded, rotary = (
        given[name] for name in ("hidden_states", "encoder_hidden_states", "temb", "rotary_emb")
    )
    attn = block.attn1
    if embedded.ndim == 4:  # Wan 2.2 has a time for each token
        parts = (block.scale_shift_table.unsqueeze(0) + embedded.float()).unbind(dim=2)
    else:
        parts = (block.scale_shift_table + embedded.float()).chunk(6, dim=1)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
    call.choose(x)
    normed = (block.norm1(x.float()) * (1 + scale_a) + shift_a).type_as(x)
    q = attn.norm_q(attn.to_q(call.at(normed))).unflatten(2, (attn.heads, -1))
    k = attn.norm_k(attn.to_k(normed)).unflatten(2, (attn.heads, -1))
    v = attn.to_v(normed).unflatten(2, (attn.heads, -1))
    if rotary is not None:
        cosine, sine = rotary
        k = turned(k, cosine, sine)
        if call.rows is not None:
            cosine, sine = cosine[0, call.rows.each], sine[0, call.rows.each]
        q = turned(q, cosine, sine)
    out, lse = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    call.attended(lse)
    attention = call.branch(attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2).type_as(x))))
    x = (x.float() + attention * gate_a).type_as(x)
    crossed = block.norm2(call.at(x).float()).type_as(x)
    x = x + call.branch(block.attn2(crossed, text, None, None))
    fed = (block.norm3(call.at(x).float()) * (1 + call.at(scale_m)) + call.at(shift_m)).type_as(x)
    x = (x.float() + call.branch(block.ffn(fed)).float() * gate_m).type_as(x)
    call.done()
    return x


def cogvideox(block: Any, given: Mapping[str, Any], call: BlockCall) -> tuple[Tensor, Tensor]:
    """`CogVideoXBlock`: text and video attend together; all of the text, the selected video tokens."""
    x, text, embedded = (given[name] for name in ("hidden_states", "encoder_hidden_states", "temb"))
    rotary = given.get("image_rotary_emb")
    attn, words = block.attn1, text.shape[1]
    call.choose(x)
    normed, normed_text, gate, gate_text = block.norm1(x, text, embedded)

    def heads(values: Tensor) -> Tensor:
        return values.unflatten(2, (attn.heads, -1)).transpose(1, 2)

    q = heads(attn.to_q(torch.cat([normed_text, call.at(normed)], dim=1)))
    every = torch.cat([normed_text, normed], dim=1)
    k, v = heads(attn.to_k(every)), heads(attn.to_v(every))
    q = q if attn.norm_q is None else attn.norm_q(q)
    k = k if attn.norm_k is None else attn.norm_k(k)
    if rotary is not None:
        cosine, sine = rotary
        k = torch.cat([k[:, :, :words], turned(k[:, :, words:], cosine, sine)], dim=2)
        if call.rows is not None:
            cosine, sine = cosine[call.rows.each].unsqueeze(1), sine[call.rows.each].unsqueeze(1)
        q = torch.cat([q[:, :, :words], turned(q[:, :, words:], cosine, sine)], dim=2)
    out, lse = attend(q, k, v)
    call.attended(lse[:, :, words:])
    out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
    x = x + gate * call.branch(out[:, words:])
    text = text + gate_text * out[:, :words]
    normed, normed_text, gate, gate_text = block.norm2(call.at(x), text, embedded)
    fed = block.ff(torch.cat([normed_text, normed], dim=1))
    x = x + gate * call.branch(fed[:, words:])
    text = text + gate_text * fed[:, :words]
    call.done()
    return x, text


FAMILIES: dict[str, Callable[[Any, Mapping[str, Any], BlockCall], Any]] = {
    "WanTransformerBlock": wan,
    "CogVideoXBlock": cogvideox,
}
