"""Pinhole cameras, and the paths they take: orbits, turning heads.

Camera axes as COLMAP and gsplat have them: x right, y down, z forward. Pixel (i, j) is centred at
(i + 0.5, j + 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ..digest import digest, encode

Array = npt.NDArray[Any]
NEAR = 0.2  # Kerbl et al. 2023: what is nearer than this is not drawn
UP = (0.0, -1.0, 0.0)  # of trained scenes, whose y axis points down
HEAD_SPEED = 25.0  # degrees a second: a turning head, as Lumina (ISCA 2025) assumes
HEAD_RATE = 90.0  # frames a second of a headset
MOST_PIXELS = 1 << 26


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    rotation (3, 3): world to camera, its rows are the camera's right, down and forward axes;
    position (3,): in the world; focal: pixels along x; width, height: pixels; near: least depth drawn;
    aspect: focal length along y over that along x; centre: principal point in pixels (the middle if None).

    >>> camera = look_at((0, 0, -5), (0, 0, 0), focal=100, width=64, height=48)
    >>> camera.to_camera(np.array([[0.0, 0.0, 0.0]])).tolist()
    [[0.0, 0.0, 5.0]]
    """

    rotation: Array
    position: Array
    focal: float
    width: int
    height: int
    near: float = NEAR
    aspect: float = 1.0
    centre: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        rotation = np.array(self.rotation, np.float64)
        position = np.array(self.position, np.float64)
        if rotation.shape != (3, 3) or not np.isfinite(rotation).all():
            raise DataError("a camera's rotation must be a 3 x 3 matrix of finite numbers.")
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
            raise DataError("a camera's rotation must be orthonormal and right-handed; it is not.")
        if position.shape != (3,) or not np.isfinite(position).all():
            raise DataError(f"a camera's position must be three finite numbers, got {self.position!r}.")
        for name in ("focal", "near", "aspect"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DataError(f"a camera's {name} must be a positive number, got {value!r}.")
        for name in ("width", "height"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise DataError(f"a camera's {name} must be a whole number of pixels, got {value!r}.")
        if self.width * self.height > MOST_PIXELS:
            raise DataError(f"a frame of {self.width} x {self.height} has more than {MOST_PIXELS:,} pixels; "
                            "choose a smaller size.")  # fmt: skip
        if self.centre is not None and not np.isfinite(self.centre).all():
            raise DataError(f"a camera's centre must be two finite numbers, got {self.centre!r}.")
        rotation.flags.writeable = position.flags.writeable = False
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "position", position)

    @property
    def focal_y(self) -> float:
        """Pixels along y."""
        return self.focal * self.aspect

    @property
    def principal(self) -> tuple[float, float]:
        """Principal point in pixels."""
        return self.centre if self.centre is not None else (0.5 * self.width, 0.5 * self.height)

    @property
    def forward(self) -> Array:
        """Direction of view in the world, (3,)."""
        forward: Array = self.rotation[2]
        return forward

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify the camera."""
        return digest(encode(self))

    def to_camera(self, points: Array) -> Array:
        """World points (N, 3) in camera axes, (N, 3)."""
        moved: Array = (points - self.position) @ self.rotation.T
        return moved

    def resized(self, width: int, height: int) -> Camera:
        """The same view at another size; the focal length follows the width."""
        scale = width / self.width
        centre = None
        if self.centre is not None:
            centre = (self.centre[0] * scale, self.centre[1] * height / self.height)
        aspect = self.aspect * (height / self.height) / scale
        if self.aspect == 1.0 and self.centre is None:
            aspect = 1.0  # an ideal camera keeps square pixels and shows more or less at the edges
        return replace(
            self, focal=self.focal * scale, width=width, height=height, centre=centre, aspect=aspect
        )

    def turned(self, degrees: float, axis: Sequence[float] = UP) -> Camera:
        """The camera turned about a world axis through its own position."""
        return replace(self, rotation=self.rotation @ rotation_about(axis, -degrees))


def rotation_about(axis: Sequence[float], degrees: float) -> Array:
    """Rotation matrix (3, 3) about an axis (Rodrigues' formula)."""
    a = np.asarray(axis, np.float64)
    length = float(np.linalg.norm(a))
    if not (math.isfinite(length) and length > 0):
        raise DataError(f"an axis of rotation must not be zero, got {tuple(axis)}.")
    x, y, z = a / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    turned: Array = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
    return turned


def look_at(
    position: Sequence[float],
    target: Sequence[float],
    *,
    focal: float,
    width: int,
    height: int,
    up: Sequence[float] = UP,
    near: float = NEAR,
) -> Camera:
    """The camera at `position` that has `target` in the middle of its picture and `up` upwards."""
    at, to, upward = (np.asarray(v, np.float64) for v in (position, target, up))
    forward = to - at
    distance = float(np.linalg.norm(forward))
    if not (math.isfinite(distance) and distance > 0):
        raise DataError(
            f"a camera at {tuple(position)} cannot look at {tuple(target)}; the points must differ."
        )
    forward = forward / distance
    right = np.cross(forward, upward)
    length = float(np.linalg.norm(right))
    if length < 1e-9 * float(np.linalg.norm(upward)) or length == 0:
        raise DataError(f"a camera looking along its up axis {tuple(up)} has no horizon; choose another up.")
    right = right / length
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(rotation, at, focal, width, height, near)


def orbit(
    target: Sequence[float],
    distance: float,
    *,
    focal: float,
    width: int,
    height: int,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    up: Sequence[float] = UP,
    near: float = NEAR,
) -> Camera:
    """The camera on a sphere about `target`: azimuth about `up` and elevation above the ground, degrees.

    At azimuth 0 and elevation 0 it stands on the negative z axis of the target (for the usual up).
    """
    if not (math.isfinite(distance) and distance > 0):
        raise DataError(f"an orbit's distance must be a positive number, got {distance!r}.")
    upward = np.asarray(up, np.float64)
    upward = upward / np.linalg.norm(upward)
    seed = np.array([0.0, 0.0, 1.0]) if abs(upward[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    ground = seed - upward * (seed @ upward)
    ground = ground / np.linalg.norm(ground)
    around = rotation_about(tuple(upward), azimuth) @ ground
    lift = math.radians(elevation)
    place = np.asarray(target, np.float64) - distance * (math.cos(lift) * around - math.sin(lift) * upward)
    return look_at(tuple(place), target, focal=focal, width=width, height=height, up=up, near=near)


def orbit_path(count: int, target: Sequence[float], distance: float, **view: Any) -> Iterator[Camera]:
    """`count` cameras evenly spaced on a full circle; `view` as for `orbit`."""
    start = float(view.pop("azimuth", 0.0))
    for step in range(count):
        yield orbit(target, distance, azimuth=start + 360.0 * step / count, **view)


def head_path(
    camera: Camera,
    count: int,
    *,
    speed: float = HEAD_SPEED,
    rate: float = HEAD_RATE,
    up: Sequence[float] = UP,
) -> Iterator[Camera]:
    """`count` frames of a head that turns about `up` at `speed` degrees a second, `rate` frames a second.

    >>> first = look_at((0, 0, -5), (0, 0, 0), focal=100, width=64, height=48)
    >>> *_, last = head_path(first, 91)
    >>> round(float(np.degrees(np.arccos(first.forward @ last.forward))), 6)
    25.0
    """
    for step in range(count):
        yield camera.turned(speed / rate * step, up)


def orbiting_head(
    target: Sequence[float], distance: float, count: int, *, speed: float = HEAD_SPEED,
    rate: float = HEAD_RATE, **view: Any,
) -> Iterator[Camera]:  # fmt: skip
    """`count` frames of a walk round `target`: as `head_path`, but the position moves on the orbit."""
    start = float(view.pop("azimuth", 0.0))
    for step in range(count):
        yield orbit(target, distance, azimuth=start + speed / rate * step, **view)
