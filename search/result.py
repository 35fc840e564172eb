"""The answer of a search, with what is known about it and where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import units
from ..errors import DataError
from ..problems.batch import Batch
from ..problems.names import spelled
from ..problems.problem import Problem
from ..problems.scoring import Scores
from ..problems.variables import label_name
from ..solvers.base import Certificate
from .folder import RunFolder, plain

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]
JSON_FRONT = 1_000
ANSWERED = "answered from recorded rows"


@dataclass(frozen=True, eq=False)
class Result:
    """The answer of a search.

    best: the chosen point, or None. metrics: its metrics, SI. sigma: their relative model errors.
    feasible: whether it meets every limit. front: all nondominated feasible points as a DataFrame.
    certificate: what is proven. stop_reason: why the search ended. start: metrics of the point the
    search was started from. replications: for a stochastic problem each metric of `best` on fresh seeds:
    mean, half width of its 95 % interval, number of seeds. robust: of an answer chosen under draws of
    the model errors its quantiles, how often it meets the limits, and the nominal answer beside it.
    """

    problem: str
    parameters: dict[str, Any]
    goal: dict[str, Any]
    solver: str
    why: str
    best: dict[str, Any] | None
    metrics: dict[str, float]
    sigma: dict[str, float]
    feasible: bool
    certificate: Certificate
    stop_reason: str
    evaluations: int
    seconds: float
    provenance: dict[str, Any]
    front_columns: dict[str, Array] = field(default_factory=dict, repr=False)
    start: dict[str, float] | None = None
    notes: tuple[str, ...] = ()
    run_dir: Path | None = None
    evaluated_here: int = 0
    replications: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    robust: dict[str, Any] = field(default_factory=dict)

    @property
    def front(self) -> pd.DataFrame:
        """Nondominated feasible points: a column a variable, then a column a metric."""
        import pandas as pd

        return pd.DataFrame({n: list(c) if c.ndim > 1 else c for n, c in self.front_columns.items()})

    @property
    def from_record(self) -> bool:
        """Whether the answer comes from recorded rows, so that nothing was searched."""
        return self.stop_reason == ANSWERED

    @property
    def front_size(self) -> int:
        """Members of the front."""
        return len(next(iter(self.front_columns.values()))) if self.front_columns else 0

    def front_rows(self, most: int | None = None) -> list[dict[str, Any]]:
        """The front as plain data: a list of {"point": ..., "metrics": ...}."""
        metrics = set(self.metrics)
        rows = range(self.front_size if most is None else min(most, self.front_size))
        listed = {n: c[: len(rows)].tolist() for n, c in self.front_columns.items()}
        return [
            {
                "point": {n: c[i] for n, c in listed.items() if n not in metrics},
                "metrics": {n: c[i] for n, c in listed.items() if n in metrics},
            }
            for i in rows
        ]

    def member(self, choice: str) -> int:
        """Row of the front: a row number, or a metric's name (the member that is best in it).

        Raises DataError where there is no such member.
        """
        directions = {o["metric"]: o["direction"] for o in self.goal["objectives"]}
        if choice.isdecimal() and int(choice) < self.front_size:
            return int(choice)
        choice = spelled(choice)
        if choice in directions and self.front_size:
            values = self.front_columns[choice]
            return int(np.argmin(values) if directions[choice] == "min" else np.argmax(values))
        have = f"a row of 0..{self.front_size - 1}" if self.front_size else "nothing: the front is empty"
        raise DataError(f"--pick takes an objective ({', '.join(directions)}) or {have}; got '{choice}'.")

    def pick(self, choice: str) -> Result:
        """The result with another member of the front as `best` (see `member`); its errors are not kept."""
        member = self.front_rows()[self.member(choice)]
        return replace(self, best=member["point"], metrics=member["metrics"], sigma={}, replications={})

    def record(self) -> dict[str, Any]:
        """The result as one object of plain data (`optimize run --json`)."""
        return {
            "problem": self.problem,
            "parameters": self.parameters,
            "goal": self.goal,
            "solver": self.solver,
            "why": self.why,
            "best": None
            if self.best is None
            else {
                "point": self.best,
                "metrics": self.metrics,
                "sigma": self.sigma,
                "feasible": self.feasible,
            },
            "front": self.front_rows(JSON_FRONT),
            "front_size": self.front_size,
            "certificate": self.certificate.record(),
            "evaluations": self.evaluations,
            "evaluated_here": self.evaluated_here,
            "seconds": round(self.seconds, 3),
            "stop_reason": self.stop_reason,
            "replications": {n: list(v) for n, v in self.replications.items()},
            "robust": self.robust,
            "start": self.start,
            "notes": list(self.notes),
            "run_dir": str(self.run_dir) if self.run_dir else None,
            "provenance": self.provenance,
        }

    def save(self, path: str | Path) -> None:
        """Write the result: `path` (JSON), and beside it the whole front (.front.npz)."""
        path = Path(path)
        folder = RunFolder(path.parent)
        folder.write_json(path.name, self.record())
        folder.write_arrays(path.with_suffix(".front.npz").name, self.front_columns)

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what `save` wrote; a run's folder stands for its result.json.

        Raises DataError where the file is missing or damaged.
        """
        path = Path(path)
        path = path / "result.json" if path.is_dir() else path
        folder = RunFolder(path.parent)
        data = folder.read_json(path.name)
        front = path.with_suffix(".front.npz").name
        columns = folder.read_arrays(front) if (path.parent / front).is_file() else {}
        try:
            best = data["best"] or {"point": None, "metrics": {}, "sigma": {}, "feasible": False}
            certificate = dict(data["certificate"])
            certificate["assumptions"] = tuple(certificate["assumptions"])
            return cls(
                data["problem"],
                data["parameters"],
                data["goal"],
                data["solver"],
                data["why"],
                best["point"],
                best["metrics"],
                best["sigma"],
                best["feasible"],
                Certificate(**certificate),
                data["stop_reason"],
                data["evaluations"],
                data["seconds"],
                data["provenance"],
                columns,
                data["start"],
                tuple(data["notes"]),
                Path(data["run_dir"]) if data["run_dir"] else None,
                data["evaluated_here"],
                {n: (v[0], v[1], v[2]) for n, v in data.get("replications", {}).items()},
                data.get("robust", {}),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"'{path}' is no saved result: {error} is missing or wrong.") from None

    def __str__(self) -> str:
        if self.best is None:
            return f"{self.problem}: no answer ({self.stop_reason})"
        shown = ", ".join(f"{n} {units.show(v)}" for n, v in self.metrics.items())
        return f"{self.problem}: {shown}; {self.certificate.statement}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, raised again once what was found is saved; `result` holds it.

    result: the `Result` of a search, or the `Comparison` of the runs that ended.
    """

    def __init__(self, result: Any) -> None:
        super().__init__("interrupted; what was found is kept in this exception's 'result'")
        self.result = result


def front_columns(problem: Problem, batch: Batch, scores: Scores) -> dict[str, Array]:
    """A front's columns with labels spelled out: name -> (members, ...)."""
    columns: dict[str, Array] = {}
    for name, domain in problem.space.domains.items():
        column = np.asarray(batch.__columns__[name])
        if domain.kind == "labels":
            column = np.array([label_name(label) for label in domain.labels])[column]
        columns[name] = column
    return {**columns, **scores.metrics}


def readable_point(problem: Problem, batch: Batch) -> dict[str, Any]:
    """The first row of a batch as plain JSON data."""
    point: Mapping[str, Any] = problem.space.points(batch)[0]
    loaded: dict[str, Any] = json.loads(json.dumps(point, default=plain))
    return problem.answer(loaded)
