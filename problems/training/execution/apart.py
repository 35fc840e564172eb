"""Fused codec kernels that keep outliers apart: whole channels, or the largest entries of each row.

One pass, as in `kernels`: a row is read once, its outliers are taken out in the innermost cache, and what
is left is coded in groups of 64 while it is there. Layouts and arguments are those of `kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels import GROUP, HALF, code4, inline, kernel, value4

_SIZE = np.int32(0x7FFFFFFF)
_INFINITY = np.int32(0x7F800000)
_START = np.int32(0x3F800000)
_DRIFT = 20 << 16
"""How far the bound moves, in steps of the bit pattern, where twice as many entries exceed it as aimed at."""
_SEQUENCE = 0x03F79D71B4CB0A89
"""A de Bruijn sequence: its 64 windows of six bits are distinct and number the lowest set bit."""


def _places() -> np.ndarray:
    """Window -> element of a group whose bit is set (see `kernels.pack` for the order of the bits)."""
    found = np.zeros(64, np.int64)
    for bit in range(64):
        found[(_SEQUENCE * (1 << bit) & (2**64 - 1)) >> 58] = (bit & 7) * 8 + (bit >> 3)
    return found


_PLACE = _places()


@kernel
def encode_channels(
    x: Any, rest: Any, channels: Any, width: Any, code: Any, scale: Any, kept: Any, seed: Any
) -> None:
    """Four bits a value, with some channels apart.

    rest: (width + 64,) int32, 0 at the channels that stand apart and -1 elsewhere, going round. channels:
    their numbers; kept: (rows, channels) int32, their bit patterns.
    """
    one, buffer = np.empty(1, np.float32), np.zeros(GROUP, np.float32)
    one_bits, bits = one.view(np.int32), buffer.view(np.int32)
    low, levels = np.float32(8), np.float32(7)
    row, column = 0, 0
    for g in range(scale.size):
        a = g * GROUP
        w, m, o = x[a : a + GROUP], rest[column : column + GROUP], code[g * HALF : (g + 1) * HALF]
        for i in range(w.size):
            bits[i] = w[i] & m[i]
        for i in range(w.size, GROUP):
            bits[i] = 0
        scale[g] = code4(buffer, bits, o, one, one_bits, a, seed, low, levels)
        column += GROUP
        while column >= width:
            column -= width
            if row < kept.shape[0]:
                source = x[row * width : (row + 1) * width]
                for j in range(channels.size):
                    kept[row, j] = source[channels[j]]
                row += 1


@kernel
def decode_channels(code: Any, scales: Any, channels: Any, kept: Any, width: Any, x: Any) -> None:
    """The inverse; x: fp32 (groups x 64,), kept: fp32."""
    low, levels = np.int32(8), np.float32(7)
    row = 0
    for g in range(scales.size):
        value4(code[g * HALF : (g + 1) * HALF], scales[g], x[g * GROUP : (g + 1) * GROUP], low, levels)
        while row < kept.shape[0] and (row + 1) * width <= (g + 1) * GROUP:
            into = x[row * width : (row + 1) * width]
            for j in range(channels.size):
                into[channels[j]] = kept[row, j]
            row += 1


@inline
def _split(row: Any, rest: Any, flags: Any, bound: Any) -> Any:
    """Flag the entries that exceed a bound in magnitude, and copy the others, with zeros in their place; how
    many there are, counted in fp32, which vectorises."""
    count = np.float32(0)
    for i in range(row.size):
        above = (row[i] & _SIZE) > bound
        flags[i] = np.uint8(above)
        rest[i] = np.int32(0) if above else row[i]
        count += np.float32(1) if above else np.float32(0)
    return count


@kernel
def _settle(row: Any, rest: Any, flags: Any, bound: Any, count: Any, most: Any, few: Any) -> Any:
    """A bound that between `few` and `most` entries exceed, by doubling steps, then halves; flags them.

    Fewer than `few` do where many entries are equal. count: those that exceed the present bound.
    """
    below, above, stride = -1, int(_INFINITY), 1 << 20
    while (count > most or count < few) and above - below > 1:
        if count > most:
            below = bound
        else:
            above = bound
        if below < 0:
            bound = max(above - stride, 0)
        elif above == _INFINITY:
            bound = min(below + stride, above - 1)
        else:
            bound = below + (above - below) // 2
        stride = min(2 * stride, 1 << 28)
        count = _split(row, rest, flags, np.int32(bound))
    if count > most:
        bound = above
        if _split(row, rest, flags, np.int32(bound)) > most:  # more NaNs than have room: none stands apart
            bound = int(_SIZE)
            _split(row, rest, flags, _SIZE)
    return bound


@inline
def _code(w: Any, bits: Any, code: Any, scale: Any, first: Any, wide: Any, wide_bits: Any, seed: Any) -> None:
    """Code a buffer's groups; the first of them has the number `first` in the whole code."""
    low, levels = np.float32(8), np.float32(7)
    for g in range(min(bits.size // GROUP, scale.size - first)):
        a, h = g * GROUP, first + g
        o = code[h * HALF : (h + 1) * HALF]
        scale[h] = code4(
            w[a : a + GROUP], bits[a : a + GROUP], o, wide, wide_bits, h * GROUP, seed, low, levels
        )


@kernel
def encode_tokens(x: Any, width: Any, code: Any, scale: Any, kept: Any, places: Any, seed: Any) -> None:
    """Four bits a value, with the largest entries of each row apart.

    kept: (rows, most) int32, their bit patterns; places: (rows, most) uint16, their columns. What exceeds a
    bound stands apart. The bound drifts from row to row towards 70 % of `most`; in a row where not between a
    third of `most` and `most` exceed it, it is sought (fewer do where many entries are equal).
    Places that are not needed hold the row's first entry.
    """
    rows, most = kept.shape
    together = 1  # rows that fill whole groups
    while together * width % GROUP:
        together *= 2
    one, buffer = np.empty(1, np.float32), np.zeros(together * width, np.float32)
    one_bits, bits = one.view(np.int32), buffer.view(np.int32)
    flags = np.zeros(-(-width // GROUP) * GROUP, np.uint8)
    words = flags.view(np.uint64)
    few = np.float32(max(1, most // 3))
    aim, pace = np.float32(0.7) * np.float32(most), np.float32(_DRIFT / most)
    bound = int(_START)
    for start in range(0, rows, together):
        stop = min(start + together, rows)
        for r in range(start, stop):
            row, rest = x[r * width : (r + 1) * width], bits[(r - start) * width : (r - start + 1) * width]
            count = _split(row, rest, flags, np.int32(bound))
            if count > most or count < few:
                bound = _settle(row, rest, flags, bound, count, most, few)
            else:
                bound = max(0, min(bound + int((count - aim) * pace), int(_INFINITY) - 1))
            for i in range(most):
                places[r, i] = 0
            for i in range(most):
                kept[r, i] = row[0]
            j = 0
            for p in range(words.size // 8):
                joined = words[8 * p]
                for i in range(1, 8):
                    joined |= words[8 * p + i] << np.uint64(i)
                while joined != 0 and j < most:
                    lowest = joined & (~joined + np.uint64(1))
                    place = p * GROUP + _PLACE[(lowest * np.uint64(_SEQUENCE)) >> np.uint64(58)]
                    joined ^= lowest
                    places[r, j], kept[r, j] = place, row[place]
                    j += 1
        for i in range((stop - start) * width, bits.size):
            bits[i] = 0
        first = start * width // GROUP
        if seed == 0:  # a number here, not the variable: the loop is compiled without the random rounding
            _code(buffer, bits, code, scale, first, one, one_bits, 0)
        else:
            _code(buffer, bits, code, scale, first, one, one_bits, seed)


@kernel
def decode_tokens(code: Any, scales: Any, kept: Any, places: Any, width: Any, x: Any) -> None:
    """The inverse; x: fp32 (groups x 64,), kept: fp32."""
    low, levels = np.int32(8), np.float32(7)
    row = 0
    for g in range(scales.size):
        value4(code[g * HALF : (g + 1) * HALF], scales[g], x[g * GROUP : (g + 1) * GROUP], low, levels)
        while row < kept.shape[0] and (row + 1) * width <= (g + 1) * GROUP:
            into = x[row * width : (row + 1) * width]
            for j in range(kept.shape[1]):
                into[places[row, j]] = kept[row, j]
            row += 1
