"""Cameras from words: `auto`, `orbit:30,20`, `at:0,-1,-4/0,0,0`, `poses.npz#2`."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ...errors import DataError
from .cameras import Camera, look_at, orbit
from .colmap import read_cameras
from .gaussians import Gaussians

FORMS = "auto, orbit:AZIMUTH,ELEVATION[,DISTANCE], at:X,Y,Z/X,Y,Z, or POSES[#NUMBER]"
FIELD_OF_VIEW = 53.1301  # degrees across: a focal length of one frame width


def view_of(
    scene: Gaussians, words: str, width: int, height: int, field_of_view: float | None = None
) -> Camera:
    """The camera that some words describe.

    auto: an orbit camera that has the scene (1st to 99th percentile of its means) in its picture.
    orbit: degrees about the scene's middle, and the distance from it (the automatic one if left out).
    at: position, and the point looked at. POSES: a COLMAP model folder or .npz; NUMBER counts from 0.
    field_of_view: degrees across; not for POSES, which have their own lens, scaled to the frame.

    Raises DataError for words that cannot be read.
    """
    degrees = FIELD_OF_VIEW if field_of_view is None else field_of_view
    if not 1 <= degrees <= 170:
        raise DataError(f"a field of view must lie within 1 and 170 degrees, got {degrees:g}.")
    focal = 0.5 * width / math.tan(math.radians(0.5 * degrees))
    lens = {"focal": focal, "width": width, "height": height}
    kind, colon, rest = words.partition(":")
    if words == "auto" or (colon and kind == "orbit"):
        azimuth, elevation, *distance = [20.0, 15.0] if words == "auto" else _numbers(words, rest, 2, 3)
        middle, reach = framing(scene, max(focal / width, focal / height))
        return orbit(
            middle, distance[0] if distance else reach, azimuth=azimuth, elevation=elevation, **lens  # type: ignore[arg-type]
        )  # fmt: skip
    if colon and kind == "at":
        place, slash, target = rest.partition("/")
        if not slash:
            raise DataError(
                f"camera '{words}' must be at:X,Y,Z/X,Y,Z: where it stands, and what it looks at."
            )
        return look_at(_numbers(words, place, 3, 3), _numbers(words, target, 3, 3), **lens)  # type: ignore[arg-type]
    path, _, number = words.partition("#")
    if not Path(path).exists():
        raise DataError(f"camera '{words}' is neither known words nor a file; give {FORMS}.")
    if field_of_view is not None:
        raise DataError(f"the poses of '{path}' have their own lens; leave out the field of view.")
    cameras = read_cameras(path)
    if number and not re.fullmatch(r"\d+", number):
        raise DataError(f"camera '{words}' must end in a number after '#'.")
    chosen = int(number or 0)
    if chosen >= len(cameras):
        raise DataError(f"'{path}' has cameras 0 to {len(cameras) - 1}, not {chosen}.")
    return cameras[chosen].resized(width, height)


def framing(scene: Gaussians, focal: float) -> tuple[tuple[float, float, float], float]:
    """Middle of a scene, and the distance at which it fits a frame of focal length `focal` frame sizes."""
    low, high = (b.astype(np.float64) for b in scene.bounds)
    middle = 0.5 * (low + high)
    radius = max(0.5 * float(np.linalg.norm(high - low)), 1e-3)
    return (float(middle[0]), float(middle[1]), float(middle[2])), radius * math.hypot(1, 2 * focal)


def _numbers(words: str, text: str, least: int, most: int) -> list[float]:
    try:
        found = [float(t) for t in text.split(",")]
    except ValueError:
        found = []
    if not least <= len(found) <= most or not all(map(math.isfinite, found)):
        raise DataError(f"camera '{words}' cannot be read; give {FORMS}.")
    return found
