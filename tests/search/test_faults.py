"""Faults in code that is not ours: one sentence with file and line; pictures and tables fail no run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tradespace as ts
from tradespace.problems.problem import HOOKS
from tradespace.problems.registry import load
from tradespace.search.cli import main
from tradespace.solvers.base import AskTell, OneShot

FAULTY = '''
import numpy as np
import tradespace as ts
from tradespace.solvers.base import AskTell


class Said:
    """What a plain base class brings along is a problem's own as well."""

    def fail(self, name):
        if self.at == name:
            return {}["missing"]  # the line at fault

    def summary(self, point):
        self.fail("summary")
        return [{"part": "all"}] if self.at != "rows" else [3]


class Faulty(Said, ts.Problem):
    """Raises where it is told to."""

    at: str = ""

    a = ts.Int(0, 40)
    b = ts.Int(0, 400)

    loss = ts.Metric("1", "min", at_most="ceiling")

    @property
    def ceiling(self):
        self.fail("ceiling")
        return 500.0

    def prepare(self):
        self.fail("prepare")

    def evaluate(self, x):
        return {"loss": 1.0 * x.a + x.b}

    def headline(self):
        self.fail("headline")
        return "a headline"

    def figures(self, point):
        self.fail("figures")
        return {"odd": 3} if self.at == "odd" else {}

    def explain(self, point):
        self.fail("explain")
        return {}

    def apply(self, point):
        self.fail("apply")
        yield {"loss": 0.0}

    def milp_view(self, given=None):
        self.fail("milp_view")

    def guesses(self, goal):
        self.fail("guesses")
        return ()


class Stuck(AskTell):
    def ask(self, n):
        return self.nothing
'''
LINE = 1 + FAULTY[: FAULTY.index("the line at fault")].count("\n")


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faulty.py").write_text(FAULTY)
    return tmp_path / "faulty.py"


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*words])
    return int(stop.value.code or 0)


def search(at: str, *more: str) -> int:
    return command("run", "faulty.py:Faulty", "--at", at, "--evals", "100", *more)


@pytest.mark.parametrize("at", ["prepare", "milp_view", "guesses", "ceiling"])
def test_what_a_search_needs_ends_it_in_one_sentence_with_file_and_line(
    at: str, faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(at) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"error: Faulty.{at} raised KeyError: 'missing' at {faulty}:{LINE}: return" in told
    assert not [*Path().rglob("run.json")]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("headline", "without the headline: Faulty.headline raised KeyError"),
        ("summary", "without the problem's summary: Said.summary raised KeyError"),
        ("rows", "without the problem's summary: Faulty.summary must return a list of rows"),
        ("figures", "without the problem's own pictures: Faulty.figures raised KeyError"),
        ("odd", "without the problem's own pictures: Faulty.figures must return matplotlib figures by name"),
    ],
)
def test_what_is_for_people_only_ends_nothing(
    at: str, said: str, faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(at) == 0
    assert command("report", "last") == 0
    printed = capsys.readouterr()
    told = " ".join((printed.err + printed.out).split())
    assert told.count(said) == 1
    assert f"{faulty}:{LINE}" in told or "must return" in said


def test_explain_notes_it_and_apply_ends_with_it(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search("explain") == 0
    assert command("explain", "last", "--draws", "0") == 0
    assert f"Faulty.explain raised KeyError: 'missing' at {faulty}:{LINE}" in capsys.readouterr().out
    assert search("apply") == 0
    assert command("apply", "last") == 2
    assert f"Faulty.apply raised KeyError: 'missing' at {faulty}:{LINE}" in capsys.readouterr().err


def test_a_solver_is_told_by_its_line_too_and_a_run_that_never_started_is_not_the_last(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("") == 0
    capsys.readouterr()
    assert search("", "--solver", "faulty.py:Stuck") == 2
    assert re.search(
        r"error: Stuck.ask raised AttributeError: .* at .*faulty.py:\d+: return", capsys.readouterr().err
    )
    (run,) = Path("runs/faulty").iterdir()
    waiting = run.with_name("2999-01-01T000000-aaaa")
    (waiting / "rows").mkdir(parents=True)
    (waiting / "run.json").write_bytes((run / "run.json").read_bytes())
    assert command("report", "last") == 0
    assert str(run) in "".join(capsys.readouterr().out.split())


def test_our_own_faults_are_one_sentence_with_the_line() -> None:
    class Wild(OneShot):
        def solve(self, run: object) -> object:  # type: ignore[override]
            return run.nothing  # type: ignore[attr-defined]

    assert Wild.name == "Wild"
    with pytest.raises(ts.EvaluationError, match=r"Wild.solve raised AttributeError: .*test_faults.py:\d+:"):
        ts.solve(ts.problem("knapsack", items=5), Wild())


def test_hooks_are_wrapped_once_and_the_defaults_of_a_problem_stay_what_they_are(faulty: Path) -> None:
    cls = load(f"{faulty}:Faulty")
    assert cls.ready is ts.Problem.ready
    assert cls.explain_infeasible is ts.Problem.explain_infeasible
    again = type(cls)("Again", (cls,), {"__module__": cls.__module__})
    assert all(getattr(again, name, None) is getattr(cls, name, None) for name in HOOKS)
    assert {n for n in HOOKS if hasattr(ts.Problem, n)} >= {"prepare", "milp_view", "explain", "guesses"}
    assert AskTell.tell is type("Quiet", (AskTell,), {}).tell


# --- what can be said before a search -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("storage", "said"),
    [
        (".", "is a folder"),
        ("faulty.py", "is no journal of Optuna's"),
        ("sqlite:////no/such/folder/x.db", "cannot be opened"),
        ("nothing://here", "cannot be opened"),
        ("faulty.py/journal.log", "cannot write"),
    ],
)
def test_an_unusable_storage_is_told_before_the_search(
    storage: str, said: str, faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = faulty.read_bytes()
    assert search("", "--storage", storage) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()
    assert faulty.read_bytes() == before


@pytest.mark.parametrize("installed", [True, False])
def test_the_dashboard_is_suggested_where_it_is_installed(
    installed: bool, faulty: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tradespace.search.cli.report.find_spec", lambda name: object() if installed else None
    )
    assert search("") == 0
    assert ("optimize dashboard" in capsys.readouterr().out) is installed
