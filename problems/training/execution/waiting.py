"""Gradients of parameters that wait for the optimiser in a smaller form.

They pile up while the backward pass runs, and nothing reads them before the optimiser does. A hook takes
each one the moment it is complete, codes it or moves it away, and when the backward pass ends, however it
ends, all come back, one by one: then no activation is left, so that they have room.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .cells import storage_of
from .tape import Geometry, geometry, window

Fetch = Callable[[], torch.UntypedStorage]
Keep = Callable[[Tensor], Fetch | None]


class Waiting:
    """Gradients away during one backward pass. ways: by parameter, what keeps its gradient and says how to
    fetch it (None: it stays)."""

    def __init__(self, ways: Mapping[nn.Parameter, Keep]) -> None:
        self.ways = ways
        self.away: list[tuple[nn.Parameter, Fetch, Geometry]] = []
        self.end: weakref.ref[_End] | None = None

    def take(self, parameter: nn.Parameter) -> None:
        """Keep a complete gradient in its smaller form; one that cannot be is left where it is."""
        gradient = parameter.grad
        if gradient is None or gradient.requires_grad or not _alone(gradient):
            return
        if len(_hooks(parameter)) > 1:  # others read it now
            return
        fetch = self.ways[parameter](gradient)
        if fetch is None:
            return
        end = None if self.end is None else self.end()
        if end is None or end.over:
            end = _End(self)
            self.end = weakref.ref(end)
            torch.autograd.Variable._execution_engine.queue_callback(end)
        self.away.append((parameter, fetch, geometry(gradient)))
        parameter.grad = None

    def restore(self) -> None:
        """Bring every gradient back."""
        with torch.no_grad():
            while self.away:
                parameter, fetch, shape = self.away.pop(0)
                made: Tensor = window(fetch(), shape)
                parameter.grad = made if parameter.grad is None else parameter.grad + made

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Take gradients inside."""
        asked = [p for p in self.ways if p.requires_grad]
        handles = [p.register_post_accumulate_grad_hook(self.take) for p in asked]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self.restore()


class _End:
    """What autograd calls at the end of a backward pass, or forgets where that raises: either is the end."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.over = False

    def __call__(self) -> None:
        if not self.over:
            self.over = True
            self.waiting.restore()

    def __del__(self) -> None:
        self()


def _alone(gradient: Tensor) -> bool:
    """Whether nothing but the gradient itself holds its storage, as parts of one tensor of all would."""
    storage = storage_of(gradient)
    if storage is None or gradient._is_view():
        return False
    return bool(storage.nbytes() == gradient.numel() * gradient.element_size())


def _hooks(parameter: nn.Parameter) -> Mapping[int, Any]:
    found: Mapping[int, Any] | None = getattr(parameter, "_post_accumulate_grad_hooks", None)
    return found or {}
