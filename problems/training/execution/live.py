"""Bytes alive, exactly: every storage that an operator makes, counted until it dies.

A dispatch mode sees each operator, in the forward and in the backward pass. A storage is known by a weak
reference to it, never by its address, which is used again after it dies.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .cells import storage_of


def storages(tensors: Iterable[Any]) -> dict[int, torch.UntypedStorage]:
    """The distinct storages behind some tensors, by identity."""
    found = (storage_of(t) for t in tensors if isinstance(t, torch.Tensor))
    return {s._cdata: s for s in found if s is not None}


class LiveBytes(TorchDispatchMode):  # type: ignore[misc]
    """Counts bytes of storages made inside the context: `live` now, `peak` so far."""

    live: int
    peak: int

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.live = 0
        self.peak = 0

    def poll(self) -> int:
        """Drop what died; the bytes alive now."""
        for key in [k for k, (reference, _) in self.alive.items() if reference.expired()]:
            self.live -= self.alive.pop(key)[1]
        return self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = storages(tree_leaves((args, kwargs)))
        made = func(*args, **(kwargs or {}))
        if func._schema.name == "aten::set_":  # a window on a storage that exists
            return made
        for key, storage in storages(tree_leaves(made)).items():
            if key not in known and key not in self.alive and storage.nbytes():
                self.alive[key] = (StorageWeakRef(storage), storage.nbytes())
                self.live += storage.nbytes()
        self.peak = max(self.peak, self.poll())
        return made


def live_peak(run: Any) -> int:
    """Most bytes alive of what a function makes while it runs."""
    with LiveBytes() as counter:
        kept = run()
    del kept
    return int(counter.peak)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the profiler's C++ part prints off the terminal."""
    with tempfile.TemporaryFile() as sink:
        before = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def allocated_peak(run: Callable[[], Any]) -> int:
    """Most bytes that the allocator has given out at once while a function runs; compiled code too."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return int(torch.cuda.max_memory_allocated() - before)
    from torch.profiler import ProfilerActivity, profile

    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        run()
    events = [
        (e.start_ns(), e.nbytes()) for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"
    ]
    sizes = [size for _, size in sorted(events, key=lambda event: event[0])]
    return int(max(np.cumsum(sizes), default=0))
