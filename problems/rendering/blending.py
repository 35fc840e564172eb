"""Front-to-back blending of tile lists: only the pixels inside an ellipse are visited.

Colour = sum of T alpha c, T the product of (1 - alpha) of those in front. alpha = min(0.99, opacity
exp(-power)); below 1/255 a Gaussian is skipped; a pixel is finished before the Gaussian that would bring
T below 1e-4. Of a Gaussian the pixels with power <= ln(255 opacity) are those with alpha >= 1/255: an
ellipse, whose rows and columns are solved for. Rows and tiles whose pixels are all finished are left.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .compiled import compiled
from .projection import ALPHA_MOST, HALF_A, HALF_V, LIMIT, OPACITY, SHEAR, X, Y

Array = npt.NDArray[Any]
TRANSMITTANCE_LEAST = 1e-4
MARGIN = 1e-3  # pixels by which solved ranges are widened; each pixel is tested all the same


@compiled
def blend_tiles(
    first: int, last: int, start: Array, members: Array, splats: Array, columns: int, tile: int,
    background: Array, image: Array, transmittance: Array,
) -> None:  # fmt: skip
    """Blend tiles first to last - 1 into image (h, w, 3) and transmittance (h, w)."""
    height, width = transmittance.shape
    most, least = np.float32(ALPHA_MOST), np.float32(TRANSMITTANCE_LEAST)
    one, half = np.float32(1), np.float32(0.5)
    left = np.empty(tile * tile, np.float32)  # transmittance; negative where the pixel is finished
    light = np.empty((tile * tile, 3), np.float32)
    open_in_row = np.empty(tile, np.int32)
    for t in range(first, last):
        top, edge = (t // columns) * tile, (t % columns) * tile
        rows, wide = min(tile, height - top), min(tile, width - edge)
        left[:] = one
        light[:] = 0
        open_in_row[:rows] = wide
        unfinished = rows * wide
        for k in range(start[t], start[t + 1]):
            s = splats[members[k]]
            x, y = s[X] - np.float32(edge) - half, s[Y] - np.float32(top) - half
            half_a, shear, half_v, limit, opacity = s[HALF_A], s[SHEAR], s[HALF_V], s[LIMIT], s[OPACITY]
            red, green, blue = s[7], s[8], s[9]
            reach = math.sqrt(limit / half_v)
            low_row, high_row = span(y, reach, rows)
            inverse_a = one / half_a
            for row in range(low_row, high_row + 1):
                if open_in_row[row] == 0:
                    continue
                dy = np.float32(row) - y
                bend = half_v * dy * dy
                rest = limit - bend
                if rest < 0:
                    continue
                middle = x - shear * dy
                low, high = span(middle, math.sqrt(rest * inverse_a), wide)
                for p in range(row * tile + low, row * tile + high + 1):
                    through = left[p]
                    u = np.float32(p - row * tile) - middle
                    power = half_a * u * u
                    if power > rest or through < 0:
                        continue
                    alpha = min(most, opacity * math.exp(-(power + bend)))
                    after = through * (one - alpha)
                    if after < least:
                        left[p] = -through
                        open_in_row[row] -= 1
                        unfinished -= 1
                        continue
                    weight = through * alpha
                    light[p, 0] += weight * red
                    light[p, 1] += weight * green
                    light[p, 2] += weight * blue
                    left[p] = after
            if unfinished == 0:
                break
        for row in range(rows):
            for column in range(wide):
                p = row * tile + column
                through = abs(left[p])
                transmittance[top + row, edge + column] = through
                for c in range(3):
                    image[top + row, edge + column, c] = light[p, c] + through * background[c]


@compiled
def span(centre: float, reach: float, count: int) -> tuple[int, int]:
    """First and last of `count` whole positions within `reach` of `centre` (last < first where none)."""
    least, most = max(centre - reach - MARGIN, 0.0), min(centre + reach + MARGIN, count - 1.0)
    if not least <= most:
        return 0, -1
    low, high = math.ceil(least), math.floor(most)
    return int(low), int(high)
