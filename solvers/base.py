"""What a solver is: ask/tell or one-shot, with a budget and a certificate.

A solver proposes points and bounds. It never reports its own value: every point is scored by the
problem's referee through the run, which records, resumes, shows progress and stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import BudgetError
from ..problems.batch import Batch
from ..problems.faults import wrapped
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.scoring import Scores

Array = npt.NDArray[Any]
Made = TypeVar("Made")
PROVEN_GAP = 1e-6
CALLED = ("accepts", "prepare", "begin", "ask", "tell", "solve")


@dataclass(frozen=True)
class Budget:
    """What a search may spend; None is unlimited.

    evaluations: rows scored by the referee. seconds: wall time. gap: relative distance to the bound
    at which a solver with a bound may stop.
    """

    evaluations: int | None = None
    seconds: float | None = None
    gap: float | None = None

    def __post_init__(self) -> None:
        count, seconds, gap = self.evaluations, self.seconds, self.gap
        if count is not None:
            if not _number(count) or not math.isfinite(count) or count != int(count) or count < 1:
                raise BudgetError(
                    f"evaluations of the budget must be a whole number of at least 1, got {_shown(count)}."
                )
            object.__setattr__(self, "evaluations", int(count))
        if seconds is not None and not (_number(seconds) and 0 < seconds < math.inf):
            raise BudgetError(
                f"seconds of the budget must be positive and finite, got {_shown(seconds)}; leave them out "
                "for no limit."
            )
        if gap is not None and not (_number(gap) and 0 <= gap < 1):
            raise BudgetError(
                f"gap of the budget must lie in [0, 1), got {_shown(gap)}; 0.01 is one percent."
            )

    @property
    def proven_gap(self) -> float:
        """The gap up to which an answer counts as proven."""
        return max(PROVEN_GAP, self.gap or 0.0)

    def record(self) -> dict[str, Any]:
        """The budget as plain data."""
        return {"evaluations": self.evaluations, "seconds": self.seconds, "gap": self.gap}


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:g}" if _number(value) else repr(value)


@dataclass(frozen=True)
class Certificate:
    """What is known about an answer beyond its value.

    kind: "proven" (gap within 1e-6 or what was asked), "bound" or "none". bound: a value of the
    objective that no feasible point beats. gap: relative distance of the referee's value to it.
    statement: the certificate in words. assumptions: what it rests on. exact: whether the bound is
    one for the referee; where False it is the view's own and proves nothing. infeasible: no point
    meets the limits.
    """

    kind: Literal["proven", "bound", "none"] = "none"
    bound: float | None = None
    gap: float | None = None
    statement: str = "no bound is known"
    assumptions: tuple[str, ...] = field(default=())
    exact: bool = True
    infeasible: bool = False

    @classmethod
    def proven(cls, statement: str, bound: float | None = None) -> Certificate:
        """An answer that is exact by construction."""
        return cls("proven", bound, 0.0, statement)

    @classmethod
    def none(cls, reason: str) -> Certificate:
        """No statement beyond the value itself."""
        return cls("none", statement=reason)

    def against(self, value: float | None, proven_gap: float) -> Certificate:
        """The certificate with gap and kind derived from the bound and the referee's `value`."""
        if self.kind != "bound" or self.bound is None or value is None:
            return self
        gap = relative_gap(value, self.bound)
        kind: Literal["proven", "bound"] = "proven" if self.exact and gap <= proven_gap else "bound"
        return replace(self, gap=gap, kind=kind)

    def record(self) -> dict[str, Any]:
        """The certificate as plain data."""
        return {
            "kind": self.kind,
            "bound": self.bound,
            "gap": self.gap,
            "statement": self.statement,
            "assumptions": list(self.assumptions),
            "exact": self.exact,
            "infeasible": self.infeasible,
        }


def relative_gap(value: float, bound: float) -> float:
    """Distance of two values relative to the larger; 0 where both are 0."""
    size = max(abs(value), abs(bound))
    return (
        abs(value - bound) / size
        if size > 0 and math.isfinite(size)
        else (0.0 if value == bound else math.inf)
    )


class Chunks(Protocol):
    """A long sequence of batches, each made on demand."""

    def __len__(self) -> int: ...
    def chunk(self, index: int) -> Batch: ...


class Run(Protocol):
    """What a solver sees of the search it serves."""

    problem: Problem
    goal: ResolvedGoal
    budget: Budget
    seed: int
    start: Batch | None
    interrupted: bool
    keep_all: bool

    def score(self, batch: Batch) -> Scores:
        """Score and record points; repeated points are answered from the record."""
        ...

    def passed(self, rows: int) -> None:
        """Count rows that were scored, found to answer nothing, and are not recorded."""
        ...

    def sweep(self, chunks: Chunks) -> None:
        """Score a long sequence of distinct batches, keeping its front."""
        ...

    def progress(self, *, incumbent: float | None = None, bound: float | None = None) -> None:
        """Show a solver's own incumbent and bound while it runs (in the objective's unit)."""
        ...

    def note(self, sentence: str) -> None:
        """Keep a sentence for the user."""
        ...

    @property
    def seconds_left(self) -> float | None:
        """Wall time left, or None."""
        ...

    @property
    def evaluations_left(self) -> int | None:
        """Rows left of the budget, or None."""
        ...

    @property
    def front_costs(self) -> Array:
        """Objectives of the nondominated feasible points known, to minimise: (members, objectives)."""
        ...

    @property
    def best(self) -> tuple[dict[str, Any], dict[str, float]] | None:
        """The best feasible point known to the run and its metrics, or None."""
        ...


class Solver:
    """Base of both kinds. `name` is what the command line calls it."""

    name: ClassVar[str]
    needs_budget: ClassVar[bool] = True
    """Whether it would run for ever without a budget."""

    def __init_subclass__(cls, **settings: Any) -> None:
        """What its methods raise is told in one sentence, with file and line; a solver without a name has
        that of its class."""
        super().__init_subclass__(**settings)
        if cls.__module__ != __name__ and not hasattr(cls, "name"):
            cls.name = cls.__name__
        for name, method in wrapped(vars(cls), cls.__bases__, CALLED, __name__).items():
            setattr(cls, name, method)

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """None where the solver can take this problem and goal, else the reason in words.

        Pure: it keeps nothing in the solver, so it may be asked of any problems in any order.
        """
        return None


class AskTell(Solver):
    """A solver that proposes batches and is told their scores."""

    ending: str = "the solver finished"
    """Why it is done, once it is."""

    def begin(self, run: Run) -> None:
        """Called once before the first ask: keep the space, the goal and a seeded generator."""
        self.problem, self.goal, self.budget, self.start = run.problem, run.goal, run.budget, run.start
        self.space = run.problem.space
        self.rng = np.random.default_rng(np.random.SeedSequence([run.seed, 0x5EED]))

    def ask(self, n: int) -> Batch:
        """At most `n` points to score next. The size must not depend on the number of workers."""
        raise TypeError(f"{type(self).__name__} does not ask")

    def tell(self, batch: Batch, scores: Scores) -> None:
        """The scores of the batch last asked."""

    @property
    def done(self) -> bool:
        """Whether the solver has nothing more to ask."""
        return False


class OneShot(Solver):
    """A solver that runs by itself, scoring through `run.score`, and returns a certificate."""

    needs_budget: ClassVar[bool] = False

    def prepare(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> Any:
        """What `solve` takes from the problem beside its referee, such as a checked view; None for nothing.

        Pure, and called by `solve` for what `accepts` accepted.
        """
        return None

    def solve(self, run: Run) -> Certificate:
        """Find an answer and say what is known about it."""
        raise TypeError(f"{type(self).__name__} does not solve")


def once(problem: Problem, key: Hashable, make: Callable[[], Made]) -> Made:
    """`make()`, kept with the problem under `key`, so that solvers build it once between them.

    A problem never changes; its replaced, fixed or drawn copies keep their own.
    """
    if key not in problem._derived:
        problem._derived[key] = make()
    made: Made = problem._derived[key]
    return made


def reasons(refusals: Sequence[tuple[str, str]]) -> str:
    """Refusals of solvers as one sentence a solver."""
    return "; ".join(f"{name}: {reason}" for name, reason in refusals)
