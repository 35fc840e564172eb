"""Random small spaces, and what they hold by brute force: an oracle that shares no code with the package."""

from __future__ import annotations

import enum
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

import tradespace as ts


class Codec(enum.Enum):
    RAW = 16
    INT8 = 8
    INT4 = 4


@dataclass
class Variable:
    """A declared variable and everything the oracle needs: all values of one entry, first the canonical."""

    name: str
    options: list[Any]
    build: Any
    shape: tuple[int, ...] = ()
    when: dict[str, list[Any]] = field(default_factory=dict)
    pinned: list[Any] | None = None

    @property
    def entries(self) -> int:
        return math.prod(self.shape)

    def declare(self) -> Any:
        given = {n: (v[0] if len(v) == 1 else tuple(v)) for n, v in self.when.items()}
        return self.build(shape=self.shape, when=given)


KINDS = ("int", "step", "log", "menu", "floats", "choice", "enum", "bool", "permutation", "constant")


def kind(name: str, lo: int, count: int) -> tuple[list[Any], Any]:
    """All values of one entry, and the declaration."""
    labels = ("red", "green", "blue", "grey")[:count]
    match name:
        case "int":
            return list(range(lo, lo + count)), lambda **s: ts.Int(lo, lo + count - 1, **s)
        case "step":
            return [lo + 3 * i for i in range(count)], lambda **s: ts.Int(
                lo, lo + 3 * (count - 1), step=3, **s
            )
        case "log":
            return list(range(1, count + 1)), lambda **s: ts.Int(1, count, log=True, **s)
        case "menu":
            numbers = sorted({(7 * i + lo) % 23 for i in range(count)})
            return numbers, lambda **s: ts.Menu(*reversed(numbers), **s)
        case "floats":
            halves = [lo / 2 + 0.25 * i for i in range(count)]
            return halves, lambda **s: ts.Menu(*halves, **s)
        case "choice":
            return list(labels), lambda **s: ts.Choice(*labels, **s) if count > 1 else ts.Choice(Only, **s)
        case "enum":
            return list(Codec), lambda **s: ts.Choice(Codec, **s)
        case "bool":
            return [False, True], lambda **s: ts.Bool(**s)
        case "constant":
            return [float(lo)], lambda **s: ts.Float(lo, lo, **s)
        case _:
            items = min(count, 3)
            return [list(p) for p in itertools.permutations(range(items))], lambda **s: ts.Permutation(
                items, **s
            )


class Only(enum.Enum):
    red = 1


@st.composite
def variables(draw: Any, largest: int = 1500, pins: bool = True) -> list[Variable]:
    """One to five variables, declared in any order, with conditions on one another."""
    made: list[Variable] = []
    product = 1
    for index in range(draw(st.integers(1, 5))):
        options, build = kind(draw(st.sampled_from(KINDS)), draw(st.integers(-3, 5)), draw(st.integers(1, 4)))
        if len(options) == 1 and isinstance(options[0], str):
            options = [Only.red]
        shape = draw(st.sampled_from([(), (), (2,), (2,), (1, 2), (3,)]))
        if product * len(options) ** math.prod(shape) > largest:
            continue
        variable = Variable(f"v{index}", options, build, shape)
        parents = [v for v in made if v.shape in {(), shape} and not isinstance(v.options[0], list | float)]
        for parent in draw(st.lists(st.sampled_from(parents), max_size=2, unique_by=id)) if parents else []:
            variable.when[parent.name] = draw(
                st.lists(st.sampled_from(parent.options), min_size=1, unique_by=repr, max_size=3)
            )
        if draw(st.integers(0, 9)) == 0:
            variable.when["mode"] = [draw(st.sampled_from(["on", "off"]))]
        if pins and draw(st.integers(0, 5)) == 0:
            variable.pinned = [draw(st.sampled_from(options)) for _ in range(variable.entries)]
        made.append(variable)
        product *= 1 if variable.pinned else len(options) ** variable.entries
    return draw(st.permutations(made))


def problem_of(made: list[Variable]) -> ts.Problem:
    """The problem that declares these variables, with the pins fixed."""
    body: dict[str, Any] = {
        "__annotations__": {"mode": str},
        "mode": "on",
        "__module__": __name__,
        "__qualname__": "P",
    }
    body |= {v.name: v.declare() for v in made}
    cls = type(ts.Problem)("P", (ts.Problem,), body)
    return cls().fix(**{v.name: nested(v, v.pinned) for v in made if v.pinned})


def nested(variable: Variable, entries: list[Any]) -> Any:
    """Entries as the nested list of the variable's shape."""
    if not variable.shape:
        return entries[0]
    for size in reversed(variable.shape[1:]):
        entries = [entries[i : i + size] for i in range(0, len(entries), size)]
    return entries


def canonical(made: list[Variable], point: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A point, name -> entries, with the inactive entries pinned."""
    by_name = {v.name: v for v in made}
    done: dict[str, list[Any]] = {}
    activity: dict[str, list[bool]] = {}

    def settle(v: Variable) -> None:
        if v.name in done:
            return
        on = [True] * v.entries
        for parent, allowed in v.when.items():
            if parent == "mode":
                on = [a and "on" in allowed for a in on]
                continue
            settle(by_name[parent])
            wide = 1 if by_name[parent].shape else 0
            for i in range(v.entries):
                holds = activity[parent][i * wide] and done[parent][i * wide] in allowed
                on[i] = on[i] and holds
        first = v.pinned or [v.options[0]] * v.entries
        done[v.name] = [x if a else f for x, a, f in zip(point[v.name], on, first, strict=True)]
        activity[v.name] = on

    for v in made:
        settle(v)
    return {v.name: done[v.name] for v in made}


def brute_force(made: list[Variable]) -> list[str]:
    """Every distinct canonical point, as sorted texts."""
    cells = [[[x] for x in v.pinned] if v.pinned else [v.options] * v.entries for v in made]
    found = set()
    for choice in itertools.product(*(itertools.product(*c) for c in cells)):
        point = canonical(made, {v.name: list(x) for v, x in zip(made, choice, strict=True)})
        found.add(repr({v.name: nested(v, point[v.name]) for v in made}))
    return sorted(found)
