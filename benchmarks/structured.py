"""Structured solvers against their bars: packing, Gittins, nested search. Everything is made from seeds.

    python benchmarks/structured.py [packing] [vector] [ranks] [queue] [nested]

Seconds are of the process (CPU), compilation excluded by a first small run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import tradespace as ts
from tradespace.problems.gittins_rank import Law, RankTable, brute_force, refine, stopped_rank
from tradespace.problems.tutorial.mg1 import MG1, MIXES
from tradespace.problems.tutorial.queue import simulate
from tradespace.problems.tutorial.two_level import TwoLevel, count_work
from tradespace.search.trust.stochastic import fresh_seeds
from tradespace.solvers.gittins import rank_table

Array = npt.NDArray[Any]


class Load(ts.Problem):
    """Items and bins given as arrays; item i goes to bin `place[i]`, whose type is `kind[place[i]]`."""

    demands: Array = ts.param(factory=lambda: np.ones((1, 1, 1)))
    capacities: Array = ts.param(factory=lambda: np.ones((1, 1)))
    prices: Array = ts.param(factory=lambda: np.ones(1))

    place = ts.Int(0, "last", shape="items")
    kind = ts.Int(0, "last_kind", shape="items")

    price = ts.Metric("1", "min")
    excess = ts.Metric("1", at_most=0.0)

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.demands.shape[1])

    @property
    def last(self) -> int:
        """The last bin."""
        return self.items - 1

    @property
    def last_kind(self) -> int:
        """The last type of bin."""
        return len(self.prices) - 1

    def evaluate(self, x: ts.Batch) -> dict[str, Any]:
        """Sum the demands a bin."""
        rows = np.arange(len(x))[:, None]
        load = np.zeros((len(x), self.items, self.demands.shape[2]))
        np.add.at(
            load, (rows, x.place), self.demands[np.take_along_axis(x.kind, x.place, 1), np.arange(self.items)]
        )
        used = np.zeros((len(x), self.items), bool)
        used[rows, x.place] = True
        over = np.where(used[..., None], np.maximum(load - self.capacities[x.kind], 0), 0)
        return {"price": (self.prices[x.kind] * used).sum(axis=1), "excess": over.sum(axis=(1, 2))}

    def packing_view(self, given: Any = None) -> ts.PackingView:
        """Bins as they are."""

        def decode(plan: Any) -> dict[str, Any]:
            place, kind = np.zeros(self.items, int), np.zeros(self.items, int)
            for b, (t, held) in enumerate(plan):
                kind[b] = t
                place[list(held)] = b
            return {"place": place, "kind": kind}

        return ts.PackingView(self.demands, self.capacities, self.prices, "price", decode, limits=("excess",))


def uniform(items: int, seed: int) -> Load:
    """Falkenauer's u class: sizes 20 to 100, bins of 150."""
    sizes = np.random.default_rng([items, seed]).integers(20, 101, items)
    return Load(demands=sizes[None, :, None].astype(float), capacities=np.array([[150.0]]))


def triplets(items: int, seed: int) -> Load:
    """Falkenauer's t class: three items fill each bin of 1000 without waste."""
    rng = np.random.default_rng([items, seed])
    sizes = []
    for _ in range(items // 3):
        first = int(rng.integers(380, 500))
        second = int(rng.integers(250, (1000 - first) // 2 + 1))
        sizes += [first, second, 1000 - first - second]
    return Load(demands=np.array(sizes, float)[None, :, None], capacities=np.array([[1000.0]]))


def planted(seed: int) -> Load:
    """100 items of 3 dimensions that fill bins of two types without waste; their optimum is planted."""
    rng = np.random.default_rng([7, seed])
    capacities, prices = np.array([[100.0, 100, 100], [60, 80, 40]]), np.array([3.0, 2.0])
    parts, count = [], 0
    while count < 100:
        kind = int(rng.integers(2))
        items = min(int(rng.integers(2, 6)), 100 - count)
        items += 100 - count - items == 1
        columns = [
            rng.multinomial(int(c) - items, rng.dirichlet(np.ones(items) * 3)) + 1 for c in capacities[kind]
        ]
        parts.append(np.stack(columns, 1))
        count += items
    demands = np.concatenate(parts)[rng.permutation(100)].astype(float)
    return Load(demands=np.stack([demands, demands]), capacities=capacities, prices=prices)


def gapped(seed: int) -> Load:
    """100 items of 3 dimensions, two types; large items leave waste, so volumes are far below."""
    rng = np.random.default_rng([8, seed])
    demands = rng.integers(20, 51, (100, 3)).astype(float)
    capacities = np.array([[100.0, 100, 100], [60, 60, 60]])
    return Load(demands=np.stack([demands, demands]), capacities=capacities, prices=np.array([3.0, 2.0]))


def three_types(seed: int) -> Load:
    """200 items of 2 dimensions whose demand differs by type, three types at 4, 2.5 and 1."""
    rng = np.random.default_rng([9, seed])
    memory, work = rng.integers(2, 15, 200), rng.integers(5, 40, 200)
    demands = np.stack([np.stack([memory, np.ceil(work * f)], 1) for f in (0.5, 0.8, 2.0)]).astype(float)
    capacities = np.array([[80.0, 100], [40, 100], [16, 100]])
    return Load(demands=demands, capacities=capacities, prices=np.array([4.0, 2.5, 1.0]))


def limited(seed: int) -> ts.Problem:
    """60 services on servers of three kinds, twelve of each."""
    return ts.problem("server-packing", services=60, services_seed=seed, stock=12)


def packing_rows(title: str, make: Callable[[int], ts.Problem], seeds: int, bar: float) -> None:
    """One line an instance: value, bound, whether proven, seconds."""
    for seed in range(seeds):
        problem = make(seed)
        began, cpu = time.monotonic(), time.process_time()
        result = ts.solve(problem, "packing", budget=ts.Budget(seconds=60), seed=seed)
        cpu, wall = time.process_time() - cpu, time.monotonic() - began
        certificate = result.certificate
        verdict = "proven" if certificate.kind == "proven" else "open"
        late = "" if cpu <= bar else f"  OVER the bar of {bar:g} s"
        print(
            f"{title:<28} seed {seed}  price {result.metrics['price']:7.1f}  bound {certificate.bound:7.1f}  "
            f"{verdict:<6} {cpu:6.2f} s CPU {wall:6.2f} s wall{late}",
            flush=True,
        )


def packing() -> None:
    """One dimension: classes of Falkenauer."""
    for title, make, items, seeds, bar in (
        ("t60", triplets, 60, 5, 5.0), ("t120", triplets, 120, 5, 5.0), ("u120", uniform, 120, 5, 5.0),
        ("u250", uniform, 250, 5, 5.0), ("t249", triplets, 249, 5, 60.0), ("t501", triplets, 501, 5, 60.0),
        ("u1000", uniform, 1000, 5, 60.0),
    ):  # fmt: skip
        packing_rows(title, lambda seed, make=make, items=items: make(items, seed), seeds, bar)  # type: ignore[misc]


def vector() -> None:
    """Several dimensions and types."""
    packing_rows("planted, 3 dims, 2 types", planted, 5, 60.0)
    packing_rows("volume below, 3 dims, 2 types", gapped, 5, 60.0)
    packing_rows("200 items, 2 dims, 3 types", three_types, 5, 60.0)
    packing_rows("60 services, 3 types, counts", limited, 3, 60.0)


def ranks() -> None:
    """Gittins ranks: exactness and speed."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(3000):
        count = int(rng.integers(1, 60))
        values = np.round(rng.exponential(5, count), int(rng.integers(0, 6))) + 0.05
        law = Law.discrete(values, rng.random(count) + 0.01)
        ages = np.concatenate([[0.0], law.values, rng.uniform(0, law.values[-1], 20)])
        ages = ages[ages < law.values[-1]]
        exact = np.array([brute_force(law, age) for age in ages])
        found = RankTable([law]).rank(0, ages)
        worst = max(worst, float(np.max(np.abs(found - exact) / np.maximum(exact, law.mean))))
    print(f"3,000 random discrete laws: largest error {worst:.1e} of max(rank, mean)   bar 1e-9")
    samples = rng.lognormal(0, 1.5, 1000)
    builds = {"discrete law": lambda: Law.discrete(samples), "grid and tail": lambda: Law.of_samples(samples)}
    for title, law_of in builds.items():
        best = min(_cpu(lambda law_of=law_of: RankTable([law_of()])) for _ in range(50))  # type: ignore[misc]
        print(f"table of 1,000 samples ({title}): {best * 1e3:.3f} ms   bar 1 ms")
    table, ages = RankTable([Law.discrete(samples)]), rng.uniform(0, 50, 1_000_000)
    fastest = min(_cpu(lambda: table.rank(0, ages)) for _ in range(5))
    print(f"look-ups at any age: {1e6 / fastest:,.0f} a second   bar 1e6")


def _cpu(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def queue() -> None:
    """Speed of the simulator, others against Gittins on fresh seeds, and laws known by samples."""
    for mix in MIXES:
        problem = MG1(mix=mix, arrivals=500_000, resolution=200)
        table = rank_table(problem.jobs_view())
        arrivals, classes, sizes = problem.streams()
        done, events = np.empty(len(arrivals)), 0
        simulate(arrivals[:10], classes[:10], sizes[:10], table, problem.ages, np.empty(10))
        began = time.process_time()
        events = simulate(arrivals, classes, sizes, table, problem.ages, done)
        print(f"{mix:<12} {events / (time.process_time() - began) / 1e6:6.1f} M scheduling events/s   bar 2")
    print("searched on one seed, scored on 20 fresh ones: others - Gittins, in standard errors (bar -2)")
    for mix in MIXES:
        for samples in (None, 1000):
            if not (mix == "discrete" and samples):
                _contest(mix, samples)
    print("1,000 samples seen, 16 draws, 200,000 jobs: ratio to the best of FCFS, LAS, SERPT; mean (worst)")
    for mix in ("lognormal", "bimodal", "pareto", "steady"):
        ratios: dict[str, list[float]] = {"grid and tail": [], "raw samples": [], "true law": []}
        for draw in range(16):
            for title, ratio in _ratios(mix, draw).items():
                ratios[title].append(ratio)
        print(
            f"  {mix:<10} " + "   ".join(f"{t} {np.mean(r):.3f} ({np.max(r):.3f})" for t, r in ratios.items())
        )


def _contest(mix: str, samples: int | None) -> None:
    short = MG1(mix=mix, arrivals=2_000, resolution=8, samples=samples)
    points = [ts.solve(short, "gittins").best]
    for solver in ("ga", "random"):
        points.append(ts.solve(short, solver, budget=ts.Budget(evaluations=3_000)).best)
    long = short.replace(arrivals=50_000)
    fresh = [long.replace(simulation_seed=s) for s in fresh_seeds(long, 20)]
    cost = np.array([problem.score(points).metrics["holding_cost"] for problem in fresh])
    for place, solver in ((1, "ga"), (2, "random")):
        gap = cost[:, place] - cost[:, 0]
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        away = gap.mean() / error if error > 0 else 0.0
        known = "law known" if samples is None else f"{samples} samples seen"
        share = gap.mean() / cost[:, 0].mean()
        print(f"  {mix:<12} {known:<18} {solver:<7} {share:+8.3%}  {away:+7.1f} standard errors")


def _ratios(mix: str, draw: int) -> dict[str, float]:
    problem = MG1(mix=mix, arrivals=200_000, resolution=200, simulation_seed=draw)
    quantile, ages = problem.kinds[0].quantile, problem.ages
    seen = quantile(np.random.default_rng([draw, 77]).random(1000))
    arrivals, classes, sizes = problem.streams()
    done = np.empty(len(arrivals))

    def mean(values: Array) -> float:
        late = np.nanmax(values[np.isfinite(values)]) + 1 + np.arange(len(values))
        simulate(arrivals, classes, sizes, np.where(np.isfinite(values), values, late)[None], ages, done)
        return float((done - arrivals)[len(done) // 10 :].mean())

    def residual(age: float) -> float:
        left = seen[seen > age]
        return float((left - age).mean()) if len(left) else np.inf

    simple = [np.zeros(len(ages)), np.arange(len(ages), dtype=float), np.array([residual(a) for a in ages])]
    best = min(mean(values) for values in simple)
    laws = {
        "grid and tail": Law.of_samples(seen, refine(ages)),
        "raw samples": Law.discrete(seen),
        "true law": Law.discrete(quantile((np.arange(200_000) + 0.5) / 200_000)),
    }
    return {title: mean(stopped_rank(law, ages)) / best for title, law in laws.items()}


def nested() -> None:
    """Two levels against a flat search: hypervolume after the same number of slow computations."""
    import moocore

    goal = ts.Goal(minimize=("frame", "area"))
    fronts, rows = {}, []
    for title, solver, budget in (
        ("all points", "exhaustive", ts.Budget()),
        ("nested, 20 settings", "nested", ts.Budget(evaluations=20 * 3360)),
        ("nsga2, 10,000 rows", "nsga2", ts.Budget(evaluations=10_000)),
        ("nsga2, 300 rows", "nsga2", ts.Budget(evaluations=300)),
    ):
        count_work.cache_clear()
        began = time.process_time()
        result = ts.solve(TwoLevel(), solver, goal=goal, budget=budget)
        rows.append((title, count_work.cache_info().misses, result.evaluations, time.process_time() - began))
        fronts[title] = result.front[["frame", "area"]].to_numpy()
    top = fronts["all points"].max(axis=0) * 1.1
    whole = moocore.hypervolume(fronts["all points"], ref=top)
    for title, slow, evaluations, seconds in rows:
        share = moocore.hypervolume(fronts[title], ref=top) / whole
        spent = f"slow part computed {slow:4}  rows {evaluations:8,}  {seconds:5.2f} s"
        print(f"{title:<22} {spent}  hypervolume {share:8.3%}")


def main() -> None:
    """Run the parts that are named, or all."""
    ts.solve(three_types(0), "packing", budget=ts.Budget(seconds=3))
    for part in sys.argv[1:] or ["packing", "vector", "ranks", "queue", "nested"]:
        print(f"--- {part}")
        globals()[part]()


if __name__ == "__main__":
    main()
