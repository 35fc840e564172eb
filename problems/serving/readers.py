"""Readers of public trace formats into the one schema; `read_trace` finds out which it is.

Azure LLM inference 2023 and 2024, Mooncake, BurstGPT, Azure Functions 2019 and 2021, logs of vLLM
benchmarks, and plain CSV with the columns of `COLUMNS`. Any of them may be a delimited table, JSON lines or
a JSON array (see `tradespace.text`), with times as in `tradespace.times`. Rows without input or output
tokens are no requests: they are left out and counted.
"""

from __future__ import annotations

import csv
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, nearest
from ...text import Record, read_records
from ...times import seconds
from .compiled import Array
from .trace import LANGUAGE, Stage, Trace

COLUMNS = ("arrival", "class", "input", "output", "deadline", "application", "stage", "backend", "seconds")
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
MISSING = {"", "nan", "null", "none"}


@dataclass(frozen=True, eq=False)
class Records:
    """The rows of a trace file, the file's name for sentences, and the zone of times without an offset."""

    name: str
    rows: Sequence[Record]
    zone: str = "UTC"

    def refuse(self, row: int, key: str, must: str, cell: object) -> DataError:
        """The sentence about a cell; row counts from 0."""
        if _missing(cell):
            return DataError(f"row {row + 1} of {self.name}: {key} is missing.")
        return DataError(f"row {row + 1} of {self.name}: {key} must be {must}, got {cell!r}.")

    def number(self, row: int, key: str) -> float:
        """One number."""
        cell = self.rows[row].get(key)
        try:
            value = float("missing" if isinstance(cell, bool) or cell is None else cell)
        except (TypeError, ValueError, OverflowError):
            raise self.refuse(row, key, "a number", cell) from None
        if not np.isfinite(value):
            raise self.refuse(row, key, "a finite number", cell)
        return value

    def numbers(self, key: str) -> Array:
        """A column of numbers (rows,)."""
        return np.array([self.number(row, key) for row in range(len(self.rows))], float)

    def times(self, rows: Sequence[int], key: str, unit: str = "1") -> tuple[list[Decimal], bool]:
        """A column of times at some rows, in seconds, and whether they are dates."""
        try:
            return seconds((self.rows[row].get(key) for row in rows), unit, self.zone)
        except ValueError as error:
            place, cell = error.args
            must = "a time, such as 2024-05-10 00:00:00.5+00:00 or a number,"
            raise self.refuse(rows[place], key, must, cell) from None

    def count(self, row: int, key: str) -> int:
        """A whole number, 0 where the cell is empty."""
        cell = self.rows[row].get(key)
        if _missing(cell):
            return 0
        value = self.number(row, key)
        if not (value >= 0 and value == int(value)):
            raise self.refuse(row, key, "a whole number of at least 0", cell)
        return int(value)

    def requests(
        self, arrival: str, input: str, output: str, unit: str = "1", from_first: bool = True, **more: Any
    ) -> Trace:
        """A trace of the rows with tokens in and out, by time of arrival.

        arrival, input, output: names of columns. unit: seconds that a number in `arrival` counts.
        from_first: whether time counts from the first arrival even where arrivals are no dates.
        more: functions of the list of rows kept, for `Trace.of_requests`.
        """
        lengths = [(self.count(i, input), self.count(i, output)) for i in range(len(self.rows))]
        kept = [i for i, pair in enumerate(lengths) if min(pair) > 0]
        if not kept:
            raise DataError(f"{self.name} has no requests: none of its rows has both {input} and {output}.")
        times, dates = self.times(kept, arrival, unit)
        order = sorted(range(len(kept)), key=times.__getitem__)
        origin = times[order[0]] if dates or from_first else Decimal(0)
        rows = [kept[i] for i in order]
        return Trace.of_requests(
            [float(times[i] - origin) for i in order],
            [lengths[i][0] for i in rows],
            [lengths[i][1] for i in rows],
            left_out=len(self.rows) - len(kept),
            name=self.name,
            **{key: make(rows) for key, make in more.items()},
        )


def _missing(cell: object) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def read_trace(path: str | Path, form: str | None = None, zone: str = "UTC") -> Trace:
    """A trace file of any known format; DataError names the row and column at fault.

    form: its format, a key of FORMATS, found out by its columns by default.
    zone: the time zone of stamps without an offset, such as "America/New_York".
    """
    path = Path(path)
    return trace_of(Records(path.name, read_records(path, "trace file"), zone), form)


def trace_of(records: Records, form: str | None = None) -> Trace:
    """The trace of rows already read; a warning says how many rows are no requests."""
    name = records.name
    if not records.rows:
        raise DataError(f"{name} has no rows.")
    if form is None:
        header = set(records.rows[0])
        form = next((f for f, (needs, _) in FORMATS.items() if needs <= header), None)
        if form is None:
            raise DataError(
                f"{name} has the columns {', '.join(sorted(map(str, header))[:8])}, those of no known "
                "format; a plain CSV needs arrival, input, output."
            )
    if form not in FORMATS:
        raise DataError(f"unknown trace format '{form}'; {nearest(form, FORMATS)}")
    try:
        trace = FORMATS[form][1](records)
    except UNREADABLE as error:
        raise DataError(f"{name} cannot be read as a trace: {type(error).__name__}: {error}") from None
    if trace.left_out and multiprocessing.parent_process() is None:  # workers need not say it again
        warnings.warn(
            f"{trace.left_out:,} of {len(records.rows):,} rows of {name} have no input or no output tokens; "
            "they are left out.",
            stacklevel=3,
        )
    return trace


def azure_llm(records: Records) -> Trace:
    """Azure LLM inference traces of 2023 and 2024."""
    return records.requests("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def mooncake(records: Records) -> Trace:
    """Mooncake: milliseconds, lengths, and hashes of 512-token prefix blocks."""
    for i, row in enumerate(records.rows):
        blocks = row.get("hash_ids")
        if not isinstance(blocks, list) or not all(type(block) in {int, str} for block in blocks):
            raise records.refuse(i, "hash_ids", "a list of whole numbers or texts", blocks)
    return records.requests(
        "timestamp", "input_length", "output_length", "0.001",
        prefix=lambda kept: [records.rows[i]["hash_ids"] for i in kept], prefix_tokens=lambda _: 512,
    )  # fmt: skip


def burstgpt(records: Records) -> Trace:
    """BurstGPT: seconds, model, request and response tokens; calls that failed have no response."""
    labels = [str(row.get("Model") or "request") for row in records.rows]

    def kinds(kept: list[int]) -> list[int]:
        number = {label: i for i, label in enumerate(classes(kept))}
        return [number[labels[i]] for i in kept]

    def classes(kept: list[int]) -> list[str]:
        return sorted({labels[i] for i in kept})

    columns = ("Timestamp", "Request tokens", "Response tokens")
    return records.requests(*columns, kind=kinds, classes=classes)


def functions_2021(records: Records) -> Trace:
    """Azure Functions 2021: invocations of containers; arrival is the end less the duration."""
    rows, spent = records.rows, records.numbers("duration")
    ends, _ = records.times(range(len(rows)), "end_timestamp")
    starts = [end - Decimal(str(seconds)) for end, seconds in zip(ends, spent.tolist(), strict=True)]
    order = sorted(range(len(rows)), key=starts.__getitem__)
    kinds = [str(rows[i]["func"])[:8] for i in order]
    return Trace.of_applications(
        [float(starts[i] - starts[order[0]]) for i in order],
        kinds,
        [[Stage(kind, "container", seconds=float(spent[i]))] for kind, i in zip(kinds, order, strict=True)],
        backends=("container",),
        name=records.name,
    )


def functions_2019(records: Records) -> Trace:
    """Azure Functions 2019: invocations a minute, spread evenly within each; one second each.

    Durations stand in another file of that data set; scale `seconds` with them.
    """
    minutes = [key for key in records.rows[0] if key.isdigit()]
    times: list[float] = []
    kinds: list[str] = []
    for i, row in enumerate(records.rows):
        for minute in minutes:
            count = records.count(i, minute)
            times += [60.0 * (int(minute) - 1) + 60.0 * (k + 0.5) / count for k in range(count)]
            kinds += [str(row["HashFunction"])[:8]] * count
    if not times:
        raise DataError(f"{records.name} has no invocations.")
    order = np.argsort(times, kind="stable")
    runs = [[Stage(kinds[i], "container", seconds=1.0)] for i in order]
    return Trace.of_applications(
        np.array(times)[order] - min(times),
        [kinds[i] for i in order],
        runs,
        backends=("container",),
        name=records.name,
    )


def vllm_log(records: Records) -> Trace:
    """A per-request log of a vLLM benchmark; arrivals are the times at which the engine queued them."""
    return records.requests("queued_ts", "input_toks", "output_toks")


def plain(records: Records) -> Trace:
    """Plain CSV: one row a call or a stage; rows with the same `application` are its stages in turn.

    Needs arrival, input and output (or seconds with a backend); class, deadline, stage are optional.
    Consecutive rows of one application with the same stage are calls side by side. Arrivals that are
    dates are counted from the first.
    """
    rows, name = records.rows, records.name
    applications: dict[str, tuple[int, list[Stage]]] = {}
    left_out = 0
    for i, row in enumerate(rows):
        unit, backend = str(row.get("stage") or "request"), str(row.get("backend") or LANGUAGE)
        call = (0, 0)
        if backend == LANGUAGE:
            call = (records.count(i, "input"), records.count(i, "output"))
            if min(call) == 0:
                left_out += 1
                continue
        stages = applications.setdefault(str(row.get("application") or f"row {i + 1}"), (i, []))[1]
        if backend != LANGUAGE:
            stages.append(Stage(unit, backend, seconds=records.number(i, "seconds")))
        elif stages and stages[-1].unit == unit and row.get("stage"):
            stages[-1] = Stage(unit, backend, (*stages[-1].calls, call))
        else:
            stages.append(Stage(unit, backend, (call,)))
    firsts = [first for first, _ in applications.values()]
    if not firsts:
        raise DataError(f"{name} has no requests: none of its rows has both input and output.")
    arrival, dates = records.times(firsts, "arrival")
    due = [i for i in firsts if not _missing(rows[i].get("deadline"))]
    deadlines = dict(zip(due, records.times(due, "deadline")[0], strict=True))
    origin = arrival[0] if dates else Decimal(0)
    return Trace.of_applications(
        [float(time - origin) for time in arrival],
        [str(rows[i].get("class") or "request") for i in firsts],
        [stages for _, stages in applications.values()],
        deadline=[float(deadlines[i] - origin) if i in deadlines else np.nan for i in firsts],
        left_out=left_out,
        name=name,
    )


FORMATS: dict[str, tuple[set[str], Callable[[Records], Trace]]] = {
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
    with Path(path).open("w", newline="", encoding="utf-8") as file:
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
