"""Polygon files (.ply): the header and its tables, in either byte order or as text.

A table of plain columns in a binary file is mapped, not read. Columns of lists are skipped: where every row
has lists of the same length the table still has rows of one size, else its rows are walked through.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError

Array = npt.NDArray[Any]
MOST_HEADER = 1 << 16
SIZES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Column:
    """One property: its name and type, and the type of its count where it is a list."""

    name: str
    kind: str
    count: str | None = None


@dataclass(frozen=True, eq=False)
class Element:
    """One table of the file: its columns of plain numbers, and their rows."""

    name: str
    rows: Array

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.rows.dtype.names or ()


def read_tables(path: Path, wanted: tuple[str, ...], most: int) -> dict[str, Element]:
    """The wanted tables of a polygon file that it has, none of more than `most` rows.

    Raises DataError for a header that cannot be read and for a file shorter than its header promises.
    """
    with path.open("rb") as file:
        head = file.read(MOST_HEADER)
    match = re.search(rb"[\r\n]end_header(\r\n|\n|\r)", head)
    if not head.startswith(b"ply") or match is None:
        raise DataError("it is no polygon file: the header does not begin with 'ply' or has no 'end_header'.")
    order, declared = _header(head[: match.start()].decode("ascii", "replace").splitlines()[1:])
    last = max((i for i, (name, _, _) in enumerate(declared) if name in wanted), default=-1)
    found: dict[str, Element] = {}
    reader = _Text(path, match.end()) if order == "" else _Binary(path, match.end(), order)
    for name, count, columns in declared[: last + 1]:
        rows = reader.table(name, count, columns)
        if name in wanted:
            found[name] = Element(name, rows)
            if count > most:
                raise DataError(f"it declares {count:,} rows of '{name}', more than {most:,}; split it.")
    return found


def _header(lines: list[str]) -> tuple[str, list[tuple[str, int, list[Column]]]]:
    """Byte order ("" for text), and name, rows and columns of each table."""
    order: str | None = None
    found: list[tuple[str, int, list[Column]]] = []
    for line in lines:
        match line.split():
            case [] | ["comment" | "obj_info", *_]:
                pass
            case ["format", name, *_]:
                if name not in FORMATS:
                    raise DataError(f"its format is '{name}'; one of {', '.join(FORMATS)} can be read.")
                order = FORMATS[name]
            case ["element", name, count] if count.isdecimal():
                found.append((name, int(count), []))
            case ["property", "list", count, kind, name] if found and {count, kind} <= SIZES.keys():
                found[-1][2].append(Column(name, SIZES[kind], SIZES[count]))
            case ["property", kind, name] if found and kind in SIZES:
                found[-1][2].append(Column(name, SIZES[kind]))
            case _:
                raise DataError(f"its header has a line that cannot be read: '{line[:60]}'.")
    if order is None:
        raise DataError("its header names no format.")
    for name, _, columns in found:
        if len({column.name for column in columns}) != len(columns):
            raise DataError(f"its element '{name}' names a property twice.")
    return order, found


def _plain(columns: list[Column], order: str) -> np.dtype[Any]:
    """The row type of the columns that are no lists."""
    return np.dtype([(c.name, order + c.kind) for c in columns if c.count is None])


class _Binary:
    """Tables of a binary file, one after the other."""

    def __init__(self, path: Path, place: int, order: str) -> None:
        self.path, self.place, self.order, self.size = path, place, order, path.stat().st_size

    def table(self, name: str, count: int, columns: list[Column]) -> Array:
        """The next table's plain columns."""
        plain = _plain(columns, self.order)
        if count == 0:
            return np.empty(0, plain)
        if all(column.count is None for column in columns):
            return self._mapped(plain, count)
        row = self._alike(columns)
        if row is not None and self.place + count * row.itemsize <= self.size:
            start, rows = self.place, self._mapped(row, count)
            if all((rows[f"# {c.name}"] == row[f"{c.name} []"].shape[0]).all() for c in columns if c.count):
                return rows[list(plain.names or ())]
            self.place = start
        return self._walked(plain, count, columns)

    def _mapped(self, dtype: np.dtype[Any], count: int) -> Array:
        end = self.place + count * dtype.itemsize
        if end > self.size:
            raise _cut_off(f"its header promises {end:,} bytes, the file has {self.size:,}")
        if dtype.itemsize == 0:
            return np.empty(count, dtype)
        rows = np.memmap(self.path, dtype, "r", self.place, (count,))
        self.place = end
        return rows

    def _alike(self, columns: list[Column]) -> np.dtype[Any] | None:
        """The row type if every row has lists as long as the first row's; None where that is cut off."""
        fields: list[tuple[Any, ...]] = []
        with self.path.open("rb") as file:
            for column in columns:
                if column.count is None:
                    fields.append((column.name, self.order + column.kind))
                    continue
                file.seek(self.place + np.dtype(fields).itemsize)
                length = self._number(file.read(np.dtype(column.count).itemsize), column.count)
                if length is None or length < 0 or length > self.size:
                    return None
                fields.append((f"# {column.name}", self.order + column.count))
                fields.append((f"{column.name} []", self.order + column.kind, (length,)))
        return np.dtype(fields)

    def _number(self, data: bytes, kind: str) -> int | None:
        dtype = np.dtype(self.order + kind)
        return int(np.frombuffer(data, dtype)[0]) if len(data) == dtype.itemsize else None

    def _walked(self, plain: np.dtype[Any], count: int, columns: list[Column]) -> Array:
        data = np.memmap(self.path, np.uint8, "r").data
        kept, place = bytearray(), self.place
        runs = [
            (count_of, [np.dtype(column.kind).itemsize for column in group])
            for count_of, group in itertools.groupby(columns, key=lambda column: column.count)
        ]
        for _ in range(count):
            for count_of, sizes in runs:
                if count_of is None:  # neighbouring numbers at once
                    kept += data[place : place + sum(sizes)]
                    place += sum(sizes)
                    continue
                head = np.dtype(count_of).itemsize
                for size in sizes:
                    length = self._number(bytes(data[place : place + head]), count_of)
                    if length is None or length < 0:
                        raise _cut_off("a list has no length")
                    place += head + length * size
            if place > self.size:
                raise _cut_off(f"its lists reach beyond the file's {self.size:,} bytes")
        self.place = place
        return np.frombuffer(bytes(kept), plain) if plain.itemsize else np.empty(count, plain)


class _Text:
    """Tables of a text file, a line a row."""

    def __init__(self, path: Path, place: int) -> None:
        self.lines = [line for line in path.read_bytes()[place:].splitlines() if line.strip()]
        self.place = 0

    def table(self, name: str, count: int, columns: list[Column]) -> Array:
        """The next table's plain columns."""
        lines = self.lines[self.place : self.place + count]
        if len(lines) < count:
            raise _cut_off(f"its element '{name}' has {len(lines):,} of {count:,} rows")
        self.place += count
        plain = _plain(columns, "<")
        width = len(plain.names or ())
        rows = np.empty(count, plain)
        for begin in range(0, count, 1 << 16):  # so that texts and numbers need not all stand in memory
            part = lines[begin : begin + (1 << 16)]
            try:
                cells = [self._cells(line.split(), columns) for line in part]
                numbers = np.array(cells, np.float64).reshape(len(part), width)
            except (ValueError, IndexError):
                raise DataError(
                    f"its element '{name}' has a row that is not {len(columns)} columns of numbers."
                ) from None
            for i, column in enumerate(plain.names or ()):
                with np.errstate(over="ignore", invalid="ignore"):
                    rows[column][begin : begin + len(part)] = numbers[:, i]
        return rows

    @staticmethod
    def _cells(words: list[bytes], columns: list[Column]) -> list[bytes]:
        kept, place = [], 0
        for column in columns:
            if column.count is None:
                kept.append(words[place])
                place += 1
            else:
                place += 1 + int(words[place])
        if place != len(words):
            raise ValueError
        return kept


def _cut_off(why: str) -> DataError:
    return DataError(f"it is cut off: {why}.")
