"""What others do with the same frame: a mobile GPU, GSCore behind it, and SLTarch's two cores put in.

Systems work as pipelines over frames, so a system is as fast as its slowest part. The GPU searches as HierGS'
code does, all nodes; GSCore is the published one. The cores have a memory of their own beside the GPU's, or
one memory serves both and every byte passes over it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ....costmodels import splatting
from ....costmodels import splatting_cores as cores
from ....hardware.accelerators import accelerator
from ....hardware.record import Device
from ....hardware.technology import Law
from .workload import Algorithm, drawn, on_gpu, searched
from .world import World

CLOCK, CHANNELS = 1e9, 2  # as GSCore; 25.6 GB/s
LTCORE = cores.SearchDesign(units=8, buffer=4096, queue=1024, cache=65_536)
SYSTEMS = ("GPU", "GPU+LTcore", "GPU+GSCore", "tree core+GSCore", "LTcore+GSCore", "LTcore+SPcore")
# A tree core as others have them, without SLTree: each node is a burst of its own at half the bandwidth of
# streams and 1.75 times their energy (random access; both guesses).
BURST, RANDOM_RATE, RANDOM_ENERGY = 64, 0.5, 1.75


@dataclass(frozen=True)
class System:
    """Of one frame: seconds of each part (the longest counts, on the GPU alone their sum), J of each.

    moved: bytes by stream over the memory that the part "memory" stands for; rate: B/s that they attain.
    """

    name: str
    seconds: dict[str, float]
    joules: dict[str, float]
    serial: bool = False
    moved: dict[str, float] = field(default_factory=dict)
    rate: float = 0.0

    @property
    def time(self) -> float:
        """Seconds a frame."""
        return sum(self.seconds.values()) if self.serial else max(self.seconds.values())

    @property
    def energy(self) -> float:
        """J a frame."""
        return sum(self.joules.values())

    @property
    def binds(self) -> str:
        """The longest part."""
        return max(self.seconds, key=self.seconds.__getitem__)


def systems(
    world: World, point: Algorithm, device: Device, *, node: float = 8.0, dram: str = "lpddr5",
    walking: bool = False, channels: int | None = CHANNELS, law: Law = "deepscale",
) -> dict[str, System]:  # fmt: skip
    """The ablations on one world. walking: the GPU walks subtrees instead of testing every node.

    node, dram, law: of the cores and of the table that scales their energies; by default those of an Orin.
    channels: of their own memory, 12.8 GB/s each; None: the GPU's memory serves the cores too, and the
    GPU's search takes its share of it.
    """
    gpu = on_gpu(world, point.threshold)
    found = (
        splatting.search_walk(device, visited=gpu.visited, lane_steps=gpu.lane_steps)
        if walking
        else splatting.search_flat(device, nodes=gpu.nodes, selected=gpu.selected)
    )
    frame = splatting.frame(
        device, gaussians=gpu.selected, projected=gpu.projected, coefficients=gpu.coefficients,
        pairs=gpu.pairs, passes=gpu.passes, warp_steps=gpu.warp_steps, active_steps=gpu.active_steps,
        pixels=gpu.pixels,
    )  # fmt: skip
    gpu_seconds = {"search": float(found.time), **{k: float(v.time) for k, v in frame.items()}}
    gpu_joules = {
        "search": float(found.energy or 0.0),
        **{k: float(v.energy or 0.0) for k, v in frame.items()},
    }

    rest = {k: v for k, v in gpu_seconds.items() if k != "search"}
    rest_joules = {k: v for k, v in gpu_joules.items() if k != "search"}
    shared = channels is None
    width = device.bandwidth / cores.CHANNEL if channels is None else float(channels)
    rate = float(cores.bandwidth(width))
    search, search_joules, subtrees = _ltcore(world, point, node, dram, rate, law)
    gscore = {lockstep: _gscore(world, point, lockstep, node, dram, rate, law) for lockstep in (True, False)}

    # A kernel of the GPU attains less of a memory than streams do, and holds it as long as it takes.
    flat = float(found.bytes["dram"]) * cores.BANDWIDTH_SHARE / splatting.STREAM if shared else 0.0
    bursts = gpu.visited * BURST / point.interval
    searches = {  # seconds, J, and bytes that take the time of the cores' memory
        "GPU": (gpu_seconds["search"], gpu_joules["search"], flat),
        "tree core": (
            bursts / (rate * RANDOM_RATE),
            bursts * RANDOM_ENERGY * cores.dram_energy(dram),
            bursts / RANDOM_RATE,
        ),
        "LTcore": (search, search_joules, subtrees),
    }

    def with_core(searching: str, lockstep: bool) -> System:
        seconds, joules, moved = gscore[lockstep]
        first, spent, more = searches[searching]
        streams = {"search": more, **moved}
        parts = {"search": first, **seconds, "memory": sum(streams.values()) / rate}
        name = f"{searching}+{'GSCore' if lockstep else 'SPcore'}"
        return System(name, parts, {"search": spent, **joules}, moved=streams, rate=rate)

    return {
        "GPU": System("GPU", gpu_seconds, gpu_joules, serial=True),
        "GPU+LTcore": System(
            "GPU+LTcore",
            {"search": search, "GPU": sum(rest.values())},
            {"search": search_joules, **rest_joules},
        ),
        "GPU+GSCore": with_core("GPU", True),
        "tree core+GSCore": with_core("tree core", True),
        "LTcore+GSCore": with_core("LTcore", True),
        "LTcore+SPcore": with_core("LTcore", False),
    }


def _ltcore(
    world: World, point: Algorithm, node: float, dram: str, rate: float, law: Law
) -> tuple[float, float, float]:
    """Seconds, J (with its memory and leakage) and DRAM bytes of LTCORE's search; rate: B/s."""
    work = searched(world, point.subtree, point.merging, point.threshold, point.interval)
    found = cores.search(work, LTCORE, rate / CLOCK, cores.LATENCY * CLOCK)
    seconds = found.cycles / CLOCK
    joules = found.energy * float(cores.event_factor(node, CLOCK, law)) + found.bytes * cores.dram_energy(
        dram
    )
    return seconds, joules + seconds * float(cores.leakage(cores.search_area(LTCORE), node, law)), found.bytes


def _gscore(
    world: World, point: Algorithm, lockstep: bool, node: float, dram: str, rate: float, law: Law
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Stages (s), energies (J) and DRAM bytes of GSCore's units, its lanes in lockstep or decoupled."""
    record = accelerator("gscore")
    projectors, sorters, count, lanes = (
        int(record.value(n)) for n in ("projectors", "sorters", "cores", "lanes")
    )
    exact = Algorithm(point.subtree, point.merging, point.threshold, 1, "pixel", point.interval)
    frame = drawn(world, exact if lockstep else point)
    raster = frame.raster(1 if lockstep else point.group)
    each = lanes // count
    cycles = {
        "project": cores.project_cycles(frame.selected, projectors),
        "sort": cores.sort_cycles(frame.lists, sorters),
        "raster": cores.lockstep_cycles(raster, count, each)
        if lockstep
        else cores.raster_cycles(raster, count, each, each),
    }
    streams = cores.frame_streams(
        gaussians=frame.selected, coefficients=frame.coefficients, projected=frame.projected,
        pairs=float(frame.lists.sum()), pixels=frame.pixels,
    )  # fmt: skip
    moved = sum(streams.values())
    event = float(cores.event_factor(node, CLOCK, law))
    seconds = {name: value / CLOCK for name, value in cycles.items()}
    busy = max(*seconds.values(), moved / rate)
    area_28 = float(record.value("area"))
    joules = {
        "project": cores.project_energy(frame.selected) * event,
        "sort": cores.sort_energy(frame.lists) * event,
        "raster": cores.raster_energy(raster, lockstep) * event,
        "memory": moved * cores.dram_energy(dram),
        "leakage": float(cores.leakage(area_28, node, law)) * busy,
    }
    return seconds, joules, streams
