"""A cut that carries its decisions from frame to frame, and tests only nodes that a move may have changed.

Each decision is kept with its slack: how far its inequalities are from turning. A camera that moves by d and
turns by a moves a point at distance r by at most d + a r in its own axes, so a decision whose slack is more
than that stands, and the cut is the one that a fresh search would give. After Nebula's reuse of cuts (arXiv
2512.20495); the bound is ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .cameras import Camera
from .compiled import compiled
from .cut import ENTERED, OUTSIDE, SMALL, Cut, checked, view
from .hierarchy import Hierarchy

Array = npt.NDArray[Any]
UNKNOWN = -1
# Of a node at its last test: how far the camera had moved and turned in all, the node's distance, and its
# slack against moves alone (its size) and against moves and turns (the frustum).
MOVED, TURNED, DISTANCE, SIZE_SLACK, FRUSTUM_SLACK = range(5)
ROUNDING = 1e-9  # share of a distance that float64 may lose


class KeptCut:
    """The cut of one hierarchy at one threshold, frame after frame.

    tested (M,): whether the last frame tested a node; seen: nodes that its search passed, tested or not.
    """

    def __init__(self, tree: Hierarchy, threshold: float, margin: float = 0.0) -> None:
        self.tree, self.threshold, self.margin = tree, checked(threshold), margin
        self.tested = np.zeros(len(tree), np.bool_)
        self.seen = 0
        self._verdict = np.full(len(tree), UNKNOWN, np.int8)
        self._last = np.zeros((len(tree), 5))
        self._camera: Camera | None = None
        self._moved = self._turned = 0.0

    def step(self, camera: Camera) -> Cut:
        """The cut of the next frame, the same as `cut.cut`; its `visited` are the nodes tested."""
        before = self._camera
        if before is not None:
            if view(before, self.margin)[12:].tolist() != view(camera, self.margin)[12:].tolist():
                raise DataError("a kept cut needs the same lens and picture from frame to frame.")
            self._moved += float(np.linalg.norm(camera.position - before.position))
            self._turned += _angle(before.rotation, camera.rotation)
        self._camera = camera
        tree = self.tree
        self.tested[:] = False
        frontier = np.empty(tree.leaves, np.int32)
        selected = np.empty(tree.leaves, np.bool_)
        found, self.seen = _step(
            tree.centre, tree.radius, tree.extent, tree.skip, view(camera, self.margin), self.threshold,
            self._moved, self._turned, self._verdict, self._last, self.tested, frontier, selected,
        )  # fmt: skip
        nodes, frontier = frontier[:found][selected[:found]], frontier[:found].copy()
        nodes.flags.writeable = frontier.flags.writeable = False
        return Cut(nodes, frontier, int(self.tested.sum()))


def _angle(a: Array, b: Array) -> float:
    """Radians between two rotations, by the distance of their axes, which is exact for small angles."""
    return float(2.0 * np.arcsin(min(1.0, np.linalg.norm(a - b) / (2.0 * np.sqrt(2.0)))))


@compiled
def _step(
    centre: Array, radius: Array, extent: Array, skip: Array, seen: Array, threshold: float,
    moved: float, turned: float, verdict: Array, last: Array, tested: Array, frontier: Array, selected: Array,
) -> tuple[int, int]:  # fmt: skip
    """Walk from the root, testing where the slack is used up. Returns frontier nodes, and nodes passed."""
    found, passed, node = 0, 0, 0
    while node < len(skip):
        passed += 1
        kept = verdict[node] != UNKNOWN
        if kept:
            far = moved - last[node, MOVED]
            swept = far + (turned - last[node, TURNED]) * (last[node, DISTANCE] + far)
            lost = ROUNDING * (last[node, DISTANCE] + far + radius[node])
            kept = far + lost < last[node, SIZE_SLACK] and swept + lost < last[node, FRUSTUM_SLACK]
        if not kept:
            tested[node] = True
            last[node, MOVED], last[node, TURNED] = moved, turned
            verdict[node] = _judge(centre[node], radius[node], extent[node], seen, threshold, last[node])
        state = verdict[node]
        if state == ENTERED and skip[node] > node + 1:
            node += 1
            continue
        frontier[found] = node
        selected[found] = state != OUTSIDE
        found += 1
        node = skip[node]
    return found, passed


@compiled
def _judge(centre: Array, radius: float, extent: float, seen: Array, threshold: float, last: Array) -> int:
    """`cut.judge`, and its slacks into `last`."""
    x0, y0, z0 = centre[0] - seen[9], centre[1] - seen[10], centre[2] - seen[11]
    x = seen[0] * x0 + seen[1] * y0 + seen[2] * z0
    y = seen[3] * x0 + seen[4] * y0 + seen[5] * z0
    z = seen[6] * x0 + seen[7] * y0 + seen[8] * z0
    near = seen[25]
    distance = np.sqrt(x * x + y * y + z * z)
    last[DISTANCE] = distance
    inside = z + radius - near  # the least that the node reaches into the frustum, over all planes
    out = z + radius <= near
    for plane in range(4):
        at = 12 + 3 * plane
        reach = seen[at] * x + seen[at + 1] * y + seen[at + 2] * z + radius
        inside = min(inside, reach)
        out = out or reach < 0.0
    last[FRUSTUM_SLACK] = abs(inside)  # a node outside stays so while the plane it is farthest beyond holds
    last[SIZE_SLACK] = np.inf
    if out:
        return OUTSIDE
    clear = max(distance - radius, near)
    if seen[24] * extent < threshold * clear:
        # Small while focal x extent < threshold x (clear - move); at the near plane it cannot come closer.
        if threshold > 0.0 and seen[24] * extent >= threshold * near:
            last[SIZE_SLACK] = clear - seen[24] * extent / threshold
        return SMALL
    if threshold > 0.0:
        last[SIZE_SLACK] = seen[24] * extent / threshold - (distance - radius)
    return ENTERED
