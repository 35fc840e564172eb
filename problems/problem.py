"""A search problem: parameters, decision variables, metrics, a referee, and optional views.

    class Tile(Problem):
        size: int = 4096                     # a parameter: becomes a command-line option
        tile = Int(16, 256, step=16)         # a decision variable
        latency = Metric("s", "min")         # a metric, with its default goal

        def evaluate(self, x):               # the referee: (rows,) columns in, (rows,) arrays out
            return {"latency": ...}

A class attribute whose value is a `Var` or a `Metric` is a declaration; every other annotated
attribute is a parameter. Problems are frozen, keyword-only dataclasses; equality is the digest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import numpy as np

from ..errors import SpaceError, nearest
from .batch import Batch
from .digest import digest, encode, source
from .goal import Goal, Metric, ResolvedGoal
from .scoring import Scores, evaluate
from .space import Point, Space
from .variables import Var

if TYPE_CHECKING:
    from .views import JobsView, MilpView, PackingView

RUN_OPTIONS = frozenset(
    "evals seconds gap solver seed workers executor storage runs minimize maximize limit no_limit fix start "
    "pick robust dry json help resume keep_all quiet".split()
)


def param(
    default: Any = dataclasses.MISSING,
    *,
    factory: Any = dataclasses.MISSING,
    unit: str = "",
    choices: Iterable[Any] | str | None = None,
    help: str = "",
) -> Any:
    """A parameter with more than a default.

    default or factory: the value, or a function that makes it (for arrays and lists). unit: SI unit,
    so that the command line reads "24GiB". choices: the values allowed. help: a line for `--help`.
    """
    metadata = {"unit": unit, "choices": tuple(choices) if choices is not None else None, "help": help}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class _Body(dict[str, Any]):
    """The namespace of a class body, which refuses to declare a name twice."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.owner = name

    def __setitem__(self, key: str, value: Any) -> None:
        before = self.get(key)
        if isinstance(before, Var | Metric) or (isinstance(value, Var | Metric) and key in self):
            raise SpaceError(f"'{key}' is declared twice in {self.owner}; give one of them another name.")
        super().__setitem__(key, value)


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(param,))
class ProblemType(type):
    """The class of problem classes: collects declarations and makes the dataclass."""

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], **settings: Any) -> _Body:
        return _Body(name)

    def __new__(cls, name: str, bases: tuple[type, ...], body: _Body, **settings: Any) -> ProblemType:
        namespace = dict(body)
        if not bases:
            return super().__new__(cls, name, bases, namespace, **settings)
        annotations = dict(namespace.get("__annotations__", {}))
        declared = {k: v for k, v in namespace.items() if isinstance(v, Var | Metric)}
        for key in declared:
            annotations.pop(key, None)
        parameters = [
            k for k, a in annotations.items() if "ClassVar" not in str(a) and k not in {"cost", "stochastic"}
        ]
        _check_names(name, bases, declared, parameters)
        namespace["__annotations__"] = annotations
        for parameter in parameters:
            value = namespace.get(parameter, 0)
            value = value.default if isinstance(value, dataclasses.Field) else value
            if isinstance(value, list | dict | set | np.ndarray):
                raise SpaceError(
                    f"parameter '{parameter}' of {name} has a mutable default; write "
                    f"ts.param(factory=lambda: ...)."
                )
        inherited = [getattr(b, "_declared", {}) for b in reversed(bases)]
        merged: dict[str, Any] = {}
        for each in [*inherited, declared]:
            merged |= each
        namespace["_declared"] = merged
        made = super().__new__(cls, name, bases, namespace, **settings)
        return dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)(made)


def _check_names(name: str, bases: tuple[type, ...], declared: Mapping[str, Any], parameters: list[str]) -> None:
    base = next(b for b in bases if isinstance(b, ProblemType))
    root = base.__mro__[-2]
    for key in [*declared, *parameters]:
        if key.startswith("_"):
            raise SpaceError(f"'{key}' of {name} begins with '_'; names of declarations do not.")
        if key in RUN_OPTIONS:
            hint = "simulation_seed" if key == "seed" else f"{key}_"
            raise SpaceError(f"'{key}' of {name} is an option of 'optimize run'; call it '{hint}'.")
        if hasattr(root, key):
            raise SpaceError(f"'{key}' of {name} is an attribute of Problem; give it another name.")
    for key in parameters:
        if key in declared or key in getattr(base, "_declared", {}):
            raise SpaceError(f"'{key}' of {name} is a variable or metric already; pin it with problem.fix({key}=...).")
    fields = getattr(base, "__dataclass_fields__", {})
    for key, value in declared.items():
        if key in fields:
            raise SpaceError(f"'{key}' of {name} is a parameter of {base.__name__} already; give it another name.")
        before = getattr(base, "_declared", {}).get(key)
        if before is not None and isinstance(before, Var) != isinstance(value, Var):
            raise SpaceError(f"'{key}' of {name} is declared twice, as a variable and as a metric.")


class Problem(metaclass=ProblemType):
    """A typed space and a referee; subclass it (see the module's first lines)."""

    cost: ClassVar[str] = "fast"
    """"slow" declares that one row costs more than about 50 ms."""
    stochastic: ClassVar[bool] = False
    """True where the referee is a simulation of a `simulation_seed`."""
    _declared: ClassVar[dict[str, Any]] = {}

    def __init__(self, **parameters: Any) -> None:
        raise SpaceError("Problem is a base class; define a subclass with variables and metrics.")

    def __post_init__(self) -> None:
        self._check_choices()
        self.prepare()

    def prepare(self) -> None:
        """Check parameters that depend on each other; override it and raise SpaceError."""

    def _check_choices(self) -> None:
        for name in self._parameters:
            choices = self.__dataclass_fields__[name].metadata.get("choices")  # type: ignore[attr-defined]
            value = getattr(self, name)
            if choices and value not in choices:
                shown = ", ".join(map(str, choices))
                raise SpaceError(f"parameter '{name}' of {type(self).__name__} must be one of {shown}; got {value!r}.")

    # --- what was declared ---------------------------------------------------------------------
    @property
    def _parameters(self) -> tuple[str, ...]:
        return tuple(f.name for f in dataclasses.fields(self))  # type: ignore[arg-type]

    @property
    def metrics(self) -> dict[str, Metric]:
        """The declared metrics, in order."""
        return {n: v for n, v in self._declared.items() if isinstance(v, Metric)}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters and their values, in order."""
        return {n: getattr(self, n) for n in self._parameters}

    @cached_property
    def space(self) -> Space:
        """The typed space of this problem."""
        variables = {n: v for n, v in self._declared.items() if isinstance(v, Var)}
        return Space(self, variables, self._pins)

    @property
    def _pins(self) -> dict[str, Any]:
        return self.__dict__.get("_fixed", {})

    def fix(self, **values: Any) -> Problem:
        """The same problem with some variables pinned; they stay in the point.

        Raises SpaceError for an unknown variable or a value outside its domain.
        """
        copy = dataclasses.replace(self)  # type: ignore[type-var]
        object.__setattr__(copy, "_fixed", {**self._pins, **values})
        _ = copy.space
        return copy

    def replace(self, **parameters: Any) -> Problem:
        """The same problem with other parameters; pinned variables stay pinned."""
        unknown = next((n for n in parameters if n not in self._parameters), None)
        if unknown is not None:
            raise SpaceError(
                f"{type(self).__name__} has no parameter '{unknown}'; {nearest(unknown, self._parameters)}"
            )
        copy = dataclasses.replace(self, **parameters)  # type: ignore[type-var]
        object.__setattr__(copy, "_fixed", self._pins)
        return copy

    # --- the referee -----------------------------------------------------------------------------
    def evaluate(self, x: Batch) -> Mapping[str, Any]:
        """Metrics of a batch: name -> (rows,) array or `Estimate`. Pure and deterministic."""
        raise SpaceError(f"{type(self).__name__} defines no evaluate(self, x).")

    def score(self, points: Batch | Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Scores:
        """Metrics of points (a batch, a point, or a list of points), each row checked."""
        return evaluate(self, self.space.batch(points))

    def draw(self, rng: np.random.Generator) -> Problem:
        """The problem under one draw of its model errors: each `Device` parameter redrawn."""
        drawn = {n: v.draw(rng) for n, v in self.parameters.items() if callable(getattr(v, "draw", None))}
        return self.replace(**drawn) if drawn else self

    @property
    def default_goal(self) -> ResolvedGoal:
        """The goal that the metrics declare."""
        return Goal().resolve(self)

    def explain_infeasible(self, goal: ResolvedGoal) -> str:
        """A sentence for the user where no point meets the goal; override it to say more."""
        return ""

    # --- views -----------------------------------------------------------------------------------
    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView | None:
        """A Pyomo model of the decisions, or None."""
        return None

    def packing_view(self) -> PackingView | None:
        """Items and bins, or None."""
        return None

    def jobs_view(self) -> JobsView | None:
        """Job classes with service demands, or None."""
        return None

    # --- identity --------------------------------------------------------------------------------
    def identity(self) -> dict[str, Any]:
        """What the digest is made of: class, source, parameters, fixed variables, cost models."""
        from ..costmodels import VERSION

        label = type(self).__name__
        return {
            "class": label,
            "source": source(type(self), Problem),
            "parameters": {n: encode(v, f"parameter '{n}' of {label}") for n, v in self.parameters.items()},
            "fixed": {n: encode(v, f"fixed '{n}'") for n, v in self._pins.items()},
            "costmodels": VERSION,
        }

    @cached_property
    def digest(self) -> str:
        """Sixteen digits that two problems share exactly where they are the same problem."""
        return digest(self.identity())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        shown = ", ".join(f"{n}={getattr(v, 'name', v)!r}"[:60] for n, v in self.parameters.items())
        return f"{type(self).__name__}({shown})"

    def __getstate__(self) -> dict[str, Any]:
        keep = {*self._parameters, "_fixed"}
        return {n: v for n, v in self.__dict__.items() if n in keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


__all__ = ["Point", "Problem", "param"]
