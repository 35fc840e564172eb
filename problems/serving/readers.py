"""Readers of public trace formats into the one schema; `read_trace` finds out which it is.

Azure LLM inference 2023, Mooncake, BurstGPT, Azure Functions 2019 and 2021, logs of vLLM benchmarks, and
plain CSV with the columns of `COLUMNS`. Files may be gzipped.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ...errors import DataError, nearest
from .compiled import Array
from .trace import LANGUAGE, Stage, Trace

COLUMNS = ("arrival", "class", "input", "output", "deadline", "application", "stage", "backend", "seconds")
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, OSError,
              RecursionError, csv.Error, zlib.error)  # fmt: skip
Rows = list[Mapping[str, Any]]


def open_text(path: Path) -> TextIO:
    """A text file, gzipped or not; DataError where there is none."""
    if not path.is_file():
        raise DataError(f"there is no trace file '{path}'.")
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def read_json(path: str | Path) -> Any:
    """What a JSON file holds, gzipped or not; DataError where it is missing or no JSON."""
    path = Path(path)
    with open_text(path) as file:
        try:
            return json.load(file)
        except (ValueError, OSError, EOFError, RecursionError, zlib.error) as error:
            raise DataError(f"{path.name} is no JSON: {error}") from None


def read_trace(path: str | Path, form: str | None = None) -> Trace:
    """A trace file of any known format; DataError names the row and column at fault."""
    path = Path(path)
    try:
        return _read_trace(path, form)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be read as a trace: {type(error).__name__}: {error}") from None


def _read_trace(path: Path, form: str | None) -> Trace:
    rows = list(_records(path))
    if not rows:
        raise DataError(f"{path.name} has no rows.")
    if form is None:
        header = set(rows[0])
        form = next((f for f, (needs, _) in FORMATS.items() if needs <= header), None)
        if form is None:
            raise DataError(
                f"{path.name} has the columns {', '.join(sorted(header)[:8])}, those of no known format; "
                f"a plain CSV needs arrival, input, output."
            )
    if form not in FORMATS:
        raise DataError(f"unknown trace format '{form}'; {nearest(form, FORMATS)}")
    return FORMATS[form][1](rows, path.name)


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    with open_text(path) as file:
        if ".json" in path.name:
            for line, text in enumerate(file):
                if text.strip():
                    try:
                        yield json.loads(text)
                    except json.JSONDecodeError as error:
                        raise DataError(f"row {line + 1} of {path.name} is no JSON: {error}") from None
        else:
            yield from csv.DictReader(file)


def _column(rows: Rows, name: str, key: str, default: float | None = None, form: Any = float) -> Array:
    values = []
    for i, row in enumerate(rows):
        cell = row.get(key)
        if cell is None or cell == "":
            if default is None:
                raise DataError(f"row {i + 1} of {name}: {key} is missing.")
            values.append(default)
            continue
        try:
            values.append(form(cell))
        except (TypeError, ValueError):
            raise DataError(f"row {i + 1} of {name}: {key} must be a number, got {cell!r}.") from None
    return np.array(values, float)


def _stamp(text: str) -> float:
    day = datetime.fromisoformat(text[:26])
    return day.timestamp()


def _sorted(arrival: Array) -> tuple[Array, Array]:
    order = np.argsort(arrival, kind="stable")
    return order, arrival[order] - arrival[order[0]]


def azure_llm(rows: Rows, name: str) -> Trace:
    """Azure LLM inference traces of 2023."""
    arrival = _column(rows, name, "TIMESTAMP", form=_stamp)
    tokens = [_column(rows, name, key) for key in ("ContextTokens", "GeneratedTokens")]
    return Trace.of_requests(arrival - arrival[0], *tokens, name=name)


def mooncake(rows: Rows, name: str) -> Trace:
    """Mooncake: milliseconds, lengths, and hashes of 512-token prefix blocks."""
    for i, row in enumerate(rows):
        if not isinstance(row.get("hash_ids"), list):
            raise DataError(f"row {i + 1} of {name}: hash_ids is missing.")
    arrival = _column(rows, name, "timestamp") / 1e3
    lengths = [_column(rows, name, key) for key in ("input_length", "output_length")]
    prefix = [row["hash_ids"] for row in rows]
    return Trace.of_requests(arrival, *lengths, prefix=prefix, prefix_tokens=512, name=name)


def burstgpt(rows: Rows, name: str) -> Trace:
    """BurstGPT: seconds, model, request and response tokens; rows that failed (no response) are left out."""
    kept = [row for row in rows if str(row.get("Response tokens", "")) not in {"0", "0.0"}]
    if not kept:
        raise DataError(f"{name}: no row has response tokens.")
    labels = [str(row.get("Model", "request")) for row in kept]
    classes = sorted(set(labels))
    arrival = _column(kept, name, "Timestamp")
    tokens = [_column(kept, name, key) for key in ("Request tokens", "Response tokens")]
    kind = [classes.index(label) for label in labels]
    return Trace.of_requests(arrival - arrival[0], *tokens, kind=kind, classes=classes, name=name)


def functions_2021(rows: Rows, name: str) -> Trace:
    """Azure Functions 2021: invocations of containers; arrival is the end less the duration."""
    seconds = _column(rows, name, "duration")
    order, arrival = _sorted(_column(rows, name, "end_timestamp") - seconds)
    runs = [[Stage(str(rows[i]["func"])[:8], "container", seconds=float(seconds[i]))] for i in order]
    kinds = [str(rows[i]["func"])[:8] for i in order]
    return Trace.of_applications(arrival, kinds, runs, backends=("container",), name=name)


def functions_2019(rows: Rows, name: str) -> Trace:
    """Azure Functions 2019: invocations a minute, spread evenly within each; one second each.

    Durations stand in another file of that data set; scale `seconds` with them.
    """
    minutes = [key for key in rows[0] if key.isdigit()]
    times: list[float] = []
    kinds: list[str] = []
    for i, row in enumerate(rows):
        for minute in minutes:
            cell = row[minute]
            count = int(float(cell)) if cell else 0
            if count < 0:
                raise DataError(f"row {i + 1} of {name}: minute {minute} must be non-negative, got {count}.")
            times += [60.0 * (int(minute) - 1) + 60.0 * (k + 0.5) / count for k in range(count)]
            kinds += [str(row["HashFunction"])[:8]] * count
    if not times:
        raise DataError(f"{name} has no invocations.")
    order, arrival = _sorted(np.array(times))
    runs = [[Stage(kinds[i], "container", seconds=1.0)] for i in order]
    return Trace.of_applications(arrival, [kinds[i] for i in order], runs, backends=("container",), name=name)


def vllm_log(rows: Rows, name: str) -> Trace:
    """A per-request log of a vLLM benchmark; arrivals are the times at which the engine queued them."""
    queued = _column(rows, name, "queued_ts")
    tokens = [_column(rows, name, key) for key in ("input_toks", "output_toks")]
    order, arrival = _sorted(queued)
    return Trace.of_requests(arrival, *(t[order] for t in tokens), name=name)


def plain(rows: Rows, name: str) -> Trace:
    """Plain CSV: one row a call or a stage; rows with the same `application` are its stages in turn.

    Needs arrival, input and output (or seconds with a backend); class, deadline, stage are optional.
    Consecutive rows of one application with the same stage are calls side by side.
    """
    arrival = _column(rows, name, "arrival")
    deadline = _column(rows, name, "deadline", default=np.nan)
    applications: dict[str, tuple[int, list[Stage]]] = {}
    for i, row in enumerate(rows):
        key = str(row.get("application") or f"row {i + 1}")
        stages = applications.setdefault(key, (i, []))[1]
        unit, backend = str(row.get("stage") or "request"), str(row.get("backend") or LANGUAGE)
        if backend == LANGUAGE:
            lengths = [_column([row], f"{name} (row {i + 1})", c)[0] for c in ("input", "output")]
            if not all(np.isfinite(v) and v >= 1 and v == int(v) for v in lengths):
                raise DataError(
                    f"row {i + 1} of {name}: input and output must be whole numbers of at least 1, "
                    f"got {row['input']} and {row['output']}."
                )
            call = (int(lengths[0]), int(lengths[1]))
            if stages and stages[-1].unit == unit and row.get("stage"):
                stages[-1] = Stage(unit, backend, (*stages[-1].calls, call))
            else:
                stages.append(Stage(unit, backend, (call,)))
        else:
            seconds = _column([row], f"{name} (row {i + 1})", "seconds")[0]
            stages.append(Stage(unit, backend, seconds=float(seconds)))
    firsts = [first for first, _ in applications.values()]
    return Trace.of_applications(
        arrival[firsts],
        [str(rows[i].get("class") or "request") for i in firsts],
        [stages for _, stages in applications.values()],
        deadline=deadline[firsts],
        name=name,
    )


FORMATS: dict[str, tuple[set[str], Callable[[Rows, str], Trace]]] = {
    "azure-llm": ({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}, azure_llm),
    "mooncake": ({"timestamp", "input_length", "output_length", "hash_ids"}, mooncake),
    "burstgpt": ({"Timestamp", "Request tokens", "Response tokens"}, burstgpt),
    "functions-2021": ({"func", "end_timestamp", "duration"}, functions_2021),
    "functions-2019": ({"HashFunction", "1", "2"}, functions_2019),
    "vllm": ({"input_toks", "output_toks", "queued_ts"}, vllm_log),
    "csv": ({"arrival"}, plain),
}


def write_csv(trace: Trace, path: str | Path) -> None:
    """Write a trace as plain CSV, which `read_trace` reads back."""
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for i in range(len(trace)):
            deadline = "" if np.isnan(trace.deadline[i]) else repr(float(trace.deadline[i]))
            head = (repr(float(trace.arrival[i])), trace.classes[trace.kind[i]])
            for s in range(trace.stage_start[i], trace.stage_start[i + 1]):
                where = (trace.units[trace.unit[s]], trace.backends[trace.backend[s]])
                calls = range(trace.call_start[s], trace.call_start[s + 1])
                for c in calls:
                    tokens = (int(trace.input[c]), int(trace.output[c]))
                    writer.writerow((*head, *tokens, deadline, f"a{i}", *where, ""))
                if not calls:
                    seconds = repr(float(trace.seconds[s]))
                    writer.writerow((*head, "", "", deadline, f"a{i}", *where, seconds))
