"""Training from scratch, resumable, and trained weights kept on disk under the digest of what made them.

Batches, noise and times of step i are drawn from (seed, i) alone, so a run that was stopped goes on to the
same weights. Weights are plain arrays in an `.npz` (never pickled), written atomically, in the user's cache
folder; they are made by the user's machine and never shipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ... import folders
from ...arrays import UNREADABLE, members
from ...errors import DataError, SpaceError
from ..digest import code
from ..readiness import takes_long
from . import scenes
from .clips import ClipSet
from .dit import DiTConfig, VideoDiT
from .flow import flow_loss
from .muon import Muon

__all__ = ["ClipSet", "DiTConfig", "Recipe", "Training", "pretrained", "weights_digest", "weights_path"]
Progress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, and the smoothed loss."""
SAVE_EVERY = 30.0
"""Seconds of CPU time between two saves of an unfinished run."""


@dataclass(frozen=True)
class Recipe:
    """How to train. steps x batch clips are seen.

    rate: the highest learning rate of AdamW, matrix_rate: of Muon for the blocks' matrices; both after a
    warm-up and before a cosine to zero. average: decay of the running mean of the weights, which is kept.
    """

    steps: int = 1800
    batch: int = 8
    rate: float = 3e-3
    matrix_rate: float = 0.02
    warmup: int = 100
    decay: float = 0.01
    average: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise SpaceError(
                f"Recipe: steps and batch must be at least 1, got {self.steps} steps of {self.batch}."
            )

    def share_at(self, step: int) -> float:
        """The learning rates of a step, as a share of the highest."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        return rising * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def digest(config: DiTConfig, recipe: Recipe, clips: ClipSet | None = None) -> str:
    """Name of the weights that this training makes."""
    content = {
        "config": config.description(),
        "recipe": asdict(recipe),
        "data": f"scenes {scenes.VERSION}" if clips is None else clips.digest(),
        "code": code(Training),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def weights_digest(model: VideoDiT) -> str:
    """Name of a model's shape and weights, for what is computed with it."""
    content = hashlib.sha256(json.dumps(model.config.description(), sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        content.update(name.encode() + np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return content.hexdigest()[:16]


def cache_folder() -> Path:
    """Where trained weights are kept: the user's cache folder."""
    return folders.cache_folder("dit")


def weights_path(config: DiTConfig, recipe: Recipe | None = None, clips: ClipSet | None = None) -> Path:
    """The file that `pretrained` keeps or looks for."""
    return cache_folder() / f"{digest(config, recipe or Recipe(), clips)}.npz"


def save_arrays(path: Path, arrays: Mapping[str, Tensor | npt.NDArray[Any]]) -> None:
    """Write named arrays, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read named arrays. DataError where the file is not what `save_arrays` writes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return members(file)
    except (OSError, *UNREADABLE) as error:
        raise DataError(
            f"The weights in {path} cannot be read ({error}); delete the file to train again."
        ) from None


def load_weights(config: DiTConfig, path: Path) -> VideoDiT:
    """A model with the weights of a file."""
    model = VideoDiT(config)
    arrays = load_arrays(path)
    expected = model.state_dict()
    fits = arrays.keys() == expected.keys()
    if not fits or any(arrays[name].shape != tuple(value.shape) for name, value in expected.items()):
        raise DataError(f"The weights in {path} are of another model; delete the file to train again.")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    model.eval().requires_grad_(False)
    return model


def draw(config: DiTConfig, recipe: Recipe, step: int, clips: ClipSet | None) -> tuple[Tensor, Tensor]:
    """Clips and classes of a training step."""
    rng = np.random.default_rng([recipe.seed, step])
    if clips is not None:
        drawn, kinds = clips.batch(rng, recipe.batch)
    else:
        kinds = rng.integers(config.classes, size=recipe.batch).tolist()
        seeds = [[1, recipe.seed, step, i] for i in range(recipe.batch)]
        drawn = scenes.batch(kinds, seeds, config.frames, config.side)
    return torch.from_numpy(drawn), torch.tensor(kinds)


class Training:
    """A run of training that can be left and taken up again at its last save."""

    def __init__(
        self, config: DiTConfig, recipe: Recipe, clips: ClipSet | None = None, path: Path | None = None
    ) -> None:
        self.config, self.recipe, self.clips, self.path = config, recipe, clips, path
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = VideoDiT(config)
        matrices = {n: p for n, p in self.model.named_parameters() if n.startswith("blocks") and p.ndim == 2}
        matrices = {n: p for n, p in matrices.items() if not n.endswith("table")}
        self.rest = {n: p for n, p in self.model.named_parameters() if n not in matrices}
        self.muon = Muon(matrices, recipe.decay)
        self.optimizer = torch.optim.AdamW(
            self.rest.values(), recipe.rate, (0.9, 0.99), weight_decay=recipe.decay
        )
        self.averaged = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.done = 0
        self.loss = math.nan
        self.seconds = 0.0
        if path is not None and path.is_file():
            self._take_up(load_arrays(path))

    def step(self) -> float:
        """One step of both optimisers; its loss."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.done)
        clips, classes = draw(self.config, self.recipe, self.done, self.clips)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * self.recipe.share_at(self.done)
        self.model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = flow_loss(self.model, clips, classes, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.muon.step(self.recipe.matrix_rate * self.recipe.share_at(self.done))
        self.done += 1
        keep = min(self.recipe.average, self.done / (self.done + 10))
        for name, value in self.model.state_dict().items():
            self.averaged[name].lerp_(value, 1 - keep)
        return float(loss.detach())

    def run(self, progress: Progress | None = None, until: int | None = None) -> None:
        """Train to the end (or to step `until`), saving now and then."""
        began = saved = time.process_time()
        before = self.seconds
        last = min(until or self.recipe.steps, self.recipe.steps)
        while self.done < last:
            loss = self.step()
            self.loss = loss if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * loss
            now = time.process_time()
            self.seconds = before + now - began
            if now - saved > SAVE_EVERY:
                self.save()
                saved = now
            if progress is not None:
                progress(self.done, self.recipe.steps, self.loss)
        self.save()

    def save(self) -> None:
        """Write the state, if there is a place for it."""
        if self.path is None:
            return
        arrays: dict[str, Tensor | npt.NDArray[Any]] = {
            "state": np.array([self.done, self.loss, self.seconds], dtype=np.float64)
        }
        arrays |= {f"weight/{name}": value.detach() for name, value in self.model.named_parameters()}
        arrays |= {f"momentum/{name}": value for name, value in self.muon.momentum.items()}
        for name, value in self.rest.items():
            moments = self.optimizer.state.get(value, {})
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in moments:
                    arrays[f"{moment}/{name}"] = moments[moment]
        arrays |= {f"average/{name}": value for name, value in self.averaged.items()}
        save_arrays(self.path, arrays)

    def _take_up(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        try:
            done, self.loss, self.seconds = arrays["state"].tolist()
            self.done = int(done)
            for name, value in self.model.named_parameters():
                value.data.copy_(torch.from_numpy(arrays[f"weight/{name}"]))
            self.muon.momentum = {n: torch.from_numpy(arrays[f"momentum/{n}"]) for n in self.muon.momentum}
            for name, value in self.rest.items():
                if self.done:
                    self.optimizer.state[value] = {
                        "step": torch.tensor(float(self.done)),
                        "exp_avg": torch.from_numpy(arrays[f"exp_avg/{name}"]),
                        "exp_avg_sq": torch.from_numpy(arrays[f"exp_avg_sq/{name}"]),
                    }
            self.averaged = {name: torch.from_numpy(arrays[f"average/{name}"]) for name in self.averaged}
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(f"The unfinished training in {self.path} cannot be taken up ({error}); "
                            "delete the file to begin again.") from None  # fmt: skip


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time trains the same weights; others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on this system: two processes would do the work twice, with the same result
        yield
        return
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pretrained(
    config: DiTConfig | None = None,
    progress: Progress | None = None,
    *,
    recipe: Recipe | None = None,
    clips: ClipSet | None = None,
) -> VideoDiT:
    """The trained model: read from the cache, or trained now (about half an hour of one core) and kept.

    progress: called after each step. Stopping is safe: the next call goes on where the last save was.
    """
    config, recipe = config or DiTConfig(), recipe or Recipe()
    if clips is None and config.classes > len(scenes.CLASSES):
        raise SpaceError(
            f"DiTConfig: classes must be at most {len(scenes.CLASSES)}, the moving scenes, "
            f"got {config.classes}."
        )
    path = weights_path(config, recipe, clips)
    if path.is_file():
        return load_weights(config, path)
    takes_long("training the model")
    with _alone(path):
        if not path.is_file():
            unfinished = path.with_suffix(".unfinished.npz")
            training = Training(config, recipe, clips, unfinished)
            training.run(progress)
            save_arrays(path, training.averaged)
            unfinished.unlink(missing_ok=True)
    return load_weights(config, path)
