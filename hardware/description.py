"""A device for people: one row a number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import units
from .load import device
from .record import Device, Quantity, Value


class Row(NamedTuple):
    """field, value (SI or None), unit, source, kind, and low and high where sources disagree."""

    field: str
    value: Value | None
    unit: str
    source: str
    kind: str
    low: float | None
    high: float | None


def describe(which: str | Device) -> list[Row]:
    """Every number of a device, in the order of its record."""
    record = device(which) if isinstance(which, str) else which
    return [
        Row(name, q.value, q.unit, q.source, q.kind, q.low, q.high) for name, q in record.quantities.items()
    ]


def show(quantity: Quantity | Row) -> str:
    """The value as text: `2.039 TB/s`, `unknown`, a range for a sweep.

    >>> show(device("a100-sxm-80gb").quantity("cores"))
    '108'
    """
    value = quantity.value
    if isinstance(value, np.ndarray):
        low, high = (units.show(float(bound), quantity.unit) for bound in (value.min(), value.max()))
        return f"{low} … {high}"
    return units.show(value, quantity.unit)
