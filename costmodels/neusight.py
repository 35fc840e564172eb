"""Kernels of NeuSight (MIT, Georgia Tech and Microsoft): PyTorch 2.1 in fp32 on several cards.

As published, below `scripts/asplos/data`: dataset/train and dataset/test with linear.csv, elem.csv,
softmax.csv and ln.csv, or the parts collected by operator and device below train/collect; or re-encoded:
neusight/FAMILY_fp32.csv. Latencies are milliseconds. The training part is of small shapes, the test part of
large ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .fitting import Samples
from .profile_tables import Table, groups, read_table

SOURCE = "NeuSight ASPLOS 2025 artifact, MIT, Georgia Tech and Microsoft"
DEVICES = {
    "NVIDIA A100-PCIE-40GB": "a100-pcie-40gb",
    "NVIDIA A100 80GB PCIe": "a100-pcie-80gb",
    "Tesla V100-PCIE-32GB": "v100-pcie-32gb",
    "Tesla T4": "t4-16gb",
    "NVIDIA L4": "l4-24gb",
}
FAMILIES = {"linear": "gemm", "elem": "elementwise", "softmax": "softmax", "ln": "layer_norm"}
ELEMENTWISE = ("add", "addu", "div", "divu", "gelu", "mul", "mulu", "pow", "powu", "relu", "tanh")
SPLITS = {"train": "small", "test": "large"}
NAMES = {"OPName": "op", "Latency": "latency_ms", "Device": "device",
         "B": "b", "H": "h", "M": "m", "N": "n", "K": "k"}  # fmt: skip
TWO = ("add", "mul", "pow", "div")  # operators of two tensors; those ending in u have one
OPERATIONS = {"pow": 10.0, "div": 4.0, "tanh": 10.0, "gelu": 10.0}


def read(files: Sequence[Path]) -> Iterator[tuple[str, str, Samples]]:
    """(device, "small" or "large", samples) of every table among some files."""
    for file, family in FAMILIES.items():
        for path in files:
            if path.name == f"{file}_fp32.csv" and path.parent.name == "neusight":
                table = read_table(path)
                for part in SPLITS.values():
                    yield from _by_device(family, table, part, table.text("split") == part)
        for folder, part in SPLITS.items():
            for path in _published(files, folder, file):
                table = read_table(path).named(NAMES)
                yield from _by_device(family, table, part, np.isfinite(table.numbers("latency_ms")))


def _published(files: Sequence[Path], folder: str, file: str) -> list[Path]:
    """The joined table of a family, or the parts collected for it where it is not there."""
    joined = [path for path in files if path.parts[-3:] == ("dataset", folder, f"{file}.csv")]
    wanted = ELEMENTWISE if file == "elem" else (file,)
    return joined or [
        path for path in files
        if path.parts[-6:-3] == ("dataset", folder, "collect") and path.parts[-3] in wanted
    ]  # fmt: skip


def _by_device(
    family: str, table: Table, part: str, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> Iterator[tuple[str, str, Samples]]:
    device = table.text("device")
    whole: Samples | None = None
    for theirs, ours in DEVICES.items():
        rows = keep & (device == theirs)
        if rows.any():
            whole = whole or _samples(family, table)
            yield ours, part, whole.take(rows)


def _samples(family: str, table: Table) -> Samples:
    seconds = 1e-3 * table.numbers("latency_ms")
    seconds = np.where(np.isfinite(seconds), seconds, 1.0)  # rows without a time are left out by the caller
    if family == "gemm":
        m, n, k = (table.numbers(name) for name in "mnk")
        shapes = {"m": m, "n": n, "k": k, "batch": table.numbers("b")}
        return Samples(family, "fp32", shapes, seconds, groups(n, k), SOURCE)
    rows, width = table.numbers("b"), table.numbers("h")
    shapes = {"rows": rows, "width": width}
    if family == "elementwise":
        op = table.text("op")
        work = [OPERATIONS.get(name.removesuffix("u") if name != "gelu" else name, 1.0) for name in op]
        shapes = {
            "elements": rows * width,
            "reads": np.where(np.isin(op, TWO), 2.0, 1.0),
            "writes": np.ones_like(rows),
            "operations": np.array(work),
        }
    return Samples(family, "fp32", shapes, seconds, groups(rows, width), SOURCE)
