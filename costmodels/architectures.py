"""Dimensions of transformer models: what the compositions need to know, no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..errors import DataError, nearest
from ..hardware.dtypes import size_of

Size: TypeAlias = int


@dataclass(frozen=True)
class Architecture:
    """A decoder (or, with vocabulary 0, a plain stack) of equal transformer blocks."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    gated: bool = True
    tied: bool = False
    positions: int = 0

    @property
    def layer_parameters(self) -> int:
        """Weights of one block's matrix products and norms."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        mlp = (3 if self.gated else 2) * self.hidden * self.intermediate
        return attention + mlp + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Weights of the whole model."""
        tables = (1 if self.tied else 2) * self.vocabulary * self.hidden + self.positions * self.hidden
        return self.layers * self.layer_parameters + tables + self.hidden

    def cache_bytes(self, dtype: str = "bf16") -> float:
        """Bytes of KV cache of one token.

        >>> architecture("llama-2-7b").cache_bytes()
        524288.0
        """
        return 2 * self.layers * self.kv_heads * self.head_dim * size_of(dtype)


_ALL = (
    Architecture("gpt2", 12, 768, 12, 12, 64, 3072, 50257, gated=False, tied=True, positions=1024),
    Architecture("gpt2-medium", 24, 1024, 16, 16, 64, 4096, 50257, gated=False, tied=True, positions=1024),
    Architecture("gpt2-large", 36, 1280, 20, 20, 64, 5120, 50257, gated=False, tied=True, positions=1024),
    Architecture("gpt2-xl", 48, 1600, 25, 25, 64, 6400, 50257, gated=False, tied=True, positions=1024),
    Architecture("bert-large", 24, 1024, 16, 16, 64, 4096, 30522, gated=False, tied=True, positions=512),
    Architecture("llama-2-7b", 32, 4096, 32, 32, 128, 11008, 32000),
    Architecture("llama-2-13b", 40, 5120, 40, 40, 128, 13824, 32000),
    Architecture("llama-2-70b", 80, 8192, 64, 8, 128, 28672, 32000),
    Architecture("llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256),
    Architecture("llama-3.1-70b", 80, 8192, 64, 8, 128, 28672, 128256),
    Architecture("llama-3.2-3b", 28, 3072, 24, 8, 128, 8192, 128256, tied=True),
    Architecture("qwen-2.5-7b", 28, 3584, 28, 4, 128, 18944, 152064),
)
ARCHITECTURES = {model.name: model for model in _ALL}


def architecture(name: str) -> Architecture:
    """A model by name; DataError names the nearest.

    >>> round(architecture("llama-2-7b").parameters / 1e9, 2)
    6.74
    """
    if name not in ARCHITECTURES:
        raise DataError(f"unknown model '{name}'; {nearest(name, ARCHITECTURES)}")
    return ARCHITECTURES[name]
