"""The law of the small model on this machine, from timed runs: a line over the partial steps.

Whole steps take the plain path, so they are timed apart; steps without tokens cost one pass over the clip.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable

import numpy as np
import torch

from ...hardware.host import configuration_folder, probe
from ..training.execution.profiling import one_thread
from .law import SHARES, TENTHS, StepLaw
from .sampling import sample
from .trials import Trials

VERSION = 4
LEVELS = (2, 4, 6, 8)
"""Tenths at which partial steps are timed."""
REPEATS = 3
CLIPS = 4
"""Clips that go through the model together, as `sample` does by default."""
Progress = Callable[[int, int], None]


def host_law(name: str, trial: Trials, progress: Progress | None = None) -> StepLaw:
    """The law of a model on this machine: from the configuration folder, or timed now and put there."""
    shape = trial.model.config.description()
    key = json.dumps([VERSION, shape, trial.steps, probe().family, torch.__version__])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = configuration_folder() / "diffusion" / f"{name}-{digest}.json"
    if path.is_file():
        record = json.loads(path.read_text())
    else:
        record = _timed(trial, progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(record))
        draft.replace(path)
    return as_law(record)


def as_law(record: dict[str, float]) -> StepLaw:
    """The law that a record of `_timed` stands for."""
    seconds = record["fixed"] + record["slope"] * SHARES
    seconds[-1], seconds[0] = record["whole"], record["none"]
    flops = np.array([record["flops_fixed"] + record["flops_slope"] * s for s in SHARES])
    flops[0] = 0.0
    return StepLaw(seconds, flops, record["sigma"], record["cache"])


def _timed(trial: Trials, progress: Progress | None) -> dict[str, float]:
    """Least of a few runs at each level, taken in turn so that a busy spell hits all of them; per clip."""
    steps = trial.steps
    later = steps - 1
    levels = (*LEVELS, TENTHS, 0)
    kinds, seeds = [0] * CLIPS, list(range(CLIPS))
    best = dict.fromkeys(levels, float("inf"))
    work, cache = {}, 0.0
    for repeat in range(REPEATS + 1):
        for level in levels:
            shares = [1.0, *[level / TENTHS] * later]
            with one_thread():
                made = sample(trial.model, kinds, seeds, steps=steps, schedule=shares, batch=CLIPS)
            if repeat:  # the first round warms up
                best[level] = min(best[level], made.seconds / CLIPS)
            work[level] = made.flops / CLIPS
            cache = max(cache, float(made.cache_bytes))
        if progress is not None:
            progress(repeat + 1, REPEATS + 1)
    whole = best[TENTHS] / steps
    partial = np.array([(best[level] - whole) / later for level in LEVELS])
    shares_timed = np.array(LEVELS) / TENTHS
    slope, fixed = np.polyfit(shares_timed, partial, 1)
    missed = (fixed + slope * shares_timed) / partial - 1.0
    count = np.array([(work[level] - work[TENTHS] / steps) / later for level in LEVELS])
    flops_slope, flops_fixed = np.polyfit(shares_timed, count, 1)
    return {
        "whole": whole,
        "fixed": float(fixed),
        "slope": float(slope),
        "none": max(0.0, (best[0] - whole) / later),
        "sigma": max(0.02, float(np.sqrt(np.mean(missed**2)))),
        "flops_fixed": float(flops_fixed),
        "flops_slope": float(flops_slope),
        "cache": cache,
    }
