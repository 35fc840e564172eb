"""Real camera poses: COLMAP's models (text or binary) and arrays of world-to-camera matrices (.npz)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ...arrays import UNREADABLE, members
from ...errors import DataError
from ...text import read_text
from .cameras import Camera
from .reference import rotation_matrix

Array = npt.NDArray[Any]
# number in binary files, name, parameters; those after the principal point are distortion
MODELS = {
    0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8),
}  # fmt: skip
SHARED_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"}
MOST_IMAGES = 1 << 20


def read_cameras(path: str | Path) -> list[Camera]:
    """The cameras of a COLMAP model folder (cameras and images, .txt or .bin) or an .npz file, by name.

    An .npz holds `viewmats` (N, 4, 4), world to camera, `Ks` (N, 3, 3), `width` and `height`.
    Raises DataError for what cannot be read, and for lenses with distortion (undistort the images first).
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there are no cameras at '{path}'; give a COLMAP model folder or an .npz file.")
    try:
        found = _from_arrays(path) if path.is_file() else _from_model(path)
    except DataError as error:
        raise DataError(f"cannot read the cameras of '{path.name}': {error}") from None
    except (OSError, *UNREADABLE, IndexError, struct.error) as error:
        raise DataError(
            f"cannot read the cameras of '{path.name}': {type(error).__name__} {error}."
        ) from None
    if not found:
        raise DataError(f"'{path.name}' has no cameras.")
    return found


def _from_arrays(path: Path) -> list[Camera]:
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in ("viewmats", "Ks", "width", "height") if name not in file.files]
        if missing:
            raise DataError(f"it lacks the arrays {', '.join(missing)}.")
        found = members(file, ("viewmats", "Ks", "width", "height"))
        views, lenses = (np.asarray(found[name], np.float64) for name in ("viewmats", "Ks"))
        width, height = int(found["width"]), int(found["height"])
    if views.ndim != 3 or views.shape[1:] != (4, 4) or lenses.shape != (len(views), 3, 3):
        raise DataError(
            f"viewmats and Ks must be (N, 4, 4) and (N, 3, 3), got {views.shape}, {lenses.shape}."
        )
    return [
        _camera(v[:3, :3], v[:3, 3], k[0, 0], k[1, 1], (k[0, 2], k[1, 2]), width, height)
        for v, k in zip(views, lenses, strict=True)
    ]


def _from_model(folder: Path) -> list[Camera]:
    if not (folder / "images.bin").is_file() and not (folder / "images.txt").is_file():
        inner = [p for p in (folder / "sparse" / "0", folder / "0") if p.is_dir()]
        if not inner:
            raise DataError("it has neither images.bin nor images.txt.")
        folder = inner[0]
    binary = (folder / "images.bin").is_file()
    lenses = _binary_lenses(folder / "cameras.bin") if binary else _text_lenses(folder / "cameras.txt")
    images = _binary_images(folder / "images.bin") if binary else _text_images(folder / "images.txt")
    found = []
    for name, turn, shift, number in sorted(images, key=lambda image: image[0]):
        if number not in lenses:
            raise DataError(f"image '{name}' has camera {number}, which is not listed.")
        model, width, height, values = lenses[number]
        fx, rest = values[0], values[1:]
        fy, (cx, cy, *bent) = (fx, rest) if model in SHARED_FOCAL else (rest[0], rest[1:])
        if any(abs(k) > 1e-6 for k in bent):
            raise DataError(f"camera {number} ({model}) has distortion; undistort the images first.")
        length = float(np.linalg.norm(turn))
        if not length > 1e-12:
            raise DataError(f"image '{name}' has a zero quaternion.")
        found.append(
            _camera(rotation_matrix((turn / length).tolist()), shift, fx, fy, (cx, cy), width, height)
        )
    return found


def _camera(
    rotation: Array, shift: Array, fx: float, fy: float, centre: tuple[float, float], width: int, height: int
) -> Camera:
    left, _, right = np.linalg.svd(rotation)  # float32 poses are brought back to orthonormal
    if np.abs(left @ right - rotation).max() < 1e-3:
        rotation = left @ right
    middle = (float(centre[0]), float(centre[1]))
    if not (np.isfinite(fx) and fx > 0):
        raise DataError(f"a focal length is {fx}.")
    return Camera(
        rotation, -rotation.T @ shift, float(fx), width, height, aspect=float(fy / fx), centre=middle
    )


def _text_rows(path: Path) -> list[list[str]]:
    lines = read_text(path, "list").splitlines()
    return [line.split() for line in lines if not line.lstrip().startswith("#")]


def _text_lenses(path: Path) -> dict[int, tuple[str, int, int, list[float]]]:
    counts = dict(MODELS.values())
    found = {}
    for words in _text_rows(path):
        if not words:
            continue
        number, model, width, height, *values = words
        if model not in counts:
            raise DataError(f"camera {number} has the model {model}; {', '.join(counts)} can be read.")
        if len(values) != counts[model]:
            raise DataError(f"camera {number} ({model}) needs {counts[model]} parameters, got {len(values)}.")
        found[int(number)] = (model, int(width), int(height), [float(v) for v in values])
    return found


def _text_images(path: Path) -> list[tuple[str, Array, Array, int]]:
    """Name, rotation, shift and camera of each image, whether or not lines of points follow them."""
    found = []
    for words in _text_rows(path):
        if not words or _is_points(words):
            continue
        if len(words) < 10:
            raise DataError(f"an image has {len(words)} fields, expected 10.")
        numbers = np.array([float(w) for w in words[1:8]])
        found.append((" ".join(words[9:]), numbers[:4], numbers[4:], int(words[8])))
    return found


def _is_points(words: list[str]) -> bool:
    """Whether a line lists points seen: x, y and a number each, where an image's line ends in its name."""
    try:
        return len(words) % 3 == 0 and bool([float(word) for word in words])
    except ValueError:
        return False


def _binary_lenses(path: Path) -> dict[int, tuple[str, int, int, list[float]]]:
    found = {}
    with path.open("rb") as file:
        for _ in range(_count(file, "cameras")):
            number, kind, width, height = struct.unpack("<iiQQ", file.read(24))
            if kind not in MODELS:
                raise DataError(f"camera {number} has model number {kind}; 0 to {max(MODELS)} can be read.")
            model, size = MODELS[kind]
            found[number] = (model, width, height, list(struct.unpack(f"<{size}d", file.read(8 * size))))
    return found


def _binary_images(path: Path) -> list[tuple[str, Array, Array, int]]:
    found = []
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(_count(file, "images")):
            _, *numbers, camera = struct.unpack("<i7di", file.read(64))
            name = bytearray()
            while (letter := file.read(1)) != b"\0":
                if not letter or len(name) > 4096:
                    raise DataError("it is cut off within an image's name.")
                name += letter
            (points,) = struct.unpack("<Q", file.read(8))
            if file.tell() + 24 * points > size:
                raise DataError("it is cut off within the points of an image.")
            file.seek(24 * points, 1)
            pose = np.array(numbers)
            found.append((name.decode("utf-8", "replace"), pose[:4], pose[4:], camera))
    return found


def _count(file: BinaryIO, what: str) -> int:
    (count,) = struct.unpack("<Q", file.read(8))
    if count > MOST_IMAGES:
        raise DataError(f"it declares {count:,} {what}; at most {MOST_IMAGES:,} can be read.")
    return int(count)
