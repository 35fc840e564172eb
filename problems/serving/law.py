"""What one iteration of a batched engine costs, as nine constants that the simulator can evaluate fast.

    time = fixed + per_decode d + per_prompt p + per_cached c + per_pair q + [p > 0] per_prefill
         + sqrt((per_token (t + d) + per_answer (p + d))^2 + weights^2)

d: requests that decode. p: prompts in prefill, t: their tokens now, q: their (query, key) pairs.
c: cached tokens read. With weights = 0 the law is linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from ...costmodels.architectures import Architecture, architecture
from ...costmodels.coefficients import find
from ...costmodels.serving import widths
from ...hardware import Device, device
from ...hardware.dtypes import canonical, size_of
from .compiled import Array, compiled


@dataclass(frozen=True)
class IterationLaw:
    """Seconds of an iteration; sigma is its relative error, one standard deviation of the log ratio."""

    fixed: float = 0.0
    per_decode: float = 0.0
    per_prompt: float = 0.0
    per_prefill: float = 0.0
    per_token: float = 0.0
    per_answer: float = 0.0
    weights: float = 0.0
    per_cached: float = 0.0
    per_pair: float = 0.0
    sigma: float = 0.0

    @property
    def constants(self) -> Array:
        """The nine constants in order."""
        return np.array([getattr(self, f.name) for f in fields(self) if f.name != "sigma"])

    def time(
        self,
        *,
        decoding: float = 0,
        cached: float = 0,
        tokens: float = 0,
        prompts: float = 0,
        pairs: float = 0,
    ) -> float:
        """Seconds of one iteration."""
        return float(iteration_time(self.constants, decoding, cached, tokens, prompts, pairs))


@compiled
def iteration_time(
    c: Array, decoding: float, cached: float, tokens: float, prompts: float, pairs: float
) -> float:
    """The law; `c` holds its constants in the order of `IterationLaw`."""
    linear = c[4] * (tokens + decoding) + c[5] * (prompts + decoding)
    seconds = c[0] + c[1] * decoding + c[7] * cached + math.sqrt(linear * linear + c[6] * c[6])
    if prompts > 0:
        seconds += c[2] * prompts + c[3] + c[8] * pairs
    return float(seconds)


def device_law(
    hardware: Device | str, model: Architecture | str, *, shards: int = 1, dtype: str = "bf16"
) -> IterationLaw:
    """The calibrated law of `costmodels.serving` for a device and a model.

    shards: devices that share every layer evenly; their collectives are not timed.

    >>> round(1e3 * device_law("a100-sxm-80gb", "llama-2-7b").time(decoding=8, cached=8192), 1)
    18.6
    """
    hardware = device(hardware) if isinstance(hardware, str) else hardware
    model = architecture(model) if isinstance(model, str) else model
    found = find(hardware, "serving", canonical(dtype))
    c, w, item = found.values, widths(model), size_of(dtype)
    peak, bandwidth = shards * hardware.peak(dtype), shards * hardware.bandwidth
    return IterationLaw(
        fixed=float(w["layers"] * c["per_layer"]),
        per_decode=float(c["per_request"]),
        per_prompt=float(c["per_request"]),
        per_token=float(2 * w["layers"] * w["layer_weights"] / (peak * c["compute"])),
        per_answer=float(2 * w["head_weights"] / (peak * c["compute"])),
        weights=float(
            item * (w["layers"] * w["layer_weights"] + w["head_weights"]) / (bandwidth * c["weights"])
        ),
        per_cached=float(2 * w["layers"] * w["cache_width"] * item / (bandwidth * c["cache"])),
        per_pair=float(4 * w["query_width"] * w["layers"] / (peak * c["attention"])),
        sigma=float(found.sigma),
    )
