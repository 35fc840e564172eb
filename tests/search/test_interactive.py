"""Problems written where people try things: a notebook, standard input, `-c`, a bare script, a function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

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
    return "".join(o["text"] for cell in made.cells for o in cell.outputs if o.output_type == "stream")


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
