"""What carrying out an answer measured: kept in the run's folder, shown in its report and its study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataError
from .folder import RunFolder

FILE = "applied.json"
EVENTS = "events when applied"


def keep(
    folder: RunFolder,
    options: Mapping[str, Any],
    rows: Sequence[Any],
    events: Sequence[str],
    storage: str | None = None,
) -> None:
    """Write what was measured into the run, and its events as an attribute of the run's study.

    storage: where that study is, as in `solve`: None for the journal beside the runs (nothing where there
    is none), "none" for no study. Raises DataError where either cannot be written.
    """
    told = {"options": {k: str(v) for k, v in options.items()}, "rows": list(rows), "events": list(events)}
    folder.write_json(FILE, told)
    journal = folder.path.parent.parent / "journal.log"
    target = (journal if journal.is_file() else "none") if storage is None else storage
    if events and target != "none":
        from .journal import annotate

        annotate(target, folder.path.name, {EVENTS: list(events)})


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
