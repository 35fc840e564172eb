"""What a person looks at after a run: its Optuna study, with at most 2,000 rows of the search.

The answer, the front, the incumbents and an even sample over the whole search become trials; the
question, the answer, its certificate and where it came from become the note; the figures and the
result file are attached. Nothing here changes an answer: where the study cannot be written, the result
says so.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import units
from ..problems.batch import Batch
from ..problems.names import apart
from ..problems.scoring import Scores
from .archive import Archive
from .result import Result
from .session import Session

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from .columns import Column
    from .journal import StudyRecord

Array = npt.NDArray[Any]
MOST_TRIALS, MOST_TRIALS_MANY_OBJECTIVES = 2_000, 1_000
MOST_FRONT, MOST_INCUMBENTS, MOST_STEPS = 300, 300, 200
MOST_CHUNKS = 128
ATTRIBUTE = 2_045
RANKS = ("bound", "sample", "incumbent", "front", "start", "answer")


def log_study(session: Session, result: Result, storage: Any = None) -> Result:
    """Write a run's study; the result, with a note where that failed.

    storage: None for the journal beside the runs (nothing where the run has no folder), "none" for no
    study, an address that Optuna understands, the path of a journal, or a storage.
    """
    target = study_storage(session, storage)
    if target is None:
        return result
    try:
        from .journal import write_study

        record = study_record(session, result, target if isinstance(target, Path) else None)
        sentence = write_study(record, target)
    except (Exception, KeyboardInterrupt) as error:
        session.interrupted |= isinstance(error, KeyboardInterrupt)
        cause = str(error) or type(error).__name__
        if isinstance(error, OSError):
            cause = f"cannot write '{error.filename}': {error.strerror}"
        sentence = f"the study for the dashboard was not written: {cause}"
    said = [n for n in session.notes if n not in result.notes] + ([sentence] if sentence else [])
    if not said:
        return result
    result = replace(result, notes=(*result.notes, *said))
    if result.run_dir is not None and result.stop_reason != "answered from recorded rows":
        try:
            result.save(result.run_dir / "result.json")
        except Exception:
            return result
    return result


def study_storage(session: Session, storage: Any) -> Any:
    """Where a run's study goes: None for nowhere, the path of a journal, an address, a storage."""
    if storage is None:
        return session.folder.path.parent.parent / "journal.log" if session.folder else None
    if storage == "none":
        return None
    if isinstance(storage, str) and "://" not in storage:
        return Path(storage)
    return storage


def study_name(session: Session, result: Result) -> str:
    """problem/solver/seed/time-id, the last part that of the run's folder."""
    if session.folder is not None:
        last = session.folder.path.name
    else:
        stamp = str(result.provenance["started"]).replace(":", "").partition("+")[0]
        last = f"{stamp}-{uuid.uuid4().hex[:4]}"
    return f"{result.problem}/{result.solver}/{session.seed}/{last}"


def study_record(session: Session, result: Result, journal: Path | None) -> StudyRecord:
    """The study of a run."""
    from optuna.study import StudyDirection

    from .columns import parameter_columns
    from .figures import study_figures
    from .journal import StudyRecord
    from .narrative import narrative

    goal, problem = session.goal, session.problem
    chosen = Chosen(session, result)
    columns, hidden = parameter_columns(problem, chosen.batch)
    trials = chosen.trials(columns)
    record = StudyRecord(
        study_name(session, result),
        [
            StudyDirection.MINIMIZE if o.direction == "min" else StudyDirection.MAXIMIZE
            for o in goal.objectives
        ],
        [f"{o.metric} ({o.unit})" if o.unit not in {"", "1"} else o.metric for o in goal.objectives],
        study_attributes(session, result),
        trials=trials,
    )
    figures = study_figures(session, result, chosen)
    note = narrative(session, result, shown=len(trials), hidden=hidden, figures=figures)
    record.system_attrs |= _pieces("dashboard:note_str:", note) | {"dashboard:note_ver": 1}
    for name, figure in figures.items():
        text = json.dumps(figure, separators=(",", ":"), default=_finite, allow_nan=False)
        record.system_attrs |= _pieces(f"dashboard:plot_data:{name}:", text)
    if journal is not None and result.run_dir is not None:
        record.system_attrs |= attach(journal.parent / "artifacts", result.run_dir / "result.json")
    return record


def _finite(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [
            v if v is None or isinstance(v, str | bool | int) or np.isfinite(v) else None
            for v in value.tolist()
        ]
    return value.item()


def _pieces(prefix: str, text: str) -> dict[str, str]:
    """Long text as the dashboard keeps it: numbered pieces of 2,045 characters."""
    return {f"{prefix}{i}": text[a : a + ATTRIBUTE] for i, a in enumerate(range(0, len(text), ATTRIBUTE))}


def attach(folder: Path, file: Path) -> dict[str, str]:
    """Copy a file into the folder of artifacts; the attribute that names it, as Optuna writes it."""
    if not file.is_file():
        return {}
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, str(file.resolve())))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(file.read_bytes())
    meta = {"artifact_id": name, "filename": file.name, "mimetype": "application/json", "encoding": None}
    return {f"artifacts:{name}": json.dumps(meta)}


def study_attributes(session: Session, result: Result) -> dict[str, Any]:
    """The table of a study: short values, because they travel with the list of studies."""
    metrics = session.problem.metrics
    shown = {n: units.show(v, metrics[n].unit) for n, v in result.metrics.items()}
    certificate = result.certificate
    table = {
        "answer": ", ".join(f"{n} {v}" for n, v in shown.items())[:200]
        if result.feasible
        else "no feasible point",
        "certificate": certificate.kind,
        "gap": certificate.gap,
        "solver": result.solver,
        "seed": session.seed,
        "evaluations": result.evaluations,
        "seconds": round(result.seconds, 3),
        "stopped": result.stop_reason[:200],
        "run": result.run_dir.name.rpartition("-")[2] if result.run_dir else None,
        "rows_represented": session.archive.rows,
    }
    return {name: value for name, value in table.items() if value is not None}


class Chosen:
    """The rows of a run that its study shows, in the order of the search.

    ids: row numbers. role: why each is shown. batch, scores: their points and metrics. costs,
    violation: as the solver saw them. complete: which become complete trials; the others are scored
    rows that the dashboard would take for better than the front (infeasible ones), shown as pruned.
    """

    def __init__(self, session: Session, result: Result) -> None:
        self.session, self.result = session, result
        self.row_key, self.role_key = (apart(key, session.problem.metrics) for key in ("row", "role"))
        archive, goal = session.archive, session.goal
        archive.merge()
        best = archive.best() if session.chosen is None else session.chosen
        self.answer = -1 if best is None else int(best)
        most = MOST_TRIALS if len(goal.objectives) <= 2 else MOST_TRIALS_MANY_OBJECTIVES
        most -= min(MOST_STEPS, len(session.bounds)) + 1 if session.bounds and goal.single else 0
        roles: dict[int, int] = {}
        for rank, ids in ((2, _thinned_ids(archive)), (3, archive.ids[spread(archive.costs, MOST_FRONT)])):
            roles |= {int(i): max(rank, roles.get(int(i), 0)) for i in ids}
        if self.answer >= 0:
            roles[self.answer] = 5
        for i in self._sample(most, len(roles)):
            roles.setdefault(int(i), 1)
        self.ids = np.array(sorted(roles), np.int64)
        self.role = np.array([roles[int(i)] for i in self.ids], int)
        self.batch, self.scores = self._rows(self.ids)
        if session.start is not None and len(self.ids):
            same = session.problem.space.hashes(self.batch) == session.problem.space.hashes(session.start)[0]
            self.role[same & (self.role < 5)] = 4
        self._judge()

    def _rows(self, ids: Array) -> tuple[Batch, Scores]:
        if len(ids):
            return self.session.rows(ids)
        empty = self.session.problem.space.sample(np.random.default_rng(0), 0)
        none = dict.fromkeys(self.session.problem.metrics, np.empty(0))
        return empty, Scores(none, {}, np.empty(0, bool), {})

    def _sample(self, most: int, taken: int) -> Array:
        """All rows where they are few, else one of each of `most` - `taken` equal stretches of the search."""
        wanted = max(0, most - taken)
        rng = np.random.default_rng([self.session.seed, 0x5A])
        if self.session.streamed is None:
            rows = len(self.session.table)
            if rows <= most:
                return np.arange(rows)
            edges = np.linspace(0, rows, wanted + 1).astype(np.int64)
            return edges[:-1] + (rng.random(wanted) * np.diff(edges)).astype(np.int64)
        sampled = np.concatenate([np.empty(0, np.int64), *(i for i, _ in self.session.sample)])
        chunks = np.unique(sampled >> 20)
        kept = (
            chunks[np.unique(np.linspace(0, len(chunks) - 1, MOST_CHUNKS).astype(int))]
            if len(chunks)
            else chunks
        )
        return sampled[np.isin(sampled >> 20, kept)][:wanted]

    def _judge(self) -> None:
        """Costs and violations; drop what the dashboard would put beside a front it is not part of."""
        goal, scores = self.session.goal, self.scores
        self.costs = goal.costs(scores.metrics)
        lost = scores.failed | np.isinf(self.costs).any(axis=1)
        self.violation = np.where(lost, np.inf, goal.violation(scores.metrics))
        feasible = (self.violation <= 0) & ~scores.failed
        front = np.isin(self.ids, self.session.archive.ids) & feasible
        beaten = np.zeros(len(self.ids), bool)
        for member in self.costs[front]:
            beaten |= (self.costs >= member).all(axis=1) & (self.costs > member).any(axis=1)
        equal = feasible & ~front & ~beaten
        if self.session.goal.single:
            beaten |= feasible & ~front
            equal[:] = False
        self.complete = (front | beaten) & ~scores.failed
        keep = ~equal | (self.role == 5)
        self.ids, self.role, self.costs = self.ids[keep], self.role[keep], self.costs[keep]
        self.violation, self.complete = self.violation[keep], self.complete[keep]
        from ..problems.batch import take
        from ..problems.scoring import take_scores

        self.batch, self.scores = take(self.batch, keep), take_scores(scores, np.flatnonzero(keep))

    @property
    def feasible(self) -> Array:
        """Which rows meet every limit."""
        return (self.violation <= 0) & ~self.scores.failed

    def seconds_at(self, ids: Array) -> Array:
        """Wall-clock time at which rows were done, by the marks of the session."""
        marks = np.array(self.session.marks or [(0, 0, self.session.began_at)], float)
        ends, clock = np.r_[0.0, marks[:, 0]], np.r_[self.session.began_at, marks[:, 2]]
        return np.interp(ids, ends, clock)

    def trials(self, columns: list[Column]) -> list[FrozenTrial]:
        """The rows as finished trials, and a MILP's incumbents and bound."""
        from optuna.trial import FrozenTrial, TrialState

        goal, metrics = self.session.goal, self.scores.metrics
        began, ended = self.seconds_at(self.ids), self.seconds_at(self.ids + 1)
        values = [metrics[o.metric].tolist() for o in goal.objectives]
        limits = [(str(v), within(v.sign * (metrics[v.metric] - v.bound)).tolist()) for v in goal.limits]
        others = {n: v.tolist() for n, v in metrics.items() if n not in {o.metric for o in goal.objectives}}
        shared = {c.name: c.distribution for c in columns}
        whole = all(c.active is None for c in columns)
        failed = self.scores.failed.tolist()
        trials = []
        for i, row in enumerate(self.ids.tolist()):
            params = {c.name: c.values[i] for c in columns if c.active is None or c.active[i]}
            attributes: dict[str, Any] = {self.row_key: row, self.role_key: RANKS[self.role[i]]}
            system: dict[str, Any] = {}
            state = (
                TrialState.FAIL
                if failed[i]
                else TrialState.COMPLETE
                if self.complete[i]
                else TrialState.PRUNED
            )
            if not failed[i]:
                attributes |= {n: v[i] for n, v in others.items()}
                if limits:
                    system = {f"constraints:{name}": excess[i] for name, excess in limits}
                    system["constraints"] = [excess[i] for _, excess in limits]
            trials.append(
                FrozenTrial(
                    number=i, trial_id=i, state=state, value=None,
                    values=None if failed[i] else [v[i] for v in values],
                    datetime_start=datetime.fromtimestamp(float(began[i])),
                    datetime_complete=datetime.fromtimestamp(float(ended[i])),
                    params=params, distributions=shared if whole else {n: shared[n] for n in params},
                    user_attrs=attributes, system_attrs=system, intermediate_values={},
                )
            )  # fmt: skip
        if self.session.bounds and goal.single and trials:
            self._add_staircases(trials)
        return trials

    def _add_staircases(self, trials: list[FrozenTrial]) -> None:
        """A solver's own incumbents as complete trials, and one pruned trial that holds its bound.

        They carry the answer's parameters: the solver tells values only. An incumbent that would look
        better than the answer is left out, since only the referee's value counts.
        """
        from optuna.trial import TrialState

        objective = self.session.goal.objectives[0]
        answer = next((t for t in trials if t.user_attrs[self.role_key] == "answer"), None)
        incumbents, bounds = staircases(self.session.bounds)
        if answer is None or answer.values is None:
            return
        best = objective.sign * answer.values[0]
        stairs = {int(1e3 * t): v for t, v in incumbents if objective.sign * v >= best}
        answer.intermediate_values = {**stairs, int(1e3 * self.result.seconds): answer.values[0]}
        feasible = self.result.feasible
        for seconds, value in incumbents[-MOST_STEPS:] if feasible else []:
            if objective.sign * value > best + 1e-9 * abs(best):
                trials.append(self._copy(answer, "incumbent", TrialState.COMPLETE, value, seconds))
        if bounds:
            trial = self._copy(answer, "bound", TrialState.PRUNED, bounds[-1][1], bounds[-1][0])
            trial.intermediate_values = {int(1e3 * t): v for t, v in bounds[-MOST_STEPS:]}
            trials.append(trial)
        trials.sort(key=lambda t: (t.datetime_complete or datetime.min, t.user_attrs[self.row_key]))

    def _copy(self, answer: FrozenTrial, role: str, state: Any, value: float, seconds: float) -> FrozenTrial:
        from optuna.trial import FrozenTrial

        when = datetime.fromtimestamp(self.session.began_at + seconds - self.session.seconds_before)
        return FrozenTrial(
            number=0, trial_id=0, state=state, value=None, values=[value], datetime_start=when,
            datetime_complete=when, params=answer.params, distributions=answer.distributions,
            user_attrs={self.row_key: answer.user_attrs[self.row_key], self.role_key: role}, system_attrs={},
            intermediate_values={},
        )  # fmt: skip


def staircases(
    bounds: list[tuple[float, float | None, float | None]],
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Changes of the incumbent and of the bound over time: (seconds, value)."""
    steps: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for seconds, *pair in bounds:
        for side, value in zip(steps, pair, strict=True):
            if value is not None and np.isfinite(value) and (not side or side[-1][1] != value):
                side.append((seconds, float(value)))
    return steps


def within(values: Array) -> Array:
    """Numbers that a browser can read: infinities become the largest float."""
    return np.nan_to_num(values, nan=np.finfo(float).max)


def _thinned_ids(archive: Archive) -> Array:
    """Rows that improved a single objective: all, or the first, the last and even ones between."""
    ids = np.array([i for i, _ in archive.incumbents], np.int64)
    return ids[np.unique(np.linspace(0, len(ids) - 1, MOST_INCUMBENTS).astype(int))] if len(ids) else ids


def spread(costs: Array, most: int) -> Array:
    """Rows of a front (rows, objectives) that cover it: all, or the `most` of largest crowding distance.

    The extremes are always among them.
    """
    if len(costs) <= most:
        return np.arange(len(costs))
    crowding = np.zeros(len(costs))
    for column in np.where(np.isfinite(costs), costs, np.nan).T:
        order = np.argsort(column, kind="stable")
        span = np.nanmax(column) - np.nanmin(column) or 1.0
        crowding[order[1:-1]] += np.nan_to_num((column[order[2:]] - column[order[:-2]]) / span)
        crowding[order[[0, -1]]] = np.inf
    return np.sort(np.argsort(-crowding, kind="stable")[:most])


def provenance_rows(result: Result) -> Mapping[str, str]:
    """Where a result came from, for the note."""
    given = result.provenance
    versions = ", ".join(f"{n} {v}" for n, v in given["versions"].items())
    return {
        "problem digest": f"`{given['digest']}`",
        "cost models": str(given["identity"]["costmodels"]),
        "tradespace": f"{given['tradespace']}{' (' + given['commit'] + ')' if given['commit'] else ''}",
        "packages": versions,
        "Python, machine": f"{given['python']}, {given['platform']}",
        "started": given["started"],
        "command": f"`{' '.join(map(str, given['command']))[:300]}`",
    }
