"""What benchmarks share: a figure beside its bar on one line, and the least CPU time of some calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

missed: list[str] = []


def show(what: str, value: str, bar: str = "", met: bool | None = None) -> None:
    """One line; None where there is no bar. What missed its bar is kept in `missed`."""
    print(
        f"  {what:58s} {value:>26s}   {bar:>18s}   {'' if met is None else 'met' if met else 'MISSED'}",
        flush=True,
    )
    if met is False:
        missed.append(what)


def timed(call: Callable[[], Any], repeats: int = 3) -> tuple[Any, float]:
    """Result and least CPU seconds of some calls, the first of which compiles and does not count."""
    call()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        spent.append(time.process_time() - start)
    return result, min(spent)
