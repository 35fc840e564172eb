"""Tradespace: typed search problems, one referee, many solvers, certificates.

    import tradespace as ts

    result = ts.solve(ts.problem("matmul-tile"))
    print(result.best, result.certificate)

Every public name is imported on first use, so that `import tradespace` costs nothing.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a source checkout the sub-packages are the repository's top-level folders.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "problems" / "__init__.py").is_file():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from .errors import (
        BudgetError,
        DataError,
        EvaluationError,
        GoalError,
        NotReady,
        SolverUnavailable,
        SpaceError,
        TradespaceError,
        ViewMismatch,
    )
    from .hardware import Device, device
    from .problems.batch import Batch, active
    from .problems.goal import Goal, Metric
    from .problems.problem import Problem, param
    from .problems.registry import problem
    from .problems.scoring import Estimate, Scores, pointwise
    from .problems.variables import Bool, Choice, Float, Int, Menu, Permutation
    from .problems.views import JobClass, JobsView, MilpView, PackingView, dense_ranks
    from .search.bridges import optuna_objective, pymoo_problem, write_mps
    from .search.check import check
    from .search.comparison.compare import Comparison, compare
    from .search.comparison.recorded import compare_runs
    from .search.export import recorded_rows
    from .search.reporting import report
    from .search.result import Result
    from .search.run import regoal, resume, solve
    from .search.trust.explain import explain
    from .solvers.base import Budget, Certificate
    from .units import GB, MB, TB, GiB, KiB, MiB, TiB, kB

_HOMES = {
    "errors": ("BudgetError", "DataError", "EvaluationError", "GoalError", "NotReady", "SolverUnavailable",
               "SpaceError", "TradespaceError", "ViewMismatch"),
    "hardware": ("Device", "device"),
    "problems.batch": ("Batch", "active"),
    "problems.goal": ("Goal", "Metric"),
    "problems.problem": ("Problem", "param"),
    "problems.registry": ("problem",),
    "problems.scoring": ("Estimate", "Scores", "pointwise"),
    "problems.variables": ("Bool", "Choice", "Float", "Int", "Menu", "Permutation"),
    "problems.views": ("JobClass", "JobsView", "MilpView", "PackingView", "dense_ranks"),
    "search.bridges": ("optuna_objective", "pymoo_problem", "write_mps"),
    "search.check": ("check",),
    "search.comparison.compare": ("Comparison", "compare"),
    "search.export": ("recorded_rows",),
    "search.comparison.recorded": ("compare_runs",),
    "search.reporting": ("report",),
    "search.result": ("Result",),
    "search.run": ("regoal", "resume", "solve"),
    "search.trust.explain": ("explain",),
    "solvers.base": ("Budget", "Certificate"),
    "units": ("GB", "GiB", "KiB", "MB", "MiB", "TB", "TiB", "kB"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "GB",
    "MB",
    "TB",
    "Batch",
    "Bool",
    "Budget",
    "BudgetError",
    "Certificate",
    "Choice",
    "Comparison",
    "DataError",
    "Device",
    "Estimate",
    "EvaluationError",
    "Float",
    "GiB",
    "Goal",
    "GoalError",
    "Int",
    "JobClass",
    "JobsView",
    "KiB",
    "Menu",
    "Metric",
    "MiB",
    "MilpView",
    "NotReady",
    "PackingView",
    "Permutation",
    "Problem",
    "Result",
    "Scores",
    "SolverUnavailable",
    "SpaceError",
    "TiB",
    "TradespaceError",
    "ViewMismatch",
    "__version__",
    "active",
    "check",
    "compare",
    "compare_runs",
    "dense_ranks",
    "device",
    "explain",
    "kB",
    "optuna_objective",
    "param",
    "pointwise",
    "problem",
    "pymoo_problem",
    "recorded_rows",
    "regoal",
    "report",
    "resume",
    "solve",
    "write_mps",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tradespace' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
