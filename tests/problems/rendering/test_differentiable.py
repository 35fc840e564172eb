"""The renderer in PyTorch draws the same picture, and its gradients are those of finite differences."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from tradespace.problems.rendering.cameras import orbit  # noqa: E402
from tradespace.problems.rendering.differentiable import Tensors, render_tensors  # noqa: E402
from tradespace.problems.rendering.frame import render  # noqa: E402
from tradespace.problems.rendering.quality import psnr  # noqa: E402
from tradespace.problems.rendering.synthetic import cloud, surface  # noqa: E402


@pytest.mark.parametrize("chunk", [7, 64])
def test_it_draws_what_the_compiled_renderer_draws(chunk: int) -> None:
    scene, camera = (
        surface(2000, degree=3),
        orbit((0, 0.2, 0), 3, focal=80, width=75, height=50, elevation=20),
    )
    exact = render(scene, camera, background=(0.1, 0.2, 0.3))
    with torch.no_grad():
        image, through = render_tensors(Tensors.of(scene), camera, background=(0.1, 0.2, 0.3), chunk=chunk)
    assert psnr(image.numpy(), exact.image) > 90
    assert psnr(through.numpy(), exact.transmittance) > 90
    assert (exact.transmittance < 2e-4).any()  # the early stop takes part


def test_an_empty_scene_is_the_background() -> None:
    camera = orbit((0, 0, 0), 3, focal=20, width=20, height=20)
    image, _ = render_tensors(Tensors.of(cloud(5).take(slice(0, 0))), camera, background=(0.1, 0.2, 0.3))
    assert np.allclose(image.numpy(), [0.1, 0.2, 0.3])


def test_gradients_are_those_of_finite_differences() -> None:
    scene = cloud(6, seed=4, size=0.25, degree=2)
    camera = orbit((0, 0, 0), 3, azimuth=30, elevation=10, focal=12, width=11, height=9)
    tensors = Tensors.of(scene, dtype=torch.float64, gradient=True)
    weight = torch.rand(9, 11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(*parts: torch.Tensor) -> torch.Tensor:
        image, _ = render_tensors(Tensors(*parts), camera, background=(0.3, 0.2, 0.1))
        return (weight * image).sum()

    assert torch.autograd.gradcheck(loss, tuple(tensors), eps=1e-6, atol=1e-4, rtol=1e-3, fast_mode=True)


def test_descent_brings_a_scene_back() -> None:
    truth = surface(100, seed=2, degree=0)
    cameras = [orbit((0, 0.2, 0), 3, azimuth=a, focal=40, width=40, height=32, elevation=20) for a in (0, 90)]
    goals = [torch.from_numpy(render(truth, camera).image) for camera in cameras]
    start = Tensors.of(truth)
    light = (
        start.harmonics + 0.5 * torch.randn(start.harmonics.shape, generator=torch.Generator().manual_seed(1))
    ).requires_grad_()
    errors = []
    for step in range(16):
        tensors = Tensors(start.means, start.scales, start.quaternions, start.opacities, light)
        image, _ = render_tensors(tensors, cameras[step % 2])
        error = ((image - goals[step % 2]) ** 2).mean()
        (slope,) = torch.autograd.grad(error, [light])
        with torch.no_grad():
            light -= 0.08 * slope.sign()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.3 * errors[0]
