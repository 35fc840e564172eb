"""Nodes, models and service levels: what a mesh is made of, and how long an iteration takes on it.

Times come from the six-constant law of `costmodels.serving`; a `Pace` is that law for one model on one
kind of node, as plain numbers for the inner loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from ....costmodels.architectures import Architecture, architecture
from ....costmodels.serving import iteration_law
from ....errors import SpaceError
from ....hardware import Device, device
from ....units import GiB

TOKENS = ("mean", "deadlines")
MAX_CONTEXT = 4096
"""Tokens an instance must at least have room for (the published L_min)."""


@dataclass(frozen=True)
class ServiceLevel:
    """TTFT = min(max(floor, prompt / rate), ceiling) and TPOT, in seconds (section IX-A of the paper).

    tokens: what the TPOT is of, for scheduler, shadow validation and metric alike. "mean": the time from the
    first token to the last, a token, so that token k is wanted k TPOT after the first one came. "deadlines":
    each token, k of them due by TTFT + k TPOT, so that an early first token leaves time for the others.
    """

    floor: float = 0.5
    rate: float = 512.0
    ceiling: float = 8.0
    tpot: float = 0.25
    tokens: Literal["mean", "deadlines"] = "mean"

    def __post_init__(self) -> None:
        if self.tokens not in TOKENS:
            raise SpaceError(
                f"tokens of a service level must be one of {', '.join(TOKENS)}; got {self.tokens!r}."
            )

    def ttft(self, prompt: float) -> float:
        """Seconds to the first token of a prompt.

        >>> ServiceLevel().ttft(1024)
        2.0
        """
        return min(max(self.floor, prompt / self.rate), self.ceiling)

    def tightened(self, factor: float) -> ServiceLevel:
        """All times multiplied by a factor: what a scheduler aims at."""
        return replace(
            self, floor=self.floor * factor, rate=self.rate / factor, ceiling=self.ceiling * factor,
            tpot=self.tpot * factor,
        )  # fmt: skip


@dataclass(frozen=True)
class NodeKind:
    """Nodes alike.

    memory: bytes for weights and caches. slots: instances at once. overhead: bytes each slot takes for
    itself. cache: bytes of cache a slot has, or None where caches grow and shrink. load_rate: bytes a
    second of cold starts, infinite where the weights of all models stay in memory. price: an hour.
    allocates: whether a first cache takes the time of a resize, after the load (as the artefact's queue of
    actions has it; the service level excuses the load only).
    """

    name: str
    device: Device
    memory: float
    slots: int
    overhead: float = 1.5 * GiB
    cache: float | None = None
    load_rate: float = math.inf
    price: float = 1.0
    allocates: bool = True

    def __post_init__(self) -> None:
        if not self.memory > 0:
            raise SpaceError(
                f"memory of node kind '{self.name}' must be positive, got {self.memory / GiB:g} GiB."
            )
        if self.slots < 1:
            raise SpaceError(f"slots of node kind '{self.name}' must be at least 1, got {self.slots}.")

    @property
    def elastic(self) -> bool:
        """Whether caches are resized."""
        return self.cache is None

    @cached_property
    def gpu(self) -> bool:
        """Whether its device is a GPU."""
        return self.device.kind == "gpu"

    @cached_property
    def capacity(self) -> float:
        """Bytes left for weights and elastic caches."""
        return self.memory - self.slots * self.overhead


@dataclass(frozen=True)
class Cluster:
    """Kinds of nodes and how many there are of each."""

    kinds: tuple[NodeKind, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        for kind, count in zip(self.kinds, self.counts, strict=True):
            if count < 0:
                raise SpaceError(f"count of node kind '{kind.name}' must not be negative, got {count}.")

    @cached_property
    def nodes(self) -> tuple[NodeKind, ...]:
        """The kind of each node."""
        return tuple(kind for kind, count in zip(self.kinds, self.counts, strict=True) for _ in range(count))


class Pace:
    """Seconds of iterations of one model on one device, times a safety factor.

    decode(batch, cached) = base[batch] + cached per_cached; prefill(prompt) likewise with pairs.
    """

    __slots__ = ("_base", "_law", "per_cached", "scale")

    def __init__(self, device: Device, model: Architecture, scale: float = 1.0) -> None:
        self._law = iteration_law(device, model)
        self.scale = scale
        self.per_cached = scale * self._law.per_cached
        self._base: list[float] = [0.0]

    def base(self, batch: int) -> float:
        """Seconds of a decode iteration of a batch, without its cache."""
        while batch >= len(self._base):
            b, law = len(self._base), self._law
            core = math.hypot(b * (law.per_token + law.per_answer), law.weights)
            self._base.append(self.scale * (law.fixed + b * law.per_decode + core))
        return self._base[batch]

    def decode(self, batch: int, cached: float) -> float:
        """Seconds of one token for each of a batch with so many cached tokens together."""
        return self.base(batch) + cached * self.per_cached if batch else 0.0

    def prefill(self, prompt: float) -> float:
        """Seconds of one prompt alone."""
        law = self._law
        core = math.hypot(prompt * law.per_token + law.per_answer, law.weights)
        pairs = 0.5 * prompt * prompt
        return self.scale * (law.fixed + law.per_prompt + core + pairs * law.per_pair)


class MeasuredPace(Pace):
    """A pace from measured iterations: fixed + per_request batch + per_cached cached, and for prompts
    prompt_fixed + prompt_token prompt."""

    __slots__ = ("constants",)

    def __init__(self, constants: tuple[float, float, float, float, float], scale: float = 1.0) -> None:
        self.constants, self.scale = constants, scale
        self.per_cached = scale * constants[2]

    def scaled(self, factor: float) -> MeasuredPace:
        """The same with a safety factor."""
        return MeasuredPace(self.constants, factor)

    def base(self, batch: int) -> float:
        """Seconds of a decode iteration of a batch, without its cache."""
        return self.scale * (self.constants[0] + batch * self.constants[1]) if batch else 0.0

    def prefill(self, prompt: float) -> float:
        """Seconds of one prompt alone."""
        return self.scale * (self.constants[3] + prompt * self.constants[4])


Measured = Mapping[tuple[str, str], MeasuredPace]
"""Paces by the names of node kind and model, in place of the cost model's."""


Limits = Mapping[tuple[str, str], int]
"""Requests at once by the names of node kind and model, in place of the derived limit."""


def concurrency_limit(
    kind: NodeKind,
    model: Architecture,
    level: ServiceLevel,
    share: float = 1.0,
    safety: float = 1.0,
    context: int = MAX_CONTEXT,
) -> int:
    """Requests at once that an instance with a share of a node can hold within TPOT at a context length.

    This is how a system without token scheduling must set its limit: for the longest context.
    """
    pace = Pace(kind.device, model, safety)
    room = share * (kind.memory - kind.overhead) - weights(model)
    room = room if kind.cache is None else min(room, share * kind.slots * kind.cache)
    most = max(int(room // (context * model.cache_bytes())), 0)
    fitting = 0
    while fitting < most and pace.decode(fitting + 1, (fitting + 1) * context) <= share * level.tpot:
        fitting += 1
    return fitting


def weights(model: Architecture) -> float:
    """Bytes of a model's weights."""
    return 2.0 * model.parameters


def slot_count(model: Architecture) -> int:
    """Instances a published GPU node offers for a model: 8 of 3B, 4 of 7B, 2 of 13B."""
    size = weights(model)
    return 8 if size < 8 * GiB else 4 if size < 20 * GiB else 2


def gpu_node(
    model: Architecture | None = None,
    memory: float = 78 * GiB,
    price: float = 4.0,
    on: Device | None = None,
) -> NodeKind:
    """A GPU node as published: a 7B loads in 1 s, 78 GB less 1.5 GB a slot."""
    slots = 4 if model is None else slot_count(model)
    rate = weights(architecture("llama-2-7b")) / 1.0
    return NodeKind("gpu", on or device("a100-sxm-80gb"), memory, slots, load_rate=rate, price=price)


def cpu_node(
    model: Architecture | None = None,
    memory: float = 256 * GiB,
    price: float = 1.0,
    on: Device | None = None,
) -> NodeKind:
    """A CPU node as published: weights stay in memory, each slot has a cache of 16 GB (3B) or 32 GB."""
    slots = 2 if model is None else max(1, slot_count(model) // 2)
    cache = (16 if slots == 4 else 32) * GiB
    return NodeKind("cpu", on or device("xeon-6462c"), memory, slots, cache=cache, price=price)


def published(model: str = "llama-2-7b", cpus: int = 4, gpus: int = 4) -> Cluster:
    """The paper's cluster: 32-core Xeons with AMX and A100-80GB.

    >>> [kind.name for kind in published().nodes[3:5]]
    ['cpu', 'gpu']
    """
    shape = architecture(model)
    return Cluster((cpu_node(shape), gpu_node(shape)), (cpus, gpus))


def check(kinds: Sequence[NodeKind], models: Sequence[Architecture], level: ServiceLevel) -> None:
    """SpaceError for a model that fits no node, or a service level below what any node can reach."""
    for model in dict.fromkeys(models):
        least = weights(model) + MAX_CONTEXT * model.cache_bytes()
        fitting = [k for k in kinds if weights(model) + (k.cache or 0) + k.overhead <= k.memory
                   and least <= k.memory - k.overhead]  # fmt: skip
        if not fitting:
            largest = max((k.memory - k.overhead for k in kinds), default=0.0)
            raise SpaceError(
                f"model '{model.name}' needs {least / GiB:.1f} GiB for weights and {MAX_CONTEXT} tokens; the "
                f"largest node has {largest / GiB:.1f} GiB."
            )
        floor = min(Pace(k.device, model).decode(1, 1) for k in fitting)
        if level.tpot < floor:
            raise SpaceError(
                f"TPOT of {1e3 * level.tpot:g} ms is below what '{model.name}' can reach on any node: "
                f"{1e3 * floor:.3g} ms alone."
            )
        first = min(Pace(k.device, model).prefill(1) for k in fitting)
        if level.ceiling < first or level.floor < first:
            raise SpaceError(
                f"TTFT of {1e3 * min(level.ceiling, level.floor):g} ms is below what '{model.name}' "
                f"can reach on any node: {1e3 * first:.3g} ms for a prompt of one token."
            )


def drawn(cluster: Cluster, devices: dict[Device, Device]) -> Cluster:
    """The same cluster with other devices in place of its own: one draw of the model errors."""
    kinds = tuple(replace(k, device=devices.get(k.device, k.device)) for k in cluster.kinds)
    return Cluster(kinds, cluster.counts)
