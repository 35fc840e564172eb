"""Recorded runs of applications as JSON: the forms in which the artefact of Hermes keeps them.

A file holds demand graphs, samples of stages by application (`stage_list`), columns of one application
(`time_UNIT`, `token_UNIT` lists, with `parallelism` or `loops` a run), or a log of requests by task
(`request_completion_time`, `token_nums`). A folder holds several such files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...text import read_json
from .pdgraph import END, PDGraph, Run, Unit, amount, graph_of, graphs_from, side_by_side
from .trace import LANGUAGE, Stage

BROKEN = (TypeError, AttributeError, KeyError, ValueError, IndexError, OverflowError)
LEAST = 1e-6  # seconds of a stage that took none
QUOTA = 1000  # samples that a share of next stages is spread over
RECORD = re.compile(r"^record_|\.json(\.gz)?$")


def recorded_graphs(path: str | Path) -> dict[str, PDGraph]:
    """Demand graphs by class from a file of any form, or from all JSON files of a folder that have one.

    Raises DataError for a file of no known form, with what is missing.
    """
    path = Path(path)
    if not path.is_dir():
        return _read(path, read_json(path, "file of runs"))
    found: dict[str, PDGraph] = {}
    for file in sorted(path.glob("record_*.json*")):
        for name, graph in _read(file, read_json(file, "file of runs")).items():
            if name in found:
                raise DataError(f"two files of {path.name} record '{name}'.")
            found[name] = graph
    if not found:
        raise DataError(f"{path} holds no record_*.json of applications.")
    return found


def is_record(row: Mapping[str, Any]) -> bool:
    """Whether the only row of a file is an object of runs or graphs, not a request of a trace."""
    return any(isinstance(value, dict) for value in row.values()) or any(map(_of_tokens, row))


def _of_tokens(key: object) -> bool:
    return str(key).startswith("token_")


def _read(path: Path, record: Any) -> dict[str, PDGraph]:
    name = RECORD.sub("", RECORD.sub("", path.name))
    try:
        if isinstance(record, dict) and "request_completion_time" in record:
            return _graphs(name, _request_log(record))
        if isinstance(record, dict) and any(map(_of_tokens, record)):
            return _graphs(name, _columns(record))
        if isinstance(record, dict) and any(
            "stage_list" in v for v in record.values() if isinstance(v, dict)
        ):
            return {name: _sampled(name, stages) for name, stages in record.items()}
    except BROKEN as error:
        raise DataError(f"{path.name} holds no recorded runs: {type(error).__name__}: {error}") from None
    return graphs_from(path.name, record)


def _graphs(name: str, runs: Sequence[Run]) -> dict[str, PDGraph]:
    whole = [run for run in runs if run]
    if not whole:
        raise ValueError("no run has a stage")
    return {name: graph_of(name, whole)}


def place_of(unit: str) -> str:
    """The backend of a unit that is no language model."""
    return "search" if "search" in unit else "docker"


def _call(tokens: Mapping[str, Any]) -> tuple[int, int]:
    return max(1, int(tokens["prompt_tokens"])), max(1, int(tokens["completion_tokens"]))


def _seconds(value: Any) -> float:
    return max(LEAST, amount(value))


def _request_log(record: Mapping[str, Any]) -> list[Run]:
    """Requests by task in the order in which they were made: with tokens a call, else a stage elsewhere."""
    runs = []
    for task, requests in record["request_completion_time"].items():
        tokens, run = record["token_nums"].get(task, {}), []
        for request, seconds in requests.items():
            unit = re.sub(r"[-_]*\d+$", "", request.removeprefix(task)) or "answer"
            if request in tokens:
                run.append(Stage(unit, LANGUAGE, (_call(tokens[request]),)))
            else:
                run.append(Stage(unit, place_of(unit), seconds=_seconds(seconds)))
        runs.append(run)
    return runs


def _columns(record: Mapping[str, Any]) -> list[Run]:
    """Columns of units in the order of the file: so many entries a run, by its `parallelism` or `loops`.

    Columns that have an entry a loop take turns; a run of which an entry is missing is left out.
    """
    whole = record.get("time_task") or record.get("task_time") or []
    sides, loops = record.get("parallelism"), record.get("loops")
    count = len(loops or sides or whole)
    units = dict.fromkeys(str(k).partition("_")[2] for k in record if str(k).startswith(("time_", "token_")))
    units.pop("task", None)
    lengths = {unit: len(record.get(f"token_{unit}") or record[f"time_{unit}"]) for unit in units}
    if count == 0:
        count = min(lengths.values())
    looped = [u for u in units if loops and abs(lengths[u] - sum(loops)) <= 1]

    def shares(unit: str) -> list[int]:
        if unit in looped:
            return list(loops)  # type: ignore[arg-type]
        if sides and lengths[unit] == sum(sides):
            return list(sides)
        return [max(1, lengths[unit] // count)] * count

    bounds = {unit: list(pairwise(accumulate(shares(unit), initial=0))) for unit in units}

    def stage(unit: str, first: int, last: int) -> Stage:
        if f"token_{unit}" in record:
            return Stage(unit, LANGUAGE, tuple(_call(t) for t in record[f"token_{unit}"][first:last]))
        return Stage(
            unit, place_of(unit), seconds=_seconds(sum(map(float, record[f"time_{unit}"][first:last])))
        )

    turns = sorted(looped, key=lambda unit: f"token_{unit}" not in record)  # thought before act
    runs = []
    for i in range(count):
        if any(bounds[unit][i][1] > lengths[unit] for unit in units):
            continue
        run: Run = []
        for unit in units:
            first, last = bounds[unit][i]
            if unit not in looped:
                run.append(stage(unit, first, last))
            elif unit == looped[0]:
                run += [stage(turn, at, at + 1) for at in range(first, last) for turn in turns]
        runs.append(run)
    return runs


def _sampled(name: str, record: Mapping[str, Any]) -> PDGraph:
    """Samples of each stage by application; a gap before a stage is a stage elsewhere."""
    units: dict[str, Unit] = {}
    entry = {}
    for stage in record["stage_list"]:
        values = record[stage]
        prompts, answers = values["prompt_tokens"], values["completion_tokens"]
        sides, gaps = values["parallelism"], [_seconds(gap) for gap in values["stage_gap"]]
        if not (sides and gaps and prompts):
            raise ValueError(f"stage '{stage}' has no samples")
        visits = tuple(
            (side_by_side(sides[i % len(sides)]), amount(p), amount(a), 0.0)
            for i, (p, a) in enumerate(zip(prompts, answers, strict=True))
        )
        entry[stage] = stage
        if max(gaps) > LEAST:
            entry[stage] = f"before {stage}"
            waits = tuple((0, 0.0, 0.0, gap) for gap in gaps)
            units[entry[stage]] = Unit(entry[stage], place_of(stage), waits, (stage,))
        units[stage] = Unit(stage, LANGUAGE, visits, ())
    for stage in record["stage_list"]:
        odds = record[stage].get("next_stages", record[stage].get("next_stage", {}))
        if not (all(share >= 0 for share in odds.values()) and sum(odds.values()) <= 1 + 1e-6):
            raise ValueError(f"the shares after stage '{stage}' must be at least 0 and at most 1 together")
        following = [entry[s] for s, share in odds.items() for _ in range(round(QUOTA * share))]
        following += [END] * (QUOTA - len(following))
        units[stage] = Unit(stage, LANGUAGE, units[stage].visits, tuple(following))
    return PDGraph(name, units, (record["stage_list"][0],))
