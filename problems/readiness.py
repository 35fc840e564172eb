"""What takes long is done by `Problem.ready` or at its first use, never by a command that only looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..errors import NotReady

_LOOKING = ContextVar("looking", default=False)


@contextmanager
def looking() -> Iterator[None]:
    """Inside, what takes long and is not known yet raises `NotReady` instead of being done."""
    token = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(token)


def takes_long(what: str) -> None:
    """Stand before work of minutes whose result is kept. what: the work in words, such as "training it".

    Raises NotReady inside `looking`.

    >>> with looking():
    ...     takes_long("measuring the module")
    Traceback (most recent call last):
    tradespace.errors.NotReady: measuring the module is left to the first run
    """
    if _LOOKING.get():
        raise NotReady(f"{what} is left to the first run")
