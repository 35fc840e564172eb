"""After Adacc: keep, compress, offload or recompute each saved activation of a transformer.

Of the paper (arXiv 2508.00806) only the abstract could be read: a MILP chooses per tensor among
retaining, compressing with outliers apart, and recomputing. The tensors, codecs, error measure and
programme here are ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ... import units
from ...costmodels import OutsideCalibration
from ...errors import SpaceError
from ...hardware import Device, device
from ..batch import Batch, kept
from ..goal import Metric, ResolvedGoal
from ..problem import Problem, param
from ..scoring import Estimate
from ..variables import Choice
from ..views import MilpView
from . import actions
from .models import MODELS, Transformer
from .operators import Operators
from .step import STATE, Step, chosen_actions, training_step

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure

    from .module import AdaccModule


def apply(
    module: Any, plan: Any, *, stochastic: bool = False, strict: bool = False
) -> AbstractContextManager[Any]:
    """Carry out a plan on a module that `Adacc.from_module` recorded.

        with apply(model, plan):
            loss = model(x)
            loss.backward()

    Gradients are those without a plan, to the bit where nothing is coded. plan: a solution's point.
    stochastic: codecs round at random. A forward pass that departs from the recorded one is kept from there
    on as without a plan, and a PlanWarning says so once; strict: a SpaceError instead. See `executor`.
    """
    from .execution import executor

    return executor.apply(module, plan, stochastic=stochastic, strict=strict)


class Adacc(Problem):
    """Activation memory of a training step: which saved tensor to keep, code, offload or recompute.

    Step time against peak bytes against gradient error, one decision a saved tensor and block. Blocks
    are alike; every choice can be executed (see `block.Block.recomputed`).
    """

    model: str = param("gpt2-xl", choices=tuple(MODELS), help="shapes of a known model")
    batch: int = param(16, help="sequences a step")
    sequence: int = param(1024, help="tokens a sequence")
    device: Device = device("a100-sxm-80gb")
    memory: float = param(40 * units.GiB, unit="B", help="memory that the step may use")
    attention: str = param("fused", choices=("fused", "unfused"), help="one kernel, or saved probabilities")
    dropout: bool = param(True, help="dropout in GPT blocks: masks are saved")
    offload: bool = param(False, help="allow moving tensors to the host and back")
    overlap: float = param(0.9, help="share of the passes under which transfers are hidden")
    error_budget: float = param(0.02, unit="1", help="relative gradient error a block, mean over blocks")
    precision: str = param("bf16", choices=("bf16", "fp16", "fp32"), help="type of activations")
    optimizer: str = param("adam", choices=tuple(STATE), help="what is kept beside weights and gradients")
    shards: int = param(
        1, help="devices that share weights, gradients and state (their traffic is not timed)"
    )
    layers: int | None = param(None, help="blocks, instead of the model's")
    hidden: int | None = param(None, help="channels, instead of the model's")
    heads: int | None = param(None, help="attention heads, instead of the model's")
    kv_heads: int | None = param(None, help="key and value heads, instead of the model's")
    feed_forward: int | None = param(None, help="channels of the MLP, instead of the model's")
    vocabulary: int | None = param(None, help="tokens known, instead of the model's")
    time_scale: float = param(1.0, help="factor on every operator time, to show that units decide nothing")

    action = Choice(
        "action_labels",
        shape=("block_count", "tensor_count"),
        help="what becomes of each tensor of each block",
    )

    step_time = Metric("s", "min", help="one training step")
    peak = Metric("B", at_most="memory", help="most bytes alive at any moment")
    error = Metric("1", at_most="error_budget", help="relative gradient error a block, mean over blocks")

    def prepare(self) -> None:
        """Check sizes."""
        for name in ("batch", "sequence", "shards"):
            if getattr(self, name) < 1:
                raise SpaceError(
                    f"parameter '{name}' of adacc must be at least 1, got {getattr(self, name)}."
                )
        if not 0 <= self.overlap <= 1:
            raise SpaceError(f"parameter 'overlap' of adacc must lie in [0, 1], got {self.overlap}.")
        if self.kv_heads is not None and self.shape.family == "gpt" and self.kv_heads != self.shape.heads:
            raise SpaceError(
                f"parameter 'kv_heads' of adacc must equal heads for a GPT block, got {self.kv_heads}."
            )

    @cached_property
    def shape(self) -> Transformer:
        """The model's shape, with the sizes given here."""
        sizes = ("layers", "hidden", "heads", "kv_heads", "feed_forward", "vocabulary")
        return MODELS[self.model].resized(**{name: getattr(self, name) for name in sizes})

    @cached_property
    def step(self) -> Step:
        """Tensors, bytes and times that referee and views read."""
        with warnings.catch_warnings():  # a shape outside the calibrated range has its doubled sigma here
            warnings.simplefilter("ignore", OutsideCalibration)
            return training_step(
                self.shape,
                Operators(self.device, self.precision, self.time_scale),
                batch=self.batch,
                sequence=self.sequence,
                fused=self.attention == "fused",
                dropout=self.dropout,
                offload=self.offload,
                overlap=self.overlap,
                optimizer=self.optimizer,
                shards=self.shards,
            )

    @property
    def action_labels(self) -> tuple[str, ...]:
        """What may be done with a tensor."""
        return actions.labels(self.offload)

    @property
    def block_count(self) -> int:
        """Blocks, the first axis of `action`."""
        return self.shape.layers

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Saved tensors of a block in order, the second axis of `action`."""
        return tuple(tensor.name for tensor in self.step.block.saved)

    @property
    def masks(self) -> bool:
        """Whether dropout masks are among the saved tensors."""
        return any(tensor.content == "mask" for tensor in self.step.block.saved)

    @property
    def tensor_count(self) -> int:
        """Saved tensors of a block that a plan decides about."""
        return len(self.tensor_names)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Step time, peak and error of each plan, block by block."""
        step, table = self.step, self.step.table
        sizes = tuple(v for v in self.parameters.values() if not isinstance(v, Device))
        chosen = kept(x, sizes, lambda: chosen_actions(step, x.action.position))
        seconds = step.base_seconds + chosen.total(table.seconds)
        for i, tensor in enumerate(step.block.tensors):
            seconds += chosen.again[i] * tensor.seconds
        if self.offload:
            seconds += step.exposed(chosen.total(table.transfer))
        return {
            "step_time": Estimate(seconds, float(step.base.sigma)),
            "peak": chosen.peak,
            "error": chosen.total(table.error) / self.block_count,
        }

    @staticmethod
    def from_module(module: Any, example_batch: Any, **parameters: Any) -> AdaccModule:
        """The problem of planning a real `torch.nn.Module`; see `AdaccModule.from_module`."""
        from .module import AdaccModule

        return AdaccModule.from_module(module, example_batch, **parameters)

    def apply(self, point: Mapping[str, Any], **options: Any) -> list[dict[str, Any]]:
        """Refuses: a model of shapes cannot be trained; see `AdaccModule`."""
        raise SpaceError(
            f"this plan is for the shapes of {self.shape.name} on {self.device.name}, not for a module "
            f"that runs here. "
            "Plan and train one with 'optimize run adacc-module', or a module of your own with "
            "Adacc.from_module."
        )

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """Integer counts of the Pareto plans of one block."""
        from .milp import count_view

        return count_view(self.step)

    def explain_infeasible(self, goal: ResolvedGoal) -> str:
        """The least reachable value of the limit that cannot be met, and what it costs."""
        from .explain import explain

        return explain(self, goal)

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One row a saved tensor: what the plan does with it, in how many blocks, at what cost."""
        from .report import summary

        return summary(self, point)

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """The memory timeline of a plan against the limit, and the plan itself."""
        from .report import figures

        return figures(self, point)
