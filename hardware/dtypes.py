"""Number formats: canonical names and sizes. Imports nothing heavy."""

from __future__ import annotations

from functools import cache

from ..errors import DataError, nearest

SIZES: dict[str, float] = {
    "fp64": 8.0,
    "fp32": 4.0,
    "tf32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "int64": 8.0,
    "int32": 4.0,
    "int8": 1.0,
    "int4": 0.5,
}
_ALIASES = {
    "float64": "fp64",
    "double": "fp64",
    "float32": "fp32",
    "float": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "float8": "fp8",
    "e4m3": "fp8",
    "e5m2": "fp8",
}


@cache
def canonical(dtype: str) -> str:
    """The catalog's name of a number format; DataError for an unknown one.

    >>> canonical("bfloat16")
    'bf16'
    """
    name = str(dtype).removeprefix("torch.")
    name = _ALIASES.get(name, name)
    if name not in SIZES:
        raise DataError(f"dtype must be a known number format, got '{dtype}'; {nearest(name, SIZES)}")
    return name


def size_of(dtype: str) -> float:
    """Bytes of one number.

    >>> size_of("int4")
    0.5
    """
    return SIZES[canonical(dtype)]
