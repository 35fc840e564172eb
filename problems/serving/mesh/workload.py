"""Traces of many models: generated ones, and the published artefact's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ....errors import DataError
from ....text import Record, read_records
from ..generate import lognormal
from ..readers import Records, trace_of
from ..trace import Trace

GROUP = 8
FUNCTION = ("timestamps", "input", "output")
# Requests a minute of the groups of eight functions in the published trace: few are hot, most are rare.
TIERS = (25.0, 6.4, 2.67, 1.37, 1.0, 0.66, 0.4, 0.27, 0.2, 0.12, 0.08, 0.07, 0.06, 0.04, 0.03, 0.03)


def generated(
    models: int = 64,
    minutes: float = 30.0,
    *,
    simulation_seed: int = 0,
    prompt_mean: float = 870.0,
    output_mean: float = 220.0,
    load: float = 1.0,
) -> Trace:
    """Poisson requests of models as skewed as those of a public function trace, with chat-like lengths.

    >>> len(generated(8, 1.0).classes)
    8
    """
    if models < 1 or not minutes > 0 or not load > 0:
        raise DataError(
            f"a trace needs models, minutes and load above 0, got {models}, {minutes:g}, {load:g}."
        )
    rng = np.random.default_rng(simulation_seed)
    rates = np.array([TIERS[i * len(TIERS) // models] for i in range(models)]) * load
    counts = np.maximum(rng.poisson(rates * minutes), 1)
    kind = np.repeat(np.arange(models), counts)
    arrival = rng.uniform(0, 60 * minutes, len(kind))
    order = np.argsort(arrival)
    prompt = np.clip(np.rint(lognormal(rng, len(kind), prompt_mean, 1.1)), 1, 4000)
    output = np.clip(np.rint(lognormal(rng, len(kind), output_mean, 0.8)), 1, 1000)
    return Trace.of_requests(
        arrival[order], prompt, output, kind=kind[order], classes=[f"model-{i:03d}" for i in range(models)],
        name=f"generated, {models} models",
    )  # fmt: skip


def read_functions(path: str | Path, models: int | None = None, minutes: float | None = None) -> Trace:
    """The artefact's JSON: a list of functions with timestamps (s), input and output lengths.

    models: how many, taken as its test scripts take them: the first of each group of eight.
    """
    path = Path(path)
    return _of_functions(path.name, read_records(path, "trace file"), models, minutes)


def _of_functions(name: str, functions: list[Record], models: int | None, minutes: float | None) -> Trace:
    if not functions:
        raise DataError(f"{name} has no functions.")
    for i, function in enumerate(functions):
        for key in FUNCTION:
            if not isinstance(function.get(key), list):
                raise DataError(f"function {i + 1} of {name}: {key} is missing.")
        if len({len(function[key]) for key in FUNCTION}) > 1:
            raise DataError(f"function {i + 1} of {name}: timestamps, input and output differ in length.")
    if models is not None:
        each = -(-models * GROUP // len(functions))
        functions = [f for i, f in enumerate(functions) if i % GROUP < each][:models]
        if len(functions) < models:
            raise DataError(f"{name} has {len(functions)} functions, fewer than {models}.")
    classes = [f"model-{i:03d}" for i in range(len(functions))]
    calls = [
        dict(zip(("kind", *FUNCTION), (m, *call), strict=True))
        for m, function in enumerate(functions)
        for call in zip(*(function[key] for key in FUNCTION), strict=True)
    ]
    records = Records(name, calls)
    kept = [
        row
        for i, row in enumerate(calls)
        if minutes is None or records.number(i, "timestamps") <= 60 * minutes
    ]
    if not kept:
        raise DataError(f"{name} has no requests.")
    trace = Records(name, kept).requests(
        *FUNCTION,
        from_first=False,
        kind=lambda rows: [kept[i]["kind"] for i in rows],
        classes=lambda _: classes,
    )
    return replace(trace, name=f"{name}, {len(functions)} models")


def halves(trace: Trace) -> tuple[Trace, Trace]:
    """The first and the second half of a trace's time, each from zero."""
    middle = 0.5 * (trace.arrival[0] + trace.arrival[-1])
    return select(trace, trace.arrival < middle), select(trace, trace.arrival >= middle)


def select(trace: Trace, rows: object) -> Trace:
    """Some rows of a trace of plain requests."""
    chosen = np.flatnonzero(np.asarray(rows))
    if not len(chosen):
        raise DataError(f"{trace.name} has no requests in that part.")
    return Trace.of_requests(
        trace.arrival[chosen] - trace.arrival[chosen[0]], trace.input[chosen], trace.output[chosen],
        kind=trace.kind[chosen], classes=trace.classes, name=trace.name,
    )  # fmt: skip


def jittered(trace: Trace, simulation_seed: int, most: float = 0.05) -> Trace:
    """The same requests, each up to `most` seconds later: another run of the same load."""
    arrival = trace.arrival + np.random.default_rng(simulation_seed).uniform(0, most, len(trace.arrival))
    rows = np.argsort(arrival, kind="stable")
    return Trace.of_requests(
        arrival[rows], trace.input[rows], trace.output[rows], kind=trace.kind[rows], classes=trace.classes,
        name=trace.name,
    )  # fmt: skip


def load(
    path: str | Path, models: int | None = None, minutes: float | None = None, zone: str = "UTC"
) -> Trace:
    """A trace file: the artefact's JSON, or any format of `read_trace` whose classes are the models.

    zone: the time zone of stamps without an offset.
    """
    path = Path(path)
    rows = read_records(path, "trace file")
    if rows and "timestamps" in rows[0]:
        return _of_functions(path.name, rows, models, minutes)
    trace = trace_of(Records(path.name, rows, zone))
    if len(trace.input) != len(trace):
        raise DataError(f"{path.name} has no plain requests with prompt and answer lengths.")
    keep = np.ones(len(trace), bool)
    if models is not None:
        keep &= trace.kind < models
    if minutes is not None:
        keep &= trace.arrival <= trace.arrival[0] + 60 * minutes
    return select(trace, keep)
