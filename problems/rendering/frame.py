"""Rendering a frame: project, sort, bin into tiles, blend front to back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from . import counting as tallies
from .binning import TileLists, bin_tiles
from .blending import blend_tiles
from .cameras import Camera
from .counting import CHECKS, TALLIES, count_tiles
from .counts import FrameCounts
from .gaussians import Gaussians
from .projection import Projected, project

Array = npt.NDArray[Any]
GROUPS = (1, 2, 4)
Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Frame:
    """A rendered frame: image (h, w, 3) float32, linear as trained (nominally 0 to 1); transmittance
    (h, w), the share of the background seen; counts, where they were asked for."""

    image: Array
    transmittance: Array
    counts: FrameCounts | None = None


def render(
    scene: Gaussians,
    camera: Camera,
    *,
    tile: int = 16,
    extent: str = "ellipse",
    group: int = 1,
    check: str = "pixel",
    counting: bool = False,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    threads: int = 1,
    progress: Progress | None = None,
) -> Frame:
    """A frame of a scene.

    tile: edge in pixels; extent: which tiles a Gaussian is listed in (`binning`); group, check: edge of
    the pixel groups that share a decision, and where it is taken (`counting`); counting: return
    FrameCounts too; progress: called with the fraction done. The result does not depend on `threads`.

    Raises DataError for options out of range, and for frames beyond the bound on memory.
    """
    if group not in GROUPS:
        raise DataError(f"group must be one of {GROUPS}, got {group!r}.")
    if check not in CHECKS:
        raise DataError(f"check must be one of {', '.join(CHECKS)}, got {check!r}.")
    if check == "pixel" and group > 1:
        raise DataError(f"check 'pixel' decides for each pixel alone; with group={group} choose centre, "
                        "leader or any.")  # fmt: skip
    projected = project(scene, camera)
    lists = bin_tiles(projected, camera, tile=tile, extent=extent)
    return blend(scene, camera, projected, lists, group=group, check=check, counting=counting,
                 background=background, threads=threads, progress=progress)  # fmt: skip


def blend(
    scene: Gaussians,
    camera: Camera,
    projected: Projected,
    lists: TileLists,
    *,
    extent: str = "ellipse",
    group: int = 1,
    check: str = "pixel",
    counting: bool = False,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    threads: int = 1,
    progress: Progress | None = None,
) -> Frame:
    """A frame from a projection and tile lists, which may be another frame's (reused, predicted)."""
    shape = (camera.height, camera.width)
    image, transmittance = np.empty((*shape, 3), np.float32), np.empty(shape, np.float32)
    behind = np.asarray(background, np.float32)
    if behind.shape != (3,) or not np.isfinite(behind).all():
        raise DataError(f"background must be three finite numbers, got {background!r}.")
    tiles = lists.columns * lists.rows
    tally = np.zeros((tiles if counting else 0, TALLIES), np.int64)
    shared = (lists.start, lists.members, projected.splats, lists.columns, lists.tile)
    grouped = counting or group > 1
    if grouped and not counting:
        tally = np.zeros((tiles, TALLIES), np.int64)

    def work(first: int, last: int) -> None:
        if grouped:
            count_tiles(first, last, *shared, group, CHECKS.index(check), behind, image, transmittance, tally)
        else:
            blend_tiles(first, last, *shared, behind, image, transmittance)

    _spread(work, lists.start, threads, progress)
    counts = None
    if counting:
        counts = _counts(scene, camera, projected, lists, extent, group, check, tally)
    return Frame(image, transmittance, counts)


def _spread(work: Callable[[int, int], None], start: Array, threads: int, progress: Progress | None) -> None:
    """Tiles in ranges of about equal pairs, over threads."""
    tiles = len(start) - 1
    parts = 1 if threads == 1 and progress is None else min(tiles, 16 * threads)
    marks = np.searchsorted(start + np.arange(tiles + 1), np.linspace(0, start[-1] + tiles, parts + 1))
    marks[0], marks[-1] = 0, tiles
    ranges = [(int(a), int(b)) for a, b in pairwise(marks) if b > a]
    if threads == 1:
        for done, (a, b) in enumerate(ranges):
            work(a, b)
            if progress is not None:
                progress((done + 1) / len(ranges))
        return
    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(lambda r: work(*r), ranges)):
            if progress is not None:
                progress((done + 1) / len(ranges))


def _counts(
    scene: Gaussians, camera: Camera, projected: Projected, lists: TileLists, extent: str, group: int,
    check: str, tally: Array,
) -> FrameCounts:  # fmt: skip
    total = tally.sum(axis=0)
    each = group * group if check == "any" else 1
    tile_checks = tally[:, tallies.SLOTS] * each
    slots = {2: total[tallies.SLOTS_2], 4: total[tallies.SLOTS_4]}
    mixed = {2: total[tallies.MIXED_2], 4: total[tallies.MIXED_4]}
    passed = {2: total[tallies.PASSED_2], 4: total[tallies.PASSED_4]}
    return FrameCounts(
        width=camera.width,
        height=camera.height,
        tile=lists.tile,
        extent=extent,
        group=group,
        check=check,
        gaussians=len(scene),
        coefficients=scene.harmonics.shape[1],
        frustum=projected.frustum,
        projected=len(projected),
        pairs=lists.pairs,
        checks=int(tile_checks.sum()),
        significant=int(total[tallies.SIGNIFICANT]),
        blends=int(total[tallies.BLENDS]),
        early_stopped=int(total[tallies.STOPPED]),
        groups_unanimous={g: int(slots[g] - mixed[g]) for g in slots},
        groups_mixed={g: int(mixed[g]) for g in mixed},
        groups_passed={g: int(passed[g]) for g in passed},
        warp_steps=int(total[tallies.WARP_STEPS]),
        warp_active_steps=int(total[tallies.WARP_ACTIVE]),
        tile_pairs=lists.lengths,
        tile_visits=tally[:, tallies.VISITS].copy(),
        tile_checks=tile_checks,
        tile_blends=tally[:, tallies.BLENDS].copy(),
    )
