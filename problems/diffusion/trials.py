"""How good a schedule is: clips of the small model with it, beside those of the full run with the same seeds.

Each schedule is tried once a prompt and kept on disk under the digest of the weights. A prompt is a class
and a seed. Those that a search sees (calibration) and those that only `apply` sees (test) share neither.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ..training.execution.profiling import one_thread
from . import quality, training
from .dit import LONG, DiTConfig, VideoDiT
from .law import TENTHS
from .sampling import Samples, sample
from .shares import Tenths

if TYPE_CHECKING:
    from .clips import ClipSet
    from .training import Progress

Array = npt.NDArray[np.float64]
Prompt = tuple[int, int]
VERSION = 2
"""Raised when sampling, selection or quality changes what a schedule is worth."""
FIELDS = ("error", "psnr", "ssim")
CALIBRATION_SEED, TEST_SEED = 1_000, 900_000

TINY = DiTConfig(frames=2, side=16, patch=(1, 4, 4), width=24, blocks=2, heads=2)
CONFIGS = {"small": DiTConfig(), "long": LONG, "tiny": TINY}
RECIPES = {"tiny": training.Recipe(steps=4, batch=2, warmup=1)}


def configured(name: str, clips: Path | None) -> tuple[DiTConfig, ClipSet | None]:
    """The shape of a model, and what it is trained on: clips of a folder, or moving scenes."""
    if clips is None:
        return CONFIGS[name], None
    from .clips import clip_set

    found, config = clip_set(clips, CONFIGS[name])
    return config, found


def load_model(name: str, clips: Path | None = None, progress: Progress | None = None) -> VideoDiT:
    """The trained model called `name`: from the user's cache, or trained now."""
    config, found = configured(name, clips)
    with one_thread():
        return training.pretrained(config, progress, recipe=RECIPES.get(name), clips=found)


def calibration_prompts(count: int, classes: int) -> list[Prompt]:
    """Prompts that the search sees: every second class in turn, seeds of their own.

    >>> calibration_prompts(2, 8), unseen_prompts(2, 8)
    ([(0, 1000), (2, 1001)], [(1, 900000), (3, 900001)])
    """
    seen = range(0, classes, 2)
    return [(seen[i % len(seen)], CALIBRATION_SEED + i) for i in range(count)]


def unseen_prompts(count: int, classes: int, seed: int = 0) -> list[Prompt]:
    """Prompts that no search sees: the other classes (the only one, where there is one), other seeds."""
    other = range(1, classes, 2) if classes > 1 else range(1)
    return [(other[i % len(other)], TEST_SEED + 1_000 * seed + i) for i in range(count)]


class Trials:
    """Schedules tried on one model at one number of steps.

    folder: where results are kept, one line a trial.
    """

    def __init__(self, model: VideoDiT, weights: str, steps: int, folder: Path | None = None) -> None:
        self.model, self.steps = model, steps
        key = json.dumps([VERSION, weights, steps, torch.__version__])
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.path = (folder or training.cache_folder() / "trials") / f"{name}.jsonl"
        self._references: dict[Prompt, Any] = {}
        self.sampled = 0

    @cached_property
    def _known(self) -> dict[tuple[str, Prompt], tuple[float, ...]]:
        """What the file holds; a line that a crash cut short is skipped."""
        found: dict[tuple[str, Prompt], tuple[float, ...]] = {}
        if self.path.is_file():
            for line in self.path.read_text().splitlines():
                try:
                    row = json.loads(line)
                    kind, seed = row["prompt"]
                    found[row["schedule"], (kind, seed)] = tuple(float(row[name]) for name in FIELDS)
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def quality(self, tenths: Tenths, prompts: Sequence[Prompt]) -> Array:
        """Error, PSNR and SSIM of schedules on prompts: (rows, steps - 1) -> (rows, prompts, 3)."""
        made = np.empty((len(tenths), len(prompts), len(FIELDS)))
        for i, row in enumerate(np.asarray(tenths).tolist()):
            for j, prompt in enumerate(prompts):
                made[i, j] = self._one(row, prompt)
        return made

    def missing(self, tenths: Tenths, prompts: Sequence[Prompt]) -> int:
        """Trials among these that are not known yet."""
        names = [_name(row) for row in np.asarray(tenths).tolist()]
        return sum((name, prompt) not in self._known for name in names for prompt in prompts)

    def clips(self, tenths: Sequence[int], prompts: Iterable[Prompt]) -> Samples:
        """Clips of some prompts with a schedule, one after the other, with their time."""
        kinds, seeds = zip(*prompts, strict=True)
        shares = [1.0, *(value / TENTHS for value in tenths)]
        with one_thread():
            made: Samples = sample(self.model, kinds, seeds, steps=self.steps, schedule=shares, batch=1)
            return made

    def _one(self, row: list[int], prompt: Prompt) -> tuple[float, ...]:
        name = _name(row)
        if (name, prompt) not in self._known:
            self.sampled += 1
            reference = self._reference(prompt)
            latents = self.clips(row, [prompt]).latents
            one, other = quality.pixels(latents)[0], quality.pixels(reference)[0]
            values = (
                quality.latent_error(latents, reference),
                quality.psnr(one, other),
                quality.ssim(one, other),
            )
            self._known[name, prompt] = values
            self._keep(name, prompt, values)
        return self._known[name, prompt]

    def _reference(self, prompt: Prompt) -> Any:
        if prompt not in self._references:
            self._references[prompt] = self.clips([TENTHS] * (self.steps - 1), [prompt]).latents
        return self._references[prompt]

    def _keep(self, name: str, prompt: Prompt, values: Sequence[float]) -> None:
        """One line in one write, so that several processes may add to the file."""
        line = json.dumps({"schedule": name, "prompt": prompt, **dict(zip(FIELDS, values, strict=True))})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(target, (line + "\n").encode())
        finally:
            os.close(target)


def _name(row: Sequence[int]) -> str:
    return ",".join(map(str, row))


@lru_cache(maxsize=4)
def trials(name: str, steps: int, clips: Path | None = None) -> Trials:
    """The trials of a model by name; the model is trained where nobody did."""
    config, found = configured(name, clips)
    weights = training.digest(config, RECIPES.get(name) or training.Recipe(), found)
    return Trials(load_model(name, clips), weights, steps)


__all__ = ["FIELDS", "Prompt", "Trials", "calibration_prompts", "load_model", "trials", "unseen_prompts"]
