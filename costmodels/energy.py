"""Energy: arithmetic, traffic by level, and what the device draws when busy; events of a custom core.

Energies of one study come from one table: a device record has one, and `hardware.blocks` refuses to mix.
Prefer ratios between designs on one node to absolute joules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import DataError, nearest
from ..hardware.record import Device
from .cost import Number

if TYPE_CHECKING:
    from ..hardware.blocks import Block


def operator_energy(
    device: Device, dtype: str, flops: Number, traffic: Mapping[str, Number], time: Number
) -> Number | None:
    """flops x J/flop + sum over levels of bytes x J/B + busy (else idle) power x time; None if unknown."""
    arithmetic = device.known(f"energy.{dtype}")
    if arithmetic is None:
        arithmetic = device.known("energy.fp32")
    if arithmetic is None:
        return None
    base = device.known("busy_power")
    if base is None:
        base = device.known("idle_power")
    energy: Number = flops * arithmetic + (0.0 if base is None else base) * time
    for level, moved in traffic.items():
        joules = device.known(f"{level}.energy")
        if joules is None:
            return None
        energy = energy + moved * joules
    return energy


def core_energy(core: Block, events: Mapping[str, Number], seconds: Number) -> Number:
    """Energy (J) of a custom core: events x J/event, and leakage over the time.

    events: how often each of the core's events happens, such as {"mac": 1e9, "buffer.read": 2e7}.

    >>> from tradespace.hardware.blocks import mac_array
    >>> from tradespace.hardware.technology import technology
    >>> array = mac_array(technology("jouppi-7nm"), rows=16, columns=16, dtype="int8")
    >>> core_energy(array, {"mac": 1e9}, seconds=0.0) < 1e-3
    True
    """
    total: Number = core.leakage * seconds
    for event, count in events.items():
        if event not in core.events:
            raise DataError(f"{core.name} has no event '{event}'; {nearest(event, core.events)}")
        total = total + core.events[event] * count
    return total
