"""The Optuna storage a run writes its study to; by default one journal file beside the runs.

A study is first collected in memory as journal records, then appended to the file in one write under
the file lock. The records of other studies are never replayed: only the lines that create or delete a
study are read, to find the next number. So the cost of a study does not grow with the journal, the
lock is held for a moment, and two processes that write one journal lose nothing.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from ..errors import DataError

JOURNAL = "journal.log"
ARTIFACTS = "artifacts"
PATIENCE = 10.0
STALE_LOCK = 60.0
LEFT_LOCK = 5.0
TAIL = 1 << 20
SLOW_STORAGE_SECONDS = 20.0
CONNECT_SECONDS = 10
CREATE_STUDY, DELETE_STUDY, USER_ATTRIBUTE, CREATE_TRIAL, LAST_OPERATION = 0, 1, 2, 4, 10
_START = b'{"op_code":'


@dataclass
class StudyRecord:
    """All that a study holds, ready to be written to any Optuna storage.

    user_attrs: shown as a table. system_attrs: the note and the figures. trials: in order.
    """

    name: str
    directions: list[StudyDirection]
    metric_names: list[str]
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    trials: list[FrozenTrial] = field(default_factory=list)


class Pages(BaseJournalBackend):
    """Journal records kept in memory; trials are read back without their contents, which saves time."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep records."""
        self.records += logs

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on."""
        for record in self.records[log_number_from:]:
            if record["op_code"] == CREATE_TRIAL:
                record = {
                    k: v for k, v in record.items() if k in {"op_code", "worker_id", "study_id", "state"}
                }
                record["datetime_start"] = None
            yield record


class PatientLock(JournalFileSymlinkLock):
    """Optuna's lock file, waited for at most `patience` seconds; one left by a killed process is removed.

    Who holds it also holds an advisory lock on the journal, which ends with the process. So a lock file
    whose journal nobody has locked was left by a kill; it is removed once it is older than any write.
    """

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        super().__init__(path)
        self.path, self.patience = path, patience
        self.file = path + ".lock"
        self._held: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Take the lock. Raises DataError where another process keeps it."""
        deadline, pause = time.monotonic() + self.patience, 0.001
        while True:
            try:
                os.symlink(self.path, self.file)
                break
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise DataError(f"cannot write '{self.path}': {error.strerror}.") from None
            self._remove_left()
            if time.monotonic() > deadline:
                raise DataError(
                    f"'{self.path}' has been locked by another process for {self.patience:g} s; if none is "
                    f"running, delete '{self.file}'."
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
        try:
            self.hold()
        except BaseException:
            self.release()
            raise
        return True

    def hold(self) -> None:
        """Lock the journal too, as it is now; after it has been replaced, once more."""
        before, self._held = self._held, None
        with contextlib.suppress(OSError):
            file = open(self.path, "rb")  # noqa: SIM115
            self._held = file if _lock(file, wait=True) else None
        if before is not None:
            before.close()

    def release(self) -> None:
        """Give the lock back."""
        try:
            super().release()
        finally:
            held, self._held = self._held, None
            if held is not None:
                held.close()

    def _remove_left(self) -> None:
        """Remove a lock file whose holder is gone; one process at a time looks and removes."""
        with contextlib.suppress(OSError):
            if self._age() < LEFT_LOCK:
                return
            with open(self.path, "rb") as journal:
                free = _lock(journal, wait=False)
                if self._age() >= (STALE_LOCK if free is None else LEFT_LOCK) and free is not False:
                    os.unlink(self.file)

    def _age(self) -> float:
        return time.time() - os.lstat(self.file).st_mtime


def _lock(file: IO[bytes], wait: bool) -> bool | None:
    """An advisory lock on an open file, until it is closed: whether it was had, None where there are none."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


class Journal(JournalFileBackend):
    """A journal file that takes a whole study in one write, and mends a line cut by a killed process."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = path.resolve()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._patient = PatientLock(str(self.path), patience)
            super().__init__(str(self.path), self._patient)
        except OSError as error:
            raise DataError(f"cannot write '{path}': {error.strerror or error}.") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out."""
        self._patient.acquire()
        try:
            yield
        finally:
            with contextlib.suppress(RuntimeError, OSError):
                self._patient.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records; a cut line before them is mended first."""
        with self.locked():
            self._mend_tail()
            self._write(_lines(logs))

    def add_study(self, name: str, records: Sequence[Mapping[str, Any]]) -> int:
        """Append the records of one study, numbered 0 in them; one of the same name is replaced.

        Returns the study's number in the journal.
        """
        lines = _lines(records)
        with self.locked():
            self._mend_tail()
            known, number = self.studies()
            head = b""
            if name in known:
                old = {"op_code": DELETE_STUDY, "worker_id": "tradespace", "study_id": known[name]}
                head = _lines([old])
            numbered = f'"study_id":{number}'.encode()
            self._write(
                head + b"".join(line.replace(b'"study_id":0', numbered, 1) for line in lines.splitlines(True))
            )
        return number

    def annotate(self, run: str, attributes: Mapping[str, Any]) -> bool:
        """Set attributes of the study of a run (the last part of its name); whether it has one."""
        with self.locked():
            self._mend_tail()
            number = next((i for n, i in self.studies()[0].items() if n.rpartition("/")[2] == run), None)
            if number is not None:
                head = {"op_code": USER_ATTRIBUTE, "worker_id": "tradespace", "study_id": number}
                self._write(_lines({**head, "user_attr": {k: v}} for k, v in attributes.items()))
        return number is not None

    def studies(self) -> tuple[dict[str, int], int]:
        """Number of each study by name, and the number that the next one gets."""
        names: dict[str, int] = {}
        following = 0
        with open(self.path, "rb") as file:
            for line in file:
                of_a_study = line.startswith((_START + b"0,", _START + b"1,"))
                if not of_a_study and line.startswith(_START) and line.find(_START + b"0,", 1) < 0:
                    continue
                try:
                    record = json.loads(line)
                    operation = record["op_code"]
                except (ValueError, KeyError, TypeError):
                    self._rewrite()
                    return self.studies()
                if operation == CREATE_STUDY and record["study_name"] not in names:
                    names[record["study_name"]] = following
                    following += 1
                elif operation == DELETE_STUDY:
                    names = {n: i for n, i in names.items() if i != record["study_id"]}
        return names, following

    def _write(self, content: bytes) -> None:
        try:
            with open(self.path, "ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"cannot write '{self.path}': {error.strerror or error}.") from None

    def _mend_tail(self) -> list[str]:
        """Complete or cut off a last line without its end, mend one that holds no record; in words."""
        with open(self.path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return []
            file.seek(max(0, size - TAIL))
            tail = file.read()
            last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
            if last.endswith(b"\n"):
                return [] if len(last) == TAIL or _record(last) is not None else self._rewrite()
            file.seek(0)
            number = sum(1 for _ in file)
            if len(last) < TAIL and _record(last) is not None:
                file.write(b"\n")
                return [f"'{self.path}' line {number} lacked only its end; it is kept."]
        return self._rewrite()

    def repair(self) -> list[str]:
        """Take out every line that holds no record; a sentence for each. Damaged lines are set aside."""
        with self.locked():
            return self._rewrite()

    def _rewrite(self) -> list[str]:
        """Keep every record of the file, those glued to a cut line included.

        Raises DataError, and leaves the file as it is, where nothing in it comes of a journal.
        """
        told: list[str] = []
        damaged = []
        for left in self.path.parent.glob(f"{glob.escape(self.path.name)}.*.partial"):
            left.unlink(missing_ok=True)  # of a killed process: who is here holds the lock
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        kept = 0
        with open(self.path, "rb") as file, open(partial, "wb") as mended:
            for number, line in enumerate(file, 1):
                record = _record(line)
                if record is None:
                    glued = line.rfind(_START)
                    record = _record(line[glued:]) if glued > 0 else None
                    damaged.append(line if record is None else line[:glued] + b"\n")
                    told.append(self._sentence(number, kept))
                    line = b"" if record is None else line[glued:]
                kept += record is not None
                mended.write(line if line.endswith(b"\n") or not line else line + b"\n")
            mended.flush()
            os.fsync(mended.fileno())
        if damaged and not kept and not any(line.startswith(_START) for line in damaged):
            partial.unlink()
            raise DataError(f"'{self.path}' is no journal of Optuna's; give another file.")
        if damaged:
            self._set_aside(damaged)
        os.replace(partial, self.path)
        self._patient.hold()
        return told

    def _set_aside(self, lines: Iterable[bytes]) -> None:
        with open(f"{self.path}.damaged", "ab") as file:
            file.writelines(line if line.endswith(b"\n") else line + b"\n" for line in lines)

    def _sentence(self, number: int, before: int) -> str:
        return (
            f"'{self.path}' line {number} was cut in the middle (a run was stopped while it wrote); it is "
            f"set aside in '{self.path.name}.damaged', the {before:,} records before it and all after it "
            "are kept."
        )


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
    return "".join(encode(record) + "\n" for record in records).encode()


def _record(line: bytes) -> Any:
    """The record on a line, or None where there is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    operation = record.get("op_code") if isinstance(record, dict) else None
    return record if isinstance(operation, int) and 0 <= operation <= LAST_OPERATION else None


def is_url(storage: str) -> bool:
    """Whether a storage is an address (sqlite:///x.db) and not the path of a journal."""
    return "://" in storage


def open_url(url: str) -> BaseStorage:
    """An Optuna storage by address. Raises DataError with the cause."""
    try:
        if url.startswith("redis"):
            from optuna.storages.journal import JournalRedisBackend

            return JournalStorage(JournalRedisBackend(url))
        if url.startswith("grpc://"):
            return _grpc(url)
        waits = (
            {"connect_args": {"connect_timeout": CONNECT_SECONDS}} if url.startswith("postgresql") else None
        )
        return optuna.storages.RDBStorage(url, engine_kwargs=waits)
    except ImportError as error:
        raise DataError(
            f"the storage '{without_password(url)}' needs a package that is not installed"
            f"{f' ({error.name})' if error.name else ''}; pip install 'tradespace[postgresql]' (for "
            "postgresql+psycopg://), 'tradespace[grpc]', or your database's driver."
        ) from None
    except Exception as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"the storage '{without_password(url)}' cannot be opened: {cause}") from None


def _grpc(url: str) -> BaseStorage:
    """Optuna's gRPC proxy at `grpc://host:port` (started by `optuna.storages.run_grpc_proxy_server`)."""
    host, _, port = url.removeprefix("grpc://").partition(":")
    if port and not port.isdigit():
        raise ValueError(f"port '{port}' is no number; write grpc://HOST:PORT")
    proxy = optuna.storages.GrpcStorageProxy(host=host or "localhost", port=int(port or 13000))
    try:
        proxy.wait_server_ready(timeout=CONNECT_SECONDS)
    except ConnectionError:
        proxy.close()
        raise ConnectionError(
            f"no proxy of Optuna answers there within {CONNECT_SECONDS} s (run_grpc_proxy_server starts one)"
        ) from None
    return proxy


def without_password(url: str) -> str:
    """An address that may be printed.

    >>> without_password("postgresql://me:secret@host/db")
    'postgresql://me:***@host/db'
    """
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{':***' if ':' in user else ''}{at}{host}"


def open_journal(path: Path, patience: float = PATIENCE) -> tuple[JournalStorage, list[str]]:
    """A journal for reading and writing, mended where needed; sentences about what was mended."""
    journal = Journal(path, patience)
    with journal.locked():
        told = journal._mend_tail()
    try:
        return JournalStorage(journal), told
    except (ValueError, AssertionError, KeyError, TypeError):
        told += journal.repair()
        try:
            return JournalStorage(Journal(path, patience)), told
        except Exception as error:
            raise DataError(f"'{path}' is no journal that Optuna can read: {error!r}.") from None


def check_storage(storage: Any) -> None:
    """Raises DataError where a study could not be written to a storage; None and "none" are none.

    storage: an address, the path of a journal, or an Optuna storage.
    """
    if storage is None or storage == "none" or isinstance(storage, BaseStorage):
        return
    if not isinstance(storage, str | Path) or not str(storage):
        raise DataError(
            f"storage must be an address such as 'sqlite:///x.db', the path of a journal, an Optuna storage "
            f"or 'none', got {storage!r}."
        )
    with quiet():
        if is_url(str(storage)):
            open_url(str(storage))
            return
        path = Path(storage)
        if path.is_dir():
            raise DataError(f"the storage '{path}' is a folder; give the name of a journal file in it.")
        with Journal(path).locked(), open(path, "rb") as file:
            lines = file.readlines(TAIL)
        if lines and not any(_record(line) is not None for line in lines):
            raise DataError(f"'{path}' is no journal of Optuna's; give another file, or sqlite:///{path}.")


def write_study(record: StudyRecord, storage: str | Path | BaseStorage) -> str | None:
    """Write a study to a journal file, an address or a storage; one of the same name is replaced.

    Returns a sentence where a slow storage did not take all rows. Raises DataError where it cannot be
    written.
    """
    with quiet():
        if isinstance(storage, Path) or (isinstance(storage, str) and not is_url(storage)):
            pages = Pages()
            _fill(JournalStorage(pages), record, None)
            Journal(Path(storage)).add_study(record.name, pages.records)
            return None
        opened = storage if isinstance(storage, BaseStorage) else open_url(storage)
        with contextlib.suppress(KeyError):
            optuna.delete_study(study_name=record.name, storage=opened)
        deadline = time.monotonic() + SLOW_STORAGE_SECONDS
        written = _fill(opened, record, lambda: time.monotonic() > deadline)
    if written < len(record.trials):
        return (
            f"the storage took {written:,} of {len(record.trials):,} rows of the study in "
            f"{SLOW_STORAGE_SECONDS:.0f} s; the run's folder holds all."
        )
    return None


def annotate(target: str | Path | BaseStorage, run: str, attributes: Mapping[str, Any]) -> None:
    """Set attributes of the study of a run (the last part of its name): of a journal, an address, a storage.

    Raises DataError where it holds no such study, or cannot be written.
    """
    if isinstance(target, Path) or (isinstance(target, str) and not is_url(target)):
        found = Path(target).is_file() and Journal(Path(target)).annotate(run, attributes)
    else:
        with quiet():
            storage = target if isinstance(target, BaseStorage) else open_url(target)
            studies = [s for s in storage.get_all_studies() if s.study_name.rpartition("/")[2] == run]
            for study, (name, value) in ((s, item) for s in studies for item in attributes.items()):
                storage.set_study_user_attr(study._study_id, name, value)
        found = bool(studies)
    if not found:
        place = without_password(target) if isinstance(target, str) else target
        raise DataError(f"'{place}' holds no study of run {run}; give the --storage that the run was given.")


def _fill(storage: BaseStorage, record: StudyRecord, late: Callable[[], bool] | None) -> int:
    """Create the study and its contents; the number of trials written."""
    study = optuna.create_study(storage=storage, study_name=record.name, directions=record.directions)
    number = study._study_id
    study.set_metric_names(record.metric_names)
    for key, value in record.user_attrs.items():
        storage.set_study_user_attr(number, key, value)
    for key, value in record.system_attrs.items():
        storage.set_study_system_attr(number, key, value)
    for written, trial in enumerate(record.trials):
        if late is not None and late():
            return written
        storage.create_new_trial(number, template_trial=trial)
    return len(record.trials)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its messages about new studies and experimental functions."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
