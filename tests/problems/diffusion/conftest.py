"""One thread, so that threads that wait for each other on a busy machine slow nothing down."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Each test, where there is a library whose threads wait for each other."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    from tradespace.problems.training.execution.profiling import one_thread

    with one_thread():
        yield
