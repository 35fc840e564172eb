"""The small modules that problems name: made, measured once a machine, and made ready to run again."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ....hardware.host import configuration_folder, probe
from ...digest import code
from ...readiness import takes_long
from ..graph import Graph
from .modules import Shape, characters, draw_batch, language_model
from .profiling import one_thread, profile, remember
from .program import Recording

if TYPE_CHECKING:
    from ...problem import Progress
    from ..module import AdaccModule


def configuration(problem: AdaccModule) -> tuple[Any, ...]:
    """What identifies a measured small module on this machine."""
    names = ("module", "batch", "sequence", "layers", "hidden", "heads", "dropout", "optimizer")
    where = (probe().family, torch.__version__)
    return code(profile, small_module, example, Graph), *(getattr(problem, name) for name in names), *where


def small_module(problem: AdaccModule, seed: int = 0) -> nn.Module:
    """The module that a problem names, freshly initialised."""
    shape = Shape(problem.layers, problem.hidden, problem.heads, problem.sequence, dropout=problem.dropout)
    return language_model(problem.module, shape, seed)


def example(problem: AdaccModule) -> tuple[Tensor, Tensor]:
    """A batch of the standard text."""
    return draw_batch(characters(), problem.batch, problem.sequence, torch.Generator().manual_seed(0))


def kept_graph(path: Path) -> Graph | None:
    """The graph in a file; None where there is none, or it is damaged, so that it is measured anew."""
    try:
        graph = Graph.from_record(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    parts = [graph, *graph.saved, *(way for tensor in graph.saved for way in tensor.treatments)]
    places = range(len(graph.saved))
    inside = all(parent in places for tensor in graph.saved for parent in tensor.parents)
    return graph if inside and graph.other.ndim == 1 and all(_sound(part) for part in parts) else None


def _sound(part: Any) -> bool:
    """Whether each plain field of a record holds what it says: a text, or a finite number of at least -1."""
    for field in fields(part):
        value = getattr(part, field.name)
        if field.type == "str":
            if not isinstance(value, str):
                return False
        elif field.type in {"int", "float"}:
            number = isinstance(value, int if field.type == "int" else (int, float))
            if isinstance(value, bool) or not number or not -1 <= value < 2**62:
                return False
    return True


def measured(problem: AdaccModule, progress: Progress = lambda *_: None) -> Graph:
    """The graph of a problem's small module: from the user's configuration folder, or measured and put
    there."""
    key = configuration(problem)
    if key not in _MEASURED:
        kept = kept_graph(_path(problem))
        if kept is not None:
            _MEASURED[key] = kept
        else:
            takes_long("measuring the module")
            with one_thread():
                module = small_module(problem)
                found = profile(module, example(problem), optimizer=problem.optimizer, progress=progress)
            learn(problem, found.graph)
    return _MEASURED[key]


def learn(problem: AdaccModule, graph: Graph) -> None:
    """From now on the graph of a problem's small module is this one, also in other processes."""
    path = _path(problem)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(graph.record()))
    draft.replace(path)
    _MEASURED[configuration(problem)] = graph


def _path(problem: AdaccModule) -> Path:
    name = hashlib.sha256(json.dumps(configuration(problem)).encode()).hexdigest()[:16]
    return configuration_folder() / "modules" / f"{problem.module}-{name}.json"


_MEASURED: dict[tuple[Any, ...], Graph] = {}


def ready(problem: AdaccModule, module: nn.Module) -> Recording:
    """Record a module made by `small_module` so that the problem's plans can be applied to it."""
    return remember(module, example(problem), problem.step, optimizer=problem.optimizer)
