"""Identity of a problem: a digest of its source, its parameters and the cost models behind it.

Encoding is by content and by known type only; an object that has none is refused, because its `repr`
may hold an address and two equal problems would differ.
"""

from __future__ import annotations

import enum
import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SpaceError


def encode(value: Any, what: str = "a parameter") -> Any:
    """A value as plain JSON data that identifies it.

    Raises SpaceError for a type without a defined encoding.
    """
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        return value if np.isfinite(value) else repr(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return encode(value.item(), what)
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            raise SpaceError(f"{what} is an array of objects, which has no digest; use numbers or tuples.")
        array = np.ascontiguousarray(value)
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        return {"array": list(array.shape), "dtype": str(array.dtype), "sha256": digest}
    if isinstance(value, tuple | list):
        return [encode(v, what) for v in value]
    if isinstance(value, frozenset | set):
        return sorted((encode(v, what) for v in value), key=repr)
    if isinstance(value, Mapping):
        return {str(k): encode(v, what) for k, v in value.items()}
    record = getattr(value, "record", None)
    if callable(record):
        return encode(record(), what)
    if is_dataclass(value) and not isinstance(value, type):
        body = {f.name: encode(getattr(value, f.name), what) for f in fields(value)}
        return {"type": type(value).__name__, **body}
    raise SpaceError(
        f"{what} is a {type(value).__name__}, which has no digest; use numbers, strings, tuples, arrays, "
        "dataclasses, or an object with a record() method."
    )


def digest(data: Any) -> str:
    """Sixteen hexadecimal digits of plain JSON data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source(cls: type, stop: type) -> str:
    """Digest of the source of a class and of its bases below `stop`; of its bytecode where it has no file."""
    parts = []
    for base in cls.__mro__:
        if base is stop:
            break
        try:
            parts.append(inspect.getsource(base))
        except (OSError, TypeError):
            codes = [
                (name, f.__code__.co_code.hex(), repr(f.__code__.co_consts))
                for name, f in sorted(vars(base).items())
                if inspect.isfunction(f) and "__dataclass" not in f.__qualname__
            ]
            parts.append(repr([c for c in codes if not c[0].startswith("__")]))
    return digest(parts)
