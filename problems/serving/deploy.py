"""From a searched point to a running scheduler: the plan as a JSON file that needs no simulator."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...text import read_json
from .applications import SLOTS
from .hermes import Hermes
from .pdgraph import Prospects
from .scheduler import HermesScheduler
from .trace import LANGUAGE

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
    record = read_json(path, "plan")
    if not isinstance(record, dict) or record.get("form") != FORM:
        raise DataError(f"{path.name} is no Hermes plan ({FORM}).")
    try:
        known = Prospects(
            tuple((str(k), str(u), int(v), int(b)) for k, u, v, b in record["rows"]),
            tuple(np.array(s, float) for s in record["samples"]),
            tuple(np.array(s, float) for s in record["own"]),
            tuple((str(p), float(s)) for p, s in record["external"]),
            {(str(k), str(u), int(v)): np.array(cuts, float) for k, u, v, cuts in record["edges"]},
            int(record["visit_cap"]),
        )
        table = np.array(record["ranks"], float)
        thresholds = {str(place): float(k) for place, k in record["prewarm"].items()}
        warm_up = {str(place): float(seconds) for place, seconds in record["warm_up"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path.name} is a broken Hermes plan: {type(error).__name__} {error}.") from None
    if table.ndim != 2 or len(table) != len(known.rows):
        raise DataError(f"{path.name} has ranks of shape {table.shape} for {len(known.rows)} rows.")
    return HermesScheduler(
        known, backends=backends, table=table, warm_up=warm_up, thresholds=thresholds, **settings
    )


async def _replay(problem: Hermes, scheduler: HermesScheduler, pace: float) -> None:
    served = problem.runs
    kinds, runs, arrival = served.kinds, served.runs, served.times
    work = problem.jobs.work

    async def one(i: int, start: int) -> None:
        await asyncio.sleep(float(arrival[i]) * pace)
        app = scheduler.application(kinds[i])
        for k, stage in enumerate(runs[i]):
            sleep = partial(asyncio.sleep, float(work[start + k]) * pace)
            backend = LANGUAGE if problem.pooled else stage.backend
            await scheduler.submit(app, stage.unit, sleep, backend=backend)
        scheduler.finish(app)

    await asyncio.gather(*(one(i, int(problem.jobs.stage_start[i])) for i in range(len(runs))))


def replay(
    problem: Hermes,
    point: Mapping[str, Any],
    plan: str | Path,
    applications: int = 150,
    seconds: float = 10.0,
) -> list[dict[str, Any]]:
    """Serve applications through the real scheduler, in backends that only pass the time, and measure.

    The plan is saved to `plan` and read back. Time runs faster, so that arrivals span `seconds`; results
    are in the applications' own time. Measured times are longer than simulated ones: the simulator
    preempts within a stage, the scheduler between stages, and the event loop takes its share.
    """
    save_plan(problem, point, plan)
    few = problem.replace(
        applications=min(applications, problem.applications), docker_warm_up=0, dnn_warm_up=0
    )
    assert isinstance(few, Hermes)
    pace = seconds / (float(few.jobs.arrival[-1]) or float(few.jobs.work.sum()))
    slots = {LANGUAGE: few.servers} | {p: SLOTS.get(p, 100) for p in few.places}
    rows = []
    for order in ("fcfs", "gittins"):
        scheduler = load_scheduler(plan, backends=slots, order=order, clock=lambda: time.monotonic() / pace)
        asyncio.run(_replay(few, scheduler, pace))
        measured = np.array([app.completion for app in scheduler.finished], float)
        policy = few.policy_of(point["ranks"]) if order == "gittins" else "fcfs"
        predicted = few.outcome(policy).completion
        rows.append(
            {
                "order": order,
                "applications": len(measured),
                "measured mean s": float(measured.mean()),
                "simulated mean s": float(predicted.mean()),
                "measured P95 s": float(np.quantile(measured, 0.95)),
                "simulated P95 s": float(np.quantile(predicted, 0.95)),
            }
        )
    return rows
