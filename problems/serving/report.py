"""What a Hermes point does, as a table and as figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .cluster import Outcome
from .compiled import Array
from .policies import POLICIES
from .prewarm import NEVER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .hermes import Hermes

THIS = "this point"
SHOWN = ("fcfs", "las", "sjf-mean", THIS, "oracle")
COLOURS = {
    "fcfs": "#9aa5b1", "request-fcfs": "#c8b8a6", "las": "#8f7fb8", "sjf-mean": "#69b3a2", "serpt": "#f2c14e",
    THIS: "#c2410c", "oracle": "#1f2933",
}  # fmt: skip


def outcome_of(problem: Hermes, point: Mapping[str, Any], record: int = 0) -> Outcome:
    """The simulated applications under a point."""
    x = problem.space.batch(point)
    return problem.outcome(
        problem.policy_of(x.ranks[0], int(x.buckets[0])),
        thresholds=x.prewarm[0][: len(problem.places)],
        refresh=float(x.refresh[0]),
        record=record,
    )


def summary(problem: Hermes, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a policy, on the same applications; cuts are against application FCFS."""
    outcomes = {THIS: outcome_of(problem, point)} | {name: problem.outcome(name) for name in POLICIES}
    measured = {name: problem.measure(outcome) for name, outcome in outcomes.items()}
    base = measured["fcfs"]
    return [
        {
            "policy": name,
            "mean s": m["mean_completion"],
            "mean cut": 1 - m["mean_completion"] / base["mean_completion"],
            "P95 s": m["p95_completion"],
            "P95 cut": 1 - m["p95_completion"] / base["p95_completion"],
            "P99 s": m["p99_completion"],
            "deadlines met": m["deadlines_met"],
            "preemptions": outcomes[name].switches,
        }
        for name, m in measured.items()
    ]


def trade_off(problem: Hermes, place: str) -> list[dict[str, float]]:
    """Per threshold of one backend: seconds of warm-up saved and of idle warmth, a stage that needs it.

    The order is the Gittins table's. The last rows are the baselines: `kept` 8 instances (LRU), and
    starting whenever the stage before begins (queue-driven).
    """
    b = problem.places.index(place)
    stages = max(1, int(np.count_nonzero(problem.jobs.place == b + 1)))
    policy = problem.policy_of(problem.point()["ranks"])

    def row(label: float, outcome: Outcome) -> dict[str, float]:
        saved = float(cold.waited[b + 1] - outcome.waited[b + 1]) / stages
        return {"threshold": label, "saved": saved, "idle": float(outcome.idle[b + 1]) / stages}

    def at(k: float) -> list[float]:
        return [k if i == b else NEVER for i in range(len(problem.places))]

    cold = problem.outcome(policy)
    rows = [row(k, problem.outcome(policy, thresholds=at(k))) for k in np.arange(1, 10) / 10]
    others = [problem.outcome(policy, kept=8), problem.outcome(policy, eager=True)]
    for label, outcome in zip((float("inf"), 0.0), others, strict=True):
        rows.append(row(label, outcome))
    return rows


def figures(problem: Hermes, point: Mapping[str, Any]) -> dict[str, Figure]:
    """name -> figure."""
    made = {
        "completion": completion_figure(problem, point),
        "ranks": rank_figure(problem, point),
        "schedule": schedule_figure(problem, point),
    }
    warm = [p for p, w in (("docker", problem.docker_warm_up), ("dnn", problem.dnn_warm_up)) if w > 0]
    warm = [p for p in warm if p in problem.places]
    if warm and not problem.pooled:
        made["prewarm"] = prewarm_figure(problem, warm)
    return made


def _axes(figure: Figure) -> Axes:
    axes = figure.add_subplot()
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def completion_figure(problem: Hermes, point: Mapping[str, Any]) -> Figure:
    """Share of applications done within a time, by policy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = _axes(figure)
    for name in SHOWN:
        outcome = outcome_of(problem, point) if name == THIS else problem.outcome(name)
        times = np.sort(outcome.completion[problem.counted])
        share = np.arange(1, len(times) + 1) / len(times)
        axes.plot(times, share, color=COLOURS[name], linewidth=2.2 if name == THIS else 1.4,
                  linestyle="--" if name == "oracle" else "-",
                  label=f"{name}, mean {times.mean():,.0f} s")  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, 1.01)
    axes.set_xlabel("time from arrival to end (s)")
    axes.set_ylabel("share of applications")
    axes.set_title(
        f"{problem.applications:,} applications, {problem.servers} server{'s' * (problem.servers > 1)}, "
        f"load {problem.load:g}",
        loc="left",
    )
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def rank_figure(problem: Hermes, point: Mapping[str, Any]) -> Figure:
    """Ranks of the first stage of each class by service so far; lowest is served first."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    table, rows = np.asarray(point["ranks"], float), problem.prospects.rows
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    axes = _axes(figure)
    shown: set[str] = set()
    colours = colormaps["tab10"]
    for i, (kind, unit, visit, _) in enumerate(rows):
        if kind in shown or visit > 0 or not unit or unit != problem.graphs[kind].first[0]:
            continue
        shown.add(kind)
        ages = np.append(problem.ages, problem.ages[-1] * 1.2)
        reached = problem.ages <= 1.3 * problem.prospects.own[i].max()
        last = max(2, int(reached.sum()))
        axes.step(
            np.maximum(ages[:last], 0.4), table[i, :last], where="post", color=colours(len(shown) % 10),
            linewidth=1.5, label=f"{kind}: {unit}",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("service in the first stage (s)")
    axes.set_ylabel("rank (lowest is served first)")
    axes.set_title("Rank curves by class", loc="left")
    figure.legend(frameon=False, loc="outside right center", fontsize=8)
    return figure


def schedule_figure(problem: Hermes, point: Mapping[str, Any], applications: int = 40) -> Figure:
    """Who was served when, for a slice of the applications; arrival and end marked."""
    from matplotlib.figure import Figure

    outcome = outcome_of(problem, point, record=20 * len(problem.jobs))
    first = len(problem.jobs) // 2
    chosen = np.arange(first, min(first + applications, len(problem.jobs)))
    jobs, kinds = problem.jobs, list(problem.graphs)
    from matplotlib import colormaps

    colours = colormaps["tab10"]
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    axes = _axes(figure)
    origin = float(jobs.arrival[chosen[0]])
    used = set()
    for y, j in enumerate(chosen):
        colour = colours(int(jobs.kind[j]) % 10)
        start, end = float(jobs.arrival[j]) - origin, float(outcome.finish[j]) - origin
        axes.plot([start, end], [y, y], color="#d5dae1", linewidth=1, zorder=1)
        axes.plot([start], [y], marker="|", color="#616e7c", markersize=6, zorder=2)
        own: Array = outcome.intervals[outcome.intervals[:, 0] == j]
        label = kinds[jobs.kind[j]]
        axes.barh(
            np.full(len(own), y), own[:, 3] - own[:, 2], left=own[:, 2] - origin, height=0.8, color=colour,
            zorder=3, label=None if label in used else label,
        )  # fmt: skip
        if len(own):
            used.add(label)
    ends = outcome.finish[chosen] - origin
    axes.set_xlim(-0.02 * np.quantile(ends, 0.9), float(np.quantile(ends, 0.9)) * 1.1)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.set_xlabel("time (s)")
    axes.set_ylabel("applications in order of arrival")
    axes.set_title("Service of consecutive applications (grey: in the system)", loc="left")
    figure.legend(frameon=False, loc="outside right center", fontsize=8)
    return figure


def prewarm_figure(problem: Hermes, places: list[str]) -> Figure:
    """Warm-up time saved against idle warmth, along the threshold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = _axes(figure)
    for place, colour in zip(places, ("#2f6f9f", "#c2410c"), strict=False):
        rows = trade_off(problem, place)
        curve = rows[:9]
        axes.plot([r["idle"] for r in curve], [r["saved"] for r in curve], marker="o", markersize=4,
                  color=colour, label=place)  # fmt: skip
        for r in (curve[0], curve[-1]):
            axes.annotate(f"K = {r['threshold']:.1f}", (r["idle"], r["saved"]), fontsize=7,
                          xytext=(4, -9), textcoords="offset points", color=colour)  # fmt: skip
        for r, marker, label in (
            (rows[9], "s", "kept after use"),
            (rows[10], "^", "start with stage before"),
        ):
            axes.scatter([r["idle"]], [r["saved"]], marker=marker, color=colour, facecolor="none",
                         label=f"{place}, {label}")  # fmt: skip
    axes.set_xlabel("warm and unused (s a stage)")
    axes.set_ylabel("warm-up time saved (s a stage)")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_title("Price of warm backends", loc="left")
    axes.legend(frameon=False, fontsize=8)
    return figure
