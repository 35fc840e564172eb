"""The page of licences names every pinned package with its version, and what the package says of itself."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| ([\w.-]+) \| ([\w.]+) \| (.+?) \| (.+?) \|$", re.M)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "docs" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["licences"] = module
    spec.loader.exec_module(module)
    return module


def listed() -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "licences.md").read_text().partition("## All")[2]
    return {name: (version, stated) for name, version, stated, _ in ROW.findall(text) if name != "package"}


def test_every_pin_is_on_the_page_with_its_version(tool: ModuleType) -> None:
    assert {name: version for name, (version, _) in listed().items()} == tool.pins()


def test_installed_packages_say_what_the_page_says(tool: ModuleType) -> None:
    compared = 0
    for name, (version, stated) in listed().items():
        package = tool.found(name)
        if package is not None and package.version.partition("+")[0] == version:
            assert tool.licence(package) == stated, name
            compared += 1
    assert compared > 20


def test_no_package_forbids_to_be_imported(tool: ModuleType) -> None:
    strict = [n for n, (_, stated) in listed().items() if re.search(r"(?<!L)GPL", stated) or "AGPL" in stated]
    assert not strict


def test_copyleft_is_recognised(tool: ModuleType) -> None:
    for stated in ("LGPL-3.0-only", "MPL-2.0 AND MIT", "GNU Lesser General Public License"):
        assert tool.COPYLEFT.search(stated)
    assert not tool.COPYLEFT.search("Apache-2.0 AND MIT")
