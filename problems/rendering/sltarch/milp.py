"""The design of a fixed algorithm point as a mixed-integer programme: one setting a component.

What components share (clock, node, channels) is one choice among all; a component's setting is a binary
for each of these, so that times, energies and areas are constants. Settings that another beats in time,
bytes, energy and area under the same shared choice are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo

from ....costmodels import splatting_cores as cores
from ...views import MilpView
from .designs import HARDWARE, MENUS, RASTER, SEARCH, SHARED, options
from .workload import Algorithm

if TYPE_CHECKING:
    from .problem import SLTarch

Array = npt.NDArray[Any]
COMPONENTS = {"search": SEARCH, "project": ("projectors",), "sort": ("sorters",), "raster": RASTER}
UPPER = ("frame_time",)


@dataclass(frozen=True, eq=False)
class Component:
    """Of each shared choice and setting (shared, settings): seconds, DRAM bytes, J (leakage included), m2."""

    seconds: Array
    bytes: Array
    joules: Array
    area: Array

    def stands_for(self, shared: int) -> Array:
        """(settings,) the setting that stands in for each: itself, or one that is nowhere worse."""
        costs = np.stack(
            [part[shared] for part in (self.seconds, self.bytes, self.joules, self.area)], axis=1
        )
        worse = (costs[:, None, :] >= costs[None, :, :]).all(axis=2)  # [i, j]: j is nowhere worse than i
        equal = (costs[:, None, :] == costs[None, :, :]).all(axis=2)
        first = np.arange(len(costs))[None, :] < np.arange(len(costs))[:, None]
        beaten = worse & (~equal | first)
        kept = ~beaten.any(axis=1)
        found: Array = np.where(kept, np.arange(len(costs)), (worse & kept[None, :]).argmax(axis=1))
        return found


def components(problem: SLTarch, algorithm: Algorithm) -> dict[str, Component]:
    """Tables of each component under each shared choice, from those the referee reads."""
    of, at = problem.tables(algorithm), problem.prices
    shared = np.array(options(SHARED))
    clock = shared[:, 0]
    j, n, k = (np.searchsorted(MENUS[name], shared[:, i]) for i, name in enumerate(SHARED))
    event = at.event[n, j][:, None]
    shrink = at.shrink[n][:, None]
    leak = at.leak[n][:, None] / problem.rate

    def made(part: str, seconds: Array, moved: Array, energy: Array, drawn_28: Array) -> Component:
        shape = (len(shared), len(drawn_28))
        area = drawn_28 * at.area[part]
        joules = energy * event + moved * at.dram + area * leak
        seconds = seconds * at.time[part]
        return Component(*(np.broadcast_to(v, shape) for v in (seconds, moved, joules, area * shrink)))

    def cycled(part: str, cycles: Array, area: Array) -> Component:
        energy = np.full_like(area, of.energy[part])
        return made(part, cycles / clock[:, None], np.zeros_like(area), energy, area)

    return {
        "search": made(
            "search", of.search_time[:, j, k].T, of.search_bytes, of.search_energy, of.search_area
        ),
        "project": cycled("project", of.project_cycles, of.project_area),
        "sort": cycled("sort", of.sort_cycles, of.sort_area),
        "raster": cycled("raster", of.raster_cycles, of.raster_area),
    }


def undecided() -> MilpView:
    """The view of a problem whose algorithm is not fixed: it only says that it decides the hardware."""
    nothing: dict[str, Any] = {}
    return MilpView(pyo.ConcreteModel(), nothing, lambda: nothing, lambda point: None, decides=HARDWARE)


def view(problem: SLTarch, pins: Mapping[str, Any]) -> MilpView:
    """The programme; pins: values of the algorithm's variables, and of hardware ones that are fixed."""
    algorithm = problem.algorithm(pins)
    found = problem.tables(algorithm)
    tables = components(problem, algorithm)
    allowed = _allowed(options(SHARED), SHARED, pins)
    settings = {name: _allowed(options(names), names, pins) for name, names in COMPONENTS.items()}
    stands = {
        (name, g): _standing(component, g, settings[name])
        for name, component in tables.items()
        for g in allowed
    }
    index = [(name, g, s) for (name, g), by in stands.items() for s in sorted(set(by.values()))]
    model = pyo.ConcreteModel()
    model.shared = pyo.Var(allowed, domain=pyo.Binary)
    model.take = pyo.Var(index, domain=pyo.Binary)
    model.one_shared = pyo.Constraint(expr=pyo.quicksum(model.shared[g] for g in allowed) == 1)
    model.one_setting = pyo.Constraint(
        list(stands),
        rule=lambda m, name, g: (
            pyo.quicksum(m.take[name, g, s] for s in sorted(set(stands[name, g].values()))) == m.shared[g]
        ),
    )
    clock, _, channels = np.array(options(SHARED)).T
    at, k = problem.prices, np.searchsorted(MENUS["channels"], channels)
    fill, rate = cores.FILL / clock, at.attained[k]
    deadline = problem.deadline  # seconds are counted in deadlines, so that tolerances mean something
    model.longest = pyo.Var(bounds=(0, None))

    def total(part: str, name: str | None = None, scale: Any = 1.0) -> Any:
        scales = np.broadcast_to(scale, clock.shape)
        return pyo.quicksum(
            float(getattr(tables[n], part)[g, s] / scales[g]) * model.take[n, g, s]
            for n, g, s in index
            if name in {None, n}
        )

    model.stages = pyo.ConstraintList()
    for name in tables:
        model.stages.add(model.longest >= total("seconds", name, deadline))
    rest = pyo.quicksum(float(found.bytes / rate[g] / deadline) * model.shared[g] for g in allowed)
    model.stages.add(model.longest >= rest + total("bytes", "search", rate * deadline))
    standing = at.standing[k] / problem.rate
    energy = total("joules") + pyo.quicksum(
        float(found.bytes * at.dram + standing[g]) * model.shared[g] for g in allowed
    )
    filling = pyo.quicksum(float(fill[g]) * model.shared[g] for g in allowed)

    def read(point: Mapping[str, Any]) -> tuple[int, dict[str, int]]:
        """The shared choice of a point, and each component's setting or what stands in for it."""
        g = _number(point, SHARED)
        return g, {name: stands[name, g][_number(point, names)] for name, names in COMPONENTS.items()}

    def encode(point: Mapping[str, Any]) -> Mapping[str, Any] | None:
        g, chosen = read(point)
        for other in allowed:
            model.shared[other] = int(other == g)
        for name, other, setting in index:
            model.take[name, other, setting] = int(other == g and setting == chosen[name])
        moved = found.bytes + float(tables["search"].bytes[g, chosen["search"]])
        times = [float(tables[n].seconds[g, s]) for n, s in chosen.items()]
        model.longest = max(*times, moved / float(rate[g])) / deadline
        stood = design(g, chosen)
        same = all(np.isclose(float(stood[n]), float(point[n]), rtol=1e-12) for n in HARDWARE)
        return None if same else {**point, **stood}

    def design(g: int, chosen: Mapping[str, int]) -> dict[str, Any]:
        values = dict(zip(SHARED, options(SHARED)[g], strict=True))
        for name, names in COMPONENTS.items():
            values |= dict(zip(names, options(names)[chosen[name]], strict=True))
        return values

    def decode() -> dict[str, Any]:
        g = max(allowed, key=lambda h: pyo.value(model.shared[h]))
        chosen = {
            name: max(set(stands[name, g].values()), key=lambda s: pyo.value(model.take[name, g, s]))
            for name in COMPONENTS
        }
        fixed = {n: pins[n] for n in problem.space.domains if n in pins}
        return {**fixed, **design(g, chosen)}

    metrics = {
        "energy": energy,
        "area": total("area"),
        "frame_time": deadline * model.longest + filling,
        "power": problem.rate * energy,
        "loss": problem.loss_of(found) * pyo.quicksum(model.shared[g] for g in allowed),
    }
    return MilpView(model, metrics, decode, encode, upper=UPPER, decides=HARDWARE)


def _number(point: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The number of a setting among `options(names)`."""
    found = 0
    for name in names:
        found = found * len(MENUS[name]) + int(np.searchsorted(MENUS[name], float(point[name])))
    return found


def _allowed(listed: list[tuple[float, ...]], names: tuple[str, ...], pins: Mapping[str, Any]) -> list[int]:
    """Numbers of the settings that agree with what is fixed."""
    return [
        i
        for i, values in enumerate(listed)
        if all(n not in pins or float(pins[n]) == v for n, v in zip(names, values, strict=True))
    ]


def _standing(component: Component, shared: int, settings: list[int]) -> dict[int, int]:
    """What stands in for each allowed setting, among the allowed ones."""
    part = Component(*(v[:, settings] for v in vars(component).values()))
    return {settings[i]: settings[j] for i, j in enumerate(part.stands_for(shared).tolist())}
