"""Variables and metrics may be called anything that Python allows; parameters meet the command line."""

from __future__ import annotations

import builtins
import itertools
import keyword
import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.names import PLANNED, RESERVED, attributes, hooks, spelled

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "problem.md"
HOOKS = sorted(hooks(ts.Problem))
WORDS = {
    *(
        "self",
        "cls",
        "x",
        "n",
        "_",
        "_hidden",
        "_fixed",
        "mro",
        "größe",
        "λ",
        "µ",
        "ﬁt",
        "名",
        "failed",
        "row",
    ),
    *("role", "limits", "point", "metric", "values", "index", "name", "number", "state", "params", "columns"),
}
TAKEN = attributes(ts.Problem) | set(dir(ts.Batch)) | set(dir(dict)) | set(dir(type)) | set(dir(builtins))
FREE = sorted(
    name
    for name in TAKEN | WORDS | set(keyword.softkwlist) | frozenset().union(*RESERVED.values())
    if name not in {*HOOKS, *keyword.kwlist} and not (name.startswith("__") and name.endswith("__"))
)


def made(source: str) -> type[ts.Problem]:
    """The class P of some source, in a module that can be imported."""
    module = types.ModuleType("module_of_test_names")
    vars(module)["ts"] = ts
    sys.modules["module_of_test_names"] = module
    exec(compile(source, "<cell>", "exec", dont_inherit=True), vars(module))
    return module.P


def refused(source: str, *words: str) -> None:
    """The class is refused in a sentence that holds the words."""
    with pytest.raises(ts.SpaceError) as error:
        made(f"class P(ts.Problem):\n    {source}")
    assert all(word in str(error.value) for word in words), error.value


def test_a_variable_may_have_any_name():
    declared = "\n".join(f"    {n} = ts.Int(0, 7)" for n in FREE)
    read = " + ".join(f"x.{n}" for n in FREE)
    cls = made(
        "class P(ts.Problem, cost='slow', stochastic=True, slow=('self',)):\n"
        f"{declared}\n    total__ = ts.Metric('', 'min')\n"
        f"    def evaluate(self, x):\n        return {{'total__': 1.0 * ({read})}}"
    )
    problem = cls()
    names = [spelled(n) for n in FREE]
    assert sorted(problem.space.domains) == sorted(names)
    batch = problem.space.sample(np.random.default_rng(1), 5)
    total = sum(batch[n].astype(float) for n in FREE)
    assert problem.score(batch).metrics["total__"].tolist() == total.tolist()
    pinned = problem.fix(**dict(zip(names, itertools.cycle([3, 5]), strict=False)))
    again = pickle.loads(pickle.dumps(pinned))
    assert again == pinned != problem
    point = dict(zip(names, itertools.cycle([3, 5]), strict=False))
    assert pinned.space.points(pinned.space.sample(np.random.default_rng(0), 1)) == [point]
    assert pickle.loads(pickle.dumps(batch)).cls.tolist() == batch["cls"].tolist()
    assert (cls.cost, problem.stochastic, problem.slow) == ("slow", True, ("self",))


def test_a_metric_may_have_any_name():
    declared = "\n".join(f"    {n} = ts.Metric('s', at_most=9)" for n in FREE)
    returned = ", ".join(f"'{n}': x.level__ + {i}.0" for i, n in enumerate(FREE))
    problem = made(
        f"class P(ts.Problem):\n{declared}\n    level__ = ts.Int(0, 1)\n"
        f"    def evaluate(self, x):\n        return {{{returned}}}"
    )()
    scores = problem.score({"level__": 1})
    for i, name in enumerate(FREE):
        assert scores.metrics[spelled(name)] == [1.0 + i]
        goal = ts.Goal(minimize=name, limits=f"{name}<=5ms").resolve(problem)
        assert (goal.objectives[0].metric, goal.limits[FREE.index(name)].bound) == (spelled(name), 0.005)
    assert problem.cost == "fast"
    assert problem.space.size == 2


def test_a_name_of_a_mixin_or_a_base_leaves_problem_as_it_is():
    cls = made(
        "class Sizes:\n    space = ts.Int(0, 3)\n    score = ts.Metric('s', 'min')\n"
        "class B(Sizes, ts.Problem):\n    cost: ts.Metric = ts.Metric('s')\n"
        "    def evaluate(self, x):\n        return {'score': 1.0 * x.space, 'cost': 2.0 * x.space}\n"
        "class P(B, cost='slow'):\n    extra = ts.Bool()"
    )
    problem = cls()
    assert problem.space.size == 8
    assert problem.cost == "slow"
    assert problem.score({"space": 3, "extra": False}).metrics["cost"] == [6.0]
    assert ts.solve(problem).metrics == {"score": 0.0, "cost": 0.0}


def test_settings_stand_in_the_body_or_in_the_class_line():
    for source in (
        "(ts.Problem):\n    cost = 'slow'; stochastic = True",
        "(ts.Problem, cost='slow', stochastic=True): pass",
    ):
        cls = made(f"class P{source}")
        assert (cls.cost, cls.stochastic) == ("slow", True)
        assert not cls().parameters
    assert made("class A(ts.Problem, cost='slow'): pass\nclass P(A): pass").cost == "slow"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("(ts.Problem, cost='slwo'): pass", ("cost", "'slwo'")),
        ("(ts.Problem, stochastic=1): pass", ("stochastic", "1")),
        ("(ts.Problem, slow=('tiel',)):\n    tile = ts.Bool()", ("'tiel'", "'tile'")),
        ("(ts.Problem):\n    slow = 'tile'\n    tile = ts.Bool()", ("slow", "tuple")),
        ("(ts.Problem, cost='slow'):\n    cost = 'fast'", ("'cost'", "once")),
        ("(ts.Problem):\n    cost = 'slow'\n    cost = ts.Metric('s')", ("class P(ts.Problem, cost=",)),
        ("(ts.Problem):\n    cost: float", ("'cost'", "attribute of Problem")),
    ],
)  # fmt: skip
def test_a_setting_that_is_none_is_named(source, words):
    with pytest.raises(ts.SpaceError) as error:
        made(f"class P{source}")
    assert all(word in str(error.value) for word in words), error.value


def test_a_setting_beside_a_metric_of_its_name_belongs_in_the_class_line():
    with pytest.raises(ts.SpaceError, match=r"class P\(ts.Problem, cost="):
        made("class A(ts.Problem):\n    cost = ts.Metric('s')\nclass P(A):\n    cost = 'slow'")


@pytest.mark.parametrize("value", ["= ts.Int(0, 1)", "= ts.Metric('s')", ": int = 3"])
def test_only_methods_that_a_problem_may_define_are_refused(value):
    for name in HOOKS:
        refused(f"{name} {value}", f"'{name}'", "Problem")
    if ":" not in value:
        refused(f"__len__ {value}", "'__len__'", "Python")


def test_the_page_lists_the_names_that_are_refused():
    listed = PAGE.read_text().partition("Refused are")[2].partition(".\n")[0]
    assert sorted(re.findall(r"`(\w+)`", listed)) == HOOKS


def test_the_names_that_no_parameter_may_have_are_the_options_of_the_commands():
    import typer

    from tradespace.search.cli.app import app

    commands = typer.main.get_command(app).commands
    seen: set[str] = set()
    for name, reserved in RESERVED.items():
        flags = {o for p in commands[name].params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}
        options = {flag[2:].replace("-", "_") for flag in flags} - seen
        assert reserved - (PLANNED if name == "run" else set()) == options - PLANNED
        seen |= options
    takes = {n for n, c in commands.items() if c.ignore_unknown_options and n != "reproduce"}
    for name in takes - RESERVED.keys():
        flags = {o[2:].replace("-", "_") for p in commands[name].params for o in p.opts if o[:2] == "--"}
        assert flags <= seen, f"{name} takes parameters too"


@pytest.mark.parametrize("name", sorted(frozenset().union(*RESERVED.values())))
def test_a_parameter_with_the_name_of_an_option_is_refused(name):
    refused(f"{name}: int = 3", f"'{name}' of P is an option of 'optimize ", "call it '")


def test_parameters_do_not_begin_with_an_underscore():
    refused("_a: int = 3", "begins with '_'")


def test_a_parameter_may_be_called_self_or_cls():
    problem = made("class P(ts.Problem):\n    self: int = 1\n    cls: int = 2")(self=3, cls=4)
    assert problem.replace(self=5).parameters == {"self": 5, "cls": 4}
