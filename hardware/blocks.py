"""Building blocks of custom cores: area, leakage and energy an event, all of which add up.

Sizes may be arrays: a sweep of designs is one block with array-valued numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from .record import Value
from .technology import Technology


@dataclass(frozen=True, eq=False)
class Block:
    """area (m2), leakage (W), events (J each, by name), technology: the table all numbers come from."""

    name: str
    area: Value
    leakage: Value
    events: Mapping[str, Value]
    technology: str

    def named(self, name: str) -> Block:
        """The same block under another name, its events prefixed: `buffer.read`."""
        events = {f"{name}.{event}": joules for event, joules in self.events.items()}
        return Block(name, self.area, self.leakage, events, self.technology)

    def __mul__(self, count: Value) -> Block:
        """`count` copies; an event still happens in one of them."""
        return Block(self.name, self.area * count, self.leakage * count, self.events, self.technology)

    __rmul__ = __mul__


def combined(name: str, blocks: Iterable[Block]) -> Block:
    """Blocks side by side: areas and leakages add, events unite. Tables never mix."""
    parts = list(blocks)
    tables = {part.technology for part in parts}
    if len(tables) != 1:
        raise DataError(
            f"{name} must use one technology table, got {', '.join(sorted(tables)) or 'no block'}"
        )
    events: dict[str, Value] = {}
    for part in parts:
        if clash := set(events) & set(part.events):
            raise DataError(
                f"{name} has two events called '{clash.pop()}'; give the blocks names with .named()"
            )
        events |= part.events
    return Block(
        name,
        sum((part.area for part in parts[1:]), parts[0].area),
        sum((part.leakage for part in parts[1:]), parts[0].leakage),
        events,
        tables.pop(),
    )


def mac_array(technology: Technology, *, rows: Value, columns: Value, dtype: str = "int8") -> Block:
    """Multiply-accumulate units with wide accumulators (int32 or fp32) and three operand registers."""
    wide = "int32" if dtype.startswith("int") else "fp32"
    bits = {"int8": 8, "fp16": 16, "bf16": 16, "fp32": 32, "int32": 32}.get(dtype)
    if bits is None:
        raise DataError(f"a MAC array must use int8, int32, fp16, bf16 or fp32, got '{dtype}'")
    registers = 2 * bits + 32
    one = technology.area(f"{dtype}.multiply") + technology.area(f"{wide}.add")
    area = (one + registers * technology.area("register.bit")) * rows * columns
    joules = technology.energy(f"{dtype}.multiply") + technology.energy(f"{wide}.add")
    joules += registers * technology.energy("register.bit")
    return _block(technology, "mac array", area, {"mac": joules})


def sram(technology: Technology, *, capacity: Value, width: Value = 64) -> Block:
    """A macro of `capacity` bytes read and written `width` bits at a time; half the area is cells."""
    access = technology.sram_energy(capacity) * width / 64.0
    area = np.asarray(capacity, dtype=np.float64)[()] * 8.0 * technology.sram_cell / 0.5
    return _block(technology, "sram", area, {"read": access, "write": 1.1 * access})


def fifo(technology: Technology, *, depth: Value, width: Value = 64) -> Block:
    """A queue of `depth` words of `width` bits: registers, or a macro with 4,000 bits' worth of periphery,
    whichever is smaller."""
    bits = np.asarray(depth, dtype=np.float64) * width
    registers = bits * technology.area("register.bit")
    macro = bits * technology.sram_cell / 0.5 + 4000 * technology.area("register.bit")
    shift = technology.energy("register.bit") * width * 2.0
    access = technology.sram_energy(bits / 8) * width / 64.0
    joules = np.where(registers <= macro, shift, access)[()]
    return _block(technology, "fifo", np.minimum(registers, macro)[()], {"push": joules, "pop": joules})


def sorter(technology: Technology, *, lanes: Value, bits: int = 32) -> Block:
    """A bitonic network of `lanes` keys: lanes/2 x log2(lanes)(log2(lanes) + 1)/2 compare-exchanges."""
    depth = np.log2(np.maximum(lanes, 2))
    exchanges = np.asarray(lanes) / 2.0 * depth * (depth + 1) / 2.0
    share = bits / 32.0
    one = share * (technology.area("int32.add") + 64 * technology.area("register.bit"))
    joules = share * (technology.energy("int32.add") + 64 * technology.energy("register.bit"))
    return _block(technology, "sorter", (exchanges * one)[()], {"sort": (exchanges * joules)[()]})


def exponential(technology: Technology, *, lanes: Value = 1) -> Block:
    """exp by a small table and two fp16 multiply-adds, `lanes` a cycle."""
    add, multiply = "fp16.add", "fp16.multiply"
    one = 2 * (technology.area(add) + technology.area(multiply)) + 8 * 512 * technology.sram_cell / 0.5
    joules = 2 * (technology.energy(add) + technology.energy(multiply)) + technology.sram_energy(512) / 4
    return _block(technology, "exponential", one * lanes, {"exp": joules})


def _block(technology: Technology, name: str, area: Value, events: Mapping[str, Value]) -> Block:
    """Leakage follows area: W/m2 is the table's leakage (W/mm2) times 1e6."""
    return Block(name, area, area * technology.leakage * 1e6, dict(events), technology.name)
