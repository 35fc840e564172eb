"""Rectified flow (Liu et al. 2022): straight lines from noise at time 0 to the clip at time 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .dit import DiTConfig, VideoDiT

SHIFT, SPREAD = -0.4, 1.0
"""Mean and deviation of the logit of training times: more of the noisy half, where the scene is decided."""


def noise(config: DiTConfig, seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal clips (n, *clip_shape), each from its own seed whatever the batch."""
    drawn = [
        torch.randn(config.clip_shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds
    ]
    return torch.stack(drawn).to(device)


def step_times(steps: int) -> list[float]:
    """Start of each step, equally spaced from 0."""
    return [i / steps for i in range(steps)]


def flow_loss(model: VideoDiT, clips: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocity at a random time on each line.

    clips: (n, *clip_shape) in [-1, 1]; classes: (n,).
    """
    n = clips.shape[0]
    time = torch.sigmoid(SHIFT + SPREAD * torch.randn(n, generator=generator)).to(clips.device)
    start = torch.randn(clips.shape, generator=generator).to(clips.device)
    along = time.view(-1, 1, 1, 1, 1)
    predicted = model((1 - along) * start + along * clips, time, classes)
    return (predicted.float() - (clips - start)).square().mean()
