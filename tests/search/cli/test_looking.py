"""`show`, `list` and help only look: nothing is trained, timed, measured or evaluated for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tradespace.errors import NotReady
from tradespace.problems.problem import Problem
from tradespace.problems.readiness import looking, takes_long
from tradespace.problems.registry import SHIPPED, load

WORK = ("ready", "evaluate", "milp_view", "packing_view", "jobs_view", "guesses")
"""What a problem may need minutes for."""


@pytest.fixture
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no configuration; work that is kept there is forbidden."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRADESPACE_HOME", str(tmp_path / "home"))
    pytest.importorskip("torch")
    from tradespace.problems.diffusion import measured, trials
    from tradespace.problems.diffusion.training import Training
    from tradespace.problems.training.execution import catalogue

    trials.trials.cache_clear()
    monkeypatch.setattr(catalogue, "_MEASURED", {})
    for owner, name in ((Training, "step"), (measured, "_timed"), (trials, "sample"), (catalogue, "profile")):
        monkeypatch.setattr(owner, name, forbidden(name))


def forbidden(name: str) -> Any:
    """A stand-in that says what was done and should not have been."""

    def called(*_: Any, **__: Any) -> Any:
        raise AssertionError(f"{name} was called")

    return called


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("name", [entry.name for entry in SHIPPED])
def test_showing_a_problem_does_none_of_its_work(name: str, cli: Any, monkeypatch: Any) -> None:
    cls: type[Problem] = load(name)
    for method in WORK:
        if getattr(cls, method) is not getattr(Problem, method):
            monkeypatch.setattr(cls, method, forbidden(method))
    shown, data = cli("show", name), cli("show", name, "--json")
    assert (shown.code, data.code) == (0, 0), shown.err
    assert {v["name"] for v in data.json["variables"]} <= set(shown.out.split())
    assert cli("run", name, "--help").code == 0


PROBLEM = """
import tradespace as ts

class Slow(ts.Problem):
    k = ts.Int(1, 100_000_000)
    gain = ts.Metric("1", "max")
    def ready(self, progress=None): raise SystemExit("ready")
    def evaluate(self, x): raise SystemExit("evaluate")
    def milp_view(self, given=None): raise SystemExit("view")
"""


def test_a_reader_that_leaves_early_is_no_failure() -> None:
    start = "from tradespace.search.cli import main; main(['show', 'knapsack'])"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", start], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_showing_a_users_problem_neither_prepares_it_nor_builds_its_view(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PROBLEM)
    shown = cli("show", "mine.py:Slow")
    assert shown.code == 0, shown.err
    assert "milp where it can take this goal, else ga" in shown.out


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("name", ["astraea", "adacc-module"])
def test_a_dry_run_says_what_is_left_to_the_first_run(name: str, cli: Any) -> None:
    told = cli("run", name, "--dry")
    assert told.code == 0, told.err
    assert "is left to the first run" in told.out
    refused = cli("run", "astraea", "--solver", "exhaustive")  # before anything is prepared
    assert refused.code == 2
    assert "cannot be enumerated" in refused.err


def test_work_is_forbidden_inside_looking_only() -> None:
    takes_long("training")
    with looking(), pytest.raises(NotReady, match="training is left to the first run"):
        takes_long("training")
    takes_long("training")
