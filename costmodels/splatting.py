"""A frame of 3D Gaussian splatting on a mobile GPU, from the counts of a real renderer.

Stages as in Kerbl et al. 2023: project every Gaussian, duplicate it per tile, sort pairs by (tile,
depth), blend pixels front to back; before them the search of a level-of-detail hierarchy. Divergence is
measured, not assumed: a warp step costs the same whether one lane blends or all. Dedicated cores are
`splatting_cores`.
"""

from __future__ import annotations

import numpy as np

from ..hardware.record import Device
from .cost import Cost, Number
from .energy import operator_energy

# Warp instructions: of one alpha check (ellipse, compare, exponential), of a step in which a lane blends,
# of a Gaussian culled and of one projected with its harmonics, of a node tested. Counted on the kernels'
# equations, a multiply-add as one; addresses and loop included.
CHECK, BLEND, CULL, PROJECT, TEST = 22.0, 14.0, 30.0, 420.0, 40.0
SCHEDULERS, LANES = 4, 32  # a core issues one warp instruction a clock and scheduler
# Share of issue slots and of bandwidth that kernels reach. Chosen once so that frames of a million pixels
# on a Xavier fall within the 5 to 21 frames a second and near the 10 : 23 : 67 split of projection, sorting
# and blending that Lumina (ISCA 2025) reports; every comparison divides by this model.
ISSUE, STREAM = 0.25, 0.35
SECTOR = 32  # bytes that a random access moves at least
POSITION, SHAPE, COEFFICIENT, FEATURE, KEY, PIXEL = 12, 32, 12, 44, 12, 12
# A node of HierGS as its code lays it out: 28 B of tree, 32 B of box; a parent's box is read beside it,
# a flag written and scanned for every node.
NODE, NODE_FLAGS = 28 + 32, 12
RELATIVE_ERROR = 0.4


def frame(
    device: Device,
    *,
    gaussians: Number,
    projected: Number,
    coefficients: Number = 16,
    pairs: Number,
    passes: Number,
    warp_steps: Number,
    active_steps: Number,
    pixels: Number,
) -> dict[str, Cost]:
    """Stages of one frame by name: "project", "sort", "blend"; their sum is the frame.

    gaussians: read; projected: that reach the screen; coefficients: of the colour, three numbers each;
    pairs: (Gaussian, tile) entries; passes: of the radix sort; warp_steps: alpha checks of 32-lane warps;
    active_steps: those in which any lane blends; pixels: written. Numbers or arrays that broadcast.

    >>> from tradespace.hardware import device
    >>> work = dict(gaussians=1e5, projected=6e4, pairs=4e5, passes=6, pixels=1e6)
    >>> full = frame(device("jetson-agx-xavier"), warp_steps=1e7, active_steps=2e6, **work)
    >>> half = frame(device("jetson-agx-xavier"), warp_steps=5e6, active_steps=2e6, **work)
    >>> bool(half["blend"].time < full["blend"].time), bool(half["sort"].time == full["sort"].time)
    (True, True)
    """
    read = gaussians * POSITION + projected * (SHAPE + COEFFICIENT * coefficients + FEATURE)
    return {
        "project": stage(device, (gaussians * CULL + projected * PROJECT) / LANES, read),
        "sort": stage(
            device, pairs * passes * 12.0 / LANES, pairs * KEY * (2.0 * passes + 1.0) + projected * FEATURE
        ),
        "blend": stage(
            device, warp_steps * CHECK + active_steps * BLEND, pairs * (4 + FEATURE) + pixels * PIXEL
        ),
    }


def search_flat(device: Device, *, nodes: Number, selected: Number) -> Cost:
    """Every node of the hierarchy tests itself and its parent, as HierGS' published code does."""
    return stage(device, nodes * TEST / LANES, nodes * (NODE + NODE_FLAGS + NODE / 2) + selected * 4)


def search_walk(device: Device, *, visited: Number, lane_steps: Number) -> Cost:
    """Lanes walk one subtree each: warps last as long as their longest walk, and reads are scattered."""
    sectors = np.ceil(NODE / SECTOR) * SECTOR
    return stage(device, lane_steps * TEST / LANES, visited * sectors)


def stage(device: Device, instructions: Number, traffic: Number) -> Cost:
    """A kernel bound by issue slots (warp instructions) or by memory (bytes), after its launch."""
    slots = device.cores * SCHEDULERS * device.clock * ISSUE
    time = np.maximum(instructions / slots, traffic / (device.bandwidth * STREAM)) + device.launch
    flops = instructions * LANES
    moved = {"dram": traffic, "l2": traffic}
    energy = operator_energy(device, "fp32", flops, moved, time)
    return Cost(
        time, flops, {"dram": traffic}, energy, {"splatting": RELATIVE_ERROR * time}, {"uncalibrated": time}
    )
