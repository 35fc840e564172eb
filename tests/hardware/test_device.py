"""A device is one frozen record: equal by content, hashable, picklable, with or without design axes."""

import json
import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

import tradespace.hardware as hardware
from tradespace.errors import DataError
from tradespace.hardware.record import Device


@pytest.fixture
def a100():
    return hardware.device("a100-sxm-80gb")


@pytest.fixture
def sweep(a100):
    return a100.sweep(dram_bandwidth=[1e12, 2e12, 3e12], cores=[54, 108, 216])


def test_names_are_listed_without_numpy():
    code = "import sys, tradespace.hardware as h; assert h.names(); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=sys.path[0] or None)


@pytest.mark.parametrize("name", [n for n in hardware.names() if n != "host"])
def test_every_number_has_a_unit_a_source_and_a_kind(name):
    for row in hardware.describe(name):
        assert row.source, f"{row.field} of {name} has no source"
        assert row.unit or row.field == "cores"
        assert row.kind in {"datasheet", "derived", "measured", "literature", "guess"}
        if "remembered" in row.source:
            assert row.kind == "guess", f"{row.field} of {name} is remembered, yet called {row.kind}"
        if row.low is not None and row.high is not None:
            assert row.low <= row.value <= row.high


@pytest.mark.parametrize("name", hardware.names())
def test_unknown_is_none_and_never_zero(name):
    assert all(row.value is None or np.all(np.asarray(row.value) > 0) for row in hardware.describe(name))


def test_levels_grow_outwards_and_slow_down():
    for name in hardware.names():
        device = hardware.device(name)
        levels = [device.level(level) for level in device.levels]
        for inner, outer in pairwise(levels):
            assert inner.capacity < outer.capacity
            assert inner.bandwidth > outer.bandwidth


def test_records_survive_pickle_and_json(a100, sweep):
    for device in (a100, sweep, hardware.device("host")):
        assert pickle.loads(pickle.dumps(device)) == device
        again = Device.from_record(json.loads(json.dumps(device.record())))
        assert again == device
        assert hash(again) == hash(device)


def test_equality_is_by_content(a100, sweep):
    assert a100.replace() == a100
    assert a100.replace(dram_bandwidth=1e12) != a100
    assert sweep == a100.sweep(dram_bandwidth=[1e12, 2e12, 3e12], cores=[54, 108, 216])
    assert sweep != a100.sweep(dram_bandwidth=[1e12, 2e12, 4e12], cores=[54, 108, 216])
    assert len({a100, hardware.device("a100-sxm-80gb"), sweep}) == 2


def test_digest_is_the_same_in_another_process(a100):
    code = "import tradespace.hardware as h; print(h.device('a100-sxm-80gb').digest)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == a100.digest


def test_nobody_can_change_a_record(a100, sweep):
    with pytest.raises(AttributeError):
        a100.name = "mine"
    with pytest.raises(ValueError):
        sweep.bandwidth[0] = 0.0
    with pytest.raises(TypeError):
        a100.quantities["clock"] = None
    values = np.array([1e12, 2e12])
    device = a100.sweep(dram_bandwidth=values)
    values[0] = 5e12
    assert device.bandwidth[0] == 1e12


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hardware.device("a100-sxm-80"), "did you mean 'a100-sxm-80gb'"),
        (lambda: hardware.device("v100-sxm-32gb").peak("bf16"), "no arithmetic peak for dtype 'bf16'"),
        (lambda: hardware.device("h100-sxm-80gb").peak("bf61"), "did you mean 'bf16'"),
        (lambda: hardware.device("l4-24gb").level("drum"), "did you mean 'dram'"),
        (lambda: hardware.device("l4-24gb").link("nvlink"), "no link 'nvlink'"),
        (lambda: hardware.device("l4-24gb").replace(dram_bandwith=1.0), "did you mean 'dram_bandwidth'"),
        (lambda: hardware.device("l4-24gb").replace(clock=-1.0), "must be finite and not negative"),
        (lambda: hardware.device("epyc-9354").value("area"), "is unknown"),
        (lambda: Device.from_record({"name": "x"}), "lacks 'kind'"),
        (lambda: Device.from_record({**hardware.device("l4-24gb").record(), "levels": []}), "lack 'dram'"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(DataError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_broken_host_file_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TRADESPACE_HOME", str(tmp_path))
    (tmp_path / "host.json").write_text("{")
    with pytest.raises(DataError, match="optimize calibrate"):
        hardware.device("host")
