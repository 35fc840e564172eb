"""Keep or recompute each activation of a chain: the smallest memory plan, with an epigraph."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import units
from ..batch import Batch
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Bool
from ..views import MilpView

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class MemoryPlan(Problem):
    """Which activations of a chain of operators to keep; a dropped one is recomputed in the backward.

    While operator i runs backward, everything kept up to i is alive, and the activation of i itself,
    kept or recomputed. Sizes and times are made from `chain_seed`.
    """

    operators: int = param(40, help="operators in the chain")
    chain_seed: int = param(0, help="seed of sizes and times")
    memory: float = param(1.5 * units.GiB, unit="B", help="memory for activations")
    time_scale: float = param(1.0, help="factor on every operator time")

    keep = Bool(shape="operators", help="whether each activation is kept; else it is computed again")

    recompute_time = Metric("s", "min")
    peak = Metric("B", at_most="memory")

    def tables(self) -> tuple[Any, Any]:
        """Bytes and seconds of each operator's activation, each (operators,)."""
        return self._tables

    @cached_property
    def _tables(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(self.chain_seed)
        sizes = rng.integers(16, 129, self.operators) * units.MiB
        times = rng.uniform(0.2e-3, 4e-3, self.operators) * self.time_scale
        return sizes, times

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Time of what is recomputed; the largest of the moments' bytes."""
        sizes, times = self.tables()
        kept = np.where(x.keep, sizes, 0.0)
        before = np.cumsum(kept, axis=1) - kept
        return {
            "recompute_time": np.where(x.keep, 0.0, times).sum(axis=1),
            "peak": (before + sizes).max(axis=1),
        }

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Bytes alive at each step of the backward pass."""
        from .figures import timeline

        return {"timeline": timeline(self, point)}

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """One binary an operator; the peak is an epigraph over the moments."""
        import pyomo.environ as pyo

        sizes, times = self.tables()
        model = pyo.ConcreteModel()
        steps = range(self.operators)
        model.keep = pyo.Var(steps, domain=pyo.Binary)
        model.peak = pyo.Var(bounds=(0, None))
        model.moment = pyo.Constraint(
            steps,
            rule=lambda m, i: (
                m.peak >= float(sizes[i]) + pyo.quicksum(float(sizes[j]) * m.keep[j] for j in range(i))
            ),
        )

        def encode(point: Mapping[str, Any]) -> None:
            for i, kept in enumerate(point["keep"]):
                model.keep[i] = int(kept)
            kept = np.asarray(point["keep"]) * sizes
            model.peak = float((np.cumsum(kept) - kept + sizes).max())

        def decode() -> dict[str, Any]:
            return {"keep": [round(pyo.value(model.keep[i])) == 1 for i in steps]}

        time = pyo.quicksum(float(times[i]) * (1 - model.keep[i]) for i in steps)
        return MilpView(model, {"recompute_time": time, "peak": model.peak}, decode, encode, upper=("peak",))
