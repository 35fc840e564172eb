"""Which job next: a rank table for a single server with several classes of jobs (M/G/1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import SpaceError
from ..batch import Batch
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Float
from ..views import JobClass, JobsView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
WARM_UP = 0.1
QUANTILES = (np.arange(20_000) + 0.5) / 20_000


@dataclass(frozen=True, eq=False)
class Kind:
    """A class of jobs: its share of the arrivals, its holding cost and its law.

    support: values and probabilities of a discrete law, or None. quantile: the inverse of its
    distribution function.
    """

    name: str
    share: float
    holding_cost: float
    quantile: Callable[[Array], Array]
    support: tuple[Array, Array] | None = None


def _discrete(name: str, share: float, holding_cost: float, law: Mapping[float, float]) -> Kind:
    values, masses = np.array(list(law)), np.array(list(law.values()))
    steps = np.cumsum(masses)[:-1]
    return Kind(name, share, holding_cost, lambda u: values[np.searchsorted(steps, u)], (values, masses))


def _exponential(name: str, share: float, holding_cost: float, mean: float) -> Kind:
    return Kind(name, share, holding_cost, lambda u: -mean * np.log1p(-u))


def _lognormal(u: Array) -> Array:
    from scipy.special import ndtri

    return np.asarray(np.exp(1.5 * ndtri(u)))


def _bimodal(u: Array) -> Array:
    from scipy.special import ndtri

    short = u < 0.9
    inner = np.clip(np.where(short, u / 0.9, (u - 0.9) / 0.1), 1e-12, 1 - 1e-12)
    return np.asarray(np.maximum(np.where(short, 5.0, 200.0) * (1 + 0.2 * ndtri(inner)), 0.05))


def _bounded_pareto(u: Array) -> Array:
    low, high, shape = 1.0, 1e4, 1.2
    return np.asarray(low * (1 - u * (1 - (low / high) ** shape)) ** (-1 / shape))


def _steady(u: Array) -> Array:
    from scipy.special import gammaincinv

    return np.asarray(gammaincinv(25.0, u) / 25.0)


MIXES: dict[str, tuple[Kind, ...]] = {
    "discrete": (
        _discrete("interactive", 0.8, 1.0, {1.0: 0.7, 2.0: 0.2, 12.0: 0.1}),
        _discrete("batch", 0.2, 0.5, {4.0: 0.5, 30.0: 0.5}),
    ),
    "exponential": (_exponential("short", 0.5, 1.0, 1.0), _exponential("long", 0.5, 2.0, 4.0)),
    "lognormal": (Kind("jobs", 1.0, 1.0, _lognormal),),
    "bimodal": (Kind("jobs", 1.0, 1.0, _bimodal),),
    "pareto": (Kind("jobs", 1.0, 1.0, _bounded_pareto),),
    "steady": (Kind("jobs", 1.0, 1.0, _steady),),
}


class MG1(Problem):
    """Order jobs whose length nobody knows: least mean holding cost of a single-server queue.

    The table ranks each class at each level of attained service; the lowest rank is served. The referee
    simulates the same arrivals for every table. The Gittins policy is optimal in expectation.
    """

    stochastic = True

    mix: str = param("discrete", choices=tuple(MIXES), help="laws of the service demand")
    load: float = param(0.8, help="share of time that the server is busy")
    arrivals: int = param(5_000, help="jobs in a simulation")
    resolution: int = param(32, help="levels of attained service where the law is continuous")
    samples: int | None = param(1_000, help="service demands seen of a continuous law; none: it is known")
    simulation_seed: int = param(0, help="seed of the simulated arrivals")

    ranks = Float(
        0,
        1,
        shape=("class_count", "level_count"),
        help="rank by class and attained service; least goes first",
    )

    holding_cost = Metric("s", "min", help="mean of holding cost times response time")
    response = Metric("s", help="mean response time")
    response_p99 = Metric("s", help="99th percentile of the response time")

    def prepare(self) -> None:
        """Check the numbers."""
        few = self.samples is not None and self.samples < 2
        if not 0 < self.load < 1 or self.arrivals < 10 or self.resolution < 2 or few:
            raise SpaceError(
                "MG1 needs load in (0, 1), arrivals >= 10, resolution >= 2 and samples >= 2; got "
                f"{self.load}, {self.arrivals}, {self.resolution} and {self.samples}."
            )

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The classes of jobs."""
        return MIXES[self.mix]

    @property
    def class_count(self) -> int:
        """Rows of the table."""
        return len(self.kinds)

    @property
    def level_count(self) -> int:
        """Columns of the table."""
        return len(self.ages)

    @property
    def ages(self) -> Array:
        """Attained service at which each level begins: at each value of discrete laws, else log-spaced."""
        if all(kind.support is not None for kind in self.kinds):
            values = np.unique(
                np.concatenate([kind.support[0] for kind in self.kinds if kind.support is not None])
            )
            return np.concatenate([[0.0], values[:-1]])
        low = min(float(kind.quantile(np.array(0.01))) for kind in self.kinds)
        high = max(float(kind.quantile(np.array(0.999))) for kind in self.kinds)
        return np.concatenate([[0.0], np.geomspace(low, high, self.resolution - 1)])

    def streams(self) -> tuple[Array, Array, Array]:
        """Arrival times, classes and service demands of one simulation, each (arrivals,)."""
        gaps, classes, sizes = (np.random.default_rng([self.simulation_seed, stream]) for stream in range(3))
        share = np.array([kind.share for kind in self.kinds])
        mean = sum(kind.share * self.mean_demand(kind) for kind in self.kinds)
        job_class = np.searchsorted(np.cumsum(share)[:-1], classes.random(self.arrivals))
        uniform = sizes.random(self.arrivals)
        demand = np.zeros(self.arrivals)
        for c, kind in enumerate(self.kinds):
            demand[job_class == c] = kind.quantile(uniform[job_class == c])
        return np.cumsum(gaps.exponential(mean / self.load, self.arrivals)), job_class, demand

    @staticmethod
    def mean_demand(kind: Kind) -> float:
        """Mean service demand of a class, s."""
        if kind.support is not None:
            return float(kind.support[0] @ kind.support[1])
        return float(kind.quantile((np.arange(200_000) + 0.5) / 200_000).mean())

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Simulate each table on the same arrivals; the first tenth warms up."""
        from .queue import simulate

        arrivals, job_class, demand = self.streams()
        counted = slice(int(WARM_UP * self.arrivals), None)
        cost = np.array([kind.holding_cost for kind in self.kinds])[job_class][counted]
        ages, done = self.ages, np.empty(self.arrivals)
        metrics = np.empty((3, len(x)))
        for row, table in enumerate(np.ascontiguousarray(x.ranks, float)):
            simulate(arrivals, job_class, demand, table, ages, done)
            response = (done - arrivals)[counted]
            metrics[:, row] = (cost * response).mean(), response.mean(), np.quantile(response, 0.99)
        return dict(zip(("holding_cost", "response", "response_p99"), metrics, strict=True))

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """The rank table as a picture."""
        from .figures import ranks

        return {"ranks": ranks(self, point)}

    def jobs_view(self, given: Mapping[str, Any] | None = None) -> JobsView:
        """Discrete laws as they are; of continuous ones what the scheduler has seen, or fine quantiles."""
        rng = np.random.default_rng([self.samples or 0, 0x5EE])
        classes = []
        for kind in self.kinds:
            share, cost = kind.share, kind.holding_cost
            if kind.support is not None:
                classes.append(JobClass(kind.name, *kind.support, share, cost))
            elif self.samples is None:
                classes.append(JobClass(kind.name, kind.quantile(QUANTILES), None, share, cost))
            else:
                seen = kind.quantile(rng.random(self.samples))
                classes.append(JobClass(kind.name, seen, None, share, cost, discrete=False))
        known = self.samples is None and any(kind.support is None for kind in self.kinds)
        assumptions = (f"continuous laws taken at {len(QUANTILES):,} quantiles",) if known else ()
        return JobsView(tuple(classes), self.ages, "ranks", "holding_cost", assumptions)
