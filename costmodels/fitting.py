"""Coefficients from measurements: the same features as prediction, relative loss, nothing negative.

Linear families: non-negative least squares on term / measured against 1, re-weighted a few times so
that outliers do not lead (Daubechies et al. 2010). Tiled products: least squares on the log ratio with
a soft-L1 loss, inside physical bounds, drawn weakly to a prior where there are few shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..hardware.dtypes import canonical
from ..hardware.record import Device
from .accuracy import accuracy
from .conformal import profile
from .evaluate import Features
from .families import family as family_of

Array = NDArray[np.float64]
ROUNDS = 6
FOLDS = 5
MOST = 4000  # shapes a non-linear fit looks at


@dataclass(frozen=True, eq=False)
class Samples:
    """Measured kernels of one family: shapes (n,) by name, seconds (n,), group (n,) for the split."""

    family: str
    dtype: str
    shapes: Mapping[str, Array]
    seconds: Array
    group: Array
    source: str = ""

    def __post_init__(self) -> None:
        expected = set(family_of(self.family).shapes)
        if set(self.shapes) != expected:
            missing = ", ".join(sorted(expected - set(self.shapes))) or "nothing"
            raise DataError(
                f"samples of {self.family} must have {', '.join(sorted(expected))}; missing {missing}"
            )
        if not np.all(self.seconds > 0):
            raise DataError(f"samples of {self.family} must have positive times")

    def __len__(self) -> int:
        return len(self.seconds)

    def take(self, index: Any) -> Samples:
        """The chosen rows."""
        shapes = {name: values[index] for name, values in self.shapes.items()}
        return Samples(self.family, self.dtype, shapes, self.seconds[index], self.group[index], self.source)

    def features(self, device: Device) -> Features:
        """The features of every row on a device."""
        return family_of(self.family).features(device, canonical(self.dtype), **self.shapes)


def fit(device: Device, samples: Samples, prior: Mapping[str, float] | None = None) -> dict[str, float]:
    """Coefficients of the family on these samples.

    prior: coefficients of a sibling or defaults, drawing a tiled fit where there are few shapes.
    """
    features = samples.features(device)
    if features.law is not None:
        return _fit_law(device, samples, prior)
    matrix = np.stack([np.broadcast_to(t, samples.seconds.shape) for t in features.terms.values()], axis=1)
    least = [_LEAST.get(name, 0.0) if device.kind == "gpu" else 0.0 for name in features.terms]
    return dict(zip(features.terms, non_negative(matrix, samples.seconds, least), strict=True))


# No access that misses every cache is faster than the datasheet's memory, no message than its link.
# Without these bounds collinear terms trade places, and a sweep of bandwidth would change nothing.
_LEAST = {"dram": 1.0, "link": 1.0}


def non_negative(
    terms: Array, seconds: Array, least: Sequence[float] = (), most: Sequence[float] = ()
) -> list[float]:
    """Coefficients of the columns of `terms` (n, k) that predict `seconds` (n,), by relative error.

    least, most: the physical bounds of each coefficient, 0 and infinity where there are none.
    """
    from scipy.optimize import lsq_linear

    rows = terms / seconds[:, None]
    scale = np.linalg.norm(rows, axis=0)
    used = scale > 0
    rows = rows[:, used] / scale[used]
    low = (np.asarray(least) if len(least) else np.zeros(terms.shape[1]))[used] * scale[used]
    high = (np.asarray(most) if len(most) else np.full(terms.shape[1], np.inf))[used] * scale[used]
    weight = np.ones(len(seconds))
    solution = low
    for _ in range(ROUNDS):
        triangle: Any = np.linalg.qr(np.column_stack([rows * weight[:, None], weight]), mode="r")
        found = lsq_linear(triangle[:, :-1], triangle[:, -1], (low, high), method="bvls", lsq_solver="exact")
        solution = found.x
        weight = 1.0 / np.sqrt(np.maximum(np.abs(rows @ solution - 1.0), 0.05))
    values = np.zeros(terms.shape[1])
    values[used] = solution / scale[used]
    return [float(value) for value in np.where(values < 1e-12, 0.0, values)]


def _fit_law(device: Device, samples: Samples, prior: Mapping[str, float] | None) -> dict[str, float]:
    from scipy.optimize import least_squares

    if len(samples) > MOST:
        samples = samples.take(np.random.default_rng(0).permutation(len(samples))[:MOST])
    features = samples.features(device)
    assert features.law is not None
    law, bounds = features.law, features.bounds
    names = list(bounds)
    start, low, high = (np.log([bounds[name][i] for name in names]) for i in range(3))
    if prior is not None:
        start = np.clip(np.log([prior[name] for name in names]), low, high)
    # The prior weighs as much as one shape a coefficient that is 2x off and 10 % wrong.
    pull = np.full(len(names), 0.1 / np.log(2.0)) if prior is not None else np.full(len(names), 1e-6)
    centre = start.copy()
    start = np.clip(start, low + 1e-6, high - 1e-6)

    def residual(logs: Array) -> Array:
        c = dict(zip(names, np.exp(logs), strict=True))
        miss = np.log(np.asarray(law(c)) / samples.seconds)
        return np.concatenate([miss, pull * (logs - centre)])

    found = least_squares(residual, start, bounds=(low, high), loss="soft_l1", f_scale=0.1, max_nfev=80)
    return {name: float(np.exp(value)) for name, value in zip(names, found.x, strict=True)}


def predict(device: Device, samples: Samples, values: Mapping[str, float]) -> Array:
    """Seconds (n,) of the samples under one set of coefficients."""
    return np.broadcast_to(samples.features(device).time(values), samples.seconds.shape).astype(np.float64)


def cross_validate(device: Device, samples: Samples, folds: int = FOLDS, seed: int = 0) -> Array:
    """Seconds (n,) of every sample, predicted by coefficients that never saw its group."""
    groups = np.unique(samples.group)
    folds = min(folds, len(groups))
    if folds < 2:
        raise DataError(f"{samples.family}: at least two groups of shapes are needed, got {len(groups)}")
    order = np.random.default_rng(seed).permutation(len(groups)) % folds
    fold = order[np.searchsorted(groups, samples.group)]
    predicted = np.empty(len(samples))
    for turn in range(folds):
        held = fold == turn
        values = fit(device, samples.take(~held))
        predicted[held] = predict(device, samples.take(held), values)
    return predicted


def calibrated(device: Device, samples: Samples, seed: int = 0) -> dict[str, Any]:
    """The record of a calibrated family: coefficients of all samples, errors of the cross validation."""
    predicted = cross_validate(device, samples, seed=seed)
    values = fit(device, samples)
    features = samples.features(device)
    flow = next(iter(features.traffic.values()))
    ranges = {"flops": features.flops, "bytes": flow}
    return {
        "values": {name: float(f"{value:.6g}") for name, value in values.items() if value > 0},
        **profile(predicted, samples.seconds),
        "ranges": {
            name: [float(f"{np.min(v):.4g}"), float(f"{np.max(v):.4g}")]
            for name, v in ranges.items()
            if np.max(v) > 0
        },
        "report": accuracy(predicted, samples.seconds).record()
        | {"split": f"{FOLDS} folds by group of shapes", "groups": len(np.unique(samples.group))},
        "source": samples.source,
    }
