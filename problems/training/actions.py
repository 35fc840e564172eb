"""What may be done with a saved tensor between forward and backward, and what each choice costs.

retain: kept as it is. int8: groups of 64 channels, one 16-bit scale each. int4: the same with four
bits, and 5 % of the channels (the outliers) kept apart in full precision; numbers in [0, 1] need no
outliers. A mask is packed into bits by either codec, without loss. offload: moved to the host and
back. recompute: dropped, and computed again in the backward pass; a mask is drawn again from the
generator's state. The codecs follow the abstract of Adacc (arXiv 2508.00806: "outliers separately");
their layout is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .block import Block, Tensor
from .operators import Operators

Array = npt.NDArray[Any]

RETAIN, INT8, INT4, OFFLOAD, RECOMPUTE = "retain", "int8", "int4", "offload", "recompute"
CODECS = (INT8, INT4)
GROUP = 64
OUTLIERS = 0.05

# Relative error of the gradient where this one tensor of one block is coded: (INT8, INT4).
# Measured on a 4-layer GPT after 60 steps; INT8 by rows, INT4 by groups of 64 with 5 % outlier channels
# (q, k, v and attention: INT4 by rows). qkv is the sum of q (.0002, .0042), k (.0002, .0059) and
# v (.0002, .0030), which were coded one at a time.
MEASURED: dict[str, tuple[float, float]] = {
    "norm1": (0.0003, 0.0055),
    "qkv": (0.0006, 0.0131),
    "query": (0.0002, 0.0042),
    "key": (0.0002, 0.0059),
    "value": (0.0002, 0.0030),
    "attention": (0.0002, 0.0022),
    "middle": (0.0001, 0.0012),
    "norm2": (0.0007, 0.0116),
    "expand": (0.0007, 0.0098),
    "gelu": (0.0018, 0.0323),
}
# Not measured; taken from the tensor that plays the same part: the MLP's product and its factors from
# the GELU output, the gate from the GELU input, probabilities from the key.
ASSUMED: dict[str, tuple[float, float]] = {
    "gate": MEASURED["expand"],
    "up": MEASURED["gelu"],
    "silu": MEASURED["gelu"],
    "gated": MEASURED["gelu"],
    "probabilities": MEASURED["key"],
    "dropped_probabilities": MEASURED["key"],
}
SENSITIVITY = {**MEASURED, **ASSUMED}


# What is added to a tensor's error, as a share of it, where everything that can be computed again from it is:
# that inherits its loss. Measured as above (python benchmarks/adacc_promises.py inherited), the larger of the
# codecs' shares. A gated block is the Llama's. Not measured: attention that is not fused, where what reads
# the scores is taken to inherit as much again.
INHERITED = {
    "norm1": 1.2,
    "qkv": 0.03,
    "query": 0.0,
    "key": 0.0,
    "value": 0.0,
    "attention": 0.02,
    "middle": 6.6,
    "norm2": 0.76,
    "expand": 1.0,
    "gelu": 0.0,
}
GATED = {"norm1": 4.4, "middle": 5.5, "norm2": 0.72, "gate": 1.75, "up": 0.41, "silu": 0.41, "gated": 0.0}
UNFUSED = dict.fromkeys(("qkv", "query", "key", "probabilities", "dropped_probabilities"), 1.0)


def inherited(block: Block) -> dict[str, float]:
    """The share of each saved tensor of a block."""
    names = {tensor.name for tensor in block.tensors}
    return {**INHERITED, **(GATED if "gate" in names else {}), **(UNFUSED if "scores" in names else {})}


def labels(offload: bool) -> tuple[str, ...]:
    """The choices of a plan, the default first."""
    return (RETAIN, INT8, INT4, OFFLOAD, RECOMPUTE) if offload else (RETAIN, INT8, INT4, RECOMPUTE)


def outlier_channels(tensor: Tensor) -> int:
    """Channels that the 4-bit codec keeps in full precision."""
    return max(1, round(OUTLIERS * tensor.width)) if tensor.content == "activation" else 0


def coded_size(tensor: Tensor, label: str, item: int) -> int:
    """Bytes of a tensor in a codec: payload, 16-bit scales, outlier channels with 32-bit indexes.

    >>> wide = Tensor("norm1", "saved", "activation", 128 * 1600, 1600, 128 * 1600 * 2)
    >>> coded_size(wide, "int8", 2), coded_size(wide, "int4", 2)
    (211200, 124224)
    """
    if tensor.content == "mask":
        return -(-tensor.elements // 8)
    if label == INT8:
        return tensor.rows * (tensor.width + 2 * -(-tensor.width // GROUP))
    apart = outlier_channels(tensor)
    rest = tensor.width - apart
    return tensor.rows * (-(-rest // 2) + 2 * -(-rest // GROUP) + item * apart) + 4 * apart


def codec_seconds(tensor: Tensor, label: str, operators: Operators) -> float:
    """Seconds to encode in the forward and decode in the backward pass."""
    if tensor.content == "mask":
        return operators.packing(tensor.elements)
    if label == INT8:
        return operators.codec(tensor.elements, 8, GROUP)
    return operators.codec(tensor.elements, 4, GROUP) + operators.columns(
        tensor.rows * outlier_channels(tensor)
    )


def codec_error(block: Block, tensor: Tensor, label: str) -> float:
    """Relative gradient error of a codec on a tensor of a block; packing a mask has none.

    It counts as if all that can be computed again from the tensor were, and inherited its loss: more than a
    plan errs that retains these.
    """
    if tensor.content == "mask":
        return 0.0
    return SENSITIVITY[tensor.name][CODECS.index(label)] * (1 + inherited(block)[tensor.name])


@dataclass(frozen=True, eq=False)
class Table:
    """The choices for each saved tensor of a block, each array (tensors, labels).

    stored: bytes from forward to backward. workspace: bytes materialised during the block's own
    backward. seconds: codec time; the time of recomputing depends on the other tensors and is not
    here. error: relative gradient error. transfer: seconds on the host link, one way.
    """

    labels: tuple[str, ...]
    stored: Array
    workspace: Array
    seconds: Array
    error: Array
    transfer: Array

    @property
    def dropped(self) -> int:
        """Position of the label that stores nothing and recomputes."""
        return self.labels.index(RECOMPUTE)


def table(block: Block, operators: Operators, offload: bool) -> Table:
    """The choices for every saved tensor of a block, in order."""
    names, saved = labels(offload), block.saved
    stored, workspace, seconds, error, moved = np.zeros((5, len(saved), len(names)))
    for i, tensor in enumerate(saved):
        for j, label in enumerate(names):
            workspace[i, j] = 0 if label == RETAIN else tensor.size
            if label == RETAIN:
                stored[i, j] = tensor.size
            elif label in CODECS:
                stored[i, j] = coded_size(tensor, label, operators.item)
                seconds[i, j] = codec_seconds(tensor, label, operators)
                error[i, j] = codec_error(block, tensor, label)
            elif label == OFFLOAD:
                moved[i, j] = operators.transfer(tensor.size)
    return Table(names, stored, workspace, seconds, error, moved)
