"""The tail of a run: rows appended batch by batch survive a kill at any byte."""

from __future__ import annotations

import numpy as np
import pytest

import tradespace as ts
from tradespace.search.folder import TAIL, RunFolder
from tradespace.search.tail import Tail


def columns(seed: int, rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x.a": rng.integers(0, 9, (rows, 3)).astype(np.int8),
        "m.time": rng.random(rows),
        "failed": rng.random(rows) < 0.5,
    }


def test_records_read_back_as_they_were_written(tmp_path):
    written = [columns(0, 5), columns(1, 1), columns(2, 5)]
    tail = Tail(tmp_path / "tail.log")
    for chunk, each in enumerate(written):
        tail.append(chunk, each)
    read = list(Tail(tmp_path / "tail.log").read())
    assert [chunk for chunk, _ in read] == [0, 1, 2]
    for (_, found), each in zip(read, written, strict=True):
        assert all(np.array_equal(found[name], column) for name, column in each.items())


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damage_at_any_byte_loses_only_what_follows(tmp_path, damage):
    path = tmp_path / "tail.log"
    tail = Tail(path)
    ends = []
    for seed in range(3):
        tail.append(0, columns(seed, 2))
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        content = bytearray(whole[:place] if damage == "cut" else whole)
        if damage == "flip":
            content[place] ^= 0x55
        path.write_bytes(content)
        assert len(list(Tail(path).read())) == sum(end <= place for end in ends)


def test_rows_of_the_tail_are_not_evaluated_again_and_not_doubled(tmp_path):
    whole = ts.solve(
        ts.problem("mixed"), "random", budget=ts.Budget(evaluations=3_000), runs=tmp_path, storage="none"
    )
    folder = RunFolder(whole.run_dir)
    chunk = folder.read_arrays("rows/000000.npz")
    rows = {name: column for name, column in chunk.items() if name != "seconds"}
    Tail(folder.path / TAIL).append(0, rows)  # killed between writing the chunk and emptying the tail
    assert sum(len(c["failed"]) for c in folder.read_rows([])) == 3_000
    (folder.path / "rows" / "000000.npz").unlink()  # killed before the chunk was written
    resumed = ts.resume(folder.path, storage="none")
    assert resumed.evaluated_here == 0
    assert resumed.best == whole.best
    assert not list(Tail(folder.path / TAIL).read())
