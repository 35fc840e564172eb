"""What the code of a problem or a solver raises, as one sentence with its file and line.

The methods that Tradespace calls are wrapped where their class is made, so that the sentence is the same
from wherever they are called. Errors of Tradespace's own pass as they are.
"""

from __future__ import annotations

import functools
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

from ..errors import EvaluationError, TradespaceError
from ..extras import install_hint

Function = TypeVar("Function", bound=Callable[..., Any])
OURS = __name__.partition(".")[0] + "."
LIBRARIES = ("<frozen", sysconfig.get_path("stdlib"))
INSTALLED = {"site-packages", "dist-packages"}
MARK = "_faults_are_told"


def where(error: BaseException, home: str | None = None) -> str:
    """The line at fault, as the end of a sentence: the last of the user's own.

    home: the file of what was called; a line in it goes before others, and may be in an installed package.
    """
    frames = [
        (f, n) for f, n in traceback.walk_tb(error.__traceback__) if f.f_globals.get("__name__") != __name__
    ]
    lines = [*zip(traceback.StackSummary.extract(iter(frames)), frames, strict=True)]
    own = [line for line, (frame, _) in lines if not _is_library(frame.f_globals, line.filename)]
    at_home = [line for line, _ in lines if line.filename == home]
    found = [line for line in own if line.filename == home] or own or at_home or [line for line, _ in lines]
    if not found:
        return ""
    text = f": {found[-1].line}" if found[-1].line else ""
    return f" at {found[-1].filename}:{found[-1].lineno}{text}"


def _is_library(names: dict[str, Any], file: str) -> bool:
    """Whether code is Tradespace's, Python's or an installed package's."""
    ours = str(names.get("__name__", "")).startswith(OURS)
    return ours or file.startswith(LIBRARIES) or not INSTALLED.isdisjoint(Path(file).parts)


def named(function: Callable[..., Any]) -> str:
    """A function or method for people: its class and name."""
    return getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")


def fault(function: Callable[..., Any], error: BaseException) -> EvaluationError:
    """What a function raised, naming it and the line at fault."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    place = where(error, code.co_filename if code else None)
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    said += install_hint(error)
    return EvaluationError(f"{named(function)} raised {said}{place}")


def told(function: Function) -> Function:
    """A function whose faults are one sentence; those that are sentences already pass."""
    if hasattr(function, MARK):
        return function
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def called(*given: Any, **more: Any) -> Any:
            try:
                yield from function(*given, **more)
            except (TradespaceError, MemoryError):
                raise
            except (Exception, SystemExit) as error:
                raise fault(function, error) from error

    else:

        @functools.wraps(function)
        def called(*given: Any, **more: Any) -> Any:
            try:
                return function(*given, **more)
            except (TradespaceError, MemoryError):
                raise
            except (Exception, SystemExit) as error:
                raise fault(function, error) from error

    setattr(called, MARK, True)
    return called  # type: ignore[return-value]


def properties(body: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a class body, wrapped: limits, bounds and shapes may name them."""
    found: dict[str, Any] = {}
    for name, member in body.items():
        if isinstance(member, property) and member.fget is not None:
            found[name] = member.getter(told(member.fget))
        elif isinstance(member, functools.cached_property):
            found[name] = functools.cached_property(told(member.func))
    return found


def wrapped(
    body: Mapping[str, Any], bases: Iterable[type], names: Iterable[str], defaults: str
) -> dict[str, Any]:
    """The named methods of a class body, and those it inherits from plain classes, wrapped (see `told`).

    defaults: the module whose methods do nothing yet, and are left as they are.
    """
    bodies = [body, *(vars(cls) for base in bases for cls in base.__mro__)]
    found = {name: next((b[name] for b in bodies if name in b), None) for name in names}
    own = {n: f for n, f in found.items() if isinstance(f, FunctionType) and f.__module__ != defaults}
    return {name: told(f) for name, f in own.items() if not hasattr(f, MARK)}
