"""A hierarchy cut into subtrees of bounded size, each one contiguous block that is streamed, not chased.

After SLTarch (arXiv 2507.21499), reconstructed from its abstract. A subtree takes nodes breadth first
until the limit; nodes left out are roots of further subtrees, and small subtrees below the same subtree
share a block. Inside a block nodes lie depth first, so that one offset skips all descendants of a node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .cameras import Camera
from .compiled import compiled
from .cut import ENTERED, OUTSIDE, checked, judge, view
from .hierarchy import Hierarchy

Array = npt.NDArray[Any]
RECORD_BYTES = 28  # centre 12, radius 4, extent 4, Gaussian 4, link with skip and last-child bits 4
SMALLEST, LARGEST = 2, 1 << 16


@dataclass(frozen=True, eq=False)
class SLTree:
    """B blocks of R root subtrees over the M nodes of `tree`.

    order (M,): nodes in layout order. block (B + 1,): where each block begins. skip (M,): place after the
    descendants that lie in the same root subtree. root (R + 1,): where each root subtree begins.
    block_roots (B + 1,): first root of each block. links (M + 1,): roots [links[p], links[p + 1]) hang
    below the node at place p, in `linked` (R - 1,). home (R,): block of a root.
    """

    tree: Hierarchy
    limit: int
    merged: bool
    order: Array
    block: Array
    skip: Array
    root: Array
    block_roots: Array
    links: Array
    linked: Array
    home: Array

    def __len__(self) -> int:
        return len(self.block) - 1

    @property
    def sizes(self) -> Array:
        """(B,) nodes of each block."""
        sizes: Array = np.diff(self.block)
        return sizes

    @property
    def fill(self) -> float:
        """Mean share of the limit that a block fills."""
        return float(self.sizes.mean() / self.limit)


@dataclass(frozen=True, eq=False)
class Streamed:
    """One frame's traversal, blocks in the order of the queue.

    nodes: the cut, ascending. blocks (T,): blocks streamed. visited (T,): nodes tested in each. sizes (T,):
    nodes in each. cause (T,): place in `blocks` of the block that asked for it first, -1 for the first.
    """

    nodes: Array
    blocks: Array
    visited: Array
    sizes: Array
    cause: Array

    @property
    def bytes(self) -> int:
        """Bytes streamed: whole blocks."""
        return int(self.sizes.sum()) * RECORD_BYTES


def partition(tree: Hierarchy, limit: int, merged: bool = True) -> SLTree:
    """Cut a hierarchy into subtrees of at most `limit` nodes; merged: small neighbours share a block."""
    if int(limit) != limit or not SMALLEST <= limit <= LARGEST:
        raise DataError(f"a subtree must hold {SMALLEST} to {LARGEST:,} nodes, got {limit!r}.")
    count = len(tree)
    subtree = np.empty(count, np.int32)
    roots = np.empty(count, np.int32)
    above = np.empty(count, np.int32)  # subtree that a root hangs below
    found = _assign(tree.skip, limit, subtree, roots, above)
    roots, above = roots[:found], above[:found]
    # Number roots so that those below one subtree, and below one of its nodes, are consecutive.
    rank = np.lexsort((roots, tree.parent[roots], above))
    number = np.empty(found, np.int32)
    number[rank] = np.arange(found)
    roots, above = roots[rank], number[above[rank]]
    subtree = number[subtree]
    size = np.bincount(subtree, minlength=found)
    home = np.empty(found, np.int32)
    blocks = _pack(above, size, limit if merged else 0, home)
    order = np.lexsort((np.arange(count), subtree)).astype(np.int32)
    root = np.concatenate([[0], np.cumsum(size)])
    block_roots = np.searchsorted(home, np.arange(blocks + 1))
    skip = np.empty(count, np.int32)
    _skips(order, tree.skip, root, skip)
    place = np.empty(count, np.int32)
    place[order] = np.arange(count)
    hanging = place[tree.parent[roots[1:]]]  # the first root is the hierarchy's own
    linked = (np.argsort(hanging, kind="stable") + 1).astype(np.int32)
    links = np.searchsorted(hanging[linked - 1], np.arange(count + 1))
    return SLTree(
        tree, int(limit), merged, order, root[block_roots], skip, root, block_roots, links, linked, home
    )


@compiled
def _assign(skip: Array, limit: int, subtree: Array, roots: Array, above: Array) -> int:
    """Give every node a subtree, breadth first from each root; returns the number of roots."""
    waiting = np.empty(len(skip), np.int32)
    roots[0], above[0] = 0, 0
    found, current = 1, 0
    while current < found:
        waiting[0] = roots[current]
        head, tail = 0, 1
        while head < tail and head < limit:
            node = waiting[head]
            head += 1
            subtree[node] = current
            child = node + 1
            while child < skip[node]:
                waiting[tail] = child
                tail += 1
                child = skip[child]
        for left in range(head, tail):
            roots[found], above[found] = waiting[left], current
            found += 1
        current += 1
    return found


@compiled
def _pack(above: Array, size: Array, limit: int, home: Array) -> int:
    """Put consecutive roots below one subtree into one block while they fit; returns the blocks."""
    blocks, held = 0, 0
    for root in range(len(above)):
        if root == 0 or root == 1 or above[root] != above[root - 1] or held + size[root] > limit:
            blocks += 1
            held = 0
        held += size[root]
        home[root] = blocks - 1
    return blocks


@compiled
def _skips(order: Array, node_skip: Array, root: Array, skip: Array) -> None:
    """The place after a node's descendants within its root subtree, by a stack of open nodes."""
    for tree in range(len(root) - 1):
        for place in range(root[tree + 1] - 1, root[tree] - 1, -1):
            after = place + 1
            while after < root[tree + 1] and order[after] < node_skip[order[place]]:
                after = skip[after]
            skip[place] = after


def stream(forest: SLTree, camera: Camera, threshold: float, margin: float = 0.0) -> Streamed:
    """The cut of one frame, block by block from a queue: the same nodes as `cut.cut`."""
    tree, blocks = forest.tree, len(forest)
    queue, visited, cause = (np.empty(blocks, np.int32) for _ in range(3))
    selected = np.empty(tree.leaves, np.int32)
    touched, found = _stream(
        forest.order, forest.skip, forest.root, forest.block_roots, forest.links, forest.linked, forest.home,
        tree.centre, tree.radius, tree.extent, tree.skip, view(camera, margin), checked(threshold),
        queue, visited, cause, selected,
    )  # fmt: skip
    chosen = queue[:touched].copy()
    return Streamed(
        np.sort(selected[:found]),
        chosen,
        visited[:touched].copy(),
        forest.sizes[chosen],
        cause[:touched].copy(),
    )


@compiled
def _stream(
    order: Array, skip: Array, root: Array, block_roots: Array, links: Array, linked: Array, home: Array,
    centre: Array, radius: Array, extent: Array, node_skip: Array, seen: Array, threshold: float,
    queue: Array, visited: Array, cause: Array, selected: Array,
) -> tuple[int, int]:  # fmt: skip
    """Blocks streamed, nodes selected."""
    wanted = np.zeros(len(home), np.bool_)
    queued = np.zeros(len(block_roots) - 1, np.bool_)
    wanted[0], queued[0] = True, True
    queue[0], cause[0] = 0, -1
    head, tail, found = 0, 1, 0
    while head < tail:
        block, tests = queue[head], 0
        for own in range(block_roots[block], block_roots[block + 1]):
            if not wanted[own]:
                continue
            place = root[own]
            while place < root[own + 1]:
                node = order[place]
                tests += 1
                state = judge(centre[node], radius[node], extent[node], seen, threshold)
                if state == ENTERED and node_skip[node] > node + 1:
                    for link in range(links[place], links[place + 1]):
                        below = linked[link]
                        wanted[below] = True
                        if not queued[home[below]]:
                            queued[home[below]] = True
                            queue[tail], cause[tail] = home[below], head
                            tail += 1
                    place += 1
                    continue
                if state != OUTSIDE:
                    selected[found] = node
                    found += 1
                place = skip[place]
        visited[head] = tests
        head += 1
    return tail, found
