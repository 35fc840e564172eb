"""Errors of the cost models, to draw from: one deviation a family, shared by all its operators."""

from __future__ import annotations

import numpy as np

from ..hardware.record import Device
from .conformal import Z
from .cost import Cost, Number
from .families import FAMILIES


def draw(device: Device, rng: np.random.Generator, draws: int | None = None) -> Device:
    """The device under one draw of its model errors (or `draws` of them, on the last axis).

    The deviation of a family multiplies every operator's time by exp(z sigma): coefficients are wrong
    for all operators of a family together. The same generator state gives common random numbers.

    >>> from tradespace.hardware import device
    >>> draw(device("a100-sxm-80gb"), np.random.default_rng(0), draws=100).shape
    (100,)
    """
    deviations = {name: rng.standard_normal(draws) for name in sorted(FAMILIES)}
    return device.deviating({k: float(v) if draws is None else v for k, v in deviations.items()})


def interval(cost: Cost, z: float = Z) -> tuple[Number, Number]:
    """The interval of the time (s); the default z makes it the 90 % conformal one for a single operator."""
    return cost.time * np.exp(-z * cost.sigma), cost.time * np.exp(z * cost.sigma)
