"""Orders of service by name; add one by writing a function from a `Scene` to a `Policy`.

@policy("shortest-first")
def shortest(scene):
    return Policy("table", mean_table(scene.class_samples, scene.flat_ages), scene.flat_ages, flat=True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import DataError, nearest
from .cluster import Jobs, Policy
from .compiled import Array
from .ranks import bucketed_table, gittins_table, las_table, mean_table, serpt_table


@dataclass(frozen=True, eq=False)
class Scene:
    """What a scheduler may know: samples by class and by row, and the levels of the rank tables.

    jobs holds the truth; only `oracle` reads the work in it.
    """

    jobs: Jobs
    class_samples: tuple[Array, ...]
    row_samples: tuple[Array, ...]
    flat_ages: Array
    ages: Array


POLICIES: dict[str, Callable[[Scene], Policy]] = {}


def policy(name: str) -> Callable[[Callable[[Scene], Policy]], Callable[[Scene], Policy]]:
    """Register a policy."""

    def add(function: Callable[[Scene], Policy]) -> Callable[[Scene], Policy]:
        POLICIES[name] = function
        return function

    return add


def make(name: str, scene: Scene) -> Policy:
    """A policy by name; DataError names the nearest."""
    if name not in POLICIES:
        raise DataError(f"unknown policy '{name}'; {nearest(name, POLICIES)}")
    return POLICIES[name](scene)


@policy("fcfs")
def application_fcfs(scene: Scene) -> Policy:
    """Applications in order of arrival (Parrot)."""
    return Policy("static")


@policy("request-fcfs")
def request_fcfs(scene: Scene) -> Policy:
    """Stages in order of release (vLLM)."""
    return Policy("request")


@policy("las")
def least_attained(scene: Scene) -> Policy:
    """Least service so far first (fair shares of the servers, as VTC aims at)."""
    return Policy("table", las_table(scene.class_samples, scene.flat_ages), scene.flat_ages, flat=True)


@policy("sjf-mean")
def shortest_mean(scene: Scene) -> Policy:
    """Shortest class mean first."""
    return Policy("table", mean_table(scene.class_samples, scene.flat_ages), scene.flat_ages, flat=True)


@policy("serpt")
def shortest_expected_rest(scene: Scene) -> Policy:
    """Shortest expected remaining work first."""
    return Policy("table", serpt_table(scene.class_samples, scene.flat_ages), scene.flat_ages, flat=True)


@policy("gittins-flat")
def gittins_flat(scene: Scene) -> Policy:
    """Gittins ranks of classes by all service so far."""
    return Policy("table", gittins_table(scene.class_samples, scene.flat_ages), scene.flat_ages, flat=True)


@policy("gittins-buckets")
def gittins_buckets(scene: Scene) -> Policy:
    """The formula of the published artefact, ten equal-width buckets."""
    return Policy("table", bucketed_table(scene.class_samples, scene.flat_ages), scene.flat_ages, flat=True)


@policy("gittins")
def gittins_stages(scene: Scene) -> Policy:
    """Gittins ranks given the stages seen (and an informative upstream value)."""
    return Policy("table", gittins_table(scene.row_samples, scene.ages), scene.ages)


@policy("edf")
def earliest_deadline(scene: Scene) -> Policy:
    """Earliest deadline first; those without one last, in order of arrival."""
    deadline = scene.jobs.deadline
    return Policy("static", ranks=np.where(np.isfinite(deadline), deadline, 1e9 + scene.jobs.arrival))


@policy("lstf")
def least_slack(scene: Scene) -> Policy:
    """Least slack first: deadline less the most that may be left; those without a deadline last."""
    most = np.array([float(s.max()) for s in scene.class_samples])
    return Policy("slack", estimate=most[scene.jobs.kind])


@policy("oracle")
def oracle(scene: Scene) -> Policy:
    """Shortest remaining work first, known exactly: the bound on one server."""
    return Policy("remaining")
