"""The names of `tradespace` are what `__all__`, the type checker's imports and the documentation say."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import tradespace

ROOT = Path(__file__).parent.parent
PACKAGES = ("hardware", "costmodels", "problems", "solvers", "search")


@pytest.mark.parametrize("name", tradespace.__all__)
def test_every_exported_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(tradespace, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        doc = value.__doc__ or ""
        assert doc.strip(), f"{name} has no docstring"
        assert not doc.startswith(f"{name}("), f"the docstring of {name} is the one that dataclasses write"


def test_what_the_type_checker_sees_is_what_is_exported() -> None:
    tree = ast.parse((ROOT / "tradespace" / "__init__.py").read_text())
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(tradespace.__all__) - {"__version__"}


def test_the_exception_tree_is_exported_whole() -> None:
    from tradespace import errors

    tree = {
        n for n, v in vars(errors).items() if inspect.isclass(v) and issubclass(v, tradespace.TradespaceError)
    }
    assert tree <= set(tradespace.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Intt'"):
        _ = tradespace.Intt


def test_dir_lists_the_exports() -> None:
    assert dir(tradespace) == sorted(tradespace.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_what_it_says(name: str) -> None:
    package = importlib.import_module(f"tradespace.{name}")
    for exported in getattr(package, "__all__", ()):
        assert hasattr(package, exported)


def test_the_package_was_imported_from_this_checkout_or_an_installation() -> None:
    found = {module.name for module in pkgutil.iter_modules(tradespace.__path__)}
    assert found >= set(PACKAGES)
