"""Small modules to plan and train: a GPT, PyTorch's own encoder, a Llama-style stack; and their text.

Each maps (batch, sequence) characters and the characters that follow to the mean cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....errors import DataError
from ....text import read_text


@dataclass(frozen=True)
class Shape:
    """Sizes of a small module."""

    layers: int = 4
    hidden: int = 128
    heads: int = 4
    sequence: int = 128
    vocabulary: int = 128
    dropout: float = 0.0


class Attention(nn.Module):  # type: ignore[misc]
    """Causal self-attention; q, k and v are views of one product."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, sequence, hidden) in and out."""
        b, s, h = x.shape
        q, k, v = (t.view(b, s, self.heads, -1).transpose(1, 2) for t in self.qkv(x).split(h, 2))
        p = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)
        made: Tensor = self.out(mixed.transpose(1, 2).reshape(b, s, h))
        return made


class GPTBlock(nn.Module):  # type: ignore[misc]
    """Norm, attention, add; norm, expand, GELU, contract, add."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(shape.hidden), nn.LayerNorm(shape.hidden)
        self.attention = Attention(shape)
        self.expand, self.contract = (
            nn.Linear(shape.hidden, 4 * shape.hidden),
            nn.Linear(4 * shape.hidden, shape.hidden),
        )
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, sequence, hidden) in and out."""
        x = x + self.drop(self.attention(self.norm1(x)))
        made: Tensor = x + self.drop(self.contract(functional.gelu(self.expand(self.norm2(x)))))
        return made


class Rotary(nn.Module):  # type: ignore[misc]
    """Rotary position embedding of (batch, heads, sequence, channels)."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, channels: int, sequence: int) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(sequence), 10_000.0 ** (-torch.arange(0, channels, 2) / channels))
        self.register_buffer("cosine", torch.cat([angles, angles], 1).cos(), persistent=False)
        self.register_buffer("sine", torch.cat([angles, angles], 1).sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate by position."""
        one, two = x.chunk(2, -1)
        return x * self.cosine[: x.shape[2]] + torch.cat([-two, one], -1) * self.sine[: x.shape[2]]


class LlamaBlock(nn.Module):  # type: ignore[misc]
    """RMS norm, q, k, v, rotary, attention, add; RMS norm, gate, up, SiLU, product, down, add."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        h, self.heads = shape.hidden, shape.heads
        self.norm1, self.norm2 = nn.RMSNorm(h), nn.RMSNorm(h)
        self.query, self.key, self.value, self.out = (nn.Linear(h, h, bias=False) for _ in range(4))
        inner = -(-8 * h // 3 // 16) * 16
        self.gate, self.up = nn.Linear(h, inner, bias=False), nn.Linear(h, inner, bias=False)
        self.down = nn.Linear(inner, h, bias=False)
        self.rotary = Rotary(h // shape.heads, shape.sequence)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, sequence, hidden) in and out."""
        b, s, h = x.shape
        y = self.norm1(x)
        q, k, v = (
            p(y).view(b, s, self.heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(self.rotary(q), self.rotary(k), v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, s, h))
        y = self.norm2(x)
        made: Tensor = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return made


class LanguageModel(nn.Module):  # type: ignore[misc]
    """Embedding, blocks, norm, head, cross-entropy. family: gpt, llama or encoder."""

    def __init__(self, family: str, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.places = nn.Embedding(shape.sequence, shape.hidden) if family != "llama" else None
        self.blocks: nn.Module
        if family == "encoder":
            layer = nn.TransformerEncoderLayer(
                shape.hidden,
                shape.heads,
                4 * shape.hidden,
                shape.dropout,
                "gelu",
                batch_first=True,
                norm_first=True,
            )
            self.blocks = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        else:
            kind = {"gpt": GPTBlock, "llama": LlamaBlock}[family]
            self.blocks = nn.ModuleList(kind(shape) for _ in range(shape.layers))
        self.causal = family == "encoder"
        self.norm = nn.RMSNorm(shape.hidden) if family == "llama" else nn.LayerNorm(shape.hidden)
        self.head = nn.Linear(shape.hidden, shape.vocabulary, bias=False)

    def forward(self, tokens: Tensor, following: Tensor) -> Tensor:
        """Mean cross-entropy of `following`, both (batch, sequence)."""
        x = self.tokens(tokens)
        if self.places is not None:
            x = x + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        if self.causal:
            mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
            x = self.blocks(x, mask=mask, is_causal=True)
        else:
            assert isinstance(self.blocks, nn.ModuleList)
            for block in self.blocks:
                x = block(x)
        return functional.cross_entropy(self.head(self.norm(x)).flatten(0, 1), following.flatten())


FAMILIES = ("gpt", "encoder", "llama")


def language_model(family: str, shape: Shape, seed: int = 0) -> LanguageModel:
    """A fresh module with weights of a seed; the caller's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(family, shape)


def characters(file: Path | None = None) -> Tensor:
    """A text as numbers below 128: a file, or the help topics of the standard library.

    Raises DataError where the file cannot be read or is too short.
    """
    if file is None:
        from pydoc_data import topics

        text = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    else:
        text = read_text(file, "text")
    if len(text) < 10_000:
        raise DataError(f"--text '{file}' must hold at least 10,000 characters, got {len(text):,}.")
    return torch.frombuffer(bytearray(text.encode("ascii", "replace")), dtype=torch.uint8).long()


def draw_batch(text: Tensor, batch: int, sequence: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random pieces of a text and the characters that follow, both (batch, sequence)."""
    if sequence + 1 >= len(text):
        raise DataError(f"a sequence of {sequence} characters is longer than the text ({len(text):,}).")
    starts = torch.randint(len(text) - sequence - 1, (batch,), generator=generator)
    rows = text[starts[:, None] + torch.arange(sequence + 1)]
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
