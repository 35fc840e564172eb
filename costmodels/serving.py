"""A serving iteration as a law of six constants a device, shared by all models.

time = layers per_layer + requests per_request
     + ((linear flops / (compute peak))^2 + (weight bytes / (weights bandwidth))^2)^(1/2)
     + cache bytes / (cache bandwidth) + attention flops / (attention peak)

compute, attention, weights and cache are attained fractions, between 0 and 1 by construction of the
fit. It is what simulators of engines call millions of times; `transformer.iteration` is the model from
operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import numpy.typing as npt

from ..hardware.dtypes import canonical, size_of
from ..hardware.record import Device
from .architectures import Architecture
from .coefficients import find
from .cost import Cost, Number
from .evaluate import Features, Shape, evaluate

# name -> (start, least, greatest): seconds, seconds, and four attained fractions.
BOUNDS: dict[str, tuple[float, float, float]] = {
    "per_layer": (2e-4, 1e-6, 2e-3),
    "per_request": (2e-4, 1e-7, 1e-2),
    "compute": (0.5, 0.02, 1.0),
    "weights": (0.6, 0.1, 1.0),
    "cache": (0.6, 0.1, 1.0),
    "attention": (0.3, 0.005, 1.0),
}


def iteration_time(
    device: Device, layers: Number, requests: Number, flows: tuple[Number, ...], c: Mapping[str, float]
) -> Number:
    """The law itself; flows: seconds of products, weights, cache and attention at datasheet rates."""
    products, weights, cache, attention = flows
    busy = np.where(np.asarray(products) > 0, 1.0, 0.0)
    core = np.sqrt(np.square(products / c["compute"]) + np.square(busy * weights / c["weights"]))
    time: Number = (
        busy * layers * c["per_layer"]
        + requests * c["per_request"]
        + core
        + cache / c["cache"]
        + attention / c["attention"]
    )
    return time


def features(
    device: Device,
    dtype: str,
    *,
    layers: Number,
    layer_weights: Number,
    head_weights: Number,
    query_width: Number,
    cache_width: Number,
    tokens: Number,
    pairs: Number,
    requests: Number,
    cached: Number,
) -> Features:
    """tokens through the weights, (query, key) pairs of prefill, requests answered, cached tokens read."""
    item = size_of(dtype)
    weights = item * (layers * layer_weights + head_weights)
    linear = 2.0 * tokens * layers * layer_weights + 2.0 * requests * head_weights
    attention = 4.0 * pairs * query_width * layers
    cache = 2.0 * layers * cache_width * item * cached
    peak = device.peak(dtype)
    flows = (linear / peak, weights / device.bandwidth, cache / device.bandwidth, attention / peak)
    law = partial(iteration_time, device, layers, requests, flows)
    flops = linear + attention
    moved = np.where(np.asarray(tokens) > 0, weights, 0.0) + cache
    return Features({}, flops, {device.levels[-1]: moved}, peak, law, BOUNDS)


def widths(model: Architecture) -> dict[str, float]:
    """The dimensions of a model that the law needs."""
    return {
        "layers": float(model.layers),
        "layer_weights": float(model.layer_parameters - 2 * model.hidden),
        "head_weights": float(model.vocabulary * model.hidden),
        "query_width": float(model.heads * model.head_dim),
        "cache_width": float(model.kv_heads * model.head_dim),
    }


def serving_iteration(
    device: Device,
    model: Architecture,
    *,
    prefill: Shape = 0,
    past: Shape = 0,
    prompts: Shape = 1,
    decode: Shape = 0,
    context: Shape = 0,
    dtype: str = "bf16",
) -> Cost:
    """One iteration of a batched engine.

    prefill: prompt tokens run now, spread over `prompts` prompts; past: tokens already cached of each
    prompt (chunked prefill). decode: requests that each get one token; context: cached tokens of all
    decoding requests together.

    >>> from tradespace.hardware import device
    >>> from tradespace.costmodels.architectures import architecture
    >>> gpu, llama = device("a100-sxm-80gb"), architecture("llama-2-7b")
    >>> bool(0.01 < serving_iteration(gpu, llama, decode=8, context=8192).time < 0.03)
    True
    """
    tokens, decoding = np.asarray(prefill, dtype=np.float64), np.asarray(decode, dtype=np.float64)
    running = np.where(tokens > 0, np.asarray(prompts, dtype=np.float64), 0.0)
    length = tokens / np.maximum(running, 1.0)
    pairs = np.floor(tokens * (np.asarray(past) + 0.5 * length))
    cached = np.asarray(context) + np.where(tokens > 0, running * np.asarray(past), 0.0)
    return evaluate(
        "serving",
        features,
        device,
        dtype,
        **widths(model),
        tokens=tokens + decoding,
        pairs=pairs,
        requests=running + decoding,
        cached=cached,
    )


@dataclass(frozen=True)
class IterationLaw:
    """Seconds of an iteration of one device and model as nine constants (s), for simulators' inner loops.

    time = fixed + per_decode d + per_prompt p + per_cached cached + per_pair pairs + [p > 0] per_prefill
         + hypot(per_token tokens + per_answer requests, weights), and nothing for an empty iteration

    requests: those answered, p of them with a prompt in this iteration and d = requests - p decoding.
    With weights = 0 the law is linear. sigma: relative error, one standard deviation of the log ratio.
    """

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
    def constants(self) -> npt.NDArray[np.float64]:
        """The nine constants in order, (9,)."""
        return np.array([getattr(self, f.name) for f in fields(self) if f.name != "sigma"])

    def __call__(
        self, tokens: Number, requests: Number, cached: Number, pairs: Number, prompts: Number = 0
    ) -> Number:
        """Seconds of an iteration: tokens run, requests answered, cached tokens read, prefill pairs, and
        the requests among those answered whose prompt runs (matters where prompts have their own price)."""
        core = np.hypot(tokens * self.per_token + requests * self.per_answer, self.weights)
        asked = np.asarray(requests) - prompts
        start = np.where(np.asarray(prompts) > 0, self.per_prefill, 0.0)
        busy = (
            self.fixed
            + (asked * self.per_decode + prompts * self.per_prompt)
            + core
            + cached * self.per_cached
            + pairs * self.per_pair
            + start
        )
        return np.where(np.asarray(tokens) > 0, busy, 0.0)[()]


def iteration_law(
    device: Device, model: Architecture, dtype: str = "bf16", *, shards: int = 1
) -> IterationLaw:
    """The constants of `serving_iteration`; the same numbers without the machinery.

    shards: devices that share every layer evenly; their collectives are not timed. A drawn device
    (`costmodels.draw`) scales all constants by its error, of the family's sigma over all times:
    `serving_iteration` takes that of the predicted time's decade.

    >>> from tradespace.hardware import device
    >>> from tradespace.costmodels.architectures import architecture
    >>> law = iteration_law(device("a100-sxm-80gb"), architecture("llama-2-7b"))
    >>> slow = serving_iteration(device("a100-sxm-80gb"), architecture("llama-2-7b"), decode=8, context=8192)
    >>> bool(abs(law(8, 8, 8192, 0) / slow.time - 1) < 1e-12)
    True
    """
    found = find(device, "serving", canonical(dtype))
    c, w, item = found.values, widths(model), size_of(dtype)
    deviation = device.deviations.get("serving", 0.0)
    scale = float(np.exp(float(deviation) * found.sigma))
    peak, bandwidth = shards * float(device.peak(dtype)), shards * float(device.bandwidth)
    total = w["layers"] * w["layer_weights"] + w["head_weights"]
    return IterationLaw(
        fixed=scale * w["layers"] * c["per_layer"],
        per_decode=scale * c["per_request"],
        per_prompt=scale * c["per_request"],
        per_token=scale * 2.0 * w["layers"] * w["layer_weights"] / (c["compute"] * peak),
        per_answer=scale * 2.0 * w["head_weights"] / (c["compute"] * peak),
        weights=scale * item * total / (c["weights"] * bandwidth),
        per_cached=scale * 2.0 * w["layers"] * w["cache_width"] * item / (c["cache"] * bandwidth),
        per_pair=scale * 4.0 * w["query_width"] * w["layers"] / (c["attention"] * peak),
        sigma=float(found.sigma),
    )
