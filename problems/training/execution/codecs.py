"""Codecs of activations: flat storage in, a smaller code out, and back.

Groups of 64 consecutive elements share a 16-bit scale. On the CPU in fp32 the fused kernels of
`kernels` and `apart` run; elsewhere (CUDA, half precision) eager PyTorch computes the same code. Where
outliers spoil the scale: `Int4Channels` keeps whole channels apart (residual streams and norm outputs
have such), `Int4Tokens` the largest entries of each row (SwiGLU products and attention outputs have
spikes at single tokens, which no set of channels catches; the fused kernel takes up to 2 % of a row by
a bound that it carries from row to row, eager PyTorch exactly 2 %). `UInt4` is for numbers that are not
negative, `Bits` for masks and signs: two values, without loss. The layouts are ours, after Adacc.

What a codec does not take it keeps, by one rule: a group whose scale is no number in the range of the type
(it holds an infinity, NaN or a number that rounds up beyond the range; for `UInt4` also a negative one) stays
as it is, to the bit, beside the code. A tensor whose code would then not be smaller, or that holds a third
value for `Bits`, is not coded: `encode` returns None.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from . import apart, kernels

GROUP, HALF = kernels.GROUP, kernels.HALF
REFRESH = 16


@dataclass(frozen=True, eq=False)
class Code:
    """An encoded tensor: the arrays that hold it, its length and type; places of elements that stay as they
    are, and these."""

    parts: tuple[Tensor, ...]
    elements: int
    dtype: torch.dtype
    places: Tensor | None = None
    whole: Tensor | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        parts = (*self.parts, self.places, self.whole)
        return sum(part.untyped_storage().nbytes() for part in parts if part is not None)


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

    def takes(self, elements: int) -> bool:
        """Whether it codes tensors of so many elements."""
        return elements > 0

    def encode(self, x: Tensor) -> Code | None:
        """Encode a flat tensor; None where its code would not be smaller."""
        code = self.compress(x)
        odd = None if code is None else self.odd(code)
        if code is None or odd is None:
            return code
        lanes = torch.arange(GROUP, device=x.device)
        places = (odd[:, None] * GROUP + lanes).view(-1)
        places = places[places < x.numel()]
        code = replace(code, places=places, whole=x[places])
        return code if code.size < x.numel() * x.element_size() else None

    def decode(self, code: Code) -> Tensor:
        """The flat tensor a code stands for."""
        made = self.expand(code)
        if code.places is not None and code.whole is not None:
            made[code.places] = code.whole
        return made

    def odd(self, code: Code) -> Tensor | None:
        """The groups that stay as they are; None where there is none."""
        return None

    @abstractmethod
    def compress(self, x: Tensor) -> Code | None:
        """The code of a flat tensor, whatever it makes of odd groups."""

    @abstractmethod
    def expand(self, code: Code) -> Tensor:
        """The flat tensor of a code, odd groups aside."""

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


def _patterns(x: Tensor) -> np.ndarray:
    """The bit patterns of fp32 numbers, in the same memory."""
    made: np.ndarray = x.view(torch.int32).numpy()
    return made


class Grouped(Codec):
    """Groups of 64 whose scales are the second part of the code."""

    def odd(self, code: Code) -> Tensor | None:
        within = code.parts[1].float() <= torch.finfo(code.dtype).max
        return None if bool(within.all()) else (~within).nonzero().view(-1)


class Int8(Grouped):
    """Eight bits, groups of 64."""

    name = "int8"

    def stored(self, elements: int, item: int) -> int:
        return _groups(elements) * (GROUP + 2)

    def compress(self, x: Tensor) -> Code:
        groups = _groups(x.numel())
        if _fused(x):
            code = torch.empty(groups * GROUP, dtype=torch.int8)
            scale = torch.empty(groups, dtype=torch.bfloat16)
            kernels.encode8(_patterns(x), code.numpy(), scale.view(torch.uint16).numpy(), self.seed)
            return Code((code, scale), x.numel(), x.dtype)
        rows = _padded(x).float().view(groups, GROUP)
        scale = _scales(rows)
        ratio = rows * (127.0 / scale.float().clamp_min(1e-30))[:, None]
        rounded = (ratio + torch.rand_like(ratio)).floor() if self.stochastic else ratio.round()
        return Code((rounded.clamp(-127, 127).to(torch.int8).view(-1), scale), x.numel(), x.dtype)

    def expand(self, code: Code) -> Tensor:
        values, scale = code.parts
        wide = scale.float()
        if code.dtype == torch.float32 and values.device.type == "cpu":
            made = torch.empty(values.numel())
            kernels.decode8(values.numpy(), wide.numpy(), made.numpy())
        else:
            made = (values.view(-1, GROUP).float() * (wide / 127.0)[:, None]).to(code.dtype).view(-1)
        return made[: code.elements]


def _room(groups: int) -> tuple[Tensor, Tensor]:
    """Memory for 4-bit codes and their scales."""
    return torch.empty(groups * HALF, dtype=torch.uint8), torch.empty(groups, dtype=torch.bfloat16)


class Int4(Grouped):
    """Four bits, groups of 64."""

    name = "int4"
    low, levels = 8, 7

    def stored(self, elements: int, item: int) -> int:
        return _groups(elements) * (HALF + 2)

    def compress(self, x: Tensor) -> Code:
        groups = _groups(x.numel())
        if _fused(x):
            code, scale = _room(groups)
            kernels.encode4(
                _patterns(x), code.numpy(), scale.view(torch.uint16).numpy(),
                self.seed, np.float32(self.low), np.float32(self.levels),
            )  # fmt: skip
            return Code((code, scale), x.numel(), x.dtype)
        rows = _padded(x).float().view(groups, GROUP)
        scale = _scales(rows)
        if not self.low:
            scale = torch.where(rows.amin(1) < 0, torch.nan, scale)
        ratio = rows * (self.levels / scale.float().clamp_min(1e-30))[:, None] + self.low
        rounded = (ratio + torch.rand_like(ratio)).floor() if self.stochastic else (ratio + 0.5).floor()
        codes = rounded.clamp(0, 15).to(torch.uint8)
        packed = codes[:, :HALF] | (codes[:, HALF:] << 4)
        return Code((packed.reshape(-1), scale), x.numel(), x.dtype)

    def expand(self, code: Code) -> Tensor:
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
        self.rest: Tensor | None = None

    def takes(self, elements: int) -> bool:
        return elements > 0 and elements % self.width == 0

    @property
    def apart(self) -> int:
        """Channels kept as they are."""
        return max(1, round(self.share * self.width))

    @property
    def kept(self) -> int:
        """The channels' numbers, and which elements of a group are not theirs."""
        return 8 * self.apart + 4 * (self.width + GROUP)

    def stored(self, elements: int, item: int) -> int:
        return super().stored(elements, item) + elements // self.width * self.apart * item

    def compress(self, x: Tensor) -> Code:
        table = x.view(-1, self.width)
        if self.channels is None or self.age % self.refresh == 0:
            tops = table.amax(0).maximum(-table.amin(0))
            self.channels = tops.topk(self.apart).indices.sort().values
            around = torch.arange(self.width + GROUP, device=x.device) % self.width
            self.rest = torch.where(torch.isin(around, self.channels), 0, -1).to(torch.int32)
        self.age += 1
        assert self.rest is not None
        if _fused(x):
            code, scale = _room(_groups(x.numel()))
            kept = torch.empty(len(table), self.apart)
            apart.encode_channels(
                _patterns(x), self.rest.numpy(), self.channels.numpy(), self.width,
                code.numpy(), scale.view(torch.uint16).numpy(), _patterns(kept), self.seed,
            )  # fmt: skip
            return _WithChannels((code, scale, kept), x.numel(), x.dtype, channels=self.channels)
        kept = table.index_select(1, self.channels)
        inner = super().compress((table * -self.rest[: self.width].to(x.dtype)).view(-1))
        # the set is shared by the codes made with it and counts as no tensor's bytes
        return _WithChannels((*inner.parts, kept), x.numel(), x.dtype, channels=self.channels)

    def expand(self, code: Code) -> Tensor:
        assert isinstance(code, _WithChannels)
        if code.dtype == torch.float32 and code.parts[0].device.type == "cpu":
            values, scale, kept = code.parts
            fused = torch.empty(2 * values.numel())
            apart.decode_channels(
                values.numpy(), scale.float().numpy(), code.channels.numpy(), kept.numpy(), self.width,
                fused.numpy(),
            )  # fmt: skip
            return fused[: code.elements]
        made = super().expand(code)
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

    def takes(self, elements: int) -> bool:
        return elements > 0 and elements % self.width == 0

    @property
    def apart(self) -> int:
        """Entries a row kept as they are."""
        return max(1, round(self.share * self.width))

    def stored(self, elements: int, item: int) -> int:
        return super().stored(elements, item) + elements // self.width * self.apart * (item + 2)

    def compress(self, x: Tensor) -> Code:
        if _fused(x):
            code, scale = _room(_groups(x.numel()))
            values = torch.empty(x.numel() // self.width, self.apart)
            places = torch.empty(len(values), self.apart, dtype=torch.int16)
            apart.encode_tokens(
                _patterns(x), self.width, code.numpy(), scale.view(torch.uint16).numpy(), _patterns(values),
                places.view(torch.uint16).numpy(), self.seed,
            )  # fmt: skip
            return Code((code, scale, values, places), x.numel(), x.dtype)
        rest = x.clone()
        table = rest.view(-1, self.width)
        columns = table.abs().topk(self.apart, 1).indices
        values = table.gather(1, columns)
        table.scatter_(1, columns, 0)
        inner = super().compress(rest)
        return Code((*inner.parts, values, columns.to(torch.int16)), x.numel(), x.dtype)

    def expand(self, code: Code) -> Tensor:
        packed, scale, values, places = code.parts
        if code.dtype == torch.float32 and packed.device.type == "cpu":
            fused = torch.empty(2 * packed.numel())
            apart.decode_tokens(
                packed.numpy(), scale.float().numpy(), values.numpy(), places.view(torch.uint16).numpy(),
                self.width, fused.numpy(),
            )  # fmt: skip
            return fused[: code.elements]
        made = super().expand(code)
        made.view(-1, self.width).scatter_(1, places.long() & 0xFFFF, values)
        return made


class Bits(Codec):
    """One bit an element of a tensor that holds two values at most: a mask, signs. Without loss.

    A tensor that holds a third value is not coded.
    """

    name = "bits"
    lossless = True

    def stored(self, elements: int, item: int) -> int:
        return 8 * _groups(elements) + 2 * item

    def compress(self, x: Tensor) -> Code | None:
        whole = x.view(_INTEGERS[x.element_size()])
        if x.device.type == "cpu":
            flat = whole.numpy()
            pair = np.array([flat[0], kernels.second(flat)], flat.dtype)
            code = torch.empty(8 * _groups(x.numel()), dtype=torch.uint8)
            if not kernels.pack(flat, code.numpy().view(np.uint64), *pair):
                return None
            return Code((code, torch.from_numpy(pair)), x.numel(), x.dtype)
        found = torch.stack([whole.amin(), whole.amax()])
        if not bool(((whole == found[0]) | (whole == found[1])).all()):
            return None
        flags = (_padded(whole).view(-1, 8, 8) == found[1]).to(torch.uint8)
        weights = _POWERS.to(x.device)[:, None]
        return Code(((flags * weights).sum(1, dtype=torch.uint8).view(-1), found), x.numel(), x.dtype)

    def expand(self, code: Code) -> Tensor:
        packed, pair = code.parts
        if packed.device.type == "cpu":
            made = torch.empty(packed.numel() * 8, dtype=pair.dtype)
            kernels.unpack(packed.numpy().view(np.uint64), made.numpy(), *pair.numpy())
        else:
            weights = _POWERS.to(packed.device)[:, None]
            flags = (packed.view(-1, 1, 8) & weights) != 0
            made = torch.where(flags, pair[1], pair[0]).view(-1)
        return made.view(code.dtype)[: code.elements]


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_POWERS = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)


CODECS: dict[str, type[Codec]] = {c.name: c for c in (Int8, Int4, UInt4, Int4Channels, Int4Tokens, Bits)}


def codec(name: str, width: int, stochastic: bool = False) -> Codec:
    """A codec by its name, for a tensor of `width` channels."""
    return CODECS[name](width, stochastic)


def relative_error(made: Codec, x: Tensor) -> float:
    """Relative root-mean-square error of a codec on a flat tensor, over its finite elements."""
    code = made.encode(x)
    size = float(torch.nan_to_num(x.double(), 0.0, 0.0, 0.0).norm())
    if code is None or not size:
        return 0.0
    apart = made.decode(code).double() - x.double()
    return float(torch.nan_to_num(apart, 0.0).norm()) / size


def candidates(content: str, elements: int, width: int) -> Sequence[str]:
    """Four-bit codecs to choose from for a kind of tensor, the plainest first."""
    if content == "bounded":
        return ("uint4",)
    rows = width >= 8 and width < 2**16 and elements % width == 0 and math.prod((elements, width)) > 0
    return ("int4", "int4+channels", "int4+tokens") if rows else ("int4",)
