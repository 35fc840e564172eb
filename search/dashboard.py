"""Optuna's dashboard over the studies of all runs, on this machine only.

Old studies are listed with their answer; the rows of the newest `last` are loaded, so that the start
stays short when the journal has grown.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ..errors import DataError, SolverUnavailable

HOST = "127.0.0.1"
PORT = 8080
LAST = 30
LAST_PORT = 65_535
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def dashboard_application(
    runs: Path, storage: str | None = None, last: int = LAST
) -> tuple[Application, list[str], list[str]]:
    """The dashboard of a folder of runs: application, names of the studies, sentences about repairs.

    storage: an Optuna address instead of the journal in `runs`. last: newest studies to load whole.
    Raises SolverUnavailable where optuna-dashboard is missing, DataError where there is no study.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise SolverUnavailable(
            "the dashboard is an extra that is not installed; install it with: "
            "pip install 'tradespace[dashboard]'"
        ) from None
    from optuna.artifacts import FileSystemArtifactStore

    from .journal import ARTIFACTS, JOURNAL, is_url, open_url, quiet

    told: list[str] = []
    with quiet():
        if storage is not None and is_url(storage):
            opened: Any = open_url(storage)
            folder = runs / ARTIFACTS
        else:
            path = Path(storage) if storage else runs / JOURNAL
            if not path.is_file():
                raise DataError(
                    f"'{path}' does not exist; run something first, such as "
                    f"'optimize run matmul-tile --runs {runs}'."
                )
            opened, told = open_newest(path, last)
            folder = path.parent / ARTIFACTS
        names = [study.study_name for study in opened.get_all_studies()]
        folder.mkdir(parents=True, exist_ok=True)
        application: Application = wsgi(opened, artifact_store=FileSystemArtifactStore(str(folder)))
    return application, names, told


def open_newest(path: Path, last: int) -> tuple[Any, list[str]]:
    """A journal whose newest `last` studies are loaded whole; sentences about what was mended."""
    from optuna.storages import JournalStorage

    from .journal import CREATE_TRIAL, Journal, open_journal

    class Newest(Journal):
        """A journal that gives trials of older studies without their contents."""

        oldest = 0

        def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
            for record in super().read_logs(log_number_from):
                if record["op_code"] == CREATE_TRIAL and record.get("study_id", 0) < self.oldest:
                    kept = ("op_code", "worker_id", "study_id")
                    yield {**{k: record[k] for k in kept}, "datetime_start": None, "state": 3}
                else:
                    yield _with_hint(record, self.oldest, last)

    journal = Newest(path)
    with journal.locked():
        told = journal._mend_tail()
        known, _ = journal.studies()
    if len(known) > last:
        journal.oldest = sorted(known.values())[-last]
    try:
        return JournalStorage(journal), told
    except (ValueError, AssertionError, KeyError, TypeError):
        told += journal.repair()
        opened, more = open_journal(path)
        return opened, told + more


def _with_hint(record: dict[str, Any], oldest: int, last: int) -> dict[str, Any]:
    """The first piece of an old study's note says why its rows are missing."""
    attribute = record.get("system_attr")
    key = "dashboard:note_str:0"
    if isinstance(attribute, dict) and key in attribute and record.get("study_id", 0) < oldest:
        remedy = f"start with `optimize dashboard --last {10 * last}`"
        hint = f"*The rows of this older run are not loaded; {remedy}.*\n\n"
        return {**record, "system_attr": {key: hint + str(attribute[key])}}
    return record


def guarded(application: Application, port: int) -> Application:
    """The application, refusing requests that name another host (a web page elsewhere could send them)."""
    allowed = {f"{host}:{port}" for host in (HOST, "localhost")}

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_HOST") in allowed:
            return application(environ, start)
        body = json.dumps({"reason": f"open this dashboard as http://{HOST}:{port}/"}).encode()
        start("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


class Server(ThreadingMixIn, WSGIServer):
    """One thread a request."""

    daemon_threads = True
    allow_reuse_port = False


class Quiet(WSGIRequestHandler):
    """Requests are not printed."""

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


def serve(application: Application, port: int = PORT) -> Server:
    """A server on 127.0.0.1, not yet running; port 0 takes a free one.

    Raises DataError where the port cannot be taken.
    """
    if not 0 <= port <= LAST_PORT:
        raise DataError(f"--port must lie in 0..{LAST_PORT}, got {port}.")
    try:
        server = make_server(HOST, port, application, server_class=Server, handler_class=Quiet)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DataError(
                f"port {port} is in use, perhaps by another dashboard; open http://{HOST}:{port}/ or give "
                f"--port {_free()}."
            ) from None
        raise DataError(f"port {port} cannot be taken: {error.strerror}; give another --port.") from None
    server.set_app(guarded(application, server.server_port))
    return server


def _free() -> int:
    """A port that is free now."""
    import socket

    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
