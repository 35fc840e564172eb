"""The examples in the docstrings of hardware and costmodels run."""

import doctest
import importlib
import pkgutil
import warnings

import pytest


def modules():
    for name in ("tradespace.hardware", "tradespace.costmodels"):
        package = importlib.import_module(name)
        yield name
        yield from (
            f"{name}.{info.name}" for info in pkgutil.iter_modules(package.__path__) if not info.ispkg
        )


@pytest.mark.parametrize("name", modules())
def test_examples_run(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert doctest.testmod(importlib.import_module(name)).failed == 0
