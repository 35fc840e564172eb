"""What comes from outside is never executed; readers refuse what is damaged; full disks are one sentence."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tradespace as ts
from tradespace.errors import DataError
from tradespace.search.cli import main
from tradespace.search.folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("hardware", "costmodels", "problems", "solvers", "search", "tradespace")
OURS = {"search/shipping.py", "solvers/testing.py"}  # for workers of the same search, or test; read no file
EXECUTING = {"eval", "exec", "compile", "__import__"}
UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
FAST, SLOW = 1_000, 100


def calls(path: Path) -> list[tuple[int, str, ast.Call]]:
    tree = ast.parse(path.read_text())
    return [(n.lineno, ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


def test_nothing_from_outside_is_executed_or_unpickled() -> None:
    faults = []
    for path in (p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for line, function, call in calls(path):
            given = {k.arg: ast.unparse(k.value) for k in call.keywords}
            if function in EXECUTING or function.endswith((".read_pickle", "yaml.load", "yaml.unsafe_load")):
                faults.append(f"{name}:{line} calls {function}")
            if function.endswith("torch.load") and given.get("weights_only") != "True":
                faults.append(f"{name}:{line} calls torch.load without weights_only=True")
            if function in {"np.load", "numpy.load"} and given.get("allow_pickle", "False") != "False":
                faults.append(f"{name}:{line} lets numpy unpickle")
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            faults += [
                f"{name}:{node.lineno} imports {n}"
                for n in names if n.partition(".")[0] in UNPICKLING and name not in OURS
            ]  # fmt: skip
    assert not faults


# --- readers ---------------------------------------------------------------------------------------------
def fuzzing() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


def test_every_reader_reads_or_refuses_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADESPACE_HOME", str(tmp_path))  # the readers set it, and here it is set back
    fuzz = fuzzing()
    found: dict[str, Any] = {}
    for reader in fuzz.readers(tmp_path):
        faults = fuzz.faults(reader, SLOW if reader.slow else FAST)
        if faults:
            found[reader.name] = faults
    assert not found


# --- disks and users -------------------------------------------------------------------------------------
FILL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from tradespace.search.cli import main
main(sys.argv[2:])
"""


def test_a_disk_that_is_full_ends_a_run_in_a_sentence_and_keeps_what_was_recorded(tmp_path: Path) -> None:
    command = [
        "run",
        "knapsack",
        "--items",
        "30",
        "--solver",
        "random",
        "--evals",
        "200000",
        "--runs",
        str(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-c", FILL, "400000", *command, "--storage", "none", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = tmp_path.glob("knapsack/*")
    assert not [*run.rglob(".*.npz.*")]
    again = ts.resume(run, budget=ts.Budget(evaluations=200_000), storage="none")
    assert again.evaluations == 200_000


def test_a_folder_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"Read-only file system; choose another folder with --runs or --out"):
        RunFolder.create(tmp_path / "runs", "x", "now")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 160 KiB in memory; needs the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code of a command, and what it said."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return int(ended.value.code or 0), " ".join(capsys.readouterr().err.split())


def test_a_real_disk_that_fills_up_keeps_what_was_recorded(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--solver", "random", "--evals", "4000", "--json"]
    asked = ["--runs", disk, "--storage", "none"]
    code, said = command(capsys, "run", "knapsack", "--items", 40, *given, *asked)
    assert code == 2
    assert "No space left on device; free some space, then 'optimize resume' the run." in said
    (run,) = disk.glob("knapsack/*")
    rows = len(ts.recorded_rows(run))
    for arguments in (
        ["resume", run, *asked, "--json"],
        ["report", run],
        ["export", run, "--out", disk / "a.csv"],
    ):
        assert command(capsys, *arguments)[0] == 2
    assert len(ts.recorded_rows(run)) >= rows > 0
    assert not [*run.rglob(".*[0-9]")]
    remount(disk, "size=16m")
    assert command(capsys, "resume", run, *asked, "--json")[0] == 0
    whole = ts.solve(
        ts.problem("knapsack", items=40), "random", budget=ts.Budget(evaluations=4000), storage="none"
    )
    assert ts.Result.load(run).metrics == whole.metrics
    assert len(ts.recorded_rows(run)) == 4000


def test_a_real_disk_that_is_read_only_can_be_read(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remount(disk, "size=16m")
    made = ts.solve(ts.problem("knapsack", items=4), "exhaustive", runs=disk, storage="none").run_dir
    assert made is not None
    remount(disk, "ro")
    for arguments, said in (
        (["run", "knapsack", "--items", 4, "--runs", disk], "choose another folder with --runs or --out"),
        (["resume", made, "--json"], "make it writable, or copy it, to go on with the run"),
        (["report", made], "choose another folder with --runs or --out"),
    ):
        code, told = command(capsys, *arguments)
        assert code == 2
        assert f"Read-only file system; {said}" in told
    for arguments in (
        ["regoal", made, "--json"],
        ["export", made, "--rows", "--out", tmp_path / "rows.csv"],
        ["report", made, "--out", tmp_path / "page.html"],
    ):
        assert command(capsys, *arguments)[0] == 0


def test_two_users_write_one_journal(tmp_path: Path) -> None:
    import optuna

    def solve(seed: int) -> ts.Result:
        return ts.solve(ts.problem("knapsack", items=5), "random", budget=ts.Budget(evaluations=20),
                        seed=seed, runs=tmp_path)  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(solve, range(8)))
    assert not [n for r in results for n in r.notes if "not written" in n]
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
    studies = optuna.get_all_study_summaries(optuna.storages.JournalStorage(backend))
    assert len({s.study_name for s in studies}) == 8


def test_a_damaged_run_is_a_sentence_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ts.solve(ts.problem("knapsack", items=4), "exhaustive", runs=tmp_path, storage="none").run_dir
    record = json.loads((made / "run.json").read_text())
    (made / "run.json").write_text(json.dumps({**record, "budget": [1]}))
    with pytest.raises(SystemExit, match="2"):
        main(["resume", str(made)])
    assert "is damaged" in " ".join(capsys.readouterr().err.split())
