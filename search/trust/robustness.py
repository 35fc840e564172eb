"""How an answer fares under draws of the model errors: does it stay best, and what would settle it.

Every candidate is scored under the same draws (common random numbers), one batch a draw. An error that
the problem states for a metric (`Estimate`) and that its `draw` does not move is drawn as one factor
exp(z sigma) that all candidates share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import TradespaceError
from ...problems.batch import Batch, take
from ...problems.goal import ResolvedGoal
from ...problems.problem import Problem
from ...problems.scoring import Scores, evaluate
from ..archive import knee, nondominated
from .attribution import Source, attribute, now, settle

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
DRAWS = {"fast": 1_000, "slow": 100}
STREAM = 0xD4A3
PROBES, PROBED = 4, 5
FEWEST = 10
STILL = 30
"""Draws of a fast referee after which no more are made where none has moved an objective or a limit."""
WITHIN = 0.01
ENOUGH = 0.95
TIE = 1e-9
MOST_RIVALS = 9
MODEL = "the stated error of {}"


def pace(problem: Problem) -> str:
    """ "slow" for a referee that says so and for every simulator, else "fast": how much is asked of it."""
    return "slow" if problem.cost == "slow" or problem.stochastic else "fast"


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Candidates under draws.

    costs: (draws, candidates, objectives) to minimise, NaN where a row failed. feasible: (draws,
    candidates). sources: name -> (draws,) standard normal values. broken: sentence -> draws that the
    problem refused. stated: whether the problem states any error at all. interrupted: whether Ctrl-C ended
    the draws before all were made.
    """

    goal: ResolvedGoal
    costs: Array
    feasible: Array
    sources: dict[str, Array]
    broken: dict[str, int] = field(default_factory=dict)
    stated: bool = True
    interrupted: bool = False

    @property
    def moved(self) -> bool:
        """Whether the draws change an objective or whether a limit holds."""
        return self.stated and not _still(self.costs, self.feasible)

    @property
    def draws(self) -> int:
        """Draws made."""
        return len(self.costs)

    def regret(self, rows: slice = slice(None)) -> Array:
        """How much better the best other feasible candidate is, relative: (draws, candidates).

        With several objectives: in all of them at once (the least of the gains). Infinite where the
        candidate is infeasible or failed.
        """
        costs = np.where(self.feasible[rows, :, None], self.costs[rows], np.nan)
        if costs.shape[2] == 1:
            single = np.where(np.isnan(costs[:, :, 0]), np.inf, costs[:, :, 0])
            best = single.min(axis=1, keepdims=True)
            size = np.where(best == 0, np.abs(np.where(np.isfinite(single), single, 0)).max(), np.abs(best))
            with np.errstate(invalid="ignore"):
                return np.asarray(np.where(np.isfinite(single), (single - best) / (size + 1e-300), np.inf))
        regret = np.full(costs.shape[:2], np.inf)
        for candidate in range(costs.shape[1]):
            with np.errstate(invalid="ignore", divide="ignore"):
                gain = (costs[:, candidate, None] - costs) / (np.abs(costs) + 1e-300)
            least = np.nan_to_num(gain.min(axis=2), nan=-np.inf)
            regret[:, candidate] = np.where(
                np.isnan(costs[:, candidate, 0]), np.inf, np.maximum(least.max(axis=1), 0.0)
            )
        return regret


def outcomes(
    problem: Problem,
    goal: ResolvedGoal,
    batch: Batch,
    draws: int,
    seed: int = 0,
    progress: Progress | None = None,
    nominal: Scores | None = None,
) -> Outcomes:
    """Score candidates under `draws` draws of the problem's errors.

    nominal: their scores without errors, where they are known. progress: called with draws done and all
    draws. Draw i is the same whatever the number of draws. An interruption keeps the draws made, where
    there are at least ten; where the first 30 of a fast referee move nothing that the goal asks, no more are
    made.
    """
    nominal = nominal or evaluate(problem, batch)
    shared = unmoved(problem, batch, nominal, seed)
    moving = len(shared) < len(problem.metrics) or problem.stochastic
    rows, objectives = len(batch), len(goal.objectives)
    costs, feasible = np.full((draws, rows, objectives), np.nan), np.zeros((draws, rows), bool)
    sources: dict[str, Array] = {}
    broken: dict[str, int] = {}
    errors = {m: nominal.sigma[m] for m in shared if np.any(nominal.sigma.get(m, 0.0) > 0)}
    done, interrupted = 0, False
    try:
        for i in range(draws):
            rng = np.random.default_rng([seed, STREAM, i])
            metrics, failed = nominal.metrics, nominal.failed
            if moving:
                try:
                    drawn = one_draw(problem, rng)
                    for name, z in drawn.deviations.items():
                        sources.setdefault(name, np.zeros(draws))[i] = z
                    scores = evaluate(drawn, batch)
                    metrics, failed = scores.metrics, scores.failed
                except TradespaceError as error:
                    broken[str(error)] = broken.get(str(error), 0) + 1
                    done = i + 1
                    continue
            metrics = dict(metrics)
            for name, sigma in errors.items():
                z = float(rng.standard_normal())
                sources.setdefault(MODEL.format(name.replace("_", " ")), np.zeros(draws))[i] = z
                metrics[name] = metrics[name] * np.exp(z * sigma)
            costs[i] = np.where(failed[:, None], np.nan, goal.costs(metrics))
            feasible[i] = (goal.violation(metrics) <= 0) & ~failed
            done = i + 1
            if progress is not None:
                progress(done, draws)
            if done == STILL and pace(problem) == "fast" and _still(costs[:done], feasible[:done]):
                break
    except KeyboardInterrupt:
        if done < FEWEST:
            raise
        interrupted = True
    costs, feasible = costs[:done], feasible[:done]
    sources = {name: z[:done] for name, z in sources.items()}
    return Outcomes(goal, costs, feasible, sources, broken, moving or bool(errors), interrupted)


def _still(costs: Array, feasible: Array) -> bool:
    """Whether draws gave the same; costs (draws, candidates, objectives), feasible (draws, candidates)."""
    known = np.nan_to_num(costs)
    return not ((known != known[:1]).any() or (feasible != feasible[:1]).any())


def one_draw(problem: Problem, rng: np.random.Generator) -> Problem:
    """The problem under one draw of its errors, and of chance where it simulates."""
    drawn = problem.draw(rng)
    if problem.stochastic and "simulation_seed" in problem.parameters:
        drawn = drawn.replace(simulation_seed=int(rng.integers(2**31)))
    return drawn


def unmoved(problem: Problem, batch: Batch, nominal: Scores, seed: int) -> list[str]:
    """Metrics that draws change at none of some points, judged by a few draws; where the referee is slow, by
    one draw of a few of the points."""
    same = list(problem.metrics)
    if type(problem).draw is Problem.draw and not problem.stochastic:
        from ...hardware import Device

        if not any(isinstance(v, Device) for v in problem.parameters.values()):
            return same
    fast = pace(problem) == "fast"
    rows = np.arange(len(batch)) if fast else np.unique(np.linspace(0, len(batch) - 1, PROBED).astype(int))
    few = take(batch, rows)
    for i in range(PROBES if fast else 1):
        try:
            scores = evaluate(one_draw(problem, np.random.default_rng([seed, STREAM, i])), few)
        except TradespaceError:
            return []
        same = [m for m in same if np.array_equal(scores.metrics[m], nominal.metrics[m][rows])]
    return same


@dataclass(frozen=True, eq=False)
class Robustness:
    """What draws say about an answer among its candidates.

    best, within, feasible: probabilities that it is feasible and no candidate is better; that none is
    more than 1 % better; that it meets every limit. regret_mean, regret_95: relative, over the draws in
    which it is feasible. rivals: the candidates that are best where the answer is not, each with its
    share of all draws (of those that the ones before leave); the runner-up first. stated, moved: whether
    the problem states errors, and whether they move an objective or a limit. spread: objective ->
    its 5, 50 and 95 % quantile. right: the chance that the candidate that is so most often is feasible
    and within 1 % of the best. sources: by what measuring each would add to that. measure: which to
    measure, in order, with the chance of a right choice once it is known.
    """

    draws: int
    candidates: int
    best: float
    within: float
    feasible: float
    regret_mean: float | None
    regret_95: float | None
    rivals: tuple[tuple[int, float], ...]
    spread: dict[str, tuple[float, float, float]]
    right: float
    sources: tuple[Source, ...]
    measure: tuple[tuple[str, float], ...]
    broken: dict[str, int]
    stated: bool
    moved: bool

    @property
    def runner_up(self) -> int | None:
        """The candidate that is best most often where the answer is not."""
        return self.rivals[0][0] if self.rivals else None

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "draws": self.draws,
            "candidates": self.candidates,
            "stays_best": self.best,
            "within_1_percent": self.within,
            "feasible": self.feasible,
            "regret_mean": self.regret_mean,
            "regret_95": self.regret_95,
            "rivals": [share for _, share in self.rivals],
            "spread": {n: list(v) for n, v in self.spread.items()},
            "right_now": self.right,
            "sources": [
                {"source": s.name, "right_once_known": s.right, "lift": s.lift, "variance_share": s.share}
                for s in self.sources
            ],
            "measure": [{"source": n, "right_once_known": p} for n, p in self.measure],
            "refused_draws": self.broken,
            "stated": self.stated,
            "moved": self.moved,
        }


def judge(found: Outcomes, answer: int = 0) -> Robustness:
    """The statement about one candidate."""
    regret = found.regret()
    feasible = found.feasible[:, answer]
    mine = regret[:, answer]
    winners = regret <= TIE
    within = regret <= WITHIN
    held = mine[feasible & np.isfinite(mine)]
    rivals = tuple(_rivals(winners, answer))
    runner_up = rivals[0][0] if rivals else None
    spread = {}
    for j, objective in enumerate(found.goal.objectives):
        values = objective.sign * found.costs[:, answer, j]
        values = values[np.isfinite(values)]
        if len(values):
            low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
            spread[objective.metric] = (float(low), float(middle), float(high))
    difference = None
    if runner_up is not None:
        difference = found.costs[:, answer, 0] - found.costs[:, runner_up, 0]
    moving = {n: z for n, z in found.sources.items() if z.std() > 0}
    sources = attribute(within, moving, answer, difference) if moving else []
    return Robustness(
        draws=found.draws,
        candidates=found.costs.shape[1],
        best=float(winners[:, answer].mean()),
        within=float(within[:, answer].mean()),
        feasible=float(feasible.mean()),
        regret_mean=float(held.mean()) if len(held) else None,
        regret_95=float(np.quantile(held, 0.95)) if len(held) else None,
        rivals=rivals,
        spread=spread,
        right=now(within, answer),
        sources=tuple(sources),
        measure=tuple(settle(within, moving, answer, sources, ENOUGH)),
        broken=found.broken,
        stated=found.stated,
        moved=found.moved,
    )


def _rivals(winners: Array, answer: int) -> list[tuple[int, float]]:
    """Who is best where the answer is not: the candidate with most of those draws, then of the rest."""
    left = winners[~winners[:, answer]]
    found: list[tuple[int, float]] = []
    while len(left) and len(found) < MOST_RIVALS:
        wins = left.sum(axis=0)
        best = int(np.argmax(wins))
        if not wins[best]:
            break
        found.append((best, float(wins[best] / len(winners))))
        left = left[~left[:, best]]
    return found


@dataclass(frozen=True)
class RobustChoice:
    """The candidate of the least quantile among those that meet the limits often enough.

    index: of the candidate. met: whether any meets them in the asked share of draws. feasible: in which
    share this one does. quantiles: objective -> its quantile (the unfavourable side).
    """

    index: int
    met: bool
    feasible: float
    quantiles: dict[str, float]


def robust_choice(found: Outcomes, quantile: float) -> RobustChoice:
    """Choose by quantile and chance constraint: P(every limit holds) >= quantile."""
    share = found.feasible.mean(axis=0)
    costs = np.where(np.isnan(found.costs), np.inf, found.costs)
    level = np.quantile(costs, quantile, axis=0, method="higher")  # (candidates, objectives)
    allowed = np.flatnonzero((share >= quantile) & np.isfinite(level).all(axis=1))
    met = len(allowed) > 0
    if not met:
        allowed = np.flatnonzero(share == share.max())
    front = allowed[nondominated(level[allowed])]
    index = int(front[knee(level[front])])
    objectives = found.goal.objectives
    quantiles = {o.metric: float(o.sign * level[index, j]) for j, o in enumerate(objectives)}
    return RobustChoice(index, met, float(share[index]), quantiles)
