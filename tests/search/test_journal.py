"""One journal for all runs: nothing lost between processes, cut lines mended, locks never waited out."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tradespace.errors import DataError
from tradespace.search.journal import (
    STALE_LOCK,
    Journal,
    PatientLock,
    StudyRecord,
    is_url,
    open_journal,
    open_url,
    without_password,
    write_study,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 2, 3, 4, 5)


def study(name: str, trials: int = 3) -> StudyRecord:
    """A study of one objective with some trials."""
    listed = [
        FrozenTrial(
            number=i, trial_id=i, state=TrialState.COMPLETE, value=float(i), datetime_start=NOW,
            datetime_complete=NOW, params={"x": i / 10}, distributions={"x": FloatDistribution(0, 1)},
            user_attrs={"row": i}, system_attrs={}, intermediate_values={},
        )
        for i in range(trials)
    ]  # fmt: skip
    return StudyRecord(
        name, [StudyDirection.MINIMIZE], ["time"], {"solver": "random"}, {"note": name}, listed
    )


def read(path: Path) -> dict[str, list[float]]:
    """Studies and their values as Optuna's own backend reads them."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return {
        s.study_name: [t.value for t in storage.get_all_trials(s._study_id)]
        for s in storage.get_all_studies()
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.log"


def test_optuna_reads_back_what_was_written(path: Path) -> None:
    write_study(study("a"), path)
    write_study(study("b", 5), path)
    loaded = optuna.load_study(study_name="b", storage=JournalStorage(JournalFileBackend(str(path))))
    assert read(path) == {"a": [0, 1, 2], "b": [0, 1, 2, 3, 4]}
    assert loaded.metric_names == ["time"]
    assert loaded.user_attrs == {"solver": "random"}
    assert loaded.trials[2].params == {"x": 0.2}
    assert loaded.trials[2].datetime_start == NOW
    assert loaded.trials[2].user_attrs == {"row": 2}


def test_a_study_of_the_same_name_replaces_the_old_one(path: Path) -> None:
    for trials in (3, 1, 4):
        write_study(study("a", trials), path)
    write_study(study("b", 2), path)
    assert read(path) == {"a": [0, 1, 2, 3], "b": [0, 1]}


def test_studies_made_by_optuna_itself_are_counted(path: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(path)))
    made = optuna.create_study(storage=storage, study_name="own")
    write_study(study("a"), path)
    made.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    write_study(study("b"), path)
    optuna.delete_study(study_name="own", storage=storage)
    write_study(study("c", 1), path)
    assert read(path) == {"a": [0, 1, 2], "b": [0, 1, 2], "c": [0]}


def write_many(path: Path, process: int, studies: int) -> None:
    for i in range(studies):
        write_study(study(f"{process}/{i}", 20), path)


def test_two_processes_writing_one_journal_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, p, 10)) for p in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = read(path)
    assert sorted(found) == sorted(f"{p}/{i}" for p in range(3) for i in range(10))
    assert all(values == list(range(20)) for values in found.values())


def test_a_relative_path_is_locked_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    write_study(study("a"), Path("journal.log"))
    assert read(path) == {"a": [0, 1, 2]}


# --- damage ------------------------------------------------------------------------------------------
def cut(path: Path, kept: int) -> None:
    """Leave only the first `kept` bytes of the last line."""
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])


def test_a_line_cut_at_the_end_is_set_aside_and_named(path: Path) -> None:
    write_study(study("a"), path)
    lines = path.read_bytes().count(b"\n")
    cut(path, 40)
    storage, told = open_journal(path)
    assert len(told) == 1
    assert f"'{path}' line {lines} was cut in the middle" in told[0]
    assert len(storage.get_all_trials(0)) == 2
    assert len((path.parent / "journal.log.damaged").read_bytes()) == 41
    assert open_journal(path)[1] == []


def test_a_whole_last_line_without_its_end_is_kept(path: Path) -> None:
    write_study(study("a"), path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    _, told = open_journal(path)
    assert "it is kept" in told[0]
    assert read(path) == {"a": [0, 1, 2]}


def test_writing_after_a_cut_line_keeps_both_studies(path: Path) -> None:
    write_study(study("a"), path)
    cut(path, 40)
    write_study(study("b"), path)
    assert read(path) == {"a": [0, 1], "b": [0, 1, 2]}


def test_a_record_glued_to_a_cut_line_is_rescued(path: Path) -> None:
    write_study(study("a"), path)
    whole = path.read_bytes().splitlines(True)
    path.write_bytes(b"".join(whole[:-2]) + whole[-2][:30] + whole[-1])
    storage, told = open_journal(path)
    assert f"line {len(whole) - 1} was cut" in told[0]
    assert [t.value for t in storage.get_all_trials(0)] == [0, 2]


def test_noise_in_the_middle_is_taken_out_and_later_studies_keep_their_numbers(path: Path) -> None:
    write_study(study("a"), path)
    with path.open("ab") as file:
        file.write(b"\x00\xff noise\n[1]\n")
    write_study(study("b"), path)
    storage, told = open_journal(path)
    assert not told or len(told) == 2
    names = [s.study_name for s in storage.get_all_studies()]
    assert names == ["a", "b"]
    assert read(path) == {"a": [0, 1, 2], "b": [0, 1, 2]}


@pytest.mark.parametrize("kept", [0, 1, 17, 60, 200])
def test_any_cut_leaves_a_journal_that_reads_and_writes(path: Path, kept: int) -> None:
    write_study(study("a"), path)
    cut(path, kept)
    write_study(study("b"), path)
    open_journal(path)
    assert read(path)["b"] == [0, 1, 2]


# --- locks and storages --------------------------------------------------------------------------------
def test_a_held_lock_ends_in_a_sentence_not_in_waiting(path: Path) -> None:
    journal = Journal(path, patience=0.2)
    with Journal(path).locked():
        began = time.monotonic()
        with pytest.raises(DataError, match=r"locked by another process for 0\.2 s.*journal\.log\.lock"):
            journal.append_logs([])
        assert time.monotonic() - began < 5
    journal.append_logs([{"op_code": 0, "worker_id": "", "study_name": "a", "directions": [1]}])


def test_the_lock_of_a_killed_process_is_removed(path: Path) -> None:
    write_study(study("a"), path)
    lock = f"{path}.lock"
    os.symlink(str(path), lock)
    old = time.time() - STALE_LOCK - 5
    os.utime(lock, (old, old), follow_symlinks=False)
    write_study(study("b"), path)
    assert set(read(path)) == {"a", "b"}
    assert not os.path.lexists(lock)


KILLED_WITH_LOCK = """
import os, signal, sys
from pathlib import Path
from tradespace.search.journal import Journal
with Journal(Path(sys.argv[1])).locked():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_with_the_lock_blocks_others_for_seconds_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradespace.search.journal.LEFT_LOCK", 0.2)
    subprocess.run([sys.executable, "-c", KILLED_WITH_LOCK, str(path)], check=False, cwd=ROOT)
    assert os.path.islink(f"{path}.lock")
    with pytest.raises(DataError, match="locked by another process"):
        PatientLock(str(path), patience=0.01).acquire()
    write_study(study("a"), path)
    assert set(read(path)) == {"a"}


def test_a_lock_that_is_held_is_not_removed_however_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(study("a"), path)
    journal = Journal(path)
    with journal.locked():
        long_ago = time.time() - 10 * STALE_LOCK
        os.utime(f"{path}.lock", (long_ago, long_ago), follow_symlinks=False)
        with pytest.raises(DataError, match="locked by another process"):
            PatientLock(str(path), patience=0.2).acquire()
        journal._rewrite()  # the journal is another file now
        with pytest.raises(DataError, match="locked by another process"):
            PatientLock(str(path), patience=0.2).acquire()
    write_study(study("b"), path)


def test_a_fresh_lock_is_not_removed(path: Path) -> None:
    path.touch()
    lock = PatientLock(str(path), patience=0.05)
    lock.acquire()
    with pytest.raises(DataError):
        PatientLock(str(path), patience=0.05).acquire()
    lock.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_study(study("a"), tmp_path / "file" / "journal.log")


def test_a_database_takes_the_same_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    for trials in (2, 3):
        assert write_study(study("a", trials), url) is None
    loaded = optuna.load_study(study_name="a", storage=url)
    assert [t.value for t in loaded.trials] == [0, 1, 2]
    assert loaded.user_attrs == {"solver": "random"}


def test_a_slow_storage_takes_what_it_can_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradespace.search.journal.SLOW_STORAGE_SECONDS", 0.0)
    sentence = write_study(study("a"), f"sqlite:///{tmp_path / 'x.db'}")
    assert sentence is not None
    assert "the storage took 0 of 3 rows" in sentence


def test_an_address_that_cannot_be_opened_is_named_without_its_password() -> None:
    with pytest.raises(DataError, match=r"'nosuch://me:\*\*\*@host/db' cannot be opened") as caught:
        open_url("nosuch://me:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert is_url(url)


def test_the_journal_is_plain_json_lines(path: Path) -> None:
    write_study(study("a"), path)
    assert all(json.loads(line)["op_code"] in range(11) for line in path.read_text().splitlines())
