"""After ASTRAEA: how many tokens a video diffusion transformer computes at each step, on a real small model.

Read of the paper (arXiv 2506.05096): a budget of tokens for each step, found by an evolutionary algorithm
under a total. Reconstructed: grid, repair, first population, fitness and prompts. `Astraea` samples the
small model of this package; `AstraeaShapes` plans the models of the paper by their shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...costmodels.diffusion import VideoTransformer
from ...errors import SpaceError
from ...hardware import Device, device
from ...hardware.host import host
from ..batch import Batch
from ..goal import Metric, ResolvedGoal
from ..problem import Problem, Progress, param
from ..scoring import Estimate
from ..variables import Menu
from ..views import MilpView
from . import budgeting, jumps, shares
from .law import SHARES, TENTHS, StepLaw, shape_law
from .sensitivities import Sensitivities, shipped, single_steps
from .shapes import SHAPES
from .weights import Weights, calibrated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .trials import Prompt, Trials

GRID = tuple(float(share) for share in SHARES)
SENSITIVITY_PROMPTS, SKIP_PROMPTS = 2, 4
PATHS = 12
"""Ways to choose the whole steps that evolution begins from."""


class Astraea(Problem):
    """Tokens computed at each step of a small video diffusion transformer: quality against time.

    The first step is whole; `share` decides the others. Quality is that of clips really sampled, beside
    the full run with the same seeds, on the calibration prompts; `optimize apply` adds prompts and seeds
    that no search has seen.
    """

    cost = "slow"

    model: str = param("small", choices=("small", "long", "tiny"), help="256, 2048 or 32 tokens")
    steps: int = param(20, help="denoising steps")
    budget: float = param(0.5, unit="1", help="share of the tokens computed, mean over all steps")
    device: Device = param(factory=host, help="'host' is timed on this machine, others are modelled")
    prompts: int = param(8, help="calibration prompts: a class and a seed each")
    clips: Path | None = param(None, help="folder of videos to train on instead of moving scenes")
    w_a: float = param(
        factory=lambda: calibrated().w_a, unit="1", help="a token's score: of log-sum-exp x change"
    )
    w_b: float = param(
        factory=lambda: calibrated().w_b, unit="1", help="a token's score: of exp(steps skipped)"
    )
    spread: float = param(
        factory=lambda: calibrated().spread,
        unit="1",
        help="steps that waits differ by, token by token; 0: paper",
    )
    screening: bool = param(False, help="evolution: try children on one prompt, the best quarter on all")

    share = Menu(
        *GRID, shape="later_steps", help="tokens computed in each step after the first, share of all"
    )

    psnr = Metric("dB", "max", help="against the full run with the same seed, mean over prompts")
    kept = Metric("1", at_most="budget", help="share of the tokens computed")
    latency = Metric("s", help="one clip")
    time_share = Metric("1", help="latency over that of the full run")
    ssim = Metric("1", help="structural similarity to the full run")
    error = Metric("1", help="squared difference in the latents over their variance")
    flops = Metric("flop", help="one clip")
    cache = Metric("B", help="branch outputs, inputs and scores kept from step to step")

    def prepare(self) -> None:
        """Check sizes."""
        budgeting.check_steps_and_budget("astraea", self.steps, self.budget)
        if self.prompts < 1:
            raise SpaceError(f"parameter 'prompts' of astraea must be at least 1, got {self.prompts}.")
        _ = self.weights

    @property
    def later_steps(self) -> int:
        """Steps after the first."""
        return self.steps - 1

    @property
    def weights(self) -> Weights:
        """Of the tokens' score."""
        return Weights(self.w_a, self.w_b, self.spread)

    @property
    def trials(self) -> Trials:
        """The model and what is known of its schedules; trained where nobody did (half an hour)."""
        from .trials import trials

        return trials(self.model, self.steps, self.clips, self.weights)

    @cached_property
    def calibration(self) -> list[Prompt]:
        """Prompts that the search sees."""
        from .trials import calibration_prompts

        return calibration_prompts(self.prompts, self.trials.model.config.classes)

    @cached_property
    def law(self) -> StepLaw:
        """What a step costs: timed on this machine, or modelled by the small model's shape."""
        if self.device.origin == "host":
            from .measured import host_law

            return host_law(self.model, self.trials)
        return shape_law(self.device, self.shape)

    @property
    def shape(self) -> VideoTransformer:
        """The small model as the cost models see it."""
        from .trials import CONFIGS

        c = CONFIGS[self.model]
        return VideoTransformer(
            self.model, c.blocks, c.width, c.heads, c.width // c.heads, c.mlp_ratio * c.width,
            tokens=c.tokens, windows=(c.tokens,), steps=self.steps,
        )  # fmt: skip

    @cached_property
    def sensitivities(self) -> Sensitivities:
        """Error of each step by its tokens, around the uniform schedule of the budget; measured once."""
        return self.sensitivities_at(self.budget)

    def sensitivities_at(self, budget: float) -> Sensitivities:
        """The same around the uniform schedule of another budget."""
        rows, prompts = single_steps(budget, self.steps), self.calibration[:SENSITIVITY_PROMPTS]
        errors = self.trials.quality(rows, prompts)[:, :, 0].mean(axis=1)
        source = f"{self.model} model, {len(prompts)} prompts, around {budget:g} of the tokens"
        return Sensitivities.from_single_steps(errors, budget, self.steps, source)

    @cached_property
    def jump_errors(self) -> npt.NDArray[np.float64]:
        """Error of going from one step to another without asking the model between: (steps, steps + 1)."""
        rows, few = jumps.single_skips(self.steps), self.calibration[:SKIP_PROMPTS]
        skipped = self.trials.quality(rows, few)[:, :, 0].T
        local, tried = self.trials.jumps(self.calibration), self.trials.jumps(few)
        return jumps.jump_errors(local, tried, skipped)

    def ready(self, progress: Progress | None = None) -> None:
        """Train the model, time it and measure its sensitivities, each where nobody did."""
        from .preparation import prepare_model

        prepare_model(self, progress)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Sample every schedule on every calibration prompt (or read what is known), and add up its steps."""
        tenths = budgeting.tenths_of(x.share)
        error, psnr, ssim = np.moveaxis(self.trials.quality(tenths, self.calibration).mean(axis=1), -1, 0)
        costs: dict[str, Any] = dict(budgeting.costs(self.law, tenths))
        costs["latency"] = Estimate(costs["latency"], self.law.sigma)
        return {"psnr": psnr, "ssim": ssim, "error": error, **costs}

    def repair(self, x: Batch, goal: ResolvedGoal) -> dict[str, Any]:
        """Schedules as near as possible to these within the goal's limits on tokens and time."""
        if self.space.domains["share"].pinned is not None:
            return {}
        tenths = budgeting.mend(self.law, budgeting.tenths_of(x.share), goal)
        return {"share": np.array(GRID)[tenths]}

    def coarse(self) -> Problem | None:
        """The same problem on one prompt, where children are screened."""
        return self.replace(prompts=1, screening=False) if self.screening and self.prompts > 1 else None

    def guesses(self, goal: ResolvedGoal) -> Sequence[Mapping[str, Any]]:
        """The schedules that people write by hand, and those that the measurements suggest."""
        if not budgeting.bounds(goal):
            every = range(self.steps, 1, -1)
            wholes = [*every[::2], *every[1::2]]  # a small population spans the front as well
            spread = [jumps.best_paths(self.jump_errors, whole, 1)[0] for whole in wholes]
            return budgeting.as_points([*spread, *shares.plain(self.budget, self.steps).values()])
        named = self.within(goal)
        whole = 1 + int((named["chosen steps"] == TENTHS).sum())
        paths = jumps.best_paths(self.jump_errors, whole, PATHS)
        return budgeting.as_points([paths[0], *named.values(), *paths[1:]])

    def within(self, goal: ResolvedGoal) -> dict[str, shares.Tenths]:
        """Schedules without a search, each at what the goal's limits on tokens and time leave, by name."""
        shapes = np.array(list(shares.plain(self.budget, self.steps).values()))
        made = dict(zip(shares.PLAIN, budgeting.fit(self.law, shapes, goal), strict=True))
        whole = budgeting.whole_steps(self.law, self.steps, goal)
        made["fewer steps"] = shares.evenly(whole, self.steps)
        made["chosen steps"] = self.chosen_steps(whole)
        limited = {limit.metric: limit.bound for limit in goal.limits if limit.sense == "<="}
        error, total = (
            self.sensitivities.error,
            shares.allowance(min(1.0, limited.get("kept", self.budget)), self.steps),
        )
        suggested = {
            "greedy": shares.greedy(error, total),
            "knapsack": budgeting.solve_knapsack(error, total),
        }
        full = float(self.law.seconds[-1]) * self.steps
        share = min(limited.get("time_share", np.inf), limited.get("latency", np.inf) / full)
        if share < 1:
            suggested["knapsack by time"] = budgeting.timed_knapsack(self.law, error, share)
        mended = budgeting.mend(self.law, np.array(list(suggested.values())), goal)
        return {**made, **dict(zip(suggested, mended, strict=True))}

    def chosen_steps(self, whole: int) -> shares.Tenths:
        """Whole steps where leaving out the others costs least, by the errors of jumps."""
        best: shares.Tenths = jumps.best_paths(self.jump_errors, whole, 1)[0]
        return best

    def baselines(self, budget: float) -> dict[str, shares.Tenths]:
        """Schedules without a search, at a budget of tokens, by name."""
        total, error = shares.allowance(budget, self.steps), self.sensitivities.error
        whole = 1 + total // TENTHS
        return {
            **shares.plain(budget, self.steps),
            "fewer steps": shares.evenly(whole, self.steps),
            "greedy": shares.greedy(error, total),
            "knapsack": budgeting.solve_knapsack(error, total),
            "chosen steps": self.chosen_steps(whole),
        }

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """Multiple-choice knapsack over the measured sensitivities; errors do not really add up."""
        return budgeting.knapsack(self.law, self.sensitivities, exact=False)

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answer beside schedules without a search at the same share of tokens."""
        from .report import summary

        return summary(self, point)

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """The schedule, over the sensitivities of the steps."""
        from .report import figures

        return figures(self, point)

    def apply(
        self,
        point: Mapping[str, Any],
        *,
        seed: int = 0,
        out: Path = Path("applied"),
        progress: Progress = lambda *_: None,
    ) -> list[dict[str, Any]]:
        """Sample with the schedule and without; write it as JSON, and a sheet of frames side by side.

        seed: of the unseen prompts. progress: told the schedule at hand. One row a schedule: predicted and
        measured time, PSNR on the calibration prompts and on unseen ones.
        """
        from .application import apply

        return apply(self, point, seed=seed, out=out, progress=progress)


class AstraeaShapes(Problem):
    """Tokens computed at each step of a full-size video diffusion transformer, by its shape on a device.

    There are no weights here to sample with: the error of a step is read from a table of sensitivities, and
    errors of steps are added up. The table that ships was measured on the small model (transferred: it orders
    schedules, its level says nothing about this model); give your own with --sensitivities.
    """

    model: str = param("wan-2.1-1.3b-2s", choices=tuple(SHAPES), help="shapes of a known model")
    device: Device = device("a100-sxm-80gb")
    devices: int = param(1, help="devices that split the rows of the selected tokens")
    steps: int | None = param(None, help="denoising steps, instead of the model's")
    budget: float = param(0.5, unit="1", help="share of the tokens computed, mean over all steps")
    full_time: float | None = param(
        None, unit="s", help="a full run on one device as you measured it; the rest goes with the tokens"
    )
    sensitivities_file: Path | None = param(None, help="JSON of errors by step and tenth, of your model")

    share = Menu(
        *GRID, shape="later_steps", help="tokens computed in each step after the first, share of all"
    )

    error = Metric("1", "min", help="sum over the steps of a table of errors; transferred unless it is yours")
    kept = Metric("1", at_most="budget", help="share of the tokens computed")
    latency = Metric("s", help="all steps of one video, on all devices")
    time_share = Metric("1", help="latency over that of the full run on the same devices")
    flops = Metric("flop", help="one video")
    cache = Metric("B", help="branch outputs, inputs and scores kept from step to step")

    def prepare(self) -> None:
        """Check sizes."""
        budgeting.check_steps_and_budget("astraea-shapes", self.step_count, self.budget)
        if self.devices < 1:
            raise SpaceError(f"parameter 'devices' of astraea-shapes must be at least 1, got {self.devices}.")
        if self.full_time is not None and not self.full_time > 0:
            raise SpaceError(
                f"parameter 'full_time' of astraea-shapes must be positive, got {self.full_time:g}."
            )

    @property
    def step_count(self) -> int:
        """Denoising steps."""
        return SHAPES[self.model].steps if self.steps is None else self.steps

    @property
    def later_steps(self) -> int:
        """Steps after the first."""
        return self.step_count - 1

    @cached_property
    def law(self) -> StepLaw:
        """What a step costs."""
        return shape_law(self.device, self.shape, ways=self.devices, full_time=self.full_time)

    @property
    def shape(self) -> VideoTransformer:
        """The model, at this number of steps."""
        from dataclasses import replace

        return replace(SHAPES[self.model], steps=self.step_count)

    @cached_property
    def sensitivities(self) -> Sensitivities:
        """The user's table, or the one that ships, at this number of steps."""
        own = self.sensitivities_file
        found = shipped() if own is None else Sensitivities.load(own)
        if own is not None and len(found.error) != self.later_steps:
            raise SpaceError(
                f"the sensitivities in {own} are for {len(found.error) + 1} steps, not {self.step_count}; "
                f"give --steps {len(found.error) + 1}, or measure them at {self.step_count}."
            )
        return found.resampled(self.step_count)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Sums over the steps."""
        tenths = budgeting.tenths_of(x.share)
        costs: dict[str, Any] = dict(budgeting.costs(self.law, tenths))
        costs["latency"] = Estimate(costs["latency"], self.law.sigma)
        table = self.sensitivities
        error = table.error[np.arange(self.later_steps), tenths].sum(axis=1) + table.constant
        return {"error": error, **costs}

    def repair(self, x: Batch, goal: ResolvedGoal) -> dict[str, Any]:
        """Schedules as near as possible to these within the goal's limits on tokens and time."""
        if self.space.domains["share"].pinned is not None:
            return {}
        return {"share": np.array(GRID)[budgeting.mend(self.law, budgeting.tenths_of(x.share), goal)]}

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """Multiple-choice knapsack over the table of sensitivities."""
        return budgeting.knapsack(self.law, self.sensitivities, exact=True)

    def explain(self, point: Mapping[str, Any]) -> Mapping[str, str | list[dict[str, Any]]]:
        """Where the errors come from."""
        found = self.sensitivities
        words = "measured on another model, so it orders schedules and its level means nothing here"
        return {"error": f"{found.source}; {words}" if found.transferred else found.source}

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """The schedule, over the sensitivities of the steps."""
        from .report import figures

        return figures(self, point)

    @property
    def weights(self) -> Weights:
        """Of the tokens' score, in the schedule that `apply` writes."""
        return calibrated()

    def apply(self, point: Mapping[str, Any], *, out: Path = Path("applied")) -> list[dict[str, Any]]:
        """Write the schedule as JSON, for a pipeline that `attach` takes."""
        from .application import export

        return export(self, point, out)
