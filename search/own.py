"""What a problem itself says of an answer, for people: a fault in it is a sentence and ends nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import EvaluationError, TradespaceError
from ..problems.problem import Problem
from .result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Hear = Callable[[str], None]


@contextmanager
def heard(hear: Hear, what: str) -> Iterator[None]:
    """Gives `hear` a sentence where something for people cannot be made, and goes on without it.

    A file that cannot be written is raised: the folder is at fault, not the picture.
    """
    try:
        yield
    except OSError:
        raise
    except TradespaceError as error:
        hear(f"without {what}: {error}")
    except Exception as error:
        hear(f"without {what}: {type(error).__name__}: {error}")


def headline(problem: Problem, hear: Hear) -> str:
    """A problem's own first line, or nothing."""
    words = ""
    if callable(getattr(problem, "headline", None)):
        with heard(hear, "the headline"):
            words = str(problem.headline())  # type: ignore[attr-defined]
    return words


def summary(problem: Problem, best: Mapping[str, Any], hear: Hear) -> list[dict[str, Any]]:
    """A problem's own table of an answer, as rows of named cells, or nothing."""
    method = getattr(problem, "summary", None)
    rows: list[dict[str, Any]] = []
    if callable(method):
        with heard(hear, "the problem's summary"):
            found = method(problem.space.points(problem.space.batch(best))[0]) or []
            if not all(isinstance(row, Mapping) for row in found):
                raise EvaluationError(
                    f"{type(problem).__name__}.summary must return a list of rows, each a mapping from a "
                    f"column to a cell; got {found!r:.60}."
                )
            rows = [dict(row) for row in found]
    return rows


def own_figures(problem: Problem, result: Result) -> dict[str, Figure]:
    """What the problem itself draws of the answer, by name; drawn once for the files, study and page.

    Raises EvaluationError where it draws nothing of use.
    """
    if not callable(getattr(problem, "figures", None)) or result.best is None:
        return {}
    return dict(_drawn(problem, json.dumps(result.best, sort_keys=True)))


@lru_cache(maxsize=1)
def _drawn(problem: Problem, best: str) -> dict[str, Figure]:
    point = problem.space.points(problem.space.batch(json.loads(best)))[0]
    drawn = problem.figures(point)  # type: ignore[attr-defined]
    name = f"{type(problem).__name__}.figures"
    if not isinstance(drawn, Mapping):
        raise EvaluationError(f"{name} must return matplotlib figures by name; got a {type(drawn).__name__}.")
    odd = next((n for n, f in drawn.items() if not hasattr(f, "savefig")), None)
    if odd is not None:
        raise EvaluationError(
            f"{name} must return matplotlib figures by name; got a {type(drawn[odd]).__name__} as '{odd}'."
        )
    return {str(n): figure for n, figure in drawn.items()}
