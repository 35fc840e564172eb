"""What callers pass to the functions of a search is right, or one sentence that says what to pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tradespace as ts


class Small(ts.Problem):
    """A problem of the tests."""

    size: int = 3

    kind = ts.Choice(["x", "y"])
    tile = ts.Menu([1, 2, 3])
    share = ts.Float(0, 1)
    kept = ts.Bool(shape=[2])

    t = ts.Metric("s", "min")
    u = ts.Metric("s", "max")

    def evaluate(self, x):
        return {"t": 1.0 * x.tile + x.share, "u": 1.0 * x.tile}


PROBLEM = Small()


def solved(**given: Any) -> ts.Result:
    return ts.solve(PROBLEM, **{"solver": "random", "budget": 10} | given)


@pytest.mark.parametrize("budget", [20, np.int64(20), 2e1, ts.Budget(20), ts.Budget(2e1)])
def test_a_number_is_a_budget_of_evaluations(budget):
    assert solved(budget=budget).evaluations == 20


def test_numbers_of_numpy_and_rows_of_the_front_are_taken():
    assert solved(seed=np.int64(3), workers=np.int8(1)).metrics == solved(seed=3).metrics
    assert solved(pick=0).best == solved(pick="0").best


def test_a_result_stands_for_its_run(tmp_path):
    first = solved(runs=tmp_path)
    assert ts.resume(first, budget=15).evaluations == 15
    assert ts.regoal(first, ts.Goal(minimize="t")).metrics["t"] <= first.metrics["t"]
    assert len(ts.recorded_rows(first)) == 15


def test_options_are_given_one_by_one_or_as_one_list():
    for options in (["x", "y"], ("x", "y"), np.array(["x", "y"])):
        assert ts.Choice(options).resolve("k", None).labels == ("x", "y")
    assert ts.Choice(["x"]).resolve("k", None).labels == ("x",)
    for numbers in ([4, 8], range(4, 9, 4), np.array([4, 8])):
        assert ts.Menu(numbers).resolve("k", None).values.tolist() == [4, 8]


WRONG: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    **{
        f"{name}={value!r}"[:40]: (lambda n=name, v=value: solved(**{n: v}), (name, *words))
        for name, value, *words in [
            ("goal", "t", "ts.Goal(minimize='t'"),
            ("goal", {"minimize": "t"}, "ts.Goal", "dict"),
            ("goal", ts.Goal, "ts.Goal"),
            ("seed", None, "whole number", "None"),
            ("seed", -1, "-1"),
            ("seed", 1.5, "1.5"),
            ("seed", True, "True"),
            ("workers", 0, "0"),
            ("workers", "2", "'2'"),
            ("budget", "2000", "ts.Budget", "'2000'"),
            ("budget", 0, "evaluations", "0"),
            ("budget", float("inf"), "inf"),
            ("budget", (5,), "tuple"),
            ("pick", 1.5, "1.5"),
            ("pick", "²", "'²'"),
            ("pick", 99, "'99'"),
            ("pick", -1, "-1"),
            ("robust", "x", "'x'"),
            ("robust", 2, "2"),
            ("start", 5, "5"),
            ("start", [{"kind": "x"}], "list"),
            ("start", "nofile.json", "nofile.json"),
            ("runs", 5, "path", "5"),
            ("solver", None, "NoneType"),
            ("solver", ["ga"], "list"),
            ("executor", 5, "5"),
        ]
    },
    "a class": (lambda: ts.solve(Small), ("class Small", "write Small()")),
    "a name": (lambda: ts.solve("knapsack"), ("ts.problem('knapsack')",)),
    "no problem": (lambda: ts.solve(None), ("None", "ts.Problem")),
    "check a class": (lambda: ts.check(Small), ("write Small()",)),
    "check a point": (lambda: ts.check(PROBLEM, points=1), ("points", "1")),
    "compare a class": (lambda: ts.compare(Small, "ga"), ("write Small()",)),
    "compare numbers": (lambda: ts.compare(PROBLEM, [3]), ("solvers", "[3]")),
    "compare nothing": (lambda: ts.compare(PROBLEM, "ga", seeds=0), ("one seed", "0")),
    "compare for nothing": (lambda: ts.compare(PROBLEM, "ga", budget=-1), ("budget", "-1")),
    "compare one run": (lambda: ts.compare_runs("last"), ("list",)),
    "optuna of a class": (lambda: ts.optuna_objective(Small), ("write Small()",)),
    "mps of a class": (lambda: ts.write_mps(Small, "a.mps"), ("write Small()",)),
    "resume a number": (lambda: ts.resume(5), ("a run must be a path", "5")),
    "regoal to a text": (lambda: ts.regoal("runs", "t"), ("ts.Goal(minimize='t'",)),
    "rows of nothing": (lambda: ts.recorded_rows(None), ("a run must be a path", "None")),
    "a set of labels": (lambda: ts.Choice({"a", "b"}), ("Choice",)),
    "numbers as labels": (lambda: ts.Choice([1, 2]), ("use Menu(1, 2)",)),
    "no labels": (lambda: ts.Choice([]), ("at least one label",)),
    "a menu of lists": (lambda: ts.Menu([[1, 2], [3, 4]]), ("numbers",)),
    "a unit of 5": (lambda: ts.Metric(5), ("unit", "5")),
    "a direction": (lambda: ts.Metric("s", "minimize"), ("'min'", "'minimize'")),
    "a goal of 5": (lambda: ts.Goal(minimize=5), ("minimize", "5")),
    "limits of a dict": (lambda: ts.Goal(limits={"t": 5}), ("limits", "'peak<=24GiB'")),
    "a budget of text": (lambda: ts.Budget("10"), ("evaluations", "'10'")),
    "seconds of text": (lambda: ts.Budget(seconds="5min"), ("seconds", "'5min'")),
    "seconds without end": (lambda: ts.Budget(seconds=float("inf")), ("seconds", "inf")),
    "a gap of text": (lambda: ts.Budget(gap="5%"), ("gap", "'5%'")),
    "problem 5": (lambda: ts.problem(5), ("text", "5")),
    "device 5": (lambda: ts.device(5), ("text", "5")),
    "score a text": (lambda: PROBLEM.score("x"), ("point", "'x'")),
    "score a number": (lambda: PROBLEM.score(5), ("point", "5")),
    "score numbers": (lambda: PROBLEM.score([5]), ("point", "5")),
}


@pytest.mark.parametrize(("call", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_call_is_one_sentence(call, words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ts.TradespaceError) as error:
        call()
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), error.value
    assert not any(tmp_path.iterdir())


class Endless(ts.Problem):
    """Infinite on both sides."""

    a = ts.Int(0, 9)
    t = ts.Metric("s", "min")
    u = ts.Metric("s")

    def evaluate(self, x):
        return {"t": np.select([x.a == 3, x.a > 5], [-np.inf, np.inf], 1.0 + x.a), "u": x.a + np.inf}


@pytest.mark.parametrize("solver", ["exhaustive", "ga", "random"])
def test_an_infinite_objective_is_no_answer(solver, tmp_path):
    found = ts.solve(Endless(), solver, budget=200, runs=tmp_path)
    assert (found.best, found.metrics["t"]) == ({"a": 0}, 1.0)
    assert any("infinite" in note for note in found.notes)
    other = ts.regoal(found, ts.Goal(maximize="t"))
    assert (other.best, other.metrics["t"]) == ({"a": 5}, 6.0)
    assert not ts.regoal(found, ts.Goal(minimize="u", limits="t>=2")).feasible
