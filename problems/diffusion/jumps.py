"""Which steps to skip: the shortest path over the times at which the model is asked.

A step without tokens takes the last velocity again, which is one longer Euler step: a schedule of whole
and empty steps is a coarser grid of times. What a longer step misses is known from the full run alone; what
becomes of it until the end is measured by skipping one step at a time. The grid of least summed error is then
a shortest path with so many edges (after Watson et al. 2021, who choose the steps of a sampler so; not of
ASTRAEA's paper).
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from .law import TENTHS
from .shares import Tenths

Array = npt.NDArray[np.float64]


def local_errors(states: npt.NDArray[np.float32]) -> Array:
    """What a step from time i to j in one misses of the full run: (steps + 1, ...) -> (steps, steps + 1).

    Mean squared difference over the variance of the last state; infinite where j <= i.
    """
    steps = len(states) - 1
    flat = states.reshape(steps + 1, -1).astype(float)
    spread = max(float(np.var(flat[-1])), 1e-12)
    made = np.full((steps, steps + 1), np.inf)
    for i in range(steps):
        reach = np.arange(1, steps - i + 1)[:, None] * (flat[i + 1] - flat[i])
        made[i, i + 1 :] = np.mean((flat[i + 1 :] - flat[i] - reach) ** 2, axis=1) / spread
        made[i, i + 1] = 0.0
    return made


def single_skips(steps: int) -> Tenths:
    """The full run with one step left out, each in turn: (steps - 1, steps - 1)."""
    return np.asarray(TENTHS * (1 - np.eye(steps - 1)), np.int64)


def jump_errors(local: Array, tried: Array, skipped: Array) -> Array:
    """Error at the end of each jump, (steps, steps + 1), added up over the jumps of a path.

    local: (prompts, steps, steps + 1) of `local_errors`; tried: the same of the prompts on which single steps
    were skipped. skipped: (prompts, steps - 1) errors at the end of `single_skips`. Their ratio is how much
    an error made at that step grows or fades; a longer jump takes the mean over the steps it leaves out.
    """
    steps = local.shape[1]
    made_at = np.stack([tried[:, s - 1, s + 1] for s in range(1, steps)], axis=1)
    growth = np.exp(np.mean(np.log((skipped + 1e-12) / (made_at + 1e-12)), axis=0))
    error: Array = np.mean(local, axis=0)
    for i in range(steps):
        for j in range(i + 2, steps + 1):
            error[i, j] *= float(np.mean(growth[i : j - 1]))
    return error


def best_paths(error: Array, whole: int, count: int) -> Tenths:
    """The `count` best schedules of `whole` whole steps, the first one included: (found, steps - 1) tenths.

    error: (steps, steps + 1) of the jump from each step to another. The best first.

    >>> error = np.array([[0, 0, 1, 9], [0, 0, 0, 2], [0, 0, 0, 0]])
    >>> best_paths(error, 2, 2).tolist()
    [[0, 10], [10, 0]]
    """
    steps = len(error)
    paths: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(steps + 1)]
    paths[0] = [(0.0, ())]
    for _ in range(whole):
        longer: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(steps + 1)]
        for j in range(1, steps + 1):
            longer[j] = heapq.nsmallest(
                count,
                ((cost + float(error[i, j]), (*path, i)) for i in range(j) for cost, path in paths[i]),
            )
        paths = longer
    made = np.zeros((len(paths[steps]), steps), np.int64)
    for row, (_, path) in enumerate(paths[steps]):
        made[row, list(path)] = TENTHS
    return made[:, 1:]
