"""Records of devices: what the cost models know about hardware.

`names()` lists the catalog without importing numpy; `device(name)` returns a frozen `Device`;
`describe(name)` returns one row a number: field, value, unit, source, kind.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .catalog import names

if TYPE_CHECKING:
    from .description import Row, describe, show
    from .dtypes import canonical, size_of
    from .load import device
    from .record import Device, Level, Link, Quantity

__all__ = [
    "Device",
    "Level",
    "Link",
    "Quantity",
    "Row",
    "canonical",
    "describe",
    "device",
    "names",
    "show",
    "size_of",
]

# No module may be called like a public name: importing it would put the module in the name's place.
_HOME = {
    "Device": "record",
    "Level": "record",
    "Link": "record",
    "Quantity": "record",
    "Row": "description",
    "describe": "description",
    "show": "description",
    "device": "load",
    "canonical": "dtypes",
    "size_of": "dtypes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
