"""What step 8's level of detail, cost models and search promise, each beside its bar.

    python benchmarks/sltarch.py [ROW ...] [--scene FILE ...]

Rows: cut, reuse, calibration, gpu, sweep, milp, reproduce. Without --scene they take a scene made in code;
with several, each in turn. Times are CPU times of one thread; the machine may be shared.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tradespace as ts
from tradespace.costmodels import splatting, splatting_cores
from tradespace.hardware import device
from tradespace.hardware.accelerators import accelerator
from tradespace.hardware.technology import core_area_factor, core_energy_factor, core_power_factor
from tradespace.problems.rendering import cameras, cut, hierarchy, reuse, sltree
from tradespace.problems.rendering.gaussians import Gaussians
from tradespace.problems.rendering.readers import read_scene
from tradespace.problems.rendering.sltarch.problem import SLTarch
from tradespace.problems.rendering.sltarch.reproduce import reproduce as rows_of_paper
from tradespace.problems.rendering.sltarch.workload import on_gpu
from tradespace.problems.rendering.sltarch.world import World, framed
from tradespace.problems.rendering.synthetic import surface

CAMERAS = 40
POINT = {"subtree": 32, "merging": True, "threshold": 1.0, "group": 2, "check": "centre", "interval": 1}
SCENES: list[Path] = []
TREES: dict[str, tuple[Gaussians, hierarchy.Hierarchy]] = {}


def row(what: str, ours: str, bar: str, met: bool | None) -> None:
    """One line."""
    verdict = "" if met is None else "met" if met else "MISSED"
    print(f"{what:78} {ours:34} {bar:28} {verdict}", flush=True)


def scenes() -> list[tuple[str, Gaussians, hierarchy.Hierarchy]]:
    """Scenes to try and their hierarchies."""
    for path in SCENES or [None]:
        name = "made in code, 40,000" if path is None else path.name
        if name not in TREES:
            scene = surface(40_000) if path is None else read_scene(path)
            TREES[name] = scene, hierarchy.build(scene)
    return [(name, *pair) for name, pair in TREES.items()]


def random_cameras(scene: Gaussians, count: int) -> list[cameras.Camera]:
    """Cameras about and within a scene, looking anywhere."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        seen = framed(
            scene, width=400, height=304, distance=float(np.exp(rng.uniform(-2, 1.5))),
            azimuth=rng.uniform(0, 360), elevation=rng.uniform(-60, 60),
        )  # fmt: skip
        found.append(seen.turned(rng.uniform(-30, 30)))
    return found


def row_cut() -> None:
    """The cut that subtrees stream is the recursive one, for every camera."""
    for name, scene, tree in scenes():
        same = tried = 0
        for limit in (16, 32, 128):
            for merged in (False, True):
                forest = sltree.partition(tree, limit, merged)
                for i, seen in enumerate(random_cameras(scene, CAMERAS)):
                    threshold = (0.0, 1.0, 3.0, 15.0)[i % 4]
                    found = sltree.stream(forest, seen, threshold).nodes
                    same += np.array_equal(found, cut.cut(tree, seen, threshold).nodes)
                    tried += 1
            row(f"{name}: {limit} nodes a subtree, merged: blocks filled", f"{forest.fill:.0%}", "", None)
        row(f"{name}: streamed cut = recursive cut", f"{same} of {tried}", "all", same == tried)


def row_reuse() -> None:
    """A cut kept from frame to frame at 90 a second, along a turning head and an orbit, is a fresh search's.

    The turning head: 25 degrees a second. The orbit: as fast about the scene, from 1.5 of its extents away,
    so that the head also moves by 0.65 extents a second (2 m/s about a scene of 3 m).
    """
    frames = 90
    for name, scene, tree in scenes():
        forest = sltree.partition(tree, 32)
        block = np.empty(len(tree), np.int64)
        block[forest.order] = np.repeat(np.arange(len(forest)), forest.sizes)
        step = cameras.HEAD_SPEED / cameras.HEAD_RATE
        first = framed(scene, width=400, height=304, distance=1.5, azimuth=30, elevation=15)
        orbit = [
            framed(scene, width=400, height=304, distance=1.5, azimuth=30 + step * i, elevation=15)
            for i in range(frames)
        ]
        for label, path in (("turning head", list(cameras.head_path(first, frames))), ("orbit", orbit)):
            same = total = 0
            least, tested, streamed = 1.0, [], []
            for threshold in (1.0, 2.0, 3.0, 6.0, 15.0):
                kept, before = reuse.KeptCut(tree, threshold), None
                for seen in path:
                    found, fresh = kept.step(seen), cut.cut(tree, seen, threshold)
                    same += len(np.intersect1d(found.nodes, fresh.nodes, assume_unique=True))
                    total += len(np.union1d(found.nodes, fresh.nodes))
                    if before is not None:
                        blocks = len(sltree.stream(forest, seen, threshold).blocks)
                        tested.append(found.visited / kept.seen)
                        streamed.append(len(np.unique(block[np.flatnonzero(kept.tested)])) / blocks)
                        least = min(least, fresh.overlap(before))
                    before = fresh
            what = f"{name}: kept cut identical to a fresh one, {label}, {5 * frames} frames"
            row(what, f"{same / total:.4%}", ">= 99.9 %", same / total >= 0.999)
            again = f"{np.mean(tested):.1%} (most {max(tested):.1%})"
            row("    nodes whose slack is used up, tested again", again, "", None)
            row("    blocks of 32 nodes that hold one", f"{np.mean(streamed):.0%}", "", None)
            row("    cut shared with the frame before, least", f"{least:.3%}", "of the scene, no bar", None)


def row_calibration() -> None:
    """GSCore, and variants that the calibration has not seen, by the papers' scaling and by another."""
    core = accelerator("gscore")
    for name, kinds in (("gscore", "ap"), ("gscore-16nm", "a"), ("nebula-256", "a"), ("gscore-7nm", "ap")):
        record = accelerator(name)
        area, power = splatting_cores.published(record)
        other = splatting_cores.published(record, "stillmaker")
        for i, (kind, ours, unit) in enumerate((("a", area, "area"), ("p", power, "power"))):
            if kind in kinds:
                theirs = float(record.value(unit))
                off = ours / theirs - 1
                shown = f"{ours * 1e6:.3f} mm2" if unit == "area" else f"{ours * 1e3:.0f} mW"
                row(f"{name}: {unit}", f"{shown}, {off:+.1%}", "within 20 %", abs(off) <= 0.2)
                if name != "gscore":
                    print(f"    by Stillmaker and Baas's table instead: {other[i] / theirs - 1:+.0%}")
    record, node = accelerator("gscore-7nm"), 7.0
    area, power = splatting_cores.drawn_at_28(record)
    by_area, by_power = (float(f(node)) for f in (core_area_factor, core_power_factor))
    print(
        f"    Neo's 16 cores at 28 nm: {area * 1e6:.2f} mm2 x {by_area:.4f}, {power:.2f} W x {by_power:.3f}"
    )
    held = 1e3 * power * float(core_energy_factor(node))
    print(f"    at a clock held at 1 GHz instead of rising with the node, {held:.0f} mW")
    for label, unit in (("area", "preprocess.area"), ("power", "preprocess.power")):
        factor = by_area if label == "area" else by_power
        own = 4 * float(core.value(f"projector.{label}")) * factor
        theirs = float(accelerator("neo").value(unit))
        row(
            f"four projectors of GSCore as Neo's preprocessing: {label}", f"{own / theirs - 1:+.1%}", "", None
        )
    cores_alone = record.table | {n: core.table[n] for n in ("chunkers", "sorters")}
    everything = record.table | {"projectors": dataclasses.replace(record.table["projectors"], value=16)}
    for label, table in (
        ("sorters not multiplied with the cores", cores_alone),
        ("projectors multiplied as well", everything),
    ):
        found = splatting_cores.published(dataclasses.replace(record, table=table))
        offs = [ours / float(record.value(n)) - 1 for ours, n in zip(found, ("area", "power"), strict=True)]
        print(f"    were {label}: area {offs[0]:+.0%}, power {offs[1]:+.0%}")


def row_gpu() -> None:
    """A Xavier's frames a second on a million pixels or so, and its split (Lumina: 5 to 21; 10 : 23 : 67)."""
    for name, scene, tree in scenes():
        world = World(scene, framed(scene, width=1600, height=1216, distance=0.7, azimuth=30, elevation=15))
        world.__dict__["tree"] = tree
        work = on_gpu(world, 0.0)
        stages = splatting.frame(
            device("jetson-agx-xavier"), gaussians=work.selected, projected=work.projected,
            coefficients=work.coefficients, pairs=work.pairs, passes=work.passes,
            warp_steps=work.warp_steps, active_steps=work.active_steps, pixels=work.pixels,
        )  # fmt: skip
        total = sum(float(c.time) for c in stages.values())
        split = " : ".join(f"{float(c.time) / total:.0%}" for c in stages.values())
        row(
            f"{name}: Xavier, 1600 x 1216, frames a second",
            f"{1 / total:.1f} ({split})",
            "5 to 21 on real scenes",
            None,
        )
        row(f"{name}: lanes that blend in active warp steps", f"{work.occupancy:.1%}", "", None)


def problem() -> SLTarch:
    """The first scene's problem."""
    return SLTarch(scene=SCENES[0] if SCENES else None)


def row_sweep() -> None:
    """All designs of a fixed algorithm, counts cached."""
    part = problem().replace(loss_limit=100.0).fix(**POINT)
    ts.solve(part.fix(node=16, clock=1e9, channels=2), "exhaustive")  # draws, counts and compiles
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        found = ts.solve(part, "exhaustive")
        best = max(best, found.evaluations / (time.process_time() - start))
    what = f"exhaustive over {found.evaluations:,} designs, front of {found.front_size}"
    row(what, f"{best:.3g} designs/s", ">= 1e6 designs/s", best >= 1e6)


def row_milp() -> None:
    """The optimum under five random limits, by both solvers."""
    part = problem().replace(rate=200.0, loss_limit=100.0).fix(**POINT)
    rng = np.random.default_rng(1)
    free = ts.solve(part, "exhaustive", goal=ts.Goal(minimize=("frame_time",))).metrics["frame_time"]
    for _ in range(5):
        limit = float(free * np.exp(rng.uniform(0.0, np.log(8.0))))
        goal = ts.Goal(minimize=("energy",), limits=(f"frame_time<={limit!r}",))
        all_, view = ts.solve(part, "exhaustive", goal=goal), ts.solve(part, "milp", goal=goal)
        off = view.metrics["energy"] / all_.metrics["energy"] - 1
        what = f"least energy within {1e3 * limit:.3g} ms: MILP against all designs"
        row(what, f"{off:+.1e}, {view.certificate.kind}", "equal (1e-6), proven", abs(off) <= 1e-6)


def row_reproduce() -> None:
    """The abstract's factors."""
    for path in SCENES or [None]:
        size = {} if path is None else {"width": 1600, "height": 1216}
        for found in rows_of_paper(path, **size):
            paper = found["paper"]
            met = None if paper is None or "speed" not in found["quantity"] else 0.5 <= found["ratio"] <= 2
            what = f"{found['quantity']} ({found['workload'].rsplit(', ', 2)[1]})"
            row(what, f"{found['ours']:.4g}", "" if paper is None else f"paper {paper:g}, 2x", met)
            print(f"    {found['assumptions']}")


ROWS: dict[str, Callable[[], None]] = {
    n.removeprefix("row_"): f for n, f in globals().copy().items() if n.startswith("row_")
}

if __name__ == "__main__":
    given = sys.argv[1:]
    if "--scene" in given:
        at = given.index("--scene")
        SCENES = [Path(p) for p in given[at + 1 :]]
        given = given[:at]
    for chosen in given or ROWS:
        ROWS[chosen]()
