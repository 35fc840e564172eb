"""Points that a search has not asked for yet: what it falls back on where its own proposals repeat."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from ..problems.batch import Batch, concatenate, take
from ..problems.space import Space

DRAWS = 64
LISTED = 1 << 16


def everything(space: Space) -> Batch | None:
    """All points of a space of at most 65,536, in order; None where there are more."""
    if space.size is None or space.size > LISTED:
        return None
    chunks = space.enumerate()
    return concatenate([chunks.chunk(index) for index in range(len(chunks))])


def unseen(space: Space, seen: Container[int], rng: np.random.Generator) -> Batch | None:
    """One random point whose hash is not in `seen`; None where none is found."""
    for candidates in (space.sample(rng, DRAWS), everything(space)):
        if candidates is not None:
            fresh = [row for row, key in enumerate(space.hashes(candidates).tolist()) if key not in seen]
            if fresh:
                row = int(rng.integers(len(fresh)))
                return take(candidates, np.array([fresh[row]]))
    return None
