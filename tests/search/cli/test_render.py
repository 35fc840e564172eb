"""`optimize render` writes the picture that the renderer draws, and refuses what it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tradespace.problems.rendering.frame import render
from tradespace.problems.rendering.readers import read_scene
from tradespace.problems.rendering.viewpoint import view_of

Cli = Callable[..., Any]


@pytest.fixture
def points(cli: Cli) -> Path:
    """A scene of points in the command's folder."""
    rng = np.random.default_rng(3)
    np.savez("points.npz", means3d=rng.normal(size=(400, 3)), colors=rng.random((400, 3)))
    return Path("points.npz")


def test_a_frame_is_written_with_its_counts(cli: Cli, points: Path) -> None:
    shown = cli("render", points, "--camera", "orbit:40,10", "--size", "96x64", "--out", "a/b.png", "--json")
    assert shown.code == 0, shown.err
    scene = read_scene(points)
    exact = render(scene, view_of(scene, "orbit:40,10", 96, 64), counting=True)
    picture = np.asarray(Image.open("a/b.png")) / 255
    assert picture.shape == (64, 96, 3)
    assert np.abs(picture - np.clip(exact.image, 0, 1)).max() < 0.5 / 255 + 1e-6
    (frame,) = shown.json["frames"]
    assert exact.counts is not None
    assert frame["counts"]["blends"] == exact.counts.blends
    assert frame["counts"]["groups_mixed"] == {str(g): n for g, n in exact.counts.groups_mixed.items()}


def test_a_path_is_numbered_frames_and_a_table(cli: Cli, points: Path) -> None:
    shown = cli("render", points, "--size", "64x48", "--orbit", "3", "--group", "2", "--out", "turn.png")
    assert shown.code == 0, shown.err
    assert [p.name for p in sorted(Path().glob("*.png"))] == ["turn-0.png", "turn-1.png", "turn-2.png"]
    assert "dB against exact blending" in shown.out
    assert "2 x 2 mixed" in shown.out
    frames = [np.asarray(Image.open(p)).astype(int) for p in sorted(Path().glob("*.png"))]
    assert np.abs(frames[0] - frames[1]).mean() > 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing.ply"], "there is no scene 'nothing.ply'"),
        (["points.npz", "--size", "800"], "must be WIDTHxHEIGHT"),
        (["points.npz", "--size", "0x9"], "has no pixels"),
        (["points.npz", "--size", "99999x99999"], "choose a smaller size"),
        (["points.npz", "--camera", "somewhere"], "neither known words nor a file"),
        (["points.npz", "--out", "a.tiff"], "must end in one of .png"),
        (["points.npz", "--out", "points.npz/a.png"], "cannot write"),
        (["points.npz", "--background", "mauve"], "must be black, white, grey"),
        (["points.npz", "--tile", "5"], "tile's edge must be one of"),
        (["points.npz", "--group", "3"], "group must be one of"),
        (["points.npz", "--check", "nowhere"], "check must be one of"),
        (["points.npz", "--orbit", "2", "--head", "2"], "two paths"),
        (["points.npz", "--orbit", "0"], "at least 1, got '0'"),
        (["points.npz", "--level", "2"], "needs a folder with lod-meta.json"),
        (["points.npz", "--fov", "200"], "within 1 and 170"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    cli: Cli, points: Path, words: list[str], sentence: str
) -> None:
    shown = cli("render", *words)
    assert shown.code == 2
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
    assert not list(Path().glob("*.png"))
