"""Real clips, decoded with PyAV (the `video` extra): to measure on, and cut to small squares to train on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError, SolverUnavailable
from .description import DiTConfig

Frames = npt.NDArray[np.uint8]
SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".m4v", ".mpg", ".mpeg", ".ogv"}
LEAST = 4
"""Windows that a class must give, so that training does not see one picture only."""


def _library() -> Any:
    """PyAV, or the sentence that says what to install."""
    try:
        import av
    except ImportError:
        raise SolverUnavailable(
            "Reading clips needs PyAV; install it with `pip install 'tradespace[video]'`."
        ) from None
    return av


def _decode(path: Path, size: tuple[int, int] | None) -> Iterator[Frames]:
    av = _library()
    with av.open(str(path)) as file:
        if not file.streams.video:
            raise DataError(f"The clip {path} has no video in it; name a file with a video stream.")
        for frame in file.decode(video=0):
            width, height = size or (frame.width, frame.height)
            yield frame.reformat(width, height, "rgb24", interpolation="AREA" if size else None).to_ndarray()


def read_clip(path: Path | str, size: tuple[int, int] | None = None) -> Frames:
    """All frames of a clip as 8-bit RGB: (frames, height, width, 3).

    size: (width, height) to scale to. DataError for what is not there or cannot be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"The clip {path} must be a file, got {'a folder' if path.is_dir() else 'nothing'}.")
    av = _library()
    try:
        frames = list(_decode(path, size))
    except (av.FFmpegError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise DataError(
            f"The clip {path} cannot be decoded ({reason}); name a video that a player can open."
        ) from None
    if not frames:
        raise DataError(f"The clip {path} has no frames; name a video that a player can open.")
    return np.stack(frames)


@dataclass(frozen=True)
class ClipSet:
    """Real clips to train on. clips: (n, frames, 3, side, side) in [-1, 1]; labels: (n,) class of each;
    names: of the classes."""

    clips: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def digest(self) -> str:
        """Name of the content."""
        return hashlib.sha256(self.clips.tobytes() + self.labels.tobytes()).hexdigest()[:16]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[npt.NDArray[np.float32], list[int]]:
        """Some clips, classes equally likely, mirrored half the time."""
        kinds = rng.integers(len(self.names), size=size)
        chosen = [int(rng.choice(np.flatnonzero(self.labels == kind))) for kind in kinds]
        drawn = self.clips[chosen]
        mirrored = rng.random(size) < 0.5
        drawn[mirrored] = drawn[mirrored][..., ::-1]
        return drawn, kinds.tolist()


def windows(video: Frames, config: DiTConfig, every: int = 2) -> npt.NDArray[np.float32]:
    """Squares of a scaled video along its longer side and through time: (n, frames, 3, side, side).

    video: (frames, h, w, 3) with its shorter side equal to `config.side`. Returned in [-1, 1]. every: frames
    from one to the next; less where the video is short.
    """
    side, length = config.side, config.frames
    every = max(1, min(every, (len(video) - 1) // max(length - 1, 1)))
    reach = (length - 1) * every + 1
    tall, wide = video.shape[1], video.shape[2]
    rows, columns = (range(0, n - side + 1, max(side // 4, 1)) for n in (tall, wide))
    starts = range(0, len(video) - reach + 1, max(length // 4, 1))
    cut = [
        video[t : t + reach : every, y : y + side, x : x + side]
        for t in starts for y in rows for x in columns
    ]  # fmt: skip
    if not cut:
        return np.zeros((0, *config.clip_shape), dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(np.stack(cut), -1, 2), dtype=np.float32) / 127.5 - 1


def clip_set(folder: Path | str, config: DiTConfig) -> tuple[ClipSet, DiTConfig]:
    """The clips under a folder, and the configuration with as many classes as there are.

    A sub-folder is a class, or else each file is one. Every file must be decodable and long enough.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"--clips must name a folder of videos, got {folder}.")
    groups: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        inside = path.relative_to(folder)
        groups.setdefault(inside.parts[0] if len(inside.parts) > 1 else inside.stem, []).append(path)
    if not groups:
        raise DataError(f"--clips must name a folder of videos, got {folder} with none "
                        f"({', '.join(sorted(SUFFIXES))}).")  # fmt: skip
    clips, labels = [], []
    for label, paths in enumerate(groups.values()):
        found = [windows(_fitted(path, config.side), config) for path in paths]
        if sum(map(len, found)) < LEAST:
            raise DataError(
                f"The clip {paths[0]} is too short: {config.frames} frames and some more are needed, "
                f"to give at least {LEAST} windows."
            )
        clips += found
        labels += [np.full(sum(map(len, found)), label)]
    made = ClipSet(np.concatenate(clips), np.concatenate(labels).astype(np.int64), tuple(groups))
    return made, dataclasses.replace(config, classes=len(groups))


def _fitted(path: Path, side: int) -> Frames:
    """A clip with its shorter side scaled to `side`."""
    whole = read_clip(path)
    tall, wide = whole.shape[1:3]
    scale = side / min(tall, wide)
    return read_clip(path, (max(side, round(wide * scale)), max(side, round(tall * scale))))
