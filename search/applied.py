"""What carrying out an answer measured: kept in the run's folder, shown in its report and its study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataError
from .folder import RunFolder

FILE = "applied.json"
EVENTS = "events when applied"


def keep(folder: RunFolder, options: Mapping[str, Any], rows: Sequence[Any], events: Sequence[str]) -> None:
    """Write what was measured into the run, and its events as an attribute of the run's study.

    Raises DataError where either cannot be written.
    """
    told = {"options": {k: str(v) for k, v in options.items()}, "rows": list(rows), "events": list(events)}
    folder.write_json(FILE, told)
    journal = folder.path.parent.parent / "journal.log"
    if events and journal.is_file():
        from .journal import Journal

        Journal(journal).annotate(folder.path.name, {EVENTS: list(events)})


def kept(folder: RunFolder) -> dict[str, Any] | None:
    """What was measured when the run was applied last; None where it never was, or the file is damaged."""
    if not (folder.path / FILE).is_file():
        return None
    try:
        found = folder.read_json(FILE)
        whole = all(isinstance(row, dict) for row in found["rows"]) and isinstance(found["events"], list)
    except (DataError, KeyError, TypeError):
        return None
    return found if whole and isinstance(found.get("options"), dict) else None
