"""Matrix products on tiled processors: output tiles in waves over the cores, L2, launch, p-norm.

For tiles (tm, tn) and k split s ways, blocks = batch ceil(m/tm) ceil(n/tn) s run in
waves = ceil(blocks / cores); a wave lasts 2 tm tn k_s / (peak/cores efficiency(tm, tn)) + tile. The
smallest over the menu plays the library's heuristic. efficiency = E I / (I + ramp) with the tile's
intensity I = tm tn / (tm + tn). Memory: bytes (miss / (dram BW) + (1 - miss) / (l2 BW)).
time = launch + (compute^p + memory^p)^(1/p). Tile and wave quantisation: NVIDIA matmul guide.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..hardware.record import Device
from .cost import Array, Number
from .evaluate import misses

TILES: tuple[tuple[int, int], ...] = (
    (16, 64), (32, 64), (32, 128), (64, 64), (64, 128), (128, 64), (128, 128), (64, 256), (128, 256),
    (256, 128),
)  # fmt: skip
SPLITS: tuple[int, ...] = (1, 2, 4, 8)
DEPTH = 32.0


def compute_time(
    device: Device, dtype: str, m: Number, n: Number, k: Number, batch: Number, c: Mapping[str, float]
) -> Array:
    """Least time over the tile menu (s), without launch and memory."""
    cores = device.cores
    rate = device.peak(dtype) / cores
    best: Array | None = None
    across = {tn: np.ceil(n * (1.0 / tn)) for tn in {tn for _, tn in TILES}}
    down = {tm: np.ceil(m * (1.0 / tm)) * batch for tm in {tm for tm, _ in TILES}}
    partials = 8.0 * m * n * batch / (c["l2"] * device.level("l2").bandwidth)
    for split in SPLITS:
        deep = np.ceil(k * (1.0 / (DEPTH * split))) * DEPTH
        extra = partials * split if split > 1 else 0.0
        for tm, tn in TILES:
            intensity = tm * tn / (tm + tn)
            efficiency = c["efficiency"] * intensity / (intensity + c["ramp"])
            waves = np.ceil(down[tm] * across[tn] * split / cores)
            time = waves * (deep * (2.0 * tm * tn / (rate * efficiency)) + c["tile"]) + extra
            best = time if best is None else np.minimum(best, time)
    assert best is not None
    return best


def gemm_time(
    device: Device,
    dtype: str,
    m: Number,
    n: Number,
    k: Number,
    batch: Number,
    bytes: Number,
    c: Mapping[str, float],
) -> Number:
    """The whole law (s); nothing where there is no work."""
    compute = compute_time(device, dtype, m, n, k, batch, c)
    miss = misses(device, bytes, "l2")
    memory = bytes * (
        miss / (c["dram"] * device.bandwidth) + (1.0 - miss) / (c["l2"] * device.level("l2").bandwidth)
    )
    p = c["p"]
    busy = np.where(m * n * k * batch > 0, 1.0, 0.0)
    return busy * (c["launch"] + (compute**p + memory**p) ** (1.0 / p))
