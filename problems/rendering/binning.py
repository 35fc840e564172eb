"""Which tiles a Gaussian reaches: lists of Gaussians by tile, nearest first.

Three extents: `circle`, the square about the 3-sigma circle (Kerbl et al. 2023); `box`, the box of all
pixels with alpha >= 1/255 (gsplat); `ellipse`, only those tiles of the box that the ellipse
alpha = 1/255 enters (Speedy-Splat's exact test). As Gaussians come sorted by depth, a stable scatter
leaves every list sorted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .cameras import Camera
from .compiled import Scalar, compiled
from .projection import HALF_A, HALF_V, LIMIT, SHEAR, Projected, X, Y

Array = npt.NDArray[Any]
EXTENTS = ("circle", "box", "ellipse")
TILES = (4, 8, 16, 32, 64)
MOST_PAIRS = 1 << 28


@dataclass(frozen=True, eq=False)
class TileLists:
    """Lists of Gaussians by tile: those of tile t are members[start[t]:start[t + 1]], nearest first.

    start (tiles + 1,) int64; members (pairs,) int32, positions in `Projected`; columns, rows: tiles across
    and down; tile: edge in pixels.
    """

    start: Array
    members: Array
    columns: int
    rows: int
    tile: int

    @property
    def pairs(self) -> int:
        """Length of all lists together."""
        return len(self.members)

    @property
    def lengths(self) -> Array:
        """Length of each list, (tiles,)."""
        return np.diff(self.start)


def bin_tiles(projected: Projected, camera: Camera, *, tile: int = 16, extent: str = "ellipse") -> TileLists:
    """Tile lists of a projected frame.

    Raises DataError where more than 2^28 pairs would be needed (a gigabyte), a bound on memory.
    """
    if tile not in TILES:
        raise DataError(f"a tile's edge must be one of {TILES} pixels, got {tile!r}.")
    if extent not in EXTENTS:
        raise DataError(f"extent must be one of {', '.join(EXTENTS)}, got {extent!r}.")
    columns, rows = -(-camera.width // tile), -(-camera.height // tile)
    arguments = (
        projected.splats, projected.extent, projected.radius, EXTENTS.index(extent), tile, columns, rows,
        camera.width, camera.height,
    )  # fmt: skip
    start = np.zeros(columns * rows + 1, np.int64)
    _scatter(*arguments, start[1:], np.empty(0, np.int32), False)
    np.cumsum(start, out=start)
    pairs = int(start[-1])
    if pairs > MOST_PAIRS:
        raise DataError(f"this frame needs {pairs:,} pairs of Gaussian and tile, more than {MOST_PAIRS:,}; "
                        "choose a larger tile, a smaller frame or a camera further away.")  # fmt: skip
    members = np.empty(pairs, np.int32)
    _scatter(*arguments, start[:-1].copy(), members, True)
    return TileLists(start, members, columns, rows, tile)


@compiled
def _scatter(
    splats: Array, extents: Array, radii: Array, extent: int, tile: int, columns: int, rows: int,
    width: int, height: int, cursor: Array, members: Array, writing: bool,
) -> None:  # fmt: skip
    """Count the members of each tile in `cursor`, or write them from `cursor` on."""
    size = np.float32(1.0 / tile)
    for i in range(len(splats)):
        x, y = splats[i, X], splats[i, Y]
        half_x, half_y = extents[i, 0], extents[i, 1]
        if extent == 0:  # in Kerbl et al. pixel centres are whole numbers, and the end is rounded like this
            reach, spare = radii[i], np.float32(tile - 1)
            first_x, last_x = _range(x - 0.5 - reach, x - 0.5 + reach + spare, size, columns, -1)
            first_y, last_y = _range(y - 0.5 - reach, y - 0.5 + reach + spare, size, rows, -1)
        else:
            first_x, last_x = _range(x - half_x, x + half_x, size, columns, 0)
            first_y, last_y = _range(y - half_y, y + half_y, size, rows, 0)
        inside = x >= half_x and y >= half_y and x + half_x < columns * tile and y + half_y < rows * tile
        if extent < 2 or (inside and (first_x == last_x or first_y == last_y)):
            for row in range(first_y, last_y + 1):
                for t in range(row * columns + first_x, row * columns + last_x + 1):
                    if writing:
                        members[cursor[t]] = i
                    cursor[t] += 1
            continue
        half_a, shear, half_v, limit = (
            splats[i, HALF_A],
            splats[i, SHEAR],
            splats[i, HALF_V],
            splats[i, LIMIT],
        )
        # dy at which dx = sqrt((limit - half_v dy^2) / half_a) - shear dy is greatest; mirrored, least
        right = -shear * math.sqrt(half_a * limit / (half_v * (half_v + shear * shear * half_a)))
        for row in range(first_y, last_y + 1):
            low = max(row * tile - y, -half_y)
            high = min((row + 1) * tile - y, half_y)
            if low > high:
                continue
            most = _edge(min(max(right, low), high), half_a, shear, half_v, limit, 1.0)
            least = _edge(min(max(-right, low), high), half_a, shear, half_v, limit, -1.0)
            from_x = max(first_x, math.floor((x + least) * size))
            to_x = min(last_x, math.floor((x + most) * size))
            for t in range(row * columns + from_x, row * columns + to_x + 1):
                if writing:
                    members[cursor[t]] = i
                cursor[t] += 1


@compiled
def _range(low: Scalar, high: Scalar, size: Scalar, count: int, shift: int) -> tuple[int, int]:
    """First and last tile of an interval within the frame (last < first where none)."""
    least, most = max(low * size, 0.0), min(high * size, float(count))
    if not (least < count and most >= 0):
        return 0, -1
    return math.floor(least), min(math.floor(most) + shift, count - 1)


@compiled
def _edge(dy: float, half_a: float, shear: float, half_v: float, limit: float, side: float) -> float:
    """Offset along x at which the ellipse ends, right (side 1) or left (-1), on the line `dy`."""
    return side * math.sqrt(max(limit - half_v * dy * dy, 0.0) / half_a) - shear * dy
