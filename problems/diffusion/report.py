"""What a schedule does, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import units
from . import budgeting
from .law import TENTHS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .astraea import Astraea, AstraeaShapes
    from .shares import Tenths

INK, ACCENT, FAINT = "#1f2933", "#c2410c", "#9aa5b1"


def summary(problem: Astraea, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answer, then schedules without a search at its share of tokens, as far as they were tried."""
    answer = budgeting.tenths_of(point["share"])
    kept = float(budgeting.with_first(answer).mean() / TENTHS)
    named: dict[str, Tenths] = {"this schedule": answer, **problem.baselines(kept)}
    made = []
    for name, tenths in named.items():
        if problem.trials.missing(tenths[None], problem.calibration):
            continue
        found = problem.trials.quality(tenths[None], problem.calibration)[0].mean(axis=0)
        costs = budgeting.costs(problem.law, tenths[None])
        made.append(
            {
                "schedule": name,
                "PSNR dB": float(found[1]),
                "SSIM": float(found[2]),
                "kept": float(costs["kept"][0]),
                "latency": units.show(float(costs["latency"][0]), "s", 3),
                "tenths": shown(tenths),
            }
        )
    return made


def shown(tenths: Tenths) -> str:
    """Tenths of all steps, a character each: X is a whole step.

    >>> shown(np.array([5, 0, 10]))
    'X50X'
    """
    return "X" + "".join("X" if value == TENTHS else str(value) for value in tenths.tolist())


def figures(problem: Astraea | AstraeaShapes, point: Mapping[str, Any]) -> dict[str, Figure]:
    """The schedule over the steps, above what each step is worth."""
    from matplotlib.figure import Figure

    tenths = budgeting.with_first(budgeting.tenths_of(point["share"])[None])[0]
    steps = np.arange(1, len(tenths) + 1)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    upper.bar(steps, tenths / TENTHS, color=INK, width=0.8)
    mean = float(tenths.mean() / TENTHS)
    upper.axhline(mean, color=ACCENT, linewidth=1)
    upper.annotate(
        f"mean {mean:.3g}", (steps[-1] + 0.6, mean), color=ACCENT, va="bottom", ha="right", fontsize=9
    )
    upper.set_ylabel("tokens computed")
    upper.set_ylim(0, 1.08)
    latency = float(budgeting.costs(problem.law, tenths[None, 1:])["latency"][0])
    upper.set_title(f"{problem.model} on {problem.device.name}: {units.show(latency, 's', 3)}", loc="left")
    table = problem.sensitivities
    for level, colour in ((0, ACCENT), (TENTHS // 2, FAINT)):
        lower.plot(steps[1:], table.error[:, level], color=colour, marker=".", linewidth=1,
                   label="no tokens" if level == 0 else "half of them")  # fmt: skip
    lower.set_yscale("symlog", linthresh=max(1e-12, float(np.median(table.error[:, 0]))))
    lower.set_ylim(bottom=0)
    lower.set_ylabel("error added by\nthis step")
    lower.set_xlabel("step" + (", errors transferred from the small model" if table.transferred else ""))
    lower.legend(frameon=False, fontsize=8, ncols=2)
    lower.xaxis.get_major_locator().set_params(integer=True)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return {"schedule": figure}
