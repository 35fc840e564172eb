"""pymoo's algorithms as solvers: `pymoo:de`, `pymoo:nsga2`, ..., or an algorithm as an object.

An algorithm sees the unit cube with one coordinate a scalar decision, as `Space.from_unit` reads it, and
the goal's objectives and limits; it is asked and told, the points are scored by the referee like all others.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import SolverUnavailable, nearest
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
UNLIMITED = ("cmaes", "moead", "nelder-mead", "pattern-search", "g3pcx")
POPULATION = ("ga", "de", "pso", "nsga2", "agemoea", "smsemoa", "spea2")
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
        """Refuses what the algorithm takes not: several objectives, one, or limits."""
        if importlib.util.find_spec("pymoo") is None:
            return "it needs the package 'pymoo', which is not installed; pip install 'tradespace[pymoo]'"
        if problem.space.unit_width == 0:
            return "there is nothing to decide"
        if self.algorithm in SINGLE and not goal.single:
            return f"it takes one objective and this goal has {len(goal.objectives)}; use pymoo:nsga2"
        if self.algorithm in DIRECTED and goal.single:
            return "it takes several objectives and this goal has one; use pymoo:de"
        if self.algorithm in UNLIMITED and goal.limits:
            instead = "pymoo:de" if goal.single else "pymoo:nsga2"
            return f"it takes no limits and this goal has {len(goal.limits)}; use {instead}"
        return None

    def begin(self, run: Run) -> None:
        """Set the algorithm up on the unit cube."""
        from pymoo.core.termination import NoTermination

        super().begin(run)
        self.run = run
        self.posed = unit_cube(self.space.unit_width, len(self.goal.objectives), len(self.goal.limits))
        self.running = self._made(run) if isinstance(self.algorithm, str) else copy.deepcopy(self.algorithm)
        self.running.setup(
            self.posed, termination=NoTermination(), seed=run.seed % 2**31, verbose=False, save_history=False
        )
        self._mend = mender(run.problem, run.goal)
        self._asked: Any = None
        self._ended = False

    def _made(self, run: Run) -> Any:
        """The algorithm by name, its population as large as ours."""
        place, _, label = {**SINGLE, **MANY}[self.algorithm].partition(":")
        made = getattr(importlib.import_module(f"pymoo.algorithms.{place}"), label)
        settings: dict[str, Any] = {}
        if self.algorithm in POPULATION:
            settings["pop_size"] = population_size(run)
        if self.algorithm in DIRECTED:
            from pymoo.util.ref_dirs import get_reference_directions

            settings["ref_dirs"] = get_reference_directions(
                "energy", len(self.goal.objectives), population_size(run), seed=run.seed % 2**31
            )
        return made(**settings)

    @property
    def done(self) -> bool:
        """Whether the algorithm has ended by itself."""
        return self._ended

    def ask(self, n: int) -> Batch:
        """The algorithm's next points, cut to `n` where the budget ends within them."""
        with np.errstate(all="ignore"):
            self._asked = self.running.ask() if self.running.has_next() else None
        if self._asked is None or not len(self._asked):
            self._ended = True
            return Batch(self.space, {}, 0)
        units = np.array([individual.X for individual in self._asked], float)
        batch = self.space.from_unit(np.clip(units, 0.0, 1.0))
        batch = self._mend(batch) if self._mend else batch
        return take(batch, slice(0, n)) if len(batch) > n else batch

    def tell(self, batch: Batch, scores: Scores) -> None:
        """Tell the algorithm; where the budget ended within its points that was the end."""
        if len(batch) < len(self._asked):
            self._ended = True
            return
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        costs, excess = costs_and_excess(self.run.goal, scores)
        with np.errstate(all="ignore"):
            Evaluator().eval(StaticProblem(self.posed, F=costs, G=excess), self._asked)
            self.running.tell(infills=self._asked)


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
