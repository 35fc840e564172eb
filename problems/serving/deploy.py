"""From a searched point to a running scheduler: the plan as a JSON file that needs no simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from .hermes import Hermes
from .pdgraph import Prospects
from .scheduler import HermesScheduler

FORM = "hermes-plan-1"


def save_plan(problem: Hermes, point: Mapping[str, Any], path: str | Path) -> None:
    """Write rows, ranks, samples and prewarm thresholds of a point."""
    known = problem.prospects
    record = {
        "form": FORM,
        "rows": [list(row) for row in known.rows],
        "ranks": np.asarray(point["ranks"], float).tolist(),
        "ages": problem.ages.tolist(),
        "samples": [np.round(s, 6).tolist() for s in known.samples],
        "own": [np.round(s, 6).tolist() for s in known.own],
        "external": [list(e) for e in known.external],
        "edges": [[*key, cuts.tolist()] for key, cuts in known.edges.items()],
        "visit_cap": known.visit_cap,
        "prewarm": dict(zip(problem.places, map(float, point["prewarm"]), strict=False)),
        "warm_up": {"docker": problem.docker_warm_up, "dnn": problem.dnn_warm_up},
    }
    Path(path).write_text(json.dumps(record))


def load_scheduler(path: str | Path, *, backends: Mapping[str, int], **settings: Any) -> HermesScheduler:
    """A scheduler that follows a saved plan. backends: slots by name; settings: of `HermesScheduler`.

    Raises DataError where the file is no plan.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no plan '{path}'; write one with 'optimize apply RUN'.")
    record = json.loads(path.read_text())
    if record.get("form") != FORM:
        raise DataError(f"{path.name} is no Hermes plan ({FORM}).")
    known = Prospects(
        tuple((str(k), str(u), int(v), int(b)) for k, u, v, b in record["rows"]),
        tuple(np.array(s) for s in record["samples"]),
        tuple(np.array(s) for s in record["own"]),
        tuple((str(p), float(s)) for p, s in record["external"]),
        {(str(k), str(u), int(v)): np.array(cuts) for k, u, v, cuts in record["edges"]},
        int(record["visit_cap"]),
    )
    thresholds = list(record["prewarm"].values())
    return HermesScheduler(
        known,
        backends=backends,
        table=np.array(record["ranks"]),
        warm_up=record["warm_up"],
        threshold=min(thresholds, default=2.0),
        **settings,
    )
