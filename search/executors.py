"""Where rows are evaluated: in this process, or in worker processes.

Points are split into shards of 1,024 rows (of one row where the referee is declared slow) whatever the
number of workers, because the last bit of a matrix product depends on the rows that stand beside each
other; so one worker and many agree.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ..errors import EvaluationError
from ..problems.batch import Batch, take
from ..problems.problem import Problem
from ..problems.registry import load_file, module_name
from ..problems.scoring import Scores, evaluate, join_scores

SHARD = {"fast": 1_024, "slow": 1}
WORKER_DIED = "a worker process died (killed, or out of memory); resume the run with fewer --workers."


class UserFile:
    """Loads a user's problem file when unpickled, so that what follows it can be unpickled too."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return load_file, (Path(self.path),)


def user_file(problem: Problem) -> UserFile | None:
    """The file a problem's class was loaded from by path, or None."""
    module = sys.modules.get(type(problem).__module__)
    path = getattr(module, "__file__", None)
    if path and type(problem).__module__ == module_name(Path(path)):
        return UserFile(path)
    return None


_worker_problem: Problem | None = None


def _start_worker(_file: Any, problem: Problem) -> None:
    global _worker_problem
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    _worker_problem = problem


def _evaluate_columns(columns: dict[str, Any], rows: int) -> Scores:
    assert _worker_problem is not None
    return evaluate(_worker_problem, Batch(_worker_problem.space, columns, rows))


def _evaluate_chunk(index: int, rows: int) -> Scores:
    assert _worker_problem is not None
    space = _worker_problem.space
    chunks = space.__dict__.setdefault("_chunks", {})
    if rows not in chunks:
        chunks[rows] = space.enumerate(rows)
    return evaluate(_worker_problem, chunks[rows].chunk(index))


class Evaluator:
    """Scores batches of one problem, here or in `workers` processes."""

    def __init__(self, problem: Problem, workers: int = 1, executor: Executor | None = None) -> None:
        self.problem, self.workers = problem, workers
        self.shard = SHARD[problem.cost]
        self._pool = executor
        self._own = executor is None and workers > 1

    def __enter__(self) -> Evaluator:
        if self._own:
            context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
            arguments = (user_file(self.problem), self.problem)
            self._pool = ProcessPoolExecutor(self.workers, context, _start_worker, arguments)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._own and self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def score(self, batch: Batch) -> Scores:
        """Scores of a batch, shard by shard."""
        if len(batch) <= self.shard and self._pool is None:
            return evaluate(self.problem, batch)
        shards = [take(batch, slice(i, i + self.shard)) for i in range(0, len(batch), self.shard)]
        if self._pool is None:
            return join_scores([evaluate(self.problem, shard) for shard in shards])
        futures = [self._submit(_evaluate_columns, dict(shard._columns), len(shard)) for shard in shards]
        return join_scores([_wait(future) for future in futures])

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
                waiting.append((index, None, self._submit(_evaluate_chunk, index, chunks.rows)))
            else:
                batch = chunks.chunk(index)
                waiting.append((index, batch, self._submit(None, dict(batch._columns), len(batch))))
            if len(waiting) >= ahead:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)

    def _submit(self, function: Callable[..., Any] | None, *arguments: Any) -> Future[Any]:
        assert self._pool is not None
        try:
            if self._own and function is not None:
                return self._pool.submit(function, *arguments)
            return self._pool.submit(_evaluate_problem, user_file(self.problem), self.problem, *arguments)
        except BrokenProcessPool:
            raise EvaluationError(WORKER_DIED) from None


def _next(waiting: deque[tuple[int, Batch | None, Future[Any]]]) -> tuple[int, Batch | None, Scores]:
    index, batch, future = waiting.popleft()
    return index, batch, _wait(future)


def _evaluate_problem(_file: Any, problem: Problem, columns: dict[str, Any], rows: int) -> Scores:
    return evaluate(problem, Batch(problem.space, columns, rows))


def _wait(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        raise EvaluationError(WORKER_DIED) from None
