"""A renderer and its hardware: settings whose work is dear to count, on cores that are cheap to try."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import units
from ...errors import SpaceError
from ..batch import Batch
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Menu

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
WIDTH, HEIGHT = 640, 480
ITEM_BYTES = 32
BLEND_OPERATIONS, SORT_OPERATIONS = 24.0, 9.0
LIMITS = ("all cores", "the fullest tile", "memory")
"""What may hold a frame up."""


def tile_lists(discs: int, scene_seed: int, tile: int, reach: float) -> Array:
    """Discs that touch each tile of the image, (rows, columns): the dear part."""
    rng = np.random.default_rng(scene_seed)
    x, y = rng.normal(0.5, 0.2, (2, discs)) * np.array([[WIDTH], [HEIGHT]])
    radius = rng.lognormal(1.2, 0.7, discs) * reach
    columns, rows = -(-WIDTH // tile), -(-HEIGHT // tile)
    low_x, high_x = (np.clip((x + s * radius) // tile, 0, columns - 1).astype(int) for s in (-1, 1))
    low_y, high_y = (np.clip((y + s * radius) // tile, 0, rows - 1).astype(int) for s in (-1, 1))
    lists = np.zeros((rows + 1, columns + 1))
    np.add.at(lists, (low_y, low_x), 1)
    np.add.at(lists, (low_y, high_x + 1), -1)
    np.add.at(lists, (high_y + 1, low_x), -1)
    np.add.at(lists, (high_y + 1, high_x + 1), 1)
    return lists.cumsum(axis=0).cumsum(axis=1)[:rows, :columns]


@lru_cache(maxsize=4_096)
def count_work(
    discs: int, scene_seed: int, tile: int, reach: float, merge: int
) -> tuple[float, float, float, float]:
    """Entries of the tile lists, blended pixels, the longest list, and the light that `reach` cuts off.

    Equal arguments are counted once a process.
    """
    lists = tile_lists(discs, scene_seed, tile, reach)
    rows, columns = lists.shape
    merged = np.add.reduceat(
        np.add.reduceat(lists, range(0, rows, merge), axis=0), range(0, columns, merge), axis=1
    )
    return (
        float(lists.sum()),
        float(lists.sum()) * tile**2,
        float(merged.max()),
        float(np.exp(-(reach**2) / 2)),
    )


class TwoLevel(Problem):
    """Choose a renderer's tiling and the accelerator it runs on: frame time against area.

    The tiling is marked slow: counting its work takes a pass over the scene, kept for the settings of
    the hardware, thousands of which cost nothing more (`--solver nested`).
    """

    slow = ("tile", "reach", "merge")

    discs: int = param(20_000, help="discs in the scene")
    scene_seed: int = param(0, help="seed of the scene")
    area_limit: float = param(40.0, help="largest area, mm2")

    tile = Menu(4, 8, 16, 32, 64, help="edge of a tile, pixels")
    reach = Menu(1.5, 2.0, 2.5, 3.0, 3.5, help="radii at which a disc is cut off")
    merge = Menu(1, 2, 4, 8, help="edge of the groups of tiles that a core draws, tiles")
    cores = Menu(1, 2, 4, 8, 16, 32, 64, help="cores")
    lanes = Menu(4, 8, 16, 32, help="lanes of a core")
    buffer = Menu(
        *(k * units.KiB for k in (4, 8, 16, 32, 64, 128)), unit="B", help="memory of a core for its lists"
    )
    frequency = Menu(0.4e9, 0.6e9, 0.8e9, 1.0e9, 1.2e9, unit="Hz", help="of the cores")
    bandwidth = Menu(12.8e9, 25.6e9, 51.2e9, 102.4e9, unit="B/s", help="of memory")

    frame = Metric("s", "min")
    area = Metric("1", at_most="area_limit", help="mm2")
    energy = Metric("J")
    loss = Metric("1", at_most=0.05, help="share of light that is cut off")

    def prepare(self) -> None:
        """Check sizes."""
        if self.discs < 1 or not self.area_limit > 0:
            raise SpaceError(
                f"TwoLevel needs discs >= 1 and area_limit > 0, got {self.discs} and {self.area_limit}."
            )

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Count the work of each distinct tiling, then time it on the hardware."""
        parts = self.parts(x)
        frame = np.max([parts[name] for name in LIMITS], axis=0)
        area = x.cores * (0.08 * x.lanes + 0.012 * x.buffer / units.KiB) + x.bandwidth / 6.4e9
        volts = 0.6 + 0.4 * x.frequency / 1e9
        switched = parts["operations"] * 1e-12 + parts["bytes"] * 2e-11
        return {
            "frame": frame,
            "area": area,
            "energy": switched * volts**2 + 0.02 * area * frame,
            "loss": parts["loss"],
        }

    def parts(self, x: Batch) -> dict[str, Array]:
        """What a frame consists of: seconds of each of `LIMITS`, operations, bytes, light lost."""
        tilings, row = np.unique(np.stack([x.tile, x.reach, x.merge], axis=1), axis=0, return_inverse=True)
        counted = [count_work(self.discs, self.scene_seed, int(t), float(r), int(m)) for t, r, m in tilings]
        entries, pixels, longest, loss = np.array(counted)[row.ravel()].T
        rate = x.cores * x.lanes * x.frequency
        sorting = entries * np.log2(np.maximum(longest, 2)) * SORT_OPERATIONS
        compute = (pixels * BLEND_OPERATIONS + sorting) / rate
        slowest = longest * (x.tile * x.merge) ** 2 * BLEND_OPERATIONS / (x.lanes * x.frequency)
        spills = 1 + np.maximum(0.0, longest * ITEM_BYTES / x.buffer - 1) * 0.5
        traffic = entries * ITEM_BYTES * spills + WIDTH * HEIGHT * 4
        return {
            "all cores": compute,
            "the fullest tile": slowest,
            "memory": traffic / x.bandwidth,
            "operations": compute * rate,
            "bytes": traffic,
            "loss": loss,
        }

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Where the work lies in the image, and what hardware makes of it."""
        from .figures import hardware, tiles

        return {"tiles": tiles(self, point), "hardware": hardware(self, point)}
