"""When to start an instance for a stage that may come.

Hermes: start backend b for the next stage when p_s P(t_c <= t_s + t_p | t_c > t_s) reaches a threshold K:
p_s the probability that the next stage needs b, t_c when the running stage ends, t_s the service it has
had, t_p the warm-up time. (The published text prints the event the other way round; read as "the
stage ends within the warm-up time".)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cluster import Backends
from .compiled import Array
from .pdgraph import Prospects

NEVER = 2.0


def trigger_age(own: Array, share: float, warm_up: float, threshold: float) -> float:
    """The least service in a stage at which its threshold is reached; infinite where it never is.

    own: samples of the stage's seconds. The probability changes only where a sample enters or leaves
    the window (t_s, t_s + t_p], so these ages suffice.

    >>> trigger_age(np.array([10.0, 10.0]), share=1.0, warm_up=4.0, threshold=0.5)
    6.0
    """
    if share < threshold or warm_up <= 0:
        return float("inf")
    own = np.sort(own)
    ages = np.unique(np.concatenate([[0.0], np.maximum(own - warm_up, 0.0), own[:-1]]))
    after = len(own) - np.searchsorted(own, ages, side="right")
    within = np.searchsorted(own, ages + warm_up + 1e-9, side="right") - (len(own) - after)
    reached = (after > 0) & (share * within >= threshold * after)
    return float(ages[np.argmax(reached)]) if reached.any() else float("inf")


def prepared(
    prospects: Prospects,
    places: Sequence[str],
    *,
    slots: Sequence[int],
    warm_up: Sequence[float],
    thresholds: Sequence[float],
    kept: int = 0,
    eager: bool = False,
) -> Backends:
    """Backends with the ages at which instances are started.

    places: backends' names in order; thresholds: K of each. kept: idle instances kept after use (LRU).
    eager: start whenever the stage before begins, whatever the probability (queue-driven).
    """
    trigger, target = np.full(len(prospects.rows), np.inf), np.zeros(len(prospects.rows), np.int64)
    for i, (place, share) in enumerate(prospects.external):
        if place in places:
            b = list(places).index(place)
            target[i] = b + 1
            if eager:
                trigger[i] = 0.0 if warm_up[b] > 0 else np.inf
            else:
                trigger[i] = trigger_age(prospects.own[i], share, warm_up[b], thresholds[b])
    return Backends(
        np.asarray(slots), np.asarray(warm_up, float), np.full(len(places), kept), trigger, target
    )
