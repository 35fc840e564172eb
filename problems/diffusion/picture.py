"""Samples for the eye: a contact sheet of frames and a moving picture (both with Pillow)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import SolverUnavailable, SpaceError
from .quality import pixels

GAP = 2
INK, PAPER = (30, 34, 40), (255, 255, 255)
LINE = 14


def _library() -> Any:
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise SolverUnavailable("Pictures need Pillow, which is not installed; pip install pillow.") from None
    return Image, ImageDraw


def _grid(images: npt.NDArray[np.uint8], zoom: int) -> npt.NDArray[np.uint8]:
    """Images (rows, columns, h, w, 3) side by side with gaps, each pixel a square of `zoom`."""
    rows, columns, tall, wide, _ = images.shape
    high, broad = tall * zoom + GAP, wide * zoom + GAP
    canvas = np.full((rows * high - GAP, columns * broad - GAP, 3), 255, dtype=np.uint8)
    for i in range(rows):
        for j in range(columns):
            large = images[i, j].repeat(zoom, axis=0).repeat(zoom, axis=1)
            canvas[i * high : i * high + tall * zoom, j * broad : j * broad + wide * zoom] = large
    return canvas


def _titled(picture: Any, titles: Sequence[str], row_height: int) -> Any:
    """A picture with a title to the left of each row."""
    Image, ImageDraw = _library()
    margin = 12 + max(int(ImageDraw.Draw(picture).textlength(t)) for t in titles)
    page = Image.new("RGB", (picture.width + margin, picture.height), PAPER)
    page.paste(picture, (margin, 0))
    draw = ImageDraw.Draw(page)
    for i, title in enumerate(titles):
        draw.text((4, i * row_height + (row_height - LINE) // 2), title, fill=INK)
    return page


def contact_sheet(
    clips: npt.NDArray[np.float32], path: Path | str, titles: Sequence[str] = (), zoom: int = 3
) -> None:
    """A PNG with a row for each clip and its frames from left to right.

    clips: (n, frames, channels, h, w) in [-1, 1]; titles: none, or one for each clip.
    """
    Image, _ = _library()
    if titles and len(titles) != len(clips):
        raise SpaceError(f"contact_sheet: titles must be as many as clips ({len(clips)}), got {len(titles)}.")
    shown = pixels(clips)
    picture = Image.fromarray(_grid(shown, zoom))
    if titles:
        picture = _titled(picture, titles, shown.shape[2] * zoom + GAP)
    picture.save(path, format="PNG")


def animate(
    clips: npt.NDArray[np.float32], path: Path | str, *, columns: int = 4, zoom: int = 4, rate: float = 8
) -> None:
    """A moving GIF of the clips in a grid. clips: (n, frames, channels, h, w) in [-1, 1]; rate: frames/s."""
    Image, _ = _library()
    shown = pixels(clips)
    missing = -len(shown) % columns
    shown = np.concatenate([shown, np.full((missing, *shown.shape[1:]), 255, dtype=np.uint8)])
    grid = shown.reshape(-1, min(columns, len(shown)), *shown.shape[1:])
    pictures = [Image.fromarray(_grid(grid[:, :, i], zoom)) for i in range(shown.shape[1])]
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:], loop=0,
                     duration=max(20, round(1000 / rate)))  # fmt: skip
