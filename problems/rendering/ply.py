"""Polygon files: the header, its tables, and scenes as Kerbl et al. (2023) store them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError

Array = npt.NDArray[Any]
Columns = tuple[Array, Array, Array, Array, Array]  # means, scales, quaternions, opacities, harmonics
MOST_HEADER = 1 << 16
MOST_GAUSSIANS = 1 << 25
SIZES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class Element:
    """One table of the file: its name, rows and row type, and where its bytes begin."""

    name: str
    count: int
    dtype: np.dtype[Any]
    offset: int


def read_header(path: Path) -> dict[str, Element]:
    """The tables of a binary polygon file, checked against the size of the file before anything is read."""
    with path.open("rb") as file:
        head = file.read(MOST_HEADER)
    match = re.search(rb"\nend_header\r?\n", head)
    if not head.startswith(b"ply") or match is None:
        raise DataError("it is no polygon file: the header does not begin with 'ply' or has no 'end_header'.")
    lines = head[: match.start()].decode("ascii", "replace").splitlines()[1:]
    order = ""
    found: list[tuple[str, int, list[tuple[str, str]]]] = []
    for line in lines:
        words = line.split()
        if not words or words[0] in {"comment", "obj_info"}:
            continue
        if words[0] == "format" and len(words) > 1:
            orders = {"binary_little_endian": "<", "binary_big_endian": ">"}
            if words[1] not in orders:
                raise DataError(f"its format is '{words[1]}'; convert it to binary_little_endian.")
            order = orders[words[1]]
        elif words[0] == "element" and len(words) == 3 and words[2].isdigit():
            found.append((words[1], int(words[2]), []))
        elif words[0] == "property" and len(words) == 3 and found and words[1] in SIZES:
            found[-1][2].append((words[2], order + SIZES[words[1]]))
        else:
            raise DataError(f"its header has a line that cannot be read: '{line[:60]}'.")
    if not order:
        raise DataError("its header names no format.")
    elements, offset = {}, match.end()
    for name, count, properties in found:
        if len({p for p, _ in properties}) != len(properties):
            raise DataError(f"its element '{name}' names a property twice.")
        dtype = np.dtype(properties)
        elements[name] = Element(name, count, dtype, offset)
        offset += count * dtype.itemsize
    size = path.stat().st_size
    if offset > size:
        raise DataError(f"it is cut off: its header promises {offset:,} bytes, the file has {size:,}.")
    return elements


def read_rows(path: Path, element: Element) -> Array:
    """The rows of a table, mapped from the file."""
    if element.count == 0:
        return np.empty(0, element.dtype)
    return np.memmap(path, element.dtype, "r", element.offset, (element.count,))


def vertices(elements: dict[str, Element]) -> Element:
    """The table of Gaussians."""
    vertex = elements.get("vertex")
    if vertex is None:
        raise DataError("it has no element 'vertex'.")
    if vertex.count > MOST_GAUSSIANS:
        raise DataError(f"it declares {vertex.count:,} Gaussians, more than {MOST_GAUSSIANS:,}; split it.")
    return vertex


def need(element: Element, *names: str) -> None:
    """Raise DataError unless a table has these columns."""
    missing = [name for name in names if name not in (element.dtype.names or ())]
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
    count = sum(1 for name in element.dtype.names or () if name.startswith("f_rest_"))
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


def read_ply(path: Path, elements: dict[str, Element]) -> Columns:
    """A scene as trained: logarithms of scales, opacity before the sigmoid, f_rest red first."""
    vertex = vertices(elements)
    need(vertex, "x", "y", "z", "opacity", *(f"f_dc_{i}" for i in range(3)))
    need(vertex, *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))
    rest = rest_names(vertex)
    rows = read_rows(path, vertex)
    return (
        stack(rows, ["x", "y", "z"]),
        exponential(stack(rows, ["scale_0", "scale_1", "scale_2"])),
        stack(rows, ["rot_0", "rot_1", "rot_2", "rot_3"]),
        sigmoid(stack(rows, ["opacity"])[:, 0]),
        with_rest(stack(rows, ["f_dc_0", "f_dc_1", "f_dc_2"]), stack(rows, rest)),
    )
