"""Attention of some queries to all keys and values, with the log-sum-exp as a by-product.

The fused kernels compute the log-sum-exp of every query anyway; asking for it costs nothing and no
attention map is ever stored.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FLASH_DTYPES = (torch.float16, torch.bfloat16)


def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(dim)) v and its log-sum-exp.

    q: (n, heads, rows, dim); k, v: (n, heads, tokens, dim). Returns (n, heads, rows, dim), (n, heads, rows).

    >>> q, k = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 5, 8)
    >>> _, lse = attend(q, k, k)
    >>> torch.allclose(lse, (q @ k.mT / 8**0.5).logsumexp(-1), atol=1e-5)
    True
    """
    aten = torch.ops.aten
    if q.device.type == "cpu":
        out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
        return out, lse
    if q.device.type == "cuda":
        if q.dtype in FLASH_DTYPES:
            out, lse, *_ = aten._scaled_dot_product_flash_attention(q, k, v)
        else:
            out, lse, *_ = aten._scaled_dot_product_efficient_attention(q, k, v, None, True)
        return out, lse[..., : q.shape[-2]]
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v, scores.logsumexp(-1)


class Rows(NamedTuple):
    """Some tokens of each sample, in no order.

    each: (n, chosen) tokens of each sample. flat: (n x chosen,), the same in a batch laid end to end.
    """

    each: Tensor
    flat: Tensor

    @classmethod
    def of(cls, each: Tensor, tokens: int) -> Rows:
        """From (n, chosen) tokens of samples of `tokens` each.

        >>> Rows.of(torch.tensor([[2, 0], [1, 2]]), 3).flat
        tensor([2, 0, 4, 5])
        """
        if each.shape[0] == 1:
            return cls(each, each.reshape(-1))
        start = torch.arange(0, each.shape[0] * tokens, tokens, device=each.device)
        return cls(each, (each + start[:, None]).view(-1))


def take(x: Tensor, rows: Rows) -> Tensor:
    """Rows of each sample, gathered: (n, tokens, d) -> (n, chosen, d)."""
    n, _, d = x.shape
    return x.reshape(-1, d).index_select(0, rows.flat).view(n, -1, d)


def put(target: Tensor, rows: Rows, values: Tensor) -> None:
    """Write rows of each sample in place: target (n, tokens, ...), values (n, chosen, ...)."""
    rest = target.shape[2:]
    target.view(-1, *rest).index_copy_(0, rows.flat, values.reshape(-1, *rest))
