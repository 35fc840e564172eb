"""Optuna's samplers as solvers: `tpe`, `gp`, `cmaes`, `nsga3`, `qmc`, any other by name or as an object.

A study in memory is asked and told. Inactive entries are not suggested, so the sampler sees the
conditional space as it is. A point proposed twice is answered from what is known and costs nothing; a
new neighbour takes its place.
"""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import SolverUnavailable, nearest
from ..problems.batch import Batch, concatenate
from ..problems.domain import Domain, label_name
from ..problems.goal import ResolvedGoal
from ..problems.names import apart
from ..problems.problem import Problem
from ..problems.scoring import Scores
from ..problems.space import Space
from .base import AskTell, Budget, Run
from .evolutionary import population_size
from .repair import mender
from .uninterrupted import sobol_tables
from .unseen import unseen
from .variation import Coding

Array = npt.NDArray[Any]
SCALARS = 64
INFEASIBLE, FAILED = 1e30, 1e300


class OptunaSampler(AskTell):
    """A search by an Optuna sampler; see the subclasses for those that are treated in a way of their own.

    sampler: a sampler object, or the name of a class of `optuna.samplers`, made with the run's seed;
    `sampled` finds the subclass for either.
    """

    name: ClassVar[str] = "optuna"
    needs: ClassVar[tuple[str, ...]] = ()
    """Packages beyond Optuna itself."""
    batch: ClassVar[tuple[int, int]] = (1, 8)
    """Points asked at once where a row is fast, and where it is slow and may be scored in parallel."""
    penalised: ClassVar[bool] = False
    """Whether limits and failed rows enter as a penalty, because the sampler knows neither."""
    imputed: ClassVar[bool] = False
    """Whether a failed row counts as the worst one known, because the sampler forgets failed trials and
    would propose the same place again. A study that others read shows failed trials."""

    shared = False
    """Whether other processes read the study, and so the limits of its trials."""

    def __init__(self, sampler: Any = None) -> None:
        self.sampler = sampler
        if isinstance(sampler, str):
            self.name = f"optuna:{sampler}"  # type: ignore[misc]
        elif sampler is not None:
            self.name = "optuna"  # type: ignore[misc]

    # --- what it takes ------------------------------------------------------------------------------
    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses permutations, more than 64 scalar variables, and what is not installed."""
        instead = "ga" if goal.single else "nsga2"
        for package in self.needs:
            if importlib.util.find_spec(package) is None:
                return f"it needs the package '{package}', which is not installed; use tpe"
        for name, domain in problem.space.domains.items():
            if domain.kind == "permutation" and not _constant(domain):
                return f"'{name}' is a permutation, which it cannot draw; use {instead}"
        scalars = problem.space.scalars
        if scalars > SCALARS:
            return f"{scalars:,} scalar variables exceed the {SCALARS} it takes; use {instead}"
        return None

    def make(self, run: Run) -> Any:
        """The sampler as it was given, or made with the run's seed."""
        return self.made(run) if self.sampler is None or isinstance(self.sampler, str) else self.sampler

    def made(self, run: Run) -> Any:
        """The sampler by its name, seeded."""
        import optuna

        known = [n for n in optuna.samplers.__all__ if n.endswith("Sampler") and n != "BaseSampler"]
        if self.sampler not in known:
            raise SolverUnavailable(f"Optuna has no sampler '{self.sampler}'; {nearest(self.sampler, known)}")
        cls = getattr(optuna.samplers, self.sampler)
        takes = inspect.signature(cls).parameters
        settings = {"seed": self._seed} | (self._limits() if "constraints_func" in takes else {})
        if "population_size" in takes:
            settings["population_size"] = population_size(run)
        try:
            return cls(**settings)
        except TypeError as error:
            reason = (
                f"Optuna's {self.sampler} needs more than a seed ({error}); pass the sampler as an object."
            )
            raise SolverUnavailable(reason) from None

    # --- asking ---------------------------------------------------------------------------------
    def begin(self, run: Run) -> None:
        """Open a study and queue the start."""
        super().begin(run)
        import optuna

        self.run = run
        self._seed = run.seed % 2**32
        self._known: dict[int, tuple[list[float], list[float]] | None] = {}
        self._asked: list[tuple[Any, int]] = []
        self._ended = False
        self.constraints = apart(CONSTRAINTS, run.problem.metrics)
        self.coding = Coding(self.space)
        self._mend = mender(run.problem, run.goal)
        self._worst = np.full(len(self.goal.objectives), -np.inf)
        self._scored = False
        self._lost = False  # whether all rows failed so far: a sampler that learns nothing stays where it is
        with quiet():
            self.study = optuna.create_study(
                directions=["minimize"] * len(self.goal.objectives), sampler=self.make(run)
            )
            for row in range(len(self.start) if self.start is not None else 0):
                self.study.enqueue_trial(self._parameters(self.start, row))

    @property
    def done(self) -> bool:
        """Whether the sampler has ended the study."""
        return self._ended

    def ask(self, n: int) -> Batch:
        """The next points; fewer, or none, where nothing new is found."""
        rows: list[Batch] = []
        places: dict[int, int] = {}
        self._asked = []
        with quiet():
            for _ in range(min(n, self.batch[self.problem.cost == "slow"])):
                try:
                    trial, point = self._propose(places)
                except ValueError as error:
                    raise SolverUnavailable(
                        f"Optuna's sampler of '{self.name}' cannot go on: {error}"
                    ) from error
                if point is None or self._ended:
                    break
                place = places.setdefault(int(self.space.hashes(point)[0]), len(rows))
                if place == len(rows):
                    rows.append(point)
                self._asked.append((trial, place))
        return concatenate(rows) if rows else Batch(self.space, {}, 0)

    def _propose(self, asked: dict[int, int]) -> tuple[Any, Batch | None]:
        """A trial and its point: what the sampler proposes, or a new neighbour of it where it is known."""
        if self._lost:
            self.study.enqueue_trial(self._parameters(self.space.sample(self.rng, 1), 0))
        trial = self.study.ask()
        point = self._suggested(trial)
        key = int(self.space.hashes(point)[0])
        if key not in self._known:
            return trial, point
        self._tell(trial, self._known[key])
        fresh = (
            None if self._ended else unseen(self.coding, self._known.keys() | asked.keys(), self.rng, point)
        )
        if fresh is None:
            return None, None
        self.study.enqueue_trial(self._parameters(fresh, 0))
        trial = self.study.ask()
        return trial, self._suggested(trial)

    def _suggested(self, trial: Any) -> Batch:
        """The point of a trial; repaired."""
        point = suggested(self.space, trial)
        return self._mend(point) if self._mend else point

    def _parameters(self, batch: Any, row: int) -> dict[str, Any]:
        """A point as the study's parameters, to queue it."""
        columns: dict[str, Array] = batch.__columns__
        found: dict[str, Any] = {}
        for name, domain in self.space.domains.items():
            values = columns[name][row].reshape(domain.cells)
            for cell in _cells(self.space, columns, name, len(batch), row):
                value: Any = values[cell].item()
                if domain.kind == "labels":
                    value = label_name(domain.labels[value])
                elif domain.kind == "menu":
                    value = int(domain.position(values[cell]))
                found[cell_name(domain, cell)] = value
        return found

    # --- telling --------------------------------------------------------------------------------
    def tell(self, batch: Batch, scores: Scores) -> None:
        """Tell the study; a failed row is a failed trial, or one that lost (see `imputed`)."""
        goal = self.run.goal
        costs = goal.costs(scores.metrics)
        excess = [
            limit.sign * (scores.metrics[limit.metric] - limit.bound) / limit.size for limit in goal.limits
        ]
        answers: list[tuple[list[float], list[float]] | None] = []
        for row, key in enumerate(self.space.hashes(batch).tolist()):
            answer: tuple[list[float], list[float]] | None = None
            if not scores.failed[row]:
                answer = costs[row].tolist(), np.nan_to_num([float(e[row]) for e in excess], nan=0.0).tolist()
                self._worst = np.fmax(self._worst, costs[row])
            elif self._scored and not self.shared and self.penalised:
                answer = [FAILED] * len(self._worst), [1.0] * len(excess)
            elif self._scored and not self.shared and self.imputed and np.isfinite(self._worst).all():
                answer = self._worst.tolist(), [1.0] * len(excess)
            answers.append(answer)
            self._known[key] = answer
        with quiet():
            if self._lost and not scores.failed.all():
                self._found(batch, int(np.argmin(scores.failed)))
            self._scored |= not scores.failed.all()
            self._lost = not self._scored
            for trial, place in self._asked:
                if place < len(answers):
                    self._tell(trial, answers[place])
        self._asked = []

    def _found(self, batch: Batch, row: int) -> None:
        """A row is the first that was scored, after others that failed."""

    def _tell(self, trial: Any, answer: tuple[list[float], list[float]] | None) -> None:
        import optuna

        try:
            if answer is None:
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                return
            costs, excess = answer
            violation = sum(e for e in excess if e > 0)
            if self.penalised and violation > 0:
                costs = [max(cost, INFEASIBLE * (1.0 + violation)) for cost in costs]
            if self.shared or not hasattr(trial, "set_constraint"):
                trial.set_user_attr(self.constraints, excess)
            if not self.penalised and hasattr(trial, "set_constraint"):
                for number, value in enumerate(excess):
                    trial.set_constraint(str(number), value)
            self.study.tell(trial, costs)
        except RuntimeError as error:
            if "Study.stop" not in str(error):
                raise
            self._ended = True

    def _limits(self) -> dict[str, Any]:
        """What tells a sampler of Optuna 4 where to find the limits; Optuna 5 finds them by itself."""
        import optuna

        if not self.goal.limits or hasattr(optuna.trial.Trial, "set_constraint"):
            return {}
        return {"constraints_func": lambda trial: list(trial.user_attrs[self.constraints])}


CONSTRAINTS = "limits"


class TPE(OptunaSampler):
    """Tree-structured Parzen estimator (Bergstra et al. 2011): the choice below 1,000 evaluations."""

    name: ClassVar[str] = "tpe"
    imputed: ClassVar[bool] = True

    def made(self, run: Run) -> Any:
        """Optuna's sampler; constant liars keep the points of one batch apart."""
        import optuna

        return optuna.samplers.TPESampler(seed=self._seed, constant_liar=True, **self._limits())


class GP(OptunaSampler):
    """Gaussian process with expected improvement: few, expensive rows and few variables."""

    name: ClassVar[str] = "gp"
    needs: ClassVar[tuple[str, ...]] = ("torch", "scipy")
    imputed: ClassVar[bool] = True

    def made(self, run: Run) -> Any:
        """Optuna's sampler; a referee is deterministic."""
        import optuna

        sobol_tables()
        deterministic = not run.problem.stochastic
        return optuna.samplers.GPSampler(
            seed=self._seed, deterministic_objective=deterministic, **self._limits()
        )


class CMAES(OptunaSampler):
    """Covariance matrix adaptation (Hansen & Ostermeier 2001): one objective over numbers."""

    name: ClassVar[str] = "cmaes"
    needs: ClassVar[tuple[str, ...]] = ("cmaes",)
    penalised: ClassVar[bool] = True
    _first: dict[str, Any] | None = None

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses several objectives, and spaces without two unconditional numbers."""
        if not goal.single:
            return f"it takes one objective and this goal has {len(goal.objectives)}; use nsga2"
        space = problem.space
        free = [d for n, d in space.domains.items() if not _constant(d) and not space.conditions[n]]
        if sum(d.cells for d in free if d.kind in {"float", "grid", "menu"}) < 2:
            return "it needs at least two numbers that are always active; use tpe"
        return super().accepts(problem, goal, budget)

    def made(self, run: Run) -> Any:
        """Optuna's sampler; labels and conditional entries are drawn at random beside it."""
        import optuna

        return optuna.samplers.CmaEsSampler(seed=self._seed, x0=self._first, warn_independent_sampling=False)

    def _found(self, batch: Batch, row: int) -> None:
        """Begin there: around the middle of the space nothing was scored."""
        if self.sampler is None or isinstance(self.sampler, str):
            self._first = self._parameters(batch, row)
            self.study.sampler = self.made(self.run)


class NSGA3(OptunaSampler):
    """NSGA-III (Deb & Jain 2014): reference directions, for three objectives and more."""

    name: ClassVar[str] = "nsga3"
    batch: ClassVar[tuple[int, int]] = (8, 8)

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses a single objective."""
        return (
            "it takes several objectives and this goal has one; use ga"
            if goal.single
            else super().accepts(problem, goal, budget)
        )

    def made(self, run: Run) -> Any:
        """Optuna's sampler with a population that suits the budget."""
        import optuna

        size = population_size(run)
        return optuna.samplers.NSGAIIISampler(seed=self._seed, population_size=size, **self._limits())


class QMC(OptunaSampler):
    """Optuna's quasi-random points; `sobol` is the same idea without a study, for any number of rows."""

    name: ClassVar[str] = "qmc"
    batch: ClassVar[tuple[int, int]] = (16, 16)

    def made(self, run: Run) -> Any:
        """Optuna's sampler, scrambled by the seed."""
        import optuna

        sobol_tables()
        return optuna.samplers.QMCSampler(seed=self._seed, scramble=True, warn_independent_sampling=False)


NAMED = {
    "TPESampler": TPE,
    "GPSampler": GP,
    "CmaEsSampler": CMAES,
    "NSGAIIISampler": NSGA3,
    "QMCSampler": QMC,
}


def sampled(sampler: Any) -> OptunaSampler:
    """The search by a sampler, given as the name of a class of `optuna.samplers` or as an object."""
    classes = [sampler] if isinstance(sampler, str) else [cls.__name__ for cls in type(sampler).__mro__]
    kind = next((NAMED[name] for name in classes if name in NAMED), OptunaSampler)
    return kind(sampler)


def suggested(space: Space, trial: Any) -> Batch:
    """The point of a trial: every active entry suggested, parents before what depends on them."""
    columns: dict[str, Array] = {}
    for name in space.order:
        domain = space.domains[name]
        values = np.array(domain.first).reshape(domain.cells)
        for cell in _cells(space, columns, name, 1, 0):
            values[cell] = _suggest(trial, cell_name(domain, cell), domain)
        columns[name] = values.reshape(1, *domain.width)
    return space.canonical(columns, 1)


def _cells(space: Space, columns: dict[str, Array], name: str, rows: int, row: int) -> list[int]:
    """The entries of a variable that are to be decided: active, and with more than one value."""
    if _constant(space.domains[name]):
        return []
    return np.flatnonzero(space.active(columns, name, rows)[row].ravel()).tolist()


def cell_name(domain: Domain, cell: int) -> str:
    """The parameter that stands for one entry: `tile`, or `codec[3]`."""
    if not domain.shape:
        return domain.name
    place = np.unravel_index(cell, domain.shape)
    return f"{domain.name}[{','.join(str(int(i)) for i in place)}]"


def _constant(domain: Domain) -> bool:
    """Whether there is nothing to decide."""
    return (
        domain.pinned is not None or domain.count == 1 or (domain.kind == "float" and domain.lo == domain.hi)
    )


def _suggest(trial: Any, key: str, domain: Domain) -> Any:
    """One entry as the trial suggests it, in the column's coding. A menu is suggested by position."""
    if domain.kind == "float":
        return min(max(trial.suggest_float(key, domain.lo, domain.hi, log=domain.log), domain.lo), domain.hi)
    if domain.kind == "grid":
        return trial.suggest_int(key, int(domain.lo), int(domain.hi), step=domain.step, log=domain.log)
    if domain.kind == "menu":
        return np.asarray(domain.values)[trial.suggest_int(key, 0, (domain.count or 1) - 1)]
    if domain.kind == "bool":
        return trial.suggest_categorical(key, [False, True])
    return domain.find(trial.suggest_categorical(key, [label_name(label) for label in domain.labels]))


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log and its warnings; the user's setting of both comes back."""
    from optuna import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
