"""Parameters of problems as text and as plain data: what the command line and a run's record read.

Understood: bool, int, float (with its unit), str, Path, Enum, Literal, tuples of these, Device, and
`X | None`. Anything else can be set from Python only.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import units
from ..errors import GoalError, SpaceError, nearest
from ..hardware import Device, device, names
from .problem import Problem

TRUE, FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
LARGEST = 2**63


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: its type, unit, default and help."""

    name: str
    annotation: Any
    unit: str
    help: str
    default: Any
    choices: tuple[Any, ...] | str | None
    required: bool

    @property
    def flag(self) -> str:
        """What the command line calls it."""
        return "--" + self.name.replace("_", "-")

    @property
    def textual(self) -> bool:
        """Whether it can be given as text."""
        return understood(self.annotation)

    @property
    def takes(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        return describe(self.annotation, self.unit)

    def read(self, text: str) -> Any:
        """The value that a text stands for. Raises SpaceError with the remedy."""
        wanted = describe(self.annotation, self.unit)
        try:
            value = from_text(self.annotation, text, self.unit)
        except (ValueError, GoalError) as error:
            raise SpaceError(f"{self.flag} must be {wanted}, got '{text}'. {error}") from None
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise SpaceError(
                f"{self.flag} must be {wanted} within 64 bits, got '{text}'; give a smaller one."
            )
        return value


def declared(problem: type[Problem]) -> dict[str, Parameter]:
    """The parameters of a problem class by name, in order."""
    hints = typing.get_type_hints(problem)
    found = {}
    for field in dataclasses.fields(problem):
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = Parameter(
            field.name,
            hints.get(field.name, str),
            field.metadata.get("unit", ""),
            field.metadata.get("help", ""),
            None if missing else default,
            field.metadata.get("choices"),
            missing,
        )
    return found


def parameters_of(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a function with annotations, by name, in order."""
    hints = typing.get_type_hints(function)
    empty = inspect.Parameter.empty
    return {
        name: Parameter(
            name,
            hints.get(name, str),
            "",
            "",
            None if p.default is empty else p.default,
            None,
            p.default is empty,
        )
        for name, p in inspect.signature(function).parameters.items()
        if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}
    }


def _optional(annotation: Any) -> Any:
    """X of `X | None`, else None."""
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        rest = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(rest) == 1 and len(rest) < len(typing.get_args(annotation)):
            return rest[0]
    return None


def understood(annotation: Any) -> bool:
    """Whether a type can be read from text."""
    inner = _optional(annotation)
    if inner is not None:
        return understood(inner)
    if typing.get_origin(annotation) is tuple:
        return all(a is Ellipsis or understood(a) for a in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return True
    known = annotation in {bool, int, float, str, Path, Device}
    return known or (isinstance(annotation, type) and issubclass(annotation, enum.Enum))


def describe(annotation: Any, unit: str = "") -> str:
    """A type in words: `a number in B`, `one of fused, unfused`."""
    inner = _optional(annotation)
    if inner is not None:
        return describe(inner, unit) + " or 'none'"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return "a comma-separated list of " + describe(arguments[0], unit)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if annotation is Device:
        return "a device name (see 'optimize devices') or FILE.toml"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(member.name for member in annotation)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    named = getattr(annotation, "__name__", annotation)
    word = words.get(annotation, f"a {named}, which can be set from Python only")
    return word + (f" in {unit}" if unit not in {"", "1"} and annotation in {int, float} else "")


def from_text(annotation: Any, text: str, unit: str = "") -> Any:
    """Read a value from text. Raises ValueError, GoalError or DataError where it cannot be read."""
    inner = _optional(annotation)
    if inner is not None:
        return None if text.lower() in {"none", ""} else from_text(inner, text, unit)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(from_text(arguments[0], part, unit) for part in parts)
        if len(parts) != len(arguments):
            raise ValueError(f"It takes {len(arguments)} values.")
        return tuple(from_text(a, part, unit) for a, part in zip(arguments, parts, strict=True))
    if origin is typing.Literal:
        for option in arguments:
            if str(option) == text:
                return option
        raise ValueError(nearest(text, map(str, arguments)).capitalize())
    if annotation is bool:
        if text.lower() in TRUE | FALSE:
            return text.lower() in TRUE
        raise ValueError("Write true or false.")
    if annotation is int:
        number = units.parse(text, unit)
        if not math.isfinite(number):
            raise ValueError("It must be finite.")
        if number != int(number):
            raise ValueError("It has a fraction.")
        return int(number)
    if annotation is float:
        return units.parse(text, unit)
    if annotation is Device:
        return device(text)
    if annotation is Path:
        return Path(text)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = {member.name.lower(): member for member in annotation}
        if text.lower() not in members:
            raise ValueError(nearest(text, [m.name for m in annotation]).capitalize())
        return members[text.lower()]
    if annotation is str:
        return text
    raise ValueError("Set it from Python.")


def shown(value: Any, unit: str) -> str:
    """A parameter's value for people."""
    if isinstance(value, float):
        return units.show(value, unit)
    if isinstance(value, tuple):
        return ",".join(shown(entry, unit) for entry in value)
    if isinstance(value, np.ndarray):
        return f"array {value.shape}"
    return str(getattr(value, "name", value))


def to_plain(value: Any) -> Any:
    """A parameter as plain JSON data that `from_plain` reads; None is None.

    Raises SpaceError for a value of a type that the command line does not understand.
    """
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Device):
        listed = value.name in names() and device(value.name) == value
        return value.name if listed else {"device": value.record()}
    if isinstance(value, tuple):
        return [to_plain(v) for v in value]
    raise SpaceError(f"a {type(value).__name__} cannot be recorded; it can be set from Python only.")


def from_plain(annotation: Any, data: Any) -> Any:
    """The value that `to_plain` recorded."""
    if data is None:
        return None
    inner = _optional(annotation)
    if inner is not None:
        return from_plain(inner, data)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple and isinstance(data, list):
        kinds = arguments[:1] * len(data) if len(arguments) == 2 and arguments[1] is Ellipsis else arguments
        return tuple(from_plain(a, v) for a, v in zip(kinds, data, strict=True))
    if annotation is Device:
        return Device.from_record(data["device"]) if isinstance(data, Mapping) else device(data)
    if annotation is Path:
        return Path(data)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return annotation[data]
    return float(data) if annotation is float else data


def recordable(problem: Problem) -> dict[str, Any] | None:
    """The parameters of a problem as plain data; None where one can be set from Python only."""
    try:
        return {name: to_plain(value) for name, value in problem.parameters.items()}
    except SpaceError:
        return None


def rebuild(cls: type[Problem], parameters: Mapping[str, Any], fixed: Mapping[str, Any]) -> Problem:
    """The problem that `recordable` described.

    Raises SpaceError where the class no longer has a recorded parameter.
    """
    known = declared(cls)
    gone = next((n for n in parameters if n not in known), None)
    if gone is not None:
        raise SpaceError(f"{cls.__name__} no longer has the parameter '{gone}'; start a new run.")
    problem = cls(**{n: from_plain(known[n].annotation, v) for n, v in parameters.items()})
    return problem.fix(**fixed) if fixed else problem
