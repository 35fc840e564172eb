"""Identity of a problem: a digest of its source, its parameters and the cost models behind it.

Encoding is by content and by known type only; an object that has none is refused, because its `repr`
may hold an address and two equal problems would differ.
"""

from __future__ import annotations

import ast
import enum
import hashlib
import inspect
import json
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ..errors import SpaceError


def encode(value: Any, what: str = "a parameter") -> Any:
    """A value as plain JSON data that identifies it.

    Raises SpaceError for a type without a defined encoding.
    """
    if isinstance(value, enum.Enum):
        return {"enum": f"{type(value).__name__}.{value.name}"}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            return {"float": repr(float(value))}
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, np.generic):
        return encode(value.item(), what)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise SpaceError(f"{what} is an array of objects, which has no digest; use numbers or tuples.")
        array = np.ascontiguousarray(value)
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        return {"array": list(array.shape), "dtype": str(array.dtype), "sha256": digest}
    if isinstance(value, tuple | list):
        return [encode(v, what) for v in value]
    if isinstance(value, frozenset | set):
        return {"set": sorted((encode(v, what) for v in value), key=repr)}
    if isinstance(value, Mapping):
        return {str(k): encode(v, what) for k, v in value.items()}
    record = None if isinstance(value, type) else getattr(value, "identity", getattr(value, "record", None))
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


@cache
def source(cls: type, stop: type) -> str:
    """Digest of what a class is made of: its source, that of its bases below `stop`, and what they name.

    Functions, classes and constants at the top of the class's own module are followed, so that a
    changed helper or table changes the digest too. Where there is no source file, bytecode stands in.
    """
    parts: dict[str, Any] = {}
    for base in cls.__mro__:
        if base is stop:
            break
        functions = [f for name, member in sorted(vars(base).items()) for f in _functions(name, member)]
        parts[f"class {base.__qualname__}"] = _text(base) or [_code(f.__code__) for f in functions]
        parts[f"cells {base.__qualname__}"] = [_cells(f) for f in functions]
        definitions = _definitions(sys.modules.get(base.__module__))
        _follow(textwrap.dedent(_text(base) or ""), definitions, parts)
    return digest(parts)


def _text(thing: Any) -> str | None:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return None


def _definitions(module: ModuleType | None) -> dict[str, str]:
    """Source of what a module defines at its top, by name."""
    found: dict[str, str] = {}
    text = _text(module) or ""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        else:
            continue
        for name in names:
            found[name] = found.get(name, "") + (ast.get_source_segment(text, node) or "") + "\n"
    return found


def _follow(text: str, definitions: Mapping[str, str], parts: dict[str, Any]) -> None:
    """Add the definitions that some source names, and those that these name."""
    named = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    for name in sorted(named & definitions.keys()):
        if name not in parts:
            parts[name] = definitions[name]
            _follow(definitions[name], definitions, parts)


def _functions(name: str, member: Any) -> list[FunctionType]:
    """The functions behind a member of a class body, without their wrappers."""
    if isinstance(member, property):
        return [f for part in (member.fget, member.fset) if part for f in _functions(name, part)]
    inner = inspect.unwrap(getattr(member, "__func__", getattr(member, "func", member)))
    return [inner] if isinstance(inner, FunctionType) and not name.startswith("__") else []


def _cells(function: FunctionType) -> dict[str, Any]:
    """The constants that a function closes over; what may change during a run is left out."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty cell
            if isinstance(cell.cell_contents, bool | int | float | str | Path | enum.Enum):
                found[name] = encode(cell.cell_contents)
    return found


def _code(code: CodeType) -> list[Any]:
    """A code object as plain data, without addresses, file names or the order of sets."""
    constants: list[Any] = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            constants.append(_code(constant))
        else:
            constants.append(
                sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
            )
    return [code.co_name, code.co_code.hex(), code.co_names, code.co_varnames, constants]
