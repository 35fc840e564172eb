"""Compressed polygon files of PlayCanvas and SuperSplat: 16 bytes a Gaussian, ranges for each 256.

Position and scale in 11, 10, 11 bits, rotation as the smallest three of 10 bits with 2 bits that name
the largest, colour and opacity in 8 bits each; optional harmonics in 8 bits over -4 to 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .ply import Columns, exponential, need, rest_names, stack, vertices, with_rest
from .polygon import Element

Array = npt.NDArray[Any]
CHUNK = 256
C0 = 0.28209479177387814
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
AXES = ("x", "y", "z")


def read_compressed_ply(elements: dict[str, Element]) -> Columns:
    """A scene with the tables `chunk` and `vertex`, and `sh` where it has more than one colour."""
    vertex, chunk = vertices(elements), elements["chunk"]
    need(vertex, *PACKED)
    ranges = [f"{end}_{name}" for name in (*AXES, *(f"scale_{a}" for a in AXES)) for end in ("min", "max")]
    need(chunk, *ranges)
    if chunk.count * CHUNK < vertex.count:
        raise DataError(f"it has {chunk.count:,} chunks of {CHUNK}, too few for {vertex.count:,} Gaussians.")
    rows, chunks = vertex.rows, chunk.rows
    of = np.arange(vertex.count) // CHUNK
    position = _unpack(rows["packed_position"], (21, 11, 0), (11, 10, 11))
    means = _within(position, chunks, [f"{{}}_{a}" for a in AXES], of)
    size = _unpack(rows["packed_scale"], (21, 11, 0), (11, 10, 11))
    scales = exponential(_within(size, chunks, [f"{{}}_scale_{a}" for a in AXES], of))
    colour = _unpack(rows["packed_color"], (24, 16, 8, 0), (8, 8, 8, 8))
    light = colour[:, :3]
    if "min_r" in chunk.columns:
        need(chunk, *(f"{end}_{c}" for c in "rgb" for end in ("min", "max")))
        light = _within(light, chunks, [f"{{}}_{c}" for c in "rgb"], of)
    constant = (light - 0.5) / C0
    rest = np.zeros((vertex.count, 0), np.float32)
    if "sh" in elements:
        table = elements["sh"]
        if table.count != vertex.count:
            raise DataError(f"its element 'sh' has {table.count:,} rows for {vertex.count:,} Gaussians.")
        packed = stack(table.rows, rest_names(table))
        share = np.where(packed == 0, 0, np.where(packed == 255, 1, (packed + 0.5) / 256))
        rest = ((share - 0.5) * 8).astype(np.float32)
    quaternions = _rotation(np.asarray(rows["packed_rotation"], np.uint32))
    return means, scales, quaternions, colour[:, 3], with_rest(constant.astype(np.float32), rest)


def _unpack(words: Array, shifts: tuple[int, ...], bits: tuple[int, ...]) -> Array:
    """Fields of 32-bit words as shares of their range, (N, fields)."""
    plain = np.asarray(words, np.uint32)
    fields = [
        ((plain >> np.uint32(s)) & np.uint32(2**b - 1)) / np.float32(2**b - 1)
        for s, b in zip(shifts, bits, strict=True)
    ]
    return np.stack(fields, axis=1).astype(np.float32)


def _within(share: Array, chunks: Array, names: list[str], of: Array) -> Array:
    """Shares mapped into the range of each Gaussian's chunk."""
    low, high = (stack(chunks, [n.format(end) for n in names])[of] for end in ("min", "max"))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(low + share * (high - low), np.float32)


def _rotation(words: Array) -> Array:
    """Quaternions w x y z of smallest-three words: bits 30 and 31 name the component left out."""
    shares = _unpack(words, (20, 10, 0), (10, 10, 10))
    return smallest_three(
        (shares - 0.5) * np.float32(np.sqrt(2.0)), (words >> np.uint32(30)).astype(np.int64)
    )


def smallest_three(kept: Array, left_out: Array) -> Array:
    """Quaternions (N, 4) from three components in order (N, 3) and the position of the largest (N,)."""
    largest = np.sqrt(np.maximum(0, 1 - (kept * kept).sum(axis=1)))
    columns = np.arange(4)[None, :]
    source = np.clip(columns - (columns > left_out[:, None]), 0, 2)
    whole = np.take_along_axis(kept, source, axis=1)
    whole[np.arange(len(kept)), left_out] = largest
    return np.asarray(whole, np.float32)
