"""How good a schedule is: clips of the small model with it, beside those of the full run with the same seeds.

Each schedule is tried once a prompt and kept on disk under the digest of the weights. A prompt is a class
and a seed. Those that a search sees (calibration) and those that only `apply` sees (test) share neither.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ..digest import code
from ..readiness import takes_long
from ..training.execution.profiling import one_thread
from . import quality, training
from .dit import LONG, DiTConfig, VideoDiT
from .flow import noise
from .jumps import local_errors
from .law import TENTHS
from .sampling import Samples, denoise, sample
from .schedule import Schedule
from .shares import Tenths
from .tokens import TokenRun
from .weights import Weights, calibrated

if TYPE_CHECKING:
    from .clips import ClipSet
    from .training import Progress

Array = npt.NDArray[np.float64]
Prompt = tuple[int, int]
FIELDS = ("error", "psnr", "ssim")
STATES = 256 * 2**20
"""Bytes of clips half made that are kept, so that schedules that begin alike are sampled from there."""
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

    trained: digest of the model's weights. folder: where results are kept, one line a trial. weights: of the
    tokens' score.
    """

    def __init__(
        self,
        model: VideoDiT,
        trained: str,
        steps: int,
        folder: Path | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.model, self.steps, self.weights = model, steps, weights or calibrated()
        key = json.dumps([code(Trials), trained, steps, torch.__version__, self.weights.record()])
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.path = (folder or training.cache_folder() / "trials") / f"{name}.jsonl"
        self._states: OrderedDict[tuple[Prompt, tuple[int, ...]], torch.Tensor] = OrderedDict()
        self._jumps: dict[Prompt, Array] = {}
        self.sampled = 0

    @cached_property
    def _known(self) -> dict[tuple[str, Prompt], tuple[float, ...]]:
        """What the file holds, jumps too; a line that a crash cut short is skipped."""
        found: dict[tuple[str, Prompt], tuple[float, ...]] = {}
        if self.path.is_file():
            for line in self.path.read_text().splitlines():
                try:
                    row = json.loads(line)
                    kind, seed = row["prompt"]
                    if "jumps" in row:
                        self._jumps[kind, seed] = self._triangle(row["jumps"])
                    else:
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

    def clips(self, tenths: Sequence[int], prompts: Iterable[Prompt], batch: int = 1) -> Samples:
        """Clips of some prompts with a schedule, `batch` together, with their time."""
        kinds, seeds = zip(*prompts, strict=True)
        shares = [1.0, *(value / TENTHS for value in tenths)]
        with one_thread():
            return sample(
                self.model, kinds, seeds, steps=self.steps, schedule=shares, weights=self.weights, batch=batch
            )

    def jumps(self, prompts: Sequence[Prompt]) -> Array:
        """`jumps.local_errors` of the full run of each prompt: (prompts, steps, steps + 1)."""
        _ = self._known  # reads the file
        for prompt in prompts:
            if prompt not in self._jumps:
                takes_long("sampling")
                errors = local_errors(self.states(prompt))
                upper = errors[np.triu_indices(self.steps, 2, self.steps + 1)]
                row = [float(f"{value:.6g}") for value in upper]
                self._jumps[prompt] = self._triangle(row)
                self._write({"prompt": prompt, "jumps": row})
        return np.stack([self._jumps[prompt] for prompt in prompts])

    def _triangle(self, values: Sequence[float]) -> Array:
        """The table of jumps from what the file keeps of it: those over one step and more."""
        made = np.full((self.steps, self.steps + 1), np.inf)
        made[np.arange(self.steps), np.arange(self.steps) + 1] = 0.0
        made[np.triu_indices(self.steps, 2, self.steps + 1)] = values
        return made

    def states(self, prompt: Prompt) -> npt.NDArray[np.float32]:
        """The clip before each step of the full run, and its end: (steps + 1, *clip_shape)."""
        full = (TENTHS,) * self.steps
        end = self._finished(full, prompt)
        made = [self._states.get((prompt, full[:i])) for i in range(self.steps)]
        if any(state is None for state in made):  # forgotten meanwhile
            self._states.clear()
            return self.states(prompt)
        return np.concatenate([*(state.numpy() for state in made if state is not None), end])

    def _one(self, row: list[int], prompt: Prompt) -> tuple[float, ...]:
        name = _name(row)
        if (name, prompt) not in self._known:
            takes_long("sampling")
            self.sampled += 1
            latents, reference = (
                self._finished((TENTHS, *tenths), prompt) for tenths in (row, [TENTHS] * (self.steps - 1))
            )
            one, other = quality.pixels(latents)[0], quality.pixels(reference)[0]
            values = (
                quality.latent_error(latents, reference),
                quality.psnr(one, other),
                quality.ssim(one, other),
            )
            self._known[name, prompt] = values
            self._write({"schedule": name, "prompt": prompt, **dict(zip(FIELDS, values, strict=True))})
        return self._known[name, prompt]

    def _finished(self, tenths: tuple[int, ...], prompt: Prompt) -> npt.NDArray[np.float32]:
        """The clip of a schedule (all steps), continued from a whole step that some other came to as well.

        A whole step refills every cache, so what follows depends on the clip alone.
        """
        kind, seed = prompt
        known = (prompt, tenths)
        whole = [i for i, value in enumerate(tenths) if value == TENTHS]
        start = max((i for i in whole if (prompt, tenths[:i]) in self._states), default=0)
        with one_thread(), torch.inference_mode():
            if known not in self._states:
                if (prompt, ()) not in self._states:
                    self._remember((prompt, ()), noise(self.model.config, [seed]))

                def before(step: int, clip: torch.Tensor) -> None:
                    if tenths[step] == TENTHS:
                        self._remember((prompt, tenths[:step]), clip)

                budgets = Schedule(tuple(value / TENTHS for value in tenths))
                began, kinds = self._states[prompt, tenths[:start]], torch.tensor([kind])
                run = TokenRun(self.model, self.weights)
                self._remember(known, denoise(run, began, kinds, budgets, start, before)[0])
            self._states.move_to_end(known)
            made: npt.NDArray[np.float32] = self._states[known].numpy()
            return made

    def _remember(self, key: tuple[Prompt, tuple[int, ...]], clip: torch.Tensor) -> None:
        """Keep a clip; those not used for longest go once all take more than STATES bytes."""
        self._states[key] = clip
        self._states.move_to_end(key)
        room = max(4 * self.steps, STATES // (clip.numel() * clip.element_size()))
        if len(self._states) > room:
            self._states.popitem(last=False)

    def _write(self, row: Mapping[str, Any]) -> None:
        """One line in one write, so that several processes may add to the file."""
        line = json.dumps(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(target, (line + "\n").encode())
        finally:
            os.close(target)


def _name(row: Sequence[int]) -> str:
    return ",".join(map(str, row))


@lru_cache(maxsize=4)
def trials(name: str, steps: int, clips: Path | None = None, weights: Weights | None = None) -> Trials:
    """The trials of a model by name; the model is trained where nobody did."""
    config, found = configured(name, clips)
    trained = training.digest(config, RECIPES.get(name) or training.Recipe(), found)
    return Trials(load_model(name, clips), trained, steps, weights=weights)


__all__ = ["FIELDS", "Prompt", "Trials", "calibration_prompts", "load_model", "trials", "unseen_prompts"]
