"""After Adacc, on a real module: keep, code, move or recompute each tensor that autograd saves.

`AdaccModule` plans one `torch.nn.Module` on the machine at hand: its tensors, bytes and lifetimes are
recorded, its times and gradient errors measured (`execution`), and its plan can be carried out. `Adacc`
plans a model by its shapes on any device.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import units
from ...errors import SpaceError
from ..batch import Batch
from ..goal import Metric, ResolvedGoal
from ..problem import Problem, param
from ..scoring import Estimate
from ..variables import Choice
from ..views import MilpView
from . import actions
from .graph import Graph
from .liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from ..problem import Progress

SIGMA = 0.06
"""Relative error of a plan's step time on the machine it was measured on (benchmarks/adacc_execution.py)."""


class Plan(dict[str, Any]):
    """A point that knows the digest of the module it was made for, so that no other is run by it."""

    digest = ""


class AdaccModule(Problem):
    """Activation memory of a real PyTorch module: what to do with each tensor saved for the backward pass.

    Step time against peak bytes against gradient error; the module is one of the small ones here, or any
    other through `Adacc.from_module`.
    """

    module: str = param("gpt", choices=("gpt", "encoder", "llama"), help="a small module to plan and train")
    batch: int = param(8, help="sequences a step")
    sequence: int = param(128, help="tokens a sequence")
    layers: int = param(4, help="blocks")
    hidden: int = param(128, help="channels")
    heads: int = param(4, help="attention heads")
    dropout: float = param(0.0, unit="1", help="share of activations dropped (gpt and encoder)")
    memory: float = param(30 * units.MiB, unit="B", help="memory that the step may use, weights included")
    error_budget: float = param(0.005, unit="1", help="relative gradient error a block, mean over blocks")
    offload: bool = param(
        False, help="allow moving tensors away: to pinned host memory, or to a file from a CPU"
    )
    gradients: bool = param(
        True, help="plan the weights' gradients too: coded or moved away until the backward pass ends"
    )
    optimizer: str = param("adam", choices=("adam", "sgd"), help="whose state is counted")
    graph: Graph | None = param(None, help="a recorded module (from_module); replaces the small one")

    action = Choice("action_labels", shape="tensor_count", help="what becomes of each saved tensor")

    step_time = Metric("s", "min", help="forward and backward pass")
    peak = Metric("B", at_most="memory", help="most bytes alive at any moment")
    error = Metric("1", at_most="error_budget", help="relative gradient error a block, mean over blocks")

    def prepare(self) -> None:
        """Check sizes."""
        for name in ("batch", "sequence", "layers", "hidden", "heads"):
            if getattr(self, name) < 1:
                raise SpaceError(
                    f"parameter '{name}' of adacc-module must be at least 1, got {getattr(self, name)}."
                )
        if self.hidden % self.heads or (self.module == "llama" and self.hidden // self.heads % 2):
            raise SpaceError(
                f"parameter 'hidden' of adacc-module must be a multiple of heads ({self.heads}), with an "
                f"even "
                f"quotient for llama, got {self.hidden}."
            )
        if not 0 <= self.dropout < 1:
            raise SpaceError(f"parameter 'dropout' of adacc-module must lie in [0, 1), got {self.dropout}.")

    @classmethod
    def from_module(
        cls,
        module: Any,
        example_batch: Any,
        *,
        memory: float | str,
        device: str = "host",
        loss: Callable[[Any], Any] | None = None,
        **parameters: Any,
    ) -> AdaccModule:
        """The problem of planning a `torch.nn.Module`; records and measures two dozen steps of it.

        example_batch: a tensor, a tuple of arguments or a mapping of keywords. memory: bytes, or a text
        such as "600MiB". device: "host", where the module lies. loss: from the module's output to a
        number; without it the output's `.loss`, the output itself, or its mean square.
        Raises SpaceError where the module saves nothing, cannot be planned, or does not fit by any plan.
        """
        from .execution.profiling import profile
        from .execution.recording import check_module

        check_module(module)
        if device != "host":
            raise SpaceError(
                f"from_module measures on this machine: device must be 'host', got '{device}'. For "
                f"another device "
                "plan by shapes: Adacc(model=..., device=...)."
            )
        limit = units.parse(memory, "B") if isinstance(memory, str) else float(memory)
        recording = profile(module, example_batch, loss, parameters.get("optimizer", "adam"))
        problem = cls(graph=recording.graph, memory=limit, **parameters)
        told = problem.explain_infeasible(problem.default_goal)
        if told:
            raise SpaceError(told)
        return problem

    def ready(self, progress: Progress | None = None) -> None:
        """Measure the small module, where nobody did on this machine."""
        if self.graph is None:
            from .execution.catalogue import measured

            measured(self, progress or (lambda *_: None))

    @cached_property
    def step(self) -> Graph:
        """The recorded step that referee and view read; measured once a machine and configuration."""
        graph = self.graph
        if graph is None:
            from .execution.catalogue import measured

            graph = measured(self)
        return graph if self.gradients else graph.with_gradients_retained()

    @cached_property
    def liveness(self) -> Liveness:
        """Bytes alive at every moment."""
        return Liveness(self.step, self.action_labels)

    @property
    def action_labels(self) -> tuple[str, ...]:
        """What may be done with a tensor."""
        return actions.labels(self.offload)

    @property
    def tensor_count(self) -> int:
        """Tensors that a plan decides about."""
        return len(self.step.saved)

    @cached_property
    def _seconds(self) -> Any:
        return self.liveness.costs("seconds")

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Step time, peak and error of each plan. A label that a tensor does not have stands for retain."""
        choice = x.action.position
        tensors = np.arange(self.tensor_count)
        choice = np.where(self.liveness.available[tensors, choice], choice, 0)
        return {
            "step_time": Estimate(self.step.base_seconds + self._seconds[tensors, choice].sum(axis=1), SIGMA),
            "peak": self.liveness.live(choice).max(axis=1),
            "error": self.liveness.error(choice),
        }

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """One binary a tensor and treatment, a row for every moment that can hold the peak."""
        from .module_milp import module_view

        return module_view(self)

    def confirm(
        self, point: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> tuple[AdaccModule, str] | None:
        """Carry a plan out for one step, where its module is in this process: None where the gradient's error
        is at most as promised, else the problem with errors as large as measured."""
        from .execution.confirmation import confirm

        return confirm(self, point, metrics["error"])

    def answer(self, point: dict[str, Any]) -> dict[str, Any]:
        """The point, and which module it is for."""
        plan = Plan(point)
        plan.digest = self.step.digest
        return plan

    def explain_infeasible(self, goal: ResolvedGoal) -> str:
        """The least reachable value of the limit that cannot be met, and what it costs."""
        from .replanning import explain

        return explain(self, goal)

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One row a kind of tensor: what the plan does with it, in which blocks, at what cost."""
        from .module_report import summary

        return summary(self, point)

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """The memory timeline of a plan against the limit, and the plan itself."""
        from .module_figures import figures

        return figures(self, point)

    def apply(
        self,
        point: Mapping[str, Any],
        *,
        steps: int = 100,
        text: Path | None = None,
        seed: int = 0,
        evolve: int = 0,
        goal: ResolvedGoal | None = None,
        heard: Callable[[str], None] | None = None,
        progress: Progress = lambda *_: None,
    ) -> list[dict[str, Any]]:
        """Train the small module by a plan and beside other policies; one row a policy.

        evolve: also by the plan measured again every so many steps, and solved again within the limits of
        `goal` (the default one) where something moved; `heard` is told what happened.
        """
        from .execution.training import compare

        if self.graph is not None:
            raise SpaceError(
                "this plan is for a module of your own: carry it out with "
                "tradespace.problems.training.adacc.apply(model, plan)."
            )
        if evolve and evolve >= steps:
            raise SpaceError(
                f"--evolve {evolve} never comes due in {steps} steps; give fewer, or more --steps."
            )
        limits = self._evolving(goal or self.default_goal) if evolve else None
        return compare(
            self, point, steps=steps, text=text, seed=seed, evolve=evolve, limits=limits, heard=heard,
            tell=progress,
        )  # fmt: skip

    def _evolving(self, goal: ResolvedGoal) -> dict[str, float]:
        """The limits that an evolving plan keeps. Raises SpaceError where another metric is wanted."""
        wanted = [o.metric for o in goal.objectives]
        if wanted != ["step_time"]:
            raise SpaceError(
                f"--evolve keeps the fastest plan within limits, and this run's goal is {', '.join(wanted)}; "
                "run with the default goal."
            )
        found = {"peak": float("inf"), "error": float("inf")}
        for limit in goal.limits:
            if limit.sense == "<=" and limit.metric in found:
                found[limit.metric] = min(found[limit.metric], limit.bound)
        return found
