"""Collectives among devices of one node or over a network: ring volume, hops, launch.

Volumes a device sends: all-reduce 2(n-1)/n of the message, the others (n-1)/n (Thakur et al. 2005).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..hardware.record import Device
from .cost import Cost, Number
from .evaluate import Features, Shape, evaluate

VOLUME = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0}


def features(
    device: Device, dtype: str, *, bytes: Number, devices: Number, operation: str, link: str
) -> Features:
    """Launch, a latency a hop, ring volume at the link's rate; one device has nothing to do.

    Short messages use protocols with less latency and less bandwidth: "small" and "medium" are the
    first 1 MiB and 16 MiB of the volume, "staged" a latency that grows up to 32 KiB.
    """
    way = device.link(link)
    busy = np.where((np.asarray(bytes) > 0) & (np.asarray(devices) > 1), 1.0, 0.0)
    others = np.maximum(devices - 1.0, 0.0)
    volume = VOLUME[operation] * bytes * others / np.maximum(devices, 1.0)
    return Features(
        terms={
            "launch": busy * device.launch,
            "hops": busy * others * way.latency,
            "staged": busy * np.minimum(bytes / 2.0**15, 1.0) * way.latency,
            "small": np.minimum(volume, 2.0**20) / way.bandwidth,
            "medium": np.minimum(volume, 2.0**24) / way.bandwidth,
            "link": volume / way.bandwidth,
        },
        flops=0.0 * volume,
        traffic={link: volume},
        peak=1.0,
    )


def _collective(operation: str, device: Device, bytes: Shape, devices: Shape, link: str) -> Cost:
    law = partial(features, operation=operation, link=link)
    return evaluate(operation, law, device, "int8", bytes=bytes, devices=devices)


def all_reduce(device: Device, *, bytes: Shape, devices: Shape, link: str = "nvlink") -> Cost:
    """Sum of a message of `bytes` on every one of `devices`.

    >>> from tradespace.hardware import device
    >>> float(all_reduce(device("h100-sxm-80gb"), bytes=2**20, devices=1).time)
    0.0
    """
    return _collective("all_reduce", device, bytes, devices, link)


def all_gather(device: Device, *, bytes: Shape, devices: Shape, link: str = "nvlink") -> Cost:
    """Every device ends with all `bytes`, of which it held 1/devices."""
    return _collective("all_gather", device, bytes, devices, link)


def reduce_scatter(device: Device, *, bytes: Shape, devices: Shape, link: str = "nvlink") -> Cost:
    """Every device ends with 1/devices of the sum of messages of `bytes`."""
    return _collective("reduce_scatter", device, bytes, devices, link)


def all_to_all(device: Device, *, bytes: Shape, devices: Shape, link: str = "nvlink") -> Cost:
    """Every device sends 1/devices of its `bytes` to every other."""
    return _collective("all_to_all", device, bytes, devices, link)
