"""Validation: predictions against real kernels here, or against stored measurements of a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..hardware.load import device as find_device
from ..hardware.record import Device
from .accuracy import Accuracy, accuracy
from .calibration import PLAN, UNSTABLE, layer_time, plan, samples
from .coefficients import find
from .conformal import coverage, sigma_at
from .evaluate import checked
from .fitting import Samples, cross_validate, predict
from .profiles import load
from .shipping import joined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Row:
    """One family on one device: its accuracy, the noise floor of the measurement, the points themselves.

    noise: median disagreement between passes (None for stored data). covered: fraction inside the 90 %
    interval. held: how the coefficients avoided these shapes.
    """

    device: str
    family: str
    dtype: str
    accuracy: Accuracy
    noise: float | None
    covered: float
    tier: str
    held: str
    predicted: Array
    measured: Array

    def record(self) -> dict[str, Any]:
        """JSON types, without the points."""
        return {
            "device": self.device,
            "family": self.family,
            "dtype": self.dtype,
            **self.accuracy.record(),
            "noise": self.noise,
            "covered": round(self.covered, 4),
            "tier": self.tier,
            "held": self.held,
        }


def run(
    device: Device | None = None,
    *,
    families: Iterable[str] | None = None,
    shapes: int = 25,
    passes: int = 3,
    seed: int = 1,
    progress: Progress | None = None,
) -> list[Row]:
    """Time fresh shapes of every family here and compare with the device's predictions.

    The seed differs from calibration's, so no shape was seen. progress: fraction done and family.
    """
    from .kernels.timing import time_cases, timed_on

    target = find_device("host") if device is None else device
    where = timed_on(target)
    drawn = plan(target, shapes, families, seed)
    timing = time_cases(drawn, where, passes, seed, progress)
    rows = []
    for (family, dtype), part in samples(drawn, timing.seconds, timing.spread).items():
        spread = [
            timing.spread[i] for i, case in enumerate(drawn) if case.family == family and case.dtype == dtype
        ]
        rows.append(_row(target, part, _predicted(target, part), "fresh shapes", float(np.median(spread))))
    for dtype in dict(PLAN)["layer"]:
        chosen = [i for i, c in enumerate(drawn) if c.family == "layer" and c.dtype == dtype]
        stable = [i for i in chosen if timing.spread[i] <= UNSTABLE]
        if len(stable) < 3:
            continue
        predicted = np.array([sum(layer_time(target, drawn[i])) for i in stable])
        measured = timing.seconds[stable]
        sigma = np.full(len(stable), find(target, "gemm", dtype).sigma)
        rows.append(
            Row(
                target.name,
                "layer",
                dtype,
                accuracy(predicted, measured),
                float(np.median(timing.spread[chosen])),
                coverage(predicted, measured, sigma),
                find(target, "gemm", dtype).tier,
                "fresh shapes",
                predicted,
                measured,
            )
        )
    if not rows:
        raise DataError("too few timings were stable to compare; use a quieter machine, or more --shapes.")
    return rows


def run_profiles(
    folder: Path,
    device: str | None = None,
    families: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """The same on stored measurements: predictions by coefficients that never saw a shape's group."""
    wanted = None if families is None else set(families)
    parts: dict[tuple[str, str, str], list[Samples]] = {}
    for name, _, rows in load(folder, device):
        if wanted is None or rows.family in wanted:
            parts.setdefault((name, rows.family, rows.dtype), []).append(rows)
    if not parts:
        raise DataError(
            f"{folder} holds no measurements of {device or 'any known device'} for these families"
        )
    table = []
    for done, ((name, family, _), pieces) in enumerate(parts.items()):
        target, rows = find_device(name), joined(pieces)
        table.append(_row(target, rows, cross_validate(target, rows), "5 folds by group", None))
        if progress:
            progress((done + 1) / len(parts), f"{name} {family}")
    return table


def _predicted(device: Device, rows: Samples) -> Array:
    for name, values in rows.shapes.items():
        checked(name, values)
    return predict(device, rows, find(device, rows.family, rows.dtype).values)


def _row(device: Device, rows: Samples, predicted: Array, held: str, noise: float | None) -> Row:
    found = find(device, rows.family, rows.dtype)
    sigma = (
        sigma_at(predicted, found.decades, found.sigmas) if found.decades else np.full(len(rows), found.sigma)
    )
    return Row(
        device.name,
        rows.family,
        rows.dtype,
        accuracy(predicted, rows.seconds),
        noise,
        coverage(predicted, rows.seconds, sigma),
        found.tier,
        held,
        predicted,
        rows.seconds,
    )


def scatter(rows: Iterable[Row]) -> Figure:
    """Predicted against measured time of every point, one colour a family, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    table = list(rows)
    for row in table:
        axes.loglog(row.measured, row.predicted, ".", markersize=4, label=f"{row.family} {row.dtype}")
    low = min(float(row.measured.min()) for row in table)
    high = max(float(row.measured.max()) for row in table)
    axes.loglog([low, high], [low, high], "k-", linewidth=0.8)
    axes.set(xlabel="measured (s)", ylabel="predicted (s)", title="Cost models against real kernels")
    axes.legend(fontsize="small")
    return figure
