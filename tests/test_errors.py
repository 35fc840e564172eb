"""One exception tree, and the tail of a sentence about an unknown name."""

from __future__ import annotations

import importlib.util
import pickle

import pytest

import tradespace as ts
from tradespace import errors

NAMES = [
    "SpaceError",
    "GoalError",
    "EvaluationError",
    "ViewMismatch",
    "BudgetError",
    "SolverUnavailable",
    "NotReady",
    "DataError",
]


def test_every_error_is_a_tradespace_error_and_public():
    own = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, Exception)}
    own -= {n for n in own if issubclass(getattr(errors, n), Warning)}
    assert own == {*NAMES, "TradespaceError"}
    for name in NAMES:
        assert getattr(ts, name).__mro__[1] is ts.TradespaceError


@pytest.mark.parametrize("name", NAMES)
def test_errors_travel_between_processes(name):
    error = pickle.loads(pickle.dumps(getattr(ts, name)("what was asked")))
    assert (type(error).__name__, str(error)) == (name, "what was asked")


@pytest.mark.parametrize(
    ("name", "options", "tail"),
    [
        ("latncy", ["latency", "energy"], "did you mean 'latency'?"),
        ("MILP", ["milp", "random"], "did you mean 'milp'?"),
        ("gib", ["GiB", "GB", "B"], "did you mean 'GiB'?"),
        ("x", ["latency", "energy"], "choose one of: energy, latency"),
        ("x", {"b": 1, "a": 2}, "choose one of: a, b"),
        ("x", [], "there is none"),
        ("", ["a"], "choose one of: a"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_with_all(name, options, tail):
    assert errors.nearest(name, options) == tail


def test_every_public_name_has_a_home_and_is_there():
    assert sorted(ts.__all__) == sorted([*ts._HOME, "__version__"])
    for name, home in ts._HOME.items():
        if importlib.util.find_spec(f"tradespace.{home}"):
            assert getattr(ts, name) is not None
