"""A schedule carried out: clips with it and without, on the prompts it was found on and on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError
from ..problem import Progress
from . import budgeting, quality
from .law import TENTHS
from .measured import CLIPS
from .report import shown
from .schedule import Schedule
from .trials import Prompt, Trials, unseen_prompts

if TYPE_CHECKING:
    from .astraea import Astraea, AstraeaShapes
    from .shares import Tenths

TEST_PROMPTS = 8
SHEET_PROMPTS = 3
SCALE = 3
"""Pixels of the sheet for one of the clip."""


def export(problem: Astraea | AstraeaShapes, point: Mapping[str, Any], out: Path) -> list[dict[str, Any]]:
    """Write the schedule as JSON; one row with what it costs."""
    tenths = budgeting.tenths_of(point["share"])
    costs = {name: float(values[0]) for name, values in budgeting.costs(problem.law, tenths[None]).items()}
    path = _folder(out) / "schedule.json"
    budgets = tuple(value / TENTHS for value in budgeting.with_first(tenths[None])[0].tolist())
    Schedule(budgets, problem.weights, f"{problem.model}, {len(budgets)} steps").save(path)
    return [
        {
            "schedule": shown(tenths),
            "predicted s": costs["latency"],
            "of the full run": costs["time_share"],
            "kept": costs["kept"],
            "file": str(path),
        }
    ]


def apply(
    problem: Astraea, point: Mapping[str, Any], *, seed: int, out: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Rows for `optimize apply`: the full run, the schedule, the plain ones at its share of the tokens."""
    answer = budgeting.tenths_of(point["share"])
    file = export(problem, point, out)[0]["file"]
    trials, law = problem.trials, problem.law
    kept = float(budgeting.with_first(answer).mean() / TENTHS)
    unseen = unseen_prompts(TEST_PROMPTS, trials.model.config.classes, seed)
    full = np.full(problem.later_steps, TENTHS)
    named: dict[str, Tenths] = {"full run": full, "this schedule": answer, **problem.baselines(kept)}
    rows = []
    for i, (name, tenths) in enumerate(named.items()):
        progress(f"sampling, {name}", i / len(named))
        clips = trials.clips(tenths.tolist(), unseen[:CLIPS], batch=CLIPS)  # as the law was timed
        seen, other = (trials.quality(tenths[None], prompts)[0] for prompts in (problem.calibration, unseen))
        rows.append(
            {
                "schedule": name,
                "tenths": shown(tenths),
                "predicted s": float(budgeting.costs(law, tenths[None])["latency"][0]),
                "measured s": clips.seconds / CLIPS,
                "calibration PSNR": float(seen[:, 1].mean()),
                "unseen PSNR": float(other[:, 1].mean()),
                "unseen worst": float(other[:, 1].min()),
                "unseen SSIM": float(other[:, 2].mean()),
                "note": f"written to {file}" if name == "this schedule" else "",
            }
        )
    progress("frames side by side", 1.0)
    sheet = contact_sheet(
        trials, {n: named[n] for n in ("full run", "this schedule", "uniform")}, unseen[:SHEET_PROMPTS]
    )
    sheet.save(_folder(out) / "frames.png")
    rows[1]["note"] = f"{rows[1]['note']}, frames side by side in frames.png"
    return rows


def contact_sheet(trials: Trials, named: Mapping[str, Tenths], prompts: Sequence[Prompt]) -> Any:
    """Frames of clips side by side, a row a schedule and prompt, as a picture with its names."""
    from PIL import Image, ImageDraw

    rows = []
    for prompt in prompts:
        full = None
        for name, tenths in named.items():
            clip = quality.pixels(trials.clips(tenths.tolist(), [prompt]).latents)[0]
            full = clip if full is None else full
            label = name if full is clip else f"{name}\n{quality.psnr(clip, full):.1f} dB"
            rows.append((label, np.concatenate(list(clip), axis=1)))
    margin, gap = 110, 4
    height, width = rows[0][1].shape[:2]
    sheet = Image.new("RGB", (margin + width * SCALE, len(rows) * (height * SCALE + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (label, strip) in enumerate(rows):
        top = i * (height * SCALE + gap)
        picture = Image.fromarray(strip).resize((width * SCALE, height * SCALE), Image.Resampling.NEAREST)
        sheet.paste(picture, (margin, top))
        draw.text((6, top + 6), label, fill="black")
    return sheet


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {out} cannot be made: {error.strerror}.") from None
    return out
