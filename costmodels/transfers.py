"""Copies over a link: host memory, another device, a disk."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, evaluate


def features(device: Device, dtype: str, *, bytes: Number, link: str) -> Features:
    """The link's latency where there is something to move, and bytes at its raw rate."""
    way = device.link(link)
    return Features(
        terms={
            "latency": np.where(np.asarray(bytes) > 0, 1.0, 0.0) * way.latency,
            "link": bytes / way.bandwidth,
        },
        flops=0.0 * np.asarray(bytes),
        traffic={link: bytes},
        peak=1.0,
    )


def transfer(device: Device, *, bytes: Shape, link: str = "pcie", pinned: bool = True) -> Cost:
    """One copy of `bytes` over a link in one direction. Pageable memory attains about half the rate.

    >>> from tradespace.hardware import device
    >>> float(transfer(device("a100-sxm-80gb"), bytes=2**30).time) > 2**30 / 31.5e9
    True
    """
    cost = evaluate("transfer", partial(features, link=link), device, "int8", bytes=bytes)
    return cost if pinned else cost * 2.0
