"""The peers of `solvers.py`: pymoo's algorithms and Optuna's samplers on COCO's functions, with the
settings their documentation gives for such a problem. Each ends when its counter says so."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from coco import Counter, Spent


def pymoo_problem(counter: Counter) -> Any:
    """A counted function as pymoo's problem over a box."""
    from pymoo.core.problem import Problem

    class Counted(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                n_var=len(counter.lower), n_obj=1, n_ieq_constr=counter.constraints,
                xl=counter.lower, xu=counter.upper,
            )  # fmt: skip

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"], out["G"] = counter(x)

    return Counted()


def pymoo_algorithm(name: str, counter: Counter) -> Any:
    """One of pymoo's algorithms for one objective, whole numbers by its rounding repair."""
    from pymoo.algorithms.soo.nonconvex.cmaes import CMAES
    from pymoo.algorithms.soo.nonconvex.de import DE
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.algorithms.soo.nonconvex.isres import ISRES
    from pymoo.algorithms.soo.nonconvex.pso import PSO

    if name == "ga":
        return GA(pop_size=50, eliminate_duplicates=True)
    if name == "de":
        return DE(pop_size=50)
    if name == "pso":
        return PSO(pop_size=25)
    if name == "isres":
        return ISRES()
    if name == "cmaes":
        return CMAES(restarts=9)
    raise ValueError(name)


def run_pymoo(name: str, counter: Counter, seed: int) -> None:
    """Run one of pymoo's algorithms until the budget is spent."""
    from pymoo.constraints.as_penalty import ConstraintsAsPenalty
    from pymoo.optimize import minimize

    posed = pymoo_problem(counter)
    if name == "cmaes" and counter.constraints:  # it takes none; the penalty is pymoo's own remedy
        posed = ConstraintsAsPenalty(posed, penalty=1e6)
    with contextlib.suppress(Spent), np.errstate(all="ignore"):
        minimize(posed, pymoo_algorithm(name, counter), ("n_eval", counter.budget), seed=seed, verbose=False)


def run_pymoo_mixed(counter: Counter, seed: int) -> None:
    """pymoo's genetic algorithm for variables of several kinds."""
    from pymoo.core.mixed import MixedVariableGA
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.core.variable import Integer, Real
    from pymoo.optimize import minimize

    names = [f"x{i:02d}" for i in range(len(counter.lower))]
    bounds = list(zip(counter.lower, counter.upper, strict=True))
    variables = {
        n: Integer(bounds=(int(a), int(b))) if i < counter.integers else Real(bounds=(a, b))
        for i, (n, (a, b)) in enumerate(zip(names, bounds, strict=True))
    }

    class Counted(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(vars=variables, n_obj=1, n_ieq_constr=counter.constraints)

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            values, limits = counter(np.array([[x[n] for n in names]], float))
            out["F"] = values[0]
            if counter.constraints:
                out["G"] = limits[0]

    with contextlib.suppress(Spent), np.errstate(all="ignore"):
        minimize(
            Counted(), MixedVariableGA(pop_size=50), ("n_eval", counter.budget), seed=seed, verbose=False
        )


def run_optuna(sampler: Callable[..., Any], counter: Counter, seed: int, penalty: bool) -> None:
    """Ask and tell one of Optuna's samplers until the budget is spent.

    penalty: whether constraints enter the value, because the sampler takes none.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def limits(trial: Any) -> list[float]:
        found: list[float] = trial.user_attrs["limits"]
        return found

    taken = {"constraints_func": limits} if counter.constraints and not penalty else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=sampler(seed=seed, **taken))
        with contextlib.suppress(Spent):
            while True:
                trial = study.ask()
                point = [
                    trial.suggest_int(f"x{i}", int(a), int(b))
                    if i < counter.integers
                    else trial.suggest_float(f"x{i}", float(a), float(b))
                    for i, (a, b) in enumerate(zip(counter.lower, counter.upper, strict=True))
                ]
                values, excess = counter(np.array([point], float))
                violation = float(np.maximum(excess, 0.0).sum())
                trial.set_user_attr("limits", excess[0].tolist())
                study.tell(trial, float(values[0]) + (1e6 * (1 + violation) if penalty and violation else 0))


def peers() -> dict[str, tuple[Callable[[Counter, int], None], int | None]]:
    """Name -> how it runs, and the evaluations it gets where they are fewer than the others'."""
    import optuna

    samplers = optuna.samplers

    def cmaes(seed: int) -> Any:
        return samplers.CmaEsSampler(seed=seed, with_margin=True, warn_independent_sampling=False)

    def tpe(seed: int, **limits: Any) -> Any:
        return samplers.TPESampler(seed=seed, **limits)

    found: dict[str, tuple[Callable[[Counter, int], None], int | None]] = {
        f"pymoo {n}": (lambda counter, seed, n=n: run_pymoo(n, counter, seed), None)
        for n in ("ga", "de", "pso", "isres", "cmaes")
    }
    found["pymoo mixed"] = run_pymoo_mixed, None
    found["optuna tpe"] = (lambda counter, seed: run_optuna(tpe, counter, seed, penalty=False)), 500
    found["optuna cmaes"] = (lambda counter, seed: run_optuna(cmaes, counter, seed, penalty=True)), None
    return found
