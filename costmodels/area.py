"""Area of custom cores: blocks add up, wiring and control are a declared overhead."""

from __future__ import annotations

from collections.abc import Iterable

from ..hardware.blocks import Block, combined
from .cost import Number

OVERHEAD = 1.25  # placement density and control; a guess, the same for every design of a study


def core_area(blocks: Iterable[Block], overhead: float = OVERHEAD) -> Number:
    """Area (m2) of a core made of blocks of one technology.

    >>> from tradespace.hardware.blocks import sram
    >>> from tradespace.hardware.technology import technology
    >>> one = core_area([sram(technology("jouppi-7nm"), capacity=2**20)])
    >>> bool(1e-7 < one < 1e-6)
    True
    """
    return combined("core", blocks).area * overhead
