"""Problem parameters on the command line: read from the declared fields, errors with the nearest name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import SpaceError, nearest
from ...problems.names import PLANNED, RESERVED, spelled
from ...problems.parameters import Parameter, declared, describe, parameters_of
from ...problems.problem import Problem
from ...problems.registry import load


def make_problem(name: str, arguments: list[str]) -> Problem:
    """The problem called `name` with its parameters read from the remaining arguments.

    Raises SpaceError for an unknown, repeated or unreadable parameter.
    """
    cls = load(name)
    return cls(**read_parameters(cls, arguments))


def read_parameters(cls: type[Problem], arguments: list[str]) -> dict[str, Any]:
    """Parameters of a problem class from words such as --batch 16 --fused --memory=40GiB."""
    known = declared(cls)
    options = sorted(RESERVED["run"] - PLANNED)
    return _read(cls.__name__, known, arguments, [f"--{o.replace('_', '-')}" for o in options])


def read_options(name: str, function: Callable[..., Any], arguments: list[str]) -> dict[str, Any]:
    """Keyword arguments of a function from words; `name` is what errors call it."""
    return _read(name, parameters_of(function), arguments, [])


def _read(
    owner: str, known: Mapping[str, Parameter], arguments: list[str], others: Sequence[str]
) -> dict[str, Any]:
    """Values of known parameters from words; `others`: flags that are read elsewhere."""
    found: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise SpaceError(f"'{word}' stands alone; a parameter of {owner} is given as --name value.")
        flag, equals, text = word[2:].partition("=")
        name = spelled(flag.replace("-", "_"))
        if name not in known and name.startswith("no_") and known.get(name[3:], _NONE).annotation is bool:
            name, text, equals = name[3:], "false", "="
        if name not in known:
            options = [*(p.flag for p in known.values()), *others]
            near = f"; {nearest('--' + flag, options)}" if options else "."
            raise SpaceError(f"{owner} has no parameter '--{flag}'{near}")
        parameter = known[name]
        if name in found:
            raise SpaceError(f"{parameter.flag} is given twice.")
        if not parameter.textual:
            raise SpaceError(f"{parameter.flag} is {describe(parameter.annotation)}.")
        if not equals:
            if parameter.annotation is bool and (not words or words[0].startswith("--")):
                text = "true"
            elif not words:
                raise SpaceError(
                    f"{parameter.flag} needs a value: {describe(parameter.annotation, parameter.unit)}."
                )
            else:
                text = words.pop(0)
        found[name] = parameter.read(text)
    missing = [p.flag for n, p in known.items() if p.required and n not in found]
    if missing:
        raise SpaceError(f"{owner} needs {', '.join(missing)}.")
    return found


_NONE = Parameter("", None, "", "", None, None, False)


def read_fixes(texts: list[str]) -> dict[str, Any]:
    """Values of --fix NAME=VALUE: JSON where it is, else a label.

    Raises SpaceError where a text has no '=', or names a variable a second time.
    """
    fixes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = spelled(name.strip())
        if not equals or not name:
            raise SpaceError(f"--fix '{text}' must be NAME=VALUE, such as --fix tile_m=64.")
        if name in fixes:
            raise SpaceError(f"--fix '{text}' is the second one for '{name}'; give one.")
        try:
            fixes[name] = json.loads(value)
        except ValueError:
            fixes[name] = {"True": True, "False": False}.get(value.strip(), value.strip())
    return fixes
