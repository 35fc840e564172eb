"""The operator families: name, features, and the shapes they take. What fitting and validation walk over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..errors import DataError, nearest
from . import (
    attention,
    collective,
    indexing,
    matrix,
    overhead,
    pointwise,
    quantization,
    reductions,
    serving,
    sorting,
    transfers,
)
from .evaluate import FeatureLaw


@dataclass(frozen=True)
class Family:
    """features: (device, dtype, **shapes) -> Features. shapes: the names of its shape arguments."""

    name: str
    features: FeatureLaw
    shapes: tuple[str, ...]


_ATTENTION = ("heads", "kv_heads", "head_dim")
_ALL = (
    Family("gemm", matrix.features, ("m", "n", "k", "batch")),
    Family(
        "attention_prefill",
        partial(attention.prefill_features, causal=True),
        ("batch", "sequence", *_ATTENTION),
    ),
    Family("attention_decode", attention.decode_features, ("batch", "context", *_ATTENTION)),
    Family("elementwise", pointwise.features, ("elements", "reads", "writes", "operations")),
    Family("softmax", reductions.softmax_features, ("rows", "width")),
    Family("layer_norm", reductions.layer_norm_features, ("rows", "width")),
    Family("reduction", reductions.reduction_features, ("rows", "width")),
    Family("scan", reductions.scan_features, ("rows", "width")),
    Family("quantize", quantization.EAGER_FEATURES["quantize"], ("elements", "bits", "group")),
    Family("dequantize", quantization.EAGER_FEATURES["dequantize"], ("elements", "bits", "group")),
    Family("gather", indexing.gather_features, ("count", "width", "table")),
    Family("scatter", indexing.scatter_features, ("count", "width", "table")),
    Family("sort", sorting.features, ("rows", "width")),
    Family("transfer", partial(transfers.features, link="pcie"), ("bytes",)),
    Family("glue", overhead.features, ("tokens", "hidden")),
    Family(
        "serving",
        serving.features,
        (
            *("layers", "layer_weights", "head_weights", "query_width", "cache_width"),
            *("tokens", "pairs", "requests", "cached"),
        ),
    ),
    *(
        Family(name, partial(collective.features, operation=name, link="nvlink"), ("bytes", "devices"))
        for name in collective.VOLUME
    ),
)
FAMILIES = {family.name: family for family in _ALL}


def family(name: str) -> Family:
    """A family by name; DataError names the nearest.

    >>> family("softmax").shapes
    ('rows', 'width')
    """
    if name not in FAMILIES:
        raise DataError(f"unknown operator family '{name}'; {nearest(name, FAMILIES)}")
    return FAMILIES[name]
