"""The renderer's definition, written plainly: a double loop over pixels and Gaussians in double precision.

An oracle for tests: no tiles, no extents, no early exits but the one the definition has. Slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .cameras import Camera
from .gaussians import Gaussians

Array = npt.NDArray[Any]


def rotation_matrix(quaternion: Sequence[float] | Array) -> Array:
    """Rotation matrix (3, 3) of a unit quaternion w x y z."""
    w, x, y, z = quaternion
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def harmonics_basis(direction: Array) -> Array:
    """The 16 real spherical harmonics up to degree 3 at a unit direction, from their Cartesian forms."""
    x, y, z = direction
    pi = math.pi
    first = math.sqrt(3 / (4 * pi))
    second = math.sqrt(15 / (4 * pi))
    third, fifth = math.sqrt(35 / (32 * pi)), math.sqrt(21 / (32 * pi))
    return np.array([
        math.sqrt(1 / (4 * pi)),
        -first * y, first * z, -first * x,
        second * x * y, -second * y * z, math.sqrt(5 / (16 * pi)) * (3 * z * z - 1), -second * x * z,
        second / 2 * (x * x - y * y),
        -third * y * (3 * x * x - y * y), math.sqrt(105 / (4 * pi)) * x * y * z,
        -fifth * y * (5 * z * z - 1), math.sqrt(7 / (16 * pi)) * z * (5 * z * z - 3),
        -fifth * x * (5 * z * z - 1), math.sqrt(105 / (16 * pi)) * z * (x * x - y * y),
        -third * x * (x * x - 3 * y * y),
    ])  # fmt: skip


class Splat(NamedTuple):
    """A Gaussian on the screen: depth, centre (2,), inverse covariance (2, 2), opacity, colour (3,)."""

    depth: float
    centre: Array
    conic: Array
    opacity: float
    colour: Array


def project_reference(scene: Gaussians, camera: Camera) -> list[Splat]:
    """The Gaussians in front of the camera that are not too faint to matter, nearest first.

    Sigma' = J W Sigma W^T J^T + 0.3 I (Zwicker et al. 2001; Kerbl et al. 2023, equation 5).
    """
    fx, fy = camera.focal, camera.focal_y
    cx, cy = camera.principal
    half_x, half_y = 0.5 * camera.width / fx, 0.5 * camera.height / fy
    drawn = []
    for i in range(len(scene)):
        away = scene.means[i].astype(np.float64) - camera.position
        x, y, z = camera.rotation @ away
        if z <= camera.near or scene.opacities[i] < 1 / 255:
            continue
        tx = np.clip(x / z, -(cx / fx + 0.3 * half_x), (camera.width - cx) / fx + 0.3 * half_x)
        ty = np.clip(y / z, -(cy / fy + 0.3 * half_y), (camera.height - cy) / fy + 0.3 * half_y)
        jacobian = np.array([[fx / z, 0, -fx * tx / z], [0, fy / z, -fy * ty / z]])
        axes = rotation_matrix(scene.quaternions[i].astype(np.float64)) * scene.scales[i].astype(np.float64)
        half = jacobian @ camera.rotation @ axes
        conic = np.linalg.inv(half @ half.T + 0.3 * np.eye(2))
        basis = harmonics_basis(away / np.linalg.norm(away))[: scene.harmonics.shape[1]]
        colour = np.maximum(0.5 + basis @ scene.harmonics[i].astype(np.float64), 0)
        centre = np.array([fx * x / z + cx, fy * y / z + cy])
        drawn.append(Splat(float(np.float32(z)), centre, conic, float(scene.opacities[i]), colour))
    return sorted(drawn, key=lambda splat: splat.depth)


def render_reference(
    scene: Gaussians, camera: Camera, background: Sequence[float] = (0.0, 0.0, 0.0)
) -> tuple[Array, Array]:
    """Image (h, w, 3) and transmittance (h, w) by the definition, in float64."""
    drawn = project_reference(scene, camera)
    image = np.zeros((camera.height, camera.width, 3))
    transmittance = np.ones((camera.height, camera.width))
    for row in range(camera.height):
        for column in range(camera.width):
            through, pixel = 1.0, np.array([column + 0.5, row + 0.5])
            for splat in drawn:
                d = pixel - splat.centre
                alpha = min(0.99, splat.opacity * math.exp(-0.5 * d @ splat.conic @ d))
                if alpha < 1 / 255:
                    continue
                if through * (1 - alpha) < 1e-4:
                    break
                image[row, column] += through * alpha * splat.colour
                through *= 1 - alpha
            image[row, column] += through * np.asarray(background)
            transmittance[row, column] = through
    return image, transmittance
