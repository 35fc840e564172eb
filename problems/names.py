"""What variables, metrics and parameters may be called.

Variables and metrics may have any name that Python allows, except those with two underscores at either end,
which Python keeps for itself, and the methods that a problem may define (`hooks`). Where `Problem` has an
attribute of that name, the declaration stands beside the class and the attribute is what it always was.
Parameters are attributes of the problem and options of the command line, and must differ from both.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from types import FunctionType
from typing import Any

from ..errors import SpaceError, nearest

COSTS = ("fast", "slow")
SETTINGS = frozenset({"cost", "stochastic", "slow"})
"""What a class says about its referee, in its body or in the class line."""

PLANNED = frozenset({"config", "observed", "ordered", "save_config", "stall", "target"})
"""Options to come."""

RESERVED: Mapping[str, frozenset[str]] = {
    "run": PLANNED.union(
        (
            "dry",
            "evals",
            "executor",
            "fix",
            "gap",
            "help",
            "json",
            "keep_all",
            "limit",
            "maximize",
            "minimize",
        ),
        ("no_limit", "pick", "robust", "runs", "seconds", "seed", "solver", "start", "storage", "study"),
        ("workers",),
    ),
    "compare": frozenset({"out", "seeds", "solvers"}),
    "check": frozenset({"points"}),
}
"""What a parameter cannot be called: command -> its options, beyond those of the commands before it. A test
compares them with the commands."""


def spelled(name: str) -> str:
    """A name as Python spells it: typed as `µ` (micro), it is `μ` (mu) in code."""
    return name if name.isascii() else unicodedata.normalize("NFKC", name)


def apart(name: str, taken: Collection[str]) -> str:
    """A column of ours beside variables and metrics: its name, with a dot before it where that is taken."""
    return f".{name}" if name in taken else name


def attributes(problem: type) -> set[str]:
    """The names that a class and its bases have for themselves."""
    return {name for cls in problem.__mro__ for name in vars(cls)}


def hooks(problem: type) -> set[str]:
    """The methods that a problem may define: all public ones of `problem` that are not final."""
    return {
        name
        for name, member in vars(problem).items()
        if isinstance(member, FunctionType)
        and not name.startswith("_")
        and not getattr(member, "__final__", False)
    }


def check_declared(owner: str, declared: Iterable[str], problem: type) -> None:
    """Raises SpaceError for a variable or metric whose name Python or a method of `problem` has."""
    methods = hooks(problem)
    for key in declared:
        if key.startswith("__") and key.endswith("__"):
            raise SpaceError(f"'{key}' of {owner} has the form of Python's own names; drop the underscores.")
        if key in methods:
            raise SpaceError(f"'{key}' of {owner} is a method of Problem; call it '{key}_'.")


def check_parameters(owner: str, parameters: Iterable[str], problem: type) -> None:
    """Raises SpaceError for a parameter that the command line or `problem` has a meaning for."""
    for key in parameters:
        if key.startswith("_"):
            raise SpaceError(f"'{key}' of {owner} begins with '_'; names of parameters do not.")
        command = next((c for c, options in RESERVED.items() if key in options), None)
        if command is not None:
            hint = "simulation_seed" if key == "seed" else f"{key}_"
            raise SpaceError(f"'{key}' of {owner} is an option of 'optimize {command}'; call it '{hint}'.")
        if key in attributes(problem):
            raise SpaceError(f"'{key}' of {owner} is an attribute of Problem; give it another name.")


def in_class_line(owner: str, setting: str) -> str:
    """The remedy where a variable or metric has the name of a setting."""
    return f"write the setting in the class line: class {owner}(ts.Problem, {setting}=...)"


def check_settings(owner: str, given: Mapping[str, Any], variables: Iterable[str]) -> None:
    """Raises SpaceError for a setting that is none. given: those said in one class."""
    if given.get("cost", "fast") not in COSTS:
        raise SpaceError(f"cost of {owner} must be 'fast' or 'slow', got {given['cost']!r}.")
    if not isinstance(given.get("stochastic", False), bool):
        raise SpaceError(f"stochastic of {owner} must be True or False, got {given['stochastic']!r}.")
    slow = given.get("slow", ())
    if isinstance(slow, str) or not isinstance(slow, tuple | list):
        raise SpaceError(f"slow of {owner} must be a tuple of variables, such as ('tile',), got {slow!r}.")
    known = list(variables)
    unknown = next((name for name in slow if name not in known), None)
    if unknown is not None:
        raise SpaceError(
            f"slow of {owner} names '{unknown}', which is no variable; {nearest(unknown, known)}"
        )
