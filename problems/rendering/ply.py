"""Scenes in polygon files as Kerbl et al. (2023) store them, and what other formats share with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .polygon import Element

Array = npt.NDArray[Any]
Columns = tuple[Array, Array, Array, Array, Array]  # means, scales, quaternions, opacities, harmonics
TABLES = ("vertex", "chunk", "sh")
MOST_GAUSSIANS = 1 << 25


def vertices(elements: dict[str, Element]) -> Element:
    """The table of Gaussians."""
    vertex = elements.get("vertex")
    if vertex is None:
        raise DataError("it has no element 'vertex'.")
    return vertex


def need(element: Element, *names: str) -> None:
    """Raise DataError unless a table has these columns."""
    missing = [name for name in names if name not in element.columns]
    if missing:
        raise DataError(f"its element '{element.name}' lacks {', '.join(missing[:6])}; "
                        "a trained scene has x, f_dc_0, opacity, scale_0, rot_0 and their like.")  # fmt: skip


def stack(rows: Array, names: list[str]) -> Array:
    """Columns side by side as float32, (rows, names)."""
    out = np.empty((len(rows), len(names)), np.float32)
    with np.errstate(over="ignore"):
        for i, name in enumerate(names):
            out[:, i] = rows[name]
    return out


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow; NaN stays NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def exponential(values: Array) -> Array:
    """exp(x) as float32, infinite where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(values, dtype=np.float32)


def rest_names(element: Element) -> list[str]:
    """The columns f_rest_0, f_rest_1, ... of a table: 0, 9, 24 or 45 of them."""
    count = sum(1 for name in element.columns if name.startswith("f_rest_"))
    if count not in {0, 9, 24, 45}:
        raise DataError(f"it has {count} f_rest columns; degrees 0 to 3 have 0, 9, 24 or 45.")
    names = [f"f_rest_{i}" for i in range(count)]
    need(element, *names)
    return names


def with_rest(constant: Array, rest: Array) -> Array:
    """Harmonics (N, K, 3) from the constant term (N, 3) and the others (N, 3 (K - 1)), red's first."""
    count = rest.shape[1] // 3
    others = rest.reshape(len(rest), 3, count).transpose(0, 2, 1)
    return np.concatenate([constant[:, None, :], others], axis=1)


def read_ply(elements: dict[str, Element]) -> Columns:
    """A scene as trained: logarithms of scales, opacity before the sigmoid, f_rest red first."""
    vertex = vertices(elements)
    need(vertex, "x", "y", "z", "opacity", *(f"f_dc_{i}" for i in range(3)))
    need(vertex, *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))
    rest = rest_names(vertex)
    rows = vertex.rows
    return (
        stack(rows, ["x", "y", "z"]),
        exponential(stack(rows, ["scale_0", "scale_1", "scale_2"])),
        stack(rows, ["rot_0", "rot_1", "rot_2", "rot_3"]),
        sigmoid(stack(rows, ["opacity"])[:, 0]),
        with_rest(stack(rows, ["f_dc_0", "f_dc_1", "f_dc_2"]), stack(rows, rest)),
    )
