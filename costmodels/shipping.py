"""The shipped coefficient files, re-created from folders of public measurements.

`build(folders)` fits every device and family found below them; `write` stores one JSON file a device.
The data stay where they are: only coefficients, errors, ranges and the data's licence are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..hardware import device as find_device
from .fitting import Samples, calibrated
from .profiles import load

Progress = Callable[[str], None]


def joined(parts: list[Samples]) -> Samples:
    """One data set from the parts of one family, dtype and source."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return Samples(
        first.family,
        first.dtype,
        {name: np.concatenate([part.shapes[name] for part in parts]) for name in first.shapes},
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.group + number * 1e9 for number, part in enumerate(parts)]),
        first.source,
    )


def build(folders: Iterable[Path], progress: Progress | None = None) -> dict[str, dict[str, Any]]:
    """Coefficient records by device name: `{"device", "family", "families": {family: {dtype: entry}}}`."""
    parts: dict[tuple[str, str, str], list[Samples]] = {}
    for name, _, samples in chain.from_iterable(map(load, folders)):
        parts.setdefault((name, samples.family, samples.dtype), []).append(samples)
    records: dict[str, dict[str, Any]] = {}
    for (name, family, dtype), pieces in parts.items():
        if progress:
            progress(f"{name} {family} {dtype}")
        device = find_device(name)
        record = records.setdefault(name, {"device": name, "family": device.family, "families": {}})
        record["families"].setdefault(family, {})[dtype] = calibrated(device, joined(pieces))
    return records


def write(records: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """One file a device, stable from run to run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, record in records.items():
        text = json.dumps(record, indent=1, sort_keys=True)
        (folder / f"{name}.json").write_text(text + "\n")
