"""One step by a plan before it is called feasible: the gradient's error against what was promised.

Errors of tensors are measured one at a time, on the middle one of like blocks, and added; that their sum
bounds the plan's own error is seen here. Where it does not, all errors are scaled up to what was measured,
and the plan is made again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .catalogue import example, learn, ready, small_module
from .catalogue import measured as catalogued
from .executor import applied
from .profiling import distance, gradients, one_thread, step
from .program import RECORDINGS, Program, Recording, actions_of
from .recording import undisturbed

if TYPE_CHECKING:
    from ..module import AdaccModule

SLACK = 1.05
"""What a measured error may exceed its promise by: a codec that rounds at random, another thread count."""
HOPELESS = 1e6
"""The factor where a gradient is no number."""


def module_of(problem: AdaccModule) -> tuple[nn.Module, Recording] | None:
    """The module that a problem plans and its recording; None where it is not in this process."""
    if problem.graph is None:
        module = small_module(problem)
        return module, ready(problem, module)
    for module, recording in list(RECORDINGS.items()):
        if recording.graph.digest == problem.graph.digest and recording.batch is not None:
            sizes = [t.size for t in recording.graph.saved]
            if sizes == [t.size for t in problem.graph.saved]:
                return module, dataclasses.replace(recording, graph=problem.graph)
    return None


def measured(module: nn.Module, recording: Recording, batch: Any, actions: tuple[str, ...]) -> float:
    """Relative gradient error a block of one step by a plan."""
    program = Program(module, recording, actions)
    with undisturbed(module):
        torch.manual_seed(0)
        step(module, batch, recording.loss)
        exact = gradients(module)
        torch.manual_seed(0)
        with applied(module, program):
            step(module, batch, recording.loss)
        return distance(gradients(module), exact) / recording.graph.blocks


def confirm(
    problem: AdaccModule, point: Mapping[str, Any], promised: float
) -> tuple[AdaccModule, str] | None:
    """See `AdaccModule.confirm`."""
    found = module_of(problem)
    if found is None:
        return None
    module, recording = found
    batch = example(problem) if problem.graph is None else recording.batch
    with one_thread():
        error = measured(module, recording, batch, actions_of(recording, point))
    if error <= SLACK * promised + 1e-12:
        return None
    ratio = error / promised if promised else HOPELESS
    ratio = min(ratio, HOPELESS) if math.isfinite(ratio) else HOPELESS
    told = (
        f"carried out, the plan's gradient error was {error:.4g} where {promised:.4g} was promised; solved "
        "again with errors as large as measured"
    )
    if problem.graph is None:
        learn(problem, catalogued(problem).scaled(ratio))
        return problem.replace(), told
    return problem.replace(graph=problem.graph.scaled(ratio)), told
