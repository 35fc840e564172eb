"""Counts are exact: a brute force over all tiles, entries and pixels finds the same numbers."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tradespace.problems.rendering import frame
from tradespace.problems.rendering.cameras import Camera, orbit
from tradespace.problems.rendering.counts import FrameCounts, cache_folder, counted
from tradespace.problems.rendering.frame import render
from tradespace.problems.rendering.gaussians import Gaussians
from tradespace.problems.rendering.reference import Splat, project_reference
from tradespace.problems.rendering.synthetic import cloud, surface

SCENE = cloud(220, seed=11, size=0.12)
CAMERA = orbit((0, 0, 0), 2.5, focal=60, width=58, height=43, azimuth=70, elevation=15)


def least_power(splat: Splat, box: tuple[float, float, float, float]) -> float:
    """Least exponent of a splat over a rectangle (left, top, right, bottom)."""
    left, top, right, bottom = box
    x, y = splat.centre
    if left <= x <= right and top <= y <= bottom:
        return 0.0
    (a, b), (_, c) = splat.conic
    found = []
    for dx in (left - x, right - x):
        dy = np.clip(-b * dx / c, top - y, bottom - y)
        found.append(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy)
    for dy in (top - y, bottom - y):
        dx = np.clip(-b * dy / a, left - x, right - x)
        found.append(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy)
    return min(found)


def reaches(splat: Splat, extent: str, column: int, row: int, tile: int) -> bool:
    """Whether a splat is in the list of a tile."""
    covariance = np.linalg.inv(splat.conic)
    limit = math.log(255 * splat.opacity)
    left, top = column * tile, row * tile
    if extent == "ellipse":
        return least_power(splat, (left, top, left + tile, top + tile)) <= limit
    x, y = splat.centre
    if extent == "box":
        half = np.sqrt(2 * limit * np.diag(covariance))
        return bool(
            x + half[0] >= left
            and x - half[0] < left + tile
            and y + half[1] >= top
            and y - half[1] < top + tile
        )
    radius = math.ceil(3 * math.sqrt(np.linalg.eigvalsh(covariance)[1]))
    first = [math.floor((v - 0.5 - radius) / tile) for v in (x, y)]
    end = [math.floor((v - 0.5 + radius + tile - 1) / tile) for v in (x, y)]
    return first[0] <= column < end[0] and first[1] <= row < end[1]


def brute(
    scene: Gaussians, camera: Camera, tile: int, extent: str, group: int, check: str
) -> tuple[Counter[str], np.ndarray]:
    """Counts and image, entry by entry over whole tiles in double precision."""
    splats = project_reference(scene, camera)
    total: Counter[str] = Counter()
    image = np.zeros((camera.height, camera.width, 3))
    for row in range(-(-camera.height // tile)):
        for column in range(-(-camera.width // tile)):
            entries = [s for s in splats if reaches(s, extent, column, row, tile)]
            total["pairs"] += len(entries)
            ys = np.arange(row * tile, min((row + 1) * tile, camera.height))
            xs = np.arange(column * tile, min((column + 1) * tile, camera.width))
            through, open_ = np.ones((len(ys), len(xs))), np.ones((len(ys), len(xs)), bool)
            lane = (ys[:, None] - ys[0]) * tile + (xs - xs[0])
            for splat in entries:
                if not open_.any():
                    break
                total["visits"] += 1
                own = alpha_at(splat, xs + 0.5, ys + 0.5)
                passed = own >= 1 / 255
                for g in (2, 4):
                    blocks_open = blocks(open_, g)
                    hit = blocks(open_ & (decide(splat, xs, ys, group, check, passed)), g)
                    total[f"slots {g}"] += int((blocks_open > 0).sum())
                    total[f"mixed {g}"] += int(((hit > 0) & (hit < blocks_open)).sum())
                    total[f"passed {g}"] += int((hit > 0).sum())
                each = group * group if check == "any" else 1
                total["checks"] += each * int((blocks(open_, group) > 0).sum())
                passed = decide(splat, xs, ys, group, check, passed) & open_
                total["significant"] += int(passed.sum())
                total["warp steps"] += len(set((lane[open_] // 32).tolist()))
                stops = passed & (through * (1 - own) < 1e-4)
                blend = passed & ~stops
                total["early"] += int(stops.sum())
                total["blends"] += int(blend.sum())
                total["warp active"] += len(set((lane[blend] // 32).tolist()))
                weight = np.where(blend, through * own, 0)
                image[np.ix_(ys, xs)] += weight[..., None] * splat.colour
                through = np.where(blend, through * (1 - own), through)
                open_ &= ~stops
    return total, image


def alpha_at(splat: Splat, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """alpha at points, (ys, xs)."""
    dx, dy = (xs - splat.centre[0])[None, :], (ys - splat.centre[1])[:, None]
    (a, b), (_, c) = splat.conic
    return np.minimum(0.99, splat.opacity * np.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy))


def blocks(mask: np.ndarray, group: int) -> np.ndarray:
    """How many of each group's pixels are set."""
    rows, columns = (-(-n // group) for n in mask.shape)
    whole = np.zeros((rows * group, columns * group), int)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    return whole.reshape(rows, group, columns, group).sum(axis=(1, 3))


def decide(
    splat: Splat, xs: np.ndarray, ys: np.ndarray, group: int, check: str, passed: np.ndarray
) -> np.ndarray:
    """The pixels that a check lets through."""
    if check == "pixel":
        return passed
    if check == "any":
        chosen = blocks(passed, group) > 0
    else:
        shift = group / 2 if check == "centre" else 0.5
        chosen = alpha_at(splat, xs[::group] + shift, ys[::group] + shift) >= 1 / 255
    spread = np.repeat(np.repeat(chosen, group, 0), group, 1)
    return spread[: len(ys), : len(xs)]


POINTS = [
    (16, "ellipse", 1, "pixel"),
    (8, "box", 1, "pixel"),
    (16, "circle", 1, "pixel"),
    (16, "ellipse", 2, "centre"),
    (8, "ellipse", 4, "centre"),
    (16, "box", 2, "leader"),
    (16, "ellipse", 4, "any"),
]


@pytest.mark.parametrize(("tile", "extent", "group", "check"), POINTS)
def test_counts_equal_brute_force(tile: int, extent: str, group: int, check: str) -> None:
    made = render(SCENE, CAMERA, tile=tile, extent=extent, group=group, check=check, counting=True)
    counts = made.counts
    assert counts is not None
    total, image = brute(SCENE, CAMERA, tile, extent, group, check)
    assert np.abs(made.image - image).max() < 1e-4
    assert {
        "pairs": counts.pairs,
        "visits": counts.visits,
        "checks": counts.checks,
        "significant": counts.significant,
        "blends": counts.blends,
        "early": counts.early_stopped,
        "warp steps": counts.warp_steps,
        "warp active": counts.warp_active_steps,
        **{f"slots {g}": counts.groups_unanimous[g] + counts.groups_mixed[g] for g in (2, 4)},
        **{f"mixed {g}": counts.groups_mixed[g] for g in (2, 4)},
        **{f"passed {g}": counts.groups_passed[g] for g in (2, 4)},
    } == dict(total)
    assert total["early"] > 0
    assert counts.gaussians == len(SCENE)
    assert counts.frustum == int((CAMERA.to_camera(SCENE.means)[:, 2] > CAMERA.near).sum())


def test_tiles_and_threads_and_counting_change_no_picture() -> None:
    scene, camera = surface(3000), orbit((0, 0.2, 0), 3, focal=90, width=90, height=70, elevation=30)
    exact = render(scene, camera)
    for same in ({"counting": True}, {"threads": 3}, {"extent": "box"}):
        assert np.array_equal(render(scene, camera, **same).image, exact.image), same  # type: ignore[arg-type]
    for options in ({"tile": 4}, {"tile": 8}, {"tile": 64}):
        other = render(scene, camera, **options)  # type: ignore[arg-type]
        assert np.abs(other.image - exact.image).max() < 2e-3, options  # a threshold met by rounding
        assert np.mean((other.image - exact.image) ** 2) < 1e-9, options
    seen: list[float] = []
    assert np.array_equal(render(scene, camera, threads=2, progress=seen.append).image, exact.image)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_counts_are_kept_on_disk_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADESPACE_CACHE", str(tmp_path))
    first = counted(SCENE, CAMERA, tile=8)
    (path,) = cache_folder().glob("*.npz")
    made = []
    whole = frame.render
    monkeypatch.setattr(frame, "render", lambda *a, **k: made.append(k) or whole(*a, **k))
    again = counted(SCENE.take(slice(None)), CAMERA, tile=8)
    assert not made
    assert again.record() == first.record()
    assert all(np.array_equal(getattr(again, n), getattr(first, n)) for n in ("tile_pairs", "tile_visits"))
    path.write_bytes(path.read_bytes()[:50])
    assert counted(SCENE, CAMERA, tile=8).record() == first.record()
    assert len(made) == 1
    assert FrameCounts.load(path).record() == first.record()
    counted(SCENE, CAMERA, tile=16)
    assert len(made) == 2
    assert not list(tmp_path.rglob("*.part"))
