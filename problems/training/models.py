"""Shapes of frozen transformer families: what decides parameter counts and saved tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ...errors import SpaceError

Family = Literal["gpt", "llama"]


@dataclass(frozen=True)
class Transformer:
    """A decoder-only transformer.

    family: "gpt" (layer norm, biases, GELU, learned positions, tied output) or "llama" (RMS norm, no
    biases, SwiGLU, rotary positions, untied output). feed_forward: width of the MLP. positions:
    learned position embeddings, 0 where there are none.
    """

    name: str
    family: Family
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    positions: int = 0

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden // self.heads

    @property
    def block_parameters(self) -> int:
        """Weights of one block.

        gpt: qkv, output, two MLP products, each with biases, and two layer norms.
        llama: q, o, k, v, gate, up, down, and two RMS norms.
        """
        h, f = self.hidden, self.feed_forward
        keys = self.kv_heads * self.head_dim
        if self.family == "gpt":
            return (h + 1) * (h + 2 * keys) + (h + 1) * h + (h + 1) * f + (f + 1) * h + 4 * h
        return 2 * h * h + 2 * h * keys + 3 * h * f + 2 * h

    @property
    def parameters(self) -> int:
        """Weights of the whole model; the output matrix of a gpt is its token embedding.

        >>> MODELS["gpt2-xl"].parameters, MODELS["llama-7b"].parameters
        (1557611200, 6738415616)
        """
        h = self.hidden
        ends = self.vocabulary * h + self.positions * h + 2 * h
        if self.family == "llama":
            ends = 2 * self.vocabulary * h + h
        return ends + self.layers * self.block_parameters

    def resized(self, **sizes: int | None) -> Transformer:
        """The same family with some sizes replaced; None keeps what is there.

        A new `hidden` or `heads` carries `kv_heads` and a gpt's `feed_forward` (4 hidden) along, unless
        they are given too. Raises SpaceError where the heads do not divide the hidden width.
        """
        given = {name: size for name, size in sizes.items() if size is not None}
        for name, size in given.items():
            if size < 1:
                raise SpaceError(f"parameter '{name}' of adacc must be at least 1, got {size}.")
        made = replace(self, **given)  # type: ignore[arg-type]
        if "heads" in given and "kv_heads" not in given:
            made = replace(made, kv_heads=made.heads)
        if "hidden" in given and "feed_forward" not in given:
            made = replace(made, feed_forward=round(self.feed_forward / self.hidden * made.hidden))
        if made.hidden % made.heads:
            raise SpaceError(
                f"hidden of adacc must be a multiple of heads, got {made.hidden} and {made.heads}."
            )
        if made.heads % made.kv_heads:
            raise SpaceError(
                f"heads of adacc must be a multiple of kv_heads, got {made.heads} and {made.kv_heads}."
            )
        return made


def _gpt2(name: str, layers: int, hidden: int, heads: int) -> Transformer:
    """GPT-2 (Radford et al. 2019, table 2; vocabulary and positions of the released models)."""
    return Transformer(name, "gpt", layers, hidden, heads, heads, 4 * hidden, 50_257, 1024)


def _llama(name: str, layers: int, hidden: int, heads: int, feed_forward: int) -> Transformer:
    """LLaMA (Touvron et al. 2023, table 2; MLP widths of the released models)."""
    return Transformer(name, "llama", layers, hidden, heads, heads, feed_forward, 32_000)


MODELS: dict[str, Transformer] = {
    model.name: model
    for model in (
        _gpt2("gpt2", 12, 768, 12),
        _gpt2("gpt2-medium", 24, 1024, 16),
        _gpt2("gpt2-large", 36, 1280, 20),
        _gpt2("gpt2-xl", 48, 1600, 25),
        _llama("llama-7b", 32, 4096, 32, 11_008),
        _llama("llama-13b", 40, 5120, 40, 13_824),
    )
}
