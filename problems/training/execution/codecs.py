"""Codecs of activations: flat storage in, a smaller code out, and back.

Groups of 64 consecutive elements share a 16-bit scale. On the CPU in fp32 the fused kernels of
`kernels` run; elsewhere (CUDA, half precision) eager PyTorch computes the same code. Where outliers
spoil the scale: `Int4Channels` keeps whole channels apart (residual streams and norm outputs have
such), `Int4Tokens` the largest entries of each row (SwiGLU products and attention outputs have spikes
at single tokens, which no set of channels catches). `UInt4` is for numbers that are not negative,
`Bits` for masks, without loss. The layouts are ours, after Adacc.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from . import kernels

GROUP, HALF = kernels.GROUP, kernels.HALF
REFRESH = 16


@dataclass(frozen=True, eq=False)
class Code:
    """An encoded tensor: the arrays that hold it, its length and type."""

    parts: tuple[Tensor, ...]
    elements: int
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.untyped_storage().nbytes() for part in self.parts)


class Codec(ABC):
    """One way to code a tensor of `width` channels. An instance belongs to one tensor of one plan."""

    name = ""
    lossless = False

    def __init__(self, width: int, stochastic: bool = False) -> None:
        self.width = width
        self.stochastic = stochastic
        self.count = 0

    @abstractmethod
    def stored(self, elements: int, item: int) -> int:
        """Bytes of a code."""

    @abstractmethod
    def encode(self, x: Tensor) -> Code:
        """Encode a flat tensor."""

    @abstractmethod
    def decode(self, code: Code) -> Tensor:
        """The flat tensor a code stands for."""

    @property
    def kept(self) -> int:
        """Bytes kept from one code to the next."""
        return 0

    @property
    def seed(self) -> int:
        """Seed of the rounding, another at each call; 0 rounds to the nearest."""
        if not self.stochastic:
            return 0
        self.count += 1
        return self.count


def _fused(x: Tensor) -> bool:
    return bool(x.device.type == "cpu" and x.dtype == torch.float32)


def _groups(elements: int) -> int:
    return -(-elements // GROUP)


def _padded(x: Tensor) -> Tensor:
    """x followed by zeros up to a whole group; x itself where it is one."""
    short = -x.numel() % GROUP
    return torch.nn.functional.pad(x, (0, short)) if short else x


def _scales(x: Tensor) -> Tensor:
    """Largest magnitude a group, as a bfloat16 rounded up; x (groups, 64) fp32."""
    top = x.abs().amax(1)
    bits = (top.contiguous().view(torch.int32) + 0xFFFF) >> 16
    return bits.to(torch.int16).view(torch.bfloat16)


class _Rounding:
    """Scratch that the kernels use to read a bit pattern as a number."""

    wide = np.zeros(1, np.float32)
    bits = wide.view(np.int32)


class Int8(Codec):
    """Eight bits, groups of 64."""

    name = "int8"

    def stored(self, elements: int, item: int) -> int:
        return _groups(elements) * (GROUP + 2)

    def encode(self, x: Tensor) -> Code:
        flat, groups = _padded(x), _groups(x.numel())
        if _fused(x):
            code = torch.empty(groups * GROUP, dtype=torch.int8)
            scale = torch.empty(groups, dtype=torch.bfloat16)
            kernels.encode8(
                flat.numpy(), flat.view(torch.int32).numpy(), code.numpy(),
                scale.view(torch.uint16).numpy(), _Rounding.wide, _Rounding.bits, self.seed,
            )  # fmt: skip
            return Code((code, scale), x.numel(), x.dtype)
        rows = flat.float().view(groups, GROUP)
        scale = _scales(rows)
        ratio = rows * (127.0 / scale.float().clamp_min(1e-30))[:, None]
        rounded = (ratio + torch.rand_like(ratio)).floor() if self.stochastic else ratio.round()
        return Code((rounded.clamp(-127, 127).to(torch.int8).view(-1), scale), x.numel(), x.dtype)

    def decode(self, code: Code) -> Tensor:
        values, scale = code.parts
        wide = scale.float()
        if code.dtype == torch.float32 and values.device.type == "cpu":
            made = torch.empty(values.numel())
            kernels.decode8(values.numpy(), wide.numpy(), made.numpy())
        else:
            made = (values.view(-1, GROUP).float() * (wide / 127.0)[:, None]).to(code.dtype).view(-1)
        return made[: code.elements]


class Int4(Codec):
    """Four bits, groups of 64."""

    name = "int4"
    low, levels = 8, 7

    def stored(self, elements: int, item: int) -> int:
        return _groups(elements) * (HALF + 2)

    def encode(self, x: Tensor) -> Code:
        flat, groups = _padded(x), _groups(x.numel())
        if _fused(x):
            code = torch.empty(groups * HALF, dtype=torch.uint8)
            scale = torch.empty(groups, dtype=torch.bfloat16)
            kernels.encode4(
                flat.numpy(), flat.view(torch.int32).numpy(), code.numpy(), scale.view(torch.uint16).numpy(),
                _Rounding.wide, _Rounding.bits, self.seed, np.float32(self.low), np.float32(self.levels),
            )  # fmt: skip
            return Code((code, scale), x.numel(), x.dtype)
        rows = flat.float().view(groups, GROUP)
        scale = _scales(rows)
        ratio = rows * (self.levels / scale.float().clamp_min(1e-30))[:, None] + self.low
        rounded = (ratio + torch.rand_like(ratio)).floor() if self.stochastic else (ratio + 0.5).floor()
        codes = rounded.clamp(0, 15).to(torch.uint8)
        packed = codes[:, :HALF] | (codes[:, HALF:] << 4)
        return Code((packed.reshape(-1), scale), x.numel(), x.dtype)

    def decode(self, code: Code) -> Tensor:
        values, scale = code.parts[:2]
        wide = scale.float()
        if code.dtype == torch.float32 and values.device.type == "cpu":
            made = torch.empty(2 * values.numel())
            kernels.decode4(
                values.numpy(), wide.numpy(), made.numpy(), np.int32(self.low), np.float32(self.levels)
            )
        else:
            halves = values.view(-1, HALF)
            codes = torch.cat([halves & 15, halves >> 4], 1).float() - self.low
            made = (codes * (wide / self.levels)[:, None]).to(code.dtype).view(-1)
        return made[: code.elements]


class UInt4(Int4):
    """Four bits of numbers that are not negative, such as probabilities; groups of 64."""

    name = "uint4"
    low, levels = 0, 15


class Int4Channels(Int4):
    """Four bits; the channels of largest magnitude apart. The set is found again every `refresh` codes."""

    name = "int4+channels"
    share = 0.05

    def __init__(self, width: int, stochastic: bool = False, refresh: int = REFRESH) -> None:
        super().__init__(width, stochastic)
        self.refresh = refresh
        self.age = 0
        self.channels: Tensor | None = None

    @property
    def apart(self) -> int:
        """Channels kept as they are."""
        return max(1, round(self.share * self.width))

    @property
    def kept(self) -> int:
        """The channels' numbers."""
        return 8 * self.apart

    def stored(self, elements: int, item: int) -> int:
        return super().stored(elements, item) + elements // self.width * self.apart * item

    def encode(self, x: Tensor) -> Code:
        table = x.view(-1, self.width)
        if self.channels is None or self.age % self.refresh == 0:
            tops = table.amax(0).maximum(-table.amin(0))
            self.channels = tops.topk(self.apart).indices.sort().values
        self.age += 1
        kept = table.index_select(1, self.channels)
        rest = table * torch.ones_like(table[0]).index_fill_(0, self.channels, 0)
        inner = super().encode(rest.view(-1))
        # the set is shared by the codes made with it and counts as no tensor's bytes
        return _WithChannels((*inner.parts, kept), x.numel(), x.dtype, self.channels)

    def decode(self, code: Code) -> Tensor:
        assert isinstance(code, _WithChannels)
        made = super().decode(code)
        made.view(-1, self.width).index_copy_(1, code.channels, code.parts[2])
        return made


@dataclass(frozen=True, eq=False)
class _WithChannels(Code):
    """A code with the channels that stand apart in it."""

    channels: Tensor = field(default_factory=lambda: torch.empty(0))


class Int4Tokens(Int4):
    """Four bits; the largest entries of every row apart, with their columns."""

    name = "int4+tokens"
    share = 0.02

    @property
    def apart(self) -> int:
        """Entries a row kept as they are."""
        return max(1, round(self.share * self.width))

    def stored(self, elements: int, item: int) -> int:
        return super().stored(elements, item) + elements // self.width * self.apart * (item + 2)

    def encode(self, x: Tensor) -> Code:
        rest = x.clone()
        table = rest.view(-1, self.width)
        if _fused(x):
            values = torch.empty(len(table), self.apart)
            places = torch.empty(len(table), self.apart, dtype=torch.int16)
            kernels.take_tops(table.numpy(), values.numpy(), places.view(torch.uint16).numpy())
        else:
            columns = table.abs().topk(self.apart, 1).indices
            values = table.gather(1, columns)
            table.scatter_(1, columns, 0)
            places = columns.to(torch.int16)
        inner = super().encode(rest)
        return Code((*inner.parts, values, places), x.numel(), x.dtype)

    def decode(self, code: Code) -> Tensor:
        made = super().decode(code)
        table, values, places = made.view(-1, self.width), code.parts[2], code.parts[3]
        if _fused(made):
            kernels.put_tops(table.numpy(), values.numpy(), places.view(torch.uint16).numpy())
        else:
            table.scatter_(1, places.long() & 0xFFFF, values)
        return made


class Bits(Codec):
    """One bit an element of a tensor that is 0 or one other number; without loss."""

    name = "bits"
    lossless = True

    def stored(self, elements: int, item: int) -> int:
        return 8 * _groups(elements) + 8

    def encode(self, x: Tensor) -> Code:
        flat = x.view(torch.uint8) if x.dtype == torch.bool else x
        flat = _padded(flat)
        one = flat.amax().double().view(1)
        if x.device.type == "cpu" and flat.dtype in {torch.float32, torch.uint8}:
            code = torch.empty(flat.numel() // 8, dtype=torch.uint8)
            kernels.pack(flat.numpy(), code.numpy())
        else:
            weights = _POWERS.to(x.device)[:, None]
            code = ((flat.view(-1, 8, 8) != 0).to(torch.uint8) * weights).sum(1, dtype=torch.uint8).view(-1)
        return Code((code, one), x.numel(), x.dtype)

    def decode(self, code: Code) -> Tensor:
        packed, one = code.parts
        kind = torch.uint8 if code.dtype == torch.bool else code.dtype
        if packed.device.type == "cpu" and kind in {torch.float32, torch.uint8}:
            made = torch.empty(packed.numel() * 8, dtype=kind)
            value = np.float32(one.item()) if kind == torch.float32 else np.uint8(one.item())
            kernels.unpack(packed.numpy(), made.numpy(), value)
        else:
            weights = _POWERS.to(packed.device)[:, None]
            made = ((packed.view(-1, 1, 8) & weights) != 0).to(kind).mul_(one.to(kind)).view(-1)
        return made.view(code.dtype)[: code.elements]


_POWERS = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)


CODECS: dict[str, type[Codec]] = {c.name: c for c in (Int8, Int4, UInt4, Int4Channels, Int4Tokens, Bits)}


def codec(name: str, width: int, stochastic: bool = False) -> Codec:
    """A codec by its name, for a tensor of `width` channels."""
    return CODECS[name](width, stochastic)


def relative_error(made: Codec, x: Tensor) -> float:
    """Relative root-mean-square error of a codec on a flat tensor."""
    size = float(x.double().norm())
    return float((made.decode(made.encode(x)).double() - x.double()).norm()) / size if size else 0.0


def candidates(content: str, elements: int, width: int) -> Sequence[str]:
    """Four-bit codecs to choose from for a kind of tensor, the plainest first."""
    if content == "bounded":
        return ("uint4",)
    rows = width >= 8 and width < 2**16 and elements % width == 0 and math.prod((elements, width)) > 0
    return ("int4", "int4+channels", "int4+tokens") if rows else ("int4",)
