"""The newest rows of a run, appended batch by batch: what a killed process would otherwise lose.

A record is self-describing: a header (JSON: the chunk its rows will go to, names, types and shapes of the
columns), the columns' bytes, and a checksum over both. A record cut short by a kill is left out.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MARK = b"TSR1"
SIZES = struct.Struct("<IQI")


class Tail:
    """A file of records that grows by one write a batch and is emptied once its rows are in a chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._layout: tuple[Any, ...] = ()
        self._head = b""

    def append(self, chunk: int, columns: Mapping[str, Array]) -> None:
        """Add rows, columns of shape (rows, ...), that will go to chunk number `chunk`."""
        layout = (chunk, *((name, column.dtype.str, column.shape) for name, column in columns.items()))
        if layout != self._layout:
            described = [[name, column.dtype.str, column.shape] for name, column in columns.items()]
            self._layout, self._head = layout, json.dumps({"chunk": chunk, "columns": described}).encode()
        body = b"".join(column.tobytes() for column in columns.values())
        sizes = SIZES.pack(len(self._head), len(body), zlib.crc32(body, zlib.crc32(self._head)))
        if self._file is None:
            self._file = self.path.open("ab")
        self._file.write(MARK + sizes + self._head + body)
        self._file.flush()

    def clear(self) -> None:
        """Forget every record, and let go of the file."""
        if self._file is not None:
            self._file.truncate(0)
            self.close()
        elif self.path.exists():
            self.path.unlink()

    def close(self) -> None:
        """Let go of the file; the next record opens it again."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what a full disk did not take stays out
                file.close()

    def read(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Whole records, in order, as (chunk, columns); whatever follows a damaged one is left out."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        place = 0
        while content[place : place + len(MARK)] == MARK:
            place += len(MARK)
            if place + SIZES.size > len(content):
                return
            head, body, checksum = SIZES.unpack_from(content, place)
            place += SIZES.size
            stop = place + head + body
            if stop > len(content) or zlib.crc32(content[place:stop]) != checksum:
                return
            try:
                described = json.loads(content[place : place + head])
                record = described["chunk"], _columns(described["columns"], content[place + head : stop])
            except (ValueError, TypeError, KeyError):  # a header of noise that has its checksum
                return
            yield record
            place = stop


def _columns(described: list[Any], body: bytes) -> dict[str, Array]:
    columns, place = {}, 0
    for name, kind, shape in described:
        dtype = np.dtype(kind)
        size = math.prod(shape) * dtype.itemsize
        columns[name] = np.frombuffer(body[place : place + size], dtype).reshape(shape)
        place += size
    return columns
