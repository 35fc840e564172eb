"""The small modules that problems name: made, measured once a machine, and made ready to run again."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ....hardware.host import configuration_folder, probe
from ..graph import Graph
from .executor import Recording
from .modules import Shape, characters, draw_batch, language_model
from .profiling import one_thread, profile, remember

if TYPE_CHECKING:
    from ..module import AdaccModule

VERSION = 3
"""Raised when a recording or its measurement changes."""


def configuration(problem: AdaccModule) -> tuple[Any, ...]:
    """What identifies a measured small module on this machine."""
    names = ("module", "batch", "sequence", "layers", "hidden", "heads", "dropout", "optimizer")
    where = (probe().family, torch.__version__)
    return VERSION, *(getattr(problem, name) for name in names), *where


def small_module(problem: AdaccModule, seed: int = 0) -> nn.Module:
    """The module that a problem names, freshly initialised."""
    shape = Shape(problem.layers, problem.hidden, problem.heads, problem.sequence, dropout=problem.dropout)
    return language_model(problem.module, shape, seed)


def example(problem: AdaccModule) -> tuple[Tensor, Tensor]:
    """A batch of the standard text."""
    return draw_batch(characters(), problem.batch, problem.sequence, torch.Generator().manual_seed(0))


def measured(problem: AdaccModule) -> Graph:
    """The graph of a problem's small module: from the user's configuration folder, or measured and put
    there."""
    key = configuration(problem)
    if key in _MEASURED:
        return _MEASURED[key]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = configuration_folder() / "modules" / f"{problem.module}-{name}.json"
    if path.is_file():
        graph = Graph.from_record(json.loads(path.read_text()))
    else:
        with one_thread():
            graph = profile(small_module(problem), example(problem), optimizer=problem.optimizer).graph
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(graph.record()))
        draft.replace(path)
    _MEASURED[key] = graph
    return graph


_MEASURED: dict[tuple[Any, ...], Graph] = {}


def ready(problem: AdaccModule, module: nn.Module) -> Recording:
    """Record a module made by `small_module` so that the problem's plans can be applied to it."""
    return remember(module, example(problem), problem.step, optimizer=problem.optimizer)
