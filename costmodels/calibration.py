"""Calibration: time real kernels here, fit every family, return a device that carries the result.

About 25 shapes a family are timed (`kernels.timing`), cases whose passes disagree by more than 30 % are
discarded, coefficients come from the same features as predictions, errors from a cross validation by
shape, and an extrapolation split (fit on the smaller three quarters, test on the largest) is reported.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..hardware.host import configuration_folder, probe
from ..hardware.record import Device
from .accuracy import accuracy
from .architectures import Architecture
from .cost import Cost
from .fitting import Samples, calibrated, fit, non_negative, predict
from .overhead import features as glue_features
from .sampling import Case, cases
from .training import layer_step

Array = NDArray[np.float64]
Progress = Callable[[float, str], None]
UNSTABLE = 0.3
LEAST = 8  # stable timings of a family
ABSURD = 0.5  # mean absolute error beyond which what was there before is better
SHAPES = 25
# What is timed: family and dtypes; "layer" last, because its glue is what the others leave.
PLAN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gemm", ("fp32", "bf16")),
    ("attention_prefill", ("fp32", "bf16")),
    ("attention_decode", ("fp32", "bf16")),
    ("elementwise", ("fp32", "bf16")),
    ("softmax", ("fp32", "bf16")),
    ("layer_norm", ("fp32", "bf16")),
    ("quantize", ("fp32",)),
    ("dequantize", ("fp32",)),
    ("gather", ("fp32",)),
    ("scatter", ("fp32",)),
    ("sort", ("fp32",)),
    ("layer", ("fp32", "bf16")),
)
WEIGHTS = {"gemm": 2.0, "elementwise": 2.0, "gather": 1.6, "scatter": 1.6}  # more terms, more shapes


# How much more work than a CPU core a GPU's shapes hold.
SCALE = {"cpu": 1.0, "gpu": 300.0, "accelerator": 300.0}


def plan(
    device: Device, shapes: int = SHAPES, families: Iterable[str] | None = None, seed: int = 0
) -> list[Case]:
    """The cases of a calibration: `shapes` a family and dtype, more where a family has more terms.

    On a CPU the largest arrays outgrow its last cache, as far as its memory holds them.
    """
    most = 0.0
    if device.kind == "cpu":
        *caches, memory = (float(device.level(name).capacity) for name in device.levels)
        most = min(max(caches) / 2, memory / 32)  # elements: 4 caches of fp32 read and written
    chosen = dict(PLAN) if families is None else {name: dict(PLAN)[_known(name)] for name in families}
    return [
        case
        for family, dtypes in chosen.items()
        for dtype in dtypes
        for case in cases(
            family, dtype, round(shapes * WEIGHTS.get(family, 1.0)), seed, SCALE[device.kind], most
        )
    ]


def _known(name: str) -> str:
    if name not in dict(PLAN):
        raise DataError(f"cannot time '{name}' here; choose from {', '.join(dict(PLAN))}")
    return name


def calibrate(
    device: Device | None = None,
    *,
    shapes: int = SHAPES,
    families: Iterable[str] | None = None,
    passes: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Device:
    """Time and fit; returns the device with its `calibration`. `store` keeps it.

    device: whose record to calibrate, this CPU (one thread) by default; a GPU's record times on CUDA.
    progress: called with the fraction done and the family at hand. A family whose fit is off by more than
    `ABSURD` on shapes kept aside, or whose timings were not stable, keeps what it had, with a warning.
    Raises DataError where there is no such device here, or no family could be fitted.
    """
    from .kernels.timing import same_card, time_cases, timed_on  # torch is imported here, not before

    target = probe() if device is None else device
    where = timed_on(target)
    same_card(target)
    drawn = plan(target, shapes, families, seed)
    timing = time_cases(drawn, device=where, passes=passes, seed=seed, progress=progress)
    return fitted(target, drawn, timing.seconds, timing.spread)


def samples(drawn: list[Case], seconds: Array, spread: Array) -> dict[tuple[str, str], Samples]:
    """The stable cases by family and dtype; "layer" is not a family and left out."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, case in enumerate(drawn):
        if case.family != "layer" and spread[index] <= UNSTABLE:
            found.setdefault((case.family, case.dtype), []).append(index)
    return {
        (family, dtype): Samples(
            family,
            dtype,
            {name: np.array([drawn[i].shape[name] for i in rows]) for name in drawn[rows[0]].shape},
            seconds[rows],
            np.array([drawn[i].group for i in rows]),
            "timed on this machine",
        )
        for (family, dtype), rows in found.items()
    }


def fitted(device: Device, drawn: list[Case], seconds: Array, spread: Array) -> Device:
    """The device with coefficients of every timed family that could be fitted; others keep what they had.

    Raises DataError where there is none.
    """
    calibration: dict[str, dict[str, Any]] = {
        name: dict(entries) for name, entries in device.calibration.items()
    }
    stable = samples(drawn, seconds, spread)
    wanted = dict.fromkeys((c.family, c.dtype) for c in drawn if c.family != "layer")
    refused: list[str] = []
    for family, dtype in wanted:
        rows = stable.get((family, dtype))
        if rows is None or len(rows) < LEAST:
            count = 0 if rows is None else len(rows)
            refused.append(f"{family} {dtype} ({count} stable timings, {LEAST} are needed)")
            continue
        entry = calibrated(device, rows)
        error = entry["report"]["mape"]
        if not error <= ABSURD:
            refused.append(f"{family} {dtype} (off by {error:.0%} on shapes kept aside)")
            continue
        entry["report"]["extrapolation"] = extrapolation(device, rows)
        calibration.setdefault(family, {})[dtype] = entry
    target = replace(device, calibration=calibration)
    glued = _glue(target, drawn, seconds, spread)
    refused += [f"layer {dtype} (off by {error:.0%})" for dtype, error in _absurd(glued).items()]
    glued = {dtype: entry for dtype, entry in glued.items() if dtype not in _absurd(glued)}
    if refused:
        sentence = f"not calibrated: {', '.join(refused)}; use a quieter machine, or more --shapes"
        if len(refused) >= len(wanted) and not glued:
            raise DataError(f"{sentence}. Nothing is kept.")
        warnings.warn(f"{sentence}.", stacklevel=2)
    glue = {**calibration.get("glue", {}), **glued}
    return replace(target, calibration={**calibration, "glue": glue}) if glue else target


def _absurd(glued: Mapping[str, Any]) -> dict[str, float]:
    """The fits of whole layers that are off by too much: dtype -> error."""
    errors = {dtype: entry["report"]["mape"] for dtype, entry in glued.items()}
    return {dtype: error for dtype, error in errors.items() if not error <= ABSURD}


def extrapolation(device: Device, rows: Samples) -> float:
    """Mean absolute error on the largest quarter, fitted on the smaller three quarters."""
    order = np.argsort(rows.seconds)
    cut = 3 * len(rows) // 4
    small, large = rows.take(order[:cut]), rows.take(order[cut:])
    return round(accuracy(predict(device, large, fit(device, small)), large.seconds).mape, 4)


def block(case: Case) -> Architecture:
    """The layer a case times: one plain block, 4x inner width."""
    hidden, heads = int(case.shape["hidden"]), int(case.shape["heads"])
    return Architecture("block", 1, hidden, heads, heads, hidden // heads, 4 * hidden, 0, gated=False)


def layer_time(device: Device, case: Case) -> tuple[float, float]:
    """Predicted seconds of a timed layer: its operators, and its glue."""
    batch, sequence = case.shape["batch"], case.shape["sequence"]
    costs = layer_step(device, block(case), batch=batch, sequence=sequence, dtype=case.dtype).forward
    operators = sum((cost for name, cost in costs.items() if name != "glue"), Cost.zero())
    return float(operators.time), float(costs["glue"].time)


def _glue(device: Device, drawn: list[Case], seconds: Array, spread: Array) -> Mapping[str, Any]:
    """Coefficients of what whole layers cost beyond their operators, by dtype."""
    found: dict[str, Any] = {}
    bare = replace(device, calibration={k: v for k, v in device.calibration.items() if k != "glue"})
    for dtype in dict.fromkeys(case.dtype for case in drawn if case.family == "layer"):
        rows = [
            i
            for i, c in enumerate(drawn)
            if c.family == "layer" and c.dtype == dtype and spread[i] <= UNSTABLE
        ]
        if len(rows) < LEAST:
            continue
        tokens = np.array([drawn[i].shape["batch"] * drawn[i].shape["sequence"] for i in rows])
        hidden = np.array([drawn[i].shape["hidden"] for i in rows])
        terms = glue_features(device, dtype, tokens=tokens, hidden=hidden).terms
        known = np.array([layer_time(bare, drawn[i])[0] for i in rows])
        matrix = np.stack([*terms.values(), known], axis=1)
        # The operators' own sum keeps its coefficient of one: only the rest is explained.
        values = non_negative(
            matrix, seconds[rows], [0.0] * len(terms) + [1.0], [np.inf] * len(terms) + [1.0 + 1e-9]
        )
        found[dtype] = {
            "values": dict(zip(terms, values[:-1], strict=True)),
            "sigma": 0.5,
            "report": accuracy(matrix @ np.array(values), seconds[rows]).record(),
        }
    return found


def store(device: Device, path: Path | None = None) -> Path:
    """Keep a calibrated device as JSON; `hardware.device` finds it by the default path."""
    target = path or configuration_folder() / f"{device.name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(device.record(), indent=1))
    partial.replace(target)
    return target
