"""The folder of a run: what was asked, every scored row, the result. Writes are atomic.

runs/<problem>/<time>-<id>/
    run.json         problem, parameters, goal, solver, budget, seed, versions
    rows/000000.npz  scored rows in columns, written every 65,536 rows, 32 MiB or 2 s
    rows/tail.log    the rows since, appended batch by batch
    sweep.npz        cursor and front of a long enumeration
    result.json      the answer; front.csv, figures
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import UNREADABLE, members
from ..errors import DataError
from ..text import decode
from .table import Table
from .tail import Tail

Array = npt.NDArray[Any]
FLUSH_ROWS, FLUSH_BYTES, FLUSH_SECONDS = 65_536, 32 << 20, 2.0
SLOW_ROW = 0.01
FULL = {errno.ENOSPC, errno.EDQUOT}
TAIL = "rows/tail.log"


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, runs: Path, problem: str, now: str) -> RunFolder:
        """A new folder under `runs`. Raises DataError where it cannot be written."""
        folder = cls(runs / problem / f"{now}-{uuid.uuid4().hex[:4]}")
        try:
            (folder.path / "rows").mkdir(parents=True, exist_ok=False)
        except OSError as error:
            raise unwritable(folder.path, error) from None
        return folder

    @property
    def id(self) -> str:
        """The last part of the folder's name, short enough to type."""
        return self.path.name.rpartition("-")[2]

    @property
    def started(self) -> bool:
        """Whether anything of its search is recorded: a row, the front of an enumeration, a result."""
        whole = ("result.json", "sweep.npz")
        tail = self.path / TAIL
        return (
            any((self.path / name).is_file() for name in whole)
            or bool(self.chunks())
            or (tail.is_file() and tail.stat().st_size > 0)
        )

    def discard(self) -> None:
        """Remove the run."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self.path.parent.rmdir()

    def write_json(self, name: str, data: Any) -> None:
        """Write plain data."""
        text = json.dumps(data, indent=1, ensure_ascii=False, default=plain)
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all. Raises DataError where the folder refuses."""
        target = self.path / name
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, target)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise unwritable(target if error.errno == errno.EISDIR else self.path, error) from None
            raise

    def read_json(self, name: str) -> dict[str, Any]:
        """Read plain data. Raises DataError where the file is missing or damaged."""
        try:
            data = json.loads(decode((self.path / name).read_bytes(), name))
        except FileNotFoundError:
            raise DataError(f"'{self.path}' holds no {name}; is it the folder of a run?") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"'{self.path / name}' cannot be read: {error}") from None
        if not isinstance(data, dict):
            raise DataError(f"'{self.path / name}' does not hold an object.")
        return data

    def write_arrays(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Write columns."""
        self.write_bytes(name, pack(arrays))

    def read_arrays(self, name: str) -> dict[str, Array]:
        """Read columns. Raises DataError where the file is damaged."""
        try:
            with np.load(self.path / name, allow_pickle=False) as stored:
                return members(stored)
        except (OSError, *UNREADABLE) as error:
            raise DataError(
                f"'{self.path / name}' is damaged ({error}); delete it to go on without it."
            ) from None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from writing this run meanwhile; released when the process ends, however.

        Raises DataError where another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # not on this system: nothing to hold it by
            yield
            return
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            if error.errno in FULL:
                raise unwritable(self.path, error) from None
            raise DataError(
                f"cannot write '{self.path}': {error.strerror or error}; make it writable, or copy it, to go "
                "on with the run."
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataError(
                    f"run {self.id} is being written by another process; wait until it ends, or stop it."
                ) from None
            self._sweep_partials()
            yield

    def _sweep_partials(self) -> None:
        """Remove files that a killed process was writing; called by who holds the run."""
        for pattern in (".*.[0-9]*", "rows/.*.[0-9]*"):
            for path in self.path.glob(pattern):
                if path.suffix[1:].isdigit() and not _alive(int(path.suffix[1:])):
                    with suppress(OSError):
                        path.unlink()

    def chunks(self) -> list[str]:
        """Names of the recorded chunks, in order."""
        return sorted(f"rows/{p.name}" for p in (self.path / "rows").glob("[0-9]*.npz"))

    def read_rows(self, damaged: list[str]) -> Iterator[dict[str, Array]]:
        """The rows of each chunk that can be read, then those of the tail; sentences about the others
        go to `damaged`. Only chunks have the column "seconds", the time the run had taken."""
        readable = set()
        for name in self.chunks():
            try:
                yield self.read_arrays(name)
                readable.add(int(Path(name).stem))
            except DataError as error:
                damaged.append(str(error))
        for chunk, columns in Tail(self.path / TAIL).read():
            if chunk not in readable:
                yield columns


class Recorder:
    """Writes the rows of a table to its folder as they come."""

    def __init__(
        self, folder: RunFolder, table: Table, written: int = 0, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.folder, self.table, self.written, self.clock = folder, table, written, clock
        self.tail, self.appended = Tail(folder.path / TAIL), written
        names = folder.chunks()
        self._next = int(Path(names[-1]).stem) + 1 if names else 0
        self._last = time.monotonic()
        self._row_bytes = 0

    def step(self, seconds_a_row: float) -> None:
        """Append the newest rows; write a chunk once enough rows, bytes or time have gathered."""
        waiting = len(self.table) - self.written
        if not waiting:
            return
        if not self._row_bytes:
            self._row_bytes = sum(c[:1].nbytes for c in self.table.columns.values())
        if (
            waiting >= FLUSH_ROWS
            or waiting * self._row_bytes >= FLUSH_BYTES
            or seconds_a_row > SLOW_ROW
            or time.monotonic() - self._last >= FLUSH_SECONDS
        ):
            self.flush()
        else:
            try:
                self.tail.append(self._next, self._columns(max(self.appended, self.written)))
            except OSError as error:
                raise unwritable(self.folder.path, error) from None
            self.appended = len(self.table)

    def flush(self) -> None:
        """Write what no chunk holds."""
        if len(self.table) > self.written:
            arrays = self._columns(self.written)
            arrays["seconds"] = np.array(self.clock())
            self.folder.write_arrays(f"rows/{self._next:06d}.npz", arrays)
            self._next += 1
            self.written = self.appended = len(self.table)
            self.tail.clear()
        self._last = time.monotonic()

    def _columns(self, first: int) -> dict[str, Array]:
        return {name: column[first : len(self.table)] for name, column in self.table.columns.items()}


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Arrays as the content of an .npz file; any name is allowed, objects are not."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def _alive(pid: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def check_writable(path: Path, option: str) -> None:
    """Raises DataError, before the work, where a file could not be written after it."""
    if path.is_dir():
        raise DataError(f"{option} '{path}' is a folder; give a file in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> DataError:
    """The sentence for a folder that cannot be written."""
    full = error.errno in FULL
    remedy = (
        "free some space, then 'optimize resume' the run"
        if full
        else "give the name of a file"
        if error.errno == errno.EISDIR
        else "choose another folder with --runs or --out"
    )
    return DataError(f"cannot write '{path}': {error.strerror or error}; {remedy}.")


def find_run(name: str, runs: Path) -> RunFolder:
    """The folder of a run given by path or by the id at its end ("7f3a"); "last" is the newest that started.

    Raises DataError where none or several match.
    """
    path = Path(name)
    if (path / "run.json").is_file():
        return RunFolder(path)
    found = sorted(p.parent for p in runs.glob("*/*/run.json"))
    if name == "last":
        found = [p for p in found if RunFolder(p).started]
        if not found:
            raise DataError(f"'{runs}' holds no run; start one with 'optimize run PROBLEM'.")
        return RunFolder(max(found, key=_started))
    matches = [p for p in found if p.name.endswith(f"-{name}") or p.name == name]
    if len(matches) == 1:
        return RunFolder(matches[0])
    if matches:
        raise DataError(
            f"{len(matches)} runs are called '{name}'; give the whole path, as in '{matches[0]}'."
        )
    latest = f"; the newest is '{RunFolder(max(found, key=_started)).id}'" if found else ""
    latest = latest or "; start one with 'optimize run PROBLEM', or say with --runs where it is"
    raise DataError(f"'{runs}' holds no run '{name}'{latest}.")


def _started(run: Path) -> tuple[str, int]:
    """When a run began: the second in its name, then the time of its record."""
    return run.name.rpartition("-")[0], (run / "run.json").stat().st_mtime_ns


def plain(value: Any) -> Any:
    """Numbers, labels and arrays as JSON data."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else str(value)
