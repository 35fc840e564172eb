"""Matrix products on tiled processors: output tiles in waves over the cores, memory, launch, p-norm.

For tiles (tm, tn) and k split s ways, blocks = batch ceil(m/tm) ceil(n/tn) s run in
waves = ceil(blocks / cores), as the NVIDIA matmul guide describes; a wave lasts
k_s (2 tm tn / (efficiency peak/cores) + step / clock) + tile (tm tn / 128^2) / clock:
arithmetic, the latency of each step along k, and the epilogue of the tile. A split adds partial sums
through L2 and a second launch. The smallest over the menu plays the library's heuristic.
Memory: x = bytes / (dram bandwidth), operands cold; transfers of less than 20 us attain less of it:
x (1 + short X / (X + x)) with X of 10 launches.
time = (launch + (compute^p + memory^p)^(1/p)) stretched by up to droop where it exceeds a
millisecond (the clock falls under sustained load).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..hardware.record import Device
from .cost import Array, Number

TILES: tuple[tuple[int, int], ...] = (
    (16, 64), (32, 64), (64, 64), (64, 128), (128, 64), (128, 128), (128, 256), (256, 128),
)  # fmt: skip
SPLITS: tuple[int, ...] = (1, 2, 4, 8)
DEPTH = 32.0
SUSTAINED = 500.0  # launches, a millisecond
SHORT = 10.0  # launches, 20 us

# name -> (start, least, greatest); step and tile in clock cycles, launch and second in launches.
BOUNDS: dict[str, tuple[float, float, float]] = {
    "efficiency": (0.9, 0.2, 1.0),
    "step": (2.0, 0.01, 100.0),
    "tile": (2000.0, 20.0, 20000.0),
    "launch": (1.4, 0.1, 20.0),
    "second": (1.2, 0.01, 10.0),
    "dram": (0.82, 0.2, 1.0),
    "short": (0.3, 1e-3, 5.0),
    "p": (3.9, 1.0, 8.0),
    "droop": (0.1, 1e-4, 0.5),
}


def compute_time(
    device: Device, dtype: str, m: Number, n: Number, k: Number, batch: Number, c: Mapping[str, float]
) -> Array:
    """Least time over the tile menu (s), without launch and memory."""
    cores = device.cores
    rate = device.peak(dtype) * c["efficiency"] / cores
    step = c["step"] / device.clock
    across = {tn: np.ceil(n * (1.0 / tn)) for tn in {tn for _, tn in TILES}}
    down = {tm: np.ceil(m * (1.0 / tm)) * batch for tm in {tm for tm, _ in TILES}}
    blocks = {tile: down[tile[0]] * across[tile[1]] for tile in TILES}
    partials = m * n * batch * (8.0 / device.level("l2").bandwidth)
    best: Array | None = None
    for split in SPLITS:
        deep = np.ceil(k * (1.0 / (DEPTH * split))) * DEPTH
        least: Array | None = None
        for tm, tn in TILES:
            time = np.ceil(blocks[tm, tn] * (split / cores))
            time = time * (
                deep * (2.0 * tm * tn / rate + step) + c["tile"] * (tm * tn / 128.0**2) / device.clock
            )
            least = time if least is None else np.minimum(least, time)
        assert least is not None
        if split > 1:
            least = least + (partials * split + c["second"] * device.launch)
        best = least if best is None else np.minimum(best, least)
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
    stream = bytes / (c["dram"] * device.bandwidth)
    few = SHORT * device.launch
    memory = stream * (1.0 + c["short"] * few / (few + stream))
    # The p-norm, from the larger of the two so that powers stay in range.
    larger, smaller = np.maximum(compute, memory), np.minimum(compute, memory)
    ratio = smaller / np.maximum(larger, 1e-30)
    busy = np.where(m * n * k * batch > 0, 1.0, 0.0)
    time = busy * (c["launch"] * device.launch + larger * (1.0 + ratio ** c["p"]) ** (1.0 / c["p"]))
    return time * (1.0 + c["droop"] * time / (time + SUSTAINED * device.launch))
