"""Values of variables in words: one line each, in the variable's unit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..problems.domain import Domain

ENTRIES, BITS, WIDE = 16, 64, 120


def in_words(value: Any, domain: Domain) -> str:
    """A variable's value in one line: long vectors as counts, or as smallest, mean and largest."""
    if not isinstance(value, list):
        return domain.shown(value)
    flat = np.array(value, dtype=object).ravel().tolist()
    if domain.kind == "bool" and len(flat) <= BITS:
        return "".join("01"[bool(v)] for v in flat)
    if len(flat) <= ENTRIES or domain.kind == "permutation":
        return cut(" ".join(domain.shown(v) for v in flat[:BITS]) + (" ..." if len(flat) > BITS else ""))
    if domain.kind in {"labels", "bool"}:
        return cut(" · ".join(f"{label} {count}" for label, count in Counter(map(str, flat)).most_common()))
    numbers = np.array(flat, float)
    least, mean, most = (domain.shown(float(v)) for v in (numbers.min(), numbers.mean(), numbers.max()))
    return f"{len(flat)} entries, {least} to {most}, mean {mean}"


def cut(text: str) -> str:
    """A text that fits into a table, its end left out where it is long."""
    return text if len(text) <= WIDE else text[: WIDE - 4] + " ..."
