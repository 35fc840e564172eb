"""A problem's identity sees an edit of all that its referee reaches, and of nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems import reach
from tradespace.problems.digest import code, source
from tradespace.problems.registry import load_file

ROOT = Path(__file__).parents[2]
FOLDERS = ("hardware", "costmodels", "problems", "solvers", "search", "tradespace")

# Runs in a copy of the package. The oracle is what really runs: every module of the copy in which a function
# is called while a problem is made and scored. They are edited, and then modules that have no part in it.
PROGRAM = """
import json, os, sys
from pathlib import Path
import numpy as np
import tradespace as ts
from tradespace.problems.digest import source
from tradespace.problems.registry import load

root = Path(sys.argv[1])
assert Path(ts.__file__).is_relative_to(root)
machinery = {root / "problems" / f"{name}.py" for name in ("digest", "reach", "sources", "definitions")}

def edited(paths, cls):
    kept = {path: (path.read_bytes(), os.stat(path).st_mtime_ns) for path in paths}
    for path, (content, _) in kept.items():
        path.write_bytes(content + b"\\n_EDITED = 1\\n")
    found = source(cls), cls().digest
    for path, (content, time) in kept.items():
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
    return found

def label(path):
    inner = path.relative_to(root / "tradespace" if path.is_relative_to(root / "tradespace") else root)
    return ".".join(("tradespace", *inner.with_suffix("").parts)).removesuffix(".__init__")

for name, (edit, apart) in json.loads(sys.argv[2]).items():
    cls, ran = load(name), set()
    def note(frame, event, argument):
        if event == "call":
            ran.add(frame.f_code.co_filename)
    batch = cls().space.sample(np.random.default_rng(0), 2)
    sys.setprofile(note)
    cls().score(batch)
    sys.setprofile(None)
    ran = {Path(name) for name in ran}
    ran = {path for path in ran if path.is_relative_to(root) and path.is_file()} - machinery
    base, digest = source(cls), cls().digest
    after = edited(ran, cls)[0]
    assert (source(cls), cls().digest) == (base, digest)
    print(json.dumps({
        "problem": name,
        "many": len(ran) > 6,
        "unseen": sorted(label(path) for path in ran if after.get(label(path)) == base.get(label(path))),
        "one": edited([root / edit], cls)[1] != digest,
        "apart": edited([root / place for place in apart], cls) == (base, digest),
    }))
"""
CASES = {
    "llm-mesh": ("problems/serving/mesh/mesh.py", [
        "problems/serving/report.py", "problems/serving/mesh/figures.py", "problems/serving/hermes.py",
        "problems/rendering/frame.py", "costmodels/validation.py", "search/run.py", "search/cli/report.py",
        "solvers/milp.py", "hardware/description.py",
    ]),
    "hermes": ("problems/serving/cluster_loop.py", [
        "problems/serving/mesh/mesh.py", "problems/serving/report.py", "problems/training/adacc.py",
        "costmodels/splatting_cores.py", "search/figures.py", "solvers/gittins.py",
    ]),
    "adacc": ("costmodels/matrix.py", [
        "problems/training/report.py", "problems/training/milp.py", "problems/training/reproduce.py",
        "problems/diffusion/dit.py", "search/record.py", "problems/views.py",
    ]),
    "memory-plan": ("problems/tutorial/memory_plan.py", [
        "problems/tutorial/figures.py", "problems/tutorial/knapsack.py", "costmodels/matrix.py",
    ]),
}  # fmt: skip


def test_each_module_that_runs_counts_and_those_apart_do_not(tmp_path: Path) -> None:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(CASES)]
    environment = {
        **os.environ, "PYTHONPATH": str(tmp_path), "TRADESPACE_CACHE": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_DISABLE_JIT": "1",
    }  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    right = {"many": True, "unseen": [], "one": True, "apart": True}
    assert rows == [{"problem": name, **right} for name in CASES]


# --- a user's folder ---------------------------------------------------------------------------------
FILES = {
    "mine.py": """
        import json, os
        from dataclasses import dataclass
        from pathlib import Path
        import numpy as np
        import tradespace as ts
        import attribute, plots, registers, package.inner as alias
        from named import thing as renamed, unused
        from starred import *
        from base import Base
        from marks import marked
        from package import lazily_exported
        try:
            import absent_accelerator
        except ImportError:
            import fallback as absent_accelerator

        HERE = Path(__file__).parent
        TABLE = json.loads((HERE / "table.json").read_text())

        class Mine(Base, ts.Problem):
            a = ts.Int(0, 3)
            t = ts.Metric("s")

            @marked
            def evaluate(self, x):
                import late
                from package.deep import deepest
                import importlib
                computed = importlib.import_module("computed")
                share = registers.KNOWN["plugin"](1)
                weights = np.loadtxt(os.path.join(HERE, "data", "weights.csv"))
                value = TABLE[0] * absent_accelerator.speed * attribute.outer(x.a) + renamed(1)
                value = value + from_star(1) + late.late(1) + alias.inner
                return {"t": value + self.inherited() + deepest() + share + lazily_exported + computed.value}

            def picture(self):
                import drawing
                return drawing.draw(self)

        if __name__ == "__main__":
            import only_main
    """,
    "attribute.py": "import second\ndef outer(x): return second.scale(x)",
    "second.py": "FACTOR = 2\ndef scale(x): return FACTOR * x",
    "named.py": "def thing(v): return v\ndef unused(): import never\n",
    "starred.py": "from starred_inner import *",
    "starred_inner.py": "def from_star(v): return v",
    "base.py": """
        class Base:
            def inherited(self): return helper()
        def helper():
            from base_helper import h
            return h
    """,
    "base_helper.py": "h = 0",
    "marks.py": "import wrapping\ndef marked(f): return wrapping.wrap(f)",
    "wrapping.py": "def wrap(f): return f",
    "late.py": "def late(v): return v",
    "computed.py": "value = 0",
    "fallback.py": "speed = 1",
    "registers.py": "KNOWN = {}\ndef register(f):\n    KNOWN[f.__name__] = f\n    return f\nimport plugins\n",
    "plugins.py": "from registers import register\n@register\ndef plugin(v): return v",
    "package/__init__.py": (
        "def __getattr__(name):\n    import importlib\n"
        "    return getattr(importlib.import_module('.exported', __name__), name)"
    ),
    "package/exported.py": "lazily_exported = 1",
    "package/inner.py": "from . import sibling\nfrom .deep.more import more\ninner = sibling.value + more",
    "package/sibling.py": "value = 1",
    "package/deep/__init__.py": "from ..sibling import value\ndef deepest(): return value",
    "package/deep/more.py": "more = 1",
    "table.json": "[1]",
    "data/weights.csv": "1",
    "plots.py": "import drawing\ndef plot(): pass",
    "drawing.py": "def draw(p): pass",
    "never.py": "x = 1",
    "only_main.py": "x = 1",
    "package/tests.py": "x = 1",
    "notes.json": "{}",
    "data/other.csv": "1",
    "absent.txt": "",
}  # fmt: skip
APART = (
    "plots.py", "drawing.py", "never.py", "only_main.py", "package/tests.py", "notes.json", "data/other.csv",
    "absent.txt",
)  # fmt: skip


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.splitlines()
        path.write_text(
            "\n".join(line[8:] if text.startswith("\n        ") else line for line in lines) + "\n"
        )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A user's folder, its problem loaded by path; what it imports is forgotten afterwards."""
    folder = tmp_path_factory.mktemp("own")
    write(folder, FILES)
    before, path = set(sys.modules), list(sys.path)
    module = load_file(folder / "mine.py")
    yield folder, module.Mine
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or folder).startswith(str(folder)):
            del sys.modules[name]
    sys.path[:] = path


@pytest.mark.parametrize("name", FILES)
def test_a_users_file_counts_where_the_referee_reaches_it(name: str, own: Any) -> None:
    folder, cls = own
    base = source(cls)
    path = folder / name
    text = path.read_text()
    path.write_text(text + ("\n# edited\n" if name.endswith(".py") else " "))
    after = source(cls)
    path.write_text(text)
    assert source(cls) == base
    assert (after == base) == (name in APART)


def test_the_folder_may_lie_anywhere(own: Any, tmp_path: Path) -> None:
    folder, cls = own
    shutil.copytree(folder, tmp_path / "moved", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import json, sys; from tradespace.problems.registry import load_file as f;"
        "from tradespace.problems.digest import source;"
        "print(json.dumps(source(f(__import__('pathlib').Path(sys.argv[1])).Mine)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "moved" / "mine.py")],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == source(cls)


def test_what_is_installed_counts_by_its_version(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cls = own
    assert source(cls)["numpy"].startswith("version ")
    assert "absent_accelerator" in source(cls)
    monkeypatch.setattr(reach, "version", lambda name: "99")
    assert source(cls)["numpy"] == "version 99"


def test_the_class_of_a_parameters_value_counts(own: Any, tmp_path: Path) -> None:
    write(tmp_path, {
        "valued.py": "import tradespace as ts\nclass P(ts.Problem):\n    how: object = 1\n"
                     "    a = ts.Int(0, 3)\n    t = ts.Metric('s')\n"
                     "    def evaluate(self, x): return {'t': self.how.price(x.a)}\n",
        "prices.py": "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Price:\n"
                     "    base: int = 1\n    def price(self, a): return self.base * a\n",
    })  # fmt: skip
    problem = load_file(tmp_path / "valued.py").P(how=load_file(tmp_path / "prices.py").Price())
    before = problem.digest
    (tmp_path / "prices.py").write_text((tmp_path / "prices.py").read_text().replace("base * a", "base + a"))
    assert problem.replace(how=problem.how).digest != before


# --- what has no file --------------------------------------------------------------------------------
CELL = """
class P(ts.Problem):
    a = ts.Int(0, 3)
    t = ts.Metric("s")
    factor = {factor}
    def evaluate(self, x): return {{"t": helper(x.a) * TABLE[0] * self.factor}}
def helper(x): return inner(x) + 1
def inner(x): return x {sign} np.e
def apart(x): return {apart}
TABLE = {table}
"""
SAME = {"factor": 1, "sign": "*", "table": "np.arange(1.0, 3.0)", "apart": 0}


def cell(**changes: Any) -> str:
    module = ModuleType("a_notebook")
    vars(module).update(ts=ts, np=np)
    exec(CELL.format(**{**SAME, **changes}), vars(module))
    return str(vars(module)["P"]().digest)


def test_a_cell_of_a_notebook_counts_with_all_that_it_reads() -> None:
    base = cell()
    assert cell() == base
    assert cell(apart=1) == base
    changed = [cell(factor=2), cell(sign="-"), cell(table="np.arange(2.0, 4.0)"), cell(table="[1.0]")]
    assert len({base, *changed}) == 5


def test_a_helper_defined_again_counts_for_the_class_defined_before() -> None:
    module = ModuleType("a_notebook")
    vars(module).update(ts=ts, np=np)
    exec(CELL.format(**SAME), vars(module))
    before = module.P().digest
    exec("def helper(x): return inner(x) + 2", vars(module))
    assert module.P().digest != before


# --- what is kept ------------------------------------------------------------------------------------
def test_what_is_kept_on_disk_is_what_would_be_found(
    own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cls = own
    for path in (*folder.rglob("*"), folder):
        os.utime(path, ns=(10**18, 10**18))
    monkeypatch.setenv("TRADESPACE_CACHE", str(tmp_path))
    monkeypatch.setattr(reach, "_known", {})
    found = source(cls)
    (kept,) = (tmp_path / "identity").glob("*.json")
    monkeypatch.setattr(reach, "_known", {})
    monkeypatch.setattr(reach, "Walk", None)  # what is kept is read, not found again
    assert source(cls) == found
    monkeypatch.undo()
    monkeypatch.setenv("TRADESPACE_CACHE", str(tmp_path))
    for damage in (b"", b"[]", b'{"files": 3}', kept.read_bytes()[:-20]):
        kept.write_bytes(damage)
        monkeypatch.setattr(reach, "_known", {})
        assert source(cls) == found


def test_the_code_behind_a_file_on_disk_counts(own: Any) -> None:
    folder, _ = own
    outer = sys.modules["attribute"].outer
    before = code(outer)
    path = folder / "second.py"
    text = path.read_text()
    path.write_text(text.replace("2", "3"))
    code.cache_clear()
    assert code(outer) != before
    path.write_text(text)
    code.cache_clear()
    assert code(outer) == before
