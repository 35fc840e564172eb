"""Calls of an attached model in whatever order, number and condition: right, or one sentence.

The latents of each step are given, not made by the steps before, so that what one condition gets can be
compared between any two ways of calling the model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn  # noqa: E402

from tradespace.errors import SpaceError  # noqa: E402
from tradespace.problems.diffusion.attach import attach  # noqa: E402
from tradespace.problems.diffusion.dit import VideoDiT  # noqa: E402

from .test_attach import TINY, cogvideox, shaken, wan  # noqa: E402

BUDGETS = (1.0, 0.5, 0.0, 0.5, 0.0, 1.0, 0.5)
STEPS = range(len(BUDGETS))
Plan = dict[int, tuple[int, ...]]
Family = Callable[[], tuple[nn.Module, Callable[..., Tensor], tuple[int, ...]]]


def own() -> tuple[nn.Module, Callable[..., Tensor], tuple[int, ...]]:
    """This package's model; a prompt is a class, time rises."""

    def call(model: nn.Module, latents: Tensor, time: float, prompt: int) -> Tensor:
        return model(latents, torch.full((len(latents),), 1 - time / 1000), torch.tensor([prompt]))

    return shaken(VideoDiT(TINY)), call, (1, *TINY.clip_shape)


@pytest.fixture(params=[own, wan, cogvideox], scope="module")
def made(request: Any) -> Any:
    """A model, a call of it, and the latents and time of each step."""
    model, call, shape = request.param()
    draws = torch.Generator().manual_seed(5)
    latents = torch.randn((len(BUDGETS) + 1, *shape), generator=draws).cumsum(0) * 0.3
    return model, call, latents, [900.0 - 100 * i for i in STEPS]


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """As pipelines do."""
    with torch.inference_mode():
        yield


def run(made: Any, plan: Plan, times: list[float] | None = None) -> dict[Any, Tensor]:
    """Outputs by step and prompt, the prompts of each step asked in the order of the plan."""
    model, call, latents, usual = made
    return {
        (i, prompt): call(model, latents[i], (times or usual)[i], prompt)
        for i, prompts in plan.items()
        for prompt in prompts
    }


def attached(
    made: Any, plan: dict[int, tuple[int, ...]], times: list[float] | None = None
) -> dict[Any, Tensor]:
    """The same under the schedule."""
    with attach(made[0], BUDGETS):
        return run(made, plan, times)


def equal(one: Tensor, other: Tensor) -> bool:
    return bool(torch.equal(one, other))


@pytest.mark.parametrize(
    "other",
    [
        dict.fromkeys(STEPS, (2, 1)),  # the other first
        {i: (1, 2) if i % 2 else (2, 1) for i in STEPS},
        {i: (1, 2) if i < 3 else (1,) for i in STEPS},  # guidance in part of the steps
        {i: (2, 1) if i > 3 else (1,) for i in STEPS},  # begins at an empty step
        {i: (2, 1, 3) if i in (0, 3, 4) else (1,) for i in STEPS},
        dict.fromkeys(STEPS, (1, 1, 2)),  # a prompt beside itself
    ],
)
def test_what_a_prompt_gets_depends_on_no_other(made: Any, other: dict[int, tuple[int, ...]]) -> None:
    alone, beside = attached(made, dict.fromkeys(STEPS, (1,))), attached(made, other)
    assert all(equal(alone[i, 1], beside[i, 1]) for i in STEPS)
    plain = run(made, other)
    for i, prompts in other.items():
        for prompt in set(prompts) - {1}:
            if i and prompt not in other[i - 1]:  # nothing recent to read: whole
                torch.testing.assert_close(beside[i, prompt], plain[i, prompt], atol=1e-4, rtol=1e-4)
    assert equal(alone[2, 1], alone[1, 1])
    assert not torch.allclose(alone[1, 1], plain[1, 1], atol=1e-5)  # the schedule does something


def test_a_time_repeated_is_a_step_of_its_own(made: Any) -> None:
    times = [900.0, 800.0, 800.0, 700.0, 700.0, 600.0, 600.0]  # two calls a step, as Heun's method makes
    got = attached(made, dict.fromkeys(STEPS, (1, 2)), times)
    for prompt in (1, 2):
        assert equal(got[2, prompt], got[1, prompt])
        assert equal(got[4, prompt], got[3, prompt])
        assert not equal(got[3, prompt], got[2, prompt])
    plain = run(made, dict.fromkeys(STEPS, (1, 2)), times)
    torch.testing.assert_close(got[5, 1], plain[5, 1], atol=1e-4, rtol=1e-4)


def test_a_prompt_that_changes_is_computed_whole_and_so_is_another_batch(made: Any) -> None:
    model, _, latents, _ = made
    plan = {i: (1,) if i < 3 else (3,) for i in STEPS}
    torch.testing.assert_close(attached(made, plan)[3, 3], run(made, plan)[3, 3], atol=1e-4, rtol=1e-4)
    if isinstance(model, VideoDiT):
        two = torch.cat([latents[3], latents[4]])
        plain = model(two, torch.full((2,), 0.4), torch.tensor([1, 1]))
        with attach(model, BUDGETS):
            run(made, dict.fromkeys(range(3), (1,)))
            got = model(two, torch.full((2,), 0.4), torch.tensor([1, 1]))
            run(made, dict.fromkeys(range(4, len(BUDGETS)), (1,)))
        torch.testing.assert_close(got, plain, atol=1e-4, rtol=1e-4)


def test_writing_over_outputs_and_latents_changes_nothing(made: Any) -> None:
    model, call, latents, times = made
    expected = attached(made, dict.fromkeys(STEPS, (1, 2)))
    with attach(model, BUDGETS):
        for i in STEPS:
            x = latents[i].clone()
            for prompt in (1, 2):
                got = call(model, x, times[i], prompt)
                assert equal(got, expected[i, prompt])
                got.mul_(7.0)
            x.add_(1.0)


def test_after_a_failure_the_step_is_made_whole_and_the_next_clip_is_as_ever(made: Any) -> None:
    model, call, latents, times = made
    expected = attached(made, dict.fromkeys(STEPS, (1, 2)))
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]

    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    with warnings.catch_warnings(), attach(model, BUDGETS):
        warnings.simplefilter("error")
        run(made, dict.fromkeys(range(3), (1, 2)))
        handle = last.register_forward_pre_hook(broken)
        with pytest.raises(RuntimeError, match="out of memory"):
            call(model, latents[3], times[3], 1)
        handle.remove()
        again = call(model, latents[3], times[3], 1)
        torch.testing.assert_close(again, run(made, {3: (1,)})[3, 1])
        for _ in range(2):
            clip = run(made, dict.fromkeys(STEPS, (1, 2)))
            assert all(equal(clip[key], value) for key, value in expected.items())
    plain = run(made, {3: (1,)})[3, 1]
    torch.testing.assert_close(again, plain, atol=1e-4, rtol=1e-4)


def test_a_clip_left_early_is_told_and_the_next_one_is_right(made: Any) -> None:
    expected = attached(made, dict.fromkeys(STEPS, (1,)))
    with attach(made[0], BUDGETS) as state:
        run(made, dict.fromkeys(range(4), (1,)))
        with pytest.warns(UserWarning, match="ended after 4 of the 7 steps"):
            clip = run(made, {0: (1,)})
        clip |= run(made, {i: (1,) for i in STEPS if i})
        assert state.steps == len(BUDGETS)
    assert all(equal(clip[key], value) for key, value in expected.items())


def test_two_pipelines_over_one_model_are_a_sentence(made: Any) -> None:
    model, call, latents, times = made

    def interleaved() -> None:
        with attach(model, BUDGETS):
            for i in STEPS:
                for shift, prompt in ((0.0, 1), (0.5, 2)):
                    call(model, latents[i] + shift, times[i], prompt)

    with pytest.warns(UserWarning, match="ended after 1"), pytest.raises(SpaceError, match="asks for step 8"):
        interleaved()


def test_modes_may_change_within_a_clip(made: Any) -> None:
    model, call, latents, times = made
    with attach(model, BUDGETS):
        for i in STEPS:
            with torch.inference_mode(i % 3 != 1), torch.no_grad():
                assert call(model, latents[i].clone(), times[i], 1).isfinite().all()


@pytest.mark.parametrize("family", [wan, cogvideox])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_near_single(family: Family, autocast: bool) -> None:
    model, call, shape = family()
    latents = torch.randn((len(BUDGETS), *shape), generator=torch.Generator().manual_seed(5)).cumsum(0) * 0.3
    setting = (model, call, latents, [900.0 - 100 * i for i in STEPS])
    single = attached(setting, dict.fromkeys(STEPS, (1,)))
    if autocast:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = attached(setting, dict.fromkeys(STEPS, (1,)))
    else:
        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            half = attached(
                (model.to(torch.bfloat16), call, latents.bfloat16(), setting[3]), dict.fromkeys(STEPS, (1,))
            )
        finally:
            torch.set_default_dtype(usual)
    for key, value in single.items():
        assert float((half[key].float() - value).norm() / value.norm()) < 0.2, key
