"""Solving, resuming and asking another goal of recorded rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, GoalError, SpaceError
from ..problems.batch import Batch
from ..problems.goal import Goal, ResolvedGoal
from ..problems.names import spelled
from ..problems.parameters import recordable
from ..problems.problem import Problem
from ..solvers.base import AskTell, Budget, Certificate, OneShot, Solver
from ..solvers.portfolio import select
from ..text import read_json
from .executors import Evaluator
from .folder import RunFolder
from .given import a_budget, a_goal, a_path, a_pick, a_problem, a_run, whole
from .provenance import provenance
from .record import (
    check_unchanged,
    problem_name,
    readable_problem,
    recorded_problem,
    recorded_solver,
    run_record,
    undamaged,
)
from .result import ANSWERED, Interrupted, Result, front_columns, readable_point
from .session import OutOfTime, Session, ask_tell
from .sharing import joined_again, share, study_record
from .study import log_study
from .trust.stochastic import replicate

Observer = Callable[[Session], None]
Start = Batch | Mapping[str, Any] | str | Path | None


def solve(
    problem: Problem,
    solver: Any = "auto",
    goal: Goal | None = None,
    budget: Budget | int | None = None,
    *,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | str | None = None,
    runs: str | Path | None = None,
    storage: Any = None,
    start: Start = None,
    pick: str | int | None = None,
    robust: float | None = None,
    keep_all: bool = False,
    observer: Observer | None = None,
    why: str | None = None,
    study: str | None = None,
) -> Result:
    """Search a problem and return the answer with its certificate.

    solver: a name (`optimize list --solvers`) or "auto". goal: what is wanted, where it differs from the
    metrics' defaults. budget: evaluations, seconds, gap; a number is one of evaluations. executor: where
    rows are evaluated, any of the kind of `concurrent.futures`, or an address such as "dask://host:8786".
    runs: a folder under which the run is recorded, so that it can be resumed. storage: where its Optuna
    study goes, an address such as "sqlite:///x.db" or the path of a journal; None is the journal in
    `runs`, "none" no study. start: a point to begin from and to compare with, or the folder of a run.
    pick: which member of the front is `best` (a metric or a row). robust: choose by this quantile under
    draws of the model errors, every limit met in that share of them. why: the reason to record for the
    solver. study: the name of a study in `storage` that several processes fill together, each with this
    call; `budget.evaluations` are those of all.
    Where a problem can carry its answer out (`Problem.confirm`), an answer that does not keep its promise is
    not called feasible, and the problem is solved again with what was learnt.
    Raises a TradespaceError that names the cause and the remedy. Ctrl-C ends the search, which is saved as
    it is, and is raised again as a KeyboardInterrupt whose `result` is the answer so far.

    >>> import tradespace as ts
    >>> result = ts.solve(ts.problem("knapsack", items=10))
    >>> result.certificate.kind
    'proven'
    """
    problem, goal, budget, pick = a_problem(problem), a_goal(goal), a_budget(budget), a_pick(pick)
    seed, workers = whole("seed", seed, 0), whole("workers", workers, 1)
    runs = None if runs is None else a_path("runs", runs)
    if study is not None and not (isinstance(study, str) and study.strip()):
        raise DataError(f"study must be the name of a study, got {study!r}.")
    resolved = goal.resolve(problem)
    if study is None:
        chosen, reason = select(solver, problem, resolved, budget)
    else:
        chosen, reason = share(solver, problem, resolved, budget, study, storage, runs)
    why = why or reason
    check_pick(pick, resolved)
    check_robust(robust, pick)
    first = start_batch(problem, start)
    if study is None and storage is not None:
        from .journal import check_storage

        check_storage(storage)
    with Evaluator(problem, workers, executor) as evaluator:
        folder = None
        if runs is not None:
            folder = RunFolder.create(runs, problem_name(problem), now())
            asked = run_record(
                problem, goal, resolved, chosen, why, budget, seed, workers, first, pick, keep_all, robust
            )
            asked["study"] = study_record(study, storage)
            folder.write_json("run.json", asked)
        with folder.hold() if folder else nullcontext(), _kept(folder):
            session = Session(problem, resolved, budget, seed, evaluator, folder, first, observer, keep_all)
            result = conduct(session, chosen, why, pick)
            result = result if robust is None else robustly(session, result, robust)
            result = ended(session, log_study(session, result, storage if study is None else "none"))
    shown = None
    if study is None and result.feasible and result.best is not None:
        shown = problem.confirm(result.best, result.metrics)
    if shown is None:
        return result
    learnt, told = shown
    refuted = replace(result, feasible=False, notes=(*result.notes, told))
    if refuted.run_dir is not None:
        refuted.save(refuted.run_dir / "result.json")
    again = solve(
        learnt, solver, goal, budget, seed=seed, workers=workers, executor=executor, runs=runs,
        storage=storage, start=result.best, pick=pick, robust=robust, keep_all=keep_all, observer=observer,
        why=why,
    )  # fmt: skip
    return replace(again, notes=(told, *again.notes))


def resume(
    run: RunFolder | str | Path,
    *,
    problem: Problem | None = None,
    solver: Any = None,
    budget: Budget | int | None = None,
    workers: int | None = None,
    executor: Executor | str | None = None,
    storage: Any = None,
    observer: Observer | None = None,
) -> Result:
    """Continue a run from what it recorded; with a larger budget also a finished one.

    problem: needed where the run's problem can be made from Python only: one of a function, or with
    parameters that the command line cannot read. solver: needed where the run's was given as an object.
    Raises DataError where the problem has changed since, saying what changed.
    """
    folder = a_run(run)
    given = None if problem is None else a_problem(problem)
    wanted = None if budget is None else a_budget(budget)
    asked = None if workers is None else whole("workers", workers, 1)
    record = folder.read_json("run.json")
    with undamaged(folder):
        problem = given or recorded_problem(record)
        check_unchanged(problem, record)
        goal = Goal(**{k: tuple(v) for k, v in record["goal_text"].items()})
        planned = Budget(**record["budget"])
        budget = wanted or planned
        resolved = goal.resolve(problem)
        study = record.get("study")
        if study:
            name, storage = joined_again(study, storage, folder.path)
            chosen, _ = share(solver or record["solver"], problem, resolved, budget, name, storage, None)
        else:
            chosen, _ = select(solver or recorded_solver(record), problem, resolved, budget)
        first = problem.space.batch(record["start"]) if record["start"] else None
        workers = asked or int(record["workers"])
        np.random.SeedSequence([record["seed"]])
        check_pick(record["pick"], resolved)
        keep_all, why = bool(record["keep_all"]), str(record["why"])
    if not study and storage is not None:
        from .journal import check_storage

        check_storage(storage)
    with folder.hold(), Evaluator(problem, workers, executor) as evaluator:
        session = Session(
            problem, resolved, budget, record["seed"], evaluator, folder, first, observer, keep_all
        )
        session.planned = planned
        session.replay()
        result = conduct(session, chosen, why, record["pick"])
        robust = record.get("robust")
        result = result if robust is None else robustly(session, result, robust)
        return ended(session, log_study(session, result, "none" if study else storage))


def regoal(
    run: RunFolder | str | Path, goal: Goal, *, problem: Problem | None = None, pick: str | int | None = None
) -> Result:
    """Answer another goal from the rows a run recorded, without evaluating.

    Raises DataError where the run kept only a front and a sample (a long enumeration).
    """
    folder, goal, pick = a_run(run), a_goal(goal), a_pick(pick)
    given = None if problem is None else a_problem(problem)
    record = folder.read_json("run.json")
    with undamaged(folder):
        problem = given or readable_problem(record)
        check_unchanged(problem, record)
        np.random.SeedSequence([record["seed"]])
        solver = str(record["solver"])
    if (folder.path / "sweep.npz").is_file():
        raise DataError(
            f"run {folder.id} kept only its front and a sample; run it again with --keep-all to regoal it."
        )
    resolved = goal.resolve(problem)
    check_pick(pick, resolved)
    with Evaluator(problem) as evaluator:
        session = Session(problem, resolved, Budget(), record["seed"], evaluator, folder)
        session.replay(record=False)
        session.adopt()
    if session.archive.rows == 0:
        damaged = "; ".join(session.notes)
        raise DataError(
            f"run {folder.id} has recorded no rows{f' that can be read: {damaged}' if damaged else ' yet.'}"
        )
    size = problem.space.size
    whole = size is not None and session.archive.rows >= size
    rows = f"{session.archive.rows:,}"
    certificate = (
        Certificate.proven(f"all {rows} points scored")
        if whole
        else Certificate.none(f"the best of {rows} recorded rows; other points were not scored")
    )
    return finish(session, certificate, ANSWERED, solver, "recorded rows", pick)


# --- the parts ---------------------------------------------------------------------------------------
def check_robust(robust: float | None, pick: str | None) -> None:
    """Raises GoalError before a search for a quantile that is none, or beside --pick."""
    number = isinstance(robust, int | float | np.number)
    if robust is not None and not (number and 0.5 <= robust < 1):
        raise GoalError(
            f"--robust must lie between 0.5 and 1, got {robust!r}; 0.95 plans for 19 of 20 draws of the "
            "model errors."
        )
    if robust is not None and pick is not None:
        raise GoalError("--robust and --pick both choose the answer; give one of them.")


def robustly(session: Session, result: Result, quantile: float) -> Result:
    """The result with the answer that draws of the model errors prefer (see `robust`)."""
    from .trust.robust import robustly as choose

    return choose(session, result, quantile)


@contextmanager
def _kept(folder: RunFolder | None) -> Iterator[None]:
    """A run that fails before anything of its search is recorded leaves no folder."""
    try:
        yield
    except Exception:
        if folder is not None and not folder.started:
            folder.discard()
        raise


def conduct(session: Session, solver: Solver, why: str, pick: str | None) -> Result:
    """Run a solver to its end, an interruption included, and finish the result."""
    try:
        certificate, reason = searched(session, solver)
        session.adopt()
        if reason != "interrupted":
            session.check_scored()
    except BaseException:
        with suppress(DataError):  # the first error is the one to tell
            session.flush()
        if session.recorder is not None:
            session.recorder.tail.close()
        raise
    return finish(session, certificate, reason, solver.name, why, pick)


def searched(session: Session, solver: Solver) -> tuple[Certificate, str]:
    """Run a solver to its end: what is known of its answer, and why it stopped."""
    try:
        if session.start is not None:
            session.score(session.start)
        if isinstance(solver, OneShot):
            certificate = solver.solve(session)
            return certificate, stop_reason(certificate, session)
        assert isinstance(solver, AskTell)
        return ask_tell(session, solver)
    except OutOfTime:
        done = f" after {session.cursor:,} of {session.cursor_end:,} chunks" if session.cursor_end else ""
        return Certificate.none("stopped before the end"), f"{session.budget.seconds:g} s spent{done}"
    except KeyboardInterrupt:
        return Certificate.none("interrupted before the end"), "interrupted"


def ended(session: Session, result: Result) -> Result:
    """The result of a search that is saved. Raises Interrupted where Ctrl-C ended it."""
    if session.interrupted or result.stop_reason == "interrupted":
        raise Interrupted(result)
    return result


def check_pick(pick: str | None, goal: ResolvedGoal) -> None:
    """Raises DataError before a search where `pick` can be no member of its front."""
    names = [objective.metric for objective in goal.objectives]
    if pick is not None and not pick.isdecimal() and spelled(pick) not in names:
        raise DataError(
            f"--pick takes an objective ({', '.join(names)}) or a row of the front; got '{pick}'."
        )


def stop_reason(certificate: Certificate, session: Session) -> str:
    """Why a one-shot solver ended, in words."""
    if session.interrupted:
        return "interrupted"
    if certificate.infeasible:
        return "infeasible"
    left = session.seconds_left
    if left is not None and left <= 0:
        return f"{session.budget.seconds:g} s spent"
    if session.evaluations_left is not None and session.evaluations_left <= 0:
        return f"{session.budget.evaluations:,} evaluations spent"
    return certificate.statement if session.cursor_end else "the solver finished"


def finish(
    session: Session, certificate: Certificate, reason: str, solver: str, why: str, pick: str | None = None
) -> Result:
    """The result of a session, saved in its folder."""
    session.flush()
    problem, goal, archive = session.problem, session.goal, session.archive
    row = archive.best()
    point, metrics, sigma, feasible = None, {}, {}, archive.feasible > 0
    if row is not None:
        batch, scores = session.rows(np.array([row]))
        point = readable_point(problem, batch)
        metrics = {n: float(v[0]) for n, v in scores.metrics.items()}
        sigma = {n: float(v[0]) for n, v in scores.sigma.items()}
    columns = {}
    if feasible:
        front, scores = session.rows(archive.ids)
        columns = front_columns(problem, front, scores)
    if certificate.infeasible and feasible:
        certificate = Certificate.none(
            f"a point that meets the limits refutes the solver ({certificate.statement})"
        )
        reason = "the solver finished" if reason == "infeasible" else reason
    if certificate.kind == "bound" and feasible and goal.single:
        value = metrics[goal.objectives[0].metric]
        if certificate.exact and certificate.bound is not None:
            from ..solvers.views import check_bound

            check_bound(problem, goal, certificate.bound, value)
        certificate = certificate.against(value, session.budget.proven_gap)
    start = None
    if session.start is not None:
        first = session.score(session.start)
        start = {n: float(v[0]) for n, v in first.metrics.items()}
    if archive.failed:
        share = archive.failed / archive.rows
        lost = f"{archive.failed:,} of {archive.rows:,} rows ({share:.0%}) failed and are left out"
        session.note(lost)
        if certificate.kind == "proven" and session.cursor_end:
            certificate = replace(certificate, statement=f"{certificate.statement}; {lost}")
    folder = session.folder
    result = Result(
        problem_name(problem),
        recordable(problem) or {},
        goal.record(),
        solver,
        why,
        point,
        metrics,
        sigma,
        feasible,
        certificate,
        reason,
        session.evaluations,
        session.seconds,
        provenance(problem, session.seed),
        columns,
        start,
        tuple(session.notes),
        folder.path if folder else None,
        session.evaluated_here,
    )
    if pick is not None and feasible:
        _, scores = session.rows(archive.ids[[result.member(pick)]])
        result = replace(result.pick(pick), sigma={n: float(v[0]) for n, v in scores.sigma.items()})
    if problem.stochastic and result.best is not None and reason != ANSWERED:
        result = replace(result, replications=replicate(problem, result.best))
    if folder is not None and reason != ANSWERED and (archive.rows or reason != "interrupted"):
        result.save(folder.path / "result.json")
    return result


def start_batch(problem: Problem, start: Start) -> Batch | None:
    """The point to start from: a batch, a mapping, a JSON file, or a run's folder."""
    if start is None:
        return None
    if isinstance(start, Batch | Mapping):
        return problem.space.batch(start)
    path = a_path("start, unless a point,", start)
    if path.is_dir():
        best = Result.load(path).best
        if best is None:
            raise DataError(f"the run '{path}' has no answer to start from.")
        return problem.space.batch(best)
    data = read_json(path, "start point")
    if isinstance(data, Mapping) and isinstance(data.get("best"), Mapping):
        data = data["best"].get("point")
    if not isinstance(data, Mapping):
        raise SpaceError(f"--start '{path}' must hold an object of variables, got {type(data).__name__}.")
    return problem.space.batch(data)


def now() -> str:
    """The time as the name of a run."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
