"""Text as people keep it: files in UTF-8 or UTF-16, gzipped or not, as JSON or as delimited tables.

Every reader of text goes through here, so that a mark at the beginning, line ends, semicolons, spaces
after commas and blank lines mean the same to all of them.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import DataError

Record = dict[str, Any]
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
DELIMITERS = ",;\t|"
GZIP = b"\x1f\x8b"
_HINT = re.compile(r"\s*sep=(.)\s*\n", re.IGNORECASE)  # the first line that spreadsheets write
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?|[-+]?\d+(?:[eE][-+]?\d+)?|")


def decode(data: bytes, name: str = "text") -> str:
    r"""Bytes as text: by the mark they begin with, else by where zeros stand, else as UTF-8.

    name: the file's, for the sentence of DataError where the bytes are no text.

    >>> decode("a;b".encode("utf-16"))
    'a;b'
    """
    mark, encoding = next(((m, e) for m, e in MARKS if data.startswith(m)), (b"", _unmarked(data)))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        place = len(mark) + error.start
        raise DataError(
            f"{name} is no text in UTF-8 or UTF-16: byte {place + 1:,} is 0x{data[place]:02x}; "
            "save it as UTF-8."
        ) from None
    if "\0" in text:
        raise DataError(f"{name} is no text: it holds zero bytes.")
    return text


def _unmarked(data: bytes) -> str:
    """The encoding of text without a mark, which begins with two characters of ASCII (RFC 4627)."""
    zeros = "".join("0" if byte == 0 else "x" for byte in data[:4])
    by_zeros = {"x000": "utf-32-le", "000x": "utf-32-be", "x0x0": "utf-16-le", "0x0x": "utf-16-be"}
    return by_zeros.get(zeros, "utf-8")


def read_text(path: str | Path, what: str = "file") -> str:
    """The text of a file, gzipped or not.

    what: the kind of file, for the sentence of DataError where there is none or it is no text.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        if data.startswith(GZIP):
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise DataError(f"there is no {what} '{path}'.") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the {what} '{path}' cannot be read: {reason}.") from None
    return decode(data, path.name)


def parse_json(text: str, name: str) -> Any:
    """What JSON says; DataError names it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} cannot be read as JSON: {error}") from None


def read_json(path: str | Path, what: str = "file") -> Any:
    """What a JSON file holds, gzipped or not; DataError where it is missing or no JSON."""
    return parse_json(read_text(path, what), Path(path).name)


def read_records(path: str | Path, what: str = "file") -> list[Record]:
    """The rows of a file by column: a delimited table with a header, JSON lines, or a JSON array.

    Which of them is told by the first character, not by the file's name. Cells of a table are text.
    Raises DataError, which names the row, counted from 1 after the header.
    """
    path = Path(path)
    text = read_text(path, what)
    first = text.lstrip()[:1]
    if first == "[":
        rows = parse_json(text, path.name)
    elif first == "{":
        rows = list(_json_values(text, path.name))
    else:
        header, cells = parse_table(text, path.name)
        return [dict(zip(header, row, strict=True)) for row in cells]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"row {number} of {path.name} must be a JSON object, got {type(row).__name__}.")
    return list(rows)


def _json_values(text: str, name: str) -> Iterator[Any]:
    """JSON values one after the other, on lines of their own or not."""
    decoder, next_value = json.JSONDecoder(), re.compile(r"\S")
    place, number = 0, 1
    while (found := next_value.search(text, place)) is not None:
        try:
            value, place = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError) as error:
            raise DataError(f"row {number} of {name} cannot be read as JSON: {error}") from None
        yield value
        number += 1


def parse_table(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a delimited table; cells without spaces around them, blank lines left out.

    The delimiter is the one of comma, semicolon, tab and bar that divides the header most. Where it is no
    comma, a column of numbers may have decimal commas. Raises DataError for rows of another length than
    the header and for a column named twice.
    """
    hint = _HINT.match(text)
    body = text[hint.end() :] if hint else text
    head = re.search(r"\S[^\r\n]*", body)
    if head is None:
        raise DataError(f"{name} is empty.")
    try:
        delimiter = hint[1] if hint else max(DELIMITERS, key=lambda d: len(_cells(head[0], d)[0]))
        lines = [line for line in _cells(body, delimiter) if any(line)]
    except csv.Error as error:
        raise DataError(f"{name} is no table: {error}.") from None
    if not lines:
        raise DataError(f"{name} is empty: all its cells are blank.")
    header, rows = lines[0], lines[1:]
    while header and not header[-1] and all(len(row) < len(header) or not row[-1] for row in rows):
        rows = [row[: len(header) - 1] for row in rows]  # a delimiter at the end of every line
        header = header[:-1]
    twice = next((key for i, key in enumerate(header) if key and key in header[:i]), None)
    if twice is not None:
        raise DataError(f"{name} names the column '{twice}' twice.")
    for number, row in enumerate(rows, 1):
        while len(row) > len(header) and not row[-1]:
            row.pop()
        if len(row) != len(header):
            raise DataError(f"row {number} of {name} has {len(row)} cells, its header {len(header)}.")
    return header, rows if delimiter == "," else _decimal_points(rows)


def _cells(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    return [[cell.strip() for cell in line] for line in reader]


def _decimal_points(rows: list[list[str]]) -> list[list[str]]:
    """The rows with points in the columns that hold nothing but numbers, some of them with a comma."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    for i, column in enumerate(columns):
        if any("," in cell for cell in column) and all(_DECIMAL_COMMA.fullmatch(cell) for cell in column):
            columns[i] = [cell.replace(",", ".") for cell in column]
    return [list(row) for row in zip(*columns, strict=True)]
