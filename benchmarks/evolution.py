"""Evolution and model-based sampling against their peers: pymoo's NSGA-II and Optuna's TPE.

Run it where pymoo and optuna are installed: `python benchmarks/evolution.py [--quick]`. Both sides get
the same problems, evaluations and seeds in the same process; scored are final populations of equal
size, by hypervolume; CPU is process time, ours with the whole driver and its recording.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import moocore
import numpy as np
from scipy.stats import mannwhitneyu

import tradespace as ts
from tradespace.search.executors import Evaluator
from tradespace.search.session import Session, ask_tell
from tradespace.solvers.bayesian import TPE
from tradespace.solvers.evolutionary import NSGA2

REFERENCE = {
    "zdt1": (1.1, 1.1), "zdt2": (1.1, 1.1), "zdt3": (1.1, 1.1), "zdt6": (1.1, 1.1), "dtlz2": (1.1, 1.1, 1.1),
    "bnh": (140.0, 50.0), "truss2d": (0.06, 1e5), "mw1": (1.1, 1.1),
}  # fmt: skip
BY_MEAN = ("zdt1", "zdt3", "dtlz2", "bnh", "truss2d")
BY_RANK = ("zdt2", "zdt6", "mw1")


def wrapped(name: str) -> tuple[Any, ts.Problem]:
    """pymoo's problem, and the same one as ours: same bounds, same function."""
    from pymoo.problems import get_problem

    theirs = get_problem(name)
    scalars = [f"x{i}" for i in range(theirs.n_var)]
    even = np.all(theirs.xl == theirs.xl[0]) and np.all(theirs.xu == theirs.xu[0])
    body: dict[str, Any] = {"__module__": __name__, "__qualname__": name}
    if even:
        body["x"] = ts.Float(float(theirs.xl[0]), float(theirs.xu[0]), shape=theirs.n_var)
    else:
        body |= {
            n: ts.Float(float(lo), float(hi)) for n, lo, hi in zip(scalars, theirs.xl, theirs.xu, strict=True)
        }
    objectives = [f"f{i}" for i in range(theirs.n_obj)]
    limits = [f"g{i}" for i in range(theirs.n_ieq_constr)]
    body |= {n: ts.Metric("1", "min") for n in objectives} | {n: ts.Metric("1", at_most=0.0) for n in limits}

    def evaluate(self: Any, x: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        theirs._evaluate(x.x if even else np.stack([x[n] for n in scalars], axis=1), out)
        columns = dict(zip(objectives, np.broadcast_arrays(*_columns(out["F"])), strict=True))
        return columns | dict(zip(limits, _columns(out["G"]) if limits else [], strict=True))

    body["evaluate"] = evaluate
    return theirs, type(ts.Problem)(name, (ts.Problem,), body)()


def _columns(values: Any) -> list[Any]:
    """The columns of what pymoo's problems give: (rows, k), (rows,), or a list of columns."""
    return (
        [np.asarray(v) for v in values]
        if isinstance(values, list)
        else list(np.atleast_2d(np.asarray(values).T))
    )


def ours(problem: ts.Problem, solver: Any, seed: int, evaluations: int) -> tuple[Session, float]:
    """Our search through the driver's loop, and its CPU seconds."""
    began = time.process_time()
    with Evaluator(problem, 1, None) as evaluator:
        session = Session(problem, problem.default_goal, ts.Budget(evaluations=evaluations), seed, evaluator)
        ask_tell(session, solver)
    return session, time.process_time() - began


def ours_population(problem: ts.Problem, seed: int, evaluations: int) -> tuple[Any, float, int]:
    """Costs of our feasible final population, CPU seconds, and the population's size."""
    solver = NSGA2()
    session, seconds = ours(problem, solver, seed, evaluations)
    assert solver.population is not None
    _, scores = solver.population
    feasible = session.goal.violation(scores.metrics) <= 0
    return session.goal.costs(scores.metrics)[feasible], seconds, len(scores)


def theirs_population(
    problem: Any, seed: int, evaluations: int, size: int | None = None
) -> tuple[Any, float]:
    """Costs of pymoo's feasible final population, and CPU seconds."""
    from pymoo.algorithms.moo.nsga2 import NSGA2 as PymooNSGA2
    from pymoo.optimize import minimize

    algorithm = PymooNSGA2(pop_size=size) if size else PymooNSGA2()
    began = time.process_time()
    result = minimize(problem, algorithm, ("n_eval", evaluations), seed=seed, verbose=False)
    seconds = time.process_time() - began
    return result.pop.get("F")[result.pop.get("CV")[:, 0] <= 0], seconds


def volume(costs: Any, reference: tuple[float, ...]) -> float:
    """Hypervolume of costs below the reference point; 0 of none."""
    return float(moocore.hypervolume(costs, ref=np.array(reference))) if len(costs) else 0.0


def against_pymoo(evaluations: int, few: int, many: int) -> None:
    """Populations of 100 at 10,000 evaluations."""
    print(f"\nnsga2 against pymoo, {evaluations:,} evaluations, final populations of equal size")
    print(
        f"{'problem':9}{'seeds':>6}{'ours':>11}{'pymoo':>11}{'ratio':>8}{'p(worse)':>10}{'us/eval':>9}{'pymoo':>7}"
    )
    for name in BY_MEAN + BY_RANK:
        seeds = few if name in BY_MEAN else many
        theirs, problem = wrapped(name)
        ours_population(problem, 99, 400), theirs_population(theirs, 99, 400)
        mine, peer, cpu = [], [], np.zeros(2)
        for seed in range(seeds):
            costs, seconds, size = ours_population(problem, seed, evaluations)
            mine.append(volume(costs, REFERENCE[name]))
            cpu[0] += seconds
            costs, seconds = theirs_population(theirs, seed, evaluations, size)
            peer.append(volume(costs, REFERENCE[name]))
            cpu[1] += seconds
        worse = mannwhitneyu(mine, peer, alternative="less").pvalue
        a, b = np.mean(mine), np.mean(peer)
        held = a >= 0.99 * b if name in BY_MEAN else worse >= 0.05
        micro = cpu / seeds / evaluations * 1e6
        print(
            f"{name:9}{seeds:6d}{a:11.5g}{b:11.5g}{a / b:8.4f}{worse:10.3f}{micro[0]:9.1f}{micro[1]:7.1f}  "
            f"{'held' if held and micro[0] <= micro[1] else 'MISSED'}"
        )


def few_evaluations(seeds: int) -> None:
    """500 evaluations on zdt1: our small populations against pymoo's default of 100."""
    theirs, problem = wrapped("zdt1")
    reference = (11.0, 11.0)
    mine = [volume(ours_population(problem, s, 500)[0], reference) for s in range(seeds)]
    peer = [volume(theirs_population(theirs, s, 500)[0], reference) for s in range(seeds)]
    held = np.mean(mine) > np.mean(peer)
    print(f"\nzdt1 at 500 evaluations, {seeds} seeds, hypervolume below (11, 11), final populations")
    print(f"ours {np.mean(mine):.2f}   pymoo {np.mean(peer):.2f}   {'held' if held else 'MISSED'}")


def optuna_costs(problem: ts.Problem, seed: int, evaluations: int) -> Any:
    """Costs of the feasible trials of Optuna's own TPE loop on a problem of floats."""
    import optuna

    goal, space = problem.default_goal, problem.space
    study = optuna.create_study(
        directions=["minimize"] * len(goal.objectives), sampler=optuna.samplers.TPESampler(seed=seed)
    )
    found = []

    def objective(trial: Any) -> Any:
        point = {}
        for name, domain in space.domains.items():
            cells = [f"{name}[{i}]" for i in range(domain.cells)] if domain.shape else [name]
            drawn = [trial.suggest_float(cell, domain.lo, domain.hi) for cell in cells]
            point[name] = drawn if domain.shape else drawn[0]
        scores = problem.score(point)
        for limit in goal.limits:
            trial.set_constraint(
                limit.metric, float(limit.sign * (scores.metrics[limit.metric][0] - limit.bound))
            )
        costs = goal.costs(scores.metrics)[0]
        if goal.violation(scores.metrics)[0] <= 0:
            found.append(costs)
        return tuple(costs.tolist())

    study.optimize(objective, n_trials=evaluations)
    return np.array(found).reshape(-1, len(goal.objectives))


def against_tpe(evaluations: int, seeds: int) -> None:
    """What `auto` takes below 1,000 evaluations, against Optuna's own loop on the same seeds."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(
        f"\ntpe against Optuna's own TPE, {evaluations} evaluations, {seeds} seeds, hypervolume of all points"
    )
    for name, reference in (("zdt1", (11.0, 11.0)), ("bnh", (140.0, 50.0)), ("dtlz2", (2.5, 2.5, 2.5))):
        _, problem = wrapped(name)
        mine, peer = [], []
        for seed in range(seeds):
            session, _ = ours(problem, TPE(), seed, evaluations)
            session.archive.merge()
            mine.append(volume(session.archive.costs, reference))
            peer.append(volume(optuna_costs(problem, seed, evaluations), reference))
        a, b = np.mean(mine), np.mean(peer)
        print(f"{name:9}ours {a:.5g}   optuna {b:.5g}   {'held' if a >= b * (1 - 1e-9) else 'MISSED'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer seeds and evaluations, to see that it runs"
    )
    parser.add_argument("--only", choices=("pymoo", "few", "tpe"), help="one part alone")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.only in {None, "pymoo"}:
        against_pymoo(*((2_000, 2, 3) if given.quick else (10_000, 5, 31)))
    if given.only in {None, "few"}:
        few_evaluations(3 if given.quick else 21)
    if given.only in {None, "tpe"}:
        against_tpe(60 if given.quick else 200, 2 if given.quick else 5)
