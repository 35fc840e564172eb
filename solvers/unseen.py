"""Points that a search has not asked for yet: what it falls back on where its own proposals repeat."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial

import numpy as np

from ..problems.batch import Batch, concatenate, take
from ..problems.space import Space
from .variation import Coding, Genes

DRAWS = 32
BOOSTS = (1.0, 4.0)
LISTED = 1 << 16


def everything(space: Space) -> Batch | None:
    """All points of a space of at most 65,536, in order; None where there are more."""
    if space.size is None or space.size > LISTED:
        return None
    chunks = space.enumerate()
    return concatenate([chunks.chunk(index) for index in range(len(chunks))])


def unseen(coding: Coding, seen: Container[int], rng: np.random.Generator, near: Batch) -> Batch | None:
    """One point whose hash is not in `seen`: a variation of the first of `near`, ever wilder, else any.

    None where there is none.
    """
    space = coding.space
    genes = coding.encode(near).take(np.zeros(DRAWS, np.int64))
    makers: tuple[Callable[[], Batch | None], ...] = (
        *(partial(_varied, coding, genes, rng, boost) for boost in BOOSTS),
        lambda: space.sample(rng, DRAWS),
        lambda: everything(space),
    )
    for make in makers:
        candidates = make()
        if candidates is not None:
            fresh = [row for row, key in enumerate(space.hashes(candidates).tolist()) if key not in seen]
            if fresh:
                return take(candidates, np.array([fresh[int(rng.integers(len(fresh)))]]))
    return None


def _varied(coding: Coding, genes: Genes, rng: np.random.Generator, boost: float) -> Batch:
    return coding.decode(coding.vary(rng, genes, boost))
