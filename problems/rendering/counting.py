"""Blending that counts: the same images, with every decision a core would take executed and tallied.

Groups of g x g pixels share one decision (the SPcore of this package, after SLTarch): its check is taken
at the group's `centre`, at its top left pixel (`leader`), or at each of its pixels (`any`); where it
passes, all unfinished lanes blend with their own alpha, without a check of their own. With g = 1 this is
exact blending. Kept apart from `blending`, which counts nothing and so stays fast.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .blending import LEAST, MOST, decay, span
from .compiled import Scalar, compiled
from .projection import HALF_A, HALF_V, LIMIT, OPACITY, SHEAR, X, Y

Array = npt.NDArray[Any]
CHECKS = ("pixel", "centre", "leader", "any")
WARP = 32
FAR = np.float32(5.6)  # lanes let through by their group may lie beyond the range of `decay`

# columns of the tally of a tile
(
    VISITS,
    LANE_STEPS,
    SIGNIFICANT,
    BLENDS,
    STOPPED,
    SLOTS,
    SLOTS_2,
    MIXED_2,
    PASSED_2,
    SLOTS_4,
    MIXED_4,
    PASSED_4,
) = range(12)
WARP_STEPS, WARP_ACTIVE = 12, 13
TALLIES = 14


@compiled
def count_tiles(
    first: int, last: int, start: Array, members: Array, splats: Array, columns: int, tile: int,
    group: int, check: int, background: Array, image: Array, transmittance: Array, tally: Array,
) -> None:  # fmt: skip
    """As `blend_tiles`, with group decisions; tally (tiles, 14) is filled.

    Of a tile: VISITS, list entries until its last pixel is finished; LANE_STEPS, the sum over pixels of
    the entries until each is finished; SIGNIFICANT, pixels let through by a check; BLENDS; STOPPED, pixels
    finished early; SLOTS, entries summed over groups (until their last pixel); for groups of 2 x 2 and
    4 x 4 pixels the slots, those where a check at each pixel lets through some and not all unfinished
    pixels (mixed), and those where it lets through any (passed); warps of 32 lanes in rows: steps until
    their last lane is finished, and steps in which any lane blends.
    """
    height, width = transmittance.shape
    one, half = np.float32(1), np.float32(0.5)
    left = np.empty(tile * tile, np.float32)
    light = np.empty((tile * tile, 3), np.float32)
    finished = np.empty(tile * tile, np.int64)  # entries until the pixel is finished
    across2, across4 = tile // 2, tile // 4
    hits2, ends2, open2 = (
        np.zeros(across2**2, np.int32),
        np.zeros(across2**2, np.int32),
        np.zeros(across2**2, np.int32),
    )
    hits4, ends4, open4 = (
        np.zeros(across4**2, np.int32),
        np.zeros(across4**2, np.int32),
        np.zeros(across4**2, np.int32),
    )
    warps = np.empty((tile * tile + WARP - 1) // WARP, np.int64)
    samples = group if check == 3 else 1
    offset = np.float32(0.5 * (group - 1)) if check == 1 else np.float32(0)
    pitch = np.float32(1 if check == 3 else group)
    for t in range(first, last):
        top, edge = (t // columns) * tile, (t % columns) * tile
        rows, wide = min(tile, height - top), min(tile, width - edge)
        length = start[t + 1] - start[t]
        left[:] = one
        light[:] = 0
        finished[:] = length
        warps[:] = -1
        open2[:] = 0
        open4[:] = 0
        for row in range(rows):
            for column in range(wide):
                open2[(row // 2) * across2 + column // 2] += 1
                open4[(row // 4) * across4 + column // 4] += 1
        unfinished = rows * wide
        significant = blends = stopped = active_steps = 0
        mixed2 = passed2 = mixed4 = passed4 = 0
        visits = length
        for k in range(length):
            s = splats[members[start[t] + k]]
            x, y = s[X] - np.float32(edge) - half, s[Y] - np.float32(top) - half
            half_a, shear, half_v, limit, opacity = s[HALF_A], s[SHEAR], s[HALF_V], s[LIMIT], s[OPACITY]
            red, green, blue = s[7], s[8], s[9]
            reach = math.sqrt(limit / half_v)
            # rows of samples that may lie within the ellipse; a group has one (any: one a pixel row)
            low_sample, high_sample = span((y - offset) / pitch, reach / pitch, -(-rows // int(pitch)))
            low_band, high_band = low_sample // samples, high_sample // samples
            if high_sample < low_sample:
                continue
            for band in range(low_band, high_band + 1):
                low, high = wide, -1  # groups of this band that may pass
                for line in range(band * samples, min((band + 1) * samples, -(-rows // int(pitch)))):
                    dy = np.float32(line) * pitch + offset - y
                    rest = limit - half_v * dy * dy
                    if rest >= 0:
                        a, b = span(
                            (x - shear * dy - offset) / pitch,
                            math.sqrt(rest / half_a) / pitch,
                            -(-wide // int(pitch)),
                        )
                        if b >= a:
                            low, high = min(low, a // samples), max(high, b // samples)
                for g in range(low, high + 1):
                    if not _passes(
                        band, g, samples, pitch, offset, rows, wide, x, y, half_a, shear, half_v, limit
                    ):
                        continue
                    for row in range(band * group, min((band + 1) * group, rows)):
                        dy = np.float32(row) - y
                        bend = half_v * dy * dy
                        middle = x - shear * dy
                        for column in range(g * group, min((g + 1) * group, wide)):
                            p = row * tile + column
                            through = left[p]
                            if through < 0:
                                continue
                            significant += 1
                            cell2 = (row // 2) * across2 + column // 2
                            cell4 = (row // 4) * across4 + column // 4
                            hits2[cell2] += 1
                            hits4[cell4] += 1
                            u = np.float32(column) - middle
                            power = half_a * u * u + bend
                            fall = decay(power) if power < FAR else math.exp(-power)
                            alpha = min(MOST, opacity * fall)
                            after = through * (one - alpha)
                            if after < LEAST:
                                left[p] = -through
                                finished[p] = k + 1
                                ends2[cell2] += 1
                                ends4[cell4] += 1
                                stopped += 1
                                unfinished -= 1
                                continue
                            weight = through * alpha
                            light[p, 0] += weight * red
                            light[p, 1] += weight * green
                            light[p, 2] += weight * blue
                            left[p] = after
                            blends += 1
                            if warps[p // WARP] != k:
                                warps[p // WARP] = k
                                active_steps += 1
            low_row, high_row = low_band * group, min((high_band + 1) * group, rows) - 1
            for cell in range((low_row // 2) * across2, (high_row // 2 + 1) * across2):
                if hits2[cell] > 0:
                    passed2 += 1
                    mixed2 += hits2[cell] < open2[cell]
                    open2[cell] -= ends2[cell]
                    hits2[cell] = ends2[cell] = 0
            for cell in range((low_row // 4) * across4, (high_row // 4 + 1) * across4):
                if hits4[cell] > 0:
                    passed4 += 1
                    mixed4 += hits4[cell] < open4[cell]
                    open4[cell] -= ends4[cell]
                    hits4[cell] = ends4[cell] = 0
            if unfinished == 0:
                visits = k + 1
                break
        lane_steps = 0
        for row in range(rows):
            for column in range(wide):
                p = row * tile + column
                through = abs(left[p])
                lane_steps += finished[p]
                transmittance[top + row, edge + column] = through
                for c in range(3):
                    image[top + row, edge + column, c] = light[p, c] + through * background[c]
        tally[t, VISITS], tally[t, LANE_STEPS] = visits, lane_steps
        tally[t, SIGNIFICANT], tally[t, BLENDS], tally[t, STOPPED] = significant, blends, stopped
        tally[t, SLOTS] = _slots(finished, tile, group, rows, wide)
        tally[t, SLOTS_2], tally[t, MIXED_2], tally[t, PASSED_2] = (
            _slots(finished, tile, 2, rows, wide),
            mixed2,
            passed2,
        )
        tally[t, SLOTS_4], tally[t, MIXED_4], tally[t, PASSED_4] = (
            _slots(finished, tile, 4, rows, wide),
            mixed4,
            passed4,
        )
        tally[t, WARP_STEPS] = _warp_steps(finished, tile, rows, wide)
        tally[t, WARP_ACTIVE] = active_steps


@compiled
def _passes(
    band: int, g: int, samples: int, pitch: Scalar, offset: Scalar, rows: int, wide: int,
    x: Scalar, y: Scalar, half_a: Scalar, shear: Scalar, half_v: Scalar, limit: Scalar,
) -> bool:  # fmt: skip
    """Whether any sample of a group has alpha >= 1/255."""
    for i in range(samples):
        dy = np.float32(band * samples + i) * pitch + offset - y
        rest = limit - half_v * dy * dy
        if rest < 0 or (samples > 1 and band * samples + i >= rows):
            continue
        middle = x - shear * dy
        for j in range(samples):
            if samples > 1 and g * samples + j >= wide:
                break
            u = np.float32(g * samples + j) * pitch + offset - middle
            if half_a * u * u <= rest:
                return True
    return False


@compiled
def _slots(finished: Array, tile: int, group: int, rows: int, wide: int) -> int:
    """Entries summed over groups, each until its last pixel is finished."""
    total = 0
    for top in range(0, rows, group):
        for edge in range(0, wide, group):
            longest = 0
            for row in range(top, min(top + group, rows)):
                for column in range(edge, min(edge + group, wide)):
                    longest = max(longest, finished[row * tile + column])
            total += longest
    return total


@compiled
def _warp_steps(finished: Array, tile: int, rows: int, wide: int) -> int:
    """Entries summed over warps, each until its last lane within the frame is finished."""
    total = 0
    for first in range(0, tile * tile, WARP):
        longest = 0
        for p in range(first, min(first + WARP, tile * tile)):
            if p // tile < rows and p % tile < wide:
                longest = max(longest, finished[p])
        total += longest
    return total
