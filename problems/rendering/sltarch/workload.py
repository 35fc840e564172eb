"""What one frame asks of the hardware at one algorithm point: counted by drawing it, kept on disk by digest.

Drawing takes most of a second for a large scene; hundreds of thousands of designs then read the counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ....costmodels.splatting_cores import Raster, Search
from ...digest import code
from ..binning import bin_tiles
from ..counts import cache_folder, counted
from ..frame import blend
from ..projection import project
from ..quality import psnr
from ..sltree import RECORD_BYTES
from .world import World

Array = npt.NDArray[Any]
SUBTILE, TILE = 8, 16
EXACT = 200.0  # dB that stands for a picture without any error


@dataclass(frozen=True)
class Algorithm:
    """An algorithm point: nodes a subtree, whether small ones share a block, pixels of a node that is drawn,
    edge of a pixel group, where its check is taken, frames that a search lasts."""

    subtree: int = 32
    merging: bool = True
    threshold: float = 1.0
    group: int = 1
    check: str = "pixel"
    interval: int = 1


@dataclass(frozen=True, eq=False)
class Drawn:
    """Counts of drawing one frame: Gaussians selected, on the screen, entries of the lists of 16-pixel
    tiles (tiles,), and of the 8-pixel tiles visits, checks, group decisions passed and pixels blended.

    quality: PSNR against exact, dB.
    """

    selected: int
    frustum: int
    projected: int
    coefficients: int
    pixels: int
    lists: Array
    visits: Array
    checks: Array
    passed: Array
    blends: Array
    quality: float

    def raster(self, side: int) -> Raster:
        """What the cores are given."""
        return Raster(self.visits, self.checks, self.passed, self.blends, side)


@dataclass(frozen=True, eq=False)
class Gpu:
    """Counts of the same frame on a GPU after Kerbl et al.: 16-pixel tiles of circles, 32-lane warps."""

    selected: int
    projected: int
    coefficients: int
    pairs: int
    passes: int
    warp_steps: int
    active_steps: int
    pixels: int
    nodes: int
    visited: int
    lane_steps: int
    occupancy: float = field(default=0.0)


def drawn(world: World, point: Algorithm) -> Drawn:
    """Draw the last frame that a search serves, and count; from disk where it was drawn before."""
    key = ["drawn", point.threshold, point.interval, point.group, point.check if point.group > 1 else "pixel"]
    found: Drawn = _kept(world, key, Drawn, lambda: _draw(world, point))
    return found


def _draw(world: World, point: Algorithm) -> dict[str, Any]:
    age = point.interval - 1
    camera = world.at(age)
    scene = world.drawn(world.camera, point.threshold, world.margin(age))
    check = point.check if point.group > 1 else "pixel"
    projected = project(scene, camera)
    lists = bin_tiles(projected, camera, tile=SUBTILE, extent="ellipse")
    frame = blend(scene, camera, projected, lists, group=point.group, check=check, counting=True)
    counts = frame.counts
    assert counts is not None
    # Lanes step once a decision that passes: let through, over the pixels of a group.
    through = counts.significant / max(counts.blends, 1)
    return {
        "selected": len(scene),
        "frustum": counts.frustum,
        "projected": counts.projected,
        "coefficients": counts.coefficients,
        "pixels": counts.pixels,
        "lists": bin_tiles(projected, camera, tile=TILE, extent="ellipse").lengths,
        "visits": counts.tile_visits,
        "checks": counts.tile_checks,
        "passed": counts.tile_blends * (through / point.group**2),
        "blends": counts.tile_blends,
        "quality": min(psnr(frame.image, world.reference(age)), EXACT),
    }


@lru_cache(maxsize=256)
def searched(world: World, subtree: int, merging: bool, threshold: float, interval: int) -> Search:
    """The subtrees that one search streams, over all copies; a search serves `interval` frames."""
    margin = world.margin(interval - 1)
    parts = world.streams(subtree, merging, world.camera, threshold, margin)
    # Copies are searched side by side: level by level, as one queue would hold them.
    order = np.argsort(np.concatenate([np.arange(len(p.blocks)) for p in parts]), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    first = np.cumsum([0, *(len(p.blocks) for p in parts)])
    cause = np.concatenate(
        [np.where(p.cause >= 0, place[first[i] + np.maximum(p.cause, 0)], -1) for i, p in enumerate(parts)]
    )
    visited = np.concatenate([p.visited for p in parts])[order]
    sizes = np.concatenate([p.sizes for p in parts])[order] * RECORD_BYTES
    blocks = np.concatenate([p.blocks for p in parts])[order]
    return Search(visited, sizes, cause[order], blocks, 1.0 / interval)


def on_gpu(world: World, threshold: float) -> Gpu:
    """What a GPU does for the frame at this threshold, pixel by pixel."""
    found: Gpu = _kept(world, ["gpu", threshold], Gpu, lambda: _count_gpu(world, threshold))
    return found


def _count_gpu(world: World, threshold: float) -> dict[str, Any]:
    counts = counted(world.drawn(world.camera, threshold), world.camera, tile=TILE, extent="circle")
    visited, lane_steps = world.gpu_walks(threshold)
    return {
        "selected": counts.gaussians, "projected": counts.projected, "coefficients": counts.coefficients,
        "pairs": counts.pairs, "passes": counts.sort_passes, "warp_steps": counts.warp_steps,
        "active_steps": counts.warp_active_steps, "pixels": counts.pixels, "nodes": world.nodes,
        "visited": visited, "lane_steps": lane_steps, "occupancy": counts.occupancy,
    }  # fmt: skip


def _kept(world: World, key: list[Any], made: Callable[..., Any], make: Callable[[], dict[str, Any]]) -> Any:
    """An object of arrays and numbers from disk, else made and written; a damaged file is made anew."""
    identity = json.dumps([code(made, _draw, _count_gpu), *world.identity, *key])
    path = cache_folder() / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    with suppress(Exception), np.load(path, allow_pickle=False) as file:
        return made(**{n: v.item() if (v := file[n]).ndim == 0 else v for n in file.files})
    fields = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                arrays: dict[str, Any] = {n: np.asarray(v) for n, v in fields.items()}
                np.savez(stream, **arrays)
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    return made(**fields)
