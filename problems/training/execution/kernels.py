"""Fused codec kernels for the CPU: one pass to encode, one to decode, at the speed of a copy.

Eager PyTorch needs some ten passes. A group's largest magnitude is found on the bit patterns, whose
order is that of the magnitudes and whose maximum vectorises; it is kept in 16 bits (a bfloat16, rounded
up, so that no quotient exceeds the range). 4-bit codes of a group of 64 lie as 32 bytes, element i in
the low and i + 32 in the high half. `seed` other than 0 rounds at random: the code's expectation is the
value. x: the fp32 elements' bit patterns, (elements,) int32; a last group that is not whole is coded
with zeros behind it. Kernels that keep outliers apart are in `apart`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

F = TypeVar("F", bound=Callable[..., Any])
GROUP = 64
HALF = 32
_MINUS_ZERO = np.int32(-(2**31))
_FAST = {"nnan", "ninf", "nsz", "contract", "arcp", "reassoc"}


def kernel(function: F) -> F:
    """Compile a kernel."""
    made: F = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")(function)
    return made


def inline(function: F) -> F:
    """Compile a part of a kernel."""
    made: F = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy", inline="always")(function)
    return made


@inline
def top_of(bits: Any) -> Any:
    """The largest magnitude of a group as a bfloat16 rounded up, in an int32."""
    top = np.int32(0)
    for i in range(GROUP):
        top = max(top, bits[i] & np.int32(0x7FFFFFFF))
    return (top + np.int32(0xFFFF)) >> 16


@inline
def below_zero(bits: Any) -> Any:
    """Whether a group holds a negative number, on the bit patterns (that of -0 is the least)."""
    least = np.int32(0)
    for i in range(GROUP):
        least = min(least, np.int32(0) if bits[i] == _MINUS_ZERO else bits[i])
    return least < 0


@inline
def noise(index: Any, seed: Any) -> Any:
    """A number in [0, 1) from a counter and a seed (a 32-bit mixing hash)."""
    mask = np.uint64(0xFFFFFFFF)  # numba widens 32-bit products
    h = (np.uint64(index) * np.uint64(0x9E3779B9) + np.uint64(seed) * np.uint64(0x85EBCA6B)) & mask
    h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x7FEB352D)) & mask
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(0x846CA68B)) & mask
    h = h ^ (h >> np.uint64(16))
    return np.float32(h >> np.uint64(8)) * np.float32(1 / 16777216)


@inline
def code8(w: Any, bits: Any, o: Any, wide: Any, wide_bits: Any, first: Any, seed: Any) -> Any:
    """Code a group; returns its scale. w: fp32, bits: the same memory. wide, wide_bits: one number, both
    ways."""
    top = top_of(bits)
    wide_bits[0] = top << 16
    inverse = np.float32(127) / max(wide[0], np.float32(1e-30))
    if seed == 0:
        for i in range(GROUP):
            v = w[i] * inverse
            o[i] = np.int8(np.int32(v + np.copysign(np.float32(0.5), v)))
    else:
        for i in range(GROUP):
            v = w[i] * inverse + np.float32(127) + noise(first + i, seed)
            o[i] = np.int8(min(np.int32(v), np.int32(254)) - np.int32(127))
    return top


@inline
def code4(
    w: Any, bits: Any, o: Any, wide: Any, wide_bits: Any, first: Any, seed: Any, low: Any, levels: Any
) -> Any:
    """Code a group into 32 bytes; returns its scale. The code of v is round(v / scale * levels) + low.

    Signed: low 8, levels 7. Numbers that are not negative: low 0, levels 15; a group that holds a negative
    one gets NaN as its scale.
    """
    top = top_of(bits)
    if low == 0 and below_zero(bits):
        top = np.int32(0x7FC0)
    wide_bits[0] = top << 16
    inverse = levels / max(wide[0], np.float32(1e-30))
    if seed == 0:
        shift = low + np.float32(0.5)
        for i in range(HALF):
            v = np.int32(w[i] * inverse + shift)
            u = np.int32(w[i + HALF] * inverse + shift)
            o[i] = np.uint8(v | (u << 4))
    else:
        most = np.int32(15)
        for i in range(HALF):
            v = np.int32(w[i] * inverse + low + noise(first + i, seed))
            u = np.int32(w[i + HALF] * inverse + low + noise(first + i + HALF, seed))
            o[i] = np.uint8(min(v, most) | (min(u, most) << 4))
    return top


@inline
def value4(w: Any, scale: Any, o: Any, low: Any, levels: Any) -> None:
    """Decode a group's 32 bytes. low: int32."""
    s = scale / levels
    for i in range(HALF):
        o[i] = np.float32(np.int32(w[i] & 15) - low) * s
        o[i + HALF] = np.float32(np.int32(w[i] >> 4) - low) * s


@kernel
def encode8(x: Any, code: Any, scale: Any, seed: Any) -> None:
    """int8 code (groups x 64,), scale (groups,) uint16."""
    one, tail = np.empty(1, np.float32), np.zeros(GROUP, np.float32)
    one_bits, tail_bits, values = one.view(np.int32), tail.view(np.int32), x.view(np.float32)
    for g in range(x.size // GROUP):
        a, b = g * GROUP, (g + 1) * GROUP
        scale[g] = code8(values[a:b], x[a:b], code[a:b], one, one_bits, a, seed)
    a = x.size // GROUP * GROUP
    if a < x.size:
        tail_bits[: x.size - a] = x[a:]
        scale[a // GROUP] = code8(tail, tail_bits, code[a:], one, one_bits, a, seed)


@kernel
def decode8(code: Any, scales: Any, x: Any) -> None:
    """scales: fp32, one a group; x: fp32 (groups x 64,)."""
    for g in range(scales.size):
        s = scales[g] * np.float32(1 / 127)
        w, o = code[g * GROUP : (g + 1) * GROUP], x[g * GROUP : (g + 1) * GROUP]
        for i in range(GROUP):
            o[i] = np.float32(w[i]) * s


@kernel
def encode4(x: Any, code: Any, scale: Any, seed: Any, low: Any, levels: Any) -> None:
    """uint8 code (groups x 32,), scale (groups,) uint16."""
    one, tail = np.empty(1, np.float32), np.zeros(GROUP, np.float32)
    one_bits, tail_bits, values = one.view(np.int32), tail.view(np.int32), x.view(np.float32)
    for g in range(x.size // GROUP):
        a, b, o = g * GROUP, (g + 1) * GROUP, code[g * HALF : (g + 1) * HALF]
        scale[g] = code4(values[a:b], x[a:b], o, one, one_bits, a, seed, low, levels)
    a = x.size // GROUP * GROUP
    if a < x.size:
        tail_bits[: x.size - a] = x[a:]
        scale[a // GROUP] = code4(tail, tail_bits, code[a // 2 :], one, one_bits, a, seed, low, levels)


@kernel
def decode4(code: Any, scales: Any, x: Any, low: Any, levels: Any) -> None:
    """scales: fp32, one a group; x: fp32 (groups x 64,)."""
    for g in range(scales.size):
        w, o = code[g * HALF : (g + 1) * HALF], x[g * GROUP : (g + 1) * GROUP]
        value4(w, scales[g], o, low, levels)


@kernel
def second(x: Any) -> Any:
    """The first element that differs from x[0], or x[0]. x: integers."""
    for i in range(x.size):
        if x[i] != x[0]:
            return x[i]
    return x[0]


@kernel
def pack(x: Any, code: Any, zero: Any, one: Any) -> bool:
    """One bit an element: whether it is `one`. Returns whether all others are `zero`.

    x: integers (elements,), code: (groups,) uint64. Bit i of byte b of a group is element b + 8 i: eight
    bytes that are 0 or 1 are shifted and joined as one number.
    """
    flags = np.zeros(GROUP, np.uint8)
    words = flags.view(np.uint64)
    known = True
    for g in range(code.size):
        w = x[g * GROUP : (g + 1) * GROUP]
        other = 0
        for i in range(w.size):
            flags[i] = np.uint8(w[i] == one)
            other += (w[i] != one) & (w[i] != zero)
        known = known and other == 0
        for i in range(w.size, GROUP):
            flags[i] = 0
        joined = words[0]
        for i in range(1, 8):
            joined |= words[i] << np.uint64(i)
        code[g] = joined
    return known


@kernel
def unpack(code: Any, x: Any, zero: Any, one: Any) -> None:
    """The inverse of `pack`; x: integers (groups x 64,)."""
    flags = np.empty(GROUP, np.uint8)
    words = flags.view(np.uint64)
    lowest = np.uint64(0x0101010101010101)
    apart = zero ^ one
    for g in range(code.size):
        joined = code[g]
        for i in range(8):
            words[i] = (joined >> np.uint64(i)) & lowest
        o = x[g * GROUP : (g + 1) * GROUP]
        for i in range(GROUP):
            o[i] = zero ^ (-np.int32(flags[i]) & apart)


@kernel
def checksum(words: Any) -> Any:
    """A sum of words in which each is mixed and has an odd weight of its own, so that order counts."""
    found = np.uint64(0)
    for i in range(len(words)):
        word = np.uint64(words[i])
        found += (word ^ (word >> np.uint64(31))) * np.uint64(2 * i + 1)
    return np.int64(found)
