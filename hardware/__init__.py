"""Records of devices: what the cost models know about hardware.

`names()` lists the catalog; `device(name)` returns a frozen `Device`; `describe(name)` returns one
row a number: field, value, unit, source, kind.
"""

# Imported at once, not lazily: the submodule `device` would otherwise shadow the function.
from .catalog import names
from .describe import Row, describe, show
from .device import Device, Level, Link, Quantity
from .dtypes import canonical, size_of
from .load import device

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
