"""Small scenes made in code, the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .gaussians import BANDS, Gaussians

Array = npt.NDArray[Any]
C0 = 0.28209479177387814  # the constant harmonic


def cloud(
    count: int, *, seed: int = 0, size: float = 0.05, degree: int = 1, spread: float = 1.0
) -> Gaussians:
    """Gaussians drawn independently within a ball of radius `spread` about the origin.

    size: median standard deviation relative to `spread`; scales, rotations, opacities and colours vary.

    >>> len(cloud(100)), cloud(100).digest == cloud(100).digest
    (100, True)
    """
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    means = spread * direction * rng.random((count, 1)) ** (1 / 3)
    scales = spread * size * np.exp(rng.normal(0, 0.6, (count, 3)))
    return _finish(rng, means, scales, degree)


def surface(count: int, *, seed: int = 0, degree: int = 2) -> Gaussians:
    """A statue on a floor: flat, mostly opaque Gaussians on surfaces, as training leaves them.

    A wavy torus above a chequered disc, the y axis pointing down; a tenth of the Gaussians is a faint
    haze. Within about two units of the origin.
    """
    rng = np.random.default_rng(seed)
    torus, disc = int(0.55 * count), int(0.35 * count)
    haze = count - torus - disc
    u, v = 2 * np.pi * rng.random((2, torus))
    tube = 0.35 + 0.05 * np.sin(5 * u)
    ring = np.stack([np.cos(u), np.zeros(torus), np.sin(u)], 1)
    normal = np.stack([np.cos(u) * np.cos(v), -np.sin(v), np.sin(u) * np.cos(v)], 1)
    means = ring + tube[:, None] * normal
    radius, angle = 1.8 * np.sqrt(rng.random(disc)), 2 * np.pi * rng.random(disc)
    floor = np.stack([radius * np.cos(angle), np.full(disc, 0.55), radius * np.sin(angle)], 1)
    air = rng.uniform([-1.5, -0.8, -1.5], [1.5, 0.5, 1.5], (haze, 3))
    normals = np.concatenate([normal, np.tile([0.0, -1.0, 0.0], (disc, 1)), rng.normal(size=(haze, 3))])
    width = 1.6 * np.sqrt(12.0 / max(count, 1))
    scales = width * np.exp(rng.normal(0, 0.35, (count, 3)))
    scales[: torus + disc, 2] *= 0.08
    made = _finish(rng, np.concatenate([means, floor, air]), scales, degree)
    quaternions = np.array(made.quaternions)
    quaternions[: torus + disc] = _facing(normals[: torus + disc], rng)
    opacities = np.concatenate([rng.beta(5, 1.5, torus + disc), 0.15 * rng.random(haze)])
    checks = (np.floor(2.5 * floor[:, 0]) + np.floor(2.5 * floor[:, 2])) % 2
    paint = np.concatenate([
        0.5 + 0.4 * np.stack([np.sin(u), np.sin(u + 2.1), np.sin(u + 4.2)], 1),
        np.where(checks[:, None] > 0, [0.85, 0.82, 0.75], [0.2, 0.25, 0.3]),
        np.full((haze, 3), 0.6),
    ])  # fmt: skip
    harmonics = np.array(made.harmonics)
    harmonics[:, 0] = (paint - 0.5) / C0
    return Gaussians(made.means, made.scales, quaternions, opacities, harmonics)


def _finish(rng: np.random.Generator, means: Array, scales: Array, degree: int) -> Gaussians:
    count = len(means)
    quaternions = rng.normal(size=(count, 4))
    opacities = rng.beta(1.2, 1.2, count)
    harmonics = rng.normal(0, 0.12, (count, BANDS[degree], 3))
    harmonics[:, 0] = (rng.random((count, 3)) - 0.5) / C0
    return Gaussians(means, scales, quaternions, opacities, harmonics)


def _facing(normals: Array, rng: np.random.Generator) -> Array:
    """Quaternions (N, 4) that turn the z axis to the normals, with a random spin about it."""
    spin = np.pi * rng.random(len(normals))
    about_z = np.stack([np.cos(spin), np.zeros_like(spin), np.zeros_like(spin), np.sin(spin)], 1)
    tilt = np.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(len(normals))], 1)
    tilt[np.linalg.norm(tilt, axis=1) < 1e-6] = [0.0, 1.0, 0.0, 0.0]  # the opposite direction
    tilt /= np.linalg.norm(tilt, axis=1, keepdims=True)
    w, x, y, z = tilt.T
    c, s = about_z[:, 0], about_z[:, 3]
    return np.stack([w * c - z * s, x * c + y * s, y * c - x * s, w * s + z * c], 1)
