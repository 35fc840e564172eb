"""Clips from noise under a schedule of token budgets, with what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import SpaceError
from ..training.execution.profiling import clock
from .dit import VideoDiT
from .flow import noise, step_times
from .schedule import Schedule, as_schedule
from .tokens import TokenRun
from .weights import Weights

BATCH = 4
"""Samples that go through the model together."""


@dataclass(frozen=True)
class Samples:
    """What sampling made.

    latents: (n, frames, channels, side, side), the clips in about [-1, 1]. seconds: time of all samples, CPU
    time of one thread where one does the work. flops: operations of all samples, matrix products.
    cache_bytes: most memory of the caches of one sample.
    """

    latents: npt.NDArray[np.float32]
    seconds: float
    flops: float
    cache_bytes: int


def sample(
    model: VideoDiT,
    classes: Sequence[int],
    seeds: Sequence[int],
    *,
    steps: int = 20,
    schedule: Schedule | Iterable[float] | None = None,
    weights: Weights | None = None,
    batch: int = BATCH,
    run: Callable[[VideoDiT, Weights], TokenRun] = TokenRun,
) -> Samples:
    """One clip for each class and seed, by Euler steps.

    schedule: a budget in [0, 1] for each step, the first 1; 0 takes the previous output of the model again;
    None or all ones is the plain path. weights: of the selection; the schedule's own, or the usual ones.
    run: what computes a batch's steps. The same seed starts from the same noise whatever the batch.
    """
    budgets = as_schedule(schedule, steps)
    weights = weights or budgets.weights
    config = model.config
    if len(classes) != len(seeds):
        raise SpaceError(f"sample: classes and seeds must be as many, got {len(classes)} and {len(seeds)}.")
    for kind in classes:
        if not 0 <= kind < config.classes:
            raise SpaceError(f"sample: a class must be within 0 to {config.classes - 1}, got {kind}.")
    device = model.places.device
    made, seconds, flops, held = [], 0.0, 0.0, 0
    for start in range(0, len(classes), batch):
        kinds = torch.tensor(classes[start : start + batch], device=device)
        clip = noise(config, seeds[start : start + batch], device)
        began = clock(device)
        state = run(model, weights)
        with torch.inference_mode():
            clip, peak = denoise(state, clip, kinds, budgets)
        seconds += clock(device) - began
        flops += state.flops
        held = max(held, peak // len(kinds))
        made.append(clip.cpu().numpy())
    empty = np.zeros((0, *config.clip_shape), dtype=np.float32)
    return Samples(np.concatenate(made) if made else empty, seconds, flops, held)


def denoise(
    run: TokenRun,
    clip: Tensor,
    kinds: Tensor,
    budgets: Schedule,
    start: int = 0,
    before: Callable[[int, Tensor], None] | None = None,
) -> tuple[Tensor, int]:
    """All steps of one batch: the clip, and the most bytes the caches held.

    start: a whole step to begin at, `clip` being what the steps before it made: it fills all caches, so
    nothing else is carried over it. before: told each step and the clip that it begins with.
    """
    steps, peak, times = len(budgets), 0, step_times(len(budgets))
    for i in range(start, steps):
        budget = budgets.budgets[i]
        if before is not None:
            before(i, clip)
        at = torch.full((len(kinds),), times[i], device=clip.device)
        reused = i + 1 < steps and budgets.budgets[i + 1] == 0
        velocity = run.velocity(clip, at, kinds, budget, keep=budgets.keeps(i), reused=reused or budget == 0)
        clip = clip + velocity / steps
        peak = max(peak, run.cache_bytes)
    return clip, peak
