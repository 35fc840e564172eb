"""Ours, pymoo and Optuna on twelve functions each of COCO's bbob-mixint and bbob-constrained.

    python benchmarks/solvers.py --quick                        # 4 functions, 1 seed: a few minutes
    nice python benchmarks/solvers.py --results coco.jsonl      # everything; may be stopped and run again
    python benchmarks/solvers.py --results coco.jsonl --table   # only the table

Set OMP_NUM_THREADS=1; needs `pip install coco-experiment pymoo cmaes`. Dimensions 5 and 10, 2,000
evaluations (TPE 500), 5 seeds. Every solver's calls go through one counter (`coco.py`), which keeps the
best feasible value. A block is a function in a dimension; in it solvers are ranked by the median of their
seeds, those without a feasible point last, by violation. The table is printed whatever it says.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from coco import BENCHMARKED, CONSTRAINED, MIXINT, PRECISION, Case, Counter, problem

import tradespace as ts

EVALUATIONS, SEEDS, DIMENSIONS = 2_000, 5, (5, 10)
OURS: dict[str, int | None] = {
    "auto": None,
    "ga": None,
    "memetic": None,
    "cmaes": None,
    "tpe": 500,
    "random": None,
}


def run_ours(name: str, counter: Counter, seed: int) -> dict[str, Any]:
    """One of our solvers through `ts.solve`, its best value checked against the counter's."""
    result = ts.solve(problem(counter), name, budget=ts.Budget(evaluations=counter.budget), seed=seed)
    assert not result.feasible or result.metrics["value"] == counter.best, (result.metrics, counter.best)
    return {"took": result.solver}


def run(case: Case, solver: str, seed: int, evaluations: int) -> dict[str, Any]:
    """One run as a line of the results."""
    from peers import peers

    theirs = peers()
    fewer = OURS[solver] if solver in OURS else theirs[solver][1]
    counter = Counter(case, min(evaluations, fewer or evaluations))
    began, extra = time.process_time(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if solver in OURS:
            extra = run_ours(solver, counter, seed)
        else:
            theirs[solver][0](counter, seed)
    seconds = round(time.process_time() - began, 3)
    key = {"suite": case.suite, "function": case.function, "dimension": case.dimension,
           "instance": case.instance, "seed": seed, "solver": solver}  # fmt: skip
    return {**key, "cpu_seconds": seconds, **counter.record(), **extra}


def key_of(line: dict[str, Any]) -> tuple[Any, ...]:
    """What a line of the results is about."""
    return tuple(line[k] for k in ("suite", "function", "dimension", "instance", "seed", "solver"))


def read(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The lines of a results file; one cut by a kill is left out and run again."""
    found = {}
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found[key_of(line)] = line
    return found


def measure(cases: list[Case], solvers: list[str], seeds: int, evaluations: int, results: Path) -> None:
    """Run what the results file does not hold yet, seed by seed."""
    done = read(results)
    wanted = [(c, s, k) for s in range(seeds) for k in solvers for c in cases]
    missing = [w for w in wanted if (*_case(w[0]), w[1], w[2]) not in done]
    with results.open("a") as file:
        for number, (case, seed, solver) in enumerate(missing, 1):
            line = run(case, solver, seed, evaluations)
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(f"{number}/{len(missing)} {case.name} seed {seed} {solver}: {line['value']}", flush=True)


def _case(case: Case) -> tuple[Any, ...]:
    return case.suite, case.function, case.dimension, case.instance


def benchmarked(quick: bool) -> list[Case]:
    """The functions of the comparison."""
    return [
        Case(suite, function, dimension)
        for dimension in DIMENSIONS[: 1 if quick else None]
        for suite, functions in BENCHMARKED.items()
        for function in (functions[::6] if quick else functions)
    ]


def scores(lines: dict[tuple[Any, ...], dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Block -> solver -> a score a seed, less is better: the value, or 1e100 (1 + violation)."""
    blocks: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines.values():
        case = Case(line["suite"], line["function"], line["dimension"], line["instance"])
        value = line["value"]
        score = 1e100 * (1 + line["violation"]) if value is None else value
        blocks[case.name][line["solver"]].append(score)
    return blocks


def medians(blocks: dict[str, dict[str, list[float]]], solvers: list[str]) -> tuple[list[str], Any]:
    """Blocks in which every solver ran, and medians over seeds (blocks, solvers), equal where they are
    equal to COCO's precision."""
    names = [b for b, found in blocks.items() if all(found.get(s) for s in solvers)]
    values = np.array([[np.median(blocks[b][s]) for s in solvers] for b in names]).reshape(-1, len(solvers))
    with np.errstate(invalid="ignore"):
        best = values.min(axis=1, keepdims=True, initial=np.inf)
        return names, best + np.floor((values - best) / PRECISION) * PRECISION


def table(lines: dict[tuple[Any, ...], dict[str, Any]]) -> str:
    """Mean ranks, wins, share of feasible runs and CPU seconds, with the Friedman statement."""
    from tradespace.search.comparison.ranking import ranking

    solvers = list(dict.fromkeys(line["solver"] for line in lines.values()))
    names, values = medians(scores(lines), solvers)
    overall = ranking(solvers, values)
    parts = {
        suite: ranking(solvers, values[[n.startswith(suite + " ") for n in names]])
        for suite in (MIXINT, CONSTRAINED)
    }
    text = [f"{len(names)} blocks (function x dimension)", ""]
    text += ["| solver | mean rank | mixint | constrained | best or level in | feasible runs | CPU s a run |",
             "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for solver in overall.order:
        of = [line for line in lines.values() if line["solver"] == solver]
        column = solvers.index(solver)
        best = int((values[:, column] <= values.min(axis=1)).sum())
        feasible = sum(line["value"] is not None for line in of)
        seconds = np.mean([line["cpu_seconds"] for line in of])
        ranks = [r.mean_ranks[solver] for r in (overall, *parts.values())]
        text.append(
            f"| {solver} | {ranks[0]:.2f} | {ranks[1]:.2f} | {ranks[2]:.2f} | {best} | "
            f"{feasible} of {len(of)} | {seconds:.2f} |"
        )
    return "\n".join([*text, "", overall.statement()])


def main() -> None:
    """Run what is missing and print the table."""
    from peers import peers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("coco.jsonl"))
    parser.add_argument("--quick", action="store_true", help="4 functions in 5 dimensions, 1 seed")
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS)
    parser.add_argument("--solvers", help="names with commas, such as 'auto,pymoo de' [default: all]")
    given = parser.parse_args()
    solvers = given.solvers.split(",") if given.solvers else [*OURS, *peers()]
    if not given.table:
        cases = benchmarked(given.quick)
        measure(cases, solvers, 1 if given.quick else given.seeds, given.evaluations, given.results)
    found = {k: v for k, v in read(given.results).items() if v["solver"] in solvers}
    print(table(found))


if __name__ == "__main__":
    main()
