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
from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform, final

import numpy as np

from ..errors import EvaluationError, SpaceError, nearest
from .batch import Batch
from .digest import digest, encode, source
from .faults import properties, wrapped
from .goal import Goal, Metric, ResolvedGoal
from .names import SETTINGS, attributes, check_declared, check_parameters, check_settings, in_class_line
from .scoring import Scores, evaluate
from .space import Point, Space
from .variables import Var

if TYPE_CHECKING:
    from .views import JobsView, MilpView, PackingView

Progress = Callable[[str, float], None]
HOOKS = (
    *(
        "prepare",
        "ready",
        "draw",
        "measurement",
        "explain",
        "explain_infeasible",
        "answer",
        "guesses",
        "coarse",
    ),
    *("milp_view", "packing_view", "jobs_view", "headline", "summary", "figures", "apply"),
)
"""Methods whose faults are told in one sentence, with file and line (see `faults`)."""


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
    so that the command line reads "24GiB". choices: the values allowed, or the name of the attribute
    that lists them. help: a line for `--help`.
    """
    listed = choices if choices is None or isinstance(choices, str) else tuple(choices)
    metadata = {"unit": unit, "choices": listed, "help": help}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class _Body(dict[str, Any]):
    """The namespace of a class body, which refuses to declare a name twice."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.owner = name

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            parameter = key in self.get("__annotations__", {})
            if parameter or isinstance(self[key], Var | Metric) or isinstance(value, Var | Metric):
                remedy = (
                    in_class_line(self.owner, key) if key in SETTINGS else "give one of them another name"
                )
                raise SpaceError(f"'{key}' is declared twice in {self.owner}; {remedy}.")
        super().__setitem__(key, value)


# `param` is no field specifier: type checkers would not see its positional default, and ask for the value.
@dataclass_transform(
    kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field,)
)
class ProblemType(type):
    """The class of problem classes: collects declarations and makes the dataclass."""

    _declared: dict[str, Any]

    @classmethod
    def __prepare__(
        cls, name: str, bases: tuple[type, ...], /, **settings: Any
    ) -> MutableMapping[str, object]:
        return _Body(name)

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **settings: Any) -> Any:
        namespace = dict(body)
        if not bases:
            return super().__new__(cls, name, bases, namespace, **settings)
        declared = {k: v for k, v in namespace.items() if isinstance(v, Var | Metric)}
        said = {k: settings.pop(k) for k in SETTINGS & settings.keys()}
        twice = next((k for k in said if k in namespace and k not in declared), None)
        if twice is not None:
            raise SpaceError(f"'{twice}' of {name} stands in the class line and in the body; say it once.")
        said |= {k: namespace[k] for k in SETTINGS & namespace.keys() - declared.keys()}
        annotations = {
            k: a
            for k, a in namespace.get("__annotations__", {}).items()
            if k not in declared.keys() | said.keys()
        }
        parameters = [k for k, a in annotations.items() if "ClassVar" not in str(a)]
        inherited: dict[str, Any] = {}
        for base in reversed(bases):
            inherited |= _declarations(base)
        fields = {f for base in bases for f in getattr(base, "__dataclass_fields__", {})}
        everything = inherited | declared
        check_declared(name, everything, Problem)
        check_parameters(name, parameters, Problem)
        _check_overrides(name, namespace, parameters, inherited, fields)
        check_settings(name, said, (k for k, v in everything.items() if isinstance(v, Var)))
        for parameter in parameters:
            value = namespace.get(parameter, 0)
            value = value.default if isinstance(value, dataclasses.Field) else value
            if isinstance(value, list | dict | set | np.ndarray):
                raise SpaceError(
                    f"parameter '{parameter}' of {name} has a mutable default; "
                    "write ts.param(factory=lambda: ...)."
                )
        namespace |= {k: _attribute(k, bases) for k in everything if k in attributes(Problem)} | said
        namespace |= properties(namespace) | wrapped(namespace, bases, HOOKS, __name__)
        namespace["__annotations__"] = annotations
        namespace["_declared"] = everything
        made = super().__new__(cls, name, bases, namespace, **settings)
        return dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)(made)

    if not TYPE_CHECKING:

        def __call__(cls, /, *values: Any, **parameters: Any) -> Any:
            """Make a problem; raises SpaceError for an unknown or missing parameter, TypeError for one
            without a name."""
            if values:
                raise TypeError(
                    f"parameters of {cls.__name__} are given by name, such as "
                    f"{cls.__name__}({next(iter(getattr(cls, '__dataclass_fields__', {})), 'name')}=...)."
                )
            _check_given(cls, parameters)
            return super().__call__(**parameters)


def _attribute(name: str, bases: Iterable[type]) -> Any:
    """What Problem, or a base class, has under a name that a variable or metric takes as well."""
    found = (vars(cls)[name] for base in bases for cls in base.__mro__ if name in vars(cls))
    return next(v for v in found if not isinstance(v, Var | Metric))


def _declarations(base: type) -> dict[str, Any]:
    """Variables and metrics of a base class, which may be a plain mixin."""
    if isinstance(base, ProblemType):
        return base._declared
    bodies = (vars(cls) for cls in reversed(base.__mro__))
    return {k: v for body in bodies for k, v in body.items() if isinstance(v, Var | Metric)}


def _check_overrides(
    name: str, body: Mapping[str, Any], parameters: list[str], inherited: Mapping[str, Any], fields: set[str]
) -> None:
    """What a subclass may say again: a variable as a variable, a parameter as an annotated parameter."""
    for key, value in body.items():
        before = inherited.get(key)
        if before is not None and not isinstance(value, Var if isinstance(before, Var) else Metric):
            if key in SETTINGS:
                raise SpaceError(
                    f"'{key}' of {name} is a variable or metric already; {in_class_line(name, key)}."
                )
            if isinstance(before, Metric):
                raise SpaceError(f"'{key}' of {name} is a metric already; give it another name.")
            raise SpaceError(f"'{key}' of {name} is a variable already; pin it with problem.fix({key}=...).")
        if key in fields and key not in parameters:
            raise SpaceError(
                f"'{key}' of {name} is a parameter already; write '{key}: TYPE = ...' for another default, "
                f"or give it another name."
            )
    unset = next((key for key in parameters if key in inherited and key not in body), None)
    if unset is not None:
        raise SpaceError(f"'{unset}' of {name} is a variable or metric already; give it another name.")


def _check_given(cls: type, parameters: Mapping[str, Any]) -> None:
    """Every given parameter is known and every required one given."""
    fields = getattr(cls, "__dataclass_fields__", {})
    for key in parameters:
        if key not in fields and "_declared" in vars(cls):
            if key in vars(cls)["_declared"]:
                raise SpaceError(
                    f"'{key}' of {cls.__name__} is no parameter; pin it with problem.fix({key}=...)."
                )
            raise SpaceError(f"{cls.__name__} has no parameter '{key}'; {nearest(key, fields)}")
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in parameters:
            raise SpaceError(f"{cls.__name__} needs the parameter '{key}'.")


class Problem(metaclass=ProblemType):
    """A typed space and a referee; subclass it (see the module's first lines)."""

    cost: ClassVar[str] = "fast"
    """"slow" declares that one row costs more than about 50 ms."""
    stochastic: ClassVar[bool] = False
    """True where the referee is a simulation of a `simulation_seed`."""
    slow: ClassVar[tuple[str, ...]] = ()
    """Variables whose change is dear; the others are searched within (solver `nested`)."""
    _declared: ClassVar[dict[str, Any]] = {}

    def __init__(self, **parameters: Any) -> None:
        raise SpaceError("Problem is a base class; define a subclass with variables and metrics.")

    def __post_init__(self) -> None:
        self._check_choices()
        self.prepare()

    def prepare(self) -> None:
        """Check parameters that depend on each other; override it and raise SpaceError.

        Runs when a problem is made and when it arrives in another process.
        """

    def _check_choices(self) -> None:
        for name in self._parameters:
            choices = self.__dataclass_fields__[name].metadata.get("choices")
            choices = getattr(self, choices) if isinstance(choices, str) else choices
            value = getattr(self, name)
            if choices and value not in choices:
                shown = ", ".join(map(str, choices))
                raise SpaceError(
                    f"parameter '{name}' of {type(self).__name__} must be one of {shown}; got {value!r}."
                )

    # --- what was declared ---------------------------------------------------------------------
    @property
    def _parameters(self) -> tuple[str, ...]:
        return tuple(f.name for f in dataclasses.fields(self))

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
        pins: dict[str, Any] = self.__dict__.get("_fixed", {})
        return pins

    @final
    def fix(self, /, **values: Any) -> Problem:
        """The same problem with some variables pinned; they stay in the point.

        Raises SpaceError for an unknown variable or a value outside its domain.
        """
        return self._pinned({}, {**self._pins, **values})

    def _pinned(self, parameters: Mapping[str, Any], pins: Mapping[str, Any]) -> Self:
        """A copy with other parameters and exactly these pins, read as the variables' values."""
        copy = dataclasses.replace(self, **parameters)
        object.__setattr__(copy, "_fixed", dict(pins))
        if pins:
            domains = copy.space.domains
            read = {n: domains[n].decode(d) for n in sorted(pins) if (d := domains[n].pinned) is not None}
            object.__setattr__(copy, "_fixed", read)
        return copy

    @final
    def replace(self, /, **parameters: Any) -> Self:
        """The same problem with other parameters; pinned variables stay pinned."""
        unknown = next((n for n in parameters if n not in self._parameters), None)
        if unknown is not None:
            raise SpaceError(
                f"{type(self).__name__} has no parameter '{unknown}'; {nearest(unknown, self._parameters)}"
            )
        return self._pinned(parameters, self._pins)

    # --- the referee -----------------------------------------------------------------------------
    def evaluate(self, x: Batch) -> Mapping[str, Any]:
        """Metrics of a batch: name -> (rows,) array or `Estimate`. Pure and deterministic."""
        raise SpaceError(f"{type(self).__name__} defines no evaluate(self, x).")

    @final
    def score(self, points: Batch | Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Scores:
        """Metrics of points (a batch, a point, or a list of points), each row checked.

        Raises EvaluationError where the referee raises at every one of them.
        """
        scores = evaluate(self, self.space.batch(points))
        if scores.errors and len(scores.errors) == len(scores):
            raise EvaluationError(scores.errors[0])
        return scores

    def draw(self, rng: np.random.Generator) -> Problem:
        """The problem under one draw of its model errors: each `Device` parameter redrawn.

        A device that stands in several parameters is drawn once.
        """
        from ..costmodels.uncertainty import draw
        from ..hardware import Device

        devices = {n: v for n, v in self.parameters.items() if isinstance(v, Device)}
        drawn = {device: draw(device, rng) for device in dict.fromkeys(devices.values())}
        return self.replace(**{n: drawn[v] for n, v in devices.items()}) if devices else self

    @property
    def deviations(self) -> dict[str, float]:
        """What one draw of this problem changed: source -> its standard normal value.

        Empty for a problem that was not drawn. A source is what one measurement would settle, such as
        "gemm on a100-sxm-80gb"; a problem that overrides `draw` overrides this as well.
        """
        from ..hardware import Device

        devices = dict.fromkeys(v for v in self.parameters.values() if isinstance(v, Device))
        return {f"{n} on {d.name}": float(z) for d in devices for n, z in sorted(d.deviations.items())}

    def measurement(self, source: str) -> str:
        """How to measure a source of `deviations`, as a command or in words; "" where nobody said."""
        from ..costmodels.calibration import PLAN

        family, _, name = source.partition(" on ")
        return f"optimize calibrate {name} --family {family}" if name and family in dict(PLAN) else ""

    @property
    def default_goal(self) -> ResolvedGoal:
        """The goal that the metrics declare."""
        return Goal().resolve(self)

    def explain_infeasible(self, goal: ResolvedGoal) -> str:
        """A sentence for the user where no point meets the goal; override it to say more."""
        return ""

    def explain(self, point: Mapping[str, Any]) -> Mapping[str, str | list[dict[str, Any]]]:
        """What only this problem knows about a point, for `optimize explain` and the report: title -> a
        sentence, or a table as a list of rows (column -> cell, quantities as text); override it."""
        return {}

    def ready(self, progress: Progress | None = None) -> None:
        """Do what takes long and is done once, such as training or timing, before a search; override it.

        progress: called with what is done in words, and how far it is in [0, 1].
        """

    def answer(self, point: dict[str, Any]) -> dict[str, Any]:
        """A point as the answer of a search: the same decisions, in a dict that may know what it is for;
        override it."""
        return point

    def confirm(self, point: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[Problem, str] | None:
        """Try an answer before it is called feasible: None where it keeps what its metrics promise, else this
        problem with what was learnt, which is solved in its place, and a sentence on what differed; override
        it where an answer can be carried out in seconds."""
        return None

    def guesses(self, goal: ResolvedGoal) -> Sequence[Mapping[str, Any]]:
        """Points that evolution begins from, such as what people choose by hand; override it."""
        return ()

    def coarse(self) -> Problem | None:
        """The same decisions under a cheaper, rougher referee, with which evolution screens its children; or
        None. Four times as many children are then made, and the best quarter is scored."""
        return None

    # --- views -----------------------------------------------------------------------------------
    @cached_property
    def _derived(self) -> dict[Hashable, Any]:
        """What solvers make of the problem once: it never changes, so neither does what follows from it."""
        return {}

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView | None:
        """A Pyomo model of the decisions, or None."""
        return None

    def packing_view(self, given: Mapping[str, Any] | None = None) -> PackingView | None:
        """Items and bins, or None. given: values of fixed variables that the view does not decide."""
        return None

    def jobs_view(self, given: Mapping[str, Any] | None = None) -> JobsView | None:
        """Job classes with service demands, or None."""
        return None

    # --- identity --------------------------------------------------------------------------------
    @final
    def identity(self) -> dict[str, Any]:
        """What the digest is made of: class, source, parameters, space, metrics, cost models."""
        from ..costmodels import VERSION

        label = type(self).__name__
        return {
            "class": label,
            "source": source(type(self), self.parameters.values()),
            "parameters": {n: encode(v, f"parameter '{n}' of {label}") for n, v in self.parameters.items()},
            "fixed": {n: encode(v, f"fixed '{n}'") for n, v in self._pins.items()},
            "space": self.space.record(),
            "metrics": {n: encode(m, f"metric '{n}'") for n, m in self.metrics.items()},
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
        self.prepare()


__all__ = ["Point", "Problem", "param"]
