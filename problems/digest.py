"""Identity of a problem: a digest of its source, its parameters and the cost models behind it.

Encoding is by content and by known type only; an object that has none is refused, because its `repr`
may hold an address and two equal problems would differ.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ..errors import SpaceError
from .reach import Reached, reach
from .sources import Target, defines

REFEREE = ("score", "evaluate", "prepare", "ready")
"""Methods of a problem that are called to score it."""
CONSTANTS = (bool, int, float, str, Path, enum.Enum, tuple, frozenset, np.ndarray, np.generic)

_above: ContextVar[frozenset[int]] = ContextVar("functions being followed", default=frozenset())


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
    if callable(value) and (callee := _callee(value, what)) is not None:
        return callee
    record = None if isinstance(value, type) else getattr(value, "identity", getattr(value, "record", None))
    if callable(record):
        return encode(record(), what)
    if is_dataclass(value) and not isinstance(value, type):
        body = {f.name: encode(getattr(value, f.name), what) for f in fields(value)}
        return {"type": type(value).__name__, **body}
    raise SpaceError(
        f"{what} is a {type(value).__name__}, which has no digest; use numbers, strings, tuples, arrays, "
        "functions, dataclasses, or an object with a record() method."
    )


def _callee(value: Any, what: str) -> Any:
    """A function or a class by all code it reaches, a partial call by its parts; None for another object."""
    if isinstance(value, functools.partial):
        return {"partial": encode(value.func, what), "given": encode([value.args, value.keywords], what)}
    inner = _written(value)
    if isinstance(inner, FunctionType | type):
        return {"function": inner.__qualname__, "code": _code_reached(inner)}
    if isinstance(value, BuiltinFunctionType | np.ufunc):
        return {"function": f"{getattr(value, '__module__', None) or 'numpy'}.{value.__name__}"}
    return None


def _written(value: Any) -> Any:
    """The function behind wrappers: of `functools`, of a compiler such as numba."""
    inner = inspect.unwrap(value)
    return getattr(inner, "py_func", inner)


def digest(data: Any) -> str:
    """Sixteen hexadecimal digits of plain JSON data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source(cls: type, values: Iterable[Any] = ()) -> dict[str, Any]:
    """What a problem class is made of: label -> digest of each file that its referee reaches, and version of
    each installed package; the compiled code where there is no file (a notebook, standard input).

    values: of its parameters, whose classes count as well.
    """
    found, reached = _reached(cls, values)
    return {**reached.identity(), **found.parts}


def files(cls: type) -> dict[str, Path]:
    """The files that a problem class's referee reaches: label -> path."""
    return {label: Path(path) for label, path in _reached(cls)[1].files.items()}


@cache
def code(*things: Hashable) -> str:
    """Digest of all code that functions and classes reach: part of the name of what they left on disk."""
    return _code_reached(*things)


def _code_reached(*things: Any) -> str:
    above = _above.get()
    if above.issuperset(map(id, things)):  # a table of functions that read the table
        return "as above"
    token = _above.set(above | {*map(id, things)})
    try:
        return _follow_all(*things)
    finally:
        _above.reset(token)


def _follow_all(*things: Any) -> str:
    found = _Living()
    for thing in things:
        found.add_class(thing) if isinstance(thing, type) else found.add_function(inspect.unwrap(thing))
    methods = {name for thing in things if isinstance(thing, type) for name in vars(thing)}
    reached = reach(frozenset(found.targets), frozenset(found.words | methods))
    return digest({**reached.identity(), **found.parts})


def _reached(cls: type, values: Iterable[Any] = ()) -> tuple[_Living, Reached]:
    found = _Living()
    found.add_class(cls)
    for value in values:
        found.add_value(value)
    return found, reach(frozenset(found.targets), frozenset({*REFEREE, *found.words}))


class _Living:
    """Classes, functions and values in memory: those with a file are followed, others are encoded."""

    def __init__(self) -> None:
        self.targets: set[Target] = set()
        self.words: set[str] = set()
        self.parts: dict[str, Any] = {}
        self._seen: set[int] = set()

    def add_class(self, cls: type) -> None:
        """A class and its bases."""
        for base in cls.__mro__:
            if base.__module__ == "builtins" or id(base) in self._seen:
                continue
            self._seen.add(id(base))
            functions = [f for name, member in sorted(vars(base).items()) for f in _functions(name, member)]
            own = [f for f in functions if f.__qualname__.startswith(f"{base.__qualname__}.")]
            if self._in_file(base.__module__, base.__qualname__, own):
                self._add_cells(f"cells {base.__qualname__}", functions)
                continue
            held = {n: v for n, v in vars(base).items() if not n.startswith("__") and not callable(v)}
            self.parts[f"class {base.__qualname__}"] = [
                [_code(f.__code__) for f in own], {n: e for n, v in sorted(held.items()) if (e := _plain(v))},
            ]  # fmt: skip
            self._add_cells(f"cells {base.__qualname__}", functions)
            for function in functions:
                self._follow(function)

    def add_function(self, function: FunctionType) -> None:
        """A function, by its file or by its code."""
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        self._add_cells(f"cells {function.__qualname__}", [function])
        if not self._in_file(function.__module__, function.__qualname__, [function]):
            self.parts[f"function {function.__qualname__}"] = _code(function.__code__)
            self._follow(function)

    def add_value(self, value: Any) -> None:
        """The class of a value, unless Python or NumPy made it, and those of what it holds."""
        if isinstance(value, tuple | list | set | frozenset):
            for inner in value:
                self.add_value(inner)
        elif isinstance(value, Mapping):
            for inner in value.values():
                self.add_value(inner)
        else:
            if type(value).__module__.partition(".")[0] not in {"builtins", "numpy", "pathlib"}:
                self.add_class(type(value))
            if is_dataclass(value) and not isinstance(value, type):
                for field in fields(value):
                    self.add_value(getattr(value, field.name, None))

    def _in_file(self, module: str, name: str, functions: list[FunctionType]) -> bool:
        """Make a target of what stands in a source file; whether it does."""
        place = functions[0].__code__.co_filename if functions else None
        place = place or getattr(sys.modules.get(module), "__file__", None)
        head, *inner = name.split(".")
        if not place or not defines(module, place, head):
            return False
        self.targets.add((module, place, (head,)))
        self.words |= {part for part in inner if part != "<locals>"}
        return True

    def _add_cells(self, what: str, functions: list[FunctionType]) -> None:
        """What functions close over: code is followed, constants are encoded; what may change during a run,
        such as a list that counts, is left out."""
        cells = []
        for function in functions:
            found = {}
            for name, value in _closed_over(function):
                inner = _written(value) if callable(value) else value
                if isinstance(inner, FunctionType):
                    self.add_function(inner)
                elif isinstance(inner, type):
                    self.add_class(inner)
                elif isinstance(value, CONSTANTS) and (encoded := _plain(value)) is not None:
                    found[name] = encoded
            if found:
                cells.append(found)
        if cells:
            self.parts[what] = cells

    def _follow(self, function: FunctionType) -> None:
        """What a function without a file reads from the names around it."""
        names = _names(function.__code__)
        for name in sorted(names & function.__globals__.keys()):
            value = function.__globals__[name]
            inner = inspect.unwrap(value) if callable(value) else value
            if isinstance(value, ModuleType):
                read = [n for n in sorted(names) if hasattr(value, n)]
                place = getattr(value, "__file__", None) or ""
                self.targets |= {(value.__name__, place, (n,)) for n in read} or {(value.__name__, place, ())}
                self.words |= names
            elif isinstance(value, type):
                self.add_class(value)
            elif isinstance(inner := getattr(inner, "py_func", inner), FunctionType):
                self.add_function(inner)
            elif (encoded := _plain(value)) is not None:
                self.parts[f"value {name}"] = encoded
                self.add_value(value)
            else:
                self.add_class(type(value))


def _plain(value: Any) -> Any:
    """A value as plain data, or None where it has none."""
    try:
        return [encode(value)]
    except SpaceError:
        if not hasattr(value, "__array__") or isinstance(value, np.ndarray | type):
            return None
        array = np.asarray(value)  # a table of pandas, a tensor
        return [repr(array.tolist()) if array.dtype.hasobject else encode(array)]


def _names(code: CodeType) -> set[str]:
    """Every name that a code object and those inside it read."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


def _functions(name: str, member: Any) -> list[FunctionType]:
    """The functions behind a member of a class body, without their wrappers."""
    if isinstance(member, property):
        return [f for part in (member.fget, member.fset) if part for f in _functions(name, part)]
    inner = inspect.unwrap(getattr(member, "__func__", getattr(member, "func", member)))
    return [inner] if isinstance(inner, FunctionType) and not name.startswith("__") else []


def _closed_over(function: FunctionType) -> list[tuple[str, Any]]:
    """Names and values that a function closes over, the class it stands in left out."""
    found = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty cell
            found += [(name, cell.cell_contents)] if name != "__class__" else []
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
