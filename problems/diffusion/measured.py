"""The law of the small model on this machine, from timed steps: one of each tenth, beside a whole one.

Whole steps take the plain path; steps without tokens cost one pass over the clip.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...hardware.host import configuration_folder, probe
from ..digest import code
from ..readiness import takes_long
from ..training.execution.profiling import clock, one_thread
from .flow import noise
from .law import SHARES, TENTHS, StepLaw
from .tokens import TokenRun
from .trials import Trials

REPEATS = 13
CLIPS = 4
"""Clips that go through the model together, as `sample` does by default."""
Progress = Callable[[int, int], None]


def host_law(name: str, trial: Trials, progress: Progress | None = None) -> StepLaw:
    """The law of a model on this machine: from the configuration folder, or timed now and put there."""
    shape = trial.model.config.description()
    key = json.dumps([code(_timed), shape, trial.steps, probe().family, torch.__version__])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = configuration_folder() / "diffusion" / f"{name}-{digest}.json"
    kept = kept_law(path)
    if kept is not None:
        return kept
    takes_long("timing the model's steps")
    record = _timed(trial, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(record))
    draft.replace(path)
    return as_law(record)


def kept_law(path: Path) -> StepLaw | None:
    """The law in a file; None where there is none, or it is damaged, so that it is timed anew."""
    try:
        law = as_law(json.loads(path.read_text()))
        seconds = np.asarray(law.seconds, float)
        numbers = np.array([*seconds, *np.asarray(law.flops, float), law.sigma, law.cache], float)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    sound = seconds.shape == SHARES.shape and (np.diff(seconds) >= 0).all() and seconds[-1] > 0
    return law if sound and np.isfinite(numbers).all() and 0 <= law.sigma < 1 else None


def as_law(record: dict[str, Any]) -> StepLaw:
    """The law that a record of `_timed` stands for."""
    flops = np.array([record["flops_fixed"] + record["flops_slope"] * s for s in SHARES])
    flops[0] = 0.0
    return StepLaw(np.array(record["seconds"]), flops, record["sigma"], record["cache"])


def _timed(trial: Trials, progress: Progress | None) -> dict[str, Any]:
    """Medians of paired steps: each level right after a whole step, so that a busy spell hits both.

    Seconds of one clip by tenths; more tokens never cost less, up to what the whole step costs at least.
    """
    model = trial.model
    clip, at = noise(model.config, range(CLIPS)), torch.full((CLIPS,), 0.5)
    kinds = torch.zeros(CLIPS, dtype=torch.long)
    whole, best = TokenRun(model), float("inf")
    runs = {level: TokenRun(model) for level in range(TENTHS)}
    ratios: dict[int, list[float]] = {level: [] for level in runs}

    def seconds(run: TokenRun, share: float, keep: bool) -> float:
        began = clock(clip.device)
        _ = clip + run.velocity(clip, at, kinds, share, keep=keep, reused=share == 0) / trial.steps
        return clock(clip.device) - began

    with one_thread(), torch.inference_mode():
        for level, run in runs.items():  # warms up as well
            run.velocity(clip, at, kinds, 1.0, keep=level > 0, reused=level == 0)
        cache = max(run.cache_bytes for run in runs.values()) / CLIPS
        before = {level: run.flops for level, run in runs.items()}
        for repeat in range(REPEATS):
            for level, run in runs.items():
                full = seconds(whole, 1.0, keep=False)
                best = min(best, full)
                ratios[level].append(seconds(run, level / TENTHS, keep=True) / full)
            if progress is not None:
                progress(repeat + 1, REPEATS)
    middle = np.array([np.median(found) for found in ratios.values()])
    spread = [np.std(found) / mean for found, mean in zip(ratios.values(), middle, strict=True)][1:]
    counts = np.array([(runs[level].flops - before[level]) / REPEATS / CLIPS for level in runs])[1:]
    slope, fixed = np.polyfit(SHARES[1:-1], counts, 1)
    return {
        "seconds": (np.maximum.accumulate([*middle, max(1.0, middle[-1])]) * best / CLIPS).tolist(),
        "sigma": max(0.02, float(np.mean(spread) / np.sqrt(REPEATS))),
        "flops_fixed": float(fixed),
        "flops_slope": float(slope),
        "cache": cache,
    }
