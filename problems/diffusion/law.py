"""What a step with a share of the tokens costs: seconds, operations, memory; by shapes, or as measured.

A run's time is the sum over its steps. The whole step takes the plain path, and a step without tokens
none, so both stand apart from the line between them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...costmodels import OutsideCalibration
from ...costmodels.diffusion import VideoTransformer, denoising_step
from ...hardware import Device

Array = npt.NDArray[np.float64]
TENTHS = 10
SHARES = np.arange(TENTHS + 1) / TENTHS


@dataclass(frozen=True, eq=False)
class StepLaw:
    """Costs of one step by tenths of the tokens, each (11,).

    seconds, flops: of one video. sigma: relative error of the seconds of a run. cache: bytes kept from step
    to step where any step is partial.
    """

    seconds: Array
    flops: Array
    sigma: float
    cache: float

    def total(self, costs: Array, tenths: npt.NDArray[np.int64]) -> Array:
        """Sum over the steps of a schedule: tenths (..., steps) -> (...)."""
        return np.asarray(costs[tenths].sum(axis=-1))


def shape_law(
    device: Device, model: VideoTransformer, *, ways: int = 1, full_time: float | None = None
) -> StepLaw:
    """The law of a model by its shape on a device, or on `ways` of them that split the rows.

    full_time: seconds that a full run was measured to take on one device. What it exceeds the model's own
    time by (calls, unfused passes, text and pixels) is then added in proportion to the tokens computed,
    split over the devices: an assumption, the whole of what is known about that time being its size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        cost = denoising_step(device, model, kept=SHARES, ways=ways)
        alone = denoising_step(device, model) if full_time else None
    seconds, flops = np.asarray(cost.time, float), np.asarray(cost.flops, float)
    if alone is not None and full_time is not None:
        unexplained = max(0.0, full_time / model.steps - float(alone.time))
        seconds = seconds + unexplained * SHARES / ways
    sigma = float(np.max(np.broadcast_to(cost.sigma, SHARES.shape)))
    return StepLaw(seconds, flops, sigma, model.cache_bytes())
