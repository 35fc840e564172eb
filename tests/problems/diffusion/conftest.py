"""One thread, so that threads that wait for each other on a busy machine slow nothing down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tradespace.problems.training.execution.profiling import one_thread


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Each test."""
    with one_thread():
        yield
