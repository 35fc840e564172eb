"""One search in progress: the only place where points are scored, recorded and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, EvaluationError
from ..problems.batch import Batch, concatenate, take
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.scoring import Scores, evaluate, failure, take_scores
from ..solvers.base import AskTell, Budget, Certificate, Chunks
from .archive import Archive
from .executors import Evaluator
from .folder import FLUSH_SECONDS, Recorder, RunFolder
from .table import Table

Array = npt.NDArray[Any]
KEPT_ROWS = 1_000_000
SAMPLE_ROWS = 2_000
CHUNK_BITS = 20
IDLE_ASKS = 100
LARGEST_ASK = 1 << 16
INFINITE = "rows with an infinite objective are no answers and are left out"
STRETCH, LEAST_STRETCH = 1_000, 8  # rows that may all fail before the whole space is asked


class Session:
    """The run a solver sees (`solvers.base.Run`), and the state of its search."""

    def __init__(
        self,
        problem: Problem,
        goal: ResolvedGoal,
        budget: Budget,
        seed: int,
        evaluator: Evaluator,
        folder: RunFolder | None = None,
        start: Batch | None = None,
        observer: Callable[[Session], None] | None = None,
        keep_all: bool = False,
    ) -> None:
        self.problem, self.goal, self.budget, self.seed, self.start = problem, goal, budget, seed, start
        self.planned = budget
        self.evaluator, self.folder, self.observer, self.keep_all = evaluator, folder, observer, keep_all
        self.table, self.archive = Table(problem), Archive(goal)
        self.recorder = Recorder(folder, self.table, clock=lambda: self.seconds) if folder else None
        self.evaluations = self.evaluated_here = 0
        self.notes: list[str] = [evaluator.note] if evaluator.note else []
        self.bounds: list[tuple[float, float | None, float | None]] = []
        self.streamed: Any = None
        self.cursor = self.cursor_end = 0
        self.sample: list[tuple[Array, dict[str, Array]]] = []
        self.interrupted = False
        self.chosen: int | None = None  # the row of the answer, where it is not the archive's best
        self.stage, self.stage_share = "", 0.0
        self._known: dict[int, int] = {}
        self._pending = np.empty(0, bool)  # recorded rows that no solver has asked for yet
        self._waiting = False  # whether there are any
        self._settled = 0  # rows of the table that were offered to the archive, recorded ones apart
        self._swept: Array = self.archive.counts  # the archive's counts at the cursor
        self._scaled = False
        self._failure = ""  # why rows failed, while all did
        self._promising = False  # whether a row of this space was scored
        self._replaying = False
        self._seconds_a_row = 0.0
        self._began, self.began_at = time.monotonic(), time.time()
        self.marks: list[tuple[int, int, float]] = []
        self.seconds_before = 0.0

    # --- time and state -------------------------------------------------------------------------
    @property
    def seconds(self) -> float:
        """Wall seconds of this search, earlier sittings included."""
        return self.seconds_before + time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """Wall time left of the budget, or None."""
        return None if self.budget.seconds is None else self.budget.seconds - self.seconds

    @property
    def evaluations_left(self) -> int | None:
        """Rows left of the budget, or None."""
        return None if self.budget.evaluations is None else self.budget.evaluations - self.evaluations

    @property
    def incumbent(self) -> float | None:
        """The best value of a single objective so far."""
        return self.archive.value()

    @property
    def best(self) -> tuple[dict[str, Any], dict[str, float]] | None:
        """The best feasible point known and its metrics, or None."""
        row = self.archive.best()
        if row is None or self.archive.feasible == 0:
            return None
        batch, scores = self.rows(np.array([row]))
        return self.problem.space.points(batch)[0], {n: float(v[0]) for n, v in scores.metrics.items()}

    @property
    def front_costs(self) -> Array:
        """Objectives of the front, to minimise: (members, objectives)."""
        self.archive.merge()
        return self.archive.costs

    def note(self, sentence: str) -> None:
        """Keep a sentence for the user, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def progress(self, *, incumbent: float | None = None, bound: float | None = None) -> None:
        """Record a solver's incumbent and bound, and show them."""
        self.bounds.append((self.seconds, incumbent, bound))
        self._show()

    def show_stage(self, words: str, share: float) -> None:
        """Show what is done after the search, and how much of it."""
        self.stage, self.stage_share = words, share
        self._show()

    def choose(self, point: Batch) -> None:
        """Make a point the answer: scored and recorded like any other, unless rows are streamed."""
        if self.streamed is not None:
            return
        wanted = self.problem.space.hashes(point)[0]
        for _ in range(2):
            rows = np.arange(len(self.table))
            found = np.flatnonzero(self.problem.space.hashes(self.table.batch(rows)) == wanted)
            if len(found):
                self.chosen = int(found[0])
                return
            self.score(point)
            self.flush()

    def _show(self) -> None:
        if self.observer is not None:
            self.observer(self)

    # --- scoring --------------------------------------------------------------------------------
    def score(self, batch: Batch) -> Scores:
        """Score points; those already scored are answered from the table and cost nothing."""
        hashes = self.problem.space.hashes(batch).tolist()
        fresh = self._unknown(hashes)
        if len(fresh) == len(hashes):
            scores = self._evaluate(batch)
            self._settle(self._append(batch, scores, hashes), scores)
            return scores
        if fresh:
            part = take(batch, np.array(fresh))
            self._append(part, self._evaluate(part), [hashes[row] for row in fresh])
        known = self._known
        ids = np.array([known[h] for h in hashes], np.int64)
        scores = self.table.scores(ids)
        places = self._uncounted(ids)
        if len(places):
            self._settle(ids[places], take_scores(scores, places))
        return scores

    def _unknown(self, hashes: list[int]) -> list[int]:
        """Places of the points that are not in the table, the first of equal ones only."""
        known = self._known
        if known.keys().isdisjoint(hashes) and len(set(hashes)) == len(hashes):
            return [*range(len(hashes))]
        first: dict[int, int] = {}
        for place, h in enumerate(hashes):
            if h not in known:
                first.setdefault(h, place)
        return [*first.values()]

    def _uncounted(self, ids: Array) -> Array:
        """Places of rows that are counted now: fresh ones, and recorded ones asked for the first time."""
        new = ids >= self._settled
        if self._waiting:
            old = ids < len(self._pending)
            new[old] |= self._pending[ids[old]]
        places = np.flatnonzero(new)
        if len(places):
            _, first = np.unique(ids[places], return_index=True)
            places = places[np.sort(first)]
        return places

    def _evaluate(self, batch: Batch) -> Scores:
        began = time.perf_counter()
        scores = self.evaluator.score(batch)
        self._seconds_a_row = (time.perf_counter() - began) / len(batch)
        return scores

    def _append(self, batch: Batch, scores: Scores, hashes: list[int] | None = None) -> Array:
        """Put fresh rows in the table; returns their numbers."""
        for text in list(scores.errors.values())[:3]:
            self.note(f"a row failed: {text}")
        self.evaluated_here += len(batch)
        rows = self.table.append(batch, scores)
        if hashes is not None:
            self._known.update(zip(hashes, range(len(self.table) - len(batch), len(self.table)), strict=True))
        return rows

    def _settle(self, ids: Array, scores: Scores) -> None:
        """Count rows and offer them to the archive; then write and show."""
        self._count(ids, scores)
        if self._waiting:
            self._pending[ids[ids < len(self._pending)]] = False
            self._waiting = bool(self._pending.any())
        self._settled = len(self.table)
        if self.recorder is not None:
            self.recorder.step(self._seconds_a_row)
        self._check_failures()
        self._show()

    def _count(self, ids: Array, scores: Scores) -> None:
        if not len(ids):
            return
        if not self._scaled and not scores.failed.all():
            self._scaled = True
            self.goal = self.archive.goal = self.goal.scaled_by(scores.metrics)
        if not self._promising:
            self._promising = not scores.failed.all()
            self._failure = self._failure or failure(scores)
        self.evaluations += len(ids)
        if not self.marks or ids[-1] >= self.marks[-1][0]:
            self.marks.append((int(ids[-1]) + 1, self.evaluations, time.time()))
        costs, violation = self.goal.costs(scores.metrics), self.goal.violation(scores.metrics)
        infinite = np.isinf(costs).any(axis=1)
        if infinite.any():
            self.note(INFINITE)
            violation = np.where(infinite, np.inf, violation)
        self.archive.add(ids, costs, violation, scores.failed)

    def _check_failures(self) -> None:
        """Raises EvaluationError where every row of the first stretch failed, half of the budget or 1,000
        rows, and points drawn from the whole space fail too: the first rows may be unlucky. There are 1,000
        of these, where a row is slow as many as failed."""
        rows, most = self.archive.rows, self.budget.evaluations or 2 * STRETCH
        if self._promising or rows < min(STRETCH, max(LEAST_STRETCH, most // 2)):
            return
        self._promising = True
        count = STRETCH if self.problem.cost == "fast" else min(rows, STRETCH)
        drawn = self.problem.space.sample(np.random.default_rng([self.seed, 0xFA11]), count)
        if self.archive.failed == rows and self.evaluator.score(drawn).failed.all():
            raise self._hopeless(f"and on {len(drawn):,} points drawn from the whole space")

    def check_scored(self) -> None:
        """Raises EvaluationError where the search is over and not one row could be scored."""
        if 0 < self.archive.rows == self.archive.failed:
            raise self._hopeless("tried")

    def _hopeless(self, beyond: str) -> EvaluationError:
        rows = self.archive.rows
        tried = f"all {rows:,} rows" if rows > 1 else "the only row"
        return EvaluationError(
            f"{type(self.problem).__name__}.evaluate failed on {tried} {beyond}: {self._failure}"
        )

    def passed(self, rows: int) -> None:
        """Count rows that a solver scored and found to answer nothing; they are not recorded."""
        self.evaluations += rows
        self.evaluated_here += rows
        self._show()

    def sweep(self, chunks: Chunks) -> None:
        """Score a whole enumeration; above 10^6 rows only front, counts, cursor and a sample stay."""
        size = self.problem.space.size or 0
        self.cursor_end = len(chunks)
        if size <= KEPT_ROWS or self.keep_all:
            self._sweep_kept(chunks)
        else:
            self._sweep_streamed(chunks, size)

    def _sweep_kept(self, chunks: Chunks) -> None:
        ahead: Iterable[int] = range(len(chunks))
        if len(self.table):
            ahead = [index for index in ahead if not self._recall(chunks.chunk(index))]
        began = time.perf_counter()
        for index, batch, scores in self.evaluator.sweep(chunks, ahead):
            batch = batch if batch is not None else chunks.chunk(index)
            self._seconds_a_row = (time.perf_counter() - began) / max(1, len(batch))
            if self._known:
                fresh = np.array(self._unknown(self.problem.space.hashes(batch).tolist()), np.int64)
                batch, scores = take(batch, fresh), take_scores(scores, fresh)
            self._settle(self._append(batch, scores), scores)
            self.cursor += 1
            self._check_time()
            began = time.perf_counter()

    def _recall(self, batch: Batch) -> bool:
        """Count the points of a chunk that the table holds; returns whether it holds all of them."""
        known = self._known
        found = [known.get(h, -1) for h in self.problem.space.hashes(batch).tolist()]
        ids = np.array([i for i in found if i >= 0], np.int64)
        places = self._uncounted(ids)
        if len(places):
            self._settle(ids[places], self.table.scores(ids[places]))
        whole = len(ids) == len(found)
        self.cursor += whole
        return whole

    def _sweep_streamed(self, chunks: Chunks, size: int) -> None:
        self.streamed = chunks
        self.archive, self.evaluations = Archive(self.goal), 0  # the start is a point of the sweep
        if self.folder is not None and self._replaying and (self.folder.path / "sweep.npz").is_file():
            self._restore_sweep(self.folder)
        stride = max(1, size // SAMPLE_ROWS)
        saved = shown = time.monotonic()
        for index, _, scores in self.evaluator.sweep(chunks, range(self.cursor, len(chunks))):
            rows = len(scores)
            ids = np.arange(index << CHUNK_BITS, (index << CHUNK_BITS) + rows)
            offset = -self.evaluations % stride
            self._count(ids, scores)
            self.evaluated_here += rows
            if offset < rows:
                picked = slice(offset, None, stride)
                self.sample.append((ids[picked], {n: v[picked].copy() for n, v in scores.metrics.items()}))
            self.cursor, self._swept = index + 1, self.archive.counts
            now = time.monotonic()
            if now - shown > 0.1:
                shown = now
                self._show()
                self._check_failures()
                self._check_time()
            if now - saved > FLUSH_SECONDS:
                saved = now
                self._save_sweep()
        self._save_sweep()
        self._check_failures()
        self._show()

    def _restore_sweep(self, folder: RunFolder) -> None:
        """Take up a sweep where it was left. Raises DataError where its file is damaged."""
        try:
            self._restore(folder.read_arrays("sweep.npz"))
        except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
            raise DataError(
                f"'{folder.path / 'sweep.npz'}' is damaged ({type(error).__name__}: {error}); delete it to "
                "go on without it."
            ) from None

    def _restore(self, state: dict[str, Array]) -> None:
        self.archive.restore(state)
        self.cursor, self._swept = int(state["cursor"]), self.archive.counts
        self.evaluations, self.seconds_before = self.archive.rows, float(state["seconds"])
        self.sample = [(state["sampled"], {n[2:]: v for n, v in state.items() if n.startswith("m.")})]
        scaled = zip(self.goal.limits, state["scales"].tolist(), strict=True)
        limits = tuple(replace(limit, scale=scale or None) for limit, scale in scaled)
        self.goal = self.archive.goal = replace(self.goal, limits=limits)
        self._scaled = True

    def _save_sweep(self) -> None:
        if self.folder is not None and self.streamed is not None:
            sampled = {"sampled": np.concatenate([np.empty(0, np.int64), *(i for i, _ in self.sample)])}
            for name in self.problem.metrics:
                sampled[f"m.{name}"] = np.concatenate([np.empty(0), *(m[name] for _, m in self.sample)])
            state = {
                **self.archive.state(),
                **sampled,
                "counts": self._swept,
                "cursor": np.array(self.cursor),
                "scales": np.array([limit.scale or 0.0 for limit in self.goal.limits]),
                "seconds": np.array(self.seconds),
            }
            self.folder.write_arrays("sweep.npz", state)

    def _check_time(self) -> None:
        left = self.seconds_left
        if left is not None and left <= 0:
            raise OutOfTime

    def rows(self, ids: Array) -> tuple[Batch, Scores]:
        """Points and scores of rows by number."""
        if self.streamed is None:
            return self.table.batch(ids), self.table.scores(ids)
        places = np.argsort(ids, kind="stable")
        chunk, offset = ids[places] >> CHUNK_BITS, ids[places] & ((1 << CHUNK_BITS) - 1)
        starts = np.flatnonzero(np.r_[True, np.diff(chunk) != 0])
        parts = [
            take(self.streamed.chunk(int(chunk[a])), offset[a:b])
            for a, b in zip(starts, [*starts[1:], len(chunk)], strict=True)
        ]
        batch = take(concatenate(parts), np.argsort(places, kind="stable"))
        return batch, evaluate(self.problem, batch)

    # --- resuming -------------------------------------------------------------------------------
    def replay(self, record: bool = True) -> None:
        """Load the recorded rows; they are answered from the record when a solver asks for them.

        record: whether the run goes on and is written to; else its folder, which another process may be
        writing, is only read.
        """
        assert self.folder is not None
        damaged: list[str] = []
        space, written = self.problem.space, 0
        for columns in self.folder.read_rows(damaged):
            points = {n[2:]: v for n, v in columns.items() if n.startswith("x.")}
            scores = Scores(
                {n[2:]: v for n, v in columns.items() if n.startswith("m.")},
                {n[2:]: v for n, v in columns.items() if n.startswith("s.")},
                columns.get("failed", np.zeros(0, bool)),
                {},
            )
            if set(scores.metrics) != set(self.problem.metrics) or len(scores) == 0:
                raise DataError("the recorded rows hold other metrics than the problem; start a new run.")
            batch = space.restore(points)
            hashes = space.hashes(batch).tolist()
            fresh = self._unknown(hashes)
            if len(fresh) < len(hashes):  # a point recorded twice counts once
                places = np.array(fresh, np.int64)
                batch, scores = take(batch, places), take_scores(scores, places)
            rows = self.table.append(batch, scores)
            self._known.update(zip([hashes[place] for place in fresh], rows.tolist(), strict=True))
            if "seconds" in columns:
                written = len(self.table)
                self.seconds_before = max(self.seconds_before, float(columns["seconds"]))
        for sentence in damaged:
            self.note(sentence)
        self.recorder = None
        if record:
            self.recorder = Recorder(self.folder, self.table, written, clock=lambda: self.seconds)
            self.recorder.flush()
        self._pending = np.ones(len(self.table), bool)
        self._settled, self._waiting, self._replaying = len(self.table), len(self.table) > 0, True

    def recall_sweep(self, chunks: Chunks) -> None:
        """Take up the archive of a long enumeration as it was left, to be read only."""
        assert self.folder is not None
        self.streamed, self.archive = chunks, Archive(self.goal)
        self._restore_sweep(self.folder)

    def adopt(self) -> None:
        """Offer rows that no solver asked for again, or that an interruption left out, to the archive."""
        left = np.r_[np.flatnonzero(self._pending), np.arange(self._settled, len(self.table))]
        if len(left) and self.streamed is None:
            self._count(left, self.table.scores(left))
        self._pending[:], self._settled, self._waiting = False, len(self.table), False

    def flush(self) -> None:
        """Write everything that has not been written."""
        if self.recorder is not None:
            self.recorder.flush()
        self._save_sweep()


class OutOfTime(BaseException):
    """The budget's seconds are spent; not an Exception, so that no solver takes it for one of its own."""


def ask_tell(session: Session, solver: AskTell) -> tuple[Certificate, str]:
    """The loop of every ask/tell solver; returns its certificate and why it stopped."""
    solver.begin(session)
    idle = 0
    while True:
        left, seconds = session.evaluations_left, session.seconds_left
        if solver.done:
            return Certificate.none("sampling gives no bound"), solver.ending
        if left is not None and left <= 0:
            return Certificate.none(
                "sampling gives no bound"
            ), f"{session.budget.evaluations:,} evaluations spent"
        if seconds is not None and seconds <= 0:
            return Certificate.none("sampling gives no bound"), f"{session.budget.seconds:g} s spent"
        batch = solver.ask(LARGEST_ASK if left is None else min(left, LARGEST_ASK))
        before = session.evaluations
        scores = session.score(batch) if len(batch) else None
        if scores is not None:
            solver.tell(batch, scores)
        idle = idle + 1 if session.evaluations == before else 0
        size = session.problem.space.size
        if idle >= IDLE_ASKS or (size is not None and session.evaluations >= size):
            if size is not None and session.archive.rows >= size:
                return Certificate.proven(f"all {size:,} points scored"), "space exhausted"
            return Certificate.none(f"{IDLE_ASKS} asks brought nothing new"), "space exhausted"
