"""Problem classes: one namespace, frozen parameters, pins, identity."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.digest import digest, encode


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


class Tile(ts.Problem):
    """A small problem with one of everything."""

    rows: int = 64
    memory: float = ts.param(2.0, unit="B", help="memory")
    mode: Mode = Mode.FAST
    table: Any = ts.param(factory=lambda: np.arange(3.0))

    tile: ts.Int = ts.Int(1, 8)
    codec = ts.Choice(Mode)
    plan = ts.Bool(shape=2)

    latency = ts.Metric("s", "min")
    peak: ts.Metric = ts.Metric("B", at_most="memory")

    def evaluate(self, x):
        return {"latency": self.rows / x.tile, "peak": x.tile * 1.0}


# --- declarations --------------------------------------------------------------------------------
def test_a_value_that_is_a_variable_or_a_metric_is_a_declaration_annotated_or_not():
    problem = Tile()
    assert [*problem.parameters] == ["rows", "memory", "mode", "table"]
    assert [*problem.space.domains] == ["tile", "codec", "plan"]
    assert [*problem.metrics] == ["latency", "peak"]


def declare(body: str) -> type:
    """The class P of some source without a file, as in a notebook."""
    module = types.ModuleType("notebook")
    vars(module).update({"ts": ts, "np": np, "Tile": Tile, "Any": Any, "ClassVar": ClassVar})
    sys.modules["notebook"] = module
    exec(compile(textwrap.dedent(body), "<cell>", "exec", dont_inherit=True), vars(module))
    return module.P


CLASHES = {
    "twice, as two kinds": "memory = ts.Int(0, 3)\n    memory = ts.Metric('B')",
    "twice, as two variables": "a = ts.Int(0, 3)\n    a = ts.Int(0, 4)",
    "twice, as a parameter and a variable": "a: int = 3\n    a = ts.Int(0, 4)",
    "twice, as a variable and a parameter": "a = ts.Int(0, 4)\n    a: int = 3",
    "twice, as two parameters": "a: int = 3\n    a: int = 4",
    "as a variable and a method": "a = ts.Int(0, 3)\n    def a(self): return 1",
    "as a parameter and a method": "a: int = 3\n    def a(self): return 1",
}


@pytest.mark.parametrize("body", CLASHES.values(), ids=CLASHES.keys())
def test_a_name_declared_twice_in_one_body_is_refused(body):
    with pytest.raises(ts.SpaceError, match="declared twice in P"):
        declare(f"class P(ts.Problem):\n    {body}")


@pytest.mark.parametrize("value", ["[]", "{}", "np.zeros(3)", "ts.param([1])"])
def test_a_mutable_default_is_refused_with_the_remedy(value):
    with pytest.raises(ts.SpaceError, match=r"ts\.param\(factory="):
        declare(f"class P(ts.Problem):\n    a: Any = {value}")


def test_settings_of_a_class_are_no_parameters_and_are_checked():
    made = declare(
        "class P(ts.Problem):\n    cost: str = 'slow'; stochastic: bool = True; shared: ClassVar[int] = 3"
    )
    assert made().parameters == {}
    assert (made.cost, made.stochastic, made.shared) == ("slow", True, 3)
    for body in ("cost = 'slwo'", "stochastic = 1"):
        with pytest.raises(ts.SpaceError, match="must be"):
            declare(f"class P(ts.Problem):\n    {body}")


# --- subclasses ----------------------------------------------------------------------------------
def test_a_subclass_adds_and_redeclares_in_place():
    made = declare("class P(Tile):\n    rows: int = 128\n    tile = ts.Int(1, 2)\n    extra = ts.Bool()")
    problem = made()
    assert problem.rows == 128
    assert [*problem.space.domains] == ["tile", "codec", "plan", "extra"]
    assert problem.space.size == 2 * 2 * 4 * 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("tile: int = 2", r"pin it with problem\.fix\(tile="),
        ("tile = 2", r"pin it with problem\.fix\(tile="),
        ("tile: int", "already"),
        ("tile = ts.Metric('s')", "already"),
        ("def tile(self): return 3", "already"),
        ("latency = 3", "already"),
        ("rows = 128", "write 'rows: TYPE = ...'"),
        ("rows = ts.Int(1, 2)", "parameter already"),
        ("def rows(self): return 3", "parameter already"),
    ],
)
def test_a_subclass_does_not_change_a_declaration_silently(body, words):
    with pytest.raises(ts.SpaceError, match=words):
        declare(f"class P(Tile):\n    {body}")


def test_declarations_of_a_plain_mixin_count():
    made = declare("class M:\n    a = ts.Int(0, 3)\nclass P(M, ts.Problem):\n    b = ts.Bool()")
    assert [*made().space.domains] == ["a", "b"]


# --- parameters ----------------------------------------------------------------------------------
def test_problems_are_frozen_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tile().rows = 3
    with pytest.raises(TypeError):
        Tile(3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tile(rowz=3), "no parameter 'rowz'; did you mean 'rows'"),
        (lambda: Tile().replace(rowz=3), "no parameter 'rowz'; did you mean 'rows'"),
        (lambda: Tile(tile=3), r"pin it with problem\.fix\(tile="),
        (lambda: Tile().fix(tyle=3), "did you mean 'tile'"),
        (lambda: Tile().fix(tile=9), "from 1 to 8, got 9"),
        (lambda: ts.Problem(), "base class"),
        (lambda: declare("class P(ts.Problem):\n    a: int")(), "needs the parameter 'a'"),
    ],
)
def test_a_wrong_parameter_or_pin_is_named(make, words):
    with pytest.raises(ts.SpaceError, match=words):
        make()


def test_choices_of_a_parameter_are_kept():
    class Limited(ts.Problem):
        word: str = ts.param("a", choices=("a", "b"))
        other: str = ts.param("x", choices="letters")
        kind: Literal["u", "v"] = "u"

        @property
        def letters(self):
            return ("x", "y")

    assert Limited(word="b", other="y").word == "b"
    for wrong in ({"word": "c"}, {"other": "z"}):
        with pytest.raises(ts.SpaceError, match="must be one of"):
            Limited(**wrong)


def test_prepare_runs_at_creation_and_on_arrival():
    class Prepared(ts.Problem):
        a: int = 1

        def prepare(self):
            if self.a < 1:
                raise ts.SpaceError("a must be positive")
            object.__setattr__(self, "table", np.arange(self.a))

    with pytest.raises(ts.SpaceError, match="positive"):
        Prepared(a=0)
    assert copy.copy(Prepared(a=4)).table.tolist() == [0, 1, 2, 3]


# --- fix -----------------------------------------------------------------------------------------
def test_a_fixed_variable_stays_in_the_point_and_leaves_the_count():
    fixed = Tile().fix(tile=4).fix(plan=[True, False])
    assert fixed.space.size == 2
    points = [p for batch in fixed.space.enumerate() for p in fixed.space.points(batch)]
    assert all((p["tile"], p["plan"]) == (4, [True, False]) for p in points)
    assert fixed.space.sample(np.random.default_rng(0), 5).tile.tolist() == [4] * 5
    assert fixed.space.batch({"codec": "FAST"}).tile.tolist() == [4]
    with pytest.raises(ts.SpaceError, match="fixed to 4"):
        fixed.space.batch({"tile": 3, "codec": "FAST"})
    assert Tile().space.size == 8 * 2 * 4


def test_pins_survive_replace_and_are_checked_again():
    class Grown(ts.Problem):
        n: int = 4
        plan = ts.Bool(shape="n")

    fixed = Grown().fix(plan=[True] * 4)
    assert fixed.replace(n=4).space.size == 1
    with pytest.raises(ts.SpaceError, match="shape"):
        fixed.replace(n=5)


# --- identity ------------------------------------------------------------------------------------
def test_equal_problems_are_equal_and_hash_alike():
    assert Tile() == Tile(table=np.arange(3.0))
    assert len({Tile(), Tile(), Tile(rows=3)}) == 2
    assert Tile() != "Tile"


@pytest.mark.parametrize(
    "other",
    [
        Tile(rows=65),
        Tile(mode=Mode.SLOW),
        Tile(table=np.arange(4.0)),
        Tile(table=np.arange(3)),
        Tile().fix(tile=2),
        Tile().fix(tile=3),
        declare("class P(Tile):\n    pass")(),
    ],
)
def test_the_digest_changes_with_class_parameters_and_pins(other):
    assert other.digest != Tile().digest
    assert other != Tile()


def test_one_problem_written_two_ways_has_one_digest():
    assert Tile(memory=2).digest == Tile(memory=2.0).digest == Tile(memory=np.float64(2)).digest
    assert Tile().fix(codec="SLOW").digest == Tile().fix(codec=Mode.SLOW).digest
    assert Tile().fix(tile=2, codec="SLOW").digest == Tile().fix(codec="SLOW").fix(tile=2.0).digest


def test_an_object_without_content_is_refused_never_its_repr():
    with pytest.raises(ts.SpaceError, match=r"parameter 'table' of Tile is a object"):
        _ = Tile(table=object()).digest
    with pytest.raises(ts.SpaceError, match="array of objects"):
        _ = Tile(table=np.array([object()])).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0.5, "0.5"),
        (float("nan"), "nan"),
        (Path("a"), "a"),
        (Mode.FAST, 1),
        ((1, 2), {1, 2}),
        (np.zeros(2), np.zeros((2, 1))),
        (None, "None"),
    ],
)
def test_different_values_are_encoded_differently(one, other):
    assert digest(encode(one)) != digest(encode(other))


def test_sets_and_mappings_are_encoded_without_order():
    assert encode({"b", "a", "c"}) == encode({"c", "b", "a"})
    assert encode(ts.device("a100-sxm-80gb")) == encode(ts.device("a100-sxm-80gb"))


FILE = """
from __future__ import annotations
import numpy as np
import tradespace as ts

TABLE = {table}
LEVELS = {levels}

def helper(x):
    return x * {factor}

class Mine(ts.Problem):
    size: int = 8
    names: frozenset = frozenset(["a", "b", "c", "d"])
    device: ts.Device = ts.device("a100-sxm-80gb")
    a = ts.Int(0, LEVELS)
    time = ts.Metric("s", "min")

    @ts.pointwise
    def evaluate(self, x):
        return {{"time": helper(x.a) + TABLE[0] {sign} len({{"p", "q", "r"}})}}

if __name__ == "__main__":
    print(Mine().digest)
"""
SETTINGS = {"table": "(1, 2)", "levels": 4, "factor": 2, "sign": "+"}


def digest_of(path: Path, hash_seed: str = "0", **changes: Any) -> str:
    path.write_text(FILE.format(**{**SETTINGS, **changes}))
    code = f"import tradespace.problems.registry as r; print(r.load(r'{path}').__call__().digest)"
    env = {"PYTHONHASHSEED": hash_seed, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_digest_follows_the_source_and_not_the_process(tmp_path):
    path = tmp_path / "mine.py"
    base = digest_of(path)
    assert digest_of(path, "77") == base
    changed = [
        digest_of(path, **change)
        for change in ({"table": "(1, 3)"}, {"factor": 3}, {"sign": "-"}, {"levels": 5})
    ]
    assert len({base, *changed}) == 5


BODY = """class P(ts.Problem):
    a = ts.Int(0, 3)
    t = ts.Metric("s")
    def evaluate(self, x): return {"t": %s}"""


def test_without_a_source_file_the_bytecode_stands_for_it():
    digests = [
        declare(BODY % text)().digest
        for text in ("np.sin(x.a)", "np.sin(x.a)", "np.cos(x.a)", "np.sin(x.a) + 1", "(lambda v: v)(x.a)")
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert declare(BODY % "(lambda v: v)(x.a)")().digest == digests[4]


def test_a_class_made_by_a_function_is_told_by_what_it_closes_over():
    def make(factor):
        class Made(ts.Problem):
            a = ts.Int(0, 3)
            t = ts.Metric("s")

            def evaluate(self, x):
                return {"t": x.a * factor}

        return Made()

    assert make(2.0).digest == make(2.0).digest != make(3.0).digest


def test_a_pickled_problem_is_the_same_problem_without_its_caches():
    problem = Tile(rows=7).fix(tile=3)
    _ = problem.space, problem.digest
    again = pickle.loads(pickle.dumps(problem))
    assert "space" not in vars(again)
    assert again == problem
    assert again.space.batch({"codec": "SLOW", "plan": True}).tile.tolist() == [3]


def test_a_draw_redraws_devices_and_keeps_everything_else():
    class Timed(ts.Problem):
        device: ts.Device = ts.device("a100-sxm-80gb")
        twin: ts.Device = ts.device("a100-sxm-80gb")
        rows: int = 4
        a = ts.Int(0, 3)
        b = ts.Int(0, 3)
        t = ts.Metric("s")

    def drawn(seed):
        return Timed(rows=5).fix(a=2).draw(np.random.default_rng(seed))

    assert drawn(0).device != Timed().device
    assert drawn(0).device == drawn(0).twin
    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(0).rows == 5
    assert drawn(0).space.batch({"b": 1}).a.tolist() == [2]
    assert Tile().draw(np.random.default_rng(0)) == Tile()


def test_defining_a_problem_imports_nothing_heavier_than_numpy():
    code = (
        "import sys, tradespace.problems.problem, tradespace.problems.scoring\n"
        "heavy = set('torch scipy pandas pyomo optuna highspy moocore deap plotly numba'.split())\n"
        "print(sorted(heavy & {m.partition('.')[0] for m in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_type_checkers_see_a_positional_default_of_param():
    """A field specifier's default counts only by keyword (PEP 681), so `param` must not be one."""
    seen = type(ts.Problem).__dataclass_transform__
    assert (seen["kw_only_default"], seen["eq_default"]) == (True, False)
    assert ts.param not in seen["field_specifiers"]
