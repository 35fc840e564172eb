"""Static placement: which model instance sits on which node, as vector packing with unlike nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ....costmodels.architectures import ARCHITECTURES, architecture
from ....errors import SpaceError
from ....hardware import Device, device
from ....units import GiB
from ...batch import Batch
from ...goal import Metric
from ...problem import Problem, param
from ...variables import Int
from ...views import MilpView, PackingView
from ..compiled import Array
from .cluster import MAX_CONTEXT, NodeKind, Pace, ServiceLevel, check, weights
from .workload import TIERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAFETY = 1.1
BUSY = 0.9
"""Time share that an instance may take alone; a hotter model is served by several."""


@dataclass(frozen=True, eq=False)
class Instances:
    """Items to place. names: model and part. rate: requests a second. demand: (kinds, items, 2) of bytes
    and time share, NaN where the prompt's run alone would take longer than the TTFT allows."""

    names: tuple[str, ...]
    shapes: tuple[str, ...]
    concurrency: Array
    rate: Array
    demand: Array


class LlmMeshPlacement(Problem):
    """Place model instances on CPU and GPU nodes: least cost, fewest GPUs, or most load within the SLO.

    An instance takes weights and the cache of its concurrency at the mean length, and of its node's time
    the share decode(batch, length) / TPOT plus its prompts. Node 0 stands for "not served". Take the
    goal you mean: the default is price with all served; `--minimize gpus`; `--maximize load --no-limit
    unserved` where nodes are few.
    """

    models: int = param(48, help="models served, from hot to rare")
    sizes: tuple[str, ...] = param(
        ("llama-3.2-3b", "llama-2-7b", "llama-2-13b"), help="architectures that models take in turn"
    )
    prompt: float = param(870.0, help="mean tokens of a prompt")
    output: float = param(220.0, help="mean tokens of an answer")
    tpot: float = param(0.25, unit="s", help="service level: time a token")
    ttft_ceiling: float = param(8.0, unit="s", help="service level: most time to a first token")
    load_scale: float = param(1.0, help="factor on the request rates of the public trace")
    headroom: float = param(2.0, help="concurrency provided for, over the mean")
    cpu: Device = device("xeon-6462c")
    gpu: Device = device("a100-sxm-80gb")
    large_gpu: Device = device("h100-sxm-80gb")
    cpu_nodes: int = param(48, help="CPU nodes there are")
    gpu_nodes: int = param(48, help="GPU nodes there are")
    large_nodes: int = param(0, help="nodes with the large GPU there are")
    cpu_memory: float = param(256 * GiB, unit="B", help="memory of a CPU node")
    gpu_memory: float = param(78 * GiB, unit="B", help="memory of a GPU node, also of a large one")
    cpu_price: float = param(1.0, unit="1/h", help="price of a CPU node")
    gpu_price: float = param(4.0, unit="1/h", help="price of a GPU node")
    large_price: float = param(9.0, unit="1/h", help="price of a large GPU node")

    node = Int(0, "node_count", shape="item_count", help="node of each instance; 0: none")

    price = Metric("1/h", "min", help="price of the nodes in use")
    gpus = Metric("1", help="GPU nodes in use")
    cpus = Metric("1", help="CPU nodes in use")
    load = Metric("Hz", help="requests a second of the instances that are served")
    unserved = Metric("1", at_most=0.0, help="instances not served")
    overload = Metric("1", at_most=0.0, help="excess over a node's memory or time, relative")

    def prepare(self) -> None:
        """Check counts, sizes and the service level."""
        names = ("cpu_nodes", "gpu_nodes", "large_nodes", "cpu_price", "gpu_price", "large_price")
        for name in names:
            if not getattr(self, name) >= 0:
                raise SpaceError(
                    f"parameter '{name}' of llm-mesh-placement must not be negative, "
                    f"got {getattr(self, name)}."
                )
        for name in ("prompt", "output", "load_scale", "headroom"):
            if not 0 < getattr(self, name) < math.inf:
                raise SpaceError(
                    f"parameter '{name}' of llm-mesh-placement must be above 0, got {getattr(self, name)}."
                )
        if self.models < 1 or not self.sizes:
            raise SpaceError("llm-mesh-placement needs at least one model and one architecture.")
        unknown = next((s for s in self.sizes if s not in ARCHITECTURES), None)
        if unknown is not None:
            architecture(unknown)
        used = [k for k, n in zip(self.kinds, self.counts, strict=True) if n]
        if not used:
            raise SpaceError("llm-mesh-placement needs at least one node.")
        check(used, [architecture(s) for s in self.sizes], self.level)

    @property
    def level(self) -> ServiceLevel:
        """TTFT and TPOT to hold."""
        return ServiceLevel(tpot=self.tpot, ceiling=self.ttft_ceiling, floor=min(0.5, self.ttft_ceiling))

    @cached_property
    def kinds(self) -> tuple[NodeKind, ...]:
        """The kinds of nodes."""
        return (
            NodeKind("cpu", self.cpu, self.cpu_memory, 1, price=self.cpu_price),
            NodeKind("gpu", self.gpu, self.gpu_memory, 1, price=self.gpu_price),
            NodeKind("large-gpu", self.large_gpu, self.gpu_memory, 1, price=self.large_price),
        )

    @property
    def counts(self) -> tuple[int, int, int]:
        """Nodes of each kind."""
        return (self.cpu_nodes, self.gpu_nodes, self.large_nodes)

    @property
    def node_count(self) -> int:
        """All nodes."""
        return sum(self.counts)

    @property
    def item_count(self) -> int:
        """Instances to place."""
        return len(self.instances.names)

    @cached_property
    def kind_of(self) -> Array:
        """Kind of each node, (nodes,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def capacities(self) -> Array:
        """Memory in units of GiB and time share of a node of each kind, (kinds, 2)."""
        return np.array([[k.capacity / GiB, 1.0] for k in self.kinds])

    @cached_property
    def instances(self) -> Instances:
        """Instances with their demands on each kind; hot models in as many parts as nodes need."""
        names, shapes, lots, rates, demands = [], [], [], [], []
        length = self.prompt + self.output
        for m in range(self.models):
            shape = architecture(self.sizes[m % len(self.sizes)])
            rate = self.load_scale * TIERS[m * len(TIERS) // self.models] / 60
            mean = rate * self.output * self.tpot
            for parts in range(1, 1 + 4 * max(1, math.ceil(mean))):
                lot = max(1, math.ceil(self.headroom * mean / parts))
                demand = [self._demand(k, shape.name, lot, rate / parts, length) for k in self.kinds]
                fit = [
                    d[1] <= BUSY and d[0] <= c[0]
                    for d, c, n in zip(demand, self.capacities, self.counts, strict=True)
                    if n
                ]
                if any(fit):
                    break
            for part in range(parts):
                names.append(f"model-{m:03d}" + (f"/{part + 1}" if parts > 1 else ""))
                shapes.append(shape.name)
                lots.append(lot)
                rates.append(rate / parts)
                demands.append(demand)
        stacked = np.array(demands, float).transpose(1, 0, 2)
        return Instances(tuple(names), tuple(shapes), np.array(lots), np.array(rates), stacked)

    def _demand(self, kind: NodeKind, name: str, lot: int, rate: float, length: float) -> tuple[float, float]:
        shape = architecture(name)
        pace = Pace(kind.device, shape, SAFETY)
        prefill = pace.prefill(self.prompt)
        if prefill > self.level.ttft(self.prompt):
            return (math.nan, math.nan)
        cache = shape.cache_bytes() * max(lot * length, MAX_CONTEXT)
        share = pace.decode(lot, lot * length) / self.tpot + rate * prefill
        size = math.ceil((weights(shape) + cache) / GiB * 1e3) / 1e3
        return (size, math.ceil(share * 1e4) / 1e4)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Sum the demands on each node; nodes without instances cost nothing."""
        node, items = np.asarray(x.node, np.int64), np.arange(self.item_count)
        rows, placed = np.arange(len(x))[:, None], node > 0
        kind = self.kind_of[np.maximum(node - 1, 0)]
        demand = np.where(placed[..., None], np.nan_to_num(self.instances.demand, nan=1e6)[kind, items], 0.0)
        sums = np.zeros((len(x), self.node_count + 1, 2))
        np.add.at(sums, (rows, node), demand)
        used = np.zeros((len(x), self.node_count + 1), bool)
        used[rows, node] = True
        sums, used = sums[:, 1:], used[:, 1:]
        room = self.capacities[self.kind_of]
        excess = np.maximum(sums / room - 1.0, 0.0)
        excess[excess < 1e-9] = 0.0
        prices = np.array([k.price for k in self.kinds])[self.kind_of]
        gpu = np.array([k.gpu for k in self.kinds])[self.kind_of]
        return {
            "price": (used * prices).sum(axis=1),
            "gpus": (used & gpu).sum(axis=1).astype(float),
            "cpus": (used & ~gpu).sum(axis=1).astype(float),
            "load": (placed * self.instances.rate).sum(axis=1),
            "unserved": (~placed).sum(axis=1).astype(float),
            "overload": excess.max(axis=(1, 2)) if self.node_count else np.zeros(len(x)),
        }

    def packing_view(self, given: Mapping[str, Any] | None = None) -> PackingView:
        """Bins are nodes; all instances are served at the least cost, or on the fewest GPUs or CPUs."""

        def decode(plan: Sequence[tuple[int, Sequence[int]]]) -> dict[str, Any]:
            node, following = np.zeros(self.item_count, int), 1 + np.cumsum([0, *self.counts[:-1]])
            for kind, items in plan:
                node[list(items)] = following[kind]
                following[kind] += 1
            return {"node": node}

        gpu = np.array([float(k.gpu) for k in self.kinds])
        return PackingView(
            demands=self.instances.demand, capacities=self.capacities, counts=np.array(self.counts),
            costs=np.array([k.price for k in self.kinds]), metric="price", limits=("overload", "unserved"),
            decode=decode, others={"gpus": gpu, "cpus": 1.0 - gpu},
        )  # fmt: skip

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """A binary an instance and node; nodes of a kind are taken in order."""
        from .placement_milp import assignment_view

        return assignment_view(self)

    def baselines(self, simulation_seed: int = 0) -> dict[str, dict[str, Any]]:
        """Points for comparison: first fit, best-fit decreasing, round robin and random placement."""
        from .placement_baselines import baselines

        return baselines(self, simulation_seed)

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One row a node in use: its instances, memory and time share."""
        node = np.asarray(point["node"])
        rows = []
        for n in range(1, self.node_count + 1):
            items = np.flatnonzero(node == n)
            if len(items):
                kind = int(self.kind_of[n - 1])
                size, share = self.instances.demand[kind, items].sum(axis=0)
                rows.append(
                    {
                        "node": f"{self.kinds[kind].name} {n}",
                        "instances": len(items),
                        "memory GiB": float(size),
                        "of": float(self.capacities[kind, 0]),
                        "time share": float(share),
                        "models": ", ".join(self.instances.names[i] for i in items),
                    }
                )
        return rows

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """How full each node in use is, in memory and in time: one segment an instance."""
        from .figures import placement

        return {"nodes": placement(self, point)}
