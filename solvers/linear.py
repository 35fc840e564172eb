"""Mixed-integer linear programmes: from a Pyomo model to arrays, scaled, to HiGHS and back.

HiGHS works with absolute tolerances (1e-6, and coefficients under 1e-9 dropped), while metrics come in
SI units: seconds of 1e-9, bytes of 1e11. Rows and continuous columns are therefore scaled by powers of
two to order one, and the absolute gap is switched off; without this, "optimal" answers were measured
at half the true value.
"""

from __future__ import annotations

import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
import scipy.sparse as sp
from pyomo.repn import generate_standard_repn

from ..errors import GoalError
from .uninterrupted import uninterrupted

Array = npt.NDArray[Any]
INFINITY = highspy.kHighsInf
SCALING_ROUNDS = 4
COST_GRID = 2.0**45  # rounds the scaled objective, so that another unit of time gives the very same programme
POLL = 0.05
TOLERANCE = 1e-7
"""How far HiGHS lets a row, scaled to a largest coefficient of one, be violated."""
SMALL_COLUMNS = 200
SMALL_SERIES = {
    "presolve": "off",
    "mip_allow_restart": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
}
"""Options for many solves of one small model: without these steps each takes a third of the time."""


@dataclass(frozen=True, eq=False)
class Row:
    """A linear expression: coefficients over the columns, and a constant."""

    coefficients: Array
    constant: float

    def value(self, x: Array) -> float:
        """The expression at the column values x."""
        return float(self.coefficients @ x + self.constant)

    def size(self, x: Array) -> float:
        """Sum of the absolute terms at x: what rounding is relative to."""
        return float(np.abs(self.coefficients) @ np.abs(x) + abs(self.constant))

    def tolerance(self, bound: float) -> float:
        """How far HiGHS may let the expression exceed `bound` (for expressions of integer columns)."""
        size = np.abs(self.coefficients[self.coefficients != 0])
        offset = float(np.abs(bound - self.constant))
        return 2 * TOLERANCE * float(_row_size(size.min(), size.max(), offset)) if len(size) else 0.0


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A mixed-integer programme without objective, and metrics as rows over its columns."""

    variables: list[Any]
    lower: Array
    upper: Array
    integer: Array
    matrix: sp.csr_matrix
    row_lower: Array
    row_upper: Array
    metrics: dict[str, Row]
    column_scale: Array = field(default_factory=lambda: np.ones(0))

    def violation(self, x: Array) -> float:
        """The largest relative violation of the model's own rows and bounds at x."""
        activity = self.matrix @ x
        size = np.maximum(abs(self.matrix) @ np.abs(x), 1e-300)
        outside = np.maximum(self.row_lower - activity, activity - self.row_upper)
        worst = float(
            np.max(outside / np.maximum(size, 1e-12 * (size.max() if len(size) else 1)), initial=0.0)
        )
        bounds = np.maximum(self.lower - x, x - self.upper) / np.maximum(1.0, np.abs(x))
        return max(worst, float(np.max(bounds, initial=0.0)))

    def read(self) -> Array:
        """The values that the Pyomo variables hold now (NaN where unset)."""
        return np.array([np.nan if v.value is None else float(v.value) for v in self.variables])

    def write(self, x: Array) -> None:
        """Set the Pyomo variables, integers rounded."""
        for variable, value, whole in zip(self.variables, x, self.integer, strict=True):
            variable.set_value(round(value) if whole else float(value), skip_validation=True)


def compile_model(model: Any, metrics: Mapping[str, Any]) -> LinearModel:
    """Read a Pyomo model and its metric expressions into arrays.

    Raises GoalError where an expression is not linear, or a constraint of another kind stands in it.
    """
    index: dict[int, int] = {}
    variables: list[Any] = []

    def column(variable: Any) -> int:
        place = index.get(id(variable))
        if place is None:
            place = index[id(variable)] = len(variables)
            variables.append(variable)
        return place

    for kind in (pyo.SOSConstraint, pyo.LogicalConstraint):
        found = next(model.component_data_objects(kind, active=True, descend_into=True), None)
        if found is not None:
            raise GoalError(f"'{found.name}' of the MILP view is a {kind.__name__}; write it as linear rows.")
    for variable in model.component_data_objects(pyo.Var, active=True, descend_into=True):
        column(variable)

    def linear(expression: Any, what: str) -> tuple[list[int], list[float], float]:
        repn = generate_standard_repn(expression, compute_values=True)
        if not repn.is_linear():
            raise GoalError(f"{what} of the MILP view is not linear.")
        places = [column(v) for v in repn.linear_vars]
        return places, [float(c) for c in repn.linear_coefs], float(repn.constant)

    data: list[float] = []
    columns: list[int] = []
    starts = [0]
    low: list[float] = []
    high: list[float] = []
    for constraint in model.component_data_objects(pyo.Constraint, active=True, descend_into=True):
        places, coefficients, constant = linear(constraint.body, f"constraint '{constraint.name}'")
        lower, upper = pyo.value(constraint.lower), pyo.value(constraint.upper)
        data += coefficients
        columns += places
        starts.append(len(data))
        low.append(-INFINITY if lower is None else lower - constant)
        high.append(INFINITY if upper is None else upper - constant)
    read = {name: linear(expression, f"metric '{name}'") for name, expression in metrics.items()}
    count = len(variables)
    rows: dict[str, Row] = {}
    for name, (places, coefficients, constant) in read.items():
        dense = np.zeros(count)
        np.add.at(dense, places, coefficients)
        rows[name] = Row(dense, constant)
    fixed = [v.value if v.fixed else None for v in variables]
    lower_bounds = [
        f if f is not None else (-INFINITY if v.lb is None else v.lb)
        for v, f in zip(variables, fixed, strict=True)
    ]
    upper_bounds = [
        f if f is not None else (INFINITY if v.ub is None else v.ub)
        for v, f in zip(variables, fixed, strict=True)
    ]
    matrix = sp.csr_matrix((data, columns, starts), shape=(len(low), count))
    matrix.sum_duplicates()
    integer = np.array([not v.is_continuous() for v in variables], bool)
    made = LinearModel(
        variables,
        np.array(lower_bounds, float),
        np.array(upper_bounds, float),
        integer,
        matrix,
        np.array(low, float),
        np.array(high, float),
        rows,
    )
    object.__setattr__(made, "column_scale", _column_scale(made))
    return made


def _power_of_two(scale: Array) -> Array:
    return np.asarray(np.exp2(np.rint(np.log2(scale))))


def _row_size(least: Any, most: Any, bound: Any) -> Array:
    """What a row is divided by: its bound, within the range of its coefficients (the largest for 0)."""
    return np.asarray(np.where(bound > 0, np.clip(bound, least, most), most))


def _row_scale(matrix: sp.csr_matrix, low: Array, high: Array) -> Array:
    """Scales of the rows, so that the solver's absolute tolerance is small against each bound."""
    size = np.abs(matrix.data)
    filled = np.diff(matrix.indptr) > 0
    least, most = np.ones(len(filled)), np.ones(len(filled))
    if filled.any():
        starts = matrix.indptr[:-1][filled]
        least[filled] = np.minimum.reduceat(np.where(size > 0, size, np.inf), starts)
        most[filled] = np.maximum.reduceat(size, starts)
    most = np.where(most > 0, most, 1.0)
    bound = np.maximum(
        np.where(np.isfinite(low), np.abs(low), 0), np.where(np.isfinite(high), np.abs(high), 0)
    )
    return _power_of_two(1.0 / _row_size(np.minimum(least, most), most, bound))


def _column_scale(model: LinearModel) -> Array:
    """Scales of the continuous columns (integers keep 1), so that rows have entries of one order."""
    metric_rows = sp.csr_matrix(
        np.array([r.coefficients for r in model.metrics.values()]).reshape(-1, len(model.integer))
    )
    stacked = abs(sp.vstack([model.matrix, metric_rows])).tocsr()
    stacked.eliminate_zeros()
    scale = np.ones(len(model.integer))
    if model.integer.all() or not stacked.nnz:
        return scale
    logs = stacked.copy()
    logs.data = np.log2(logs.data)
    pattern = stacked.copy()
    pattern.data = np.ones_like(pattern.data)
    per_row = np.maximum(np.asarray(pattern.sum(axis=1)).ravel(), 1)
    per_column = np.maximum(np.asarray(pattern.sum(axis=0)).ravel(), 1)
    column_log = np.zeros(len(scale))
    for _ in range(SCALING_ROUNDS):
        row_log = (np.asarray(logs.sum(axis=1)).ravel() + pattern @ column_log) / per_row
        wanted = -(np.asarray(logs.sum(axis=0)).ravel() - pattern.T @ row_log) / per_column
        column_log = np.where(model.integer, 0.0, wanted)
    return np.exp2(np.rint(column_log))


@dataclass(frozen=True)
class Constraint:
    """An extra row: metric expression within [lower, upper] (in the metric's unit)."""

    row: Row
    lower: float = -INFINITY
    upper: float = INFINITY


@dataclass(frozen=True, eq=False)
class Outcome:
    """What HiGHS found: column values or None, the proven bound, and how it ended.

    prices: of a relaxed programme, what one more unit of each constraint's bound changes the minimum by.
    """

    x: Array | None
    bound: float | None
    infeasible: bool
    unbounded: bool
    interrupted: bool
    out_of_time: bool
    prices: tuple[float, ...] = ()


Watch = Callable[[float | None, float | None], None]


def minimize(
    model: LinearModel,
    objective: Row,
    constraints: list[Constraint],
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

    gap: relative gap at which to stop. start: column values to begin from. watch: called with
    incumbent and bound, in the objective's unit. relaxed: drop integrality. series: one of many solves
    of the same model. fixed: column -> value.
    """
    scale = model.column_scale
    extra = sp.csr_matrix(np.array([c.row.coefficients for c in constraints]).reshape(-1, len(scale)))
    matrix = sp.vstack([model.matrix, extra]).tocsr() @ sp.diags(scale)
    low = np.concatenate([model.row_lower, [c.lower - c.row.constant for c in constraints]])
    high = np.concatenate([model.row_upper, [c.upper - c.row.constant for c in constraints]])
    row_scale = _row_scale(matrix, low, high)
    matrix = (sp.diags(row_scale) @ matrix).tocsc() if matrix.shape[0] else matrix.tocsc()
    costs = objective.coefficients * scale
    top = float(np.abs(costs).max(initial=0.0))
    cost_scale = 1.0 / top if top > 0 else 1.0
    scaled_costs = np.rint(costs * cost_scale * COST_GRID) / COST_GRID

    lower, upper = model.lower / scale, model.upper / scale
    for place, value in (fixed or {}).items():
        lower[place] = upper[place] = value / scale[place]
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(scale), matrix.shape[0]
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = scaled_costs, lower, upper
    lp.offset_ = objective.constant * cost_scale  # inside, so that the gap is relative to the whole value
    lp.row_lower_, lp.row_upper_ = low * row_scale, high * row_scale
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    whole = model.integer & (not relaxed)
    if whole.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(i)] for i in whole]

    solver = highspy.Highs()
    options: dict[str, Any] = {
        "output_flag": False,
        "threads": 1,
        "random_seed": seed % 2**31,
        "mip_abs_gap": 0.0,
        "mip_rel_gap": gap,
        "mip_feasibility_tolerance": TOLERANCE,
        "primal_feasibility_tolerance": 1e-8,
        "dual_feasibility_tolerance": 1e-8,
        "small_matrix_value": 1e-12,
        **(SMALL_SERIES if series and len(scale) <= SMALL_COLUMNS else {}),
    }
    for name, value in options.items():
        solver.setOptionValue(name, value)
    if seconds is not None:
        solver.setOptionValue("time_limit", max(0.01, seconds))
    solver.passModel(lp)
    if start is not None and not np.isnan(start).any():
        solver.setSolution(len(scale), np.arange(len(scale), dtype=np.int32), start / scale)

    def unscaled(scaled: float) -> float | None:
        return scaled / cost_scale if abs(scaled) < INFINITY else None

    if watch is not None:

        def improved(event: Any) -> None:
            out = event.data_out
            watch(unscaled(out.objective_function_value), unscaled(out.mip_dual_bound))

        solver.cbMipImprovingSolution += improved
    interrupted = _run(solver, seconds)
    status = solver.getModelStatus()
    states = highspy.HighsModelStatus
    info = solver.getInfo()
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    x = np.array(solver.getSolution().col_value) * scale if found else None
    if x is not None:
        x = np.where(model.integer & (not relaxed), np.rint(x), x)
    bound: float | None = None
    if whole.any():
        bound = unscaled(info.mip_dual_bound)
    elif status == states.kOptimal:
        bound = unscaled(info.objective_function_value)
    if status == states.kOptimal and bound is None and x is not None:
        bound = objective.value(x)
    infeasible = status == states.kInfeasible
    if status == states.kUnboundedOrInfeasible:
        infeasible = (
            top == 0
            or minimize(
                model,
                Row(np.zeros(len(scale)), 0.0),
                constraints,
                gap=gap,
                seconds=seconds,
                seed=seed,
                relaxed=relaxed,
                fixed=fixed,
            ).infeasible
        )
    unbounded = status == states.kUnbounded or (status == states.kUnboundedOrInfeasible and not infeasible)
    prices: tuple[float, ...] = ()
    if status == states.kOptimal and not whole.any() and constraints:
        duals = np.array(solver.getSolution().row_dual)[-len(constraints) :]
        prices = tuple((duals * row_scale[-len(constraints) :] / cost_scale).tolist())
    return Outcome(x, bound, infeasible, unbounded, interrupted, status == states.kTimeLimit, prices)


def mps(
    model: LinearModel, objective: Row, constraints: list[Constraint], *, maximise: bool, factor: float
) -> str:
    """A model with an objective and extra constraints as the text of an MPS file.

    Columns keep the names of the Pyomo variables and their units; rows are scaled to order one, the
    objective is multiplied by `factor`.
    """
    extra = sp.csr_matrix(np.array([c.row.coefficients for c in constraints]).reshape(-1, len(model.lower)))
    rows = sp.vstack([model.matrix, extra]).tocsr()
    low = np.concatenate([model.row_lower, [c.lower - c.row.constant for c in constraints]])
    high = np.concatenate([model.row_upper, [c.upper - c.row.constant for c in constraints]])
    scale = _row_scale(rows, low, high)
    matrix = (sp.diags(scale) @ rows).tocsc() if rows.shape[0] else rows.tocsc()
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = matrix.shape[1], matrix.shape[0]
    lp.col_cost_, lp.offset_ = objective.coefficients * factor, objective.constant * factor
    lp.col_lower_, lp.col_upper_ = model.lower, model.upper
    lp.row_lower_, lp.row_upper_ = low * scale, high * scale
    lp.sense_ = highspy.ObjSense.kMaximize if maximise else highspy.ObjSense.kMinimize
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    lp.integrality_ = [kinds[int(i)] for i in model.integer]
    lp.col_names_ = [re.sub(r"\s+", "", str(v.name)) for v in model.variables]
    lp.row_names_ = [f"r{i}" for i in range(matrix.shape[0])]
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("small_matrix_value", 1e-12)
    solver.passModel(lp)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.mps"
        solver.writeModel(str(file))
        return file.read_text()


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
