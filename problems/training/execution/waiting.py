"""Gradients of parameters that wait for the optimiser in a smaller form.

They pile up while the backward pass runs, and nothing reads them before the optimiser does. A hook takes
each one the moment it is complete, codes it or moves it away, and at the end of the backward pass all come
back, one by one: then no activation is left, so that they have room.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .tape import Geometry, geometry, window

Keep = Callable[[torch.UntypedStorage], Any]
Fetch = Callable[[Any], torch.UntypedStorage]


class Waiting:
    """Gradients away during one backward pass. ways: by parameter, how its storage is kept and fetched."""

    def __init__(self, ways: Mapping[nn.Parameter, tuple[Keep, Fetch]]) -> None:
        self.ways = ways
        self.away: list[tuple[nn.Parameter, Any, Geometry]] = []

    def take(self, parameter: nn.Parameter) -> None:
        """Keep a complete gradient in its smaller form; one that cannot be is left where it is."""
        gradient = parameter.grad
        if gradient is None or gradient.requires_grad or gradient.layout is not torch.strided:
            return
        if not self.away:
            torch.autograd.Variable._execution_engine.queue_callback(self.restore)
        self.away.append((parameter, self.ways[parameter][0](gradient.untyped_storage()), geometry(gradient)))
        parameter.grad = None

    def restore(self) -> None:
        """Bring every gradient back."""
        with torch.no_grad():
            while self.away:
                parameter, kept, shape = self.away.pop(0)
                made: Tensor = window(self.ways[parameter][1](kept), shape)
                parameter.grad = made if parameter.grad is None else parameter.grad + made

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Take gradients inside."""
        handles = [p.register_post_accumulate_grad_hook(self.take) for p in self.ways]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self.restore()
