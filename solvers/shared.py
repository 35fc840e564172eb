"""One search shared by several processes, here or on other machines, through a storage of Optuna's.

Every worker asks its sampler, which sees the finished trials of all, scores its own points by its own
referee, and tells the study. The search ends when the study holds as many finished trials as the budget
allows; each worker then scores the best points of the others, so that its answer is the study's (less a row
that another is still scoring). What the study holds depends on who came when: a shared search is not
repeatable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import DataError, TradespaceError
from ..problems.batch import Batch, concatenate
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.scoring import Scores
from .base import AskTell, Budget, Run
from .bayesian import OptunaSampler, quiet

Array = npt.NDArray[Any]
MOST_GATHERED = 64
SIGNATURE = "search"
REACHED_THROUGH = {"optuna", "sqlalchemy", "grpc", "psycopg", "psycopg2", "pymysql", "redis"}


class SharedSearch(AskTell):
    """A sampler that fills a study together with other workers.

    storage: an Optuna storage. study: the name that the workers share. address: the storage in words.
    """

    needs_budget: ClassVar[bool] = True

    def __init__(self, sampler: OptunaSampler, storage: Any, study: str, address: str) -> None:
        self.sampler, self.storage, self.study, self.address = sampler, storage, study, address
        self.name = sampler.name  # type: ignore[misc]

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """What the sampler takes."""
        return self.sampler.accepts(problem, goal, budget)

    # --- joining ------------------------------------------------------------------------------------
    def begin(self, run: Run) -> None:
        """Join the study, or begin it. Raises DataError where it belongs to another search."""
        super().begin(run)
        import optuna

        self.run = run
        self._mine: set[int] = set()
        self._learnt: set[int] = set()
        self._others: list[tuple[Batch, list[float], list[float]]] = []
        self._gathered = self._over = False
        self.sampler.begin(run)
        self.sampler.shared = True
        self.sampler._seed = int(np.random.SeedSequence().generate_state(1)[0])  # workers must differ
        with self._reaching(), quiet():
            joined = optuna.create_study(
                storage=self.storage,
                study_name=self.study,
                directions=["minimize"] * len(self.goal.objectives),
                sampler=self.sampler.make(run),
                load_if_exists=True,
            )
            self._check(joined)
            queued = self.sampler.study.get_trials(deepcopy=False) if not joined.trials else []
            for trial in queued:  # the start
                joined.enqueue_trial(trial.system_attrs["fixed_params"])
        self.sampler.study = joined

    def _check(self, joined: Any) -> None:
        """Whose study it is; the first worker signs it."""
        ours = {"digest": self.problem.digest, "goal": self.goal.describe()}
        signed = joined.user_attrs.get(SIGNATURE)
        if signed is None and not joined.get_trials(deepcopy=False):
            names = [f"-{o.metric}" if o.direction == "max" else o.metric for o in self.goal.objectives]
            joined.set_metric_names(names)
            joined.set_user_attr(SIGNATURE, {"problem": type(self.problem).__name__, **ours})  # at one stroke
            return
        signed = signed or {}
        if any(signed.get(key) != value for key, value in ours.items()):
            of = f"{signed.get('problem', 'something else')}, {signed.get('goal', 'begun elsewhere')}"
            raise DataError(
                f"study '{self.study}' belongs to another search ({of}); workers of one study need the same "
                "problem, parameters, goal and version. Give another --study."
            )

    # --- searching ----------------------------------------------------------------------------------
    @property
    def done(self) -> bool:
        """Whether the study is full and the others' best points are scored here."""
        return self._over or self.sampler.done

    def ask(self, n: int) -> Batch:
        """The next points; once the study is full, the best of the other workers."""
        with self._reaching():
            finished = self._learn()
            left = n if self.budget.evaluations is None else min(n, self.budget.evaluations - finished)
            if left > 0:
                return self.sampler.ask(left)
        self._over = True
        self.ending = f"study '{self.study}' holds {finished:,} finished trials"
        self.run.note(f"{self.ending}, {len(self._mine):,} of them scored here")
        best = self._best()[:n]
        self._gathered = bool(best)
        return concatenate(best) if best else Batch(self.space, {}, 0)

    def _learn(self) -> int:
        """Take in what other workers finished; how many trials are finished."""
        from optuna.trial import FixedTrial, TrialState

        with quiet():
            trials = self.sampler.study.get_trials(deepcopy=False)
            for trial in trials:
                if (
                    not trial.state.is_finished()
                    or trial.number in self._mine
                    or trial.number in self._learnt
                ):
                    continue
                self._learnt.add(trial.number)
                point = self.sampler._suggested(FixedTrial(trial.params))
                answer = None
                if trial.state == TrialState.COMPLETE:
                    answer = list(trial.values), list(trial.user_attrs.get(self.sampler.constraints, []))
                    self._others.append((point, *answer))
                self.sampler._known.setdefault(int(self.space.hashes(point)[0]), answer)
        return sum(trial.state.is_finished() for trial in trials)

    def _best(self) -> list[Batch]:
        """Points of the others that may be the answer: feasible and not dominated, or least violated."""
        import moocore

        if not self._others:
            return []
        points, costs, excess = zip(*self._others, strict=True)
        violation = np.array([sum(e for e in row if e > 0) for row in excess])
        values = np.array(costs, float)
        if not (violation <= 0).any():
            return [points[int(np.argmin(violation))]]
        feasible = np.flatnonzero(violation <= 0)
        if values.shape[1] == 1:
            return [points[int(feasible[np.argmin(values[feasible, 0])])]]
        kept = feasible[moocore.is_nondominated(values[feasible])]
        return [points[int(i)] for i in kept[:MOST_GATHERED]]

    def tell(self, batch: Batch, scores: Scores) -> None:
        """Tell the study, with the metrics as attributes of the trials."""
        if self._gathered:
            return
        with self._reaching(), quiet():
            for trial, place in self.sampler._asked:
                self._mine.add(trial.number)
                if place < len(batch) and not scores.failed[place]:
                    for name, value in scores.metrics.items():
                        trial.set_user_attr(name, float(value[place]))
            self.sampler.tell(batch, scores)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """A storage that goes away is one sentence; what was scored here is recorded."""
        try:
            yield
        except TradespaceError:
            raise
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in REACHED_THROUGH and not isinstance(
                error, OSError
            ):
                raise
            raise DataError(
                f"study '{self.study}' in {self.address} cannot be reached any more ({_cause(error)}); what "
                "was scored here is recorded, and 'optimize resume' joins the study again."
            ) from None


def _cause(error: BaseException) -> str:
    """What a storage says, from the first error on, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    details = getattr(error, "details", None)  # of gRPC, whose text is a table
    words = str(details() if callable(details) else error).strip().splitlines()
    return words[0][:160] if words else type(error).__name__
