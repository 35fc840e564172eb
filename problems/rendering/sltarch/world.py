"""A scene as a viewer meets it: copies of it on the ground, seen by a turning head.

Copies make a scene of any size from a small one: each is the same hierarchy searched by a camera moved the
other way, so only what is drawn takes memory.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import DataError
from ..cameras import HEAD_RATE, HEAD_SPEED, UP, Camera, orbit
from ..cut import Cut, cut, gpu_walk
from ..gaussians import Gaussians
from ..hierarchy import Hierarchy, build
from ..readers import read_scene
from ..sltree import SLTree, Streamed, partition, stream
from ..synthetic import surface

Array = npt.NDArray[Any]
SPACING = 1.1  # distance of copies over the scene's extent
REFERENCE = 0.25  # pixels: what stands for exact where a scene of many copies is too large to draw whole


class World:
    """A scene, its copies and its cameras; equal only to itself."""

    def __init__(self, scene: Gaussians, camera: Camera, copies: int = 1) -> None:
        self.scene, self.camera, self.copies = scene, camera, copies
        self._partitions: dict[tuple[int, bool], SLTree] = {}
        self._reference: dict[int, Array] = {}

    @cached_property
    def tree(self) -> Hierarchy:
        """The hierarchy of one copy."""
        return build(self.scene)

    @cached_property
    def offsets(self) -> Array:
        """(copies^2, 3) where the copies stand: rows away from the camera, the scene itself in the first."""
        up = np.asarray(UP) / np.linalg.norm(UP)
        away = self.camera.forward - up * (self.camera.forward @ up)
        away = away / max(float(np.linalg.norm(away)), 1e-9)
        across = np.cross(away, up)
        low, high = self.scene.bounds
        pitch = SPACING * float((high - low).max())
        rows, columns = np.divmod(np.arange(self.copies**2), self.copies)
        sides = np.where(columns % 2 == 1, (columns + 1) // 2, -(columns // 2))
        made: Array = pitch * (rows[:, None] * away + sides[:, None] * across)
        return made

    @property
    def nodes(self) -> int:
        """Nodes of the hierarchies of all copies."""
        return len(self.tree) * self.copies**2

    def at(self, age: int) -> Camera:
        """The camera `age` frames after the first: a turning head (HEAD_SPEED, HEAD_RATE)."""
        return self.camera if age == 0 else self.camera.turned(HEAD_SPEED / HEAD_RATE * age)

    def margin(self, age: int) -> float:
        """Pixels that a search must look beyond the picture to last `age` frames."""
        angle = math.radians(HEAD_SPEED / HEAD_RATE * age)
        widest = math.atan(0.5 * self.camera.width / self.camera.focal)
        return math.ceil(self.camera.focal * (math.tan(widest + angle) - math.tan(widest))) if age else 0.0

    def _seen(self, camera: Camera) -> list[Camera]:
        return [replace(camera, position=camera.position - offset) for offset in self.offsets]

    def cuts(self, camera: Camera, threshold: float, margin: float = 0.0) -> list[Cut]:
        """The cut of each copy."""
        return [cut(self.tree, seen, threshold, margin) for seen in self._seen(camera)]

    def streams(
        self, limit: int, merged: bool, camera: Camera, threshold: float, margin: float = 0.0
    ) -> list[Streamed]:
        """The traversal of each copy's subtrees."""
        key = (limit, merged)
        if key not in self._partitions:
            self._partitions[key] = partition(self.tree, limit, merged)
        return [stream(self._partitions[key], seen, threshold, margin) for seen in self._seen(camera)]

    def drawn(self, camera: Camera, threshold: float, margin: float = 0.0) -> Gaussians:
        """The Gaussians of the cuts of all copies, in the world."""
        parts = []
        for offset, found in zip(self.offsets, self.cuts(camera, threshold, margin), strict=True):
            part = self.tree.gaussians.take(found.nodes)
            moved = (part.means + offset).astype(np.float32)
            parts.append(replace(part, means=moved) if offset.any() else part)
        fields = ("means", "scales", "quaternions", "opacities", "harmonics")
        return Gaussians(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields))

    def gpu_walks(self, threshold: float) -> tuple[int, int]:
        """Nodes visited and lane steps taken where the lanes of a GPU walk subtrees of all copies."""
        walks = [gpu_walk(self.tree, seen, threshold) for seen in self._seen(self.camera)]
        return sum(w.visited for w in walks), sum(w.lane_steps for w in walks)

    def reference(self, age: int) -> Array:
        """The exact picture at an age: all leaves in sight; with copies the cut at REFERENCE pixels."""
        from ..frame import render

        if age not in self._reference:
            camera = self.at(age)
            scene = self.scene if self.copies == 1 else self.drawn(camera, REFERENCE)
            self._reference[age] = render(scene, camera).image
        return self._reference[age]

    @cached_property
    def identity(self) -> list[Any]:
        """What tells worlds apart on disk."""
        return [self.scene.digest, self.camera.digest, self.copies]


def framed(
    scene: Gaussians, *, width: int, height: int, distance: float, azimuth: float, elevation: float
) -> Camera:
    """A camera that looks at the middle of a scene from `distance` times its extent, 53 degrees wide."""
    low, high = scene.bounds
    extent = max(float((high - low).max()), 1e-6)
    return orbit(
        tuple(0.5 * (low + high).astype(float)), distance * extent, focal=float(width), width=width,
        height=height, azimuth=azimuth, elevation=elevation,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _scene(path: str | None, stamp: float, gaussians: int) -> Gaussians:
    return surface(gaussians) if path is None else read_scene(path)


@lru_cache(maxsize=8)
def world(
    path: Path | None, gaussians: int, width: int, height: int, distance: float, azimuth: float,
    elevation: float, copies: int,
) -> World:  # fmt: skip
    """The world of some parameters, made once a process; path None: a scene of `gaussians` made in code."""
    stamp = 0.0
    if path is not None:
        try:
            stamp = path.stat().st_mtime
        except OSError:
            stamp = -1.0  # reading it says what is wrong
    scene = _scene(None if path is None else str(path), stamp, gaussians)
    if not len(scene):
        raise DataError(f"the scene '{path}' holds no Gaussian; nothing can be drawn.")
    camera = framed(
        scene, width=width, height=height, distance=distance, azimuth=azimuth, elevation=elevation
    )
    return World(scene, camera, copies)
