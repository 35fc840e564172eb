"""Points in time as trace files write them, exact: stamps with and without fraction and offset, and numbers.

A stamp without an offset is UTC unless a time zone is given; the machine's own never counts.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation

from .errors import DataError, nearest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = Decimal(10) ** 11  # seconds: the year 5138; larger numbers count in a smaller unit
_PARTS = ("year", "month", "day", "hour", "minute", "second")
ABSOLUTE = Decimal(10) ** 8  # seconds: from 1973 on, a number is a date and not the age of a trace
_STAMP = re.compile(
    r"(?P<year>\d{4})[-/](?P<month>\d\d?)[-/](?P<day>\d\d?)"
    r"(?:[Tt\s]\s*(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?"
    r"\s*(?P<offset>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
)


def zone_of(name: str) -> tzinfo:
    """The time zone of that name; DataError with the nearest known one.

    >>> str(zone_of("Asia/Kathmandu"))
    'Asia/Kathmandu'
    """
    if name.upper() in {"UTC", "Z", "GMT"}:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = nearest(name, zoneinfo.available_timezones())
        hint = hint if hint.startswith("did") else "write one such as 'Europe/Berlin'"
        raise DataError(f"there is no time zone '{name}'; {hint}") from None


def instant(text: str, zone: tzinfo = UTC, fold: int = 0) -> Decimal:
    """Seconds since 1970 of a stamp such as `2024-05-10T00:00:00.5+05:45`, with all its digits.

    zone: of stamps without an offset. fold: 1 for the second time that the zone's clock shows a stamp.
    Raises ValueError for anything else.

    >>> instant("1970-01-02 00:00:00.0000001")
    Decimal('86400.0000001')
    >>> int(instant("1970-01-01T05:45:00 +05:45"))
    0
    """
    match = _STAMP.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no point in time")
    year, month, day, hour, minute, second = (int(match[name] or 0) for name in _PARTS)
    zone = _offset(match["offset"], zone)
    moment = datetime(year, month, day, hour, minute, second, tzinfo=zone, fold=fold)
    return Decimal((moment - EPOCH) // timedelta(seconds=1)) + Decimal(f"0.{match['fraction'] or 0}")


def _offset(text: str | None, zone: tzinfo) -> tzinfo:
    if text is None:
        return zone
    if text[0] not in "+-":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    return timezone(timedelta(hours=hours, minutes=minutes) * (1 if text[0] == "+" else -1))


def seconds(
    cells: Iterable[str | int | float | None], unit: str = "1", zone: str = "UTC"
) -> tuple[list[Decimal], bool]:
    """Times in seconds, and whether they are dates (counted from 1970) rather than ages of a trace.

    cells: all stamps, or all numbers of `unit` seconds. Numbers that would lie beyond the year 5138 are
    read as milli-, micro- or nanoseconds instead. zone: of stamps without an offset; where its clock shows
    an hour twice, stamps that would go back in time are of the second.
    Raises ValueError(position, cell) for a cell that is neither, and DataError for an unknown zone.

    >>> seconds(["1715299200500", "1715299201000"])
    ([Decimal('1715299200.500'), Decimal('1715299201.000')], True)
    """
    listed, known = list(cells), zone_of(zone)
    found: list[Decimal] = []
    dates = bool(listed) and isinstance(listed[0], str) and _STAMP.fullmatch(listed[0].strip()) is not None
    for place, cell in enumerate(listed):
        try:
            if dates:
                moment = instant(str(cell), known)
                if found and moment < found[-1] <= (later := instant(str(cell), known, fold=1)):
                    moment = later
                found.append(moment)
            else:
                found.append(_number(cell))
        except (ValueError, OverflowError, InvalidOperation):
            raise ValueError(place, cell) from None
    if dates:
        return found, True
    factor = Decimal(unit)
    largest = max((abs(n) for n in found), default=Decimal(0))
    while largest * factor > LATEST and factor > Decimal("1e-9"):
        factor /= 1000
    return [n * factor for n in found], largest * factor >= ABSOLUTE


def _number(cell: str | int | float | None) -> Decimal:
    if cell is None or isinstance(cell, bool):
        raise ValueError(cell)
    value = Decimal(str(cell).strip())
    if not value.is_finite():
        raise ValueError(cell)
    return value
