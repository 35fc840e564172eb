"""The one schema of traces: applications arrive, run stages in turn, each on a backend.

A stage on a language model makes calls (prompt tokens in, tokens out) that run side by side; a stage
elsewhere (container, network, search) takes seconds. A plain request is an application of one stage
with one call. Columns are flat; `*_start` arrays of length n + 1 say where each part begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from ...errors import DataError
from .compiled import Array

LANGUAGE = "llm"


@dataclass(frozen=True)
class Stage:
    """One stage of an application: its unit, backend, calls as (input, output) pairs, or seconds.

    gaps are stages of their own: a stage with seconds on a backend of its own.
    """

    unit: str
    backend: str = LANGUAGE
    calls: tuple[tuple[int, int], ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Trace:
    """Applications in order of arrival.

    arrival (n,), kind (n,) indexing `classes`, deadline (n,) absolute, NaN for none; stage_start
    (n + 1,); unit, backend, seconds (stages,); call_start (stages + 1,); input, output (calls,);
    prefix_start (calls + 1,) into `prefix`, the dense numbers of shared prompt blocks. left_out: rows of
    the file that are no requests, for want of input or output tokens.
    """

    arrival: Array
    kind: Array
    deadline: Array
    stage_start: Array
    unit: Array
    backend: Array
    seconds: Array
    call_start: Array
    input: Array
    output: Array
    prefix_start: Array
    prefix: Array
    classes: tuple[str, ...] = ("request",)
    units: tuple[str, ...] = ("request",)
    backends: tuple[str, ...] = (LANGUAGE,)
    prefix_tokens: int = 0
    left_out: int = 0
    name: str = field(default="trace")

    def __len__(self) -> int:
        return len(self.arrival)

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of_requests(
        cls,
        arrival: ArrayLike,
        input: ArrayLike,
        output: ArrayLike,
        *,
        kind: ArrayLike | None = None,
        classes: Sequence[str] = ("request",),
        deadline: ArrayLike | None = None,
        prefix: Sequence[Sequence[int | str]] | None = None,
        prefix_tokens: int = 0,
        left_out: int = 0,
        name: str = "trace",
    ) -> Trace:
        """A trace of plain requests, one call each.

        prefix: names of each request's leading prompt blocks, any whole numbers or texts.

        >>> len(Trace.of_requests([0.0, 0.5], [100, 200], [10, 20]))
        2
        """
        arrivals = np.asarray(arrival, float)
        n = len(arrivals)
        one = np.arange(n + 1)
        starts, flat = np.zeros(n + 1, np.int64), np.zeros(0, np.int64)
        if prefix is not None:
            starts = np.concatenate([[0], np.cumsum([len(p) for p in prefix])])
            dense: dict[int | str, int] = {}
            flat = np.array([dense.setdefault(block, len(dense)) for p in prefix for block in p], np.int64)
        return cls(
            arrivals,
            np.zeros(n, np.int64) if kind is None else np.asarray(kind, np.int64),
            np.full(n, np.nan) if deadline is None else np.asarray(deadline, float),
            one,
            np.zeros(n, np.int64),
            np.zeros(n, np.int64),
            np.zeros(n),
            one,
            np.asarray(input),
            np.asarray(output),
            starts,
            flat,
            tuple(classes),
            prefix_tokens=prefix_tokens,
            left_out=left_out,
            name=name,
        )

    @classmethod
    def of_applications(
        cls,
        arrival: ArrayLike,
        kinds: Iterable[str],
        runs: Iterable[Sequence[Stage]],
        *,
        deadline: ArrayLike | None = None,
        classes: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
        backends: Sequence[str] = (LANGUAGE,),
        left_out: int = 0,
        name: str = "trace",
    ) -> Trace:
        """A trace of applications, each a sequence of stages; names keep the order of first sight."""
        arrivals, names, stages = np.asarray(arrival, float), list(kinds), [list(run) for run in runs]
        listed = list(dict.fromkeys(names)) if classes is None else list(classes)
        flat = [stage for run in stages for stage in run]
        known = list(dict.fromkeys([*(units or ()), *(s.unit for s in flat)]))
        places = list(dict.fromkeys([*backends, *(s.backend for s in flat)]))
        index = {u: i for i, u in enumerate(known)}
        calls = [call for stage in flat for call in stage.calls]
        return cls(
            arrivals,
            np.array([listed.index(k) for k in names], np.int64),
            np.full(len(arrivals), np.nan) if deadline is None else np.asarray(deadline, float),
            np.concatenate([[0], np.cumsum([len(run) for run in stages], dtype=np.int64)]),
            np.array([index[s.unit] for s in flat], np.int64),
            np.array([places.index(s.backend) for s in flat], np.int64),
            np.array([s.seconds for s in flat], float),
            np.concatenate([[0], np.cumsum([len(s.calls) for s in flat], dtype=np.int64)]),
            np.array([c[0] for c in calls], float),
            np.array([c[1] for c in calls], float),
            np.zeros(len(calls) + 1, np.int64),
            np.zeros(0, np.int64),
            tuple(listed),
            tuple(known),
            tuple(places),
            left_out=left_out,
            name=name,
        )

    # --- derived -----------------------------------------------------------------------------------
    @property
    def rate(self) -> float:
        """Arrivals a second over the span of the trace."""
        span = float(self.arrival[-1] - self.arrival[0]) if len(self) > 1 else 0.0
        return (len(self) - 1) / span if span > 0 else 0.0

    def at_rate(self, rate: float) -> Trace:
        """The same applications, their arrival times stretched to another mean rate."""
        if not rate > 0:
            raise DataError(f"rate of a trace must be positive, got {rate:g}")
        factor = self.rate / rate
        arrival = self.arrival[0] + (self.arrival - self.arrival[0]) * factor
        return replace(self, arrival=arrival, deadline=arrival + (self.deadline - self.arrival))

    def first(self, n: int) -> Trace:
        """The first n applications."""
        stages = int(self.stage_start[min(n, len(self))])
        calls = int(self.call_start[stages])
        return replace(
            self,
            arrival=self.arrival[:n],
            kind=self.kind[:n],
            deadline=self.deadline[:n],
            stage_start=self.stage_start[: n + 1],
            unit=self.unit[:stages],
            backend=self.backend[:stages],
            seconds=self.seconds[:stages],
            call_start=self.call_start[: stages + 1],
            input=self.input[:calls],
            output=self.output[:calls],
            prefix_start=self.prefix_start[: calls + 1],
            prefix=self.prefix[: int(self.prefix_start[calls])],
        )

    def work(self, per_input: float, per_output: float) -> Array:
        """Backend seconds of each stage: tokens of all its calls at solo speed, plus its seconds.

        Calls side by side are summed: it is work, not elapsed time (Hermes' S).
        """
        tokens = per_input * self.input + per_output * self.output
        total = np.concatenate([[0.0], np.cumsum(tokens)])
        return np.asarray(np.diff(total[self.call_start]) + self.seconds)


def check(trace: Trace) -> None:
    """DataError that names the first row at fault."""

    def refuse(bad: Array, column: str, must: str, row: str = "row") -> None:
        if bad.any():
            i = int(np.argmax(bad))
            value = np.asarray(getattr(trace, column))[i]
            raise DataError(f"{row} {i + 1} of {trace.name}: {column} must be {must}, got {value}.")

    arrival = trace.arrival
    if not len(arrival):
        raise DataError(f"{trace.name} has no rows.")
    refuse(~np.isfinite(arrival), "arrival", "a number of seconds")
    refuse(arrival < 0, "arrival", "non-negative")
    refuse(np.diff(arrival, prepend=arrival[0]) < 0, "arrival", "no earlier than the row before")
    refuse((trace.kind < 0) | (trace.kind >= len(trace.classes)), "kind", "one of its classes")
    refuse(np.diff(trace.stage_start) < 1, "arrival", "followed by at least one stage")
    refuse(~np.isfinite(trace.seconds) | (trace.seconds < 0), "seconds", "a non-negative number", "stage")
    language = np.array([b == LANGUAGE for b in trace.backends])[trace.backend]
    refuse(language & (np.diff(trace.call_start) < 1), "unit", "given at least one call", "stage")
    one = len(trace.input) == len(arrival)
    for column, least in (("input", 1), ("output", 1)):
        values = np.asarray(getattr(trace, column), float)
        bad = ~np.isfinite(values) | (values < least)
        refuse(bad, column, f"a whole number of at least {least}", "row" if one else "call")
    late = np.isfinite(trace.deadline) & (trace.deadline < arrival)
    refuse(late, "deadline", "no earlier than the arrival")
