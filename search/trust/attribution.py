"""Which measurement would settle a decision: what knowing one source of error is worth.

`right` says in which draws each candidate is a right choice. Measuring a source tells its value, so the
choice may depend on it: the chance that it is right rises from max_c P(c right) to
E[max_c P(c right | source)]. The conditional probabilities are means over bins of equal count of the
draws already made (after Strong, Oakley & Brennan 2014, "Estimating multiparameter partial expected
value of perfect information from a probabilistic sensitivity analysis sample", with bins for their
regression). A bin's choice is made on one half of its draws and judged on the other, so that chance
alone lifts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
PER_BIN = 50
MOST_BINS, LEAST_BINS = 24, 3
MOST_MEASURED = 3
SURE = 2.0
"""Standard errors by which a lift must exceed nothing."""


@dataclass(frozen=True)
class Source:
    """One source of error: how much of the decision it explains.

    right: chance of a right choice once it is known. lift: what that adds to the best choice now, and
    error the standard error of the lift. share: part of the variance of the difference between the
    answer and the runner-up that this source explains alone.
    """

    name: str
    right: float
    lift: float
    error: float
    share: float

    @property
    def sure(self) -> bool:
        """Whether the lift is more than chance."""
        return self.lift > SURE * self.error and self.lift > 0.005


def attribute(
    right: Array, sources: Mapping[str, Array], answer: int, difference: Array | None = None
) -> list[Source]:
    """The sources by what measuring each alone would add, the most useful first.

    right: (draws, candidates) of bool. sources: name -> (draws,) standard normal values. difference:
    (draws,) the answer's cost minus the runner-up's.
    """
    found = []
    for name, z in sources.items():
        gain = known(right, [z], answer)
        error = float(gain.std() / np.sqrt(max(1, len(gain))))
        lift = float(gain.mean())
        share = explained(difference, z) if difference is not None else 0.0
        found.append(Source(name, now(right, answer) + lift, lift, error, share))
    return sorted(found, key=lambda s: (-s.lift, -s.share, s.name))


def now(right: Array, answer: int) -> float:
    """The chance of a right choice without a measurement: of the best candidate."""
    return float(right[:, best_column(right, answer)].mean()) if len(right) else 0.0


def best_column(right: Array, answer: int) -> int:
    """The candidate that is right most often; the answer where it is as good as any."""
    counts = right.sum(axis=0)
    return answer if counts[answer] == counts.max() else int(np.argmax(counts))


def known(right: Array, values: list[Array], answer: int) -> Array:
    """Per draw, what knowing these values adds to being right: (draws,) of -1, 0 or 1.

    values: the sources measured together, each (draws,).
    """
    draws = len(right)
    if draws < 4 or not values:
        return np.zeros(draws)
    most = MOST_BINS if len(values) == 1 else int(MOST_BINS * 4 / len(values))
    bins = int(np.clip((draws / PER_BIN) ** (1 / len(values)), LEAST_BINS, max(LEAST_BINS, most)))
    cell = np.zeros(draws, int)
    for value in values:
        cell = cell * bins + equal_bins(value, bins)
    default = best_column(right, answer)
    chosen = np.full(draws, default)
    half = np.arange(draws) % 2
    order = np.argsort(cell, kind="stable")
    edges = np.flatnonzero(np.diff(cell[order], prepend=-1, append=cell.max() + 1))
    for start, stop in pairwise(edges.tolist()):
        rows = order[start:stop]
        for side in (0, 1):
            teaching, judged = rows[half[rows] != side], rows[half[rows] == side]
            if len(teaching):
                counts = right[teaching].sum(axis=0)
                chosen[judged] = default if counts[default] == counts.max() else int(np.argmax(counts))
    every = np.arange(draws)
    lift: Array = right[every, chosen].astype(float) - right[:, default]
    return lift


def equal_bins(value: Array, bins: int) -> Array:
    """The bin of each value, of `bins` with equally many."""
    rank = np.empty(len(value), int)
    rank[np.argsort(value, kind="stable")] = np.arange(len(value))
    return np.asarray(rank * bins // len(value))


def explained(difference: Array, z: Array) -> float:
    """Correlation ratio: the share of the variance of a difference that one source explains."""
    held = np.isfinite(difference)
    d, z = difference[held], z[held]
    if len(d) < 4 or d.std() <= 1e-12 * max(np.abs(d).max(initial=0.0), 1e-300):
        return 0.0
    bins = int(np.clip(len(d) / PER_BIN, LEAST_BINS, MOST_BINS))
    cell = equal_bins(z, bins)
    counts = np.bincount(cell, minlength=bins)
    means = np.bincount(cell, d, minlength=bins) / np.maximum(counts, 1)
    between = float((counts * (means - d.mean()) ** 2).sum() / len(d))
    within = float(((d - means[cell]) ** 2).sum() / max(1, len(d) - bins))
    # the means of bins scatter by within / count although nothing is explained
    return max(0.0, min(1.0, (between - (bins - 1) * within / len(d)) / float(d.var())))


def settle(
    right: Array, sources: Mapping[str, Array], answer: int, ranked: list[Source], enough: float
) -> list[tuple[str, float]]:
    """The fewest measurements, taken one after the other by what each adds, that reach `enough`.

    Returns (source, chance of a right choice once it and those before are known); empty where nothing
    that can be measured adds anything.
    """
    taken: list[tuple[str, float]] = []
    values: list[Array] = []
    reached = now(right, answer)
    useful = [s.name for s in ranked if s.sure or s.share > 0.02]
    while useful and len(taken) < MOST_MEASURED and reached < enough:
        gains = {name: known(right, [*values, sources[name]], answer) for name in useful}
        name = max(useful, key=lambda n: gains[n].mean())
        after = now(right, answer) + float(gains[name].mean())
        error = float(gains[name].std() / np.sqrt(len(right)))
        if after - reached <= max(0.005, SURE * error if not taken else 0.01):
            break
        taken.append((name, after))
        values.append(sources[name])
        useful.remove(name)
        reached = after
    return taken
