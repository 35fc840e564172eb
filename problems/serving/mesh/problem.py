"""The dynamic mesh as search problems: its policy, and how many nodes it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ....costmodels import draw
from ....costmodels.architectures import ARCHITECTURES, Architecture, architecture
from ....errors import SpaceError
from ....hardware import Device, device
from ...batch import Batch
from ...goal import Metric
from ...problem import Problem, param
from ...scoring import Estimate
from ...variables import Choice, Float, Int
from ..trace import Trace
from . import workload
from .cluster import Cluster, ServiceLevel, cpu_node, drawn, gpu_node, slot_count
from .policy import ADMISSION, CPUS, ORDERS, PACKING, POLICIES, PREEMPTION, SHARING, Policy
from .simulate import Outcome, simulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class MeshProblem(Problem):
    """What both problems share: models, a trace, kinds of nodes and a service level."""

    sizes: tuple[str, ...] = param(("llama-2-7b",), help="architectures that models take in turn")
    models: int = param(32, help="models served")
    trace: Path | None = param(None, help="file of requests; else a generated trace")
    minutes: float = param(10.0, help="minutes of the trace")
    part: Literal["all", "first half", "second half"] = param("all", help="part of the trace that is run")
    load_scale: float = param(1.0, help="factor on the request rates of a generated trace")
    cpu: Device = device("xeon-6462c")
    gpu: Device = device("a100-sxm-80gb")
    cpu_price: float = param(1.0, unit="1/h", help="price of a CPU node")
    gpu_price: float = param(4.0, unit="1/h", help="price of a GPU node")
    ttft_floor: float = param(0.5, unit="s", help="time to first token allowed for short prompts")
    ttft_rate: float = param(512.0, unit="Hz", help="prompt tokens for each second more of it")
    ttft_ceiling: float = param(8.0, unit="s", help="most time to first token")
    tpot: float = param(0.25, unit="s", help="time a token allowed")
    simulation_seed: int = param(0, help="seed of a generated trace")

    def prepare(self) -> None:
        """Check numbers and names."""
        if self.models < 1 or not self.sizes or not self.minutes > 0 or not self.load_scale > 0:
            raise SpaceError("a mesh needs models, sizes, minutes and load_scale above 0.")
        for name in self.sizes:
            if name not in ARCHITECTURES:
                architecture(name)

    @property
    def level(self) -> ServiceLevel:
        """TTFT and TPOT to hold."""
        return ServiceLevel(self.ttft_floor, self.ttft_rate, self.ttft_ceiling, self.tpot)

    @cached_property
    def requests(self) -> Trace:
        """The trace that is run."""
        if self.trace is not None:
            whole = workload.load(self.trace, self.models, self.minutes)
        else:
            whole = workload.generated(
                self.models, self.minutes, simulation_seed=self.simulation_seed, load=self.load_scale
            )
        if self.part == "all":
            return whole
        return workload.halves(whole)[self.part == "second half"]

    @cached_property
    def shapes(self) -> list[Architecture]:
        """The architecture of each model."""
        count = max(self.models, len(self.requests.classes))
        return [architecture(self.sizes[i % len(self.sizes)]) for i in range(count)]

    def cluster(self, cpus: int, gpus: int) -> Cluster:
        """So many nodes of each kind, with the slots that the largest model allows."""
        largest = min((architecture(s) for s in self.sizes), key=slot_count)
        kinds = (
            cpu_node(largest, price=self.cpu_price, on=self.cpu),
            gpu_node(largest, price=self.gpu_price, on=self.gpu),
        )
        return Cluster(kinds, (cpus, gpus))

    def price(self, outcome: Outcome) -> float:
        """Price an hour of the nodes in use, mean over time."""
        return outcome.cpus * self.cpu_price + outcome.gpus * self.gpu_price


class LlmMesh(MeshProblem):
    """The policy of a mesh after SLINFER: admission, sharing, order, preemption, watermark, safety.

    Every row runs the whole trace through the same code that a gateway would call. `baselines()` gives
    the published systems as points.
    """

    cost = "slow"

    cpu_nodes: int = param(4, help="CPU nodes there are")
    gpu_nodes: int = param(4, help="GPU nodes there are")

    admission = Choice(*ADMISSION)
    sharing = Choice(*SHARING)
    cpu_use = Choice(*CPUS)
    order = Choice(*ORDERS)
    preemption = Choice(*PREEMPTION)
    packing = Choice(*PACKING)
    watermark = Float(0.0, 1.0)
    keep_alive = Float(0.0, 60.0)
    safety_gpu = Float(0.9, 1.5)
    safety_cpu = Float(0.9, 1.5)
    tightening = Float(0.7, 1.0)
    quantum = Int(0, 8)
    poll = Float(0.0, 1.0)

    met = Metric("1", "max", help="share of requests whose service level was met")
    gpus = Metric("1", help="GPU nodes in use, mean over time")
    cpus = Metric("1", help="CPU nodes in use, mean over time")
    node_price = Metric("1/h", help="price of the nodes in use, mean over time")
    strict = Metric("1", help="share of requests met with no token late")

    def policy(self, point: Mapping[str, Any]) -> Policy:
        """The policy that a point stands for."""
        names = asdict(Policy())
        given = {("cpus" if k == "cpu_use" else k): v for k, v in point.items()}
        return Policy(**{k: v for k, v in given.items() if k in names})

    def play(self, policy: Policy, record: bool = False) -> Outcome:
        """The trace under a policy."""
        cluster = self.cluster(self.cpu_nodes, self.gpu_nodes)
        return simulate(self.requests, cluster, self.shapes, policy, self.level, record=record)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """One simulation a row."""
        columns: dict[str, list[float]] = {name: [] for name in self.metrics}
        for point in self.space.points(x):
            outcome = self.play(self.policy(point))
            values = (outcome.share, outcome.gpus, outcome.cpus, self.price(outcome), outcome.strict.mean())
            for name, value in zip(columns, values, strict=True):
                columns[name].append(float(value))
        return {name: np.array(values) for name, values in columns.items()}

    def baselines(self) -> dict[str, dict[str, Any]]:
        """The published systems and ablations as points."""
        points = {}
        for name, policy in POLICIES.items():
            knobs = asdict(policy)
            knobs["cpu_use"] = knobs.pop("cpus")
            points[name] = knobs
        return points

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The point beside the published systems on the same trace."""
        systems = {"this point": self.policy(point), **POLICIES}
        return [{"system": name, **row(self, self.play(policy))} for name, policy in systems.items()]

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Occupancy of the nodes over time, and the tokens of the busiest node as a Gantt chart."""
        from .figures import gantt, occupancy

        outcome = self.play(self.policy(point), record=True)
        return {"occupancy": occupancy(outcome), "tokens": gantt(outcome)}


def row(problem: MeshProblem, outcome: Outcome) -> dict[str, Any]:
    """The figures of an outcome, for tables."""
    return {
        "SLO share": outcome.share,
        "met": int(outcome.met.sum()),
        "requests": len(outcome.met),
        "strict": float(outcome.strict.mean()),
        "GPUs": outcome.gpus,
        "CPUs": outcome.cpus,
        "price 1/h": problem.price(outcome),
        "evictions": outcome.evictions,
        "preemptions": outcome.preemptions,
    }


class LlmMeshCapacity(MeshProblem):
    """How many nodes of each kind hold the service level: price against share of requests met.

    The cost model's error is carried along: each row runs under several draws of what iterations truly
    take, while the mesh plans with the nominal ones; `met_surely` is what all but `risk` of them reach.
    """

    cost = "slow"

    policy: str = param("mesh", choices=tuple(POLICIES), help="system that serves")
    most_cpus: int = param(4, help="CPU nodes that may be bought")
    most_gpus: int = param(4, help="GPU nodes that may be bought")
    share: float = param(0.99, help="share of requests whose service level must be met")
    draws: int = param(4, help="draws of the cost model's error")
    risk: float = param(0.1, help="share of the draws in which the answer may fail")

    cpu_nodes = Int(0, "most_cpus")
    gpu_nodes = Int(0, "most_gpus")

    price_bought = Metric("1/h", "min", help="price of the nodes bought")
    met = Metric("1", help="share met by the nominal cost model")
    met_surely = Metric("1", at_least="share", help="share met in all but `risk` of the draws")

    def prepare(self) -> None:
        """Check numbers."""
        super().prepare()
        for name in ("most_cpus", "most_gpus", "draws"):
            if getattr(self, name) < 0:
                raise SpaceError(
                    f"parameter '{name}' of llm-mesh-capacity must not be negative, "
                    f"got {getattr(self, name)}."
                )

    def play(self, cpus: int, gpus: int, seed: int | None = None) -> float:
        """Share met with so many nodes; seed: which draw of the cost model's error is true."""
        if cpus + gpus == 0 or (gpus == 0 and POLICIES[self.policy].cpus == "none"):
            return 0.0
        cluster, truth = self.cluster(cpus, gpus), None
        if seed is not None:
            rng = np.random.default_rng(seed)
            truth = drawn(cluster, {d: draw(d, rng) for d in (self.cpu, self.gpu)})
        policy = POLICIES[self.policy]
        return simulate(self.requests, cluster, self.shapes, policy, self.level, truth=truth).share

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Nominal and drawn simulations of each row."""
        met, surely, spread = [], [], []
        for cpus, gpus in zip(x.cpu_nodes.tolist(), x.gpu_nodes.tolist(), strict=True):
            nominal = self.play(cpus, gpus)
            shares = [self.play(cpus, gpus, seed) for seed in range(self.draws)]
            met.append(nominal)
            surely.append(float(np.quantile([nominal, *shares], self.risk, method="lower")))
            spread.append(float(np.std([nominal, *shares]) / max(nominal, 1e-9)))
        price = x.cpu_nodes * self.cpu_price + x.gpu_nodes * self.gpu_price
        return {
            "price_bought": np.asarray(price, float),
            "met": Estimate(np.array(met), np.array(spread)),
            "met_surely": np.array(surely),
        }
