"""Schedules found by search against those written by hand, in the time that half of the tokens takes.

    python benchmarks/astraea.py [--evals 48] [--repeats 3] [--out DIR]
    python benchmarks/astraea.py --front [--evals 40] [--out DIR]
    python benchmarks/astraea.py --table problems/diffusion/data/sensitivities.json

Every schedule is brought to the time of the uniform one (law measured on this machine). A search sees the
calibration prompts; printed is the PSNR on others, of other classes and seeds. Evolution begins from the
schedules by hand and from the knapsack over measured sensitivities; what measuring those cost is added to
the evaluations of the other searches. Needs the trained model
('optimize run astraea' trains it). Trials are kept on disk: a second call only reads them. --out also draws
the schedules beside their quality.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import tradespace as ts
from tradespace.problems.diffusion import budgeting, jumps, sensitivities, trials
from tradespace.problems.diffusion.astraea import SENSITIVITY_PROMPTS, SKIP_PROMPTS, Astraea
from tradespace.problems.diffusion.report import shown

UNSEEN = 16
SEARCHES = ("ga", "tpe", "random")


@dataclass(frozen=True)
class Setting:
    """One comparison: the problem, its goal, evaluations of evolution and of the other searches."""

    model: str
    steps: int
    prompts: int
    budget: float
    evals: int
    fresh: int = 7

    @property
    def problem(self) -> Astraea:
        """The problem."""
        return Astraea(model=self.model, steps=self.steps, prompts=self.prompts, budget=self.budget)

    def goal(self, problem: Astraea) -> ts.Goal:
        """Best PSNR within the time of the uniform schedule."""
        uniform = problem.baselines(self.budget)["uniform"]
        share = float(budgeting.costs(problem.law, uniform[None])["time_share"][0])
        return ts.Goal(maximize=("psnr",), limits=(f"time_share<={share!r}",), no_limits=("kept",))

    @property
    def others(self) -> int:
        """Evaluations of searches that measure no sensitivities."""
        tried = len(sensitivities.single_steps(self.budget, self.steps)) * SENSITIVITY_PROMPTS
        tried += len(jumps.single_skips(self.steps)) * SKIP_PROMPTS
        return self.evals + -(-tried // self.prompts)


def search(job: tuple[Setting, str, int]) -> tuple[str, int, list[float]]:
    """The schedule one search finds with one seed."""
    setting, name, seed = job
    problem = setting.problem.replace(screening=name == "ga, screened")
    solver = name.partition(",")[0]
    evals = setting.evals if solver == "ga" else setting.others
    result = ts.solve(problem, solver, setting.goal(problem), ts.Budget(evaluations=evals), seed=seed)
    assert result.best is not None
    return name, seed, list(result.best["share"])


def judged(setting: Setting, problem: Astraea, share: list[float]) -> dict[str, Any]:
    """PSNR of a schedule on the calibration prompts and on unseen ones, and its cost."""
    tenths = budgeting.tenths_of([share])
    unseen = trials.unseen_prompts(UNSEEN, trials.CONFIGS[problem.model].classes, setting.fresh)
    seen, other = (problem.trials.quality(tenths, p)[0, :, 1] for p in (problem.calibration, unseen))
    costs = {n: float(v[0]) for n, v in budgeting.costs(problem.law, tenths).items()}
    return {
        "seen": seen.mean(),
        "unseen": other.mean(),
        "worst": other.min(),
        "tenths": shown(tenths[0]),
        **costs,
    }


def by_hand(setting: Setting, problem: Astraea) -> dict[str, list[float]]:
    """Schedules without a search, brought to the time limit."""
    named = problem.within(setting.goal(problem).resolve(problem))
    uniform = problem.baselines(setting.budget)["uniform"]
    return {name: (tenths / 10).tolist() for name, tenths in {**named, "uniform": uniform}.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evals", type=int, default=48, help="of evolution, after its sensitivities")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--model", default="small")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--screened", action="store_true", help="evolution with children screened on one prompt"
    )
    parser.add_argument("--fresh", type=int, default=7, help="seed of the unseen prompts")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--front", action="store_true", help="quality against time, a run a solver")
    parser.add_argument("--table", type=Path, help="only measure the sensitivities that ship, into a file")
    given = parser.parse_args()
    if given.front:
        fronts(given.evals, given.out)
        return
    if given.table:
        write_table(given.table)
        return
    setting = Setting(given.model, given.steps, given.prompts, given.budget, given.evals, given.fresh)
    problem = setting.problem
    problem.ready()
    goal = setting.goal(problem)
    print(f"{given.model}, {given.steps} steps, {given.prompts} calibration and {UNSEEN} unseen prompts")
    print(f"{goal.limits[0]}; evolution {setting.evals} evaluations, others {setting.others}", flush=True)
    hand = {name: judged(setting, problem, share) for name, share in by_hand(setting, problem).items()}
    for name, row in hand.items():
        show(name, row)
    names = (*SEARCHES, "ga, screened") if given.screened else SEARCHES
    jobs = [(setting, name, seed) for seed in range(given.repeats) for name in names]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        for name, seed, share in pool.imap(search, jobs):
            row = judged(setting, problem, share)
            found[name].append(row)
            show(f"{name}, seed {seed}", row)
    verdict(hand, found)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        picture(hand, found).savefig(given.out / "astraea-schedules.png", dpi=150)


def fronts(evals: int, out: Path | None) -> None:
    """Quality against time by one run of each solver with as many evaluations, and without a search."""
    problem = Astraea(prompts=4)
    problem.ready()
    goal = ts.Goal(maximize=("psnr",), minimize=("time_share",), no_limits=("kept",))
    found: dict[str, list[tuple[float, float]]] = {}
    for solver in ("nsga2", "tpe", "random"):
        result = ts.solve(problem, solver, goal, ts.Budget(evaluations=evals), seed=0)
        found[solver] = list(zip(result.front["time_share"], result.front["psnr"], strict=True))
    lines: dict[str, list[tuple[float, float]]] = {}
    for budget in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        named = problem.baselines(budget)
        for name in ("uniform", "fewer steps", "knapsack", "chosen steps"):
            scores = problem.score({"share": (named[name] / 10).tolist()}).metrics
            lines.setdefault(name, []).append((float(scores["time_share"][0]), float(scores["psnr"][0])))
    limits = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    print(f"best PSNR (dB), 4 calibration prompts, {evals} evaluations, within a share of the full time of")
    print(f"{'':14s}" + "".join(f"{limit:8.1f}" for limit in limits))
    for name, points in {**found, **lines}.items():
        best = [max((q for t, q in points if t <= limit + 2e-3), default=float("nan")) for limit in limits]
        print(f"{name:14s}" + "".join(f"{value:8.2f}" for value in best))
    if out:
        from tradespace.problems.diffusion.paper_figures import front

        out.mkdir(parents=True, exist_ok=True)
        title = f"Fronts of {evals} evaluations (dashed), and schedules without a search"
        front(lines, "PSNR, calibration prompts (dB)", title, found).savefig(out / "front.png", dpi=150)


def write_table(path: Path) -> None:
    """The sensitivities of the small model around half of the tokens, on four prompts."""
    problem, steps = Astraea(), 20
    rows, prompts = sensitivities.single_steps(0.5, steps), problem.calibration[:4]
    errors = problem.trials.quality(rows, prompts)[:, :, 0].mean(axis=1)
    source = (
        f"small video DiT of this package (256 tokens, {steps} steps, {len(prompts)} prompts), "
        "around half of the tokens"
    )
    made = sensitivities.Sensitivities.from_single_steps(errors, 0.5, steps, source)
    path.write_text(json.dumps(made.record()) + "\n")
    print(
        f"{path}: weights {trials.training.digest(trials.CONFIGS['small'], trials.training.Recipe(), None)}"
    )


def show(name: str, row: Mapping[str, Any]) -> None:
    """One line."""
    print(
        f"{name:18s} unseen {row['unseen']:6.2f} dB (worst {row['worst']:5.2f})  "
        f"calibration {row['seen']:6.2f}  time {row['time_share']:.3f}  tokens {row['kept']:.3f}  "
        f"{row['tenths']}",
        flush=True,
    )


def verdict(hand: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Means and spreads on unseen prompts, and the two bars."""
    print("\non unseen prompts, mean and range over repeats:")
    for name, rows in found.items():
        values = np.array([row["unseen"] for row in rows])
        print(f"  {name:16s} {values.mean():6.2f} dB, {values.min():.2f} to {values.max():.2f}")
    ga = np.array([row["unseen"] for row in found["ga"]])
    uniform = hand["uniform"]["unseen"]
    gain = ga - uniform
    print(f"evolution over uniform: {gain.min():+.2f} to {gain.max():+.2f} dB (bar: at least +1)")
    rivals = {n: r["unseen"] for n, r in hand.items()}
    rivals |= {n: np.mean([r["unseen"] for r in rows]) for n, rows in found.items() if not n.startswith("ga")}
    best = max(rivals, key=rivals.__getitem__)
    gap = ga - rivals[best]
    print(f"evolution over the best other ({best}, {rivals[best]:.2f} dB): {gap.mean():+.2f} dB, "
          f"{gap.min():+.2f} to {gap.max():+.2f} (bar: at least -0.1)")  # fmt: skip


def picture(hand: Mapping[str, Any], found: Mapping[str, Any]) -> Any:
    """PSNR of each schedule on unseen prompts, beside the schedule itself."""
    from matplotlib.figure import Figure

    rows = [*hand.items(), *((name, row) for name, listed in found.items() for row in listed)]
    rows.sort(key=lambda item: item[1]["unseen"])
    figure = Figure(figsize=(9.0, 0.32 * len(rows) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    places = np.arange(len(rows))
    left.barh(places, [row["unseen"] for _, row in rows],
              color=["#c2410c" if name.startswith("ga") else "#1f2933" for name, _ in rows])  # fmt: skip
    left.set_yticks(places, [name for name, _ in rows], fontsize=8)
    left.set_xlim(left=min(row["unseen"] for _, row in rows) - 1)
    left.set_xlabel("PSNR on unseen prompts (dB)")
    cells = [[10 if mark == "X" else int(mark) for mark in row["tenths"]] for _, row in rows]
    image = right.imshow(cells, aspect="auto", origin="lower", cmap="Greys", vmin=0, vmax=10)
    right.set_xlabel("step")
    figure.colorbar(image, ax=right, label="tenths of the tokens")
    left.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Schedules of equal time", x=0.01, ha="left", fontsize=11)
    return figure


if __name__ == "__main__":
    main()
