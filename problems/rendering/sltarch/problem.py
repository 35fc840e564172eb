"""After SLTarch: how many search units, how much memory, which splatting core, at what quality and energy.

Paper: arXiv 2507.21499 (ICCAD 2025), of which the abstract could be read. SLTree, LTcore and SPcore are
reconstructed, their constants are variables here; GSCore's modules are published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ....errors import SpaceError
from ....hardware.technology import Law
from ...batch import Batch
from ...goal import Metric, ResolvedGoal
from ...problem import Problem, Progress, param
from ...scoring import Estimate
from ...variables import Bool, Choice, Menu
from ...views import MilpView
from ..quality import implied_loss
from .designs import HARDWARE, MENUS, Stages, Tables, stages, tables
from .prices import SOURCES, Prices, prices, scaling_errors
from .workload import Algorithm, drawn
from .world import World, world

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALGORITHM = ("subtree", "merging", "threshold", "group", "check", "interval")
# Relative standard errors: of areas at 28 nm, of energies and times that nobody measured here; as draws are.
AREA_ERROR, ENERGY_ERROR, TIME_ERROR = 0.1, 0.27, 0.2
MOST_COPIES, MOST_GAUSSIANS = 16, 5_000_000


class SLTarch(Problem):
    """Search and splatting cores for one scene: energy and area at a frame rate, within a loss of quality.

    An algorithm point is drawn once, and kept on disk; designs then read its counts by the million.
    """

    slow = ALGORITHM

    scene: Path | None = param(
        None, help="a trained scene (PLY, compressed PLY, SOG, SPZ); none: one made in code"
    )
    gaussians: int = param(20_000, help="Gaussians of the scene made in code")
    width: int = param(400, help="pixels across")
    height: int = param(304, help="pixels down")
    distance: float = param(1.5, help="of the camera from the middle of the scene, in extents of it")
    azimuth: float = param(30.0, help="of the camera about the scene, degrees")
    elevation: float = param(15.0, help="of the camera above the ground, degrees")
    copies: int = param(1, help="the scene stands copies x copies times on the ground: large scenes")
    rate: float = param(90.0, unit="1/s", help="frames a second to reach")
    loss_limit: float = param(0.1, unit="dB", help="PSNR that may be lost against the ground truth")
    truth: float = param(27.0, unit="dB", help="PSNR of the trained scene against its photographs")
    dram: str = param("lpddr4x", choices=("lpddr4x", "lpddr5"), help="kind of memory, for its energy")
    scaling: str = param(
        "deepscale",
        choices=("deepscale", "stillmaker"),
        help="table that scales areas and energies to a node: what papers use, or one nearer to foundries",
    )
    drawn: tuple[float, ...] = param((), help="standard normal deviations of the model's errors, in a draw")

    subtree = Menu(
        16, 32, 64, 128, 256, help="nodes of a subtree at most, which a search unit streams at once"
    )
    merging = Bool(help="small subtrees share a block")
    threshold = Menu(
        0.5, 1.0, 2.0, 3.0, 6.0, 15.0, help="size up to which a node is drawn and not its children, pixels"
    )
    group = Menu(1, 2, 4, help="edge of the groups whose pixels are checked together, pixels")
    check = Choice(
        "centre", "leader", "any", when={"group": (2, 4)}, help="where in a group the check is taken"
    )
    interval = Menu(1, 2, 4, 8, help="frames that one search of the tree lasts")
    search_units = Menu(*MENUS["search_units"], help="units that search the tree")
    search_buffer = Menu(*MENUS["search_buffer"], unit="B", help="memory of each search unit")
    search_queue = Menu(*MENUS["search_queue"], help="subtrees that may wait")
    search_cache = Menu(*MENUS["search_cache"], unit="B", help="memory of the subtrees nearest to the root")
    projectors = Menu(*MENUS["projectors"], help="units that project Gaussians")
    sorters = Menu(*MENUS["sorters"], help="units that sort them by depth")
    raster_cores = Menu(*MENUS["raster_cores"], help="cores that blend tiles")
    checks = Menu(*MENUS["checks"], help="checks of groups that a core makes a cycle")
    lanes = Menu(*MENUS["lanes"], help="pixels that a core blends a cycle")
    clock = Menu(*MENUS["clock"], unit="Hz", help="of all units")
    node = Menu(*MENUS["node"], help="process, nm")
    channels = Menu(*MENUS["channels"], help="memory channels of 32 bits")

    energy = Metric("J", "min", help="a frame, memory and leakage at the frame rate included")
    area = Metric("m2", "min", help="of the cores, memory channels apart")
    frame_time = Metric("s", at_most="deadline", help="the longest stage of the pipeline, and its fill")
    power = Metric("W", help="at the frame rate, memory included")
    loss = Metric(
        "dB", at_most="loss_limit", help="PSNR lost against the ground truth, all leaves drawn exactly"
    )

    def prepare(self) -> None:
        """Check sizes."""
        sides = (8, 8192)
        bounds = {
            "gaussians": (1, MOST_GAUSSIANS),
            "copies": (1, MOST_COPIES),
            "width": sides,
            "height": sides,
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SpaceError(
                    f"parameter '{name}' of sltarch must lie between {low:,} and {high:,}, got {value:,}."
                )
        if self.drawn and (len(self.drawn) != len(SOURCES) or not np.isfinite(self.drawn).all()):
            raise SpaceError(
                f"parameter 'drawn' of sltarch must be empty or hold {len(SOURCES)} finite numbers, one a "
                f"source of error; got {len(self.drawn)}."
            )
        for name in ("distance", "rate", "loss_limit", "truth"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise SpaceError(f"parameter '{name}' of sltarch must be a positive number, got {value}.")
        for name in ("azimuth", "elevation"):
            value = getattr(self, name)
            if not np.isfinite(value):
                raise SpaceError(f"parameter '{name}' of sltarch must be a number of degrees, got {value}.")
        if abs(self.elevation) >= 90:
            raise SpaceError(
                f"parameter 'elevation' of sltarch must lie within -90 and 90 degrees, got {self.elevation}."
            )

    @property
    def deadline(self) -> float:
        """Seconds a frame."""
        return 1.0 / self.rate

    @property
    def world(self) -> World:
        """The scene, its copies and its camera, made once a process."""
        path = None if self.scene is None else Path(self.scene)
        return world(
            path,
            self.gaussians,
            self.width,
            self.height,
            self.distance,
            self.azimuth,
            self.elevation,
            self.copies,
        )

    @property
    def prices(self) -> Prices:
        """What events, areas and bytes cost, under this problem's draw of the errors."""
        return prices(self.dram, cast(Law, self.scaling), self.drawn)

    def draw(self, rng: np.random.Generator) -> Problem:
        """One deviation a source of error; counts and quality are measured and stay."""
        return self.replace(drawn=tuple(rng.standard_normal(len(SOURCES)).tolist()))

    @property
    def deviations(self) -> dict[str, float]:
        """What a draw changed: source -> its standard normal value."""
        return dict(zip(SOURCES, self.drawn, strict=True)) if self.drawn else {}

    def measurement(self, source: str) -> str:
        """What would settle a source of error."""
        return SOURCES[source].measurement if source in SOURCES else ""

    def ready(self, progress: Progress | None = None) -> None:
        """Read the scene, build its hierarchy and draw a first frame, said as it goes."""
        tell: Progress = progress or (lambda words, share: None)
        tell("reading the scene", 0.0)
        place = self.world
        tell(f"building a hierarchy over {len(place.scene):,} Gaussians", 0.3)
        _ = place.tree
        tell("drawing and counting a first frame", 0.7)
        drawn(place, Algorithm(threshold=1.0))
        tell("ready", 1.0)

    def algorithm(self, point: Mapping[str, Any]) -> Algorithm:
        """The algorithm of a point."""
        group = int(point["group"])
        check = str(point["check"]) if group > 1 else "pixel"
        return Algorithm(
            int(point["subtree"]), bool(point["merging"]), float(point["threshold"]), group, check,
            int(point["interval"]),
        )  # fmt: skip

    def tables(self, algorithm: Algorithm) -> Tables:
        """Counts of an algorithm point on every component, drawn at the first call."""
        return tables(self.world, algorithm)

    def loss_of(self, found: Tables) -> float:
        """PSNR lost against the ground truth, dB."""
        return implied_loss(found.drawn.quality, self.truth)

    def evaluate(self, x: Batch) -> dict[str, Any]:
        """Draw each distinct algorithm point once; look its counts up for every design."""
        numbers = np.stack(
            [x.subtree, x.merging, x.threshold, x.group, x.check.position, x.interval], axis=1
        ).astype(np.float64)
        rows = len(x)
        if rows and (numbers == numbers[0]).all():
            groups: list[Any] = [slice(None)]
            points = numbers[:1]
        else:
            points, which = np.unique(numbers, axis=0, return_inverse=True)
            groups = [np.flatnonzero(which.ravel() == i) for i in range(len(points))]
        names = ("energy", "area", "frame_time", "loss")
        made = {name: np.empty(rows) for name in names}
        labels = self.space.domains["check"].labels
        for values, chosen in zip(points, groups, strict=True):
            point = dict(zip(ALGORITHM, values.tolist(), strict=True))
            point["check"] = labels[int(point["check"])]
            found = self.tables(self.algorithm(point))
            columns = {name: x[name][chosen] for name in HARDWARE}
            of = self.stages(found, columns)
            made["energy"][chosen] = sum(of.joules.values())
            made["area"][chosen] = sum(of.areas.values())
            made["frame_time"][chosen] = of.frame_time
            made["loss"][chosen] = self.loss_of(found)
        return {
            "energy": Estimate(made["energy"], ENERGY_ERROR),
            "area": Estimate(made["area"], self._area_error(x)),
            "frame_time": Estimate(made["frame_time"], TIME_ERROR),
            "power": Estimate(made["energy"] * self.rate, ENERGY_ERROR),
            "loss": made["loss"],
        }

    def _area_error(self, x: Batch) -> Any:
        """(rows,) relative standard error of the area: of units at 28 nm, and of scaling them to the node."""
        scaled = np.hypot(AREA_ERROR, scaling_errors()["area"])
        return scaled[np.searchsorted(MENUS["node"], x.node)]

    def stages(self, found: Tables, columns: Mapping[str, Any]) -> Stages:
        """Seconds, joules and areas of designs by part."""
        return stages(found, columns, self.rate, self.prices)

    def stages_of(self, point: Mapping[str, Any]) -> tuple[Tables, Stages]:
        """The tables of a point's algorithm, and its design's parts as arrays of one row."""
        found = self.tables(self.algorithm(point))
        return found, self.stages(found, {name: np.array([point[name]]) for name in HARDWARE})

    def milp_view(self, given: Mapping[str, Any] | None = None) -> MilpView:
        """One binary a component's setting and shared setting; it decides the hardware alone.

        Without an algorithm point there is nothing to count, and the view expresses no metric.
        """
        from .milp import undecided, view

        pins = {**self._pins, **(given or {})}
        fixed = all(n in pins for n in ALGORITHM if n != "check" or pins.get("group", 2) != 1)
        return view(self, pins) if fixed else undecided()

    def explain_infeasible(self, goal: ResolvedGoal) -> str:
        """Which limit cannot be met and the least it could be."""
        from .report import infeasible

        return infeasible(self, goal)

    def summary(self, point: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One row a unit: its time a frame, how busy it is, its energy and area."""
        from .report import summary

        return summary(self, point)

    def explain(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Which unit binds, what the next one would bring, where quality goes."""
        from .report import explain

        return explain(self, point)

    def figures(self, point: Mapping[str, Any]) -> dict[str, Figure]:
        """Time and energy by unit, roofline of the core, designs around the answer, one frame as it runs."""
        from .figures import figures

        return figures(self, point)
