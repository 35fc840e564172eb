"""A frame of 3D Gaussian splatting on a programmable device, from the counts of a real renderer.

Stages as in Kerbl et al. 2023: project every Gaussian, duplicate it per tile, sort pairs by (tile,
depth), blend pixels front to back. Dedicated cores are modelled from `hardware.blocks` instead.
"""

from __future__ import annotations

from ..hardware.record import Device
from .cost import Cost
from .evaluate import Shape
from .pointwise import elementwise
from .sorting import sort

# fp32 numbers read and written and flops per item: 59 parameters in, 12 out, spherical harmonics of
# degree 3 and a 3 x 3 covariance; 64-bit keys; exponent, alpha, transmittance and colour per visit.
PROJECT = {"reads": 59, "writes": 12, "operations": 350}
DUPLICATE = {"reads": 4, "writes": 3, "operations": 6}
BLEND = {"reads": 0, "writes": 0, "operations": 25}


def frame(device: Device, *, gaussians: Shape, pairs: Shape, visits: Shape, pixels: Shape) -> dict[str, Cost]:
    """Stages of one frame by name: "project", "duplicate", "sort", "blend"; their sum is the frame.

    gaussians: projected. pairs: (Gaussian, tile) pairs sorted. visits: (pixel, Gaussian) pairs tested.
    """
    blend = elementwise(device, elements=visits, **BLEND, dtype="fp32")
    fetch = elementwise(device, elements=pairs, reads=12, writes=0, operations=0, dtype="fp32")
    write = elementwise(device, elements=pixels, reads=0, writes=4, operations=4, dtype="fp32")
    return {
        "project": elementwise(device, elements=gaussians, **PROJECT, dtype="fp32"),
        "duplicate": elementwise(device, elements=pairs, **DUPLICATE, dtype="fp32"),
        "sort": sort(device, rows=1, width=pairs, dtype="int64"),
        "blend": blend + fetch + write,
    }
