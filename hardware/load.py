"""From a name to its record: the shipped catalog, this machine, a user's own file; as calibrated here."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..errors import DataError, nearest
from .catalog import INDEX
from .record import Device


def device(name: str) -> Device:
    """The device called `name`, or described by the file `name.toml`; DataError names the nearest one.

    >>> device("a100-sxm-80gb").peak("bf16")
    312000000000000.0
    """
    if not isinstance(name, str):
        raise DataError(f"a device is named by a text, such as 'a100-sxm-80gb', got {name!r:.60}.")
    if name.endswith(".toml"):
        from .files import read_device

        return _as_calibrated(read_device(Path(name), device))
    if name not in INDEX:
        raise DataError(f"unknown device '{name}'; {nearest(name, INDEX)} (or give FILE.toml)")
    if INDEX[name] == "host":
        from .host import host

        return host()
    return _as_calibrated(_shipped(name))


def _as_calibrated(record: Device) -> Device:
    """The record with what `optimize calibrate` kept for it, as long as nothing but that differs."""
    from .host import stored

    kept = stored(record.name)
    if kept is None:
        return record
    if replace(record, calibration=kept.calibration) != kept:
        warnings.warn(
            f"{record.name} is no longer the device that was calibrated here, so that its calibration is "
            "not used; calibrate it again.",
            stacklevel=3,
        )
        return record
    return kept


@cache
def _shipped(name: str) -> Device:
    module = importlib.import_module(f".{INDEX[name]}", __package__)
    record: Device = module.build(name)
    return record
