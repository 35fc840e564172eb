"""Pictures of ASTRAEA's reproduction: published ratios beside ours, and what schedules do to our model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .law import TENTHS
from .published import BUDGETS, TABLE
from .report import ACCENT, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .astraea import Astraea

SHOWN = ("uniform", "ramp down", "u-shape", "fewer steps", "knapsack", "chosen steps")
COLOURS = {"chosen steps": ACCENT, "fewer steps": INK, "uniform": "#2563eb", "knapsack": "#15803d",
           "ramp down": "#9333ea", "u-shape": "#d97706"}  # fmt: skip
FRAMES = ("full run", "chosen steps", "fewer steps", "uniform")
Points = Mapping[str, list[tuple[float, float]]]


def ratios(ours: Mapping[tuple[str, str, float], float]) -> Figure:
    """Published against our share of the full run's operations and seconds, a point a model and budget."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("operations", "seconds on an A100"), strict=True):
        axes.plot([0.35, 0.85], [0.35, 0.85], color=FAINT, linewidth=1)
        for place, name in enumerate(TABLE):
            row = TABLE[name].pflop if quantity == "operations" else TABLE[name].a100
            paper = [row[i] / row[0] for i in range(1, len(BUDGETS) + 1)]
            mine = [ours[quantity, name, budget] for budget in BUDGETS]
            mark = {"marker": "osD^v"[place % 5], "color": f"C{place}", "linestyle": "", "markersize": 6}
            axes.plot(paper, mine, label=name, alpha=0.85, **mark)
            counted = [ours[key] for b in BUDGETS if (key := (f"{quantity} as counted", name, b)) in ours]
            if counted:
                label = f"{name},\nas its row is counted"
                axes.plot(paper, counted, label=label, markerfacecolor="none", **mark)
        axes.set(xlabel="paper", ylabel="ours", aspect="equal")
        axes.set_title(f"{quantity}, over the full run".capitalize().replace("a100", "A100"), fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        if quantity == "operations":
            axes.legend(frameon=False, fontsize=7, loc="upper left")
    return figure


def front(lines: Points, ylabel: str, title: str, points: Points | None = None) -> Figure:
    """Quality against time: a line for each way to make schedules; points: of other runs, not joined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, found in lines.items():
        along = np.array(sorted(found))
        axes.plot(along[:, 0], along[:, 1], marker=".", color=COLOURS.get(name), linewidth=1.4, label=name)
    for name, found in (points or {}).items():
        along = np.array(sorted(found))
        axes.step(along[:, 0], along[:, 1], "--", where="post", linewidth=1, marker="x", label=name)
    axes.set(xlabel="time over that of the full run", ylabel=ylabel, title=title)
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def schedules(problem: Astraea) -> Figure:
    """The tokens of each step by hand-written and chosen schedules at the problem's budget, best above."""
    from matplotlib.figure import Figure

    named = {name: problem.baselines(problem.budget)[name] for name in SHOWN}
    scores = problem.score([{"share": (tenths / TENTHS).tolist()} for tenths in named.values()]).metrics
    order = np.argsort(scores["psnr"])
    names = list(named)
    image = np.array([[TENTHS, *named[names[i]]] for i in order]) / TENTHS
    figure = Figure(figsize=(7.6, 3.0), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(image, aspect="auto", origin="lower", cmap="Greys", vmin=0, vmax=1)
    labels = [
        f"{names[i]}\n{scores['psnr'][i]:.1f} dB, {scores['time_share'][i]:.2f} of the time" for i in order
    ]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_xticks(range(problem.steps), [str(i + 1) for i in range(problem.steps)], fontsize=7)
    axes.set_xlabel("step")
    figure.colorbar(shown, ax=axes, label="tokens computed")
    return figure


def frames(problem: Astraea) -> Figure:
    """Clips of unseen prompts: the full run and schedules of the problem's budget."""
    from matplotlib.figure import Figure

    from .application import contact_sheet
    from .trials import unseen_prompts

    full = np.full(problem.later_steps, TENTHS)
    named = {"full run": full, **problem.baselines(problem.budget)}
    prompts = unseen_prompts(2, problem.trials.model.config.classes)
    sheet = contact_sheet(problem.trials, {name: named[name] for name in FRAMES}, prompts)
    width, height = sheet.size
    figure = Figure(figsize=(width / 100, height / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(sheet), interpolation="nearest")
    axes.set_axis_off()
    return figure


def small_model(problem: Astraea, budgets: tuple[float, ...]) -> dict[str, Figure]:
    """The front, the schedules and the frames of the small model."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for budget in budgets:
        named = problem.baselines(budget)
        for name in SHOWN:
            found: Any = problem.score({"share": (named[name] / TENTHS).tolist()}).metrics
            lines.setdefault(name, []).append((float(found["time_share"][0]), float(found["psnr"][0])))
    return {
        "front": front(
            lines, "PSNR, calibration prompts (dB)", "The small model: schedules without a search"
        ),
        "schedules": schedules(problem),
        "frames": frames(problem),
    }
