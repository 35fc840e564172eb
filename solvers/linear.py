"""Mixed-integer linear programmes: from a Pyomo model to arrays, and to a scaled programme for HiGHS.

HiGHS works with absolute tolerances (1e-6, and coefficients under 1e-9 dropped), while metrics come in
SI units: seconds of 1e-9, bytes of 1e11. Rows and continuous columns are therefore scaled by powers of
two to order one, and the absolute gap is switched off; without this, "optimal" answers were measured
at half the true value.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
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

Array = npt.NDArray[Any]
INFINITY = highspy.kHighsInf
SCALING_ROUNDS = 4
SMALLEST = 1e-12
"""Coefficients of scaled rows below which HiGHS drops them."""
TOLERANCE = 1e-7
"""How far HiGHS lets a row, scaled to a largest coefficient of one, be violated."""


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


def programme(
    model: LinearModel, costs: Array, offset: float, constraints: Sequence[Constraint], scale: Array
) -> tuple[Any, Array]:
    """A model under extra constraints as a programme for HiGHS, and the scales of its rows.

    costs: (columns,), of the columns in units of `scale`, (columns,). Rows are scaled to order one.
    """
    extra = sp.csr_matrix(np.array([c.row.coefficients for c in constraints]).reshape(-1, len(scale)))
    matrix = sp.vstack([model.matrix, extra]).tocsr() @ sp.diags(scale)
    low = np.concatenate([model.row_lower, [c.lower - c.row.constant for c in constraints]])
    high = np.concatenate([model.row_upper, [c.upper - c.row.constant for c in constraints]])
    row_scale = _row_scale(matrix, low, high)
    matrix = (sp.diags(row_scale) @ matrix).tocsc() if matrix.shape[0] else matrix.tocsc()
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(scale), matrix.shape[0]
    lp.col_cost_, lp.offset_ = costs, offset
    lp.col_lower_, lp.col_upper_ = model.lower / scale, model.upper / scale
    lp.row_lower_, lp.row_upper_ = low * row_scale, high * row_scale
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    if model.integer.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(i)] for i in model.integer]
    return lp, row_scale


def mps(
    model: LinearModel, objective: Row, constraints: list[Constraint], *, maximise: bool, factor: float
) -> str:
    """A model with an objective and extra constraints as the text of an MPS file.

    Columns keep the names of the Pyomo variables and their units; rows are scaled to order one, the
    objective is multiplied by `factor`.
    """
    costs = objective.coefficients * factor
    lp, _ = programme(model, costs, objective.constant * factor, constraints, np.ones(len(costs)))
    lp.sense_ = highspy.ObjSense.kMaximize if maximise else highspy.ObjSense.kMinimize
    lp.col_names_ = [re.sub(r"\s+", "", str(v.name)) for v in model.variables]
    lp.row_names_ = [f"r{i}" for i in range(lp.num_row_)]
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("small_matrix_value", SMALLEST)
    solver.passModel(lp)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.mps"
        solver.writeModel(str(file))
        return file.read_text()
