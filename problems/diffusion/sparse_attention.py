"""Attention of some queries to all keys and values, with the log-sum-exp as a by-product.

The fused kernels compute the log-sum-exp of every query anyway; asking for it costs nothing and no
attention map is ever stored.
"""

from __future__ import annotations

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


def take(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of each sample, gathered: x (n, tokens, d), rows (n, chosen) -> (n, chosen, d)."""
    n, tokens, d = x.shape
    return x.reshape(n * tokens, d).index_select(0, flat(rows, tokens)).view(n, -1, d)


def put(target: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write rows of each sample in place: target (n, tokens, ...), values (n, chosen, ...)."""
    n, tokens, *rest = target.shape
    target.view(n * tokens, *rest).index_copy_(0, flat(rows, tokens), values.reshape(-1, *rest))


def flat(rows: Tensor, tokens: int) -> Tensor:
    """Row numbers of a batch laid end to end."""
    if rows.shape[0] == 1:
        return rows.view(-1)
    start = torch.arange(0, rows.shape[0] * tokens, tokens, device=rows.device)
    return (rows + start[:, None]).view(-1)
