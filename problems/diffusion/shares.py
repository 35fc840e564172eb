"""Budgets on a grid of tenths: the plain schedules people use, and the nearest schedule within a budget.

A decision is the tenths of all steps but the first, which is always whole: (rows, steps - 1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .law import TENTHS

Tenths = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


def allowance(budget: float, steps: int) -> int:
    """Tenths that are left for the steps after the first.

    >>> allowance(0.5, 20)
    90
    """
    return min(int(np.floor(budget * steps * TENTHS + 1e-9)) - TENTHS, TENTHS * (steps - 1))


def project(shares: Array, total: int) -> Tenths:
    """The nearest tenths whose sum is `total`: (rows, n) numbers -> (rows, n) tenths.

    Euclidean projection (a common shift, cut off at both ends), then rounding by largest remainders.

    >>> project(np.array([[10.0, 10.0, 0.0, 0.0]]), 10).tolist()
    [[5, 5, 0, 0]]
    """
    wide = np.asarray(shares, float)
    low, high = np.full(len(wide), -2.0 * TENTHS), np.full(len(wide), 2.0 * TENTHS)
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = np.clip(wide + middle[:, None], 0, TENTHS).sum(axis=1) > total
        high, low = np.where(above, middle, high), np.where(above, low, middle)
    real = np.clip(wide + high[:, None], 0, TENTHS)
    real = np.where(np.abs(real - np.rint(real)) < 1e-9, np.rint(real), real)
    whole = np.floor(real)
    left = total - whole.sum(axis=1)
    order = np.argsort(-(real - whole), axis=1, kind="stable")
    place = np.argsort(order, axis=1, kind="stable")
    return np.asarray(whole + (place < left[:, None]), np.int64)


def _uniform(at: Array) -> Array:
    return np.ones_like(at)


def _falling(at: Array) -> Array:
    return 2.0 - 2.0 * at


def _rising(at: Array) -> Array:
    return 2.0 * at


def _ends(at: Array) -> Array:
    return np.abs(2.0 * at - 1.0) * 2.0


def _middle(at: Array) -> Array:
    return 2.0 - 2.0 * np.abs(2.0 * at - 1.0)


PLAIN: dict[str, Callable[[Array], Array]] = {
    "uniform": _uniform,
    "ramp down": _falling,
    "ramp up": _rising,
    "u-shape": _ends,
    "hump": _middle,
}


def plain(budget: float, steps: int) -> dict[str, Tenths]:
    """The schedules people write by hand, each at the whole budget, by name.

    >>> {name: int(tenths.sum()) for name, tenths in plain(0.5, 20).items()}
    {'uniform': 90, 'ramp down': 90, 'ramp up': 90, 'u-shape': 90, 'hump': 90}
    """
    total, later = allowance(budget, steps), steps - 1
    at = (np.arange(later) + 0.5) / max(later, 1)
    return {name: project(shape(at)[None] * total / max(later, 1), total)[0] for name, shape in PLAIN.items()}


def evenly(whole: int, steps: int) -> Tenths:
    """`whole` whole steps spread evenly, the others empty: what sampling with fewer steps comes to.

    >>> evenly(4, 8).tolist()
    [0, 10, 0, 10, 0, 10, 0]
    """
    made = np.zeros(steps - 1, np.int64)
    made[np.floor(np.arange(1, whole) * steps / whole).astype(int) - 1] = TENTHS
    return made


def greedy(error: Array, total: int) -> Tenths:
    """Tenths given one at a time to the step whose error falls most.

    error: (steps - 1, 11) of each step alone, by tenths. A step's gains are those of the lower convex hull
    of its errors, so that a jump with a large gain is seen from afar.
    """
    steps, levels = error.shape
    hull = np.array([_hull(row) for row in np.minimum.accumulate(error, axis=1)])
    gains = (hull[:, :-1] - hull[:, 1:]).ravel()
    order = np.argsort(-gains, kind="stable")[:total]
    return np.bincount(order // (levels - 1), minlength=steps).astype(np.int64)


def _hull(values: Array) -> Array:
    """The lower convex hull of (0, v0), (1, v1), ..., read at every place."""
    kept: list[int] = []
    for place in range(len(values)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (values[b] - values[a]) * (place - a) < (values[place] - values[a]) * (b - a):
                break
            kept.pop()
        kept.append(place)
    return np.interp(np.arange(len(values)), kept, values[kept])
