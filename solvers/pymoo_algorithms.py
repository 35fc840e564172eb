"""pymoo's algorithms as solvers: `pymoo:de`, `pymoo:nsga2`, ..., or an algorithm as an object.

An algorithm sees the unit cube with one coordinate a scalar decision, as `Space.from_unit` reads it, and
the goal's objectives and limits; it is asked and told, the points are scored by the referee like all others.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import SolverUnavailable, TradespaceError, nearest
from ..problems.batch import Batch, take
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.scoring import Scores
from .base import AskTell, Budget, Run
from .evolutionary import population_size
from .repair import mender

Array = npt.NDArray[Any]
SINGLE = {
    "ga": "soo.nonconvex.ga:GA",
    "de": "soo.nonconvex.de:DE",
    "pso": "soo.nonconvex.pso:PSO",
    "es": "soo.nonconvex.es:ES",
    "isres": "soo.nonconvex.isres:ISRES",
    "cmaes": "soo.nonconvex.cmaes:CMAES",
    "g3pcx": "soo.nonconvex.g3pcx:G3PCX",
    "nelder-mead": "soo.nonconvex.nelder:NelderMead",
    "pattern-search": "soo.nonconvex.pattern:PatternSearch",
}
MANY = {
    "nsga2": "moo.nsga2:NSGA2",
    "nsga3": "moo.nsga3:NSGA3",
    "unsga3": "moo.unsga3:UNSGA3",
    "moead": "moo.moead:MOEAD",
    "agemoea": "moo.age:AGEMOEA",
    "smsemoa": "moo.sms:SMSEMOA",
    "spea2": "moo.spea2:SPEA2",
    "ctaea": "moo.ctaea:CTAEA",
    "rvea": "moo.rvea:RVEA",
}
DIRECTED = ("nsga3", "unsga3", "moead", "ctaea", "rvea")
SEVERAL = (*DIRECTED, "smsemoa")
UNLIMITED = ("cmaes", "moead", "nelder-mead", "pattern-search", "g3pcx")
POPULATION = {
    **dict.fromkeys(("ga", "de", "pso", "g3pcx", "nsga2", "agemoea", "smsemoa", "spea2"), "pop_size"),
    **dict.fromkeys(("es", "isres"), "n_offsprings"),
}
WORST = 1e30


class PymooAlgorithm(AskTell):
    """A search by one of pymoo's algorithms.

    algorithm: a name (`de`), or an algorithm as an object, of which a copy is run.
    """

    name: ClassVar[str] = "pymoo"

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm
        known = {**SINGLE, **MANY}
        if not isinstance(algorithm, str):
            self.name = f"pymoo:{type(algorithm).__name__}"  # type: ignore[misc]
        elif algorithm in known:
            self.name = f"pymoo:{algorithm}"  # type: ignore[misc]
        else:
            raise SolverUnavailable(
                f"no algorithm of pymoo is called '{algorithm}'; {nearest(algorithm, known)}"
            )

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses what the algorithm does not take: several objectives, one, limits, or no number of rows."""
        if importlib.util.find_spec("pymoo") is None:
            return "it needs the package 'pymoo', which is not installed; pip install 'tradespace[pymoo]'"
        if problem.space.unit_width == 0:
            return "there is nothing to decide"
        if self.algorithm in SINGLE and not goal.single:
            return f"it takes one objective and this goal has {len(goal.objectives)}; use pymoo:nsga2"
        if self.algorithm in SEVERAL and goal.single:
            return "it takes several objectives and this goal has one; use pymoo:de"
        if self.algorithm in UNLIMITED and goal.limits:
            instead = "pymoo:de" if goal.single else "pymoo:nsga2"
            return f"it takes no limits and this goal has {len(goal.limits)}; use {instead}"
        if self.algorithm == "rvea" and budget.evaluations is None:
            return (
                "it plans its course over a number of evaluations, and the budget has none; use pymoo:nsga3"
            )
        return None

    def begin(self, run: Run) -> None:
        """Set the algorithm up on the unit cube."""
        super().begin(run)
        self.run = run
        self._limited = self.algorithm not in UNLIMITED
        limits = len(self.goal.limits) + 1 if self._limited else 0
        self.posed = unit_cube(self.space.unit_width, len(self.goal.objectives), limits)
        self._worst = np.full(len(self.goal.objectives), -np.inf)
        with self._running():
            made = self._made(run) if isinstance(self.algorithm, str) else self.algorithm
            self.running = copy.deepcopy(made)  # its parts may be shared by all algorithms of its class
            self.running.setup(
                self.posed,
                termination=self._termination(run),
                seed=run.seed % 2**31,
                verbose=False,
                save_history=False,
            )
            seed_moves(self.running)
        self._mend = mender(run.problem, run.goal)
        self._asked: Any = None
        self._ended = False
        self._lost = False  # whether all rows failed so far

    def _made(self, run: Run) -> Any:
        """The algorithm by name, its population as large as ours."""
        place, _, label = {**SINGLE, **MANY}[self.algorithm].partition(":")
        made = getattr(importlib.import_module(f"pymoo.algorithms.{place}"), label)
        settings: dict[str, Any] = {}
        if self.algorithm in POPULATION:
            settings[POPULATION[self.algorithm]] = population_size(run)
        if self.algorithm in DIRECTED:
            settings["ref_dirs"] = directions(len(self.goal.objectives), population_size(run))
        return made(**settings)

    def _termination(self, run: Run) -> Any:
        """None of its own: the run ends the search. RVEA has to know the number of its generations."""
        from pymoo.core.termination import NoTermination

        planned: Budget = getattr(run, "planned", run.budget)
        if self.algorithm != "rvea" or planned.evaluations is None:
            return NoTermination()
        return "n_gen", max(1, planned.evaluations // population_size(run))

    @contextmanager
    def _running(self) -> Iterator[None]:
        """An algorithm that fails is one sentence; its warnings about values of failed rows are not shown."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except TradespaceError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise SolverUnavailable(f"pymoo's algorithm of '{self.name}' cannot go on: {said}") from error

    @property
    def done(self) -> bool:
        """Whether the algorithm has ended by itself."""
        return self._ended

    def ask(self, n: int) -> Batch:
        """The algorithm's next points, cut to `n` where the budget ends within them."""
        with self._running():
            self._asked = self.running.ask() if self.running.has_next() else None
            asked = population(self._asked)
            if self._lost:  # the algorithm learnt nothing and would stay where it is
                asked.set("X", self.rng.random((len(asked), self.space.unit_width)))
            units = np.array([individual.X for individual in asked], float)
        if not len(units):
            self._ended = True
            return Batch(self.space, {}, 0)
        batch = self.space.from_unit(np.clip(units, 0.0, 1.0))
        batch = self._mend(batch) if self._mend else batch
        return take(batch, slice(0, n)) if len(batch) > n else batch

    def tell(self, batch: Batch, scores: Scores) -> None:
        """Tell the algorithm; where the budget ended within its points that was the end.

        A failed row breaks a limit of its own and has the worst values known; algorithms without limits see
        values that lose against any other.
        """
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        costs, excess = costs_and_excess(self.run.goal, scores)
        failed = scores.failed
        self._worst = np.maximum(self._worst, costs[~failed].max(axis=0, initial=-np.inf))
        self._lost = not np.isfinite(self._worst).all()
        if self._limited:
            costs[failed] = np.where(np.isfinite(self._worst), self._worst, 0.0)
            excess = np.column_stack([np.where(failed[:, None], 1.0, excess), np.where(failed, 1.0, -1.0)])
        with self._running():
            asked = population(self._asked)
            if len(batch) < len(asked):
                self._ended, self.ending = (
                    True,
                    "fewer evaluations are left than the algorithm asks for at once",
                )
                return
            Evaluator(skip_already_evaluated=False).eval(StaticProblem(self.posed, F=costs, G=excess), asked)
            self.running.tell(infills=self._asked)


def seed_moves(algorithm: Any) -> None:
    """Let a pattern search draw its moves from its own generator; pymoo 0.6 draws them unseeded."""
    from pymoo.algorithms.soo.nonconvex import pattern

    if isinstance(algorithm, pattern.PatternSearch):
        move = functools.partial(pattern.exploration_move, random_state=algorithm.random_state)
        code = pattern.PatternSearch._next.__code__
        algorithm._next = FunctionType(code, {**vars(pattern), "exploration_move": move}).__get__(algorithm)


def population(asked: Any) -> Any:
    """What an algorithm asks for: many points, one, or none."""
    from pymoo.core.individual import Individual
    from pymoo.core.population import Population

    if asked is None:
        return Population()
    return Population.create(asked) if isinstance(asked, Individual) else asked


def directions(objectives: int, most: int) -> Array:
    """Das and Dennis's evenly spread directions (count, objectives), as many as there are up to `most`."""
    from pymoo.util.ref_dirs import get_reference_directions

    parts = 1
    while math.comb(parts + objectives, objectives - 1) <= most:
        parts += 1
    return np.asarray(get_reference_directions("das-dennis", objectives, n_partitions=parts))


def unit_cube(width: int, objectives: int, limits: int) -> Any:
    """A pymoo problem without a function: the unit cube, with so many objectives and limits."""
    from pymoo.core.problem import Problem as Posed

    return Posed(n_var=width, n_obj=objectives, n_ieq_constr=limits, xl=0.0, xu=1.0)


def costs_and_excess(goal: ResolvedGoal, scores: Scores) -> tuple[Array, Array]:
    """Objectives to minimise (rows, objectives) and limits, held where at most 0, (rows, limits).

    A failed row has the value 1e30 in both.
    """
    failed = scores.failed[:, None]
    costs = np.where(failed, WORST, np.nan_to_num(goal.costs(scores.metrics), posinf=WORST, neginf=-WORST))
    columns = [li.sign * (scores.metrics[li.metric] - li.bound) / li.size for li in goal.limits]
    excess = np.array(columns).reshape(len(goal.limits), len(scores)).T
    return costs, np.where(failed, WORST, np.nan_to_num(excess, posinf=WORST, neginf=-WORST))
