"""HiGHS on a scaled programme, and nothing taken from its status alone.

An answer counts where its rows hold. That there is none, or no end, or that nothing beats a bound, counts
where no known point says otherwise and, for the first two, where solves with and without presolve agree:
presolve has called programmes infeasible that are not.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt

from .linear import INFINITY, SMALLEST, TOLERANCE, Constraint, LinearModel, Row, programme
from .uninterrupted import uninterrupted

Array = npt.NDArray[Any]
COST_GRID = 2.0**45  # rounds the scaled objective, so that another unit of time gives the very same programme
POLL = 0.05
HOLDS = 1e-6  # how far a scaled row may be violated by an answer
KNOWN = 1e-9  # relative violation up to which a known point holds
BEATEN = 1e-6  # relative distance by which a known point refutes a bound
SMALL_COLUMNS = 200
SMALL_SERIES = {
    "presolve": "off",
    "mip_allow_restart": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
}
"""Options for many solves of one small model: without these steps each takes a third of the time."""


COARSE = 0.1  # share of the largest cost below which a value is found again without the largest costs: HiGHS
# compares values to about 1e-7 of the largest
ROUNDING = 1e-9
STATES = highspy.HighsModelStatus
REFUTED = "HiGHS calls the programme infeasible, though a point is known that meets it"
DISAGREE = "solves of HiGHS with and without presolve disagree"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What HiGHS found: column values or None, the bound, and how it ended.

    prices: of a relaxed programme, what one more unit of each constraint's bound changes the minimum by.
    trouble: why there is neither an answer nor a proof that there is none, in words.
    """

    x: Array | None = None
    bound: float | None = None
    infeasible: bool = False
    unbounded: bool = False
    interrupted: bool = False
    out_of_time: bool = False
    prices: tuple[float, ...] = ()
    trouble: str = ""

    @property
    def ending(self) -> str:
        """How a solve ended that was not finished; "" for one that was."""
        return "interrupted" if self.interrupted else "out of time" if self.out_of_time else self.trouble


Watch = Callable[[float | None, float | None], None]


def minimize(
    model: LinearModel,
    objective: Row,
    constraints: Sequence[Constraint],
    *,
    gap: float,
    seconds: float | None = None,
    seed: int = 0,
    start: Array | None = None,
    watch: Watch | None = None,
    relaxed: bool = False,
    series: bool = False,
    fixed: Mapping[int, float] | None = None,
) -> Outcome:
    """Minimise a row under extra constraints.

    gap: relative gap at which to stop. start: column values to begin from, which refute what they break.
    watch: called with incumbent and bound, in the objective's unit. relaxed: drop integrality. series: one
    of many solves of the same model. fixed: column -> value.
    """
    deadline = None if seconds is None else time.monotonic() + seconds

    def solved(start: Array | None, held: Mapping[int, float]) -> Outcome:
        return _believed(
            model, objective, constraints, gap, deadline, seed, start, watch, relaxed, series, held
        )

    held = dict(fixed or {})
    outcome = solved(start, held)
    if relaxed or outcome.x is None or outcome.ending:
        return outcome
    while _largest(objective, held) * COARSE > abs(objective.value(outcome.x)):
        spared = _too_costly(model, objective, outcome.x, held)
        if _largest(objective, held | spared) > _largest(objective, held) / 2:
            break
        held |= spared
        again = solved(outcome.x, held)
        if again.x is None or again.bound is None:
            return replace(outcome, bound=None, interrupted=again.interrupted, out_of_time=again.out_of_time)
        best = min(again.x, outcome.x, key=objective.value)
        outcome = replace(again, x=best, bound=min(again.bound, objective.value(best)))
        if outcome.ending:
            break
    return replace(outcome, bound=_resolved(model, objective, outcome, held))


def _largest(objective: Row, held: Mapping[int, float]) -> float:
    """The largest cost of a column that is not held."""
    return float(np.abs(np.delete(objective.coefficients, [*held])).max(initial=0.0))


def _least_terms(model: LinearModel, objective: Row, held: Mapping[int, float]) -> tuple[Array, Array]:
    """The cheaper end of each column, and its cost there, (columns,) both."""
    costs = objective.coefficients
    cheap = np.where(costs >= 0, model.lower, model.upper)
    cheap[[*held]] = [*held.values()]
    return cheap, np.where(costs == 0, 0.0, costs * np.where(costs == 0, 0.0, cheap))


def _too_costly(model: LinearModel, objective: Row, x: Array, held: Mapping[int, float]) -> dict[int, float]:
    """Whole columns that no point as good as x has elsewhere than at their cheaper end, and that end.

    One step away costs more than x does beyond the least that all columns could cost together.
    """
    cheap, least = _least_terms(model, objective, held)
    slack = objective.value(x) - objective.constant - least.sum()
    if not np.isfinite(slack):
        return {}
    room = slack + ROUNDING * (np.abs(least).sum() + abs(objective.constant) + abs(slack))
    over = (np.abs(objective.coefficients) > room) & model.integer & (cheap == np.rint(cheap))
    return {int(i): float(cheap[i]) for i in np.flatnonzero(over) if int(i) not in held}


def _resolved(
    model: LinearModel, objective: Row, outcome: Outcome, held: Mapping[int, float]
) -> float | None:
    """The bound, less what HiGHS does not resolve where the value's terms are far below the largest cost; no
    less than all columns cost together at their cheaper ends."""
    assert outcome.x is not None
    largest = _largest(objective, held)
    if outcome.bound is None or largest * COARSE * COARSE <= objective.size(outcome.x):
        return outcome.bound
    _, least = _least_terms(model, objective, held)
    floor = objective.constant + least.sum()
    lowered = outcome.bound - TOLERANCE * largest
    return float(max(lowered, floor)) if np.isfinite(floor) else lowered


def _believed(
    model: LinearModel,
    objective: Row,
    constraints: Sequence[Constraint],
    gap: float,
    deadline: float | None,
    seed: int,
    start: Array | None,
    watch: Watch | None,
    relaxed: bool,
    series: bool,
    fixed: Mapping[int, float],
) -> Outcome:
    """The outcome of the first solve whose claims are believed, of up to three."""
    task = _Task(model, objective, constraints, gap, seed, relaxed, fixed)
    known = start if start is not None and task.holds(start) else None
    usual = SMALL_SERIES if series and len(model.integer) <= SMALL_COLUMNS else {}
    other = {"presolve": "choose" if usual else "off"}
    doubtful: list[Outcome] = []
    for options in (usual, other, {**other, "mip_feasibility_tolerance": TOLERANCE / 10}):
        left = None if deadline is None else deadline - time.monotonic()
        if doubtful and left is not None and left <= 0:
            return Outcome(out_of_time=True)
        outcome = task.solve(options, left, start, watch)
        if outcome.interrupted or outcome.out_of_time:
            return outcome if task.believable(outcome, known) else replace(outcome, bound=None)
        if outcome.x is not None and task.believable(outcome, known):
            return outcome
        if outcome.infeasible or outcome.unbounded:
            agreed = any(
                o.infeasible == outcome.infeasible and o.x is None and not o.trouble for o in doubtful
            )
            if agreed and not (outcome.infeasible and known is not None):
                return outcome
        doubtful.append(outcome)
    answered = next((o for o in doubtful if o.x is not None), None)
    if answered is not None:
        return replace(answered, bound=None)
    refuted = known is not None and all(o.infeasible for o in doubtful)
    return Outcome(trouble=REFUTED if refuted else doubtful[0].trouble or DISAGREE)


class _Task:
    """One programme, scaled, to be solved with one set of options or another."""

    def __init__(
        self,
        model: LinearModel,
        objective: Row,
        constraints: Sequence[Constraint],
        gap: float,
        seed: int,
        relaxed: bool,
        fixed: Mapping[int, float],
    ) -> None:
        self.model, self.objective, self.constraints = model, objective, constraints
        self.gap, self.seed, self.relaxed, self.fixed = gap, seed, relaxed, fixed
        self.scale = model.column_scale
        costs = objective.coefficients * self.scale
        constant = objective.constant + sum(objective.coefficients[i] * value for i, value in fixed.items())
        costs[[*fixed]] = 0.0
        self.top = float(np.abs(costs).max(initial=0.0))
        self.cost_scale = 1.0 / self.top if self.top > 0 else 1.0
        grid = np.rint(costs * self.cost_scale * COST_GRID) / COST_GRID
        offset = constant * self.cost_scale  # inside, so that the gap is relative to the whole value
        self.lp, self.row_scale = programme(model, grid, offset, constraints, self.scale)
        self.whole = model.integer & (not relaxed)
        if relaxed:
            self.lp.integrality_ = []
        lower, upper = np.array(self.lp.col_lower_), np.array(self.lp.col_upper_)
        for place, value in fixed.items():
            lower[place] = upper[place] = value / self.scale[place]
        self.lp.col_lower_, self.lp.col_upper_ = lower, upper

    # --- what is believed -------------------------------------------------------------------------
    def holds(self, x: Array) -> bool:
        """Whether column values are a point of the programme, by its own rows."""
        if np.isnan(x).any() or (self.whole & (x != np.rint(x))).any():
            return False
        if any(x[place] != value for place, value in self.fixed.items()):
            return False
        over = [max(c.row.value(x) - c.upper, c.lower - c.row.value(x)) - KNOWN * c.row.size(x)
                for c in self.constraints]  # fmt: skip
        return self.model.violation(x) <= KNOWN and max(over, default=0.0) <= 0

    def believable(self, outcome: Outcome, known: Array | None) -> bool:
        """Whether neither the answer nor a known point beats the bound."""
        if outcome.bound is None:
            return True
        values = [self.objective.value(x) for x in (outcome.x, known) if x is not None]
        best = min(values, default=np.inf)
        return outcome.bound - best <= BEATEN * max(abs(outcome.bound), abs(best))

    def _answer(self, solver: Any) -> Array | None:
        """The column values found, integers rounded; None where the rows do not hold there."""
        if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        x = np.array(solver.getSolution().col_value) * self.scale
        x = np.where(self.whole, np.rint(x), x)
        rows = np.array(self.lp.row_lower_), np.array(self.lp.row_upper_)
        stacked = [self.model.matrix @ x, [c.row.coefficients @ x for c in self.constraints]]
        activity = np.concatenate(stacked) * self.row_scale
        over = np.maximum(rows[0] - activity, activity - rows[1])
        return x if np.max(over, initial=0.0) <= HOLDS else None

    # --- solving ------------------------------------------------------------------------------------
    def solve(
        self, options: Mapping[str, Any], seconds: float | None, start: Array | None, watch: Watch | None
    ) -> Outcome:
        """One run of HiGHS."""
        solver = highspy.Highs()
        settings: dict[str, Any] = {
            "output_flag": False,
            "threads": 1,
            "random_seed": self.seed % 2**31,
            "mip_abs_gap": 0.0,
            "mip_rel_gap": self.gap,
            "mip_feasibility_tolerance": TOLERANCE,
            "primal_feasibility_tolerance": 1e-8,
            "dual_feasibility_tolerance": 1e-8,
            "small_matrix_value": SMALLEST,
            **options,
        }
        for name, value in settings.items():
            solver.setOptionValue(name, value)
        if seconds is not None:
            solver.setOptionValue("time_limit", max(0.01, seconds))
        if solver.passModel(self.lp) == highspy.HighsStatus.kError:
            return Outcome(trouble="HiGHS does not take the programme")
        count = len(self.scale)
        if start is not None and not np.isnan(start).any():
            solver.setSolution(count, np.arange(count, dtype=np.int32), start / self.scale)
        if watch is not None:

            def improved(event: Any) -> None:
                out = event.data_out
                watch(self._unscaled(out.objective_function_value), self._unscaled(out.mip_dual_bound))

            solver.cbMipImprovingSolution += improved
        interrupted = _run(solver, seconds)
        return self._read(solver, interrupted, seconds)

    def _unscaled(self, scaled: float) -> float | None:
        return scaled / self.cost_scale if abs(scaled) < INFINITY else None

    def _read(self, solver: Any, interrupted: bool, seconds: float | None) -> Outcome:
        status, info, x = solver.getModelStatus(), solver.getInfo(), self._answer(solver)
        timed = status == STATES.kTimeLimit
        if status == STATES.kUnboundedOrInfeasible and not interrupted:
            return self._either(seconds)
        if status in {STATES.kInfeasible, STATES.kUnbounded}:
            return Outcome(infeasible=status == STATES.kInfeasible, unbounded=status == STATES.kUnbounded)
        bound: float | None = None
        if self.whole.any():
            bound = self._unscaled(info.mip_dual_bound)
        elif status == STATES.kOptimal:
            bound = self._unscaled(info.objective_function_value)
        if status == STATES.kOptimal and bound is None and x is not None:
            bound = self.objective.value(x)
        trouble = ""
        if status == STATES.kOptimal and x is None:
            trouble = "HiGHS's answer breaks rows of the programme"
        elif status != STATES.kOptimal and not (interrupted or timed):
            trouble = f"HiGHS ended with '{solver.modelStatusToString(status)}'"
        return Outcome(
            x,
            bound,
            interrupted=interrupted,
            out_of_time=timed,
            prices=self._prices(solver, status),
            trouble=trouble,
        )

    def _either(self, seconds: float | None) -> Outcome:
        """Whether a programme that is infeasible or unbounded is the one or the other."""
        if self.top == 0:
            return Outcome(infeasible=True)
        nothing = Row(np.zeros(len(self.scale)), 0.0)
        found = minimize(
            self.model, nothing, self.constraints, gap=self.gap, seconds=seconds, seed=self.seed,
            relaxed=self.relaxed, fixed=self.fixed,
        )  # fmt: skip
        return replace(found, x=None, bound=None, prices=(), unbounded=found.x is not None)

    def _prices(self, solver: Any, status: Any) -> tuple[float, ...]:
        count = len(self.constraints)
        if status != STATES.kOptimal or self.whole.any() or not count:
            return ()
        duals = np.array(solver.getSolution().row_dual)[-count:]
        return tuple((duals * self.row_scale[-count:] / self.cost_scale).tolist())


def _run(solver: Any, seconds: float | None) -> bool:
    """Run HiGHS in its own thread; returns whether the user interrupted it.

    Not by highspy's startSolve and wait: they share two locks among all its solvers, and Ctrl-C at the moment
    that one of them is taken leaves it taken, so that the next solve of the process never begins.
    """
    solver.HandleUserInterrupt = True
    deadline = None if seconds is None else time.monotonic() + seconds + 0.5
    failed: list[BaseException] = []

    def work() -> None:
        try:
            solver.run()
        except BaseException as error:  # of a callback: told by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    held: list[int] = []
    try:
        with uninterrupted() as held:
            thread.start()
            while thread.is_alive():
                thread.join(POLL)
                if held or (deadline is not None and time.monotonic() > deadline):
                    solver.cancelSolve()
    except KeyboardInterrupt:
        if thread.ident is None:  # it came before the solve
            raise
        held = held or [signal.SIGINT]
    if failed:
        raise failed[0]
    return bool(held)
