"""User files and problems of the driver's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tradespace as ts
from tradespace.problems.registry import load

COUNTED = '''
"""A problem that writes each row it evaluates to a file beside it."""

import os
import time
from pathlib import Path

import numpy as np

import tradespace as ts

FACTOR = 1.0


class Counted(ts.Problem):
    """Two conflicting sums over three integers; `pause` seconds a batch."""

    size: int = 40
    pause: float = 0.0

    a = ts.Int(1, "size")
    b = ts.Int(1, "size")
    c = ts.Int(1, "size")

    left = ts.Metric("s", "min")
    right = ts.Metric("J", "min")
    sum = ts.Metric("1", at_least=3)

    def evaluate(self, x):
        with open(os.environ.get("COUNTED_ROWS", os.devnull), "ab") as file:
            file.write(np.stack([x.a, x.b, x.c], axis=1).astype(np.int32).tobytes())
        time.sleep(self.pause)
        weights = np.array([0.1, 0.7, 0.3])
        point = np.stack([x.a, x.b, x.c], axis=1).astype(float)
        return {
            "left": point @ weights * FACTOR + (x.a % 7),
            "right": 1 / x.a + 2 / x.b + (x.c % 5) * 0.01,
            "sum": point.sum(axis=1),
        }
'''


def counted_file(folder: Path, name: str = "counted.py", text: str = COUNTED) -> Path:
    """The file of the counted problem."""
    path = folder / name
    path.write_text(text)
    return path


def counted(folder: Path, **parameters: Any) -> ts.Problem:
    """The counted problem, loaded from its file like a user's."""
    made: ts.Problem = load(f"{counted_file(folder)}:Counted")(**parameters)
    return made


def answer(result: ts.Result) -> tuple[Any, ...]:
    """What two runs must share: point, metrics, front, certificate, count."""
    front = sorted(zip(*(column.tolist() for column in result.front_columns.values()), strict=True))
    return result.best, result.metrics, front, result.certificate.kind, result.evaluations
