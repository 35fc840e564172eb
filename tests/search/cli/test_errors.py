"""Wrong usage is one clear sentence on standard error and exit code 2, never a traceback.

The sentence names what was asked, what was found, and what to do.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[3]

PROBLEM = '''
import numpy as np
import tradespace as ts
{top}

class Mine(ts.Problem):
    """A problem of the tests."""

    most: float = ts.param(3.0, unit="s")
{parameters}
    level = {level}
    kind = {kind}

    time = ts.Metric("s", "min", at_most="most")
    stored = ts.Metric("B")
{body}
    def evaluate(self, x):
        time = 1.0 * x.level
        stored = 10.0 - x.level
        {referee}
        return {{"time": time, "stored": stored}}
{view}
'''

VIEW = """
    def milp_view(self, given=None):
        import pyomo.environ as pyo

        model = pyo.ConcreteModel()
        model.level = pyo.Var(bounds=(0, 9), domain=pyo.Integers)
        model.kind = pyo.Var(["a", "b"], domain=pyo.Binary)
        model.one = pyo.Constraint(expr=model.kind["a"] + model.kind["b"] == 1)

        def decode():
            kind = "a" if pyo.value(model.kind["a"]) > 0.5 else "b"
            return {"level": round(pyo.value(model.level)), "kind": kind}

        def encode(point):
            model.level = point["level"]
            model.kind["a"], model.kind["b"] = int(point["kind"] == "a"), int(point["kind"] == "b")

        return ts.MilpView(model, {"time": model.level, "stored": 10 - model.level}, decode, encode)
"""


def write(**parts: str) -> str:
    """Write the problem with some parts replaced; its name on the command line."""
    plain = {
        "top": "", "parameters": "", "level": "ts.Int(0, 9)", "kind": 'ts.Choice("a", "b")', "body": "",
        "referee": "", "view": "",
    }  # fmt: skip
    Path("mine.py").write_text(PROBLEM.format(**{**plain, **parts}))
    return "mine.py:Mine"


def refused(shown: Any, *words: str) -> None:
    """One sentence on standard error that holds the words; exit code 2; nothing of a traceback."""
    assert shown.code == 2, shown.out + shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("error:") == 1
    assert "Traceback" not in shown.out + shown.err
    assert len(shown.err.strip().splitlines()) <= 4
    for word in words:
        assert word in shown.err, shown.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("run", "knapsak"), ("'knapsak'", "'knapsack'")),
        (("show", "adac"), ("'adac'", "'adacc'")),
        (("run", "nowhere.py:Thing"), ("nowhere.py", "optimize new")),
        (("run", "no_such_module:Thing"), ("no_such_module",)),
        (("run", "knapsack", "--item", "3"), ("'--item'", "'--items'")),
        (("run", "knapsack", "--items", "many"), ("--items", "a whole number", "'many'")),
        (("run", "knapsack", "--items", "2.5"), ("--items", "'2.5'")),
        (("run", "knapsack", "--items", "1e99"), ("--items", "64 bits", "smaller")),
        (("run", "knapsack", "--items", "999999999999999"), ("more memory than there is", "smaller problem")),
        (("run", "knapsack", "--items"), ("--items needs a value",)),
        (("run", "knapsack", "--items", "3", "--items", "4"), ("--items is given twice",)),
        (("run", "knapsack", "stray"), ("'stray'",)),
        (("run", "adacc", "--attention", "fusd"), ("attention", "one of fused", "'fusd'")),
        (("run", "adacc", "--model", "gpt2-xxl"), ("gpt2-xxl", "gpt2-xl")),
        (("run", "adacc", "--device", "a100-sxm-80g"), ("'a100-sxm-80g'", "'a100-sxm-80gb'")),
        (("run", "adacc", "--memory", "40GiX"), ("--memory", "GiX", "GiB")),
        (("run", "adacc", "--memory", "40ms"), ("--memory", "ms", "B")),
        (("run", "knapsack", "--solver", "mlip"), ("'mlip'", "'milp'")),
        (("run", "matmul-tile", "--solver", "milp"), ("milp", "no MILP view")),
        (("run", "mixed", "--solver", "exhaustive"), ("exhaustive", "not finite")),
        (("run", "matmul-tile", "--minimize", "latncy"), ("'latncy'", "'latency'")),
        (("run", "matmul-tile", "--maximize", "latency", "--minimize", "latency"), ("latency", "twice")),
        (("run", "matmul-tile", "--no-limit", "latncy"), ("'latncy'", "'latency'")),
        (("run", "matmul-tile", "--limit", "latncy<=1ms"), ("'latncy'", "'latency'")),
        (("run", "matmul-tile", "--limit", "latency"), ("'latency'", "peak<=24GiB")),
        (("run", "matmul-tile", "--limit", "latency<=fast"), ("'fast'", "latency")),
        (("run", "matmul-tile", "--limit", "latency<1ms"), ("'<'", "latency<=1ms")),
        (("run", "matmul-tile", "--limit", "latency<=1msec"), ("'1msec'", "'ms'")),
        (("run", "matmul-tile", "--limit", "latency<=1GiB"), ("'1GiB'", "'s'")),
        (("run", "matmul-tile", "--limit", "latency<=1ms", "--limit", "latency<=2ms"), ("second",)),
        (("run", "matmul-tile", "--limit", "latency<=1ms", "--limit", "latency>=2ms"), ("contradict",)),
        (("run", "matmul-tile", "--m", "inf"), ("--m", "inf", "finite")),
        (("run", "matmul-tile", "--fix", "tile_m"), ("tile_m", "NAME=VALUE")),
        (("run", "matmul-tile", "--fix", "tile_k=3"), ("'tile_k'",)),
        (("run", "matmul-tile", "--fix", "tile_m=17"), ("tile_m", "17")),
        (("run", "matmul-tile", "--fix", "layout=rows"), ("layout", "rows")),
        (("run", "matmul-tile", "--pick", "7000"), ("--pick", "7000")),
        (("run", "matmul-tile", "--start", "nowhere.json"), ("nowhere.json",)),
        (("run", "matmul-tile", "--evals", "-3"), ("-3",)),
        (("run", "matmul-tile", "--seconds", "nan"), ("seconds",)),
        (("run", "knapsack", "--gap", "-1"), ("gap", "-1")),
        (("resume", "7f3a"), ("7f3a", "'runs'")),
        (("resume", "last"), ("'runs'", "optimize run")),
        (("regoal", "last", "--limit", "latency<=1ms"), ("'runs'",)),
        (("export", "last", "--out", "front.csv"), ("'runs'",)),
        (("devices", "a100-sxm-80"), ("'a100-sxm-80'", "'a100-sxm-80gb'")),
        (("new", "3 wishes"), ("3 wishes", "my-cache")),
        (("new", "here", "--folder", "no/such/folder"), ("no/such/folder", "--folder")),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_wrong_word_is_named_with_the_remedy(
    cli: Cli, words: tuple[str, ...], found: tuple[str, ...]
) -> None:
    refused(cli(*words), *found)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ({"level": "ts.Int(9, 0)"}, ("level = ", "lo=9", "hi=0")),
        ({"level": "ts.Int(0, 9, step=2)"}, ("level = ", "grid", "8")),
        ({"level": "ts.Int(0, 9, log=True)"}, ("level = ", "at least 1")),
        ({"level": "ts.Float(2.0, 1.0)"}, ("level = ", "lo=2", "hi=1")),
        ({"level": "ts.Int(0, 'mots')"}, ("'level'", "'mots'", "'most'")),
        ({"kind": "ts.Choice()"}, ("kind = ", "at least one label")),
        ({"kind": "ts.Choice(1, 2)"}, ("kind = ", "Menu(1, 2)")),
        ({"kind": 'ts.Menu("a", "b")'}, ("kind = ", "Choice")),
        ({"kind": "ts.Menu()"}, ("kind = ", "at least one")),
        ({"kind": 'ts.Choice("a", "a")'}, ("kind = ", "repeat")),
        ({"kind": 'ts.Choice("a", "b", when={"levle": 3})'}, ("'levle'", "'level'")),
        ({"body": "    level = ts.Float(0, 1)"}, ("'level'", "declared twice")),
        ({"body": '    kind = ts.Metric("s")'}, ("'kind'", "twice")),
        ({"parameters": "    seed: int = 0"}, ("'seed'", "simulation_seed")),
        ({"parameters": "    evaluations: int = 0\n    solver: str = 'x'"}, ("'solver'", "solver_")),
        ({"parameters": "    digest: int = 0"}, ("'digest'", "attribute of Problem")),
        ({"body": "    explain = ts.Bool()"}, ("'explain'", "method of Problem", "explain_")),
        ({"parameters": "    study: int = 0"}, ("'study'", "option of 'optimize run'", "study_")),
        ({"parameters": "    _hidden: int = 0"}, ("'_hidden'", "'_'")),
        ({"top": "import no_such_thing"}, ("ModuleNotFoundError", "line 4: import no_such_thing")),
        ({"top": "table = {}['key']"}, ("KeyError", "line 4: table = {}['key']")),
        ({"top": "raise SystemExit(3)"}, ("SystemExit", "line 4")),
        ({"top": "if True print(1)"}, ("SyntaxError", "line 4: if True print(1)")),
        ({"referee": "time = time * np.nan"}, ("Mine.evaluate", "failed")),
        ({"referee": "time = time[:, None]"}, ("Mine.evaluate", "'time'", "shape", "expected")),
        ({"referee": "time = 3.0"}, ("Mine.evaluate", "'time'", "shape ()")),
        ({"referee": 'time = np.array(["x"] * len(x))'}, ("Mine.evaluate", "'time'", "numbers")),
        ({"referee": 'return {"time": time}'}, ("Mine.evaluate", "'stored'")),
        ({"referee": 'return {"time": time, "stored": stored, "stroed": stored}'}, ("'stroed'", "'stored'")),
        ({"referee": "return None"}, ("Mine.evaluate", "NoneType")),
        ({"referee": "raise ValueError('the user said so')"}, ("ValueError: the user said so", "mine.py")),
        ({"referee": "time = 1.0 * (x.kind == 'c')"}, ("'c'", "kind")),
        ({"referee": "time = 1.0 * x.kind"}, ("kind",)),
        ({"referee": "time = x.levle"}, ("levle", "level")),
        ({"referee": "x.level[0] = 1"}, ("read-only",)),
    ],
    ids=lambda value: " ".join(value.values()).strip()[:50] if isinstance(value, dict) else None,
)  # fmt: skip
def test_a_faulty_problem_file_is_named_with_the_fault(
    cli: Cli, parts: dict[str, str], found: tuple[str, ...]
) -> None:
    target = write(**parts)
    refused(cli("run", target), *found)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (('"time": model.level', '"time": 2 * model.level'), ("Mine", "'time'", "view", "referee")),
        (('"stored": 10', '"stored": 9'), ("Mine", "'stored'", "view", "referee")),
        (("bounds=(0, 9)", "bounds=(3, 9)"), ("Mine", "view", "forbids")),
        (('"stored"', '"stroed"'), ("Mine", "view", "'stroed'")),
        (('{"level": round', '{"levle": round'), ("Mine", "view", "levle")),
        (('"kind": kind', '"kind": "c"'), ("Mine", "view", "'c'")),
        (("model.level = point", "model.other = point"), ("Mine", "view", "encode", "'level'")),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value[0], str) and "model" in value[0] else None,
)
def test_a_view_that_disagrees_is_named(cli: Cli, wrong: tuple[str, str], found: tuple[str, ...]) -> None:
    assert wrong[0] in VIEW
    target = write(view=VIEW.replace(*wrong))
    refused(cli("run", target, "--solver", "milp", "--limit", "time<=9s"), *found)


def test_the_plain_problem_of_these_tests_runs(cli: Cli) -> None:
    assert cli("run", write()).code == 0
    Path("other.py").write_text(Path(write(view=VIEW).partition(":")[0]).read_text())
    shown = cli("run", "other.py:Mine", "--solver", "milp", "--json")
    assert shown.json["certificate"]["kind"] == "proven"


def test_check_names_a_view_that_disagrees(cli: Cli) -> None:
    shown = cli("check", write(view=VIEW.replace("10 - model", "9 - model")))
    refused(shown, "Mine", "'stored'")
    assert "milp view" in shown.out


def test_check_names_a_referee_that_is_not_pure(cli: Cli) -> None:
    refused(
        cli("check", write(referee="time = time + np.random.default_rng().random(len(x))")),
        "'time'",
        "second",
    )


def test_check_names_rows_that_depend_on_each_other(cli: Cli) -> None:
    refused(cli("check", write(referee="time = time + time.mean()")), "'time'", "beside")


def test_an_unknown_class_of_a_file_is_exit_code_2_with_the_nearest(cli: Cli) -> None:
    write()
    refused(cli("run", "mine.py:Mien"), "'Mien'", "'Mine'")


def test_an_unwritable_folder_of_runs_is_named(cli: Cli) -> None:
    Path("taken").write_text("a file")
    refused(cli("run", "knapsack", "--runs", "taken/runs"), "taken/runs", "--runs")


def test_a_full_disk_is_named_with_the_remedy(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    refused(cli("run", "knapsack"), "No space left", "free some space")


def test_an_export_that_cannot_be_written_is_named(cli: Cli) -> None:
    cli("run", "knapsack")
    Path("taken").write_text("a file")
    refused(cli("export", "last", "--out", "taken/front.csv"), "taken")
    refused(cli("export", "last", "--out", "front.xls"), "front.xls", ".csv")


def test_new_does_not_overwrite_a_file(cli: Cli) -> None:
    cli("new", "my-cache")
    refused(cli("new", "my-cache"), "my_cache.py", "exists")


def chunks() -> list[Path]:
    """The recorded chunks of the only run."""
    return sorted(Path("runs").glob("*/*/rows/*.npz"))


@pytest.fixture
def damaged(cli: Cli) -> Path:
    """A run of two chunks, the first of which is cut short; the damaged file."""
    cli("run", "knapsack", "--solver", "random", "--evals", 40)
    cli("resume", "last", "--evals", 100)
    first, second = chunks()
    assert second.is_file()
    first.write_bytes(first.read_bytes()[:-200])
    return first


def test_a_corrupt_chunk_is_named_and_the_rest_is_kept(cli: Cli, damaged: Path) -> None:
    shown = cli("resume", "last", "--evals", 120)
    assert shown.code == 0
    assert damaged.name in shown.out
    assert "Traceback" not in shown.out + shown.err
    assert cli("resume", "last", "--evals", 140, "--json").json["evaluated_here"] == 20


def test_rows_exported_beside_a_corrupt_chunk_say_so(cli: Cli, damaged: Path) -> None:
    shown = cli("export", "last", "--out", "rows.csv", "--rows")
    assert damaged.name in shown.out + shown.err


def test_a_run_with_nothing_left_to_read_is_named(cli: Cli) -> None:
    cli("run", "knapsack", "--solver", "random", "--evals", 40)
    (only,) = chunks()
    only.write_bytes(b"")
    refused(cli("export", "last", "--out", "rows.csv", "--rows"), only.name)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"parameters": {}}'])
def test_a_damaged_record_of_a_run_is_named(cli: Cli, content: str) -> None:
    cli("run", "knapsack", "--solver", "random", "--evals", 40)
    (record,) = Path("runs").glob("*/*/run.json")
    record.write_text(content)
    refused(cli("resume", "last"), "run.json")
    refused(cli("regoal", "last", "--limit", "weight<=600"), "run.json")


def test_resume_says_what_changed_in_the_problem(cli: Cli) -> None:
    target = write()
    cli("run", target, "--solver", "random", "--evals", 5)
    (record,) = Path("runs").glob("*/*/run.json")
    moved = Path("moved").absolute()
    moved.mkdir()
    changed = Path("mine.py").read_text().replace("1.0 * x.level", "2.0 * x.level")
    (moved / "mine.py").write_text(changed)
    record.write_text(record.read_text().replace(str(Path("mine.py").absolute()), str(moved / "mine.py")))
    refused(cli("resume", "last"), "changed", "code of Mine")
    refused(cli("regoal", "last", "--limit", "time<=2s"), "changed")


def test_resume_says_that_the_file_of_the_problem_is_gone(cli: Cli) -> None:
    target = write()
    cli("run", target, "--solver", "random", "--evals", 5)
    (record,) = Path("runs").glob("*/*/run.json")
    record.write_text(record.read_text().replace("mine.py", "gone.py"))
    refused(cli("resume", "last"), "gone.py")


def test_the_installed_command_leaves_with_0_1_and_2_and_no_traceback(tmp_path: Path) -> None:
    """The same in a process of its own, whose output streams and exit code are real."""
    command = [sys.executable, "-c", "from tradespace.search.cli import main; main()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    commands: list[tuple[int, list[str]]] = [
        (0, ["run", "matmul-tile", "--json"]),
        (1, ["run", "knapsack", "--limit", "value>=1e6"]),
        (2, ["run", "knapsak"]),
        (2, ["run", "knapsack", "--evals", "many"]),
    ]
    for code, words in commands:
        done = subprocess.run(
            [*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert bool(done.stderr) == bool(code)


LOST = """
import signal, sys, time
from tradespace.search.cli import app as face

class Told:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def busy(*_, **__):
    thing = Told()
    del thing  # Python throws the interruption away here
    time.sleep(30)

face.app = busy
face.main([])
"""


def test_an_interruption_that_python_throws_away_is_made_again():
    signal_default = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    done = subprocess.run(
        [sys.executable, "-c", signal_default + LOST], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=25,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr == ""


def test_a_solvers_missing_file_is_told_as_a_solvers(cli: Cli):
    done = cli("run", "matmul-tile", "--solver", "bad.py:X")
    assert done.code == 2
    assert "there is no file 'bad.py' with a solver in it" in done.err
    assert "optimize new" not in done.err


def test_a_dry_run_names_what_the_solver_itself_takes(cli: Cli):
    known = cli("run", "matmul-tile", "--dry", "--json").json
    assert 0 < known["solver_seconds"] < known["expected_seconds"]
    assert "exhaustive itself" in cli("run", "matmul-tile", "--dry").out
    assert (
        cli("run", "matmul-tile", "--solver", "tpe", "--evals", "9", "--dry", "--json").json["solver_seconds"]
        is None
    )
    assert (
        "is not known beforehand" in cli("run", "matmul-tile", "--solver", "tpe", "--evals", "9", "--dry").out
    )
