"""Placements that need no search, to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .placement import LlmMeshPlacement


def baselines(problem: LlmMeshPlacement, simulation_seed: int = 0) -> dict[str, dict[str, Any]]:
    """First fit, best-fit decreasing (fullest node, CPUs first), round robin, random."""
    count = problem.item_count
    size = np.nanmax(problem.instances.demand / problem.capacities[:, None], axis=(0, 2))
    decreasing = np.argsort(-size, kind="stable")
    rng = np.random.default_rng(simulation_seed)
    turn = np.roll(np.arange(problem.node_count), 1)
    return {
        "first fit": {"node": _place(problem, range(count), lambda load, i: np.arange(len(load)))},
        "best-fit decreasing": {"node": _place(problem, decreasing, lambda load, i: _fullest(problem, load))},
        "round robin": {"node": _place(problem, range(count), lambda load, i: np.roll(turn, -i - 1))},
        "random": {"node": _place(problem, range(count), lambda load, i: rng.permutation(len(load)))},
    }


def _fullest(problem: LlmMeshPlacement, load: Any) -> Any:
    fill = (load / problem.capacities[problem.kind_of]).max(axis=1)
    price = np.array([k.price for k in problem.kinds])[problem.kind_of]
    return np.lexsort((np.arange(len(load)), np.where(fill > 0, 0.0, price), -fill))


def _place(problem: LlmMeshPlacement, order: Iterable[int], preference: Any) -> Any:
    """Each instance on the first node of its preference that has room; 0 where none has."""
    room = problem.capacities[problem.kind_of]
    load, node = np.zeros_like(room), np.zeros(problem.item_count, int)
    for i in order:
        demand = problem.instances.demand[problem.kind_of, i]
        fits = (load + demand <= room + 1e-9).all(axis=1)
        chosen = next((n for n in preference(load, i) if fits[n]), None)
        if chosen is not None:
            load[chosen] += demand[chosen]
            node[i] = chosen + 1
    return node
