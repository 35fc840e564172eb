"""The fast renderer equals its definition; options change the work, never the picture."""

from __future__ import annotations

import numpy as np
import pytest

from tradespace.problems.rendering.cameras import Camera, orbit
from tradespace.problems.rendering.frame import render
from tradespace.problems.rendering.gaussians import Gaussians
from tradespace.problems.rendering.reference import render_reference
from tradespace.problems.rendering.synthetic import cloud, surface

VIEW = {"focal": 40.0, "width": 45, "height": 34}


def psnr(image: np.ndarray, exact: np.ndarray) -> float:
    """Peak signal to noise in dB, of a peak of one."""
    return float(-10 * np.log10(max(np.mean((image.astype(float) - exact) ** 2), 1e-30)))


def scenes() -> list[tuple[Gaussians, Camera]]:
    """Scenes and cameras: outside, close, inside the cloud, off-centre, needles, large splats."""
    needles = cloud(80, seed=5, degree=0)
    needles = Gaussians(
        needles.means,
        needles.scales * [20, 0.1, 0.1],
        needles.quaternions,
        needles.opacities,
        needles.harmonics,
    )
    off = orbit((0, 0, 0), 3, azimuth=200, **VIEW)
    return [
        (cloud(150, seed=1, degree=3), orbit((0, 0, 0), 3, azimuth=40, elevation=20, **VIEW)),
        (cloud(150, seed=2, size=0.2), orbit((0, 0, 0), 1.2, azimuth=100, **VIEW)),
        (cloud(150, seed=3, degree=2), orbit((0, 0, 0.3), 0.4, **VIEW)),
        (needles, orbit((0, 0, 0), 2, azimuth=10, elevation=-30, **VIEW)),
        (
            surface(200, seed=4),
            Camera(off.rotation, off.position, 40, 45, 34, aspect=1.3, centre=(10.0, 30.0)),
        ),
    ]


@pytest.mark.parametrize("number", range(5))
def test_equals_the_definition(number: int) -> None:
    scene, camera = scenes()[number]
    exact, through = render_reference(scene, camera, (0.2, 0.5, 0.9))
    frame = render(scene, camera, background=(0.2, 0.5, 0.9))
    assert exact.std() > 0.05
    assert psnr(frame.image, exact) >= 60
    assert psnr(frame.transmittance, through) >= 60
