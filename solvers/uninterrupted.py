"""Work during which Ctrl-C waits: where compiled code would swallow the interruption and go on half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block, then let them take effect."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda caught, _frame: held.append(caught))
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        for caught in dict.fromkeys(held):
            signal.raise_signal(caught)


@cache
def sobol_tables() -> None:
    """Load SciPy's direction numbers, once a process.

    They are read by compiled code that ignores exceptions: interrupted there, the process would go on with
    a sequence that is not Sobol's.
    """
    from scipy.stats import qmc

    with uninterrupted():
        qmc.Sobol(2, scramble=False).random(1)
