"""The fast renderer equals its definition; options change the work, never the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tradespace.errors import DataError
from tradespace.problems.rendering import binning
from tradespace.problems.rendering.cameras import Camera, head_path, look_at, orbit
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


def single(mean: tuple[float, float, float], scale: float, opacity: float = 0.8) -> Gaussians:
    """One white ball."""
    return Gaussians([mean], [[scale] * 3], [[1, 0, 0, 0]], [opacity], np.full((1, 1, 3), 0.5 / 0.28209479))


@pytest.mark.parametrize(
    ("scene", "seen"),
    [
        (cloud(20).take(slice(0, 0)), False),  # nothing
        (single((0, 0, 0), 50.0), True),  # the camera stands inside it
        (single((0, 0, -4.9), 1.0), False),  # nearer than the near plane
        (single((0, 0, -9.0), 1.0), False),  # behind
        (single((0, 0, 0), 0.0), True),  # a point
        (single((0, 0, 0), 1e30), False),  # beyond float32
        (single((1e30, 0, 1e30), 1.0), False),
        (single((0, 0, 0), 1.0, 1 / 255), False),  # at the edge of what is drawn
        (single((0, 0, 0), 1.0, 1.0), True),
    ],
    ids=range(9),
)
def test_extreme_scenes_are_drawn_without_fuss(scene: Gaussians, seen: bool) -> None:
    camera = orbit((0, 0, 0), 5, **VIEW)
    for options in ({}, {"extent": "circle"}, {"counting": True}):
        frame = render(scene, camera, **options)  # type: ignore[arg-type]
        assert np.isfinite(frame.image).all()
        assert frame.transmittance.min() >= 0
        assert (frame.image.max() > 0.1) == seen


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 12}, "tile's edge must be one of"),
        ({"extent": "square"}, "extent must be one of circle, box, ellipse"),
        ({"group": 3}, "group must be one of"),
        ({"group": 2}, "choose centre, leader or any"),
        ({"check": "corner"}, "check must be one of"),
        ({"background": (0, 1)}, "three finite numbers"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        render(cloud(3), orbit((0, 0, 0), 5, **VIEW), **options)  # type: ignore[arg-type]


def test_the_memory_of_a_frame_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binning, "MOST_PAIRS", 100)
    with pytest.raises(DataError, match="more than 100"):
        render(cloud(200), orbit((0, 0, 0), 3, **VIEW), tile=4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"means": [[0, np.nan, 0]]}, "means must be finite"),
        ({"scales": [[-1, 1, 1]]}, "scales must not be negative"),
        ({"quaternions": [[0, 0, 0, 0]]}, "quaternions must not be zero"),
        ({"opacities": [1.5]}, "opacities must lie within 0 and 1"),
        ({"harmonics": np.zeros((1, 2, 3))}, "K one of"),
        ({"scales": np.ones((2, 3))}, "must have shape"),
    ],
)
def test_gaussians_that_are_none_are_one_sentence(fields: dict[str, object], words: str) -> None:
    good = {
        n: getattr(single((0, 0, 0), 1.0), n)
        for n in ("means", "scales", "quaternions", "opacities", "harmonics")
    }
    with pytest.raises(DataError, match=words):
        Gaussians(**{**good, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: orbit((0, 0, 0), 0, **VIEW), "distance must be a positive"),
        (lambda: look_at((0, 0, 0), (0, 0, 0), **VIEW), "points must differ"),
        (lambda: look_at((0, 5, 0), (0, 0, 0), **VIEW), "no horizon"),
        (lambda: orbit((0, 0, 0), 3, focal=0, width=4, height=4), "focal must be a positive"),
        (lambda: orbit((0, 0, 0), 3, focal=9, width=10**6, height=10**6), "choose a smaller size"),
        (lambda: Camera(np.eye(3) * 2, np.zeros(3), 9, 4, 4), "orthonormal"),
    ],
)
def test_cameras_that_are_none_are_one_sentence(make: Callable[[], Camera], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()


def test_what_the_camera_looks_at_is_in_the_middle_and_up_is_up() -> None:
    camera = orbit((1, 2, 3), 4, azimuth=77, elevation=33, **VIEW)
    assert camera.to_camera(np.array([[1.0, 2.0, 3.0]])) == pytest.approx(np.array([[0, 0, 4]]), abs=1e-12)
    above = camera.to_camera(np.array([[1.0, 2.0 - 0.1, 3.0]]))[0]
    assert above[1] < 0 < 1e-9 + abs(above[0]) < 1e-6  # up on the screen, not to a side
    assert camera.position[1] < 2  # elevation lifts the camera, up being -y


def test_a_head_turns_25_degrees_a_second() -> None:
    first = orbit((0, 0, 0), 3, elevation=10, **VIEW)
    second = list(head_path(first, 91))[-1]
    level = [c.forward * [1, 0, 1] for c in (first, second)]
    angle = np.degrees(np.arccos(level[0] @ level[1] / np.prod([np.linalg.norm(v) for v in level])))
    assert angle == pytest.approx(25)
    assert np.array_equal(first.position, second.position)
