"""Benchmarks are run by hand: what they import must not go away unseen in between."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tradespace.solvers.portfolio import as_solver

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Imports a benchmark by its name; skips where a package that it needs is not installed."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        try:
            spec.loader.exec_module(module)
        except ModuleNotFoundError as missing:
            if str(missing.name).startswith("tradespace"):
                raise
            pytest.skip(f"needs {missing.name}")
        return module

    return load


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_it_imports_and_says_how_it_is_run(name: str, load) -> None:
    assert load(name).__doc__


def test_the_comparison_names_solvers_that_exist(load) -> None:
    for name in load("solvers").OURS:
        assert name == "auto" or as_solver(name).name
