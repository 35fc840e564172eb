"""What a design does with a frame: tables, sentences, and why a goal cannot be met."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from .... import units
from ....hardware.technology import Law
from ...goal import ResolvedGoal
from .designs import HARDWARE, MENUS, Stages, Tables
from .workload import Algorithm

if TYPE_CHECKING:
    from .problem import SLTarch

Array = npt.NDArray[Any]
PARTS = ("search", "project", "sort", "raster", "memory")
UNITS = {
    "search": "search units",
    "project": "projectors",
    "sort": "sorters",
    "raster": "raster cores",
    "memory": "memory channels",
    "leakage": "leakage",
}
STEPS = {
    "search": ("search_units",),
    "project": ("projectors",),
    "sort": ("sorters",),
    "raster": ("raster_cores", "checks", "lanes"),
    "memory": ("channels",),
}
EXACT = Algorithm(threshold=0.0)


def number(values: Mapping[str, Array], name: str) -> float:
    """The only row of a part, 0 where it has none."""
    found = values.get(name)
    return 0.0 if found is None else float(np.ravel(found)[0])


def summary(problem: SLTarch, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a unit: milliseconds and share of the frame time, millijoules and mm2 of one frame."""
    _, of = problem.stages_of(point)
    frame = float(of.frame_time[0])
    rows: list[dict[str, Any]] = []
    for part in (*PARTS, "leakage"):
        seconds = number(of.seconds, part)
        rows.append(
            {
                "unit": UNITS[part],
                "time ms": 1e3 * seconds,
                "busy": f"{seconds / frame:.0%}" if part in of.seconds else "",
                "energy mJ": 1e3 * number(of.joules, part),
                "area mm2": 1e6 * number(of.areas, part),
            }
        )
    total: dict[str, Any] = {"unit": "frame", "time ms": 1e3 * frame, "busy": ""}
    total |= {key: sum(row[key] for row in rows) for key in ("energy mJ", "area mm2")}
    return [*rows, total]


def binding(of: Stages) -> str:
    """The part that takes longest."""
    return max(of.seconds, key=lambda part: number(of.seconds, part))


def explain(problem: SLTarch, point: Mapping[str, Any]) -> dict[str, Any]:
    """title -> sentence or rows: what binds, what one more of each unit brings, where quality goes."""
    found, of = problem.stages_of(point)
    part = binding(of)
    frame = float(of.frame_time[0])
    spare = 1.0 - frame / problem.deadline
    dearest = max(of.joules, key=lambda name: number(of.joules, name))
    share = number(of.joules, dearest) / sum(number(of.joules, name) for name in of.joules)
    search = (
        f"The search tests {units.count(round(_tests(problem, point)))} nodes a frame; its units are busy "
        f"{_search_busy(found, point):.0%} of its time"
    )
    room = (
        f"{spare:.0%} of the deadline is left"
        if spare >= 0
        else f"the frame is {-spare:.0%} over its deadline"
    )
    return {
        "what binds": f"The {UNITS[part]} bind: {units.show(number(of.seconds, part), 's', 3)} of a frame of "
        f"{units.show(frame, 's', 3)}; {room}. {share:.0%} of the energy goes to "
        f"{'DRAM' if dearest == 'memory' else 'the ' + UNITS[dearest]}. {search}",
        "one step up each menu": _steps(problem, point, of),
        "where quality goes": _quality(problem, point),
        "against GSCore": _against(problem, point, of),
    }


def _tests(problem: SLTarch, point: Mapping[str, Any]) -> float:
    from .workload import searched

    a = problem.algorithm(point)
    return searched(problem.world, a.subtree, a.merging, a.threshold, a.interval).tests


def _search_busy(found: Tables, point: Mapping[str, Any]) -> float:
    from .designs import SEARCH, places

    columns = {name: np.array([point[name]]) for name in HARDWARE}
    j, k = (int(places(columns, (name,))[0]) for name in ("clock", "channels"))
    return float(found.search_busy[int(places(columns, SEARCH)[0]), j, k])


def _steps(problem: SLTarch, point: Mapping[str, Any], of: Stages) -> list[dict[str, Any]]:
    """Rows: a variable, its value and the next, and the changes of frame time, energy and area."""
    rows = []
    base = {"frame time": float(of.frame_time[0]), **_sums(of)}
    for names in STEPS.values():
        for name in names:
            menu = MENUS[name]
            at = int(np.searchsorted(menu, float(point[name])))
            if at + 1 == len(menu):
                continue
            _, other = problem.stages_of({**point, name: menu[at + 1]})
            new = {"frame time": float(other.frame_time[0]), **_sums(other)}
            change = {key: f"{new[key] / base[key] - 1:+.1%}" for key in base}
            rows.append({"variable": name, "from": f"{menu[at]:g}", "to": f"{menu[at + 1]:g}", **change})
    return rows


def _sums(of: Stages) -> dict[str, float]:
    return {
        "energy": sum(number(of.joules, part) for part in of.joules),
        "area": sum(number(of.areas, part) for part in of.areas),
    }


def _quality(problem: SLTarch, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows: PSNR against exact of level of detail alone, with an old search, with shared decisions."""
    from ..quality import implied_loss
    from .workload import drawn

    a = problem.algorithm(point)
    alone = replace(a, group=1, check="pixel", interval=1)
    ways = {f"level of detail at {a.threshold:g} px": alone}
    if a.interval > 1:
        ways[f"and a search for {a.interval} frames"] = replace(alone, interval=a.interval)
    if a.group > 1:
        ways[f"and decisions for {a.group} x {a.group} pixels ({a.check})"] = a
    rows = []
    for label, way in ways.items():
        quality = drawn(problem.world, way).quality
        rows.append(
            {
                "shortcut": label,
                "PSNR against exact": f"{quality:.1f} dB",
                "loss against the truth": f"{implied_loss(quality, problem.truth):.3f} dB",
            }
        )
    return rows


def _against(problem: SLTarch, point: Mapping[str, Any], of: Stages) -> list[dict[str, Any]]:
    """Rows: frame time and energy of GPU, GSCore behind a GPU, and this design."""
    from ....hardware import device
    from .baselines import systems

    orin = device("jetson-agx-orin-64gb")
    node = float(point["node"])
    made = systems(
        problem.world,
        problem.algorithm(point),
        orin,
        node=node,
        dram=problem.dram,
        law=cast(Law, problem.scaling),
    )
    rows = [
        {
            "system": f"{name} ({orin.name})" if name.startswith("GPU") else name,
            "frame": units.show(system.time, "s", 3),
            "energy": units.show(system.energy, "J", 3),
            "binds": system.binds,
        }
        for name, system in made.items()
    ]
    sums = _sums(of)
    own = {"frame": units.show(float(of.frame_time[0]), "s", 3), "energy": units.show(sums["energy"], "J", 3)}
    return [*rows, {"system": "this design", **own, "binds": binding(of)}]


def infeasible(problem: SLTarch, goal: ResolvedGoal) -> str:
    """A sentence on the limit that cannot be met and the least reachable, where one alone cannot; else ""."""
    from ..quality import implied_loss
    from .workload import drawn

    pins = problem._pins
    finest = Algorithm(
        subtree=int(pins.get("subtree", 32)),
        merging=bool(pins.get("merging", True)),
        threshold=float(pins.get("threshold", 0.5)),
        group=int(pins.get("group", 1)),
        check=str(pins.get("check", "centre")),
        interval=int(pins.get("interval", 1)),
    )
    limits = {limit.metric: limit for limit in goal.limits if limit.sense == "<="}
    if "loss" in limits:
        least = implied_loss(drawn(problem.world, finest).quality, problem.truth)
        if least > limits["loss"].bound:
            return (
                f"{limits['loss']} cannot be met: the finest level of detail within reach "
                f"({finest.threshold:g} px, groups of {finest.group}) loses {least:.3g} dB.\n"
                f"Try --limit 'loss<={math.ceil(least * 100) / 100:g}dB', or a larger picture."
            )
    if "frame_time" in limits:
        fastest = {name: np.array([pins.get(name, MENUS[name][-1])]) for name in HARDWARE}
        coarse = replace(
            finest,
            threshold=float(pins.get("threshold", 15.0)),
            group=int(pins.get("group", 4)),
            interval=int(pins.get("interval", 8)),
        )
        times = {
            f"at {a.threshold:g} px, groups of {a.group}": float(
                problem.stages(problem.tables(a), fastest).frame_time[0]
            )
            for a in (finest, coarse)
        }
        label, least = min(times.items(), key=lambda item: item[1])
        if least > limits["frame_time"].bound:
            rate = math.floor(10 / least) / 10
            return (
                f"{limits['frame_time']} cannot be met: the largest design takes "
                f"{units.show(least, 's', 3)} a frame ({label}).\nTry --rate {rate:g}."
            )
        fine = next(iter(times.values()))
        if "loss" in limits and fine > limits["frame_time"].bound:
            return (
                f"{limits['loss']} and {limits['frame_time']} exclude each other: at the finest level of "
                f"detail the largest design takes {units.show(fine, 's', 3)} a frame.\n"
                "Try a lower --rate, or a larger loss."
            )
    return ""
