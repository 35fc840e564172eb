"""Where rows are evaluated: in this process, in worker processes, or by any executor, on other machines too.

Points are split into shards of 1,024 rows (of one row where the referee is declared slow) whatever the
number of workers, because the last bit of a matrix product depends on the rows that stand beside each
other; so one worker and many agree.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any

from ..errors import DataError, EvaluationError, TradespaceError, of_kind
from ..problems.batch import Batch, take
from ..problems.problem import Problem
from ..problems.scoring import Scores, evaluate, join_scores
from ..solvers.uninterrupted import uninterrupted
from .shipping import Package, Parcel, pack, score_parcel, scored

SHARD = {"fast": 1_024, "slow": 1}
WORKER_DIED = "a worker process died (killed, or out of memory); resume the run with fewer --workers."
CONNECT_SECONDS = 5
POLL = 0.05
MOST_WORKERS = 1_024
EXECUTORS = "dask://HOST:PORT, or MODULE:FUNCTION that makes a concurrent.futures executor"

_worker_problem: Problem | None = None
_worker_fault: TradespaceError | None = None


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Processes that start meanwhile do not run the main script again: problems come to them in parcels.

    So a script needs no `if __name__ == "__main__":`, and one read from standard input is not looked for.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)
    }
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


def _context() -> BaseContext:
    """How worker processes are started: by a fork server where there is one.

    The server starts deaf to Ctrl-C: it ends with this process, and would else print a traceback of its own.
    """
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # deaf by itself; its start would lift the mask below
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _without_main():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return multiprocessing.get_context("forkserver")


def _start_worker(sent: Package) -> None:
    global _worker_problem, _worker_fault
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    try:
        _worker_problem = sent.open()
    except (
        TradespaceError
    ) as error:  # told with the first rows: a worker that raised here would be taken as dead
        _worker_fault = of_kind(error, str(error))


def _end_with_parent() -> None:
    """End this worker when the search's process is gone: after a kill -9 nobody else would tell it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _at_hand() -> Problem:
    if _worker_problem is None:
        raise _worker_fault or EvaluationError("the worker has no problem to evaluate.")
    return _worker_problem


def _evaluate_columns(columns: dict[str, Any], rows: int) -> Scores:
    problem = _at_hand()
    return scored(problem, Batch(problem.space, columns, rows))


def _evaluate_chunk(index: int, rows: int) -> Scores:
    problem = _at_hand()
    chunks = problem.space.__dict__.setdefault("_chunks", {})
    if rows not in chunks:
        chunks[rows] = problem.space.enumerate(rows)
    return scored(problem, chunks[rows].chunk(index))


class Evaluator:
    """Scores batches of one problem: here, in `workers` processes, or by an executor.

    executor: any executor of `concurrent.futures` kind, which stays open, or an address for
    `open_executor`, which is opened and closed here.
    """

    def __init__(self, problem: Problem, workers: int = 1, executor: Executor | str | None = None) -> None:
        if not 1 <= workers <= MOST_WORKERS:
            raise DataError(
                f"workers must be 1 to {MOST_WORKERS:,} processes of this machine, got {workers}."
            )
        if executor is not None and not isinstance(executor, str) and not hasattr(executor, "submit"):
            raise DataError(
                f"executor must be one of concurrent.futures' kind, or an address, got {executor!r:.60}."
            )
        self.problem, self.workers = problem, workers
        self.shard = SHARD[problem.cost]
        self._address = executor if isinstance(executor, str) else None
        self._pool = None if isinstance(executor, str) else executor
        self._own = executor is None and workers > 1
        self._opened = contextlib.ExitStack()
        self._parcel = Parcel(problem)
        self.note = ""
        self._left = False  # whether Ctrl-C ended the wait for a worker

    def __enter__(self) -> Evaluator:
        if self._address is not None:
            self._pool = self._opened.enter_context(open_executor(self._address))
        if self._own:
            self._start_workers()
        elif self._pool is not None:
            self.workers = max(self.workers, width(self._pool))
        return self

    def _start_workers(self) -> None:
        """Processes of this machine; none, with a note, where the problem cannot be sent to any."""
        try:
            sent = pack(self.problem)
        except EvaluationError as error:
            self.note = f"rows were evaluated in this process: {error}"
            self._own, self.workers = False, 1
            return
        self._pool = ProcessPoolExecutor(self.workers, _context(), _start_worker, (sent,))

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._own and self._pool is not None:
            if self._left:  # what the workers are at, nobody waits for: a row may take an hour
                for process in [*(getattr(self._pool, "_processes", None) or {}).values()]:
                    process.terminate()
            self._pool.shutdown(wait=kind is None, cancel_futures=True)
        self._opened.close()

    def score(self, batch: Batch) -> Scores:
        """Scores of a batch, shard by shard."""
        if len(batch) <= self.shard and self._pool is None:
            return evaluate(self.problem, batch)
        shards = [take(batch, slice(i, i + self.shard)) for i in range(0, len(batch), self.shard)]
        if self._pool is None:
            return join_scores([evaluate(self.problem, shard) for shard in shards])
        return join_scores(self._gather([self._submit(shard) for shard in shards]))

    def sweep(self, chunks: Any, indices: Iterable[int]) -> Iterator[tuple[int, Batch | None, Scores]]:
        """Chunk index, points (None from workers, which make their own) and scores, in order."""
        if self._pool is None:
            for index in indices:
                batch = chunks.chunk(index)
                yield index, batch, evaluate(self.problem, batch)
            return
        waiting: deque[tuple[int, Batch | None, Future[Any]]] = deque()
        ahead = 4 * self.workers
        for index in indices:
            if self._own:
                waiting.append((index, None, self._start(_evaluate_chunk, index, chunks.rows)))
            else:
                batch = chunks.chunk(index)
                waiting.append((index, batch, self._submit(batch)))
            if len(waiting) >= ahead:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(
        self, waiting: deque[tuple[int, Batch | None, Future[Any]]]
    ) -> tuple[int, Batch | None, Scores]:
        index, batch, future = waiting[0]
        (scores,) = self._gather([future], [f for _, _, f in waiting])
        waiting.popleft()
        return index, batch, scores

    def _submit(self, batch: Batch) -> Future[Any]:
        columns, rows = dict(batch.__columns__), len(batch)
        if self._own:
            return self._start(_evaluate_columns, columns, rows)
        return self._start(score_parcel, self._parcel, columns, rows)

    def _start(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        assert self._pool is not None
        try:
            alone = _without_main() if self._own else contextlib.nullcontext()
            with uninterrupted(), alone:  # a process half started would belong to nobody, and never be ended
                return self._pool.submit(function, *arguments)
        except Exception as error:
            raise self._failed(error) from error

    def _gather(self, futures: list[Future[Any]], started: list[Future[Any]] | None = None) -> list[Scores]:
        """Results in order; the others are called off where one fails, or Ctrl-C comes.

        Ctrl-C waits while locks of a future are held: one never given back would keep the pool from ending.
        """
        try:
            with uninterrupted() as held:
                for future in futures:
                    while not (held or future.done()):
                        wait([future], POLL)
                    if held:
                        self._left = self._own
                        raise KeyboardInterrupt
                return [future.result() for future in futures]
        except BaseException as error:
            for future in () if self._left else started or futures:  # the end of a pool tells all it holds
                future.cancel()
            if isinstance(error, TradespaceError) or not isinstance(error, Exception | CancelledError):
                raise
            if self._own and not isinstance(error, BrokenProcessPool):
                raise
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> EvaluationError:
        """The sentence for an executor that lost what it was given."""
        if self._own and isinstance(error, BrokenProcessPool):
            return EvaluationError(WORKER_DIED)
        name = type(error).__name__
        cause: BaseException | None = error
        while cause is not None:  # what a parcel said while it was pickled
            if isinstance(cause, EvaluationError):
                return EvaluationError(str(cause))
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, ModuleNotFoundError):
            reason = f"a worker lacks the package '{error.name}'; install it there"
        elif name == "KilledWorker":
            reason = "a shard took several workers down with it (out of memory?); resume with larger workers"
        elif isinstance(error, BrokenProcessPool):
            reason = (
                "the executor's processes ended: killed, out of memory, or started by a script that has no "
                """'if __name__ == "__main__":' around what it does; mend that and resume the run"""
            )
        elif isinstance(error, CancelledError | BrokenExecutor | OSError):
            reason = f"the executor went away ({name}); start it again and resume the run"
        else:
            reason = f"the executor failed with {name}: {error}; what was recorded can be resumed"
        return EvaluationError(f"rows could not be evaluated: {reason}.")


def width(executor: Any) -> int:
    """How many shards an executor works on at once, as far as it says."""
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "nthreads"):
        return max(1, int(sum(client.nthreads().values())))
    return int(getattr(executor, "_max_workers", 1) or 1)


@contextlib.contextmanager
def open_executor(address: str) -> Iterator[Executor]:
    """An executor by address, closed at the end: `dask://host:port`, or `module:function` that makes one.

    Raises DataError within seconds where nothing answers there.
    """
    scheme, separator, rest = address.partition("://")
    if separator and scheme == "dask":
        with _dask(rest) as executor:
            yield executor
        return
    module, colon, name = address.partition(":")
    if separator or not (colon and module and name):
        raise DataError(f"--executor '{address}' cannot be read; it takes {EXECUTORS}.")
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:
        raise DataError(
            f"--executor '{address}' made no executor: {type(error).__name__}: {error}."
        ) from None
    if not callable(getattr(made, "submit", None)):
        raise DataError(f"--executor '{address}' gave a {type(made).__name__}, which has no 'submit'.")
    with made:
        yield made


@contextlib.contextmanager
def _dask(place: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler at `host:port`."""
    try:
        from distributed import Client
    except ImportError:
        raise DataError(
            "--executor dask://... needs the package 'distributed'; pip install 'tradespace[dask]'."
        ) from None
    for name in ("distributed", "tornado"):  # a lost connection is told in one sentence, by us
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not place.rpartition(":")[2].isdigit():
        raise DataError(f"--executor 'dask://{place}' names no port; write dask://HOST:PORT.")
    try:
        client = Client(f"tcp://{place}", timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:
        raise DataError(
            f"no Dask scheduler answers at '{place}' within {CONNECT_SECONDS} s ({type(error).__name__}); "
            "start one with 'dask scheduler', and workers with 'dask worker'."
        ) from None
    try:
        if not client.nthreads():
            raise DataError(
                f"the Dask scheduler at '{place}' has no workers; start some with "
                f"'dask worker tcp://{place}'."
            )
        executor = client.get_executor(pure=False)
        executor._max_workers = width(executor)
        yield executor
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)
