"""A mix of nine applications after the evaluation of Hermes, made from a seed.

Structures (units, backends, parallel calls, loops) and mean demands follow what the paper's evaluation
describes; lengths are lognormal around stated means, so no recorded data is needed. Weights are the
shares of arrivals used there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .compiled import Array
from .generate import lognormal
from .pdgraph import END, PDGraph, Unit
from .trace import LANGUAGE

WEIGHTS: dict[str, float] = {
    "got_docmerge": 2, "langchain_mapreduce": 16, "hugginggpt": 10, "code_feedback": 16, "factool_code": 16,
    "factool_kbqa": 16, "react_alfw": 16, "factool_math": 4, "react_fever": 4,
}  # fmt: skip
SLOTS = {"docker": 20, "dnn": 15, "search": 100}
WARM_UP = {"docker": 2.0, "dnn": 7.0, "search": 0.0}

# application -> unit -> (backend, calls or 0, mean input, mean output, mean seconds, cv, next -> probability)
_MIX: dict[str, dict[str, tuple[str, float, float, float, float, float, dict[str, float]]]] = {
    "got_docmerge": {
        "generate": (LANGUAGE, 2, 1350, 750, 0, 0.15, {"score": 1}),
        "score": (LANGUAGE, 20, 2000, 330, 0, 0.1, {"score": 0.35, "aggregate": 0.65}),
        "aggregate": (LANGUAGE, 2, 2800, 750, 0, 0.15, {"rescore": 1}),
        "rescore": (LANGUAGE, 20, 2000, 330, 0, 0.1, {"rescore": 0.35, "refine": 0.65}),
        "refine": (LANGUAGE, 1, 2200, 850, 0, 0.15, {"grade": 1}),
        "grade": (LANGUAGE, 20, 2000, 320, 0, 0.1, {END: 1}),
    },
    "langchain_mapreduce": {
        "map": (LANGUAGE, 17, 450, 150, 0, 0.6, {"collapse": 0.86, "reduce": 0.14}),
        "collapse": (LANGUAGE, 2.5, 1500, 600, 0, 0.4, {"collapse": 0.16, "reduce": 0.84}),
        "reduce": (LANGUAGE, 1, 1700, 600, 0, 0.3, {END: 1}),
    },
    "hugginggpt": {
        "plan": (LANGUAGE, 1, 1800, 120, 0, 0.3, {"model": 1}),
        "model": ("dnn", 0, 0, 0, 22, 0.4, {"respond": 1}),
        "respond": (LANGUAGE, 1, 700, 480, 0, 0.4, {END: 1}),
    },
    "code_feedback": {
        "write": (LANGUAGE, 1, 500, 300, 0, 0.7, {END: 0.55, "execute": 0.45}),
        "execute": ("docker", 0, 0, 0, 12.3, 0.01, {"write": 1}),
    },
    "factool_code": {
        "query": (LANGUAGE, 1, 340, 68, 0, 0.2, {"solve": 1}),
        "solve": (LANGUAGE, 3, 320, 165, 0, 0.45, {"execute": 1}),
        "execute": ("docker", 0, 0, 0, 0.5, 0.5, {END: 1}),
    },
    "factool_kbqa": {
        "claims": (LANGUAGE, 1, 730, 80, 0, 0.4, {"query": 1}),
        "query": (LANGUAGE, 4, 350, 20, 0, 0.4, {"search": 1}),
        "search": ("search", 0, 0, 0, 1.4, 0.4, {"verify": 1}),
        "verify": (LANGUAGE, 4, 650, 140, 0, 0.35, {END: 1}),
    },
    "react_alfw": {"think": (LANGUAGE, 1, 2100, 20, 0, 0.8, {"think": 0.935, END: 0.065})},
    "factool_math": {
        "claims": (LANGUAGE, 1, 800, 85, 0, 0.3, {"query": 1}),
        "query": (LANGUAGE, 2.6, 260, 28, 0, 0.3, {END: 1}),
    },
    "react_fever": {
        "think": (LANGUAGE, 1, 1100, 34, 0, 0.2, {"search": 0.54, END: 0.46}),
        "search": ("search", 0, 0, 0, 1.9, 0.4, {"think": 1}),
    },
}  # fmt: skip


def graphs(samples: int = 300, simulation_seed: int = 0) -> dict[str, PDGraph]:
    """The nine demand graphs, each unit with so many recorded visits."""
    made = {}
    for a, (name, units) in enumerate(_MIX.items()):
        rng = np.random.default_rng([simulation_seed, 0xA99, a])
        built = {}
        for unit, (backend, calls, tokens_in, tokens_out, seconds, cv, following) in units.items():
            fields = [
                lognormal(rng, samples, max(mean, 1e-9), cv) for mean in (tokens_in, tokens_out, seconds)
            ]
            spread = 0.4 if calls > 1 and calls not in (2, 3, 20) else 0.0
            side = (
                np.maximum(1, np.rint(lognormal(rng, samples, calls, spread))) if calls else np.zeros(samples)
            )
            names, odds = list(following), np.array(list(following.values()), float)
            nexts = rng.choice(len(names), samples, p=odds / odds.sum())
            visits = tuple(
                (int(p), float(i), float(o), float(s) if seconds else 0.0)
                for p, i, o, s in zip(side, *fields, strict=True)
            )
            built[unit] = Unit(unit, backend, visits, tuple(names[int(k)] for k in nexts))
        made[name] = PDGraph(name, built, (next(iter(units)),))
    return made


def shares(names: Mapping[str, object] | list[str]) -> Array:
    """Shares of arrivals by class: those of the mix where its names are known, else equal ones."""
    weights = np.array([WEIGHTS.get(n, 0.0) for n in names])
    if not weights.all():
        weights = np.ones(len(weights))
    return np.asarray(weights / weights.sum())
