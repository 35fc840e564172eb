"""Servers for services: vector bin packing with several kinds of server, at the least price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import SpaceError
from ..batch import Batch
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Choice, Int
from ..views import PackingView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("small", "large", "accelerated")
PRICES = np.array([1.0, 2.5, 4.0])
CAPACITIES = np.array([[16, 100, 0], [48, 100, 0], [48, 100, 80]])
SPEEDS = np.array([1.0, 3.0, 3.0])


class ServerPacking(Problem):
    """Place services on rented servers: the price an hour against memory, processor and accelerator.

    A service takes GiB of memory, a share of the processor (per cent, less on a fast server) and, for
    some, GiB of an accelerator, which only one kind of server has.
    """

    services: int = param(24, help="number of services")
    services_seed: int = param(0, help="seed of the services")
    stock: int | None = param(None, help="servers there are of each kind")

    host = Int(0, "last_host", shape="services", help="server of each service")
    kind = Choice(*KINDS, shape="services", help="kind of that server")

    price = Metric("1/h", "min")
    overload = Metric("1", at_most=0.0)
    servers = Metric("1")

    def prepare(self) -> None:
        """Check sizes."""
        if self.services < 1 or (self.stock is not None and self.stock < 0):
            raise SpaceError(
                f"ServerPacking needs services >= 1 and stock >= 0, got {self.services} and {self.stock}."
            )

    @property
    def last_host(self) -> int:
        """Number of the last server that may be rented: one a service."""
        return self.services - 1

    def demands(self) -> Any:
        """Demand of each service on each kind of server, (kinds, services, resources)."""
        rng = np.random.default_rng(self.services_seed)
        memory = rng.integers(2, 15, self.services)
        work = rng.integers(10, 90, self.services)
        accelerator = np.where(rng.random(self.services) < 0.2, rng.integers(10, 50, self.services), 0)
        share = np.ceil(work / SPEEDS[:, None])
        whole = np.broadcast_to(memory, share.shape), share, np.broadcast_to(accelerator, share.shape)
        return np.stack(whole, axis=-1).astype(float)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Sum the demands a server; a server without services is not rented."""
        rows, services = np.arange(len(x))[:, None], np.arange(self.services)
        kind = np.take_along_axis(x.kind.position, x.host, axis=1)
        load = np.zeros((len(x), self.services, CAPACITIES.shape[1]))
        np.add.at(load, (rows, x.host), self.demands()[kind, services])
        used = np.zeros((len(x), self.services), bool)
        used[rows, x.host] = True
        room = CAPACITIES[x.kind.position]
        excess = np.maximum(load - room, 0.0) / np.maximum(room, 1.0)
        overload = np.where(used[..., None], excess, 0.0).max(axis=(1, 2))
        if self.stock is not None:
            rented = np.stack(
                [(used & (x.kind.position == k)).sum(axis=1) for k in range(len(KINDS))], axis=1
            )
            overload += np.maximum(rented - self.stock, 0).sum(axis=1)
        price = np.where(used, PRICES[x.kind.position], 0.0).sum(axis=1)
        return {"price": price, "overload": overload, "servers": used.sum(axis=1).astype(float)}

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """How full each rented server is."""
        from .figures import servers

        return {"servers": servers(self, point)}

    def packing_view(self, given: Mapping[str, Any] | None = None) -> PackingView:
        """Bins are servers."""

        def decode(plan: Sequence[tuple[int, Sequence[int]]]) -> dict[str, Any]:
            host, kind = np.zeros(self.services, int), [KINDS[0]] * self.services
            for server, (type_, placed) in enumerate(plan):
                kind[server] = KINDS[type_]
                host[list(placed)] = server
            return {"host": host, "kind": kind}

        counts = None if self.stock is None else np.full(len(KINDS), self.stock)
        return PackingView(
            demands=self.demands(), capacities=CAPACITIES, costs=PRICES, counts=counts, metric="price",
            limits=("overload",), decode=decode,
        )  # fmt: skip
