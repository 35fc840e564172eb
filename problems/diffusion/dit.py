"""A small video diffusion transformer: space-time patches, AdaLN, class condition, rectified flow.

The blocks are the usual ones (Peebles & Xie 2023) with one modulation shared by all blocks and a table a
block (PixArt-alpha, Wan 2.1). Positions are fixed sines and cosines in three dimensions, added to the
tokens, and turn queries and keys. The network predicts the clean clip and turns it into a velocity, which
small models learn faster than the noise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .description import LONG, DiTConfig

__all__ = ["LONG", "Block", "DiTConfig", "VideoDiT", "modulated", "parameter_count"]
LATEST = 0.05
"""The least time left that a velocity is divided by."""


def positions(grid: tuple[int, int, int], width: int) -> Tensor:
    """Fixed sines and cosines of each token's place: (tokens, width), a third for each axis."""
    third = width // 3
    half = third // 2
    frequencies = torch.exp(-math.log(100.0) * torch.arange(half) / max(half - 1, 1))
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    parts = []
    for axis in axes:
        angle = axis.reshape(-1, 1) * frequencies
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=1)


def rotations(grid: tuple[int, int, int], pairs: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines that turn queries and keys by their place: (tokens, pairs) each.

    A third of the pairs for each axis; pairs that are left over are not turned (RoPE, Su et al. 2021, in
    three dimensions as in Wan 2.1). What attention sees is the distance between two tokens.
    """
    third = pairs // 3
    frequencies = 1.5 * torch.exp(-math.log(20.0) * torch.arange(third) / max(third - 1, 1))
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    angles = torch.cat([axis.reshape(-1, 1) * frequencies for axis in axes], dim=1)
    angles = F.pad(angles, (0, pairs - 3 * third))
    return angles.cos(), angles.sin()


def time_features(time: Tensor, width: int = 256) -> Tensor:
    """Sines and cosines of a time in [0, 1]: (n,) -> (n, width)."""
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(width // 2, device=time.device) / (width // 2))
    angle = 1000.0 * time[:, None].float() * frequencies
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without parameters, then the condition's shift and scale.

    x: (n, rows, d) or (rows, d); shift, scale broadcast with it.
    """
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(dim)) v of (n, heads, tokens, dim).

    Where gradients are needed on a CPU, as plain products: PyTorch's fused backward is half as fast there.
    """
    if q.requires_grad and q.device.type == "cpu":
        return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def turn(x: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """Each pair of x (..., dim) turned, halves apart; along, across: cosines and signed sines, twice each."""
    a, b = x.chunk(2, dim=-1)
    return torch.addcmul(x * along, torch.cat([b, a], dim=-1), across).to(x.dtype)


class Block(nn.Module):  # type: ignore[misc]
    """Attention and MLP, each with shift, scale and gate from the condition."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.mlp = nn.Sequential(
            nn.Linear(d, config.mlp_ratio * d),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.mlp_ratio * d, d),
        )
        self.table = nn.Parameter(torch.randn(6, d) / d**0.5)
        cosine, sine = rotations(config.grid, d // config.heads // 2)
        turned = torch.cat([cosine, cosine, -sine, sine], dim=1)
        self.register_buffer("turned", turned, persistent=False)

    def split(self, x: Tensor) -> Tensor:
        """(n, rows, d) -> (n, heads, rows, d / heads)."""
        n, rows, d = x.shape
        return x.view(n, rows, self.heads, d // self.heads).transpose(1, 2)

    def placed(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Queries or keys (n, heads, rows, dim) turned by their places; rows: (n, rows) tokens, all: None."""
        turned = self.turned
        if rows is not None:
            turned = turned.index_select(0, rows.reshape(-1)).view(*rows.shape, -1).unsqueeze(1)
        return turn(x, *turned.chunk(2, dim=-1))

    def modulation(self, shared: Tensor) -> tuple[Tensor, ...]:
        """Six (n, 1, d): shift, scale, gate of attention, then of the MLP. shared: (n, 6, d)."""
        return tuple((shared + self.table).unsqueeze(2).unbind(1))

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        """(n, tokens, d) -> (n, tokens, d): the plain path."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(shared)
        n, rows, d = x.shape
        q, k, v = (self.split(part) for part in self.qkv(modulated(x, shift_a, scale_a)).chunk(3, dim=-1))
        attended = attention(self.placed(q), self.placed(k), v).transpose(1, 2).reshape(n, rows, d)
        x = torch.addcmul(x, gate_a, self.out(attended))
        return torch.addcmul(x, gate_m, self.mlp(modulated(x, shift_m, scale_m)))


class VideoDiT(nn.Module):  # type: ignore[misc]
    """Velocity of a noisy clip: forward(clip, time, classes)."""

    def __init__(self, config: DiTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiTConfig()
        d = config.width
        self.embed = nn.Linear(config.patch_values, d)
        self.time = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d))
        self.named_class = nn.Embedding(config.classes, d)
        self.shared = nn.Linear(d, 6 * d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.final_condition = nn.Linear(d, 2 * d)
        self.final = nn.Linear(d, config.patch_values)
        self.register_buffer("places", positions(config.grid, d), persistent=False)
        for layer in (self.shared, self.final_condition, self.final):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for block in self.blocks:
            block.table.data[2].zero_()
            block.table.data[5].zero_()

    def patches(self, clip: Tensor) -> Tensor:
        """(n, frames, channels, side, side) -> (n, tokens, patch values)."""
        n = clip.shape[0]
        (gt, gh, gw), (t, h, w) = self.config.grid, self.config.patch
        parts = clip.view(n, gt, t, self.config.channels, gh, h, gw, w)
        return parts.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(n, self.config.tokens, -1)

    def clip(self, patches: Tensor) -> Tensor:
        """(n, tokens, patch values) -> (n, frames, channels, side, side)."""
        n = patches.shape[0]
        (gt, gh, gw), (t, h, w) = self.config.grid, self.config.patch
        parts = patches.view(n, gt, gh, gw, self.config.channels, t, h, w)
        return parts.permute(0, 1, 5, 4, 2, 6, 3, 7).reshape(n, *self.config.clip_shape)

    def tokens(self, clip: Tensor, time: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (n, tokens, d), the blocks' modulation (n, 6, d) and the condition (n, d)."""
        named = self.named_class(classes)
        condition = F.silu(self.time(time_features(time)) + named)
        x = self.embed(self.patches(clip)) + self.places + named[:, None]
        return x, self.shared(condition).view(-1, 6, self.config.width), condition

    def velocity(self, x: Tensor, clip: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """The velocity of the clip from the last block's tokens."""
        shift, scale = self.final_condition(condition).unsqueeze(1).chunk(2, dim=-1)
        clean = self.clip(self.final(modulated(x, shift, scale)))
        left = (1 - time).clamp(min=LATEST).view(-1, 1, 1, 1, 1)
        return (clean - clip) / left

    def forward(self, clip: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        """Velocity (n, frames, channels, side, side). time: (n,) from 0, noise, to 1; classes: (n,)."""
        x, shared, condition = self.tokens(clip, time, classes)
        for block in self.blocks:
            x = block(x, shared)
        return self.velocity(x, clip, time, condition)


def parameter_count(model: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(p.numel() for p in model.parameters())
