"""A tree over a trained scene: its Gaussians are the leaves, each inner node one Gaussian that stands for all
below it.

After HierGS (Kerbl et al. 2024): moments are matched, weighted by opacity times surface. The tree is an
octree of the means without its one-child chains, so depth and fan-out are as uneven as the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .compiled import compiled
from .gaussians import Gaussians

Array = npt.NDArray[Any]
AXIS_BITS = 21  # a Morton code of three axes fills 63 bits
REACH = 3.33  # standard deviations at which an opaque Gaussian falls below 1/255
NESTED = 1.0 + 1e-6  # spheres of parents are a little larger, so that rounding cannot un-nest them
SURFACE_POWER = 1.6075  # Thomsen's formula for the surface of an ellipsoid, within 1.2 %
FAN_OUT = 8


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """N leaves and their ancestors, M nodes in depth-first order: a node's descendants follow it.

    gaussians: M Gaussians in node order. centre (M, 3), radius (M,): spheres that hold all that a node
    draws, each inside its parent's. extent (M,): largest side of the box of the leaves' one-sigma boxes,
    never above the parent's. skip (M,): the first node after the descendants. parent (M,): -1 at the root.
    """

    gaussians: Gaussians
    centre: Array
    radius: Array
    extent: Array
    skip: Array
    parent: Array

    def __len__(self) -> int:
        return len(self.skip)

    @cached_property
    def leaf(self) -> Array:
        """(M,) whether a node has no descendants."""
        is_leaf: Array = self.skip == np.arange(len(self)) + 1
        return is_leaf

    @property
    def leaves(self) -> int:
        """Gaussians of the scene."""
        return int(self.leaf.sum())

    @cached_property
    def depth(self) -> Array:
        """(M,) ancestors of each node."""
        depths = np.zeros(len(self), np.int32)
        _depths(self.parent, depths)
        return depths

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify the tree's Gaussians, and so the tree."""
        return self.gaussians.digest


def build(scene: Gaussians) -> Hierarchy:
    """The hierarchy of a scene of at least one Gaussian.

    >>> from .synthetic import cloud
    >>> tree = build(cloud(100))
    >>> tree.leaves, bool((tree.radius[1:] <= tree.radius[tree.parent[1:]]).all())
    (100, True)
    """
    count = len(scene)
    if not count:
        raise DataError("a hierarchy needs at least one Gaussian; the scene has none.")
    order, codes = _morton(scene.means)
    source = np.full(2 * count, -1, np.int64)
    parent = np.full(2 * count, -1, np.int32)
    nodes = _split(codes, source, parent)
    source, parent = source[:nodes], parent[:nodes]
    skip = np.arange(1, nodes + 1, dtype=np.int32)
    _skips(parent, skip)
    leaf = source >= 0
    index = order[source[leaf]]
    gaussians, low, high = _merged(scene, index, leaf, parent)
    centre = (0.5 * (low + high)).astype(np.float32)
    radius = np.zeros(nodes, np.float32)
    radius[leaf] = REACH * scene.scales[index].max(axis=1)
    extent = (high - low).max(axis=1).astype(np.float32)
    _nest(parent, skip, centre, radius, extent)
    for made in (centre, radius, extent, skip, parent):
        made.flags.writeable = False
    return Hierarchy(gaussians, centre, radius, extent, skip, parent)


def _morton(means: Array) -> tuple[Array, Array]:
    """Order of the means along a Z curve, and their codes in that order."""
    low, high = means.min(axis=0).astype(np.float64), means.max(axis=0).astype(np.float64)
    side = max(float((high - low).max()), 1e-30)
    cells = ((means - low) / side * (2**AXIS_BITS - 1)).astype(np.uint64)
    codes = np.zeros(len(means), np.uint64)
    for bit in range(AXIS_BITS):
        for axis in range(3):
            codes |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    order = np.argsort(codes, kind="stable")
    return order, codes[order].astype(np.int64)


@compiled
def _split(codes: Array, source: Array, parent: Array) -> int:
    """Cut sorted codes into octants until one is left, depth first; returns the number of nodes.

    source: position of a leaf's Gaussian in the order, -1 for inner nodes. Equal codes are cut in eighths.
    """
    lows = np.empty(8 * (AXIS_BITS + 40), np.int64)
    highs, above = np.empty_like(lows), np.empty_like(lows)
    lows[0], highs[0], above[0] = 0, len(codes), -1
    waiting, nodes = 1, 0
    cuts = np.empty(FAN_OUT + 1, np.int64)
    while waiting > 0:
        waiting -= 1
        low, high, up = lows[waiting], highs[waiting], above[waiting]
        node = nodes
        nodes += 1
        parent[node] = up
        if high - low == 1:
            source[node] = low
            continue
        differ = codes[low] ^ codes[high - 1]
        parts = 1
        cuts[0] = low
        if differ == 0:
            parts = min(FAN_OUT, high - low)
            for part in range(1, parts + 1):
                cuts[part] = low + (high - low) * part // parts
        else:
            level = 0
            while differ >> (3 * level + 3) != 0:
                level += 1
            place = low
            while place < high:
                octant = codes[place] >> (3 * level)
                first, last = place, high  # the first code of another octant, by bisection
                while last - first > 1:
                    middle = (first + last) // 2
                    if codes[middle] >> (3 * level) == octant:
                        first = middle
                    else:
                        last = middle
                place = last
                cuts[parts] = place
                parts += 1
            parts -= 1
        for part in range(parts - 1, -1, -1):
            lows[waiting], highs[waiting], above[waiting] = cuts[part], cuts[part + 1], node
            waiting += 1
    return nodes


@compiled
def _skips(parent: Array, skip: Array) -> None:
    for node in range(len(parent) - 1, 0, -1):
        up = parent[node]
        skip[up] = max(skip[up], skip[node])


@compiled
def _depths(parent: Array, depths: Array) -> None:
    for node in range(1, len(parent)):
        depths[node] = depths[parent[node]] + 1


@compiled
def _gather_up(parent: Array, sums: Array) -> None:
    """Add every node's row to its parent's, the lowest first."""
    for node in range(len(parent) - 1, 0, -1):
        up = parent[node]
        for column in range(sums.shape[1]):
            sums[up, column] += sums[node, column]


@compiled
def _boxes_up(parent: Array, low: Array, high: Array) -> None:
    for node in range(len(parent) - 1, 0, -1):
        up = parent[node]
        for axis in range(3):
            low[up, axis] = min(low[up, axis], low[node, axis])
            high[up, axis] = max(high[up, axis], high[node, axis])


@compiled
def _nest(parent: Array, skip: Array, centre: Array, radius: Array, extent: Array) -> None:
    """Grow parents' spheres to hold their children's, and extents to be no less."""
    for node in range(len(parent) - 1, 0, -1):
        up = parent[node]
        away = 0.0
        for axis in range(3):
            away += (np.float64(centre[node, axis]) - np.float64(centre[up, axis])) ** 2
        least = (np.sqrt(away) + np.float64(radius[node])) * NESTED
        if np.float64(radius[up]) < least:
            radius[up] = np.float32(least * NESTED)
        extent[up] = max(extent[up], extent[node])


def surface(scales: Array) -> Array:
    """(N,) surface of ellipsoids of half axes (N, 3), without the factor 4 pi."""
    a, b, c = np.maximum(scales.astype(np.float64), 1e-30).T
    power = SURFACE_POWER
    mean = ((a * b) ** power + (a * c) ** power + (b * c) ** power) / 3.0
    area: Array = mean ** (1.0 / power)
    return area


def covariances(gaussians: Gaussians) -> Array:
    """(N, 3, 3) in world axes, float64."""
    axes = rotations(gaussians.quaternions.astype(np.float64)) * gaussians.scales[:, None, :]
    made: Array = axes @ axes.transpose(0, 2, 1)
    return made


def rotations(quaternions: Array) -> Array:
    """(N, 3, 3) of unit quaternions w x y z; the columns are the rotated axes."""
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternions_of(axes: Array) -> Array:
    """(N, 4) of rotation matrices (N, 3, 3): the largest of four candidates, so none divides by zero."""
    trace = np.einsum("nii->n", axes)
    diagonal = np.einsum("nii->ni", axes)
    squares = np.concatenate([trace[:, None], 2 * diagonal - trace[:, None]], axis=1) + 1.0
    differences = np.stack(
        [axes[:, 2, 1] - axes[:, 1, 2], axes[:, 0, 2] - axes[:, 2, 0], axes[:, 1, 0] - axes[:, 0, 1]], axis=1
    )
    sums = axes + axes.transpose(0, 2, 1)
    table = np.empty((len(axes), 4, 4))  # row: the component taken as certain, scaled by four times itself
    table[:, 0] = np.concatenate([squares[:, :1], differences], axis=1)
    for axis in range(3):
        table[:, axis + 1, 0] = differences[:, axis]
        table[:, axis + 1, 1:] = sums[:, axis]
        table[:, axis + 1, axis + 1] = squares[:, axis + 1]
    best = table[np.arange(len(axes)), squares.argmax(axis=1)]
    made: Array = best / np.linalg.norm(best, axis=1, keepdims=True)
    return made


def _merged(scene: Gaussians, index: Array, leaf: Array, parent: Array) -> tuple[Gaussians, Array, Array]:
    """Gaussians of all nodes, and the box (low, high) of each node's leaves.

    With weights w = opacity x surface of the leaves: mean = sum w m, covariance = sum w (S + m m') - mean
    mean', harmonics = sum w h, all over sum w; opacity = sum w / surface of the merged, at most one.
    """
    nodes, degree = len(leaf), scene.harmonics.shape[1] * 3
    means = scene.means[index].astype(np.float64)
    spread = covariances(scene)[index]
    reach = np.sqrt(np.einsum("nii->ni", spread))
    low, high = np.full((nodes, 3), np.inf), np.full((nodes, 3), -np.inf)
    low[leaf], high[leaf] = means - reach, means + reach
    _boxes_up(parent, low, high)
    weight = (scene.opacities[index] * surface(scene.scales[index]) + 1e-30)[:, None]
    origin = means.mean(axis=0)  # moments about the middle lose fewer digits
    local = means - origin
    second = (spread + local[:, :, None] * local[:, None, :]).reshape(-1, 9)
    colours = scene.harmonics[index].reshape(-1, degree)
    sums = np.zeros((nodes, 13 + degree))
    sums[leaf] = weight * np.concatenate([np.ones_like(weight), local, second, colours], axis=1)
    _gather_up(parent, sums)
    inner = sums[~leaf]
    mass = inner[:, 0]
    inner = inner / mass[:, None]
    mean = inner[:, 1:4]
    covariance = inner[:, 4:13].reshape(-1, 3, 3) - mean[:, :, None] * mean[:, None, :]
    values, axes = np.linalg.eigh(0.5 * (covariance + covariance.transpose(0, 2, 1)))
    axes[:, :, 0] *= np.linalg.det(axes)[:, None]
    scales = np.sqrt(np.maximum(values, 0.0))
    opacity = np.minimum(mass / np.maximum(surface(scales), 1e-30), 1.0)

    def both(own: Array, made: Array) -> Array:
        joined = np.empty((nodes, *own.shape[1:]), np.float32)
        joined[leaf], joined[~leaf] = own[index], made
        return joined

    gaussians = Gaussians(
        both(scene.means, mean + origin),
        both(scene.scales, scales),
        both(scene.quaternions, quaternions_of(axes)),
        both(scene.opacities, opacity),
        both(scene.harmonics, inner[:, 13:].reshape(-1, *scene.harmonics.shape[1:])),
    )
    return gaussians, low, high
