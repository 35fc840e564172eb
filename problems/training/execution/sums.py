"""Sums of the bits of tensors, by which a change shows that no version counter saw."""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from torch import Tensor

from .kernels import checksum
from .tape import Geometry


def fits(storage: torch.UntypedStorage, shape: Geometry) -> bool:
    """Whether a storage still holds a part of it: it may have been freed, as sharded parameters are."""
    dtype, offset, size, stride = shape
    if 0 in size:
        return True
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    return bool(storage.nbytes() >= (last + 1) * dtype.itemsize)


def total(tensor: Tensor) -> int | None:
    """A sum of a CPU tensor's bits in which every place has a weight of its own; None elsewhere, where asking
    would wait for the device."""
    size = tensor.numel() * tensor.element_size()
    if tensor.device.type != "cpu" or not size:
        return None
    if not tensor.is_contiguous() and not dense(tensor):
        with torch.no_grad():
            return total(tensor.contiguous())
    # no operator runs: the pass may be followed just now
    memory = (ctypes.c_char * size).from_address(tensor.data_ptr())
    return int(checksum(np.frombuffer(memory, np.uint8 if size % 8 else np.int64)))


def dense(tensor: Tensor) -> bool:
    """Whether the elements of a tensor fill a piece of memory, in whatever order."""
    expected = 1
    for stride, n in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if n != 1:
            if stride != expected:
                return False
            expected *= n
    return True
