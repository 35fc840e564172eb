"""Fused codec kernels for fp32 on the CPU: one pass to encode, one to decode, at the speed of a copy.

Eager PyTorch needs some ten passes. A group's largest magnitude is found on the bit patterns, whose
order is that of the magnitudes and whose maximum vectorises; it is kept in 16 bits (a bfloat16, rounded
up, so that no quotient exceeds the range). 4-bit codes of a group of 64 lie as 32 bytes, element i in
the low and i + 32 in the high half. `seed` other than 0 rounds at random: the code's expectation is the
value. Arrays: x (elements,) fp32, bits the same memory as int32, elements a multiple of 64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

F = TypeVar("F", bound=Callable[..., Any])
GROUP = 64
HALF = 32
_FAST = {"nnan", "ninf", "nsz", "contract", "arcp", "reassoc"}


def _kernel(function: F) -> F:
    """Compile a kernel."""
    made: F = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")(function)
    return made


def _inline(function: F) -> F:
    """Compile a part of a kernel."""
    made: F = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy", inline="always")(function)
    return made


@_inline
def _top(bits: Any) -> Any:
    """The largest magnitude of a group as a bfloat16 rounded up, in an int32."""
    top = np.int32(0)
    for i in range(GROUP):
        top = max(top, bits[i] & np.int32(0x7FFFFFFF))
    return (top + np.int32(0xFFFF)) >> 16


@_inline
def _noise(index: Any, seed: Any) -> Any:
    """A number in [0, 1) from a counter and a seed (a 32-bit mixing hash)."""
    mask = np.uint64(0xFFFFFFFF)  # numba widens 32-bit products
    h = (np.uint64(index) * np.uint64(0x9E3779B9) + np.uint64(seed) * np.uint64(0x85EBCA6B)) & mask
    h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x7FEB352D)) & mask
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(0x846CA68B)) & mask
    h = h ^ (h >> np.uint64(16))
    return np.float32(h >> np.uint64(8)) * np.float32(1 / 16777216)


@_kernel
def encode8(x: Any, bits: Any, code: Any, scale: Any, wide: Any, wide_bits: Any, seed: Any) -> None:
    """int8 code (elements,), scale (groups,) uint16; wide: one fp32 and wide_bits: its int32 view."""
    for g in range(scale.size):
        w, o = x[g * GROUP : (g + 1) * GROUP], code[g * GROUP : (g + 1) * GROUP]
        top = _top(bits[g * GROUP : (g + 1) * GROUP])
        scale[g] = top
        wide_bits[0] = top << 16
        inverse = np.float32(127) / max(wide[0], np.float32(1e-30))
        if seed == 0:
            for i in range(GROUP):
                v = w[i] * inverse
                o[i] = np.int8(np.int32(v + np.copysign(np.float32(0.5), v)))
        else:
            for i in range(GROUP):
                v = w[i] * inverse + np.float32(127) + _noise(g * GROUP + i, seed)
                o[i] = np.int8(min(np.int32(v), np.int32(254)) - np.int32(127))


@_kernel
def decode8(code: Any, scales: Any, x: Any) -> None:
    """scales: fp32, one a group."""
    for g in range(scales.size):
        s = scales[g] * np.float32(1 / 127)
        w, o = code[g * GROUP : (g + 1) * GROUP], x[g * GROUP : (g + 1) * GROUP]
        for i in range(GROUP):
            o[i] = np.float32(w[i]) * s


@_kernel
def encode4(
    x: Any, bits: Any, code: Any, scale: Any, wide: Any, wide_bits: Any, seed: Any, low: Any, levels: Any
) -> None:
    """uint8 code (groups x 32,). The code of v is round(v / scale * levels) + low.

    Signed: low 8, levels 7. Numbers that are not negative: low 0, levels 15.
    """
    top_code = np.int32(15)
    for g in range(scale.size):
        w, o = x[g * GROUP : (g + 1) * GROUP], code[g * HALF : (g + 1) * HALF]
        top = _top(bits[g * GROUP : (g + 1) * GROUP])
        scale[g] = top
        wide_bits[0] = top << 16
        inverse = levels / max(wide[0], np.float32(1e-30))
        if seed == 0:
            shift = low + np.float32(0.5)
            for i in range(HALF):
                v = np.int32(w[i] * inverse + shift)
                u = np.int32(w[i + HALF] * inverse + shift)
                o[i] = np.uint8(v | (u << 4))
        else:
            for i in range(HALF):
                v = np.int32(w[i] * inverse + low + _noise(g * GROUP + i, seed))
                u = np.int32(w[i + HALF] * inverse + low + _noise(g * GROUP + i + HALF, seed))
                o[i] = np.uint8(min(v, top_code) | (min(u, top_code) << 4))


@_kernel
def decode4(code: Any, scales: Any, x: Any, low: Any, levels: Any) -> None:
    """scales: fp32, one a group."""
    for g in range(scales.size):
        s = scales[g] / levels
        w, o = code[g * HALF : (g + 1) * HALF], x[g * GROUP : (g + 1) * GROUP]
        for i in range(HALF):
            o[i] = np.float32(np.int32(w[i] & 15) - low) * s
            o[i + HALF] = np.float32(np.int32(w[i] >> 4) - low) * s


@_kernel
def take_tops(x: Any, values: Any, places: Any) -> None:
    """Move the largest magnitudes of each row of x (rows, width) to values (rows, k), leaving zeros.

    places: (rows, k) uint16 columns. A min-heap of k by linear scan: k is small.
    """
    for r in range(x.shape[0]):
        row = x[r]
        k = values.shape[1]
        for j in range(k):
            places[r, j] = j
        least = 0
        for j in range(1, k):
            if abs(row[j]) < abs(row[least]):
                least = j
        floor = abs(row[places[r, least]])
        for i in range(k, row.size):
            if abs(row[i]) > floor:
                places[r, least] = i
                for j in range(k):
                    if abs(row[places[r, j]]) < abs(row[places[r, least]]):
                        least = j
                floor = abs(row[places[r, least]])
        for j in range(k):
            values[r, j] = row[places[r, j]]
            row[places[r, j]] = np.float32(0)


@_kernel
def put_tops(x: Any, values: Any, places: Any) -> None:
    """The inverse of `take_tops`."""
    for r in range(x.shape[0]):
        for j in range(values.shape[1]):
            x[r, places[r, j]] = values[r, j]


@_kernel
def pack(x: Any, code: Any) -> None:
    """Eight elements a byte: whether each is not 0. x: (bytes x 8,) of bytes or fp32.

    Bit i of byte b is element b + 8 i of its 64, so that eight bytes are made side by side.
    """
    for g in range(code.size // 8):
        w, o = x[g * 64 : g * 64 + 64], code[g * 8 : g * 8 + 8]
        for b in range(8):
            v = np.int32(0)
            for i in range(8):
                v |= np.int32(w[b + 8 * i] != 0) << i
            o[b] = np.uint8(v)


@_kernel
def unpack(code: Any, x: Any, one: Any) -> None:
    """The inverse of `pack`; one: what a set bit stands for."""
    for g in range(code.size // 8):
        w, o = x[g * 64 : g * 64 + 64], code[g * 8 : g * 8 + 8]
        for i in range(8):
            for b in range(8):
                w[8 * i + b] = one * ((np.int32(o[b]) >> i) & 1)
