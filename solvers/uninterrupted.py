"""Work during which Ctrl-C waits: where an interruption would be swallowed, or leave a lock held for ever.

Python interrupts between any two steps of its main thread. Compiled code may throw the exception away and
go on half done; code that has just taken a lock never gives it back, and whoever asks next waits for ever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def uninterrupted() -> Iterator[list[int]]:
    """Hold SIGINT and SIGTERM back until the end of the block, then let them take effect.

    Gives the list of the signals that came so far: who waits in the block can look, and end early.
    """
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield held
        return
    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda caught, _frame: held.append(caught))
        yield held
    finally:
        _restore(before)
        for caught in dict.fromkeys(held):
            signal.raise_signal(caught)


def _restore(before: dict[int, Any]) -> None:
    """Put every handler back, though one that is back may already raise."""
    raised: BaseException | None = None
    while before:
        try:
            for number, handler in [*before.items()]:
                signal.signal(number, handler)
                del before[number]
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


@cache
def sobol_tables() -> None:
    """Load SciPy's direction numbers, once a process.

    They are read by compiled code that ignores exceptions: interrupted there, the process would go on with
    a sequence that is not Sobol's.
    """
    from scipy.stats import qmc

    with uninterrupted():
        qmc.Sobol(2, scramble=False).random(1)
