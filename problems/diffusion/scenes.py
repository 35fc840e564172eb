"""Moving scenes made by formula, a class each, exactly repeatable from a seed: what the small model learns.

Every clip has a dark background of its own tint and one figure whose place, size, speed and phase differ from
seed to seed within narrow bounds, so that a few million weights learn to draw it in a quarter of an hour; the
class fixes its shape, its colour and its way of moving.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Place = npt.NDArray[Any]
VERSION = 3
"""Raised with every change of a formula, so that weights trained on other scenes are not taken for these."""

CLASSES = (
    "red disc moving right",
    "blue square moving left",
    "green triangle falling",
    "yellow ring growing",
    "magenta bar turning",
    "cyan pair circling",
    "orange stripes scrolling",
    "white disc bouncing",
)
COLOURS = np.array(
    [
        [0.95, 0.15, 0.12], [0.15, 0.35, 0.98], [0.15, 0.85, 0.25], [0.98, 0.88, 0.15],
        [0.9, 0.2, 0.85], [0.15, 0.88, 0.92], [0.98, 0.55, 0.1], [0.95, 0.95, 0.95],
    ],
    dtype=np.float32,
)  # fmt: skip


def _disc(x: Place, y: Place, radius: float) -> Place:
    return np.asarray(np.hypot(x, y) - radius)


def _box(x: Place, y: Place, half_x: float, half_y: float) -> Place:
    dx, dy = np.abs(x) - half_x, np.abs(y) - half_y
    return np.asarray(np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0))


def _triangle(x: Place, y: Place, size: float) -> Place:
    """Point up; y grows downwards."""
    sides = np.maximum(np.abs(x) * 0.894 - (y + size) * 0.447, y - 0.8 * size)
    return np.asarray(sides)


def _bounce(position: float) -> float:
    """Fold a line onto [0, 1]."""
    folded = position % 2.0
    return 2.0 - folded if folded > 1 else folded


def _frame(kind: int, time: float, rng_values: dict[str, float], x: Place, y: Place) -> Place:
    """Signed distance to the figure at a time in [0, 1]; coordinates in [0, 1]."""
    g = rng_values
    a, b, size, speed, phase = g["a"], g["b"], g["size"], g["speed"], g["phase"]
    if kind == 0:
        return _disc(x - (0.2 + 0.12 * a + speed * time), y - (0.38 + 0.24 * b), size)
    if kind == 1:
        return _box(x - (0.8 - 0.12 * a - speed * time), y - (0.38 + 0.24 * b), size * 0.85, size * 0.85)
    if kind == 2:
        return _triangle(x - (0.38 + 0.24 * a), y - (0.22 + 0.12 * b + speed * time), size * 1.15)
    if kind == 3:
        radius = 0.1 + 0.04 * phase + 0.55 * speed * time
        return np.asarray(np.abs(_disc(x - (0.42 + 0.16 * a), y - (0.42 + 0.16 * b), radius)) - 0.06)
    if kind == 4:
        angle = np.pi * (0.2 * phase + 1.6 * speed * time)
        u, v = x - (0.44 + 0.12 * a), y - (0.44 + 0.12 * b)
        c, s = np.cos(angle), np.sin(angle)
        return _box(c * u + s * v, -s * u + c * v, 2.1 * size, 0.085)
    if kind == 5:
        angle = 2 * np.pi * (0.15 * phase + speed * time)
        u, v = x - (0.46 + 0.08 * a), y - (0.46 + 0.08 * b)
        c, s = 0.25 * np.cos(angle), 0.25 * np.sin(angle)
        return np.asarray(np.minimum(_disc(u - c, v - s, 0.8 * size), _disc(u + c, v + s, 0.8 * size)))
    if kind == 6:
        place = (x + y) * 0.7071 - 0.6 * speed * time + 0.15 * phase
        return np.asarray(np.abs((place % 0.47) - 0.235) - 0.11)
    horizontal = 0.2 + 0.6 * _bounce(0.25 * a + 1.5 * speed * time)
    vertical = 0.2 + 0.6 * _bounce(0.25 * b + 2.2 * speed * time)
    return _disc(x - horizontal, y - vertical, 0.95 * size)


def scene(kind: int, seed: int | Sequence[int], frames: int = 8, side: int = 32) -> Array:
    """One clip (frames, 3, side, side) in [-1, 1] of class `kind`; the same for the same seed.

    >>> import numpy as np
    >>> bool(np.array_equal(scene(3, 7), scene(3, 7))), scene(0, 1).shape
    (True, (8, 3, 32, 32))
    """
    rng = np.random.default_rng([kind, *np.atleast_1d(np.asarray(seed)).tolist()])
    a, b, phase, tilt, light = rng.random(5)
    values = {
        "a": float(a),
        "b": float(b),
        "phase": float(phase),
        "size": float(rng.uniform(0.16, 0.2)),
        "speed": float(rng.uniform(0.38, 0.48)),
    }
    tint = rng.uniform(0.05, 0.3, size=3).astype(np.float32)
    place = (np.arange(side, dtype=np.float32) + 0.5) / side
    y, x = np.meshgrid(place, place, indexing="ij")
    angle = 2 * np.pi * tilt
    slope = 0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    ground = tint[:, None, None] * (0.5 + light) * slope[None].astype(np.float32)
    clip = np.empty((frames, 3, side, side), dtype=np.float32)
    for i in range(frames):
        inside = np.clip(0.5 - _frame(kind, i / max(frames - 1, 1), values, x, y) * side, 0, 1)
        clip[i] = ground + inside * (COLOURS[kind][:, None, None] - ground)
    return np.asarray(np.clip(clip, 0, 1) * 2 - 1, dtype=np.float32)


def batch(kinds: Sequence[int], seeds: Sequence[Any], frames: int = 8, side: int = 32) -> Array:
    """Clips (n, frames, 3, side, side), one for each class and seed."""
    return np.stack([scene(kind, seed, frames, side) for kind, seed in zip(kinds, seeds, strict=True)])
