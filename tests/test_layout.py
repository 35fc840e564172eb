"""The five folders, the package list and the package data are kept in step."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

from tradespace.extras import EXTRAS

ROOT = Path(__file__).parent.parent
FOLDERS = ("hardware", "costmodels", "problems", "solvers", "search")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = SETTINGS["tool"]["setuptools"]


def packages_in_tree() -> set[str]:
    """Every folder that holds modules, by its dotted name."""
    found = {"tradespace"}
    for folder in FOLDERS:
        for module in (ROOT / folder).rglob("*.py"):
            found.add(".".join(("tradespace", *module.parent.relative_to(ROOT).parts)))
    return found


def data_files() -> list[Path]:
    """Every file beside the modules that is not a module."""
    found = []
    for folder in (*FOLDERS, "tradespace"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix not in {".py", ".pyc"} and "__pycache__" not in path.parts:
                found.append(path.relative_to(ROOT))
    return found


def test_every_folder_of_modules_is_a_listed_package() -> None:
    assert set(SETUPTOOLS["packages"]) == packages_in_tree()


def test_every_package_has_an_init() -> None:
    missing = [
        name for name in packages_in_tree() - {"tradespace"}
        if not (ROOT.joinpath(*name.split(".")[1:]) / "__init__.py").is_file()
    ]  # fmt: skip
    assert not missing


def test_every_top_level_folder_is_mapped() -> None:
    assert SETUPTOOLS["package-dir"] == {f"tradespace.{folder}": folder for folder in FOLDERS}


@pytest.mark.parametrize("path", data_files(), ids=str)
def test_every_data_file_ships(path: Path) -> None:
    package = ".".join(path.parts[:1] if path.parts[0] == "tradespace" else ("tradespace", path.parts[0]))
    patterns = SETUPTOOLS["package-data"].get(package, [])
    inside = path.relative_to(path.parts[0]).as_posix()
    assert any(fnmatch.fnmatch(inside, pattern) for pattern in patterns), (
        f"add {path} to package-data of {package}"
    )


def test_constraints_name_versions_and_nothing_else() -> None:
    lines = [v for v in (ROOT / "constraints.txt").read_text().splitlines() if v and not v.startswith("#")]
    assert all(len(v.split("==")) == 2 and "/" not in v and "+" not in v for v in lines)
    assert "torch==2.13.0" in lines


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_the_extra_that_is_hinted_at_installs_the_package(package: str, extra: str) -> None:
    named = {"grpc": "grpcio", "optuna_dashboard": "optuna-dashboard"}.get(package, package)
    wanted = SETTINGS["project"]["optional-dependencies"][extra]
    assert any(re.match(rf"{named}\b(?!-)", requirement) for requirement in wanted)


def test_every_direct_dependency_is_constrained() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {v.split("==")[0].lower().replace("_", "-") for v in lines}
    project = SETTINGS["project"]
    wanted = [
        *project["dependencies"],
        *(v for extra in project["optional-dependencies"].values() for v in extra),
    ]
    names = {v.split(">")[0].split("[")[0].strip().lower() for v in wanted} - {"tradespace"}
    assert names <= pinned
