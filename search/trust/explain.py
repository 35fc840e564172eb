"""Why a run's answer is what it is, what its limits are worth, and how sure it is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import units
from ...errors import DataError, TradespaceError
from ...problems.batch import Batch, concatenate, take
from ...problems.goal import Goal
from ...problems.problem import Problem
from ...problems.scoring import Scores, evaluate, join_scores, take_scores
from ...solvers.base import Budget
from ...solvers.nested import answers_recorded
from ...solvers.portfolio import select
from ..folder import RunFolder
from ..given import a_run
from ..result import Result
from ..session import Session
from ..standin import StandIn
from .alternatives import Alternative, alternatives, described
from .candidates import RESOLVES, candidates, recall, resolve_under_draws
from .explanation import Explanation
from .robustness import DRAWS, Robustness, judge, one_draw, outcomes, pace, unmoved
from .sensitivity import SOBOL_ROWS, Reach, Sobol, free, moves, one_at_a_time, sobol
from .worth import SECONDS, Worth, Worths

Array = npt.NDArray[Any]
Progress = Callable[[str, int, int], None]
TOLD = 2.0
"""Expected seconds of draws from which they are told beforehand."""
LONG = 10.0
"""Expected seconds of re-solves from which they are told."""
FITTING = 120.0
"""CPU seconds of draws that are spent unasked."""
LEAST_RIVALS = 5
FEWER = (1_000, 500, 200, 100, 50, 30, 20)
"""Numbers of draws to choose from: a number that hung on the clock would differ from run to run."""


@dataclass(frozen=True)
class Effort:
    """What an explanation may spend; None is the default for the referee's declared cost.

    draws: of the model errors (0: no robustness); the default is fewer, 20 at least, where they would take
    more than two minutes. resolves: of them under which the problem is solved
    again for candidates. sobol: rows of each sample (0: none). worth: whether limits are moved. seconds:
    most wall time of one re-solve.
    """

    draws: int | None = None
    resolves: int | None = None
    sobol: int | None = None
    worth: bool = True
    seconds: float = SECONDS


def explain(
    run: RunFolder | str | Path,
    *,
    problem: Problem | None = None,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain a run's answer: limits and their worth, what matters, alternatives, robustness.

    The explanation is kept in the run's folder, with its pictures, for its report. problem: needed where
    the run's problem can be made from Python only; without it the recorded rows explain what they can.
    progress: called with what is done, how much of it, and how much there is.
    Raises DataError where the run has no feasible answer or no rows. Ctrl-C during the draws keeps an
    explanation by those made, and is raised again.
    """
    folder = a_run(run)
    result = answered(folder)
    session = recall(folder, problem)
    made = Explainer(folder, session, result, effort or Effort(), progress).explain()
    from .figures import keep

    keep(folder, made, warnings.warn)
    if made.interrupted:
        raise KeyboardInterrupt
    return made


def answered(folder: RunFolder) -> Result:
    """The result of a run with a feasible answer. Raises DataError for another, saying what to do."""
    record = folder.read_json("run.json")
    if not (folder.path / "result.json").is_file():
        raise DataError(
            f"run {folder.id} has no result: it failed or was stopped before its end; 'optimize resume "
            f"{folder.id}' goes on with it."
        )
    result = Result.load(folder.path)
    if result.best is None:
        raise DataError(f"run {folder.id} has no answer to explain: {result.stop_reason}.")
    if not result.feasible:
        limits = ", ".join(f"{v['metric']} {v['sense']} {v['bound']:g}" for v in record["goal"]["limits"])
        raise DataError(
            f"run {folder.id} found no feasible point under {limits}, so there is no answer to explain; "
            f"relax a limit with 'optimize regoal {folder.id} --limit ...', or run it longer."
        )
    return result


class Explainer:
    """Makes an explanation of one run, part by part."""

    def __init__(
        self,
        folder: RunFolder,
        session: Session,
        result: Result,
        effort: Effort,
        progress: Progress | None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.session, self.result = folder, session, result
        self.problem, self.goal = session.problem, session.goal
        self.record = folder.read_json("run.json")
        cost = self.pace = pace(self.problem)
        self.lacks = "the referee is slow or a simulator"
        if isinstance(self.problem, StandIn):
            effort, self.lacks = replace(effort, draws=0, resolves=0, sobol=0), "the referee is not here"
        swept = self.record["solver"] == "nested" and answers_recorded(
            self.problem, self.goal, Budget(**self.record["budget"])
        )
        self.effort = replace(
            effort,
            draws=DRAWS[cost] if effort.draws is None else effort.draws,
            resolves=(RESOLVES if cost == "fast" and not swept else 0)
            if effort.resolves is None
            else effort.resolves,
            sobol=SOBOL_ROWS[cost] if effort.sobol is None else effort.sobol,
        )
        self.asked = effort.draws is not None
        self.progress, self.announce = progress, announce
        self.notes: list[str] = []
        self.interrupted = False
        if isinstance(self.problem, StandIn):
            self.notes.append(f"only recorded rows explain it: {self.problem._missing}")
        self._moves: bool | None = None
        assert result.best is not None
        self.answer = self.problem.space.batch(result.best)

    def _said(self, what: str) -> Callable[[int, int], None] | None:
        if self.progress is None:
            return None
        progress = self.progress
        return lambda done, all_: progress(what, done, all_)

    def _timed(self, what: str) -> Callable[[int, int], None]:
        """The same, which tells after the first of several solves how long all may take."""
        said, began = self._said(what), time.perf_counter()

        def done_so_far(done: int, all_: int) -> None:
            expected = all_ * (time.perf_counter() - began)
            if done == 1 and expected > LONG and self.announce is not None:
                self.announce(f"{what}: {all_:,} re-solves, about {units.show(expected, 's', 2)}")
            if said is not None:
                said(done, all_)

        return done_so_far

    def _scored(self, what: str, problem: Problem, batch: Batch) -> Scores:
        """Scores of a batch; of a slow referee row by row, each told."""
        said = self._said(what)
        if said is None or self.pace == "fast":
            return evaluate(problem, batch)
        parts = []
        for row in range(len(batch)):
            parts.append(evaluate(problem, take(batch, slice(row, row + 1))))
            said(row + 1, len(batch))
        return join_scores(parts)

    def explain(self) -> Explanation:
        """All parts."""
        said = self._said("preparing the problem")
        self.problem.ready(None if said is None else lambda words, share: said(round(100 * share), 100))
        names, moved, scores = self._moved()
        objective = self.goal.objectives[0].metric
        reaches: list[Reach] = []
        if moved is not None:
            reaches = one_at_a_time(names, scores, self.goal, self.result.metrics[objective], objective)
        worths = self._worths()
        indexes = self._sobol(objective)
        robustness, runner_up = self._robustness()
        return Explanation(
            self.folder.id,
            self.result,
            self.goal,
            self.problem,
            self._why(),
            self._own(),
            tuple(worths),
            tuple(reaches),
            tuple(indexes),
            tuple(self._alternatives(moved, scores)),
            robustness,
            runner_up,
            tuple(self.notes),
            self.interrupted,
        )

    def _why(self) -> str:
        """Which solver answered, and why it was the one."""
        solver, why = self.result.solver, self.record["why"]
        if why != "asked for":
            return f"auto chose {solver}: {why}"
        try:
            budget = Budget(**self.record["budget"])
            chosen, reason = select("auto", self.problem, self.goal, budget)
        except TradespaceError as error:
            return f"{solver} was asked for; auto would take none: {error}"
        if chosen.name == solver:
            return f"{solver} was asked for; auto would take it too: {reason}"
        return f"{solver} was asked for; auto would take {chosen.name}: {reason}"

    def _own(self) -> Mapping[str, str | list[dict[str, Any]]]:
        said = self._said("what the problem says")
        if said is not None:
            said(0, 1)
        try:
            own = dict(self.problem.explain(self.problem.space.points(self.answer)[0]))
            if said is not None:
                said(1, 1)
            return own
        except TradespaceError as error:
            self.notes.append(f"the problem's own explanation failed: {error}")
            return {}

    def _moved(self) -> tuple[list[str], Batch | None, Scores]:
        """The answer with one entry changed, scored; nothing for a slow referee."""
        none = Scores({}, {}, np.zeros(0, bool), {})
        if self.pace != "fast":
            self.notes.append(f"one change at a time is left out: {self.lacks}")
            return [], None, none
        names, moved = moves(self.problem, self.answer, self.session.seed)
        if moved is None:
            return [], None, none
        try:
            return names, moved, evaluate(self.problem, moved)
        except TradespaceError as error:
            self.notes.append(f"one change at a time is left out: {error}")
            return [], None, none

    def _worths(self) -> list[Worth]:
        if not self.effort.worth:
            return []
        made = Worths(
            self.session,
            self.record["solver"],
            self.result.metrics,
            self.effort.seconds,
            self._timed("limits re-solved"),
        )
        worths = made.price()
        if worths and made.recorded and not made.whole:
            self.notes.append(
                "limits are priced from recorded rows: a looser one buys at least, a tighter one costs "
                "at most what is said"
            )
        kinds = {v.known for w in worths for v in w.levels}
        if kinds & {"none", "bound"} and not made.recorded:
            self.notes.append("some re-solves are not proven: the worth of limits is what was found")
        return worths

    def _sobol(self, metric: str) -> list[Sobol]:
        rows = self.effort.sobol or 0
        if not rows:
            if self.pace == "slow":
                self.notes.append(f"Sobol indexes are left out: {self.lacks}")
            return []
        said, done = self._said("samples of the space"), 0
        parts = len(free(self.problem)) + 2

        def score(batch: Batch) -> Scores:
            nonlocal done
            scores, done = evaluate(self.problem, batch), done + 1
            if said is not None:
                said(min(done, parts), parts)
            return scores

        try:
            return sobol(self.problem, metric, self.session.seed, rows, score)
        except TradespaceError as error:
            self.notes.append(f"Sobol indexes are left out: {error}")
            return []

    def _alternatives(self, moved: Batch | None, scores: Scores) -> list[Alternative]:
        """From recorded rows (the front, where a long enumeration kept no others) and single changes."""
        session = self.session
        ids = session.archive.ids if session.streamed is not None else np.arange(len(session.table))
        batches, parts = [], []
        if len(ids):
            batch, known = session.rows(ids)
            batches.append(batch)
            parts.append(known)
        if moved is not None:
            batches.append(moved)
            parts.append(scores)
        if not batches:
            return []
        joined = Scores(
            {n: np.concatenate([p.metrics[n] for p in parts]) for n in self.problem.metrics},
            {},
            np.concatenate([p.failed for p in parts]),
            {},
        )
        batch = concatenate(batches)
        _, first = np.unique(self.problem.space.hashes(batch), return_index=True)
        batch, joined = take(batch, np.sort(first)), take_scores(joined, np.sort(first))
        return alternatives(self.problem, self.goal, self.answer, self.result.metrics, batch, joined)

    def _draws_move(self) -> bool:
        """Whether a draw changes any metric of the answer or of its rivals; asked once."""
        if self._moves is None:
            still = unmoved(self.problem, *self._rivals, self.session.seed)
            self._moves = len(still) < len(self.problem.metrics) or self.problem.stochastic
        return self._moves

    @cached_property
    def _rivals(self) -> tuple[Batch, Scores]:
        """The candidates known without a draw, the answer first, and their scores."""
        batch = candidates(self.session, self.answer)
        return batch, self._scored("candidates scored", self.problem, batch)

    def _fitting(self, draws: int, batch: Batch) -> tuple[int, int]:
        """How many draws of how many candidates to make: one is timed, what all take is told; few are made
        of a dear referee, of half or a quarter of the candidates where those are too many still."""
        wall, cpu = time.perf_counter(), time.process_time()
        with suppress(TradespaceError):  # what fails is told with the draws
            drawn = one_draw(self.problem, np.random.default_rng(self.session.seed))
            self._scored("one draw timed", drawn, batch)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        made, most = draws, len(batch)
        if not self.asked and draws * cpu > FITTING:
            made = next((n for n in FEWER if n < draws and n * cpu <= FITTING), min(draws, FEWER[-1]))
            while most > LEAST_RIVALS and made * cpu * most / len(batch) > 1.5 * FITTING:
                most = -(-most // 2)
        share = most / len(batch)
        told = f"{made:,} draws of {most} candidates take about {units.show(made * share * wall, 's', 2)}"
        less = "--draws makes fewer"
        if made < draws:
            less = f"--draws {draws} makes the usual {draws:,} in about {units.show(draws * wall, 's', 2)}"
            one = units.show(cpu, "s", 2)
            self.notes.append(
                f"{made:,} draws in place of {draws:,}, as one takes {one}; --draws {draws} makes all"
            )
            if most < len(batch):
                self.notes.append(f"{most} of {len(batch)} candidates were drawn, for the same reason")
        if self.announce is not None and made * share * wall > TOLD:
            self.announce(f"{told}; Ctrl-C keeps those made, {less}")
        return made, most

    def _robustness(self) -> tuple[Robustness | None, str]:
        draws = self.effort.draws or 0
        if not draws:
            return None, ""
        resolved = None
        if self.effort.resolves and self._draws_move():
            budget = Budget(**self.record["budget"])
            most = self.effort.seconds if budget.seconds is None else min(budget.seconds, self.effort.seconds)
            wish = Goal(**{k: tuple(v) for k, v in self.record["goal_text"].items()})
            resolved = resolve_under_draws(
                self.problem,
                wish,
                self.record["solver"],
                Budget(budget.evaluations, most, budget.gap),
                self.effort.resolves,
                self.session.seed,
                self._timed("solved under draws"),
            )
        batch, nominal = self._rivals
        if resolved is not None:
            batch = candidates(self.session, self.answer, resolved)
            nominal = self._scored("candidates scored", self.problem, batch)
        if self._draws_move():  # and what is compiled on first use is compiled
            draws, drawn = self._fitting(draws, batch)
            batch, nominal = take(batch, slice(0, drawn)), take_scores(nominal, slice(0, drawn))
        said = self._said("draws of the model errors")
        found = outcomes(self.problem, self.goal, batch, draws, self.session.seed, said, nominal)
        if found.interrupted:
            self.interrupted = True
            self.notes.append(f"Ctrl-C ended the draws after {found.draws:,} of {draws:,}")
        made = judge(found)
        if made.runner_up is None:
            return made, ""
        place = slice(made.runner_up, made.runner_up + 1)
        changes = described(self.problem, self.answer, take(batch, place))
        return made, ", ".join(f"{n} {a} to {b}" for n, a, b in changes)
