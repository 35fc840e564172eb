"""Denoising steps of diffusion transformers: full attention, modulation, and token selection.

With a share of the tokens selected, projections and MLP run on the selected ones, queries come from
them, keys and values from all, so attention scales with the share and its keys do not.
"""

from __future__ import annotations

import numpy as np

from ..hardware.record import Device
from .architectures import Architecture
from .attention import attention_prefill
from .cost import Cost
from .evaluate import Shape
from .indexing import gather, scatter
from .matrix import gemm
from .pointwise import elementwise
from .transformer import linear_operators


def denoising_step(
    device: Device,
    model: Architecture,
    *,
    tokens: Shape,
    batch: Shape = 1,
    kept: Shape = 1.0,
    dtype: str = "bf16",
) -> Cost:
    """One step of a DiT on `batch` samples of `tokens` tokens, a share `kept` of them computed.

    kept: in (0, 1]; 1 is the plain step, without selection, gather and scatter.

    >>> from tradespace.hardware import device
    >>> from tradespace.costmodels.architectures import Architecture
    >>> dit = Architecture("dit-xl", 28, 1152, 16, 16, 72, 4608, 0, gated=False)
    >>> gpu = device("a100-sxm-80gb")
    >>> half, full = (denoising_step(gpu, dit, tokens=16384, kept=share).time for share in (0.5, 1.0))
    >>> bool(0.4 * full < half < 0.7 * full)
    True
    """
    every = np.asarray(tokens, dtype=np.float64)
    share = np.asarray(kept, dtype=np.float64)
    chosen = np.ceil(every * share) * np.asarray(batch)
    values = chosen * model.hidden
    layer = sum(linear_operators(device, model, tokens=chosen, dtype=dtype).values(), Cost.zero())
    attention = attention_prefill(
        device,
        batch=batch,
        sequence=every,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_dim=model.head_dim,
        dtype=dtype,
        causal=False,
    )
    # Six modulation vectors a sample (adaLN-zero, Peebles & Xie 2023), two passes over the tokens each way.
    modulation = gemm(device, m=batch, n=6 * model.hidden, k=model.hidden, dtype=dtype)
    modulation = modulation + elementwise(device, elements=values, reads=2, operations=2, dtype=dtype) * 4.0
    layer = layer + attention * share[()] + modulation
    if np.any(share < 1):
        moved = gather(device, count=chosen, width=model.hidden, table=every, dtype=dtype)
        moved = moved + scatter(device, count=chosen, width=model.hidden, table=every, dtype=dtype)
        layer = layer + moved * np.where(share < 1, 1.0, 0.0)[()]
    return layer * float(model.layers)
