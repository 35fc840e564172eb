"""What is done once before a search: the model trained, its steps timed, its sensitivities measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..problem import Progress
from . import trials as tried
from .jumps import single_skips
from .sensitivities import single_steps

if TYPE_CHECKING:
    from .astraea import Astraea


def prepare_model(problem: Astraea, progress: Progress | None = None) -> None:
    """Do each where nobody did, telling `progress` how far it is."""

    def tell(words: str, share: float) -> None:
        if progress is not None:
            progress(words, share)

    name = problem.model
    tried.load_model(
        name,
        problem.clips,
        lambda done, total, loss: tell(f"training the {name} model, loss {loss:.4f}", done / total),
    )
    trials = problem.trials
    if problem.device.origin == "host":
        from .measured import host_law

        host_law(name, trials, lambda done, total: tell("timing its steps on this machine", done / total))
    from .astraea import SENSITIVITY_PROMPTS, SKIP_PROMPTS

    for words, rows, count in (
        ("measuring what leaving out each step costs", single_skips(problem.steps), SKIP_PROMPTS),
        ("measuring how much each step needs its tokens", single_steps(problem.budget, problem.steps),
         SENSITIVITY_PROMPTS),
    ):  # fmt: skip
        prompts = problem.calibration[:count]
        if trials.missing(rows, prompts):
            for i in range(len(rows)):
                trials.quality(rows[i : i + 1], prompts)
                tell(words, (i + 1) / len(rows))
    for i, prompt in enumerate(problem.calibration):
        tell("measuring what longer steps miss", i / len(problem.calibration))
        trials.jumps([prompt])
