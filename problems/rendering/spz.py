"""SPZ versions 1 to 4 (Niantic): a header and one array of small integers an attribute.

Versions 1 to 3 are one stream, gzipped as a rule: 16 header bytes, then the arrays. Version 4 is a plain
header of 32 bytes, records of extensions, a table of sizes, and each array as a Zstandard stream.
Positions are half floats (1) or 24 bits fixed point, scales logarithms in 8 bits, rotations three bytes (1
and 2) or the smallest three of sign and 9 bits, alpha, colour and harmonics 8 bits. Axes are right, up, back
unless an extension says otherwise; they are turned to right, down, forward, as the other formats have them.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .compressed_ply import smallest_three
from .ply import Columns, exponential
from .sog import MOST_GAUSSIANS
from .zstandard import unpack

Array = npt.NDArray[Any]
MAGIC = b"NGSP"
COLOUR_SCALE = 0.15
EXTENSIONS, LEVELS = 0x2, 0x80
COEFFICIENTS = (0, 3, 8, 15)
ATTRIBUTES = ("positions", "alphas", "colours", "scales", "rotations", "harmonics")
# which axes' signs each of the harmonics 1 to 15 takes
ODD = ("y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")
COORDINATES = 0xADBE0003  # the extension that names other axes than right, up, back
RIGHT_UP_BACK = 4
MOST_EXTENSIONS = 1 << 20
MOST_PACKED = 1100  # times: gzip packs at most 1032 to 1, and no scene comes near


@dataclass(frozen=True)
class Head:
    """What the first 16 bytes say."""

    version: int
    count: int
    degree: int
    bits: int
    flags: int
    streams: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each attribute."""
        position, rotation = 6 if self.version == 1 else 9, 4 if self.version >= 3 else 3
        widths = (position, 1, 3, 3, rotation, 3 * COEFFICIENTS[self.degree])
        return tuple(self.count * width for width in widths)


def read_spz(path: Path) -> Columns:
    """A scene; only as many bytes are unpacked as the header promises, and no more than a bound."""
    data = path.read_bytes()
    if data.startswith(MAGIC):
        head = _head(data)
        arrays, extensions = _streams(data, head) if head.version == 4 else _cut(data[16:], head)
    else:
        head, arrays, extensions = _gzipped(data)
    position, alpha, colour, scale, rotation, rest = (
        np.frombuffer(array, np.uint8).reshape(head.count, -1) for array in arrays
    )
    flip = _axes(extensions) if head.flags & EXTENSIONS else _signs(RIGHT_UP_BACK)
    means = position.view("<f2").astype(np.float32) if head.version == 1 else _fixed_point(position)
    quaternions = _smallest_three(rotation) if head.version >= 3 else _first_three(rotation)
    quaternions[:, 1:] *= flip.prod() * flip  # a rotation's axis changes as the other two axes do
    constant = (colour / np.float32(255) - np.float32(0.5)) / np.float32(COLOUR_SCALE)
    others = (rest.reshape(head.count, -1, 3).astype(np.float32) - 128) / 128
    odd = [np.prod([flip["xyz".index(axis)] for axis in axes]) for axes in ODD[: others.shape[1]]]
    others *= np.array(odd, np.float32)[:, None]
    return (
        means * flip / np.float32(1 if head.version == 1 else 2.0**head.bits),
        exponential(scale.astype(np.float32) / 16 - 10),
        quaternions,
        alpha[:, 0] / np.float32(255),
        np.concatenate([constant[:, None, :], others], axis=1),
    )


def _head(data: bytes) -> Head:
    if len(data) < 16:
        raise DataError("it is cut off within the header of 16 bytes.")
    magic, *numbers = struct.unpack("<4sIIBBBB", data[:16])
    if magic != MAGIC:
        raise DataError(f"its first bytes are {magic!r}; an SPZ stream begins with {MAGIC!r}.")
    head = Head(*numbers)
    if not 1 <= head.version <= 4:
        raise DataError(f"its version is {head.version}; versions 1 to 4 can be read.")
    if head.degree > 3:
        raise DataError(f"its harmonics have degree {head.degree}; up to 3 can be read.")
    if head.flags & LEVELS:
        raise DataError("it holds a tree of levels of detail, which cannot be read; store one level.")
    if head.count == 0:
        raise DataError("it holds no Gaussians.")
    if head.count > MOST_GAUSSIANS:
        raise DataError(f"it declares {head.count:,} Gaussians; at most {MOST_GAUSSIANS:,} can be read.")
    return head


def _gzipped(data: bytes) -> tuple[Head, list[bytes], bytes]:
    """Header, arrays and extensions of a gzipped stream of version 1, 2 or 3."""
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        head = _head(stream.decompress(data, 16))
        if head.version == 4:
            raise DataError("it is of version 4 and gzipped once more; unpack it with gunzip.")
        _plausible(head, len(data))
        body = stream.decompress(stream.unconsumed_tail, sum(head.sizes) + MOST_EXTENSIONS)
    except zlib.error as error:
        raise DataError(f"its gzipped stream is damaged: {error}.") from None
    return head, *_cut(body, head)


def _cut(body: bytes, head: Head) -> tuple[list[bytes], bytes]:
    """The arrays of one stream after another, and what follows them."""
    size = sum(head.sizes)
    if len(body) < size:
        raise DataError(f"it is cut off: its header promises {size:,} bytes, the stream has {len(body):,}.")
    ends = np.cumsum([0, *head.sizes]).tolist()
    return [body[a:b] for a, b in itertools.pairwise(ends)], body[size:]


def _streams(data: bytes, head: Head) -> tuple[list[bytes], bytes]:
    """The arrays of version 4, each unpacked, and the extensions."""
    _plausible(head, len(data))
    if len(data) < 32:
        raise DataError("it is cut off within the header of 32 bytes.")
    (table,) = struct.unpack("<I", data[16:20])
    place = table + 16 * head.streams
    if not 32 <= table <= place <= len(data):
        raise DataError("it is cut off within its table of streams.")
    packed = struct.unpack(f"<{2 * head.streams}Q", data[table:place])
    listed = list(zip(packed[::2], packed[1::2], strict=True))
    wanted = head.sizes[: head.streams]
    if tuple(size for _, size in listed) != wanted or any(head.sizes[head.streams :]):
        raise DataError(
            f"its streams unpack to {', '.join(f'{size:,}' for _, size in listed)} bytes; {head.count:,} "
            f"Gaussians of degree {head.degree} have {', '.join(f'{size:,}' for size in head.sizes)}."
        )
    arrays = []
    for (length, size), what in zip(listed, ATTRIBUTES, strict=False):
        if place + length > len(data):
            raise DataError(f"it is cut off within its {what}.")
        arrays.append(unpack(data[place : place + length], size, f"its {what}"))
        place += length
    return arrays + [b""] * (len(ATTRIBUTES) - len(arrays)), data[32:table]


def _plausible(head: Head, length: int) -> None:
    if sum(head.sizes) > MOST_PACKED * length:
        raise DataError(f"it is cut off: {head.count:,} Gaussians cannot come from {length:,} bytes.")


def _axes(extensions: bytes) -> Array:
    """Signs of x, y and z as the extensions have them; those of other makers are skipped."""
    for kind, payload in _records(extensions):
        if kind == COORDINATES and len(payload) >= 4:
            (code,) = struct.unpack("<I", payload[:4])
            if code > 8:
                raise DataError(f"its axes (number {code}) are turned; store them as right, up, back.")
            return _signs(code or RIGHT_UP_BACK)
    return _signs(RIGHT_UP_BACK)


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 8 <= len(data):
        kind, length = struct.unpack("<II", data[place : place + 8])
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length


def _signs(code: int) -> Array:
    """What turns axes into right, down, forward: bits of code - 1 say right, up, forward."""
    right, up, forward = (code - 1) & 1, (code - 1) & 2, (code - 1) & 4
    return np.array([1 if right else -1, -1 if up else 1, 1 if forward else -1], np.float32)


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
