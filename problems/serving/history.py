"""What a scheduler has seen, and what it serves afterwards: never the same runs of a recorded file.

A trace with arrivals is cut in time: what came before the cut is history, what came after it is served at its
own times. Recorded runs without arrivals are cut in the order of recording, and the later ones are drawn for
Poisson arrivals. Of demand graphs that are samples only, history and service are other walks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...text import read_records
from . import applications
from .compiled import Array
from .pdgraph import PDGraph, Recorder, Run, graph_of
from .readers import Records, trace_of
from .records import is_record, recorded_graphs
from .trace import Stage, Trace


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Applications to serve: their classes, runs and arrival times (s)."""

    kinds: list[str]
    runs: list[Run]
    times: Array


@dataclass(frozen=True, eq=False)
class Source:
    """Demand graphs of what was seen, graphs to draw served applications from, or recorded arrivals.

    seen, later: graphs by class; a class may be in one of them only. recorded: what is served, where the
    file has arrivals.
    """

    seen: Mapping[str, PDGraph]
    later: Mapping[str, PDGraph]
    recorded: Arrivals | None = None

    @property
    def classes(self) -> list[str]:
        """All classes, those that were seen first."""
        return list(dict.fromkeys([*self.seen, *self.later]))

    @property
    def graphs(self) -> dict[str, PDGraph]:
        """A graph of each class: as seen, else as served."""
        return {name: self.seen.get(name) or self.later[name] for name in self.classes}

    def walks(self, count: int) -> dict[str, list[Run]]:
        """By class the last `count` recorded runs, or as many walks; the same for every seed."""
        return {
            name: [list(run) for run in graph.runs[-count:]]
            if graph.runs
            else graph.walks(np.random.default_rng([0x415, i]), count)
            for i, (name, graph) in enumerate(self.seen.items())
        }


@lru_cache(maxsize=8)
def source(trace: Path | None, share: float, zone: str = "UTC") -> Source:
    """What a file holds (a made mix without one), the first `share` of it as history.

    zone: the time zone of stamps without an offset.

    Raises DataError for a file that is neither demand graphs, nor recorded runs, nor a trace, and where
    nothing is left to see or to serve.
    """
    if trace is None:
        made = applications.graphs()
        return Source(made, made)
    rows = [] if trace.is_dir() else read_records(trace, "trace file")
    if not trace.is_dir() and not (len(rows) == 1 and is_record(rows[0])):
        return _cut(trace_of(Records(trace.name, rows, zone)), share)
    graphs = recorded_graphs(trace)
    halves = {name: _halves(graph, share) for name, graph in graphs.items()}
    return Source({n: h[0] for n, h in halves.items()}, {n: h[1] for n, h in halves.items()})


def _halves(graph: PDGraph, share: float) -> tuple[PDGraph, PDGraph]:
    """The earlier and the later runs of a class; one graph twice where it is of samples, or of one run."""
    cut = min(max(1, round(share * len(graph.runs))), len(graph.runs) - 1)
    if cut < 1:
        return graph, graph
    return graph_of(graph.name, graph.runs[:cut]), graph_of(graph.name, graph.runs[cut:])


def _cut(trace: Trace, share: float) -> Source:
    cut = float(trace.arrival[0] + share * (trace.arrival[-1] - trace.arrival[0]))
    before = int(np.searchsorted(trace.arrival, cut, side="right"))
    if not 0 < before < len(trace):
        raise DataError(
            f"{trace.name} has {before} applications in the first {share:.0%} of its time and "
            f"{len(trace) - before} after it; both must be there to learn and to test: set history_share."
        )
    seen, later = Recorder(len(trace)), Recorder(len(trace))
    runs = [run_of(trace, i) for i in range(len(trace))]
    kinds = [trace.classes[k] for k in trace.kind]
    for i, (kind, run) in enumerate(zip(kinds, runs, strict=True)):
        (seen if i < before else later).record(kind, run)
    served = Arrivals(kinds[before:], runs[before:], trace.arrival[before:] - trace.arrival[before])
    return Source(seen.graphs(), later.graphs(), served)


def run_of(trace: Trace, application: int) -> Run:
    """The stages of one application of a trace."""
    stages = []
    for s in range(trace.stage_start[application], trace.stage_start[application + 1]):
        calls = slice(trace.call_start[s], trace.call_start[s + 1])
        pairs = zip(trace.input[calls].astype(int), trace.output[calls].astype(int), strict=True)
        stages.append(
            Stage(trace.units[trace.unit[s]], trace.backends[trace.backend[s]],
                  tuple((int(a), int(b)) for a, b in pairs), float(trace.seconds[s]))
        )  # fmt: skip
    return stages
