"""Names of problems and files of users: found, loaded once, and usable in a process started afresh."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import tradespace as ts
from tradespace.problems import registry

FILE = """
from __future__ import annotations

import enum
import tradespace as ts
from neighbour import FACTOR


class Codec(enum.Enum):
    RAW = 1
    INT8 = 2


class Base(ts.Problem):
    size: int = 8
    a = ts.Int(0, "size")
    codec = ts.Choice(Codec)
    time = ts.Metric("s", "min")

    def evaluate(self, x):
        return {"time": x.a * FACTOR + (x.codec == Codec.INT8)}


class Derived(Base):
    size: int = 16
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "neighbour.py").write_text("FACTOR = 2.0\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    before = [*sys.path]
    yield path
    sys.path[:] = before
    sys.modules.pop("neighbour", None)


def test_every_shipped_problem_draws_its_answer():
    for entry in registry.SHIPPED:
        assert callable(getattr(registry.load(entry.name), "figures", None)), entry.name


def test_shipped_problems_load_by_name_and_have_a_finite_or_endless_space():
    for entry in registry.SHIPPED:
        assert issubclass(registry.load(entry.name), ts.Problem), entry.name
    assert ts.problem("matmul-tile", m=64).m == 64
    assert registry.load("tradespace.problems.tutorial.knapsack:Knapsack").__name__ == "Knapsack"


def test_a_file_is_loaded_once_and_by_class(file):
    derived = registry.load(f"{file}:Derived")
    assert derived().space.size == 17 * 2
    assert registry.load(f"{file}:Derived") is derived
    with pytest.raises(ts.DataError, match=r"defines 2 problems; name one, as in '.*mine\.py:Base'"):
        registry.load(str(file))


def test_two_files_of_one_name_do_not_meet(file, tmp_path):
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(FILE.replace('"size"', "3"))
    first, second = registry.load(f"{file}:Base"), registry.load(f"{other}:Base")
    assert (first().space.size, second().space.size) == (18, 8)
    assert type(pickle.loads(pickle.dumps(first()))) is first


def score_in_worker(payload):
    problem, batch = pickle.loads(payload)
    return problem.score(batch).metrics["time"].tolist(), problem.digest


def test_a_file_works_in_spawned_processes(file):
    problem = registry.load(f"{file}:Derived")(size=5).fix(codec="INT8")
    batch = problem.space.batch([{"a": 1}, {"a": 5}])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=registry.load_file, initargs=(Path(file),)) as pool:
        found = pool.submit(score_in_worker, pickle.dumps((problem, batch))).result(timeout=60)
    assert found == ([3.0, 11.0], problem.digest)


def test_files_of_two_folders_find_their_own_neighbours(tmp_path):
    """Also where these are called the same, or where a mere folder was taken for one before."""
    for number, folder in enumerate((tmp_path / "one", tmp_path / "two")):
        (folder / "steps_of_mine").mkdir(parents=True)
        (folder / "steps_of_mine" / "__init__.py").write_text(f"STEP = {number}.0\n")
        (folder / "helper_of_mine.py").write_text("from steps_of_mine import STEP\nOFFSET = 10 + STEP\n")
        (folder / "plan.py").write_text(
            "import tradespace as ts\nfrom helper_of_mine import OFFSET\n\nclass P(ts.Problem):\n"
            "    x = ts.Int(0, 3)\n    loss = ts.Metric('1', 'min')\n\n"
            "    def evaluate(self, x):\n        return {'loss': x.x + OFFSET}\n"
        )
    found = [registry.load(f"{tmp_path / f / 'plan.py'}:P")() for f in ("one", "two")]
    assert [float(p.score({"x": 0}).metrics["loss"][0]) for p in found] == [10.0, 11.0]
    assert found[0].digest != found[1].digest


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adac", "did you mean 'adacc'"),
        ("", "no problem is called"),
        ("matmul-tile:Tile", "cannot be imported"),
        ("nowhere.py:P", "there is no file"),
        ("./nowhere", "there is no file"),
        ("./nowhere:P", "cannot be imported"),
        ("no.such.module:P", "cannot be imported: ModuleNotFoundError"),
        ("tradespace.problems.tutorial.knapsack:Knapsak", "did you mean 'Knapsack'"),
        ("tradespace.units:GiB", "no problem class 'GiB'"),
    ],
)
def test_a_name_that_leads_nowhere_is_answered_in_words(name, words):
    with pytest.raises(ts.DataError, match=words):
        registry.load(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import tradespace as ts\nx = 1 / 0\n", r"ZeroDivisionError: division by zero\n +line 2: x = 1 / 0"),
        ("def broken(:\n", r"SyntaxError.*\n +line 1: def broken\(:"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3\n +line 2: sys\.exit\(3\)"),
        (
            "import tradespace as ts\nclass P(ts.Problem):\n    a = ts.Int(3, 1)\n",
            r"SpaceError: .*must not exceed.*\n +line 3: a = ts\.Int\(3, 1\)",
        ),
        (
            "import tradespace as ts\nclass P(ts.Problem):\n    seed: int = 3\n",
            r"call it 'simulation_seed'\.\n +line 2: class P\(ts\.Problem\):",
        ),
        ("x = 1\n", "defines 0 problems"),
    ],
)
def test_a_file_that_raises_shows_the_users_own_line(tmp_path, text, words):
    path = tmp_path / "faulty.py"
    path.write_text(text)
    with pytest.raises(ts.DataError, match=words):
        registry.load(str(path))
    assert (registry.module_name(path) in sys.modules) == (text == "x = 1\n")


def test_a_module_that_raises_shows_its_own_line(tmp_path, monkeypatch):
    (tmp_path / "faulty_module.py").write_text("import math\nmath.sqrt(-1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ts.DataError, match=r"ValueError: .*\n +line 2: math\.sqrt\(-1\)"):
        registry.load("faulty_module:P")


def test_a_class_that_a_package_re_exports_is_found(tmp_path, monkeypatch):
    package = tmp_path / "exporting"
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import P\n")
    (package / "inner.py").write_text("import tradespace as ts\nclass P(ts.Problem):\n    a = ts.Bool()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.load("exporting:P")().space.size == 2


def test_installed_packages_may_register_problems(tmp_path, monkeypatch):
    from importlib import metadata

    point = metadata.EntryPoint("theirs", "tradespace.problems.tutorial.mixed:Mixed", registry.ENTRY_POINTS)
    own = metadata.EntryPoint("knapsack", "os:path", registry.ENTRY_POINTS)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point, own])
    monkeypatch.syspath_prepend(str(tmp_path))  # another module path is looked up anew
    assert registry.load("theirs").__name__ == "Mixed"
    assert registry.load("knapsack").__name__ == "Knapsack"
