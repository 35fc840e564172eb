"""How far predictions are from measurements: one row a family, the same figures everywhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """n; mape, median, p90 and bias of predicted / measured - 1; spearman overall and by decade of time."""

    n: int
    mape: float
    median: float
    p90: float
    bias: float
    spearman: float
    decades: dict[str, float]

    def record(self) -> dict[str, Any]:
        """JSON types only, rounded."""
        values = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return values | {"decades": {k: round(v, 3) for k, v in self.decades.items()}}

    def __str__(self) -> str:
        return (
            f"n {self.n}  MAPE {100 * self.mape:.1f} %  median {100 * self.median:.1f}  "
            f"P90 {100 * self.p90:.1f}  bias {100 * self.bias:+.1f}  rank {self.spearman:.3f}"
        )


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rank correlation, ties by their mean rank; NaN where one side is constant."""
    if len(a) < 3:
        return float("nan")
    ranks = [_ranks(values) for values in (a, b)]
    spread = [rank.std() for rank in ranks]
    if min(spread) == 0:
        return float("nan")
    return float(
        np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())) / (spread[0] * spread[1])
    )


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def accuracy(predicted: Array, measured: Array) -> Accuracy:
    """predicted, measured: seconds, (n,). Decades with fewer than 10 samples are left out.

    >>> accuracy(np.array([1.1, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])).median
    0.0
    """
    ratio = predicted / measured - 1.0
    size = np.abs(ratio)
    decade = np.floor(np.log10(measured))
    inside = {
        f"1e{int(d)}..1e{int(d) + 1} s": rank_correlation(predicted[decade == d], measured[decade == d])
        for d in np.unique(decade)
        if (decade == d).sum() >= 10
    }
    return Accuracy(
        n=len(measured),
        mape=float(size.mean()),
        median=float(np.median(size)),
        p90=float(np.percentile(size, 90)),
        bias=float(ratio.mean()),
        spearman=rank_correlation(predicted, measured),
        decades=inside,
    )
