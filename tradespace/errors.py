"""The exception tree. Every sentence names what was asked, what was found and what to do.

TradespaceError
├── SpaceError         a declaration, a parameter or a point outside its space
├── GoalError          an objective or a limit that cannot be read or met
├── EvaluationError    a referee that raised, or returned something unusable
├── ViewMismatch       a structured view and the referee disagree
├── BudgetError        a search without an end, or a budget that cannot be read
├── SolverUnavailable  an unknown solver, or one that cannot take this problem
├── NotReady           asked to look only, and what takes long was never done
└── DataError          a file, a record or a name that cannot be read
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TradespaceError(Exception):
    """Base of every error Tradespace raises on purpose."""


class SpaceError(TradespaceError):
    """A declaration, a parameter or a point that does not fit its space."""


class GoalError(TradespaceError):
    """An objective or a limit that cannot be read, or that nothing can meet."""


class EvaluationError(TradespaceError):
    """A referee that raised, or returned something that cannot be scored."""


class ViewMismatch(TradespaceError):
    """A structured view and the referee disagree about the same point."""


class BudgetError(TradespaceError):
    """A search that would not end, or a budget that cannot be read."""


class SolverUnavailable(TradespaceError):
    """An unknown solver, or one that cannot take this problem and goal."""


class NotReady(TradespaceError):
    """Asked to look only, while what is looked for takes long to prepare and nobody did."""


class DataError(TradespaceError):
    """A file, a record or a name that cannot be read."""


def of_kind(error: TradespaceError, sentence: str) -> TradespaceError:
    """An error of the kind in this module that `error` is of, which any process can read."""
    kind = next(k for k in type(error).__mro__ if k.__module__ == __name__)
    made: TradespaceError = kind(sentence)
    return made


class PlanWarning(UserWarning):
    """A plan is carried out only in part, because a pass departs from the recorded one."""


def nearest(name: str, options: Iterable[str]) -> str:
    """The tail of a sentence about an unknown `name`: the closest option, or all of them.

    >>> nearest("latncy", ["latency", "energy"])
    "did you mean 'latency'?"
    >>> nearest("x", ["latency", "energy"])
    'choose one of: energy, latency'
    """
    known = sorted(options)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    folded = {option.casefold(): option for option in known}
    close = close or [folded[c] for c in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)]
    if close:
        return f"did you mean '{close[0]}'?"
    return "choose one of: " + ", ".join(known) if known else "there is none"
