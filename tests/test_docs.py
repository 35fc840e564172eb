"""What the pages show is what the commands print, and every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("hardware", "costmodels", "problems", "solvers", "search", "tradespace")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])


def refresh() -> ModuleType:
    """`docs/refresh.py` as a module."""
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["refresh"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", refresh().PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_prints_what_the_page_shows(page: Path) -> None:
    refresh().replay(page)


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    tool = refresh()
    page = tmp_path / "page.md"
    for shown in ("one\nthree", "one", "one\ntwo\nthree", "two"):
        page.write_text(f"```console\n$ printf 'one\\ntwo\\n'\n{shown}\n```\n")
        with pytest.raises(tool.Stale):
            tool.replay(page)
    page.write_text("```console\n$ false\n```\n")
    with pytest.raises(tool.Stale, match="exit code 1"):
        tool.replay(page)
    page.write_text("```console\n$ printf 'one\\ntwo\\n'\nold\n```\n")
    tool.replay(page, write=True)
    assert "$ printf 'one\\ntwo\\n'\none\ntwo\n```" in page.read_text()


def test_numbers_of_a_page_agree_within_two_percent_and_words_exactly() -> None:
    tool = refresh()
    assert tool.same("peak 40.0 GiB, 1,000 rows in 0.2 s", "peak 40.5 GiB, 1,001 rows in 1.3 s")
    assert not tool.same("peak 40.0 GiB", "peak 41.0 GiB")
    assert not tool.same("peak 40.0 GiB", "peak 40.0 GB")
    assert not tool.same("gap -1", "gap 1")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_readme_has_one_line_for_the_main_job_and_one_for_the_tests() -> None:
    lines = [v for v in (ROOT / "README.md").read_text().splitlines() if v.startswith("python3 -m venv ")]
    assert len(lines) == 2
    assert sum(" pytest" in v for v in lines) == sum("optimize run adacc" in v for v in lines) == 1
    assert all("-c constraints.txt" in v for v in lines)


def documented(page: str) -> set[str]:
    """Names in the first column of a table of a page."""
    return set(re.findall(r"^\| `(\w+)` \|", (ROOT / page).read_text(), re.M))


def test_the_list_of_names_is_current() -> None:
    tool = refresh()
    assert (ROOT / "docs" / "api.md").read_text() == tool.api(), "python docs/refresh.py writes it anew"


def modules() -> list[str]:
    """Every module that holds an example."""
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>>" in path.read_text():
                parts = path.relative_to(ROOT).with_suffix("").parts
                dotted = ".".join(parts if parts[0] == "tradespace" else ("tradespace", *parts))
                found.append(dotted.removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            pytest.skip("PyTorch is not installed (extra 'torch')")
        raise
    with np.printoptions(legacy=False):
        outcome = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert outcome.failed == 0
