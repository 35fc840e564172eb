"""The level-of-detail cut of a hierarchy: from the root, a node is drawn once it looks small enough.

After HierGS (Kerbl et al. 2024) and Nebula (arXiv 2512.20495). The projected size is focal x extent over
the distance to the node's sphere. As spheres are nested and extents never grow downwards, a node that is
not entered has no descendant that would be: what one frame decided is a place to start the next from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .cameras import Camera
from .compiled import compiled
from .hierarchy import Hierarchy

Array = npt.NDArray[Any]
OUTSIDE, SMALL, ENTERED = 0, 1, 2
LOW_PASS = 2.0  # pixels that the low-pass filter of 0.3 px^2 adds to a Gaussian's reach, 3.33 x 0.55
LANES = 32
STATIC_SUBTREES = 2_048  # subtrees handed to the lanes of a GPU in one launch, at least


@dataclass(frozen=True, eq=False)
class Cut:
    """What one frame draws.

    nodes: selected nodes, ascending. frontier: selected nodes and those outside the frustum, ascending:
    every leaf is below exactly one of them. visited: nodes tested.
    """

    nodes: Array
    frontier: Array
    visited: int

    def overlap(self, other: Cut) -> float:
        """Share of this cut's nodes that the other cut has too.

        >>> one, two = (Cut(np.array(n), np.array(n), 3) for n in ([1, 2, 5], [1, 2, 3, 4]))
        >>> round(one.overlap(two), 3)
        0.667
        """
        if not len(self.nodes):
            return 1.0
        return float(np.isin(self.nodes, other.nodes, assume_unique=True).mean())


def view(camera: Camera, margin: float = 0.0) -> Array:
    """What the test of a node reads, (29,): rotation, position, four unit planes, focal length, near.

    margin: pixels by which the frustum is wider than the picture on every side.
    """
    across, along = camera.principal
    wide = margin + LOW_PASS
    planes = np.array(
        [
            [camera.focal, 0.0, across + wide],
            [-camera.focal, 0.0, camera.width - across + wide],
            [0.0, camera.focal_y, along + wide],
            [0.0, -camera.focal_y, camera.height - along + wide],
        ]
    )
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    focal = max(camera.focal, camera.focal_y)
    return np.concatenate([camera.rotation.ravel(), camera.position, planes.ravel(), [focal, camera.near]])


def checked(threshold: float) -> float:
    """The threshold in pixels; DataError where it is negative or no number."""
    if not (np.isfinite(threshold) and threshold >= 0):
        raise DataError(f"a level-of-detail threshold must be a number of pixels >= 0, got {threshold!r}.")
    return float(threshold)


@compiled
def judge(centre: Array, radius: float, extent: float, seen: Array, threshold: float) -> int:
    """OUTSIDE the frustum, SMALL on the screen, or ENTERED; `seen` as `view` makes it."""
    x0, y0, z0 = centre[0] - seen[9], centre[1] - seen[10], centre[2] - seen[11]
    x = seen[0] * x0 + seen[1] * y0 + seen[2] * z0
    y = seen[3] * x0 + seen[4] * y0 + seen[5] * z0
    z = seen[6] * x0 + seen[7] * y0 + seen[8] * z0
    near = seen[25]
    if z + radius <= near:
        return OUTSIDE
    for plane in range(4):
        at = 12 + 3 * plane
        if seen[at] * x + seen[at + 1] * y + seen[at + 2] * z < -radius:
            return OUTSIDE
    distance = max(np.sqrt(x * x + y * y + z * z) - radius, near)
    if seen[24] * extent < threshold * distance:
        return SMALL
    return ENTERED


def cut(tree: Hierarchy, camera: Camera, threshold: float, margin: float = 0.0) -> Cut:
    """The cut of one frame by a walk from the root; threshold 0 draws every leaf in sight.

    threshold: pixels. margin: pixels of frustum beyond the picture.
    """
    frontier = np.empty(tree.leaves, np.int32)
    selected = np.empty(tree.leaves, np.bool_)
    found, visited = _walk(
        tree.centre, tree.radius, tree.extent, tree.skip, view(camera, margin), checked(threshold),
        0, len(tree), frontier, selected, 0,
    )  # fmt: skip
    return _made(frontier[:found], selected[:found], visited)


def updated(tree: Hierarchy, before: Cut, camera: Camera, threshold: float, margin: float = 0.0) -> Cut:
    """The cut that `cut` gives, begun from another frame's: parents are tested, not the way from the root."""
    frontier = np.empty(tree.leaves, np.int32)
    selected = np.empty(tree.leaves, np.bool_)
    found, visited = _update(
        tree.centre, tree.radius, tree.extent, tree.skip, tree.parent, before.frontier,
        view(camera, margin), checked(threshold), frontier, selected,
    )  # fmt: skip
    return _made(frontier[:found], selected[:found], visited)


def _made(frontier: Array, selected: Array, visited: int) -> Cut:
    nodes, frontier = frontier[selected].copy(), frontier.copy()
    nodes.flags.writeable = frontier.flags.writeable = False
    return Cut(nodes, frontier, int(visited))


@compiled
def _walk(
    centre: Array, radius: Array, extent: Array, skip: Array, seen: Array, threshold: float,
    first: int, last: int, frontier: Array, selected: Array, found: int,
) -> tuple[int, int]:  # fmt: skip
    """Walk nodes [first, last); append to the frontier. Returns its new length, and nodes tested."""
    visited, node = 0, first
    while node < last:
        visited += 1
        state = judge(centre[node], radius[node], extent[node], seen, threshold)
        if state == ENTERED and skip[node] > node + 1:
            node += 1
            continue
        frontier[found] = node
        selected[found] = state != OUTSIDE
        found += 1
        node = skip[node]
    return found, visited


@compiled
def _update(
    centre: Array, radius: Array, extent: Array, skip: Array, parent: Array, before: Array,
    seen: Array, threshold: float, frontier: Array, selected: Array,
) -> tuple[int, int]:  # fmt: skip
    known = np.full(len(skip), -1, np.int8)  # verdict on inner nodes of this frame
    visited, found, covered = 0, 0, 0
    for place in range(len(before)):
        node = before[place]
        if node < covered:
            continue
        top = node
        while parent[top] >= 0:
            up = parent[top]
            if known[up] < 0:
                known[up] = judge(centre[up], radius[up], extent[up], seen, threshold)
                visited += 1
            if known[up] == ENTERED:
                break
            top = up
        covered = skip[top]
        if top != node:
            frontier[found] = top
            selected[found] = known[top] != OUTSIDE
            found += 1
            continue
        found, more = _walk(
            centre, radius, extent, skip, seen, threshold, node, covered, frontier, selected, found
        )
        visited += more
    return found, visited


@dataclass(frozen=True)
class GpuWalk:
    """A walk on a GPU, one subtree a lane: nodes visited, warp steps x lanes, their ratio, subtrees."""

    visited: int
    lane_steps: int
    subtrees: int

    @property
    def occupancy(self) -> float:
        """Share of lane steps that test a node."""
        return self.visited / max(self.lane_steps, 1)


def gpu_walk(tree: Hierarchy, camera: Camera, threshold: float) -> GpuWalk:
    """How a static assignment of subtrees to lanes fills the warps of a GPU.

    The subtrees hang at the least depth that has STATIC_SUBTREES of them, or at the deepest such level;
    consecutive ones share a warp, which lasts as long as its longest walk.
    """
    seen = np.zeros(len(tree), np.int64)
    _visits(tree.centre, tree.radius, tree.extent, tree.skip, view(camera), checked(threshold), seen)
    depth = tree.depth
    sizes = np.bincount(depth)
    reached = np.flatnonzero(sizes >= STATIC_SUBTREES)
    level = int(reached[0]) if len(reached) else int(sizes.argmax())
    roots = np.flatnonzero(depth == level)
    total = np.concatenate([[0], np.cumsum(seen)])
    work = total[tree.skip[roots]] - total[roots]
    work = np.pad(work, (0, -len(work) % LANES)).reshape(-1, LANES)
    above = int(seen[depth < level].sum())  # the top levels are tested by full warps
    return GpuWalk(int(seen.sum()), int(work.max(axis=1).sum()) * LANES + above, len(roots))


@compiled
def _visits(
    centre: Array, radius: Array, extent: Array, skip: Array, seen: Array, threshold: float, visits: Array
) -> None:
    node = 0
    while node < len(skip):
        visits[node] = 1
        if judge(centre[node], radius[node], extent[node], seen, threshold) == ENTERED:
            node += 1
        else:
            node = skip[node]
