"""What rendering a frame took: exact counts, the traffic they mean, and a cache of them on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import folders
from ...arrays import members
from ..digest import code
from .cameras import Camera
from .gaussians import Gaussians

Array = npt.NDArray[Any]
RADIX_BITS = 8  # a digit of the GPU's radix sort


@dataclass(frozen=True)
class Traffic:
    """DRAM bytes of a frame by stream."""

    gaussian_read: float
    feature_write: float
    feature_read: float
    key_write: float
    key_read: float
    pixel_write: float

    @property
    def total(self) -> float:
        """All streams together."""
        return float(sum(asdict(self).values()))


@dataclass(frozen=True, eq=False)
class FrameCounts:
    """Work of one frame at one algorithm point (tile, extent, group, check).

    gaussians: of the scene; coefficients: of its colour (1 to 16, each three numbers); frustum: beyond the
    near plane; projected: that reach the screen; pairs: entries of all tile lists.
    checks: evaluations of alpha against 1/255, each pixel (each group: one; each of its pixels under
    `any`) with every entry of its tile's list until it is finished; significant: pixels that a check let
    through; blends: those blended (significant less early_stopped); early_stopped: pixels finished early.
    groups_unanimous, groups_mixed, groups_passed by edge 2 and 4: group steps in which the checks of all
    unfinished pixels agree, do not, and let any through (these are of exact blending when group = 1).
    warp_steps: steps of 32-lane warps; warp_active_steps: those in which a lane blends.
    By tile (row by row): tile_pairs, tile_visits (entries until the last pixel is finished), tile_checks,
    tile_blends.
    """

    width: int
    height: int
    tile: int
    extent: str
    group: int
    check: str
    gaussians: int
    coefficients: int
    frustum: int
    projected: int
    pairs: int
    checks: int
    significant: int
    blends: int
    early_stopped: int
    groups_unanimous: dict[int, int]
    groups_mixed: dict[int, int]
    groups_passed: dict[int, int]
    warp_steps: int
    warp_active_steps: int
    tile_pairs: Array
    tile_visits: Array
    tile_checks: Array
    tile_blends: Array

    @property
    def pixels(self) -> int:
        """Of the frame."""
        return self.width * self.height

    @property
    def tiles(self) -> int:
        """Of the frame."""
        return len(self.tile_pairs)

    @property
    def pairs_per_tile(self) -> Array:
        """Length of each tile's list, (tiles,)."""
        return self.tile_pairs

    @property
    def visits(self) -> int:
        """List entries that tiles read until their last pixel is finished."""
        return int(self.tile_visits.sum())

    @property
    def active_lanes(self) -> int:
        """Lanes that blend, summed over active warp steps: every blend is one."""
        return self.blends

    @property
    def sort_keys(self) -> int:
        """Keys of the sort by tile and depth: one a pair."""
        return self.pairs

    @property
    def sort_passes(self) -> int:
        """Passes of 8 bits over a key of 32 bits of depth and the bits of the tile's number."""
        bits = 32 + max(1, (self.tiles - 1).bit_length())
        return -(-bits // RADIX_BITS)

    @property
    def wasted(self) -> float:
        """Share of checks whose alpha is below 1/255 (of exact blending)."""
        return 1.0 - self.significant / max(self.checks, 1)

    @property
    def occupancy(self) -> float:
        """Share of lanes that blend in warp steps where any does."""
        return self.blends / max(32 * self.warp_active_steps, 1)

    def traffic(
        self, *, position: float = 12, shape: float = 32, coefficient: float = 12, feature: float = 44,
        identifier: float = 4, key: float = 12, pixel: float = 12,
    ) -> Traffic:  # fmt: skip
        """DRAM bytes by stream, from the bytes of each record.

        Every position is read; scales, rotation and opacity of those beyond the near plane; colour of
        those that reach the screen, which are written as features (centre, depth, conic, opacity, colour,
        radius). A key of 8 bytes with 4 of payload is written once and read and written once a pass.
        A tile reads identifier and feature of each entry it visits. Pixels leave as three floats.
        """
        return Traffic(
            gaussian_read=position * self.gaussians + shape * self.frustum
            + coefficient * self.coefficients * self.projected,
            feature_write=feature * self.projected,
            feature_read=(identifier + feature) * self.visits,
            key_write=key * self.pairs * (1 + self.sort_passes),
            key_read=key * self.pairs * self.sort_passes,
            pixel_write=pixel * self.pixels,
        )  # fmt: skip

    @property
    def dram(self) -> Traffic:
        """DRAM bytes by stream with the records of Kerbl et al.'s kernels (float32)."""
        return self.traffic()

    def record(self) -> dict[str, Any]:
        """Plain data of the totals (arrays left out), for JSON and tables."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("tile_")}
        derived = ("visits", "active_lanes", "sort_keys", "sort_passes", "wasted", "occupancy")
        return {**plain, **{name: getattr(self, name) for name in derived}, "dram": asdict(self.dram)}

    def save(self, path: Path) -> None:
        """Write to an .npz file, at once or not at all."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name.startswith("tile_")}
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in arrays}
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, plain=np.frombuffer(json.dumps(plain).encode(), np.uint8), **arrays)
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise

    @classmethod
    def load(cls, path: Path) -> FrameCounts:
        """Read what `save` wrote; ValueError or KeyError where the file is damaged."""
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = members(file)
        plain = json.loads(arrays.pop("plain").tobytes())
        for name, value in plain.items():
            if isinstance(value, dict):
                plain[name] = {int(k): v for k, v in value.items()}
        return cls(**plain, **arrays)


def cache_folder() -> Path:
    """Where counts are kept: $TRADESPACE_CACHE, else the user's cache folder."""
    return folders.cache_folder("rendering")


def counted(scene: Gaussians, camera: Camera, **point: Any) -> FrameCounts:
    """Counts of a frame, rendered once for each scene, camera and algorithm point; later read from disk.

    point: tile, extent, group, check as of `frame.render`. Where the cache cannot be written the counts
    are computed all the same.
    """
    from .frame import render

    path = cache_folder() / f"{cache_key(counted, scene, camera, point)}.npz"
    with suppress(Exception):  # missing, damaged or of another version: made anew
        return FrameCounts.load(path)
    counts = render(scene, camera, counting=True, **point).counts
    assert counts is not None
    with suppress(OSError):
        counts.save(path)
    return counts


def cache_key(what: Callable[..., Any], scene: Gaussians, camera: Camera, point: Mapping[str, Any]) -> str:
    """Name of a kept result: of which function and all code behind it, scene, camera and algorithm point."""
    identity = [what.__name__, code(what), scene.digest, camera.digest, sorted(point.items())]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
