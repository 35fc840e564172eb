"""Problems written where people try things: a notebook, standard input, `-c`, a bare script, a function."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.space import Space
from tradespace.search.cli import main
from tradespace.solvers.base import AskTell

ROOT = Path(__file__).resolve().parents[2]

DEFINED = '''
import functools
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tradespace as ts

OFFSETS = np.arange(4.0)


@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@dataclass(frozen=True)
class Curve:
    power: int = 2

    def at(self, value):
        return value**self.power + fibonacci(6)


class Tried(ts.Problem):
    """A curve through other definitions of the same place."""

    best: float = 7.0

    a = ts.Int(0, 60)
    b = ts.Int(0, 60)

    loss = ts.Metric("1", "min")

    @functools.cached_property
    def offset(self):
        return float(OFFSETS.sum())

    def evaluate(self, x):
        return {"loss": Curve().at(x.a - self.best) + np.abs(x.b - self.offset)}
'''
USED = """
said = {}
budget = ts.Budget(evaluations=1500)
said["check"] = [f.sentence for f in ts.check(Tried()) if f.check == "process"]
alone = ts.solve(Tried(), "random", budget=budget)
said["alone"] = [alone.metrics["loss"], []]
found = ts.solve(Tried(), "random", budget=budget, workers=2)
said["workers"] = [found.metrics["loss"], list(found.notes)]
with ThreadPoolExecutor(2) as pool:
    found = ts.solve(Tried(), "random", budget=budget, executor=pool)
said["threads"] = [found.metrics["loss"], list(found.notes)]
compared = ts.compare(Tried(), "random,sobol", budget=budget, seeds=1, workers=2)
said["compare"] = [compared.summary("random")["median"], [*compared.refused]]
"""
TOLD = 'import json\nprint("told", json.dumps(said))\n'


def run(command: list[str], folder: Path, text: str | None = None) -> str:
    setting = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
    done = subprocess.run(
        [sys.executable, *command], input=text, cwd=folder, env=setting, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def notebook(folder: Path, text: str) -> str:
    """The same text as cells of a notebook, one a definition."""
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    cells = [nbformat.v4.new_code_cell(part) for part in text.split("\n\n\n")]
    made = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(made, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return "".join(o["text"] for cell in made.cells for o in cell.outputs if o.get("name") == "stdout")


def script(folder: Path, text: str) -> str:
    (folder / "bare.py").write_text(text)
    return run(["bare.py"], folder)


def function(folder: Path, text: str) -> str:
    return script(folder, "def main():\n" + textwrap.indent(text, "    ") + "\nmain()\n")


PLACES = {
    "notebook": notebook,
    "stdin": lambda folder, text: run(["-"], folder, text),
    "-c": lambda folder, text: run(["-c", text], folder),
    "script": script,
    "function": function,
}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This checkout for kernels, which take the environment of this process."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("here")
def test_check_workers_threads_and_compare_take_a_class_from_anywhere(place: str, tmp_path: Path) -> None:
    printed = PLACES[place](tmp_path, DEFINED + "\n\n" + USED + TOLD)
    assert printed.count("told") == 1, printed  # no process ran the script again
    said = json.loads(printed.partition("told")[2])
    assert said["check"] == ["a fresh process scores the same"]
    assert said["workers"] == said["threads"] == said["alone"] == said["compare"]


class Odd(ts.SpaceError):
    """An error of a user's own that cannot be made from its text."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second} do not fit")


def test_errors_of_a_users_own_come_back_from_workers_as_sentences() -> None:
    class Raises(ts.Problem):
        """Raises what no other process can read."""

        alone: bool = False

        a = ts.Int(0, 3_000)

        loss = ts.Metric("1", "min")

        def evaluate(self, x: ts.Batch) -> dict[str, object]:
            if not self.alone:
                raise Odd(3, 4)
            if (x.a == 7).any():
                raise type("Own", (Exception,), {})("seven")
            return {"loss": x.a * 1.0}

    with pytest.raises(ts.SpaceError, match=r"^3 and 4 do not fit$"):
        ts.solve(Raises(), "exhaustive", workers=2)
    found = ts.solve(Raises(alone=True), "exhaustive", workers=2)
    assert re.search(rf"evaluate raised Own: seven at {re.escape(__file__)}:\d+: raise", found.notes[0])


def test_a_class_executed_from_a_text_or_in_a_module_made_by_hand_travels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = DEFINED + "\nfound = ts.solve(Tried(), 'sobol', budget=1100, workers=2)\n"
    made = types.ModuleType("made_by_hand")
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    spaces: list[dict[str, object]] = [{}, made.__dict__]
    for space in spaces:
        exec(text, space)
    first, second = (space["found"] for space in spaces)
    assert (first.metrics, first.notes) == (second.metrics, ())  # type: ignore[attr-defined]


def test_cells_that_are_run_again_with_other_content_are_another_problem(tmp_path: Path, here: None) -> None:
    changes = {"OFFSETS": "np.arange(5.0)", "fibonacci": "lambda n: n", "Curve": "Steep"}
    cells = [
        DEFINED,
        "r = ts.solve(Tried(), 'random', budget=50, runs='runs')\n"
        "print(ts.resume(r, problem=Tried(), budget=60).evaluations)",
        "class Steep(Curve):\n    def at(self, value):\n        return value + 1.0",
        *(
            f"kept, {name} = {name}, {value}\n"
            "try: ts.resume(r, problem=Tried())\n"
            "except ts.DataError as error: print('changed', 'has changed since' in str(error))\n"
            f"{name} = kept"
            for name, value in changes.items()
        ),
        "print(ts.resume(r, problem=Tried(), budget=70).evaluations)",
    ]
    assert notebook(tmp_path, "\n\n\n".join(cells)).split() == ["60", *["changed", "True"] * 3, "70"]


def test_functions_are_parameters_and_closures_count_by_what_they_close_over() -> None:
    class Shaped(ts.Problem):
        """A curve given as a function."""

        curve: Callable[[object], object] = ts.param(factory=lambda: np.square)

        a = ts.Int(-20, 2_000)

        loss = ts.Metric("1", "min")

        def evaluate(self, x: ts.Batch) -> dict[str, object]:
            return {"loss": self.curve(x.a - 3.0)}

    def scaled(by: object) -> Callable[[object], object]:
        return lambda value: np.abs(value * by).sum(-1) if np.ndim(by) else np.abs(value * by)

    curves = [np.square, np.abs, scaled(2.0), scaled(3.0), scaled(np.float64(3.5)), partial(np.add, 2.0)]
    assert len({Shaped(curve=curve).digest for curve in curves}) == len(curves)
    assert Shaped(curve=scaled(2.0)).digest == Shaped(curve=scaled(2.0)).digest
    table: dict[str, object] = {}
    exec("def first(v): return v * TABLE['scale']\ndef second(v): return TABLE['first'](v)", table)
    table["TABLE"] = {"scale": 1.0, "first": table["first"], "second": table["second"]}
    before = Shaped(curve=table["second"]).digest
    table["TABLE"]["scale"] = 2.0  # type: ignore[index]
    assert Shaped(curve=table["second"]).digest != before
    arrays = [Shaped(curve=scaled(np.arange(2.0) + k)).digest for k in (0, 0, 1)]
    assert arrays[0] == arrays[1] != arrays[2]
    for curve in curves[:4]:
        alone, shared = (ts.solve(Shaped(curve=curve), "exhaustive", workers=n) for n in (1, 2))
        assert (shared.metrics, shared.notes) == (alone.metrics, ())


# --- runs of such classes ---------------------------------------------------------------------------
KINDS = """
import tradespace as ts

class Kinds(ts.Problem):
    "Every kind of variable."

    room: float = 30.0

    a = ts.Int(0, 40)
    m = ts.Menu(1, 2, 4, 8)
    c = ts.Choice("row", "column")
    k = ts.Bool(when={"c": "row"})
    f = ts.Float(0, 1, shape=3)
    p = ts.Permutation(3)

    time = ts.Metric("s", "min")
    space = ts.Metric("B", at_most="limit")

    @property
    def limit(self):
        return self.room + 4

    def evaluate(self, x):
        return {"time": (x.a - 7.0) ** 2 + x.m + x.f.sum(1) + x.p[:, 0], "space": 40.0 - x.a + 2 * x.k}

found = ts.solve(Kinds(), "random", budget=ts.Budget(evaluations=200), runs="runs", storage="none")
again = ts.resume(found.run_dir, budget=ts.Budget(evaluations=240), storage="none")
print(again.evaluations, again.evaluated_here)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a class that only its own process had, and resumed there."""
    folder = tmp_path_factory.mktemp("recorded")
    assert run(["-"], folder, KINDS).split() == ["240", "40"]
    return folder


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*words])
    return int(stop.value.code or 0)


def test_recorded_rows_answer_what_needs_no_referee(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(recorded / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    rows = ts.recorded_rows(next(Path("runs/kinds").iterdir()))
    assert (len(rows), {*rows["c"]}) == (240, {"row", "column"})
    assert command("regoal", "last", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    good = rows[rows["space"] <= 34.0]
    assert answer["best"]["metrics"]["time"] == good["time"].min()
    assert command("regoal", "last", "--limit", "space<=limit", "--minimize", "space") == 0
    assert command("explain", "last") == 0
    assert "the referee is not here" in capsys.readouterr().out
    assert command("report", "last") == 0
    assert command("export", "last", "--rows", "--out", "rows.csv") == 0


@pytest.mark.parametrize(
    "words", [["resume", "last"], ["apply", "last"], ["export", "last", "--out", "m.mps"]]
)
def test_what_needs_the_referee_says_where_it_is(
    words: list[str], recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(recorded)
    assert command(*words) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "problem 'Kinds' was defined in a notebook, a script or a command line of Python" in told
    assert "ts.resume(run, problem=Kinds(...))" in told


def inside(factor: float) -> type[ts.Problem]:
    class Inside(ts.Problem):
        """Defined in a function."""

        a = ts.Int(0, 50)
        b = ts.Int(0, 50)

        loss = ts.Metric("1", "min", at_most=60.0)

        def evaluate(self, x: ts.Batch) -> dict[str, object]:
            return {"loss": factor * x.a + x.b}

    return Inside


class First(AskTell):
    """Asks for random points."""

    def ask(self, n: int) -> ts.Batch:
        return self.space.sample(self.rng, min(n, 20))


def test_python_does_everything_with_a_class_that_nothing_else_finds(tmp_path: Path) -> None:
    problem, budget = inside(1.0)(), ts.Budget(evaluations=60)
    found = ts.solve(problem, First(), budget=budget, runs=tmp_path, storage="none")
    with pytest.raises(ts.DataError, match=r"'inside.<locals>.Inside' was made inside a function"):
        ts.resume(found.run_dir)
    with pytest.raises(
        ts.SolverUnavailable, match=r"give it from Python, as in ts.resume\(run, solver=First"
    ):
        ts.resume(found.run_dir, problem=problem, storage="none")
    more = ts.resume(
        found.run_dir, problem=inside(1.0)(), solver=First(), budget=ts.Budget(evaluations=80), storage="none"
    )
    assert (more.evaluations, more.evaluated_here) == (80, 20)
    with pytest.raises(ts.DataError, match="has changed since"):
        ts.resume(found.run_dir, problem=inside(2.0)(), solver=First())
    goal = ts.Goal(limits=("loss<=30",))
    assert ts.regoal(found.run_dir, goal, problem=problem).metrics == more.metrics
    assert ts.regoal(found.run_dir, goal).metrics == more.metrics
    assert ts.explain(found.run_dir, problem=problem).reaches
    assert "Nearest alternatives" in ts.report(found.run_dir, problem=problem).read_text()


@pytest.mark.parametrize("name", ["mixed", "knapsack", "matmul-tile", "memory-plan", "mg1", "server-packing"])
def test_a_space_is_read_back_from_its_record(name: str) -> None:
    space = ts.problem(name).space
    record = json.loads(json.dumps(space.record()))
    again = Space.from_record(record)
    assert again.record() == record
    assert again.size == space.size
