"""The core's figures beside their bars: `python benchmarks/core.py [ROW ...]`.

Rows: exhaustive, memory, driver, front, proofs, cli, kills, adacc. Times are CPU times of one thread,
the best of a few repetitions where a row is short; the machine may be shared.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tradespace as ts
from tradespace.problems.registry import load
from tradespace.search.executors import Evaluator
from tradespace.search.folder import RunFolder
from tradespace.search.session import Session

ROOT = Path(__file__).resolve().parents[1]
SEED_OF_184 = 1911


def row(what: str, figure: str, bar: str, held: bool) -> None:
    """One line: what was measured, the figure, the bar, whether it holds."""
    print(f"{what:<66} {figure:>24}   {bar:<26} {'ok' if held else 'MISSED'}", flush=True)


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and what the work returned."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


# --- enumeration ---------------------------------------------------------------------------------------
class Grid(ts.Problem):
    """Two conflicting objectives over side x side points."""

    side: int = 3_163

    a = ts.Int(1, "side")
    b = ts.Int(1, "side")

    left = ts.Metric("s", "min")
    right = ts.Metric("s", "min")

    def evaluate(self, x: Any) -> dict[str, Any]:
        """Cheap and conflicting: what is measured is the enumeration and the front."""
        a, b = x.a.astype(float), x.b.astype(float)
        return {"left": a * 3 + b, "right": 1 / a + 2 / b}


def exhaustive() -> None:
    """10^7 points with a front."""
    timed = [cpu(lambda: ts.solve(Grid(), "exhaustive")) for _ in range(3)]
    seconds, result = min(timed, key=lambda pair: pair[0])
    rate = result.evaluations / seconds
    what = f"exhaustive, {result.evaluations:,} points, front of {result.front_size:,}"
    row(what, f"{rate:.3g} rows/s", ">= 1.5e7 rows/s", rate >= 1.5e7 and result.front_size >= 100)


def memory() -> None:
    """Part of a space of 10^9 points."""
    problem, seen = Grid(side=31_623), []

    def watch(session: Session) -> None:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
        seen.append((session.evaluations, resident))

    ts.solve(problem, "exhaustive", budget=ts.Budget(seconds=8), observer=watch)
    (first, before), (last, after) = seen[len(seen) // 8], seen[-1]
    what = f"10^9 points, from row {first:.2g} to {last:.2g}: growth of memory (now {after:.0f} MiB)"
    row(what, f"{after - before:.1f} MiB", "constant (<= 8 MiB)", after - before <= 8)


# --- driver --------------------------------------------------------------------------------------------
class Line(ts.Problem):
    """Every row with `above` = 0 is on the front; the others lie behind it."""

    a = ts.Int(0, 10**7)
    above = ts.Int(0, 10**6)

    left = ts.Metric("s", "min")
    right = ts.Metric("s", "min")

    def evaluate(self, x: Any) -> dict[str, Any]:
        """As cheap as can be."""
        a = x.a.astype(float)
        return {"left": a, "right": x.above - a}


def driver() -> None:
    """Scoring, recording, duplicates and the front, less the referee itself."""
    for batch, rows, bar in ((1_000, 400_000, 1.0), (1, 10_000, 100.0)):
        for front in (0, 100_000):
            micro = min(driver_cost(batch, rows, front) for _ in range(2))
            what = (
                f"driver with recording, batches of {batch:,}, front of {f'{front:,}' if front else 'a few'}"
            )
            row(what, f"{micro:.2f} us a row", f"<= {bar:g} us a row", micro <= bar)


def driver_cost(batch: int, rows: int, front: int) -> float:
    """Microseconds of CPU a row."""
    problem, rng = Line(), np.random.default_rng(0)
    space = problem.space
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder), "line", "now")
        session = Session(problem, problem.default_goal, ts.Budget(), 0, Evaluator(problem), run)
        spread = rng.permutation(10**7)[:front]
        for start in range(0, front, 1_000):
            on = spread[start : start + 1_000]
            session.score(space.restore({"a": on, "above": np.zeros_like(on)}))
        if front:
            assert len(session.front_costs) >= front
        batches = [space.sample(rng, batch) for _ in range(rows // batch)]
        referee, _ = cpu(lambda: [problem.evaluate(x) for x in batches])
        seconds, _ = cpu(lambda: [*map(session.score, batches), session.flush()])
    return (seconds - referee) / rows * 1e6


# --- views ---------------------------------------------------------------------------------------------
class TwoValues(ts.Problem):
    """24 items of two conflicting values and a weight, with its view."""

    item_seed: int = SEED_OF_184
    scale: float = 1.0
    items: int = 24

    packed = ts.Bool(shape="items")

    value = ts.Metric("1", "max")
    comfort = ts.Metric("1", "max")
    weight = ts.Metric("1", at_most="capacity")

    def tables(self) -> tuple[Any, Any, Any]:
        """Weights, values, comforts: whole numbers."""
        rng = np.random.default_rng(self.item_seed)
        weights, values = rng.integers(10, 100, self.items), rng.integers(10, 1_000, self.items)
        return weights, values, np.maximum(1_010 - values + rng.integers(-50, 51, self.items), 1)

    @property
    def capacity(self) -> float:
        """Half of all weights."""
        return float(self.tables()[0].sum() // 2)

    def evaluate(self, x: Any) -> dict[str, Any]:
        """Sums over what is packed."""
        weights, values, comforts = self.tables()
        packed = x.packed.astype(np.int64)
        return {
            "value": packed @ values * self.scale,
            "comfort": packed @ comforts,
            "weight": packed @ weights,
        }

    def milp_view(self, given: Mapping[str, Any] | None = None) -> ts.MilpView:
        """One binary an item."""
        import pyomo.environ as pyo

        model = pyo.ConcreteModel()
        model.packed = pyo.Var(range(self.items), domain=pyo.Binary)

        def total(column: Any, factor: float = 1.0) -> Any:
            return pyo.quicksum(float(c) * factor * model.packed[i] for i, c in enumerate(column))

        def encode(point: Mapping[str, Any]) -> None:
            for i, taken in enumerate(point["packed"]):
                model.packed[i] = int(taken)

        def decode() -> dict[str, Any]:
            return {"packed": [round(pyo.value(model.packed[i])) == 1 for i in range(self.items)]}

        weights, values, comforts = self.tables()
        metrics = {"value": total(values, self.scale), "comfort": total(comforts), "weight": total(weights)}
        return ts.MilpView(model, metrics, decode, encode)


def efficient_points(problem: TwoValues) -> set[tuple[int, int]]:
    """The front by dynamic programming over (weight, value, comfort)."""
    import moocore

    states = np.zeros((1, 3), np.int64)
    for item in zip(*problem.tables(), strict=True):
        added = states + np.array(item)
        states = np.unique(np.vstack([states, added[added[:, 0] <= problem.capacity]]), axis=0)
        states = states[moocore.is_nondominated(states * [1.0, -1.0, -1.0], keep_weakly=False)]
    pairs = np.unique(states[:, 1:], axis=0)
    return set(map(tuple, pairs[moocore.is_nondominated(-1.0 * pairs, keep_weakly=False)].tolist()))


def best_value(problem: TwoValues) -> int:
    """The largest value by dynamic programming over the weight."""
    weights, values, _ = problem.tables()
    best = np.zeros(int(problem.capacity) + 1, np.int64)
    for weight, value in zip(weights, values, strict=True):
        best[weight:] = np.maximum(best[weight:], best[:-weight] + value)
    return int(best[-1])


def front() -> None:
    """Two objectives: every efficient point."""
    problem = TwoValues()
    known = efficient_points(problem)
    seconds, result = cpu(lambda: ts.solve(problem, "milp"))
    found = set(zip(*(result.front_columns[n].tolist() for n in ("value", "comfort")), strict=True))
    held = found == known and len(known) == 184 and result.certificate.kind == "proven"
    what = f"two objectives, 24 items: {len(found & known)} of {len(known)} points, {result.certificate.kind}"
    row(what, f"{seconds:.1f} s CPU", "184, proven, <= 15 s CPU", held and seconds <= 15)


def proofs() -> None:
    """True optima at every scale."""
    goal = ts.Goal(maximize=("value",))
    for scale in (1.0, 1e-8, 1e-11):
        problem = TwoValues(items=60, scale=scale)
        result, true = ts.solve(problem, "milp", goal), best_value(problem)
        got = result.metrics["value"] / scale
        held = abs(got - true) < 0.5 and result.certificate.kind == "proven"
        row(
            f"knapsack of 60 items, values x {scale:g}: {result.certificate.kind}",
            f"{got:.0f}",
            f"{true}",
            held,
        )
    plans = {}
    for scale in (1.0, 1e-6, 1e-9):
        result = ts.solve(
            ts.problem("memory-plan", operators=200, time_scale=scale, memory=6 * ts.GiB), "milp"
        )
        plans[scale] = result.metrics["recompute_time"] / scale
        held = abs(plans[scale] / plans[1.0] - 1) <= 2e-6 and result.certificate.kind == "proven"
        what = f"memory plan of 200 operators, times x {scale:g}: {result.certificate.kind}"
        row(what, f"{plans[scale] * 1e3:.4f} ms", f"{plans[1.0] * 1e3:.4f} ms", held)


# --- command line --------------------------------------------------------------------------------------
def cli() -> None:
    """CPU time of the shortest commands, start of Python included."""
    for command in ("--help", "list"):
        seconds = min(command_cpu(command) for _ in range(5))
        row(f"optimize {command}", f"{seconds:.3f} s CPU", "<= 0.4 s CPU", 0 < seconds <= 0.4)


def command_cpu(*arguments: str) -> float:
    """CPU seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "import sys; from tradespace.search.cli import main; sys.argv[0] = 'optimize'; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- kill -9 -------------------------------------------------------------------------------------------
COUNTED = """
import os, time
import numpy as np
import tradespace as ts

class Counted(ts.Problem):
    "Writes every row it evaluates to a file."
    a = ts.Int(1, 3000)
    b = ts.Int(1, 3000)
    left = ts.Metric("s", "min")
    right = ts.Metric("s", "min")

    def evaluate(self, x):
        with open(os.environ["COUNTED_ROWS"], "ab") as file:
            file.write((x.a.astype(np.int64) << 32 | x.b).tobytes())
        time.sleep(0.03)
        return {"left": x.a + 0.1 * x.b, "right": 1 / x.a + 1 / x.b}
"""
RUN = """
import sys, tradespace as ts
from tradespace.problems.registry import load
budget = ts.Budget(evaluations=150_000)
if sys.argv[3] == "new":
    problem = load(sys.argv[1] + ":Counted")()
    result = ts.solve(problem, "random", budget=budget, runs=sys.argv[2], storage="none")
else:
    result = ts.resume(sys.argv[3], storage="none")
"""


def kills() -> None:
    """Ten kills at random moments, then resume."""
    moments = random.Random(7)
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), Path(name) / "rows.bin"
        os.environ["COUNTED_ROWS"] = str(rows)
        (folder / "counted.py").write_text(COUNTED)
        run, again, lost, recorded = "new", 0, [0], 0
        killed = 0
        while killed < 10:
            evaluated = rows.stat().st_size // 8 if rows.exists() else 0
            process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(folder / "counted.py"), str(folder / "runs"), run], cwd=ROOT
            )
            wait = time.monotonic() + 30
            while (not rows.exists() or rows.stat().st_size // 8 <= evaluated) and time.monotonic() < wait:
                time.sleep(0.01)
            time.sleep(moments.uniform(0.05, 0.7))
            ended = process.poll() is not None
            process.send_signal(signal.SIGKILL)
            process.wait()
            run = str(next((folder / "runs").glob("*/*")))
            if ended:
                break
            killed += 1
            paid, kept = rows.stat().st_size // 8, recorded_rows(Path(run))
            lost.append(paid - again - kept)
            again += lost[-1]
            recorded = kept
        paid = rows.stat().st_size // 8
        result = ts.resume(run, storage="none")
        repeated = rows.stat().st_size // 8 - paid - (result.evaluations - recorded)
        problem = load(f"{folder / 'counted.py'}:Counted")()
        whole = ts.solve(problem, "random", budget=ts.Budget(evaluations=150_000), storage="none")
        same = answer(result) == answer(whole)
        del os.environ["COUNTED_ROWS"]
    row(f"{killed} kills -9, then resume: same final answer", str(same), "True", same and killed == 10)
    row("   recorded rows evaluated again", str(repeated), "0", repeated == 0)
    spent = f"{max(lost):,}"
    row(
        "   most unrecorded rows lost to one kill (of 150,000)",
        spent,
        "one batch: 1,024",
        max(lost) <= 1_024,
    )


def recorded_rows(run: Path) -> int:
    """Rows on disk."""
    return sum(len(columns["failed"]) for columns in RunFolder(run).read_rows([]))


def answer(result: ts.Result) -> tuple[Any, ...]:
    """What two runs must share."""
    front = sorted(zip(*(c.tolist() for c in result.front_columns.values()), strict=True))
    return result.best, result.metrics, front, result.evaluations


def adacc() -> None:
    """The rows of the memory planner, by its own script."""
    path = ROOT / "benchmarks" / "adacc.py"
    spec = importlib.util.spec_from_file_location("adacc_benchmark", path)
    if not path.is_file() or spec is None or spec.loader is None:
        print("adacc: benchmarks/adacc.py is not here")
        return
    subprocess.run([sys.executable, str(path)], cwd=ROOT, check=False)


ROWS = {f.__name__: f for f in (exhaustive, memory, driver, front, proofs, cli, kills, adacc)}


def chosen() -> Iterator[Callable[[], None]]:
    """The rows named on the command line, or all."""
    for name in sys.argv[1:] or ROWS:
        if name not in ROWS:
            sys.exit(f"no row is called '{name}'; choose of: {', '.join(ROWS)}")
        yield ROWS[name]


if __name__ == "__main__":
    for measure in [*chosen()]:
        measure()
