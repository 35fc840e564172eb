"""Columns: read-only, named as declared; labels compare with labels and with nothing else."""

from __future__ import annotations

import enum
import pickle

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.batch import concatenate, take


class Codec(enum.Enum):
    RAW = 16
    INT4 = 4


class Level(enum.IntEnum):
    HIGH = 8
    LOW = 4


class Kernel(ts.Problem):
    tile = ts.Int(1, 4)
    algo = ts.Choice("naive", "tiled", shape=2)
    other = ts.Choice("naive", "tiled", shape=2)
    codec = ts.Choice(Codec)
    level = ts.Choice(Level)
    take = ts.Bool()
    active = ts.Bool()
    position = ts.Int(0, 1)
    share = ts.Float(0, 1)

    time = ts.Metric("s", "min")


POINT = {"tile": 2, "level": "LOW", "take": True, "active": False, "position": 1, "share": 0.5}


@pytest.fixture
def x():
    rows = [
        {**POINT, "algo": ["tiled", "naive"], "other": "naive", "codec": "INT4"},
        {**POINT, "algo": ["naive", "naive"], "other": "tiled", "codec": "RAW"},
    ]
    return Kernel().space.batch(rows)


def test_labels_compare_with_labels_and_members(x):
    assert (x.algo == "tiled").tolist() == [[True, False], [False, False]]
    assert ("tiled" == x.algo).tolist() == [[True, False], [False, False]]  # noqa: SIM300
    assert (x.algo != "tiled").tolist() == [[False, True], [True, True]]
    assert (x.codec == Codec.INT4).tolist() == [True, False]
    assert (x.codec == "INT4").tolist() == [True, False]
    assert (x.level == Level.LOW).tolist() == (x.level == 4).tolist() == [True, True]
    assert (x.algo == x.other).tolist() == [[False, True], [False, False]]
    assert x.codec.isin(Codec.RAW, Codec.INT4).all()
    assert type(x.algo == "tiled") is np.ndarray


def test_a_part_of_a_column_still_compares_with_labels(x):
    assert (x.algo[:, 0] == "tiled").tolist() == [True, False]
    assert bool(x.codec[0] == Codec.INT4)
    assert [bool(c == "INT4") for c in x.codec] == [True, False]
    assert x.codec.tolist() == [Codec.INT4, Codec.RAW]
    assert (x.algo.reshape(-1) == "tiled").sum() == 1
    assert (pickle.loads(pickle.dumps(x.codec)) == Codec.RAW).tolist() == [False, True]


@pytest.mark.parametrize(
    "label", ["tild", "", 1, None, Codec.RAW, ["tiled", "naive"], np.array(["tiled", "naive"])]
)
def test_a_label_the_column_does_not_have_raises(x, label):
    with pytest.raises(ts.SpaceError, match="no label"):
        _ = x.algo == label
    with pytest.raises(ts.SpaceError, match="no label"):
        _ = x.algo != label


@pytest.mark.parametrize(
    "operation",
    [
        lambda c: 4096 / c,
        lambda c: c + 1,
        lambda c: -c,
        lambda c: c < "tiled",
        lambda c: c & 1,
        lambda c: c.sum(),
        lambda c: c.mean(),
        lambda c: c @ np.ones((2, 1)),
        lambda c: np.dot(c, np.ones(2)),
        lambda c: np.isin(c, ["tiled"]),
        lambda c: np.einsum("ij->i", c),
        lambda c: np.where(c == "tiled", c, 0),
        lambda c: np.exp(c),
        lambda c: np.cumsum(c, axis=1),
        lambda c: np.interp(c[0], [0, 1], [2, 3]),
    ],
)
def test_labels_refuse_arithmetic(x, operation):
    with pytest.raises(ts.SpaceError, match="holds labels, not numbers"):
        operation(x.algo)


def test_positions_index_tables(x):
    assert np.array([1.0, 9.0])[x.algo.position].tolist() == [[9.0, 1.0], [1.0, 1.0]]
    assert type(x.algo.position) is np.ndarray


def test_columns_of_different_labels_do_not_compare(x):
    with pytest.raises(ts.SpaceError, match="different labels"):
        _ = x.codec == x.level


def test_columns_are_read_only(x):
    for name in ("tile", "algo", "take", "share"):
        with pytest.raises(ValueError, match="read-only"):
            x[name][0] = 0
    with pytest.raises(ValueError, match="read-only"):
        x.algo.position[:] = 0


def test_any_name_is_free_for_a_variable(x):
    assert x.take.tolist() == [True, True]
    assert x.active.tolist() == [False, False]
    assert x.position.tolist() == x["position"].tolist() == [1, 1]
    assert {n for n in dir(x) if not n.startswith("_")} == set()


def test_a_typo_names_the_nearest_column(x):
    with pytest.raises(ts.SpaceError, match="did you mean 'tile'"):
        _ = x.tyle
    with pytest.raises(ts.SpaceError, match="did you mean 'share'"):
        ts.active(x, "shar")
    assert not hasattr(x, "_repr_html_")


def test_batches_are_cut_joined_and_pickled_as_they_are(x):
    assert x.codec[[1]].tolist() == take(x, [1]).codec.tolist() == [Codec.RAW]
    joined = concatenate([take(x, slice(0, 1)), take(x, np.array([False, True]))])
    points = Kernel().space.points(x)
    assert Kernel().space.points(joined) == points
    copy = pickle.loads(pickle.dumps(x))
    assert Kernel().space.points(copy) == points
    with pytest.raises(ValueError, match="read-only"):
        copy.tile[0] = 3


def test_a_batch_has_a_length_and_no_order_of_columns(x):
    assert len(x) == 2
    with pytest.raises(TypeError, match="not iterable"):
        iter(x)


def test_numbers_are_wide_enough_for_products():
    class Wide(ts.Problem):
        m = ts.Int(1, 2**20)
        bits = ts.Menu(8, 16)

    x = Wide().space.batch({"m": 2**20, "bits": 16})
    assert (x.m * x.m * x.bits).tolist() == [2**44]


def test_active_is_elementwise_and_transitive():
    class Plan(ts.Problem):
        action = ts.Choice("keep", "compress", shape=3)
        codec = ts.Choice(Codec, shape=3, when={"action": "compress"})
        group = ts.Menu(32, 64, shape=3, when={"codec": Codec.INT4})

    x = Plan().space.batch(
        {"action": ["keep", "compress", "compress"], "codec": ["INT4", "RAW", "INT4"], "group": [64, 64, 64]}
    )
    assert ts.active(x, "codec").tolist() == [[False, True, True]]
    assert ts.active(x, "group").tolist() == [[False, False, True]]
    assert x.codec.tolist() == [[Codec.RAW, Codec.RAW, Codec.INT4]]
    assert x.group.tolist() == [[32, 32, 64]]
