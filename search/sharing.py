"""Joining a study that several processes fill together: `--study NAME` with `--storage URL`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, SolverUnavailable
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..solvers.base import Budget, Solver
from ..solvers.portfolio import select


def share(
    solver: Any,
    problem: Problem,
    goal: ResolvedGoal,
    budget: Budget,
    study: str,
    storage: Any,
    runs: Path | None,
) -> tuple[Solver, str]:
    """The solver that joins a study, and why it was taken.

    storage: an address, the path of a journal, an Optuna storage; None is the journal in `runs`.
    Raises SolverUnavailable where the solver keeps its state to itself, DataError where the storage
    cannot be reached.
    """
    chosen, why = sampler(solver, problem, goal, budget)
    from ..solvers.shared import SharedSearch

    opened, address = _open(storage, study, runs)
    return SharedSearch(chosen, opened, study, address), why


def sampler(solver: Any, problem: Problem, goal: ResolvedGoal, budget: Budget) -> tuple[Any, str]:
    """A sampler of Optuna's for a shared study, `tpe` for auto, and why."""
    from ..solvers.bayesian import OptunaSampler

    automatic = isinstance(solver, str) and solver == "auto"
    chosen, why = select("tpe" if automatic else solver, problem, goal, budget)
    if not isinstance(chosen, OptunaSampler):
        raise SolverUnavailable(
            f"--study is a search of Optuna's samplers, whose state is the study; solver '{chosen.name}' "
            "keeps its own. Take --solver tpe, gp, cmaes, nsga3 or optuna:NAME, or leave out --study."
        )
    return chosen, "a shared study is asked by a sampler of Optuna's" if automatic else why


def _open(storage: Any, study: str, runs: Path | None) -> tuple[Any, str]:
    """The storage opened, and in words."""
    from .journal import JOURNAL, is_url, open_journal, open_url, quiet, without_password

    if storage == "none" or (storage is None and runs is None):
        raise DataError(f"--study '{study}' needs a place to share: --storage with an address or a journal.")
    with quiet():
        if isinstance(storage, str) and is_url(storage):
            return open_url(storage), f"'{without_password(storage)}'"
        if storage is None or isinstance(storage, str | Path):
            path = Path(storage) if storage is not None else Path(str(runs)) / JOURNAL
            return open_journal(path)[0], f"'{path}'"
    return storage, type(storage).__name__


def study_record(study: str | None, storage: Any) -> dict[str, Any] | None:
    """What a run records of the study it joined; a password is not recorded."""
    from .journal import is_url, without_password

    if study is None:
        return None
    plain = isinstance(storage, str | Path) and (
        not is_url(str(storage)) or without_password(str(storage)) == str(storage)
    )
    return {"name": study, "storage": str(storage) if plain else None}


def joined_again(record: Mapping[str, Any], storage: Any, folder: Path) -> tuple[str, Any]:
    """Name and storage of the study that a recorded run joined."""
    name, kept = str(record["name"]), record["storage"]
    if storage is None and kept is None:
        default = folder.parents[1] / "journal.log"
        if not default.is_file():
            raise DataError(f"the run joined study '{name}'; give its --storage again.")
        return name, default
    return name, kept if storage is None else storage
