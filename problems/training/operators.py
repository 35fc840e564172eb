"""Times of the operators of a transformer's training step, forward and backward.

The only door from this problem to the cost models. A product's backward is two products of the same
size; fused attention's backward does 2.5 times the forward's products (Dao 2023, section 3.2);
a memory-bound operator's backward reads one operand more.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...costmodels import (
    Cost,
    attention_prefill,
    dequantize,
    elementwise,
    gemm,
    layer_norm,
    quantize,
    softmax,
    transfer,
)
from ...hardware import Device
from ...hardware.dtypes import size_of

CHUNK = 2**24
"""Parameters that one kernel of the optimiser updates."""


@dataclass(frozen=True, eq=False)
class Pass:
    """One operator: its forward and its backward."""

    forward: Cost
    backward: Cost

    def __add__(self, other: Pass) -> Pass:
        return Pass(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True, eq=False)
class Operators:
    """The operators of one device and activation type. scale: a factor on every time."""

    device: Device
    dtype: str
    scale: float = 1.0

    def _pass(self, forward: Cost, backward: Cost) -> Pass:
        return Pass(forward * self.scale, backward * self.scale)

    def _seconds(self, *costs: Cost) -> float:
        return self.scale * sum(float(cost.time) for cost in costs)

    @property
    def item(self) -> int:
        """Bytes of an activation."""
        return round(float(size_of(self.dtype)))

    def linear(self, rows: int, inputs: int, outputs: int) -> Pass:
        """(rows, inputs) by a weight (inputs, outputs); backward: input gradient, weight gradient."""
        return self._pass(
            gemm(self.device, m=rows, n=outputs, k=inputs, dtype=self.dtype),
            gemm(self.device, m=rows, n=inputs, k=outputs, dtype=self.dtype)
            + gemm(self.device, m=inputs, n=outputs, k=rows, dtype=self.dtype),
        )

    def product(self, batch: int, m: int, n: int, k: int) -> Pass:
        """`batch` products of two activations, (m, k) by (k, n)."""
        return self._pass(
            gemm(self.device, m=m, n=n, k=k, batch=batch, dtype=self.dtype),
            gemm(self.device, m=m, n=k, k=n, batch=batch, dtype=self.dtype)
            + gemm(self.device, m=k, n=n, k=m, batch=batch, dtype=self.dtype),
        )

    def attention(self, batch: int, sequence: int, heads: int, kv_heads: int, head_dim: int) -> Pass:
        """Fused causal attention; the backward recomputes the scores from the log-sum-exp."""
        forward = attention_prefill(
            self.device,
            batch=batch,
            sequence=sequence,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            dtype=self.dtype,
        )
        return self._pass(forward, forward * 2.5)

    def norm(self, rows: int, width: int) -> Pass:
        """Layer or RMS normalisation; the backward reads input and gradient."""
        forward = layer_norm(self.device, rows=rows, width=width, dtype=self.dtype)
        return self._pass(forward, forward * 1.5)

    def softmax(self, rows: int, width: int) -> Pass:
        """Softmax along rows; the backward reads output and gradient."""
        forward = softmax(self.device, rows=rows, width=width, dtype=self.dtype)
        return self._pass(forward, forward * 1.5)

    def pointwise(self, elements: int, reads: int = 1, operations: int = 1) -> Pass:
        """One pass over `elements`; the backward reads the gradient too."""
        return self._pass(
            elementwise(self.device, elements=elements, reads=reads, operations=operations, dtype=self.dtype),
            elementwise(
                self.device, elements=elements, reads=reads + 1, operations=operations, dtype=self.dtype
            ),
        )

    def random_mask(self, elements: int) -> Pass:
        """A dropout mask from the generator's state: a byte an element written, nothing backward."""
        made = elementwise(self.device, elements=elements, reads=0, operations=10, dtype="int8")
        return self._pass(made, Cost.zero())

    def update(self, parameters: int, bytes_each: int) -> Cost:
        """The optimiser's step: the state of every parameter read and written once, chunk by chunk."""
        chunk = min(parameters, CHUNK)
        made = elementwise(
            self.device, elements=chunk, reads=bytes_each, writes=bytes_each, operations=10, dtype="int8"
        )
        return made * (self.scale * parameters / chunk)

    def codec(self, elements: int, bits: int, group: int) -> float:
        """Seconds to quantise and de-quantise once, fused kernels."""
        encode = quantize(self.device, elements=elements, bits=bits, group=group, dtype=self.dtype)
        decode = dequantize(self.device, elements=elements, bits=bits, group=group, dtype=self.dtype)
        return self._seconds(encode, decode)

    def columns(self, elements: int) -> float:
        """Seconds to set some channels aside and to put them back: two copies."""
        return 2.0 * float(self.pointwise(elements, operations=0).forward.time) if elements else 0.0

    def packing(self, elements: int) -> float:
        """Seconds to pack a byte an element into a bit and back: the traffic of a 1-bit codec."""
        encode = quantize(self.device, elements=elements, bits=1, group=max(elements, 1), dtype="int8")
        decode = dequantize(self.device, elements=elements, bits=1, group=max(elements, 1), dtype="int8")
        return self._seconds(encode, decode)

    def transfer(self, size: int) -> float:
        """Seconds to move `size` bytes to the host, or back, over the host link (pinned memory)."""
        return self._seconds(transfer(self.device, bytes=size))
