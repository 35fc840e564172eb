"""Timing that a shared machine cannot spoil: thread CPU time, shuffled passes, the minimum.

On CPUs one thread runs and its own CPU time is read, which a descheduled thread does not spend. On CUDA
events bracket the kernel. A case is timed in several passes over all cases, in a new order each time,
so that a neighbour's burst does not fall on one family; passes that disagree discard the case.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import DataError
from ...hardware import Device, names
from ..sampling import Case
from .operators import Kernel, build

Array = NDArray[np.float64]
SAMPLES = 5
LEAST = 1e-3  # s a sample lasts at least
MOST = 0.25  # s a case may take in one pass


@dataclass(frozen=True, eq=False)
class Timing:
    """seconds: (n,) minimum over passes. spread: (n,) largest over smallest pass minimum, minus one."""

    seconds: Array
    spread: Array


def timed_on(device: Device) -> str:
    """Where kernels of a device are timed here, "cpu" or "cuda".

    Raises DataError where that is nowhere.
    """
    if device.kind == "cpu":
        return "cpu"
    if device.kind != "gpu":
        raise DataError(f"no kernels can be timed for {device.name}, which is an {device.kind}.")
    if not torch.cuda.is_available():
        why = "this PyTorch is built without it" if torch.version.cuda is None else "no card is found"
        raise DataError(
            f"kernels of {device.name} are timed on CUDA, and there is none here ({why}); use a machine with "
            "that card, or compare with stored measurements: optimize validate --profiles DIR."
        )
    return "cuda"


def same_card(device: Device) -> None:
    """Raises DataError where a GPU of the catalog is not the card that is here."""
    model = device.name.partition("-")[0]
    if device.kind != "gpu" or device.name not in names() or not any(c.isdigit() for c in model):
        return
    card = torch.cuda.get_device_name()
    if model not in "".join(c for c in card.lower() if c.isalnum()):
        raise DataError(f"the card here is an {card}; its timings are none of {device.name}.")


def time_cases(
    cases: Iterable[Case],
    device: str = "cpu",
    passes: int = 3,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> Timing:
    """Time every case; progress is called with the fraction done and the family."""
    cases = list(cases)
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    best = np.full((passes, len(cases)), np.inf)
    try:
        with torch.inference_mode():
            for turn in range(passes):
                order = list(range(len(cases)))
                random.Random(seed + turn).shuffle(order)
                for done, index in enumerate(order):
                    case = cases[index]
                    torch.manual_seed(seed)
                    try:
                        kernel = build(case.family, case.dtype, case.shape, device)
                        best[turn, index] = time_kernel(kernel, device)
                    except torch.cuda.OutOfMemoryError:
                        raise DataError(
                            f"the card has too little free memory for {case.family} {case.dtype} "
                            f"({case.shape}); free some, or name other families with --family."
                        ) from None
                    if progress:
                        progress((turn * len(cases) + done + 1) / (passes * len(cases)), case.family)
    finally:
        torch.set_num_threads(threads)
    return Timing(best.min(axis=0), best.max(axis=0) / best.min(axis=0) - 1.0)


def time_kernel(kernel: Kernel, device: str = "cpu") -> float:
    """Seconds of one run: the least of a few samples, each long enough for the clock."""
    sample = _cuda_sample if device.startswith("cuda") else _cpu_sample
    kernel()
    once = max(sample(kernel, 1), 1e-7)
    repeats = max(1, int(np.ceil(LEAST / once)))
    count = int(np.clip(MOST / (repeats * once), 2, SAMPLES))
    return min(sample(kernel, repeats) / repeats for _ in range(count))


def _cpu_sample(kernel: Kernel, repeats: int) -> float:
    start = time.thread_time_ns()
    for _ in range(repeats):
        kernel()
    return (time.thread_time_ns() - start) * 1e-9


def _cuda_sample(kernel: Kernel, repeats: int) -> float:
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(repeats):
        kernel()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) * 1e-3
