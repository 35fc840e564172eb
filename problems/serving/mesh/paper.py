"""What arXiv 2507.00507v2 and its artefact state, as data: the figures that ours stand beside.

Node counts are the labels in figure 22's text layer; their order is unambiguous (all 72 labels fit one
order of panels, counts and systems, and the ten that the text quotes agree).
"""

from __future__ import annotations

SIZES = {"3B": "llama-3.2-3b", "7B": "llama-2-7b", "13B": "llama-2-13b"}
COUNTS = (32, 64, 128)
SYSTEMS = ("sllm", "sllm+c", "sllm+c+s", "mesh")

GAINS = {"sllm": (0.86, 1.54), "sllm+c": (0.47, 0.62), "sllm+c+s": (0.18, 0.70)}
"""Gain of SLO-met requests of the full system at 128 models, the range over sizes (section IX-B)."""

REQUESTS = {32: 2366, 64: 4684, 128: 9266}
"""Requests of the trace by number of models (figure 21)."""

SHARES = {
    ("7B", 32, "mesh"): 0.99, ("7B", 64, "mesh"): 0.99, ("7B", 128, "mesh"): 0.86,
    ("7B", 32, "sllm+c+s"): 0.99, ("7B", 64, "sllm+c+s"): 0.93, ("7B", 128, "sllm+c+s"): 0.65,
}  # fmt: skip
"""SLO share, the aggregated columns of table III."""

_NODES: dict[tuple[str, int], tuple[tuple[float, float], ...]] = {
    ("3B", 32): ((0.0, 3.2), (3.5, 0.8), (3.4, 0.2), (3.0, 0.0)),
    ("3B", 64): ((0.0, 3.9), (3.8, 3.1), (4.0, 2.2), (4.0, 1.0)),
    ("3B", 128): ((0.0, 4.0), (4.0, 4.0), (4.0, 4.0), (4.0, 3.4)),
    ("7B", 32): ((0.0, 3.3), (3.9, 1.5), (4.0, 2.0), (4.0, 0.9)),
    ("7B", 64): ((0.0, 3.9), (4.0, 3.5), (4.0, 3.6), (4.0, 2.5)),
    ("7B", 128): ((0.0, 4.0), (4.0, 4.0), (4.0, 4.0), (4.0, 4.0)),
    ("13B", 32): ((0.0, 3.6), (4.0, 3.1), (4.0, 3.3), (3.9, 2.4)),
    ("13B", 64): ((0.0, 4.0), (4.0, 3.9), (4.0, 4.0), (4.0, 3.8)),
    ("13B", 128): ((0.0, 4.0), (4.0, 4.0), (4.0, 4.0), (4.0, 4.0)),
}
NODES = {
    (size, n, s): pair for (size, n), row in _NODES.items() for s, pair in zip(SYSTEMS, row, strict=True)
}
"""CPU and GPU nodes in use, mean over time, by size, models and system (figure 22, bottom row)."""

ABLATIONS = {
    "mesh": (4.0, 2.5), "mesh, GPUs only": (0.0, 3.6), "mesh without consolidation": (4.0, 3.0),
    "mesh without sharing": (3.9, 3.3),
}  # fmt: skip
"""CPU and GPU nodes in use, 64 x 7B (figure 23); without sharing the SLO share is 0.89."""

LIMITS = {
    "3B": ((59, 160), (23, 71)),
    "7B": ((15, 32), (4, 12)),
    "13B": ((6, 16), (6, 4)),
}
"""Requests at once of an instance on a CPU and on a GPU node: with a whole node, with half (section IX-A)."""

CONCURRENCY: dict[tuple[str, str, int], tuple[int, ...]] = {
    ("gpu", "7B", 2048): (66, 26, 6), ("gpu", "7B", 4096): (32, 13, 3), ("cpu", "7B", 2048): (27, 9, 2),
    ("gpu", "13B", 2048): (33, 7),
}  # fmt: skip
"""Requests at once of an instance with a whole, half and quarter of a node, at a context (table II)."""

CPUS_A_GPU = (3.0, 4.0)
"""CPU nodes that serve as much as one GPU node, from two GPU nodes on, 64 x 7B (section IX-D)."""

RESIZING = {0.0: 0.113, 0.25: 0.014}
"""Part of an instance's life that it spends in resizes, by watermark (section IX-I5)."""


def limits(size: str, system: str) -> dict[tuple[str, str], int]:
    """The published concurrency limits of a baseline, as a mesh takes them."""
    cpu, gpu = LIMITS[size][system.endswith("+s")]
    return {("cpu", SIZES[size]): cpu, ("gpu", SIZES[size]): gpu}
