"""Denoising steps of video diffusion transformers with a share of the tokens computed, on some devices.

Of the selected tokens: queries, output projection, cross-attention and MLP. Of all tokens: keys and
values (and the norm before them), so attention is exact for the selected rows and linear in their
number. Of the rest the cached branch outputs are read. After ASTRAEA (arXiv 2506.05096, as its reviews
describe it). Several devices split the rows; what they exchange is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..hardware.dtypes import size_of
from ..hardware.record import Device
from .attention import attention_prefill
from .collective import all_gather, all_to_all
from .cost import Cost
from .evaluate import Shape
from .indexing import gather, scatter
from .matrix import gemm
from .pointwise import elementwise
from .reductions import layer_norm
from .sorting import sort


@dataclass(frozen=True)
class VideoTransformer:
    """A stack of equal blocks over the tokens of one video; what a step costs depends on nothing else.

    windows: keys that a query sees, one entry a kind of block, the kinds taking turns: all tokens, or
    those of its frame and those of its place where space and time have blocks of their own. text:
    tokens of the prompt, attended to by cross-attention (`cross`) or carried through the blocks beside
    the video's. passes: model evaluations a step, 2 with classifier-free guidance.
    """

    name: str
    blocks: int
    hidden: int
    heads: int
    head_dim: int
    intermediate: int
    tokens: int
    windows: tuple[int, ...]
    text: int = 0
    cross: bool = True
    passes: int = 1
    steps: int = 50

    @property
    def branches(self) -> int:
        """Residual branches of a block: self-attention, cross-attention where there is a prompt, MLP."""
        return 3 if self.cross and self.text else 2

    def cache_bytes(self, dtype: str = "bf16") -> float:
        """Bytes kept from step to step: branch outputs, the input last computed, score and age, a token each.

        >>> VideoTransformer("tiny", 2, 8, 2, 4, 16, tokens=10, windows=(10,)).cache_bytes("fp32")
        2080.0
        """
        row = (self.branches + 1) * self.hidden * size_of(dtype) + 8
        return float(self.passes * self.blocks * self.tokens * row)


def denoising_step(
    device: Device,
    model: VideoTransformer,
    *,
    kept: Shape = 1.0,
    ways: int = 1,
    dtype: str = "bf16",
    link: str = "nvlink",
) -> Cost:
    """One step of a sampler, all its passes, with a share `kept` of the video's tokens computed.

    kept: in [0, 1]. 1 is the plain step, without selection, gather and scatter; 0 uses the previous
    output again: one pass over the tokens. ways: devices that split the selected rows.

    >>> from tradespace.hardware import device
    >>> gpu = device("a100-sxm-80gb")
    >>> model = VideoTransformer("dit", 28, 1152, 16, 72, 4608, tokens=16384, windows=(16384,))
    >>> half, full = (denoising_step(gpu, model, kept=share).time for share in (0.5, 1.0))
    >>> bool(0.45 * full < half < 0.6 * full)
    True
    """
    share = np.asarray(kept, dtype=np.float64)
    kinds = len(model.windows)
    total = Cost.zero()
    for number, window in enumerate(model.windows):
        blocks = len(range(number, model.blocks, kinds))
        total = total + _block(device, model, window, share, ways, dtype, link) * float(blocks)
    rows = -(-model.tokens // ways) * model.passes
    reuse = elementwise(device, elements=rows * model.hidden, reads=2, dtype=dtype)
    return total * np.where(share > 0, 1.0, 0.0)[()] + reuse * np.where(share > 0, 0.0, 1.0)[()]


def _block(
    device: Device,
    model: VideoTransformer,
    window: int,
    share: np.ndarray,
    ways: int,
    dtype: str,
    link: str,
) -> Cost:
    """One block on one of `ways` devices: its part of the selected rows, every key and value."""
    d, passes = model.hidden, model.passes
    beside = 0 if model.cross else model.text
    every = np.ceil(model.tokens / ways) * passes + beside * passes
    chosen = np.ceil(np.ceil(model.tokens * share) / ways) * passes + beside * passes
    width = model.heads * model.head_dim
    values = chosen * d
    keys = float(window + beside)
    # Every row attends: groups of `window` tokens. Of a group the selected queries are a share.
    attention = (
        attention_prefill(
            device,
            batch=np.ceil(passes * model.tokens / window),
            sequence=keys,
            heads=model.heads,
            kv_heads=model.heads,
            head_dim=model.head_dim,
            dtype=dtype,
            causal=False,
        )
        * ((share * window + beside) / keys / ways)[()]
    )
    block = (
        layer_norm(device, rows=every, width=d, dtype=dtype)
        + elementwise(device, elements=every * d, reads=1, operations=2, dtype=dtype)
        + gemm(device, m=every, n=2 * width, k=d, dtype=dtype)
        + gemm(device, m=chosen, n=width, k=d, dtype=dtype)
        + elementwise(device, elements=every * width, reads=1, operations=3, dtype=dtype)
        + elementwise(device, elements=chosen * width, reads=1, operations=3, dtype=dtype)
        + attention
        + gemm(device, m=chosen, n=d, k=width, dtype=dtype)
        + elementwise(device, elements=every * d, reads=2, operations=2, dtype=dtype)
        + layer_norm(device, rows=chosen, width=d, dtype=dtype)
        + elementwise(device, elements=values, reads=1, operations=2, dtype=dtype)
        + gemm(device, m=chosen, n=model.intermediate, k=d, dtype=dtype)
        + elementwise(device, elements=chosen * model.intermediate, operations=10, dtype=dtype)
        + gemm(device, m=chosen, n=d, k=model.intermediate, dtype=dtype)
        + elementwise(device, elements=every * d, reads=2, operations=2, dtype=dtype)
        + gemm(device, m=passes, n=6 * d, k=d, dtype=dtype)
    )
    if model.cross and model.text:
        block = block + _cross_attention(device, model, chosen, dtype)
    if ways > 1:
        block = block + _exchange(device, model, window, every, chosen, ways, dtype, link)
    if np.any(share < 1):
        selection = _selection(device, model, every, chosen, dtype)
        block = block + selection * np.where(share < 1, 1.0, 0.0)[()]
    return block


def _exchange(
    device: Device,
    model: VideoTransformer,
    window: int,
    every: np.ndarray,
    chosen: np.ndarray,
    ways: int,
    dtype: str,
    link: str,
) -> Cost:
    """Keys and values of all tokens gathered on every device; in short windows rows dealt out by window.

    every, chosen: rows of one device.
    """
    row = model.heads * model.head_dim * size_of(dtype)
    if window >= model.tokens:
        return all_gather(device, bytes=2.0 * every * ways * row, devices=ways, link=link)
    return all_to_all(device, bytes=2.0 * (every + chosen) * row, devices=ways, link=link)


def _cross_attention(device: Device, model: VideoTransformer, chosen: np.ndarray, dtype: str) -> Cost:
    """Queries of the selected tokens against the prompt; its keys and values are computed each time."""
    d, width, prompt = model.hidden, model.heads * model.head_dim, model.text * model.passes
    square = attention_prefill(
        device,
        batch=np.ceil(chosen / model.text),
        sequence=model.text,
        heads=model.heads,
        kv_heads=model.heads,
        head_dim=model.head_dim,
        dtype=dtype,
        causal=False,
    )
    return (
        layer_norm(device, rows=chosen, width=d, dtype=dtype)
        + gemm(device, m=chosen, n=width, k=d, dtype=dtype)
        + gemm(device, m=prompt, n=2 * width, k=d, dtype=dtype)
        + square
        + gemm(device, m=chosen, n=d, k=width, dtype=dtype)
        + elementwise(device, elements=chosen * d, reads=2, operations=1, dtype=dtype)
    )


def _selection(
    device: Device, model: VideoTransformer, every: np.ndarray, chosen: np.ndarray, dtype: str
) -> Cost:
    """Change of every token, a sort of the scores, rows fetched once and put into each branch's cache."""
    change = elementwise(device, elements=every * model.hidden, reads=2, writes=0, operations=3, dtype=dtype)
    order = sort(device, rows=model.passes, width=every / model.passes)
    moved = gather(device, count=chosen, width=model.hidden, table=every, dtype=dtype)
    put = scatter(device, count=chosen, width=model.hidden, table=every, dtype=dtype)
    return change + order + moved + put * float(model.branches)
