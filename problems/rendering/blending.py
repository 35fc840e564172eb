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

from .compiled import Scalar, compiled
from .projection import ALPHA_MOST, BLUE, GREEN, HALF_A, HALF_V, LIMIT, OPACITY, RED, SHEAR, X, Y

Array = npt.NDArray[Any]
MOST = np.float32(ALPHA_MOST)
LEAST = np.float32(1e-4)  # transmittance at which a pixel is finished
BLOCK = 8  # pixels of a vector
STRIDE = 64  # the largest tile's edge
MARGIN = np.float32(1e-3)  # pixels by which solved ranges are widened; each pixel is tested all the same
ROUND_UP = np.float32(1 - 1e-3)  # the whole part of x + ROUND_UP is the ceiling of x, less the margin


@compiled
def blend_tiles(
    first: int, last: int, start: Array, members: Array, splats: Array, columns: int, tile: int,
    background: Array, image: Array, transmittance: Array,
) -> None:  # fmt: skip
    """Blend tiles first to last - 1 into image (h, w, 3) and transmittance (h, w)."""
    height, width = transmittance.shape
    one, half = np.float32(1), np.float32(0.5)
    # of each row four lines of STRIDE: transmittance (negative where finished), red, green, blue
    state = np.empty(tile * 4 * STRIDE, np.float32)
    open_in_row = np.empty(tile, np.int64)
    for t in range(first, last):
        top, edge = (t // columns) * tile, (t % columns) * tile
        rows, wide = min(tile, height - top), min(tile, width - edge)
        for row in range(rows):
            base = row * 4 * STRIDE
            for j in range(max(tile, BLOCK)):
                state[base + j] = one if j < wide else -one
                state[base + STRIDE + j] = state[base + 2 * STRIDE + j] = state[base + 3 * STRIDE + j] = 0
        open_in_row[:rows] = wide
        unfinished = rows * wide
        for k in range(start[t], start[t + 1]):
            m = members[k]
            x, y = splats[m, X] - np.float32(edge) - half, splats[m, Y] - np.float32(top) - half
            half_a, shear, half_v = splats[m, HALF_A], splats[m, SHEAR], splats[m, HALF_V]
            limit, opacity = splats[m, LIMIT], splats[m, OPACITY]
            red, green, blue = splats[m, RED], splats[m, GREEN], splats[m, BLUE]
            low_row, high_row = span(y, math.sqrt(limit / half_v), rows)
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
                finished = 0
                for column in range(low - low % BLOCK, high + 1, BLOCK):
                    finished += _blend_block(
                        state, row * 4 * STRIDE + column, column, middle, half_a, rest, bend,
                        opacity, red, green, blue,
                    )  # fmt: skip
                if finished:
                    open_in_row[row] -= finished
                    unfinished -= finished
            if unfinished == 0:
                break
        for row in range(rows):
            for column in range(wide):
                p = row * 4 * STRIDE + column
                through = abs(state[p])
                transmittance[top + row, edge + column] = through
                for c in range(3):
                    image[top + row, edge + column, c] = state[p + (c + 1) * STRIDE] + through * background[c]


@compiled
def _blend_block(
    state: Array, base: int, column: int, middle: float, half_a: float, rest: float, bend: float,
    opacity: float, red: float, green: float, blue: float,
) -> int:  # fmt: skip
    """Blend one Gaussian into BLOCK pixels of a row; returns how many this finished.

    Without a branch and with a fixed number of turns, so that it compiles to vector instructions.
    """
    one, zero = np.float32(1), np.float32(0)
    finished = 0
    for j in range(BLOCK):
        p = np.uint64(base + j)  # unsigned: a signed index is checked for counting from the end
        through = state[p]
        u = np.float32(column + j) - middle
        power = half_a * u * u
        alpha: Any = opacity * decay(power + bend)
        alpha = alpha if alpha < MOST else MOST
        alpha = alpha if power <= rest else zero
        alpha = alpha if through > 0 else zero
        after = through * (one - alpha)
        stop = (after < LEAST) & (through > 0)
        weight = zero if stop else through * alpha
        state[p] = -through if stop else after
        state[p + np.uint64(STRIDE)] += weight * red
        state[p + np.uint64(2 * STRIDE)] += weight * green
        state[p + np.uint64(3 * STRIDE)] += weight * blue
        finished += 1 if stop else 0
    return finished


@compiled
def decay(power: Any) -> Any:
    """exp(-power) for 0 <= power <= 5.6, to 2.4e-6 of its value; exp(-5.6) beyond.

    A polynomial of degree 5 (Chebyshev nodes) for exp(-power / 8) over 0 to 5.6 / 8, squared three times.
    Every pixel with alpha >= 1/255 has power <= ln 255 = 5.54.
    """
    y = power * np.float32(0.125)
    y = y if y < np.float32(0.7) else np.float32(0.7)
    v = np.float32(0.039864037) - np.float32(0.005898142) * y
    v = np.float32(0.49989733) - y * (np.float32(0.16603126) - y * v)
    v = np.float32(0.99999994) - y * (np.float32(0.99999386) - y * v)
    v *= v
    v *= v
    return v * v


@compiled
def span(centre: Scalar, reach: Scalar, count: int) -> tuple[int, int]:
    """First and last of `count` whole positions within `reach` of `centre` (last < first where none)."""
    low = max(centre - reach + ROUND_UP, np.float32(0))
    high = min(centre + reach + MARGIN, np.float32(count - 1))
    if not (low < count and high >= 0):
        return 0, -1
    return int(low), int(high)  # neither is negative: the whole part is the floor
