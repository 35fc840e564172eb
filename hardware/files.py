"""A device of one's own, from a TOML file: what differs from a known device, or the whole record.

    name = "h100-custom"
    like = "h100-sxm-80gb"

    [quantities]
    "dram.bandwidth" = { value = "4.1TB/s", source = "vendor's letter of 3 May", kind = "datasheet" }
    "power" = { value = 650, source = "rack limit", kind = "measured" }

Without `like`, the file gives `kind`, `levels` (inner to outer), and every quantity with its `unit`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DataError, GoalError, nearest
from ..text import read_text
from ..units import parse
from .record import KINDS, Device, Quantity

HEADS = ("name", "like", "kind", "family", "levels", "core_levels", "links", "quantities")
_ON_CHIP = ("shared", "l2", "dram")
LEVELS = {"gpu": _ON_CHIP, "cpu": ("l1", "l2", "l3", "dram"), "accelerator": _ON_CHIP}
"""The memory levels that the operator models of each kind of device speak of."""
MOST_BYTES = 2**20
NEW_FIELD = re.compile(r"peak\.\w+")


def read_device(path: Path, known: Callable[[str], Device], after: tuple[Path, ...] = ()) -> Device:
    """The device that a TOML file describes.

    known: a function from a name to a shipped device, for `like`. after: the files that led here by it.
    Raises DataError, naming the file, the field and the remedy.
    """
    written = _parsed(path)
    unknown = next((key for key in written if key not in HEADS), None)
    if unknown is not None:
        raise DataError(f"'{unknown}' in {path} is not a part of a device; {nearest(unknown, HEADS)}")
    name = written.get("name", path.stem)
    if not isinstance(name, str) or not name:
        raise DataError(f"name in {path} must be a text, got {name!r}")
    given = written.get("quantities", {})
    if not isinstance(given, Mapping) or not all(isinstance(v, Mapping) for v in given.values()):
        raise DataError(
            f"quantities in {path} must be a table of "
            '"dram.bandwidth" = { value = "2TB/s", source = "...", kind = "datasheet" }'
        )
    if "like" in written:
        return _changed(_base(written["like"], known, path, after), name, written, given, path)
    return _whole(name, written, given, path)


def _base(like: Any, known: Callable[[str], Device], path: Path, after: tuple[Path, ...]) -> Device:
    """The device that a file starts from, itself perhaps of a file."""
    if not isinstance(like, str):
        raise DataError(f'like in {path} must be the name of a device, such as "a100-sxm-80gb", got {like!r}')
    if not like.endswith(".toml"):
        return known(like)
    before = (*after, path.resolve())
    if Path(like).resolve() in before:
        raise DataError(f"like in {path} leads back to the file itself; name a known device")
    return read_device(Path(like), known, before)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} is larger than {MOST_BYTES:,} B; a device file is a page of text")
        return tomllib.loads(read_text(path, "device file"))
    except FileNotFoundError:
        raise DataError(
            f"there is no device file '{path}'; 'optimize devices' lists the known ones"
        ) from None
    except OSError as error:
        raise DataError(f"the device file {path} cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"the device file {path} is not TOML: {error}") from None


def _changed(
    base: Device, name: str, written: Mapping[str, Any], given: Mapping[str, Any], path: Path
) -> Device:
    """A known device with some numbers of the file."""
    extra = next((key for key in written if key not in {"name", "like", "quantities"}), None)
    if extra is not None:
        raise DataError(f"{path} gives '{extra}' beside 'like'; with 'like' only quantities change")
    table = dict(base.table)
    for field, entry in given.items():
        if field not in table and not NEW_FIELD.fullmatch(field):
            raise DataError(f"{base.name} has no field '{field}' (in {path}); {nearest(field, table)}")
        unit = table[field].unit if field in table else "flop/s"
        table[field] = _quantity(field, entry, unit, path)
    varied = tuple(sorted({*base.varied, *given}))
    return replace(base, name=name, table=table, varied=varied)


def _whole(name: str, written: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> Device:
    """A device with every part in the file."""
    kind = written.get("kind")
    if not (isinstance(kind, str) and kind in LEVELS):
        raise DataError(
            f'{path} must say like = "a100-sxm-80gb" (or another known device), or kind = '
            f"one of {', '.join(LEVELS)}; got kind = {kind!r}"
        )
    levels, cores, links = (_names(key, written, path) for key in ("levels", "core_levels", "links"))
    if not set(LEVELS[kind]) <= set(levels):
        wanted = ", ".join(f'"{level}"' for level in LEVELS[kind])
        raise DataError(f"levels in {path} must hold those of a {kind}, inner to outer: [{wanted}]")
    table = {
        field: _quantity(field, entry, _unit(field, entry, path), path) for field, entry in given.items()
    }
    needed = [
        "clock", "cores", "launch", "special",
        *(f"{level}.{part}" for level in levels for part in ("capacity", "bandwidth")),
        *(f"{link}.bandwidth" for link in links),
    ]  # fmt: skip
    missing = [field for field in needed if field not in table]
    if missing or not any(field.startswith("peak.") for field in table):
        lacking = ", ".join(missing) or "a peak, such as peak.fp16"
        raise DataError(f"{path} lacks {lacking}; 'optimize devices a100-sxm-80gb' shows a whole record")
    family = written.get("family", name)
    if not isinstance(family, str):
        raise DataError(f"family in {path} must be a text, got {family!r}")
    return Device(name, written["kind"], family, table, levels, links, cores)


def _names(key: str, written: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    value = written.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise DataError(f"{key} in {path} must be a list of names, got {value!r}")
    return tuple(value)


def _unit(field: str, entry: Mapping[str, Any], path: Path) -> str:
    unit = entry.get("unit", "")
    if not isinstance(unit, str):
        raise DataError(f'unit of {field} in {path} must be a text, such as "B/s", got {unit!r}')
    return unit


def _quantity(field: str, entry: Mapping[str, Any], unit: str, path: Path) -> Quantity:
    """One number: a text with its unit, or a bare number in SI."""
    for part in ("value", "source", "kind"):
        if part not in entry:
            raise DataError(
                f"{field} in {path} lacks its {part}; every number has a value, a source and a kind"
            )
    kind = entry["kind"]
    if not (isinstance(kind, str) and kind in KINDS):
        raise DataError(f"kind of {field} in {path} must be one of {', '.join(KINDS)}, got {entry['kind']!r}")
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{field} in {path} must be a number, or a text with a unit, got {value!r}")
    try:
        number = parse(value, unit) if isinstance(value, str) else float(value)
        return Quantity(number, unit, str(entry["source"]), entry["kind"])
    except (GoalError, OverflowError) as error:
        raise DataError(f"{field} in {path}: {error}") from None
