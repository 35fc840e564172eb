"""hardware <- costmodels <- problems <- solvers <- search: a package imports only from its left.

Modules of `tradespace/` named in SHARED may be imported by all. Imports inside functions count.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("hardware", "costmodels", "problems", "solvers", "search")
SHARED = {"arrays", "errors", "extras", "folders", "units", "text", "times"}
CONTRACTS = {"testing.py"}
"""Tests that ship, and use the public package as any test does; no module may import one."""
HEAVY = (
    "torch",
    "pyomo",
    "optuna",
    "pandas",
    "plotly",
    "matplotlib",
    "numba",
    "scipy",
    "highspy",
    "deap",
    "moocore",
)
MODULES = sorted(path.relative_to(ROOT) for folder in ORDER for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import of this project in a module, from `tradespace` on."""
    package = ("tradespace", *path.parent.parts)
    tree = ast.parse((ROOT / path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *(node.module.split(".") if node.module else ())))
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}"


@pytest.mark.parametrize("folder", ORDER)
def test_a_package_imports_only_from_its_left(folder: str) -> None:
    allowed = {*ORDER[: ORDER.index(folder) + 1], *SHARED, "__version__"}
    faults = [
        f"{path}:{line} imports {name}"
        for path in MODULES if path.parts[0] == folder
        for line, name in imported(path)
        if (name.startswith("tradespace.") and name.split(".")[1] not in allowed)
        or (name == "tradespace" and path.name not in CONTRACTS)
    ]  # fmt: skip
    assert not faults


def test_no_module_imports_a_folder_by_its_bare_name() -> None:
    faults = [
        f"{path}:{line} imports {name}"
        for path in MODULES
        for line, name in imported(path)
        if name.split(".")[0] in ORDER
    ]
    assert not faults


def test_no_module_imports_a_contract() -> None:
    assert not [f"{path}: {name}" for path in MODULES for _, name in imported(path) if ".testing" in name]


def test_errors_and_units_import_nothing_of_ours_but_errors() -> None:
    for name in sorted(SHARED):
        ours = {n for _, n in imported(Path(f"tradespace/{name}.py")) if "tradespace" in n}
        assert all("errors" in n for n in ours)


def loaded(program: str) -> set[str]:
    """Top-level names of the modules loaded after a program ran in a fresh process."""
    code = f"import sys\n{program}\nprint('LOADED', *{{m.partition('.')[0] for m in sys.modules}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


COMMAND = """
from tradespace.search.cli import main
try:
    main({words})
except SystemExit as leaving:
    assert not leaving.code, leaving.code
"""


def test_importing_tradespace_loads_no_library() -> None:
    assert not loaded("import tradespace") & {"numpy", "typer", "rich", *HEAVY}


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"], ["run", "--help"]], ids=" ".join)
def test_help_and_list_load_no_numpy_and_nothing_heavy(words: list[str]) -> None:
    assert not loaded(COMMAND.format(words=words)) & {"numpy", *HEAVY}


def test_defining_a_problem_loads_nothing_heavy() -> None:
    program = """
import tradespace as ts
class P(ts.Problem):
    n = ts.Int(0, 3)
    time = ts.Metric("s", "min")
"""
    assert not loaded(program) & {"torch", "pyomo", "optuna", "pandas", "plotly", "matplotlib", "numba"}
