"""Technology tables: energy and area of operations by node, and scaling with its error.

Published tables differ by up to 10x for the same operation (Horowitz and Aladdin, fp32 multiply), so a
study uses one. Every number of a table carries the table's source and kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import DataError, nearest
from .record import Kind, Value

PICO = 1e-12


@dataclass(frozen=True)
class Technology:
    """energies (J) and areas (m2) of one operation by name; SRAM as e0 + e1 sqrt(KiB) a 64-bit access.

    error: relative standard error to carry (scaling adds its own).
    """

    name: str
    node: float
    energies: Mapping[str, float]
    areas: Mapping[str, float]
    sram_access: tuple[float, float]
    sram_cell: float
    leakage: float
    source: str
    kind: Kind
    error: float

    def energy(self, operation: str) -> float:
        """J of one operation; DataError names the nearest."""
        if operation not in self.energies:
            raise DataError(
                f"{self.name} has no energy of '{operation}'; {nearest(operation, self.energies)}"
            )
        return self.energies[operation]

    def area(self, operation: str) -> float:
        """m2 of one operator; DataError names the nearest."""
        if operation not in self.areas:
            raise DataError(f"{self.name} has no area of '{operation}'; {nearest(operation, self.areas)}")
        return self.areas[operation]

    def sram_energy(self, capacity: Value) -> Value:
        """J of one 64-bit access of a macro of `capacity` bytes (CACTI-like: wires grow with the side)."""
        fixed, side = self.sram_access
        return fixed + side * np.sqrt(np.asarray(capacity) / 1024.0)


# Areas at 45 nm in um2, Horowitz ISSCC 2014 (remembered); other nodes scale them.
_AREAS_45 = {
    "int8.add": 36.0, "int8.multiply": 282.0, "int32.add": 137.0, "int32.multiply": 3495.0,
    "fp16.add": 1360.0, "fp16.multiply": 1640.0, "bf16.add": 1360.0, "bf16.multiply": 1000.0,
    "fp32.add": 4184.0, "fp32.multiply": 7700.0, "register.bit": 6.0,
}  # fmt: skip
# Logic area relative to 28 nm (28 to 16: 0.5, 16 to 12: 0.85, 16 to 7: 0.3), and 6T cells in um2.
_LOGIC_AREA = {45: 1.9, 40: 1.6, 28: 1.0, 22: 0.7, 16: 0.5, 12: 0.425, 7: 0.15, 5: 0.1, 4: 0.095}
_CELL = {45: 0.346, 40: 0.299, 28: 0.127, 22: 0.092, 16: 0.074, 12: 0.06, 7: 0.027, 5: 0.021, 4: 0.021}
# Energy between nodes as a power of the node: logic 45 to 7 nm gains about 3x, SRAM and wires 1.3x
# (ratios of the two tables below). Foundry data deviate by 5 % at best, 30 % is carried.
LOGIC_EXPONENT, SRAM_EXPONENT, SCALING_ERROR = 0.59, 0.14, 0.3

_TABLES = {
    "horowitz-45nm": Technology(
        "horowitz-45nm", 45,
        {k: v * PICO for k, v in {
            "int8.add": 0.03, "int8.multiply": 0.2, "int32.add": 0.1, "int32.multiply": 3.1,
            "fp16.add": 0.4, "fp16.multiply": 1.1, "fp32.add": 0.9, "fp32.multiply": 3.7,
            "register.bit": 0.009,
        }.items()},
        {k: v * 1e-12 for k, v in _AREAS_45.items() if not k.startswith("bf16")},
        (2.5 * PICO, 2.8 * PICO), _CELL[45] * 1e-12, 5e-5,
        "Horowitz, ISSCC 2014, 45 nm at 0.9 V: int32, fp32 and 8 KB access read in a citing paper, "
        "the rest and all areas remembered", "literature", 0.2,
    ),
    "jouppi-7nm": Technology(
        "jouppi-7nm", 7,
        {k: v * PICO for k, v in {
            "int8.add": 0.007, "int8.multiply": 0.07, "int32.add": 0.03, "int32.multiply": 1.48,
            "bf16.add": 0.11, "bf16.multiply": 0.21, "fp16.add": 0.16, "fp16.multiply": 0.34,
            "fp32.add": 0.38, "fp32.multiply": 1.31, "register.bit": 0.003,
        }.items()},
        {k: v * 1e-12 * _LOGIC_AREA[7] / _LOGIC_AREA[45] for k, v in _AREAS_45.items()},
        (7.0 * PICO, 0.22 * PICO), _CELL[7] * 1e-12, 2e-5,
        "Jouppi et al., ISCA 2021 (TPUv4i), 7 nm column; remembered, the table was not opened; "
        "areas scaled from 45 nm", "guess", 0.3,
    ),
    "aladdin-40nm": Technology(
        "aladdin-40nm", 40,
        {k: v * PICO for k, v in {
            "int32.add": 0.21, "int32.multiply": 12.7, "fp32.add": 16.7, "fp32.multiply": 35.3,
            "register.bit": 0.009,
        }.items()},
        {"int32.multiply": 6350e-12, "int32.add": 278e-12, "fp32.multiply": 4360e-12, "fp32.add": 4184e-12,
         "register.bit": 6.0e-12},
        (2.5 * PICO, 2.8 * PICO), _CELL[40] * 1e-12, 5e-5,
        "Accelergy's Aladdin plug-in tables, 40 nm, 1 ns; SRAM as at 45 nm", "literature", 0.3,
    ),
}  # fmt: skip


def technologies() -> tuple[str, ...]:
    """Names of the tables."""
    return tuple(_TABLES)


def technology(name: str) -> Technology:
    """A table by name; DataError names the nearest."""
    if name not in _TABLES:
        raise DataError(f"unknown technology '{name}'; {nearest(name, _TABLES)}")
    return _TABLES[name]


def scaled(table: Technology, node: float) -> Technology:
    """The table at another node: logic, SRAM and area each by its own law; the error grows.

    >>> round(scaled(technology("horowitz-45nm"), 7).energy("fp32.multiply") * 1e12, 2)
    1.23
    """
    logic = (node / table.node) ** LOGIC_EXPONENT
    memory = (node / table.node) ** SRAM_EXPONENT
    area = _interpolated(_LOGIC_AREA, node) / _interpolated(_LOGIC_AREA, table.node)
    fixed, side = table.sram_access
    return replace(
        table,
        name=f"{table.name} scaled to {node:g} nm",
        node=node,
        energies={k: v * logic for k, v in table.energies.items()},
        areas={k: v * area for k, v in table.areas.items()},
        sram_access=(fixed * memory, side * memory),
        sram_cell=_interpolated(_CELL, node) * 1e-12,
        source=table.source + f"; scaled from {table.node:g} to {node:g} nm by the authors' laws",
        kind="derived",
        error=float(np.hypot(table.error, SCALING_ERROR)),
    )


# Whole cores at a node; quotients count. "deepscale": DeepScaleTool (Sarangi and Baas, ISCAS 2021), which the
# papers on rendering cores use; its workbook was read in two public transcriptions that agree. "stillmaker":
# Stillmaker and Baas 2017 at 0.8 V, read in hwcomponents (Accelergy): below 28 nm its areas are the larger,
# its energies the smaller. CORE_DELAY is of the first; the second's was not read.
Law = Literal["deepscale", "stillmaker"]
CORE_AREA: Mapping[Law, Mapping[int, float]] = {
    "deepscale": {45: 1.0, 40: 0.75, 32: 0.49, 28: 0.35, 22: 0.22, 14: 0.08, 10: 0.03, 7: 0.011},
    "stillmaker": {45: 1.0, 28: 0.377, 16: 0.19, 12: 0.135, 8: 0.0735, 7: 0.059},
}
CORE_ENERGY: Mapping[Law, Mapping[int, float]] = {
    "deepscale": {45: 0.63, 40: 0.55, 32: 0.44, 28: 0.37, 22: 0.30, 14: 0.19, 10: 0.15, 7: 0.11},
    "stillmaker": {45: 1.949, 28: 1.0, 22: 0.573, 16: 0.338, 12: 0.25, 8: 0.199, 7: 0.184},
}
CORE_DELAY = {45: 0.81, 40: 0.76, 32: 0.70, 28: 0.67, 22: 0.62, 14: 0.60, 10: 0.57, 7: 0.53}


def core_area_factor(node: Value, reference: float = 28.0, law: Law = "deepscale") -> Value:
    """Area of a core at a node over its area at the reference node; arrays of nodes broadcast.

    >>> round(float(core_area_factor(16)), 3), round(float(core_area_factor(16, law="stillmaker")), 3)
    (0.308, 0.504)
    """
    return _each(CORE_AREA[law], node) / _each(CORE_AREA[law], reference)


def core_energy_factor(node: Value, reference: float = 28.0, law: Law = "deepscale") -> Value:
    """Energy of a core's events at a node over that at the reference node.

    >>> round(float(core_energy_factor(16)), 3), float(core_energy_factor(16, law="stillmaker"))
    (0.588, 0.338)
    """
    return _each(CORE_ENERGY[law], node) / _each(CORE_ENERGY[law], reference)


def core_power_factor(node: Value, reference: float = 28.0) -> Value:
    """Power of a core at a node over that at the reference node where the clock rises as the delay falls.

    >>> round(float(core_power_factor(7)), 3)
    0.376
    """
    return core_energy_factor(node, reference) * _each(CORE_DELAY, reference) / _each(CORE_DELAY, node)


def _each(values: Mapping[int, float], node: Value) -> Value:
    """`_interpolated` of one node or of many."""
    if np.ndim(node) == 0:
        return _interpolated(values, float(node))
    nodes, where = np.unique(np.asarray(node), return_inverse=True)
    return np.array([_interpolated(values, float(n)) for n in nodes])[where].reshape(np.shape(node))


def _interpolated(values: Mapping[int, float], node: float) -> float:
    """Log-log between the known nodes; DataError outside them."""
    nodes = sorted(values)
    if not nodes[0] <= node <= nodes[-1]:
        raise DataError(f"node must be between {nodes[0]} and {nodes[-1]} nm, got {node:g}")
    return float(np.exp(np.interp(np.log(node), np.log(nodes), np.log([values[n] for n in nodes]))))
