"""Probabilistic demand graphs: what an application may still need, from recorded runs.

A graph holds, for each unit, samples of what a visit needs (calls and their lengths, or seconds) and of
which unit comes next. Walks through it give the demand left of an application, given the units it has
seen and, where an upstream value tells something about what follows, given that value.
After Hermes (arXiv 2506.14851); file layout of its published graphs.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, nearest
from ...text import read_json
from .compiled import Array
from .shrinkage import posterior, spread_of, strength
from .trace import LANGUAGE, Stage

END, START = "end", "start"
MOST_STAGES = 50
MOST_CALLS = 100_000  # side by side
WINDOW = 1000
INFORMATIVE = 0.5  # least |correlation| at which an upstream value refines what follows
ANY = ("", 0, -1)
ANYTHING = ("", *ANY)
BACKENDS = (LANGUAGE, "docker", "dnn", "search")

Run = list[Stage]


@dataclass(frozen=True)
class Unit:
    """One unit of an application: its backend and the visits recorded, in the order of recording.

    visits: (calls side by side, input tokens, output tokens, seconds). following: the next unit after
    each visit (as many, or samples of their own).
    """

    name: str
    backend: str
    visits: tuple[tuple[int, float, float, float], ...]
    following: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PDGraph:
    """One class of applications: units, and the first one's samples."""

    name: str
    units: Mapping[str, Unit]
    first: tuple[str, ...]
    runs: tuple[tuple[Stage, ...], ...] = field(default=())

    def __post_init__(self) -> None:
        for unit in self.units.values():
            for name in unit.following:
                if name != END and name not in self.units:
                    raise DataError(
                        f"unit '{unit.name}' of '{self.name}' leads to '{name}', which is no unit."
                    )
        ends = {END}
        while True:  # units from which the end can be reached
            more = {n for n, u in self.units.items() if n not in ends and ends & set(u.following)}
            if not more:
                break
            ends |= more
        stuck = set(self.units) - ends
        if stuck:
            raise DataError(f"'{self.name}' never ends once it reaches {', '.join(sorted(stuck))}.")

    def walk(self, rng: np.random.Generator) -> Run:
        """One application: units drawn one after the other, at most 50."""
        run: Run = []
        name = self.first[int(rng.integers(len(self.first)))]
        while name != END and len(run) < MOST_STAGES:
            unit = self.units[name]
            calls, tokens_in, tokens_out, seconds = unit.visits[int(rng.integers(len(unit.visits)))]
            if unit.backend == LANGUAGE:
                call = (max(1, round(tokens_in)), max(1, round(tokens_out)))
                run.append(Stage(name, LANGUAGE, (call,) * max(1, calls)))
            else:
                run.append(Stage(name, unit.backend, seconds=max(1e-6, seconds)))
            name = unit.following[int(rng.integers(len(unit.following)))]
        return run

    def walks(self, rng: np.random.Generator, count: int) -> list[Run]:
        """Several walks; with recorded runs, these are drawn instead, so that fields stay together."""
        if self.runs:
            return [list(self.runs[int(i)]) for i in rng.integers(len(self.runs), size=count)]
        return [self.walk(rng) for _ in range(count)]


class Recorder:
    """Builds graphs from finished runs, remembering the last `window` of each class (FIFO)."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self._runs: dict[str, deque[tuple[Stage, ...]]] = defaultdict(lambda: deque(maxlen=window))

    def record(self, kind: str, run: Sequence[Stage]) -> None:
        """Remember one run of a class."""
        if not run:
            raise DataError(f"a run of '{kind}' must have at least one stage.")
        self._runs[kind].append(tuple(run))

    def graphs(self) -> dict[str, PDGraph]:
        """The graph of each class seen so far; its walks are recorded runs."""
        return {kind: graph_of(kind, list(runs)) for kind, runs in self._runs.items()}


def graph_of(name: str, runs: Sequence[Sequence[Stage]]) -> PDGraph:
    """The graph behind some runs of one class."""
    visits: dict[str, list[tuple[int, float, float, float]]] = defaultdict(list)
    following: dict[str, list[str]] = defaultdict(list)
    backend: dict[str, str] = {}
    for run in runs:
        for stage, successor in zip(run, [*(s.unit for s in run[1:]), END], strict=True):
            count = len(stage.calls)
            tokens = [sum(c[i] for c in stage.calls) / max(1, count) for i in (0, 1)]
            visits[stage.unit].append((count, tokens[0], tokens[1], stage.seconds))
            following[stage.unit].append(successor)
            backend[stage.unit] = stage.backend
    units = {u: Unit(u, backend[u], tuple(v), tuple(following[u])) for u, v in visits.items()}
    return PDGraph(name, units, tuple(run[0].unit for run in runs), tuple(tuple(r) for r in runs))


# --- files -----------------------------------------------------------------------------------------------
def read_graphs(path: str | Path) -> dict[str, PDGraph]:
    """Graphs from a JSON file: application -> unit -> {type, next, input_len, ... | exec_time}.

    Raises DataError for an unknown backend, a missing field, or a loop that never ends.
    """
    path = Path(path)
    return graphs_from(path.name, read_json(path, "file of graphs"))


def graphs_from(file: str, record: Any) -> dict[str, PDGraph]:
    """Graphs from what such a file holds."""
    if not isinstance(record, dict) or not all(isinstance(units, dict) for units in record.values()):
        raise DataError(f"{file} must hold an object from applications to units.")
    try:
        return {name: _graph(name, units) for name, units in record.items()}
    except (TypeError, AttributeError, KeyError, ValueError, IndexError, StopIteration) as error:
        raise DataError(f"{file} holds no graphs: {type(error).__name__}: {error}") from None


def amount(value: Any) -> float:
    """Tokens or seconds; ValueError where they are no finite number of at least 0."""
    if not 0 <= value < np.inf:
        raise ValueError(f"tokens and seconds must be finite and at least 0, got {value!r}")
    return float(value)


def side_by_side(value: Any) -> int:
    """A number of calls; ValueError where it is none."""
    if not 0 <= value <= MOST_CALLS or value != int(value):
        raise ValueError(f"calls side by side must be a count up to {MOST_CALLS:,}, got {value!r}")
    return int(value)


def _graph(name: str, record: Mapping[str, Mapping[str, Any]]) -> PDGraph:
    units: dict[str, Unit] = {}
    try:
        for unit, values in record.items():
            if values["type"] in (START, END):
                continue
            if values["type"] not in BACKENDS:
                raise DataError(
                    f"unit '{unit}' of '{name}' has the unknown backend '{values['type']}'; "
                    f"{nearest(values['type'], BACKENDS)}"
                )
            following = tuple(values["next"])
            if values["type"] == LANGUAGE:
                fields = zip(values["parallelism"], values["input_len"], values["output_len"], strict=False)
                visits = tuple((side_by_side(p), amount(i), amount(o), 0.0) for p, i, o in fields)
            else:
                visits = tuple((0, 0.0, 0.0, amount(t)) for t in values["exec_time"])
            if not visits or not following:
                raise DataError(f"unit '{unit}' of '{name}' has no samples.")
            units[unit] = Unit(unit, values["type"], visits, following)
        first = tuple(record[START]["next"]) if START in record else (next(iter(units)),)
    except KeyError as error:
        raise DataError(f"'{name}' lacks the field {error} of a demand graph.") from None
    return PDGraph(name, units, first)


# --- what an application may still need -------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Prospects:
    """Rows of a rank table: what is known of an application, and the demand left there.

    rows: (class, unit, visit, bin) each, bin -1 where nothing upstream informs; a row without unit stands
    for units of its class that were never recorded, the first row, without class, for all other classes.
    samples: per row, the seconds left on entering it. own: samples of the row's own seconds. external:
    per row, the backend that the next stage needs most often, with its probability.
    """

    rows: tuple[tuple[str, str, int, int], ...]
    samples: tuple[Array, ...]
    own: tuple[Array, ...]
    external: tuple[tuple[str, float], ...]
    edges: Mapping[tuple[str, str, int], Array]
    visit_cap: int

    def index(self) -> dict[tuple[str, str, int, int], int]:
        """Row numbers."""
        return {row: i for i, row in enumerate(self.rows)}

    def of_class(self, kind: str) -> Array:
        """Samples of the whole demand of a class; of any application where it was never recorded."""
        index = self.index()
        return self.samples[index.get((kind, *ANY), index[ANYTHING])]

    def rows_of(self, kind: str, run: Sequence[Stage], work: Sequence[float]) -> list[int]:
        """The row of each stage of a run, given only what is seen before it begins."""
        index, found = self.index(), []
        visits: dict[str, int] = defaultdict(int)
        for i, stage in enumerate(run):
            visit = min(visits[stage.unit], self.visit_cap)
            visits[stage.unit] += 1
            key = (kind, stage.unit, visit)
            bin_ = -1
            if key in self.edges and i > 0:
                bin_ = int(np.searchsorted(self.edges[key], work[i - 1]))
            row = index.get((*key, bin_), index.get((*key, -1)))
            while row is None and visit > 0:
                visit -= 1
                row = index.get((kind, stage.unit, visit, -1))
            if row is None:
                row = index.get((kind, *ANY), index.get(ANYTHING))
            if row is None:
                raise DataError(f"unit '{stage.unit}' of '{kind}' was never recorded.")
            found.append(row)
        return found


def stage_work(stage: Stage, per_input: float, per_output: float) -> float:
    """Backend seconds of a stage, calls side by side summed."""
    return stage.seconds + sum(per_input * i + per_output * o for i, o in stage.calls)


@dataclass(frozen=True)
class _Visit:
    """One stage of one walk: seconds left on entering it, its own, of the stage before, had so far; what
    backend comes next."""

    left: float
    own: float
    before: float
    had: float
    after: str


def prospects(
    runs: Mapping[str, Iterable[Run]],
    *,
    per_input: float = 1e-4,
    per_output: float = 0.06,
    visit_cap: int = 4,
    bins: int = 3,
    informative: float = INFORMATIVE,
    least: int = 20,
) -> Prospects:
    """Rows and their samples from walks of each class.

    A row that fewer than `least` walks reach is joined to an earlier visit. Where the correlation of
    the previous stage's work with what is left is at least `informative`, the row is split into bins
    of that work (the refinement that Hermes makes online). Rows of few samples are shrunk towards what the
    whole demand of their class leaves at that point, classes towards all classes (`shrinkage`).
    """
    seen = {kind: _visits(walked, per_input, per_output, visit_cap) for kind, walked in runs.items()}
    totals = {
        kind: np.array([v.left for records in visits.values() for v in records if v.had == 0.0])
        for kind, visits in seen.items()
    }
    totals = {kind: total for kind, total in totals.items() if len(total)}
    if not totals:
        return Prospects((), (), (), (), {}, visit_cap)
    spread, whole = spread_of(list(totals.values())), np.concatenate(list(totals.values()))
    weight = strength([(total, whole) for total in totals.values()])
    classes = {kind: posterior(total, whole, weight, spread) for kind, total in totals.items()}
    rows: list[tuple[str, str, int, int]] = [ANYTHING, *((kind, *ANY) for kind in classes)]
    samples = [posterior(whole, None, 0.0, spread), *classes.values()]
    own = [whole, *totals.values()]
    external: list[tuple[str, float]] = [("", 0.0)] * len(rows)
    edges: dict[tuple[str, str, int], Array] = {}
    for kind, visits in seen.items():
        parts: list[tuple[tuple[str, str, int, int], list[_Visit], Array | None]] = []
        for (unit, visit), records in sorted(visits.items()):
            if visit > 0 and len(records) < least:
                continue
            had = float(np.mean([v.had for v in records]))
            prior = classes[kind][classes[kind] > had] - had if had > 0 else None
            cuts = _cuts(records, bins, informative, least)
            if cuts is not None:
                edges[kind, unit, visit] = cuts
            place = np.searchsorted(cuts, [v.before for v in records]) if cuts is not None else None
            for b in [-1] if place is None else np.unique(place).tolist():
                chosen = [v for i, v in enumerate(records) if place is None or place[i] == b]
                parts.append(((kind, unit, visit, b), chosen, prior))
        weight = strength([(_column(records, "left"), prior) for _, records, prior in parts])
        for row, records, prior in parts:
            rows.append(row)
            samples.append(posterior(_column(records, "left"), prior, weight, spread))
            own.append(_column(records, "own"))
            external.append(_next_place(records))
    return Prospects(tuple(rows), tuple(samples), tuple(own), tuple(external), edges, visit_cap)


def _column(records: Sequence[_Visit], name: str) -> Array:
    return np.maximum([getattr(v, name) for v in records], 1e-6)


def _visits(
    walked: Iterable[Run], per_input: float, per_output: float, cap: int
) -> dict[tuple[str, int], list[_Visit]]:
    """By unit and visit what the walks were at and had left."""
    seen: dict[tuple[str, int], list[_Visit]] = defaultdict(list)
    for run in walked:
        work = [stage_work(s, per_input, per_output) for s in run]
        left = np.cumsum(work[::-1])[::-1]
        visits: dict[str, int] = defaultdict(int)
        for i, stage in enumerate(run):
            visit = min(visits[stage.unit], cap)
            visits[stage.unit] += 1
            after = run[i + 1].backend if i + 1 < len(run) else ""
            had = float(sum(work[:i]))
            seen[stage.unit, visit].append(
                _Visit(float(left[i]), work[i], work[i - 1] if i else 0.0, had, after)
            )
    return seen


def _cuts(records: Sequence[_Visit], bins: int, informative: float, least: int) -> Array | None:
    """Where a row is split by the work of the stage before; None where that tells too little."""
    before, left = (np.array([getattr(v, name) for v in records]) for name in ("before", "left"))
    if len(records) < bins * least or not (before.std() > 0 and left.std() > 0):
        return None
    if abs(float(np.corrcoef(before, left)[0, 1])) < informative:
        return None
    return np.unique(np.quantile(before, np.arange(1, bins) / bins))


def _next_place(records: Sequence[_Visit]) -> tuple[str, float]:
    """The backend, other than language models, that most often comes next, and its share."""
    places = [v.after for v in records]
    share = {p: places.count(p) / len(places) for p in sorted({*places} - {"", LANGUAGE})}
    best = max(share, key=lambda p: share[p]) if share else ""
    return best, share.get(best, 0.0)
