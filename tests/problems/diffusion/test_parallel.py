"""Two processes that talk through gloo make the clips of one."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


from tradespace.errors import SpaceError  # noqa: E402
from tradespace.problems.diffusion.dit import DiTConfig, VideoDiT  # noqa: E402
from tradespace.problems.diffusion.parallel import Group, SharedRun, sample_with_processes  # noqa: E402
from tradespace.problems.diffusion.sampling import sample  # noqa: E402

TINY = DiTConfig(frames=6, side=12, patch=(2, 4, 4), width=48, blocks=2, heads=2, mlp_ratio=2, classes=4)
BUDGETS = (1.0, 0.5, 0.0, 0.3, 1.0, 0.7)  # 27 tokens: shares that two ranks cannot split evenly


@pytest.fixture(scope="module")
def model() -> VideoDiT:
    """Random weights, none of them zero."""
    torch.manual_seed(0)
    made = VideoDiT(TINY)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return made.eval().requires_grad_(False)


def test_two_processes_make_the_clips_of_one(model: VideoDiT) -> None:
    alone = sample(model, [0, 3], [5, 6], steps=6, schedule=BUDGETS)
    shared = sample_with_processes(model, [0, 3], [5, 6], steps=6, schedule=BUDGETS, patience=300)
    assert len(shared.samples) == 2
    assert shared.spread == 0
    np.testing.assert_allclose(shared.samples[0].latents, alone.latents, atol=2e-5)
    assert np.abs(sample(model, [0, 3], [5, 6], steps=6).latents - alone.latents).max() > 1e-3
    d, blocks, batch = TINY.width, TINY.blocks, 2
    half = [-(-rows // 2) for rows in (27, 14, 8, 27, 19)]  # selected rows of a rank at each step with tokens
    expected = sum(14 * 2 * d + rows * (2 * d + 1) for rows in half) * 4 * blocks * batch
    assert shared.sent == (expected, expected)


def test_a_group_of_one_is_the_plain_sampler(model: VideoDiT) -> None:
    alone = sample(model, [1], [2], steps=6, schedule=BUDGETS)
    grouped = sample(
        model, [1], [2], steps=6, schedule=BUDGETS, run=lambda m, w: SharedRun(m, w, group=Group(0, 1))
    )
    np.testing.assert_allclose(grouped.latents, alone.latents, atol=2e-5)
    with pytest.raises(SpaceError, match="ranks must be within 1 to 27"):
        sample_with_processes(model, [0], [0], ranks=28)
