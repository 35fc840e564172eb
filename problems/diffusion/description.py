"""Shape of the small video diffusion transformer, in numbers: nothing is imported to read it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import SpaceError


@dataclass(frozen=True)
class DiTConfig:
    """Shape of the clips and of the network.

    A clip is (frames, channels, side, side) in [-1, 1]. patch: frames, rows and columns of a token.
    """

    frames: int = 8
    side: int = 32
    channels: int = 3
    patch: tuple[int, int, int] = (2, 4, 4)
    width: int = 192
    blocks: int = 6
    heads: int = 4
    mlp_ratio: int = 4
    classes: int = 8

    def __post_init__(self) -> None:
        t, h, w = self.patch
        if self.frames % t or self.side % h or self.side % w:
            raise SpaceError(
                f"DiTConfig: patch must divide {self.frames} frames of {self.side} x {self.side}, "
                f"got {self.patch}."
            )
        if self.width % self.heads or self.width % 6:
            raise SpaceError(
                f"DiTConfig: width must be a multiple of 6 and of heads ({self.heads}), got {self.width}."
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, rows and columns."""
        return self.frames // self.patch[0], self.side // self.patch[1], self.side // self.patch[2]

    @property
    def tokens(self) -> int:
        """Tokens of a clip."""
        return math.prod(self.grid)

    @property
    def patch_values(self) -> int:
        """Numbers in a token's patch."""
        return self.channels * math.prod(self.patch)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(frames, channels, side, side)."""
        return self.frames, self.channels, self.side, self.side

    def flops(self, rows: int | None = None) -> float:
        """Operations of one forward pass of one clip with `rows` selected tokens a block (all: None).

        Matrix products only. Keys and values are projected for all tokens, whatever is selected.

        >>> DiTConfig().flops(128) / DiTConfig().flops() < 0.6
        True
        """
        tokens, d = self.tokens, self.width
        chosen = tokens if rows is None else rows
        block = 2 * d * d * chosen + 2 * d * d * tokens  # query and output; key and value
        block += 2 * chosen * tokens * d  # scores and weighted values
        block += 2 * self.mlp_ratio * d * d * chosen
        ends = 2 * tokens * self.patch_values * d
        condition = 256 * d + d * d + 6 * d * d + 2 * d * d
        return 2.0 * (self.blocks * block + ends + condition)

    def description(self) -> dict[str, Any]:
        """The fields, as JSON takes them."""
        return asdict(self) | {"patch": list(self.patch)}


LONG = DiTConfig(frames=16, side=64, patch=(2, 4, 4))
"""2048 tokens."""
