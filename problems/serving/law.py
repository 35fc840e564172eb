"""The law of an iteration (`costmodels.IterationLaw`), compiled for the engine's inner loop."""

from __future__ import annotations

import math

from .compiled import Array, compiled


@compiled
def iteration_time(
    c: Array, decoding: float, cached: float, tokens: float, prompts: float, pairs: float
) -> float:
    """Seconds of one iteration; `c` holds the law's constants in order, `tokens` are those of prompts."""
    linear = c[4] * (tokens + decoding) + c[5] * (prompts + decoding)
    seconds = c[0] + c[1] * decoding + c[7] * cached + math.sqrt(linear * linear + c[6] * c[6])
    if prompts > 0:
        seconds += c[2] * prompts + c[3] + c[8] * pairs
    return float(seconds)
