"""The run folder: atomic writes, damaged chunks, folders that refuse."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tradespace as ts
from tests.search.problems import answer, counted
from tradespace.errors import DataError
from tradespace.search import folder as folder_module
from tradespace.search.folder import RunFolder, find_run

solve, resume = (
    partial(f, storage="none") for f in (ts.solve, ts.resume)
)  # no study: it scores rows of its own
BUDGET = ts.Budget(evaluations=4_000)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.write_json("a.json", {"kept": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ts.DataError, match=r"No space left.*free some space"):
        run.write_json("a.json", {"kept": 2})
    assert run.read_json("a.json") == {"kept": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("name", ["file", "allow_pickle", "a b", "é"])
def test_arrays_keep_any_name(tmp_path, name):
    run = RunFolder(tmp_path)
    run.write_arrays("a.npz", {name: np.arange(3), "text": np.array(["x", "yy"])})
    read = run.read_arrays("a.npz")
    assert set(read) == {name, "text"}
    assert read[name].tolist() == [0, 1, 2]


def test_a_variable_called_file_can_be_saved(tmp_path):
    class Named(ts.Problem):
        """A variable with the name of a numpy argument."""

        file = ts.Int(1, 4)
        cost_of_it = ts.Metric("1", "min")

        def evaluate(self, x):
            return {"cost_of_it": 1.0 * x.file}

    result = solve(Named(), runs=tmp_path)
    assert ts.Result.load(result.run_dir).front_columns["file"].tolist() == [1]


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    problem = counted(tmp_path)
    real, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if "rows" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(folder_module.os, "replace", full)
    with pytest.raises(ts.DataError, match=r"cannot write .*No space left on device; free some space"):
        solve(problem, "random", budget=BUDGET, runs=tmp_path / "runs")
    assert calls


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("a file stands where the folder should be")
    with pytest.raises(ts.DataError, match=r"cannot write .*choose another folder with --runs"):
        solve(counted(tmp_path), "random", budget=BUDGET, runs=tmp_path / "runs")


@pytest.mark.parametrize("how", ["cut", "empty", "noise"])
def test_a_damaged_chunk_is_named_and_the_rest_kept(tmp_path, monkeypatch, how):
    monkeypatch.setattr(folder_module, "FLUSH_ROWS", 1_000)
    problem = counted(tmp_path)
    whole = solve(problem, "random", budget=BUDGET, runs=tmp_path / "runs")
    chunks = sorted((whole.run_dir / "rows").iterdir())
    assert len(chunks) >= 3
    content = chunks[1].read_bytes()
    broken = {"cut": content[: len(content) // 2], "empty": b"", "noise": b"\xff" * len(content)}[how]
    chunks[1].write_bytes(broken)
    again = resume(whole.run_dir, problem=problem)
    assert any(chunks[1].name in note and "damaged" in note for note in again.notes)
    assert answer(again) == answer(whole)
    assert 0 < again.evaluated_here < whole.evaluations / 2


def test_a_damaged_record_is_one_sentence(tmp_path):
    run = solve(counted(tmp_path), "random", budget=BUDGET, runs=tmp_path / "runs").run_dir
    (run / "run.json").write_text('{"problem": "x"')
    with pytest.raises(ts.DataError, match=r"run.json' cannot be read"):
        resume(run)


def test_runs_are_found_by_path_id_and_last(tmp_path):
    runs = tmp_path / "runs"
    run = solve(counted(tmp_path), "random", budget=ts.Budget(evaluations=5), runs=runs).run_dir
    assert find_run(str(run), Path("elsewhere")).path == run
    assert find_run(RunFolder(run).id, runs).path == find_run("last", runs).path == run
    with pytest.raises(ts.DataError, match="holds no run 'zzzz'"):
        find_run("zzzz", runs)


def test_last_is_the_newest_also_within_one_second(tmp_path):
    for order, name in enumerate(["b/2026-01-01T000000-ffff", "a/2026-01-01T000000-0000"]):
        run = RunFolder(tmp_path / name)
        run.write_json("run.json", {})
        run.write_json("result.json", {})
        os.utime(run.path / "run.json", (order, order))
    assert find_run("last", tmp_path).id == "0000"
    with pytest.raises(ts.DataError, match="the newest is '0000'"):
        find_run("zzzz", tmp_path)


def test_a_point_recorded_twice_counts_once(tmp_path):
    problem = counted(tmp_path, size=2)
    first = solve(problem, "random", budget=ts.Budget(evaluations=5), runs=tmp_path)
    run = RunFolder(first.run_dir)
    run.write_arrays("rows/000009.npz", run.read_arrays(run.chunks()[0]))
    again = ts.regoal(run, ts.Goal(minimize=("left",)))
    assert (again.evaluations, again.certificate.kind) == (5, "none")


def test_a_run_has_one_writer_at_a_time(tmp_path):
    folder = RunFolder.create(tmp_path, "held", "2026-01-01T000000")
    with folder.hold(), pytest.raises(DataError, match="another process"), RunFolder(folder.path).hold():
        pass
    with folder.hold():
        pass


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DataError, match=r"x.csv': Is a directory; give the name of a file"):
        RunFolder(tmp_path).write_bytes("x.csv", b"a")
    with pytest.raises(DataError, match="say with --runs where it is"):
        find_run("zzzz", tmp_path)
