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
from .cluster import Cluster, ServiceLevel, check, cpu_node, drawn, gpu_node, slot_count
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
    trace_zone: str = param("UTC", help="time zone of stamps in the trace that have no offset")
    tokens: Literal["mean", "deadlines"] = param(
        "mean", help="what keeps TPOT: the mean time after the first token, or each token its deadline"
    )

    def prepare(self) -> None:
        """Check numbers and names."""
        if self.models < 1 or not self.sizes or not self.minutes > 0 or not self.load_scale > 0:
            raise SpaceError("a mesh needs models, sizes, minutes and load_scale above 0.")
        for name in self.sizes:
            if name not in ARCHITECTURES:
                architecture(name)

        self._not_negative("cpu_price", "gpu_price")
        for name in ("ttft_floor", "ttft_rate", "ttft_ceiling", "tpot"):
            if not getattr(self, name) > 0:
                raise SpaceError(
                    f"parameter '{name}' of {self._label} must be above 0, got {getattr(self, name):g}."
                )
        if self.trace is not None:
            _ = self.requests  # a broken file is told before anything runs
        kinds = self.cluster(1, 1).kinds
        check(kinds, [architecture(name) for name in self.sizes], self.level)

    @property
    def _label(self) -> str:
        return {"LlmMesh": "llm-mesh", "LlmMeshCapacity": "llm-mesh-capacity"}.get(
            type(self).__name__, type(self).__name__
        )

    def _not_negative(self, *names: str) -> None:
        for name in names:
            if not getattr(self, name) >= 0:
                raise SpaceError(
                    f"parameter '{name}' of {self._label} must not be negative, got {getattr(self, name):g}."
                )

    @property
    def level(self) -> ServiceLevel:
        """TTFT and TPOT to hold."""
        return ServiceLevel(self.ttft_floor, self.ttft_rate, self.ttft_ceiling, self.tpot, self.tokens)

    @cached_property
    def requests(self) -> Trace:
        """The trace that is run."""
        if self.trace is not None:
            whole = workload.load(self.trace, self.models, self.minutes, self.trace_zone)
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

    admission = Choice(*ADMISSION, help="shadow validation of deadlines, or a limit on requests at once")
    sharing = Choice(*SHARING, help="instances of a node: as many as fit, one, or two static halves")
    cpu_use = Choice(*CPUS, help="CPU nodes before GPU nodes, after them, or unused")
    order = Choice(*ORDERS, help="which instance of a node runs next")
    preemption = Choice(*PREEMPTION, help="what makes a neighbour small enough to be moved away")
    packing = Choice(*PACKING, help="which instance and which node in use is asked first")
    watermark = Float(0.0, 1.0, help="cache held beyond the need, share of it")
    keep_alive = Float(0.0, 60.0, unit="s", help="time that an idle instance stays on a GPU")
    safety_gpu = Float(0.9, 1.5, help="factor on times predicted for GPUs")
    safety_cpu = Float(0.9, 1.5, help="factor on times predicted for CPUs")
    tightening = Float(0.7, 1.0, help="factor on the service level aimed at")
    quantum = Int(0, 8, help="decode iterations a turn on GPUs; 0: by the model's size")
    poll = Float(
        0.0, 1.0, unit="s", help="time between two asks of a queued request; 0: asks when room comes"
    )

    met = Metric("1", "max", help="share of requests whose service level was met")
    gpus = Metric("1", help="GPU nodes in use, mean over time")
    cpus = Metric("1", help="CPU nodes in use, mean over time")
    node_price = Metric("1/h", help="price of the nodes in use, mean over time")
    strict = Metric("1", help="share of requests met with no token late")

    def prepare(self) -> None:
        """Check numbers."""
        super().prepare()
        self._not_negative("cpu_nodes", "gpu_nodes")
        if self.cpu_nodes + self.gpu_nodes == 0:
            raise SpaceError("llm-mesh needs at least one node: give cpu_nodes or gpu_nodes above 0.")

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
    For the trade-off: `--minimize price_bought --maximize met_surely --no-limit met_surely`.
    """

    cost = "slow"

    policy: str = param("mesh", choices=tuple(POLICIES), help="system that serves")
    most_cpus: int = param(4, help="CPU nodes that may be bought")
    most_gpus: int = param(4, help="GPU nodes that may be bought")
    slo: float = param(0.99, help="share of requests that must meet the service level")
    draws: int = param(4, help="draws of the cost model's error")
    risk: float = param(0.1, help="share of the draws in which the answer may fail")

    cpu_nodes = Int(0, "most_cpus", help="CPU nodes rented")
    gpu_nodes = Int(0, "most_gpus", help="GPU nodes rented")

    price_bought = Metric("1/h", "min", help="price of the nodes bought")
    nodes_bought = Metric("1", help="nodes bought, of both kinds")
    gpus_bought = Metric("1", help="GPU nodes bought")
    met = Metric("1", help="share met by the nominal cost model")
    met_surely = Metric("1", at_least="slo", help="share met in all but `risk` of the draws")

    def prepare(self) -> None:
        """Check numbers."""
        super().prepare()
        self._not_negative("most_cpus", "most_gpus", "draws")
        for name in ("slo", "risk"):
            if not 0 <= getattr(self, name) <= 1:
                raise SpaceError(
                    f"parameter '{name}' of llm-mesh-capacity is a share from 0 to 1, "
                    f"got {getattr(self, name):g}."
                )

    @cached_property
    def shares(self) -> dict[tuple[int, int], tuple[float, ...]]:
        """Shares met that were simulated so far, by nodes: nominal, then one a draw."""
        return {}

    def play(self, cpus: int, gpus: int) -> tuple[float, ...]:
        """Shares met with so many nodes: by the nominal cost model, then with each draw of it true."""
        if (cpus, gpus) not in self.shares:
            seeds = (None, *range(self.draws))
            self.shares[cpus, gpus] = tuple(self._play(cpus, gpus, seed) for seed in seeds)
        return self.shares[cpus, gpus]

    def _play(self, cpus: int, gpus: int, seed: int | None) -> float:
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
        rows = zip(x.cpu_nodes.tolist(), x.gpu_nodes.tolist(), strict=True)
        found = np.array([self.play(cpus, gpus) for cpus, gpus in rows])
        nominal = found[:, 0]
        cpus, gpus = np.asarray(x.cpu_nodes, float), np.asarray(x.gpu_nodes, float)
        return {
            "price_bought": cpus * self.cpu_price + gpus * self.gpu_price,
            "nodes_bought": cpus + gpus,
            "gpus_bought": gpus,
            "met": Estimate(nominal, found.std(axis=1) / np.maximum(nominal, 1e-9)),
            "met_surely": np.quantile(found, self.risk, axis=1, method="lower"),
        }

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The trade-off among the node counts that were simulated: the least price of each share met."""
        self.play(int(point["cpu_nodes"]), int(point["gpu_nodes"]))
        rows: list[dict[str, Any]] = []
        for nodes, shares in sorted(self.shares.items(), key=lambda pair: self._cost(*pair)):
            price, missed = self._cost(nodes, shares)
            if not rows or -missed > rows[-1]["met surely"]:
                row = {"price 1/h": price, "CPU nodes": nodes[0], "GPU nodes": nodes[1]}
                holds = "yes" if -missed >= self.slo else "no"
                rows.append({**row, "met surely": -missed, "met": shares[0], "holds": holds})
        return rows

    def _cost(self, nodes: tuple[int, int], shares: tuple[float, ...]) -> tuple[float, float]:
        """Price, then the share not met for sure."""
        price = nodes[0] * self.cpu_price + nodes[1] * self.gpu_price
        return price, -float(np.quantile(shares, self.risk, method="lower"))

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Price of the nodes against the share met, with the spread over the draws."""
        from .figures import capacity

        self.play(int(point["cpu_nodes"]), int(point["gpu_nodes"]))
        rows = [
            (self._cost(nodes, shares)[0], nodes, shares) for nodes, shares in sorted(self.shares.items())
        ]
        return {"capacity": capacity(rows, self.slo, self.risk)}
