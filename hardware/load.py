"""From a name to its record: the shipped catalog, this machine, and what the user calibrated."""

from __future__ import annotations

import importlib
from functools import cache

from ..errors import DataError, nearest
from .catalog import INDEX
from .record import Device


def device(name: str) -> Device:
    """The device called `name`; DataError names the nearest one.

    >>> device("a100-sxm-80gb").peak("bf16")
    312000000000000.0
    """
    if name not in INDEX:
        raise DataError(f"unknown device '{name}'; {nearest(name, INDEX)}")
    if INDEX[name] == "host":
        from .host import host

        return host()
    return _shipped(name)


@cache
def _shipped(name: str) -> Device:
    module = importlib.import_module(f".{INDEX[name]}", __package__)
    record: Device = module.build(name)
    return record
