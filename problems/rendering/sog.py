"""SOG (PlayCanvas): planes of bytes as lossless images beside a `meta.json`, in a folder or zip.

Positions in 16 bits over two planes of sign(x) log(1 + |x|); scales and colours by codebooks of 256
numbers (version 2) or in even steps (version 1, where opacity is coded before the sigmoid); rotations as the
smallest three; further harmonics as labels into a palette of centroids, which is a vector-quantised
codebook. A folder with `lod-meta.json` holds several levels of detail.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError, SolverUnavailable
from ...text import decode, parse_json
from .compressed_ply import smallest_three
from .ply import Columns, exponential, sigmoid

Array = npt.NDArray[Any]
MOST_GAUSSIANS = 1 << 24  # images compress without limit, so memory is bounded by what is declared
MOST_BYTES = 1 << 28
PALETTE_COLUMNS = 64
COEFFICIENTS = {1: 3, 2: 8, 3: 15}
MOST_LEVELS = 64
MOST_ENTRIES = 1 << 16
Source = Callable[[str], bytes]


def read_sog(path: Path) -> Columns:
    """A scene from a folder with `meta.json`, that file itself, or a zip (.sog)."""
    with _source(path) as source:
        meta = _parse(source("meta.json"), "meta.json")
        return _decode(meta, source)


def level_files(folder: Path) -> list[list[str]]:
    """Of a folder with levels of detail: the files of each level, finest first."""
    meta = _parse((folder / "lod-meta.json").read_bytes(), "lod-meta.json")
    try:
        names, levels = [str(name) for name in meta["filenames"]], int(meta["lodLevels"])
        if not 1 <= levels <= MOST_LEVELS:
            raise ValueError(f"{levels} levels; 1 to {MOST_LEVELS} can be read")
        found: list[set[int]] = [set() for _ in range(levels)]
        pending = [meta["tree"]]
        while pending:
            node = pending.pop()
            pending += node.get("children", [])
            for level, part in node.get("lods", {}).items():
                found[int(level)].add(int(part["file"]))
        return [[names[i] for i in sorted(part)] for part in found]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DataError(f"its lod-meta.json cannot be read: {type(error).__name__} {error}.") from None


@contextmanager
def _source(path: Path) -> Iterator[Source]:
    """What reads a named member of a folder or a zip."""
    if path.name == "meta.json":
        path = path.parent
    if path.is_dir():

        def from_folder(name: str) -> bytes:
            file = path / _plain(name)
            if not file.is_file():
                raise DataError(f"it lacks the file '{name}'.")
            if file.stat().st_size > MOST_BYTES:
                raise DataError(f"its file '{name}' has more than {MOST_BYTES:,} bytes.")
            return file.read_bytes()

        yield from_folder
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise DataError(f"it is no zip of SOG planes: {error}.") from None

    def from_zip(name: str) -> bytes:
        try:
            if archive.getinfo(_plain(name)).file_size > MOST_BYTES:
                raise DataError(f"its file '{name}' unpacks to more than {MOST_BYTES:,} bytes.")
            with archive.open(name) as member:
                return member.read(MOST_BYTES)
        except KeyError:
            raise DataError(f"it lacks the file '{name}'.") from None
        except (
            zipfile.BadZipFile,
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            NotImplementedError,
            zlib.error,
        ) as error:
            raise DataError(f"its file '{name}' cannot be unpacked: {error}.") from None

    with archive:
        yield from_zip


def _plain(name: Any) -> str:
    if not isinstance(name, str) or not name or name.startswith(".") or any(c in name for c in "/\\:\0"):
        raise DataError(f"its meta.json names the file {name!r}; a plain file name is needed.")
    return name


def _parse(text: bytes, name: str) -> dict[str, Any]:
    meta = parse_json(decode(text, f"its {name}"), f"its {name}")
    if not isinstance(meta, dict):
        raise DataError(f"its {name} holds a {type(meta).__name__}, not an object.")
    return meta


def _decode(meta: dict[str, Any], source: Source) -> Columns:
    version = meta.get("version", 1)
    if version not in (1, 2):
        raise DataError(f"its version is {version!r}; versions 1 and 2 can be read.")
    try:
        count = int(meta["count"] if version == 2 else meta["means"]["shape"][0])
        if not 0 <= count <= MOST_GAUSSIANS:
            raise DataError(f"it declares {count:,} Gaussians; at most {MOST_GAUSSIANS:,} can be read.")
        low, high = _range(meta["means"], 3, "means")
        names = {key: list(meta[key]["files"]) for key in ("means", "scales", "quats", "sh0")}
        further = meta.get("shN")
        lower, upper = names["means"]
        if version == 2:
            codes = [_codebook(meta[name]["codebook"], name)[:, None] for name in ("scales", "sh0")]
        else:
            codes = [_steps(meta[name], channels, name) for name, channels in (("scales", 3), ("sh0", 4))]
        planes = {key: _plane(source, names[key][0], count) for key in ("scales", "quats", "sh0")}
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"its meta.json cannot be read: {type(error).__name__} {error}.") from None
    words = _plane(source, lower, count)[:, :3] + 256.0 * _plane(source, upper, count)[:, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        logs = low + (high - low) * (words / 65535.0)
        means = np.sign(logs) * np.expm1(np.abs(logs))
    turn = planes["quats"]
    if count and turn[:, 3].min() < 252:
        raise DataError("its rotations have a mode below 252; the image is damaged or was stored with loss.")
    kept = (turn[:, :3].astype(np.float32) / np.float32(255) - np.float32(0.5)) * np.float32(np.sqrt(2))
    quaternions = smallest_three(kept, turn[:, 3].astype(np.int64) - 252)
    size, light = (_coded(book, planes[name]) for book, name in zip(codes, ("scales", "sh0"), strict=True))
    opacity = (
        planes["sh0"][:, 3].astype(np.float32) / np.float32(255) if version == 2 else sigmoid(light[:, 3])
    )
    harmonics = light[:, None, :3]
    if further is not None:
        harmonics = np.concatenate([harmonics, _palette(further, source, count, version)], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        return means.astype(np.float32), exponential(size[:, :3]), quaternions, opacity, harmonics


def _range(part: dict[str, Any], channels: int, name: str) -> tuple[Array, Array]:
    """Least and greatest value of each channel, (channels,) each."""
    low, high = (np.asarray(part[end], np.float64) for end in ("mins", "maxs"))
    if low.shape != (channels,) or high.shape != (channels,):
        raise DataError(f"its {name} need {channels} mins and {channels} maxs.")
    return low, high


def _steps(part: dict[str, Any], channels: int, name: str) -> Array:
    """What the 256 bytes of version 1 mean: even steps from least to greatest, (256, channels)."""
    low, high = _range(part, channels, name)
    return np.asarray(low + (high - low) * np.arange(256)[:, None] / 255, np.float32)


def _codebook(values: Any, name: str) -> Array:
    book = np.asarray(values, np.float32)
    if book.shape != (256,):
        raise DataError(f"its codebook of {name} must have 256 numbers, got shape {book.shape}.")
    return book


def _coded(book: Array, bytes_: Array) -> Array:
    """Bytes (N, 4) as what they mean: (N, 4) by one column for all channels, or by one column each."""
    channels = np.arange(book.shape[1])
    coded: Array = book[bytes_[:, : len(channels)], channels] if len(channels) > 1 else book[bytes_, 0]
    return coded


def _palette(further: dict[str, Any], source: Source, count: int, version: int) -> Array:
    """Harmonics beyond the constant one, (count, K - 1, 3)."""
    try:
        centroids, labels = list(further["files"])
        if version == 2:
            bands, entries = int(further["bands"]), int(further["count"])
            book = _codebook(further["codebook"], "shN")
        else:  # entries fill the picture, whose width says how many bands there are
            bands, entries = 3, MOST_ENTRIES
            ends = [np.ravel(further[end]).tolist() for end in ("mins", "maxs")]
            book = _steps(dict(zip(("mins", "maxs"), ends, strict=True)), 1, "shN")[:, 0]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"its shN cannot be read: {type(error).__name__} {error}.") from None
    if bands not in COEFFICIENTS or not 1 <= entries <= MOST_ENTRIES:
        raise DataError(
            f"its shN has {bands} bands and {entries:,} entries; 1 to 3 and 1 to {MOST_ENTRIES:,} are known."
        )
    each = COEFFICIENTS[bands]
    rows = -(-entries // PALETTE_COLUMNS)
    image = _image(source(_plain(centroids)), centroids, PALETTE_COLUMNS * each * rows + (1 << 16))
    if version == 1 and image.shape[1] // PALETTE_COLUMNS in COEFFICIENTS.values():
        each, rows = image.shape[1] // PALETTE_COLUMNS, image.shape[0]
        entries = rows * PALETTE_COLUMNS
    if image.shape[1] != PALETTE_COLUMNS * each or image.shape[0] < rows:
        raise DataError(f"its palette '{centroids}' is {image.shape[1]} x {image.shape[0]}, "
                        f"expected {PALETTE_COLUMNS * each} x {rows}.")  # fmt: skip
    palette = image.reshape(-1, each, image.shape[2])[:entries, :, :3]
    marks = _plane(source, labels, count)
    label = marks[:, 0].astype(np.int64) + 256 * marks[:, 1].astype(np.int64)
    if count and label.max() >= entries:
        raise DataError(
            f"a label of its shN is {label.max():,}, beyond the {entries:,} entries of the palette."
        )
    coefficients: Array = book[palette[label]]
    return coefficients


def _plane(source: Source, name: Any, count: int) -> Array:
    """The first `count` pixels of an image, (count, 4) bytes."""
    image = _image(source(_plain(name)), name, 2 * count + (1 << 16))
    pixels = image.reshape(-1, image.shape[2])
    if len(pixels) < count:
        raise DataError(f"its image '{name}' has {len(pixels):,} pixels for {count:,} Gaussians.")
    return pixels[:count]


def _image(data: bytes, name: str, most: int) -> Array:
    """An image as bytes (height, width, 4), refused before decoding where it has more than `most` pixels."""
    try:
        from PIL import Image
    except ImportError:
        raise SolverUnavailable(
            "reading SOG scenes needs Pillow; install it with pip install pillow."
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > most:
                raise DataError(f"its image '{name}' has {image.width} x {image.height} pixels, far "
                                "more than it has Gaussians.")  # fmt: skip
            return np.asarray(image.convert("RGBA"))
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise DataError(f"its image '{name}' cannot be decoded: {type(error).__name__} {error}.") from None
