"""The examples in the docstrings of the rendering modules run."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGE = importlib.import_module("tradespace.problems.rendering")


@pytest.mark.parametrize("name", [i.name for i in pkgutil.iter_modules(PACKAGE.__path__) if not i.ispkg])
def test_examples_run(name: str) -> None:
    try:
        module = importlib.import_module(f"{PACKAGE.__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        pytest.skip("PyTorch is not installed (extra 'torch')")
    assert doctest.testmod(module).failed == 0
