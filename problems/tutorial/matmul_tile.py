"""Block tile of one matrix product on a GPU: latency against on-chip memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hardware import Device, device
from ..batch import Batch
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Choice, Int

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BYTES = 2  # of one bf16 number
DEPTH = 32  # of the inner dimension that one stage holds
L2_REUSE = 4  # tiles that share one read from memory


class MatmulTile(Problem):
    """Block tile of one (m, k) x (k, n) product in bf16: latency against shared memory.

    A tile of tile_m x tile_n is computed by one core at a time, in waves over the cores. Large tiles
    and many stages read less and hide more, and take more shared memory.
    """

    m: int = param(4096, help="rows of the product")
    n: int = param(4096, help="columns of the product")
    k: int = param(4096, help="inner dimension")
    device: Device = param(device("a100-sxm-80gb"), help="the GPU")

    tile_m = Int(16, 256, step=16, help="rows of a block's tile")
    tile_n = Int(16, 256, step=16, help="columns of it")
    stages = Int(1, 5, help="tiles loaded ahead")
    layout = Choice("row", "column", help="order of the right matrix in memory")

    latency = Metric("s", "min")
    shared_memory = Metric("B", "min", at_most="shared_memory_limit")
    traffic = Metric("B")

    @property
    def shared_memory_limit(self) -> float:
        """Shared memory of one core, B."""
        return float(self.device.level("shared").capacity)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Roofline of whole waves; a column-major operand reads in shorter runs."""
        cores = float(self.device.cores)
        tiles = np.ceil(self.m / x.tile_m) * np.ceil(self.n / x.tile_n)
        waves = np.ceil(tiles / cores)
        tile_flops = 2.0 * x.tile_m * x.tile_n * self.k
        intensity = x.tile_m * x.tile_n / (x.tile_m + x.tile_n)
        compute = waves * tile_flops / (self.device.peak("bf16") / cores) * (1 + 16 / intensity)
        traffic = tiles * (x.tile_m + x.tile_n) * self.k * BYTES
        strided = np.where(x.layout == "column", 1.3, 1.0)
        load = traffic * strided / self.device.bandwidth / L2_REUSE
        exposed = load / x.stages
        return {
            "latency": np.maximum(compute, load) + exposed + self.device.launch,
            "shared_memory": (x.tile_m + x.tile_n) * DEPTH * BYTES * x.stages,
            "traffic": traffic,
        }

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """The answer and other tiles under the roof of the device."""
        from .figures import roofline

        return {"roofline": roofline(self, point)}
