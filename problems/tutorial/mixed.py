"""Every kind of variable in one small problem: choices, conditions, vectors, a permutation."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..batch import Batch, active
from ..goal import Metric
from ..problem import Problem, param
from ..variables import Bool, Choice, Float, Int, Menu, Permutation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Codec(enum.Enum):
    """Formats of a stored tensor, by bits a value."""

    RAW = 16
    INT8 = 8
    INT4 = 4


BITS = np.array([codec.value for codec in Codec])
ERROR = np.array([0.0, 0.004, 0.05])
SIZES = np.array([64.0, 16.0, 128.0, 32.0]) * 2**20


class Mixed(Problem):
    """Store and order four tensors: action, codec and group size each, and the order of transfer.

    The codec of a tensor matters only where it is compressed, its group size only where the codec is
    not RAW: conditions act entry by entry.
    """

    bandwidth: float = param(24e9, unit="B/s", help="bandwidth of the link")
    error_limit: float = param(0.06, unit="1", help="largest summed error")

    action = Choice("keep", "compress", "drop", shape=4)
    codec = Choice(Codec, shape=4, when={"action": "compress"})
    group = Menu(32, 64, 128, shape=4, when={"codec": (Codec.INT8, Codec.INT4)})
    order = Permutation(4)
    overlap = Bool()
    streams = Int(1, 4, when={"overlap": True})
    share = Float(0.1, 0.9)

    time = Metric("s", "min")
    stored = Metric("B", "min")
    error = Metric("1", at_most="error_limit")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Bytes, errors and a transfer whose early tensors hide behind compute."""
        parts = self.parts(x)
        cost = np.where(x.overlap, 1e-4 * x.streams, 0.0) + 1e-3 * (x.share - 0.6) ** 2
        return {
            "time": (parts["transfer"] + parts["redo"]).sum(axis=1) + cost,
            "stored": parts["stored"].sum(axis=1),
            "error": parts["error"].sum(axis=1),
        }

    def parts(self, x: Batch) -> dict[str, Any]:
        """Of each tensor: bytes stored, error, seconds of transfer in sight and hidden, and of redoing it."""
        compressed = x.action == "compress"
        bits = np.where(compressed, BITS[x.codec.position], np.where(x.action == "drop", 0, 16))
        scales = np.where(active(x, "group"), 16.0 / x.group, 0.0)
        stored = SIZES * (bits + scales) / 16
        error = np.where(compressed, ERROR[x.codec.position] * np.sqrt(x.group / 64), 0.0)
        rank = np.argsort(x.order, axis=1)
        hidden = np.where(x.overlap, 1 - 1 / (1 + x.streams), 0.0)[:, None] * x.share[:, None] * rank / 3
        return {
            "stored": stored,
            "error": error,
            "transfer": stored * (1 - hidden) / self.bandwidth,
            "hidden": stored * hidden / self.bandwidth,
            "redo": np.where(x.action == "drop", 4.0 * SIZES / self.bandwidth, 0.0),
        }

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Bytes and seconds of each tensor, in the order of transfer."""
        from .figures import tensors

        return {"tensors": tensors(self, point)}
