"""Cameras from words and from files: what is meant is what is seen, and what is not is one sentence."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tradespace.errors import DataError
from tradespace.problems.rendering.cameras import orbit
from tradespace.problems.rendering.colmap import read_cameras
from tradespace.problems.rendering.quality import psnr, ssim
from tradespace.problems.rendering.readers import read_scene
from tradespace.problems.rendering.synthetic import cloud
from tradespace.problems.rendering.viewpoint import view_of

POSES = [
    orbit((0.1, 0.2, 0.3), 2 + k, azimuth=50.0 * k, elevation=20, focal=90, width=64, height=48)
    for k in range(3)
]


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """w x y z of a rotation matrix, from its eigenvector (Bar-Itzhack 2000)."""
    r = rotation
    k = np.array([
        [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
        [0, r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
        [0, 0, r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
        [0, 0, 0, r[2, 2] - r[0, 0] - r[1, 1]],
    ])  # fmt: skip
    return np.linalg.eigh(k + np.triu(k, 1).T)[1][:, -1]


def text_model(folder: Path) -> None:
    """cameras.txt and images.txt, the images in reverse order."""
    (folder / "cameras.txt").write_text("# cameras\n7 PINHOLE 64 48 90 99 30 25\n")
    lines = ["# images"]
    for k, pose in reversed(list(enumerate(POSES))):
        shift = -pose.rotation @ pose.position
        numbers = " ".join(repr(float(v)) for v in (*quaternion(pose.rotation), *shift))
        lines += [f"{k + 1} {numbers} 7 view {k}.png", "1.0 2.0 -1" if k else ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def without_points(folder: Path) -> None:
    """The same without lines of points, as tools write it that track none; marked, ended as on Windows."""
    text_model(folder)
    lines = [line for line in (folder / "images.txt").read_text().splitlines() if ".png" in line]
    (folder / "images.txt").write_bytes("\r\n".join(["# images", *lines, "", ""]).encode("utf-8-sig"))
    (folder / "cameras.txt").write_bytes((folder / "cameras.txt").read_text().encode("utf-16"))


def some_points(folder: Path) -> None:
    """Lines of points after some images only, blank lines between others."""
    without_points(folder)
    lines = (folder / "images.txt").read_text("utf-8-sig").splitlines()
    points = "10.5 20.25 -1 11 2e1 33 12.125 3 7 1 2 3"
    mixed = [lines[1], points, *lines[2:], "", "", points]
    (folder / "images.txt").write_text("\n".join(mixed))


def binary_model(folder: Path) -> None:
    """cameras.bin and images.bin."""
    lens = struct.pack("<QiiQQ4d", 1, 7, 1, 64, 48, 90, 99, 30, 25)
    (folder / "cameras.bin").write_bytes(lens)
    data = struct.pack("<Q", len(POSES))
    for k, pose in enumerate(POSES):
        shift = -pose.rotation @ pose.position
        data += (
            struct.pack("<i7di", k, *quaternion(pose.rotation), *shift, 7) + f"view {k}.png".encode() + b"\0"
        )
        data += struct.pack("<Q", k) + bytes(24 * k)
    (folder / "images.bin").write_bytes(data)


def arrays(folder: Path) -> None:
    """poses.npz."""
    views = np.tile(np.eye(4), (len(POSES), 1, 1))
    for view, pose in zip(views, POSES, strict=True):
        view[:3, :3], view[:3, 3] = pose.rotation, -pose.rotation @ pose.position
    lens = np.tile([[90.0, 0, 30], [0, 99, 25], [0, 0, 1]], (len(POSES), 1, 1))
    np.savez(folder / "poses.npz", viewmats=views.astype(np.float32), Ks=lens, width=64, height=48)


@pytest.mark.parametrize("write", [text_model, without_points, some_points, binary_model, arrays])
def test_poses_that_were_written_are_read(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    found = read_cameras(tmp_path / "poses.npz" if write is arrays else tmp_path)
    for camera, pose in zip(found, POSES, strict=True):  # as many as there are
        assert camera.rotation == pytest.approx(pose.rotation, abs=1e-6)
        assert camera.position == pytest.approx(pose.position, abs=1e-5)
        assert (camera.focal, camera.focal_y, camera.principal) == (90, pytest.approx(99), (30, 25))
    scaled = found[0].resized(128, 96)
    assert (scaled.focal, scaled.focal_y, scaled.principal) == (180, pytest.approx(198), (60, 50))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "cameras.txt").write_text("7 FISHEYE 64 48 1 2 3\n"), "model FISHEYE"),
        (lambda d: (d / "cameras.txt").write_text("7 SIMPLE_RADIAL 64 48 90 32 24 0.1\n"), "undistort"),
        (lambda d: (d / "cameras.txt").write_text("7 PINHOLE 64 48 90\n"), "needs 4 parameters, got 1"),
        (lambda d: (d / "cameras.txt").write_text("8 PINHOLE 64 48 90 99 30 25\n"), "which is not listed"),
        (lambda d: (d / "images.txt").write_text("1 1 0 0\n\n"), "4 fields, expected 10"),
        (lambda d: (d / "images.txt").write_text("1 0 0 0 0 0 0 0 7 a.png\n\n"), "zero quaternion"),
        (lambda d: (d / "images.txt").write_text(""), "has no cameras"),
        (lambda d: (d / "images.txt").unlink(), "neither images.bin nor images.txt"),
        (lambda d: (d / "images.bin").write_bytes(struct.pack("<Q", 2**60)), "declares 1,152"),
        (lambda d: (d / "images.bin").write_bytes(struct.pack("<Q", 9) + bytes(30)), "cannot read"),
    ],
)  # fmt: skip
def test_broken_poses_are_one_sentence(tmp_path: Path, change: Callable[[Path], object], words: str) -> None:
    text_model(tmp_path)
    binary_model(tmp_path)
    (tmp_path / "images.bin").unlink()
    change(tmp_path)
    with pytest.raises(DataError, match=words):
        read_cameras(tmp_path)


def test_words_become_cameras(tmp_path: Path) -> None:
    scene = cloud(200)
    arrays(tmp_path)
    auto = view_of(scene, "auto", 80, 60)
    depth = auto.to_camera(scene.means)
    across = np.abs(auto.focal * depth[:, :2] / depth[:, 2:])
    assert (across < [40, 30]).all(axis=1).mean() > 0.97
    assert view_of(scene, "orbit:90,0,5", 80, 60).position == pytest.approx(
        orbit(0.5 * sum(scene.bounds), 5, azimuth=90, focal=1, width=80, height=60).position, abs=1e-6
    )
    assert view_of(scene, "at:0,-1,-4/0,0,0", 80, 60).position == pytest.approx(np.array([0, -1, -4]))
    posed = view_of(scene, f"{tmp_path / 'poses.npz'}#2", 128, 96)
    assert posed.position == pytest.approx(POSES[2].position, abs=1e-5)
    assert view_of(scene, "auto", 80, 60, 90).focal == pytest.approx(40)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("orbit:1", "cannot be read"),
        ("orbit:1,x", "cannot be read"),
        ("orbit:1,nan", "cannot be read"),
        ("at:1,2,3", "what it looks at"),
        ("at:1,2,3/1,2,3", "points must differ"),
        ("nowhere", "neither known words nor a file"),
    ],
)
def test_words_that_mean_no_camera_are_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        view_of(cloud(5), words, 80, 60)


def test_points_become_balls_whose_size_follows_their_distance(tmp_path: Path) -> None:
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)
    colours = np.full((64, 3), 128, np.uint8)
    np.savez(tmp_path / "points.npz", means3d=grid, colors=colours)
    scene = read_scene(tmp_path / "points.npz")
    assert scene.scales == pytest.approx(np.full((64, 3), 0.35))
    np.savez(tmp_path / "other.npz", means=grid)
    with pytest.raises(DataError, match="lacks the arrays means3d, colors"):
        read_scene(tmp_path / "other.npz")


def test_quality_falls_with_noise() -> None:
    rng = np.random.default_rng(0)
    picture = rng.random((32, 40, 3))
    noisy = [picture + s * rng.normal(size=picture.shape) for s in (0.01, 0.05, 0.2)]
    for measure, equal in ((psnr, np.inf), (ssim, 1.0)):
        found = [measure(n, picture) for n in noisy]
        assert equal > found[0] > found[1] > found[2]
        assert measure(picture, picture) == equal
    with pytest.raises(DataError, match="one shape"):
        psnr(picture, picture[1:])
