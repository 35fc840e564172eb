"""`optimize render`: draw a scene of 3D Gaussians, and print what the drawing took."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import units
from ...errors import DataError
from ...problems.rendering.cameras import UP, Camera, head_path, rotation_about
from ...problems.rendering.counts import FrameCounts
from ...problems.rendering.frame import Frame, render
from ...problems.rendering.gaussians import Gaussians
from ...problems.rendering.quality import psnr
from ...problems.rendering.readers import read_scene
from ...problems.rendering.viewpoint import framing, view_of
from ..folder import check_writable, unwritable
from .console import console, print_json, rows, table
from .progress import fraction_bar

PICTURES = (".png", ".webp", ".npy")
MOST_FRAMES = 10_000


@dataclass(frozen=True)
class Look:
    """What to draw of a scene and how, as asked on the command line."""

    camera: str
    size: str
    field_of_view: float | None
    orbit: int | None
    head: int | None
    level: int
    repair: bool
    background: str
    threads: int
    options: dict[str, Any]


def draw_scene(scene_path: Path, look: Look, out: Path, counting: bool, json: bool) -> None:
    """Draw a frame, or the frames of a path, write them and print time, counts and quality.

    Raises DataError for anything that cannot be read, drawn or written.
    """
    if out.suffix not in PICTURES:
        raise DataError(f"--out '{out}' must end in one of {', '.join(PICTURES)}.")
    width, height = _size(look.size)
    background = _background(look.background)
    check_writable(out, "--out")
    scene = read_scene(scene_path, level=look.level, repair=look.repair)
    if not len(scene):
        raise DataError(f"the scene '{scene_path.name}' has no Gaussians.")
    first = view_of(scene, look.camera, width, height, look.field_of_view)
    cameras = list(_path(scene, first, look))
    options = {**look.options, "background": background, "threads": look.threads}
    exact = look.options["group"] == 1
    if len(cameras) == 1:
        # what is not this frame's own work: the first call reads or makes the machine code
        render(scene.take(slice(0, 1)), first, counting=counting, **options)
    drawn: list[dict[str, Any]] = []
    with fraction_bar(json) as bar:
        for i, camera in enumerate(cameras):
            what = f"frame {i + 1} of {len(cameras)}"
            bar(i / len(cameras), what)
            start = time.perf_counter()
            frame = render(
                scene, camera, counting=counting, **options,
                progress=_part(bar, i, len(cameras), what),
            )  # fmt: skip
            seconds = time.perf_counter() - start
            path = _write(frame, out if len(cameras) == 1 else _numbered(out, i, len(cameras)))
            record = {"file": str(path), "camera": camera_record(camera), "seconds": seconds}
            if not exact:
                reference = render(scene, camera, background=background, threads=look.threads)
                record["psnr"] = psnr(frame.image, reference.image)
            drawn.append(record | ({"counts": frame.counts.record()} if frame.counts else {}))
            last = frame.counts
    if json:
        print_json(
            {"scene": str(scene_path), "gaussians": len(scene), "degree": scene.degree, "frames": drawn}
        )
        return
    _show(scene_path, scene, first, drawn, last)


def camera_record(camera: Camera) -> dict[str, Any]:
    """A camera as plain data."""
    return {
        "position": camera.position.tolist(), "rotation": camera.rotation.tolist(), "focal": camera.focal,
        "width": camera.width, "height": camera.height,
    }  # fmt: skip


def _path(scene: Gaussians, first: Camera, look: Look) -> Iterator[Camera]:
    """The first camera, its orbit about the scene's middle, or the turning of a head."""
    if look.orbit is not None and look.head is not None:
        raise DataError("--orbit and --head are two paths; give one.")
    asked = look.head if look.orbit is None else look.orbit
    count = 1 if asked is None else asked
    if not 1 <= count <= MOST_FRAMES:
        raise DataError(f"a path has 1 to {MOST_FRAMES:,} frames, got {count:,}.")
    if look.head is not None:
        yield from head_path(first, count)
        return
    middle, _ = framing(scene, 1.0)
    for i in range(count):
        turn = rotation_about(UP, 360.0 * i / count)
        place = np.asarray(middle) + turn @ (first.position - middle)
        yield Camera(
            first.rotation @ turn.T, place, first.focal, first.width, first.height, first.near, first.aspect,
            first.centre,
        )  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if match is None:
        raise DataError(f"--size '{text}' must be WIDTHxHEIGHT in pixels, such as 800x608.")
    width, height = int(match[1]), int(match[2])
    if not width or not height:
        raise DataError(f"--size '{text}' has no pixels.")
    return width, height


def _background(text: str) -> tuple[float, float, float]:
    named = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0), "grey": (0.5, 0.5, 0.5)}
    if text in named:
        return named[text]
    try:
        red, green, blue = (float(t) for t in text.split(","))
    except ValueError:
        raise DataError(
            f"--background '{text}' must be black, white, grey or R,G,B within 0 and 1."
        ) from None
    return red, green, blue


def _numbered(out: Path, i: int, count: int) -> Path:
    return out.with_name(f"{out.stem}-{i:0{len(str(count - 1))}d}{out.suffix}")


def _part(bar: Callable[[float, str], None], done: int, frames: int, what: str) -> Callable[[float], None]:
    """Progress within one frame as progress of all."""
    return lambda share: bar((done + share) / frames, what)


def _write(frame: Frame, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, frame.image)
        else:
            from PIL import Image

            pixels = (255 * np.clip(frame.image, 0, 1) + 0.5).astype(np.uint8)
            Image.fromarray(pixels).save(path, lossless=True)
    except OSError as error:
        raise unwritable(path, error) from None
    return path


def _show(
    path: Path, scene: Gaussians, camera: Camera, drawn: list[dict[str, Any]], counts: FrameCounts | None
) -> None:
    out = console()
    seconds = [frame["seconds"] for frame in drawn]
    out.print(f"{path.name} · {len(scene):,} Gaussians, colour of degree {scene.degree}")
    speed = (
        f"{units.show(float(np.mean(seconds)), 's')} a frame"
        if len(drawn) > 1
        else units.show(seconds[0], "s")
    )
    out.print(f"[dim]drawn[/]       {camera.width} x {camera.height} in {speed}")
    if "psnr" in drawn[0]:
        out.print(f"[dim]quality[/]     {np.mean([f['psnr'] for f in drawn]):.1f} dB against exact blending")
    if counts is not None:
        title = "counts" if len(drawn) == 1 else "counts of the last frame"
        out.print(rows(table(title, "what", "number", "note", right=("number",)), count_rows(counts)))
    files = drawn[0]["file"] if len(drawn) == 1 else f"{drawn[0]['file']} to {Path(drawn[-1]['file']).name}"
    out.print(f"[dim]written[/]     {files}")


def count_rows(counts: FrameCounts) -> list[tuple[str, str, str]]:
    """The counts of a frame as rows of a table: what, number, note."""
    c = counts
    groups = {g: c.groups_unanimous[g] + c.groups_mixed[g] for g in c.groups_mixed}
    each = "group" if c.group > 1 else "pixel"
    significant = f"alpha >= 1/255: {_share(c.significant, c.checks)} of checks"
    if c.group > 1:
        significant = "pixels of the groups that a check let through"
    longest = f"longest list {int(c.tile_pairs.max()):,}"
    lines: list[tuple[str, float, str]] = [
        ("Gaussians", c.gaussians, f"{c.frustum:,} before the camera"),
        ("projected", c.projected, "reach the frame"),
        ("pairs", c.pairs, f"with tiles of {c.tile} px ({c.extent}); {longest}"),
        ("visits", c.visits, f"{_share(c.visits, c.pairs)} of pairs, until each tile is finished"),
        ("checks", c.checks, f"{c.checks / c.pixels:,.0f} a pixel" + (f", by {each}" if c.group > 1 else "")),
        ("significant", c.significant, significant),
        ("blends", c.blends, f"{c.blends / c.pixels:.1f} a pixel"),
        ("early stops", c.early_stopped, f"{_share(c.early_stopped, c.pixels)} of pixels"),
        *(
            (f"{g} x {g} mixed", c.groups_mixed[g], f"{_share(c.groups_mixed[g], groups[g])} of group steps, "
             f"{_share(c.groups_mixed[g], c.groups_passed[g])} of those that blend")
            for g in groups
        ),
        ("warp steps", c.warp_steps, f"{_share(c.warp_active_steps, c.warp_steps)} with any blend, "
         f"{c.occupancy:.1%} of whose lanes blend"),
        ("sort passes", c.sort_passes, f"of 8 bits over {c.sort_keys:,} keys"),
    ]  # fmt: skip
    traffic = c.dram
    split = ", ".join(
        f"{name.replace('_', ' ')} {units.show(value, 'B', 3)}" for name, value in vars(traffic).items()
    )
    shown = [(name, f"{int(value):,}", note) for name, value, note in lines]
    return [*shown, ("DRAM", units.show(traffic.total, "B"), split)]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "none"
