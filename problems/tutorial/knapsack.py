"""The 0/1 knapsack: the smallest problem with a structured view and a front."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import SpaceError
from ..batch import Batch
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Bool
from ..views import MilpView

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Knapsack(Problem):
    """Choose items of most value within a weight; `comfort` is a second value for a front.

    Items are made from `items_seed`: weights 10..99, values near the weights, comforts against them.
    """

    items: int = param(24, help="number of items")
    items_seed: int = param(0, help="seed of the items")
    unit_value: float = param(1.0, help="value of one point, to try very small or very large numbers")
    fill: float = param(0.5, help="capacity as a share of the total weight")

    packed = Bool(shape="items", help="whether each item is taken")

    value = Metric("1", "max")
    comfort = Metric("1")
    weight = Metric("1", at_most="capacity")

    def prepare(self) -> None:
        """Refuse an empty knapsack."""
        if self.items < 1 or not 0 <= self.fill <= 1:
            raise SpaceError(f"Knapsack needs items >= 1 and fill in 0..1, got {self.items} and {self.fill}.")

    @cached_property
    def _points(self) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(self.items_seed)
        weights = rng.integers(10, 100, self.items)
        values = weights + rng.integers(-9, 10, self.items)
        comforts = 110 - weights + rng.integers(-9, 10, self.items)
        return weights, values, comforts

    def tables(self) -> tuple[Any, Any, Any]:
        """Weights, values and comforts, each (items,)."""
        weights, values, comforts = self._points
        return weights, values * self.unit_value, comforts

    @property
    def capacity(self) -> float:
        """Weight that may be packed."""
        return float(np.floor(self.fill * self._points[0].sum()))

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Sums over the packed items; of whole numbers, so that they are exact in any batch."""
        weights, values, comforts = self._points
        packed = x.packed.astype(float)
        return {
            "value": packed @ values * self.unit_value,
            "comfort": packed @ comforts,
            "weight": packed @ weights,
        }

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Weights and values, the packed items filled."""
        from .figures import items

        return {"items": items(self, point)}

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """One binary an item."""
        import pyomo.environ as pyo

        weights, values, comforts = self.tables()
        model = pyo.ConcreteModel()
        model.packed = pyo.Var(range(self.items), domain=pyo.Binary)

        def total(column: Any) -> Any:
            return pyo.quicksum(float(c) * model.packed[i] for i, c in enumerate(column))

        def encode(point: Mapping[str, Any]) -> None:
            for i, taken in enumerate(point["packed"]):
                model.packed[i] = int(taken)

        def decode() -> dict[str, Any]:
            return {"packed": [round(pyo.value(model.packed[i])) == 1 for i in range(self.items)]}

        metrics = {"value": total(values), "comfort": total(comforts), "weight": total(weights)}
        return MilpView(model, metrics, decode, encode)
