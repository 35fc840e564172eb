"""SPZ versions 2 and 3 (Niantic): a gzipped stream of 16 header bytes and one array an attribute.

Positions in 24 bits fixed point, scales as logarithms in 8, rotation as three bytes (2) or the smallest
three of sign and 9 bits (3), alpha, colour and harmonics in 8. Axes are right, up, back; they are turned
to right, down, forward, as the other formats have them.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .compressed_ply import smallest_three
from .ply import Columns, exponential
from .sog import MOST_GAUSSIANS

Array = npt.NDArray[Any]
MAGIC = 0x5053474E
COLOUR_SCALE = 0.15
EXTENSIONS = 0x2
COEFFICIENTS = (0, 3, 8, 15)
# signs of the harmonics 1 to 15 when y and z change sign
FLIPPED = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float32)


def read_spz(path: Path) -> Columns:
    """A scene; only as many bytes are unpacked as the header promises, and no more than a bound."""
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    packed = path.read_bytes()
    try:
        head = stream.decompress(packed, 16)
    except zlib.error as error:
        raise DataError(f"it is no gzipped stream: {error}.") from None
    if len(head) < 16:
        raise DataError("it is cut off within the header of 16 bytes.")
    magic, version, count, degree, bits, flags, _ = struct.unpack("<IIIBBBB", head)
    if magic != MAGIC:
        raise DataError(f"its first number is {magic:#010x}; an SPZ stream begins with {MAGIC:#010x}.")
    if version not in (2, 3):
        raise DataError(f"its version is {version}; versions 2 and 3 can be read.")
    if degree > 3:
        raise DataError(f"its harmonics have degree {degree}; up to 3 can be read.")
    if flags & EXTENSIONS:
        raise DataError("it uses extensions, which cannot be read; store it without them.")
    if count == 0:
        raise DataError("it holds no Gaussians.")
    if count > MOST_GAUSSIANS:
        raise DataError(f"it declares {count:,} Gaussians; at most {MOST_GAUSSIANS:,} can be read.")
    widths = (9, 1, 3, 3, 3 if version == 2 else 4, 3 * COEFFICIENTS[degree])
    size = count * sum(widths)
    if size > 1100 * len(packed):  # gzip packs at most 1032 to 1
        raise DataError(f"it is cut off: {count:,} Gaussians cannot come from {len(packed):,} bytes.")
    try:
        body = stream.decompress(stream.unconsumed_tail, size) if size else b""
    except zlib.error as error:
        raise DataError(f"its stream is damaged: {error}.") from None
    if len(body) < size:
        raise DataError(f"it is cut off: its header promises {size:,} bytes, the stream has {len(body):,}.")
    ends = np.cumsum([0, *(count * w for w in widths)])
    parts = [np.frombuffer(body, np.uint8, a_size, a) for a, a_size in zip(ends, np.diff(ends), strict=False)]
    position, alpha, colour, scale, rotation, rest = (
        part.reshape(count, width) for part, width in zip(parts, widths, strict=True)
    )
    flip = np.array([1, -1, -1], np.float32)
    quaternions = _first_three(rotation) if version == 2 else _smallest_three(rotation)
    quaternions[:, 2:] *= -1  # y and z
    constant = (colour / np.float32(255) - np.float32(0.5)) / np.float32(COLOUR_SCALE)
    others = (rest.reshape(count, -1, 3).astype(np.float32) - 128) / 128
    others *= FLIPPED[: others.shape[1], None]
    return (
        _fixed_point(position) * flip / np.float32(2.0**bits),
        exponential(scale.astype(np.float32) / 16 - 10),
        quaternions,
        alpha[:, 0] / np.float32(255),
        np.concatenate([constant[:, None, :], others], axis=1),
    )


def _fixed_point(words: Array) -> Array:
    """Signed 24-bit numbers (N, 3) from bytes (N, 9), least significant first."""
    b = words.reshape(len(words), 3, 3).astype(np.int32)
    value = b[..., 0] | b[..., 1] << 8 | b[..., 2] << 16
    return np.where(value & 0x800000, value - (1 << 24), value).astype(np.float32)


def _first_three(words: Array) -> Array:
    """w x y z from x, y, z in bytes (N, 3); w is not negative."""
    xyz = words.astype(np.float32) / np.float32(127.5) - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz * xyz).sum(axis=1)))
    return np.concatenate([w[:, None], xyz], axis=1)


def _smallest_three(words: Array) -> Array:
    """w x y z from 32-bit words (N, 4 bytes): the largest (of x y z w), sign and 9 bits of each other."""
    word = words.copy().view("<u4")[:, 0]
    fields = np.stack([(word >> np.uint32(s)) & np.uint32(1023) for s in (20, 10, 0)], axis=1)
    size = (fields & np.uint32(511)).astype(np.float32) / np.float32(511 * np.sqrt(2))
    kept = np.where(fields & np.uint32(512), -size, size)
    xyzw = smallest_three(kept, (word >> np.uint32(30)).astype(np.int64))
    return np.ascontiguousarray(np.roll(xyzw, 1, axis=1))
