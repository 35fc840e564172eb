"""Coefficients come back from data made with known ones; intervals cover; shipped files keep their word."""

import dataclasses
import json
import re

import numpy as np
import pytest

import tradespace.costmodels as models
from tradespace.costmodels import calibration, conformal, fitting, profiles, shipping
from tradespace.costmodels.accuracy import accuracy
from tradespace.costmodels.coefficients import find, shipped
from tradespace.costmodels.fitting import Samples
from tradespace.costmodels.tiles import BOUNDS
from tradespace.errors import DataError
from tradespace.hardware import device
from tradespace.hardware.host import probe

NOISE = 0.05


def synthetic(gpu, family, shapes, values, seed=0):
    """Samples of a family made from known coefficients and 5 % noise."""
    rng = np.random.default_rng(seed)
    size = len(next(iter(shapes.values())))
    blank = Samples(family, "fp16", shapes, np.ones(size), np.arange(size, dtype=float))
    seconds = fitting.predict(gpu, blank, values) * np.exp(rng.normal(0, NOISE, size))
    return Samples(family, "fp16", shapes, seconds, blank.group)


def test_known_coefficients_of_a_linear_family_come_back():
    rng = np.random.default_rng(1)
    values = {"launch": 1.5, "arithmetic": 3.0, "l2": 0.9, "dram": 1.2}
    elements = np.floor(np.exp(rng.uniform(np.log(1e4), np.log(1e9), 4000)))
    shapes = {
        "elements": elements,
        "reads": rng.integers(1, 4, 4000).astype(float),
        "writes": np.ones(4000),
        "operations": rng.integers(0, 60, 4000).astype(float),
    }
    gpu = device("a100-sxm-80gb")
    found = fitting.fit(gpu, synthetic(gpu, "elementwise", shapes, values))
    assert found == pytest.approx(values, rel=0.05)


def test_known_coefficients_of_the_tiled_law_come_back():
    rng = np.random.default_rng(2)
    values = {"efficiency": 0.8, "step": 3.0, "tile": 2500.0, "launch": 1.5, "second": 1.0, "dram": 0.75,
              "short": 0.4, "p": 3.0, "droop": 0.1}  # fmt: skip
    m, n, k = (np.floor(np.exp(rng.uniform(np.log(low), np.log(high), 4000))) for low, high in
               ((1, 16384), (64, 32768), (64, 32768)))  # fmt: skip
    gpu = device("a100-sxm-80gb")
    rows = synthetic(gpu, "gemm", {"m": m, "n": n, "k": k, "batch": np.ones(4000)}, values)
    found = fitting.fit(gpu, rows)
    for name in ("efficiency", "step", "tile", "launch", "second", "dram"):
        assert found[name] == pytest.approx(values[name], rel=0.05), name
    again = fitting.predict(gpu, rows, found) / fitting.predict(gpu, rows, values)
    assert np.abs(np.log(again)).max() < 0.05


def test_a_conformal_interval_covers_what_it_promises():
    rng = np.random.default_rng(3)
    predicted = 10 ** rng.uniform(-6, -2, 4000)
    measured = predicted * np.exp(rng.standard_t(3, 4000) * np.where(predicted < 1e-4, 0.2, 0.05))
    kept = conformal.profile(predicted[:2000], measured[:2000])
    sigma = conformal.sigma_at(predicted[2000:], tuple(kept["decades"]), tuple(kept["sigmas"]))
    low, high = conformal.binomial_band(2000)
    for small in (predicted[2000:] < 1e-4, predicted[2000:] >= 1e-4):
        covered = conformal.coverage(predicted[2000:][small], measured[2000:][small], sigma[small])
        assert low - 0.03 < covered < high + 0.03
    assert sigma[predicted[2000:] < 1e-5].min() > 2 * sigma[predicted[2000:] > 1e-3].max()


def test_rank_correlation_and_errors_match_their_definitions():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(4)
    a = np.round(rng.uniform(1, 9, 500), 1)
    b = a * np.exp(rng.normal(0, 0.2, 500))
    found = accuracy(a, b)
    assert found.spearman == pytest.approx(spearmanr(a, b).statistic)
    assert found.mape == pytest.approx(np.abs(a / b - 1).mean())


def bars():
    """The bars of held-out error that shipped coefficients promise: (device, family, dtype) -> MAPE."""
    return {
        ("a100-sxm-80gb", "gemm", "bf16"): 0.09,
        ("h100-sxm-80gb", "gemm", "bf16"): 0.105,
        ("a100-sxm-80gb", "attention_prefill", "bf16"): 0.12,
        ("h100-sxm-80gb", "attention_prefill", "bf16"): 0.17,
        ("a100-sxm-80gb", "attention_decode", "bf16"): 0.16,
        ("h100-sxm-80gb", "attention_decode", "bf16"): 0.14,
        **{
            (name, operation, "int8"): 0.15
            for name in ("a100-sxm-80gb", "h100-sxm-80gb")
            for operation in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
        },
        ("a100-pcie-40gb", "elementwise", "fp32"): 0.03,
        ("v100-pcie-32gb", "elementwise", "fp32"): 0.03,
        ("t4-16gb", "elementwise", "fp32"): 0.03,
    }


@pytest.mark.parametrize("key", bars(), ids="-".join)
def test_shipped_coefficients_reached_their_bar_on_held_out_groups(key):
    name, family, dtype = key
    report = shipped()[name]["families"][family][dtype]["report"]
    assert report["mape"] <= bars()[key]
    assert report["spearman"] >= 0.95


def test_shipped_files_name_their_data_and_respect_physics():
    from tradespace.costmodels import serving

    for name, record in shipped().items():
        assert device(name).family == record["family"]
        for family, entries in record["families"].items():
            for entry in entries.values():
                assert entry["source"]
                values = entry["values"]
                assert all(value >= 0 for value in values.values())
                for limits in (
                    (BOUNDS,) if family == "gemm" else (serving.BOUNDS,) if family == "serving" else ()
                ):
                    for key, value in values.items():
                        assert limits[key][1] * 0.999 <= value <= limits[key][2] * 1.001, (name, family, key)
                if family not in {"gemm", "serving"}:
                    assert values.get("dram", 1.0) >= 0.999
                    assert values.get("link", 1.0) >= 0.999


def test_a_small_folder_of_profiles_fits_and_ships(tmp_path):
    """The whole path from CSV to coefficients on synthetic rows in a stored format."""
    gpu = device("a100-sxm-80gb")
    rng = np.random.default_rng(5)
    m, n, k = (rng.choice([16, 64, 128, 512, 1024, 4096], 300) for _ in range(3))
    seconds = models.gemm(gpu, m=m, n=n, k=k).time
    folder = tmp_path / "aiconfigurator"
    folder.mkdir()
    rows = "\n".join(
        f"bfloat16,x,{a},{b},{c},{1e3 * t:.6g}" for a, b, c, t in zip(m, n, k, seconds, strict=True)
    )
    (folder / "a100_sxm_gemm_bfloat16.csv").write_text("dtype,kernel_source,m,n,k,latency_ms\n" + rows)
    records = shipping.build([tmp_path])
    assert records["a100-sxm-80gb"]["families"]["gemm"]["bf16"]["report"]["mape"] < 0.03
    shipping.write(records, tmp_path / "out")
    again = json.loads((tmp_path / "out" / "a100-sxm-80gb.json").read_text())
    assert again == records["a100-sxm-80gb"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m,n,k\n1,2,3\n", "must have a column 'latency_ms'"),
        ("m,n,k,latency_ms\n1,2,3,fast\n", "column 'latency_ms' must hold numbers"),
        ("m,n,k,latency_ms\n1,2,3\n", "row 1 of .* has 3 cells, its header 4"),
        ("m,n,k,latency_ms\n", "at least one row"),
        ("m,n,k,latency_ms\n1,2,3,-1\n", "must have positive times"),
    ],
)
def test_a_broken_profile_gets_one_sentence(tmp_path, text, words):
    folder = tmp_path / "aiconfigurator"
    folder.mkdir()
    (folder / "a100_sxm_gemm_bfloat16.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        list(profiles.load(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_profiles_says_what_it_expects(tmp_path):
    with pytest.raises(DataError, match=re.escape("must hold aiconfigurator/")):
        list(profiles.load(tmp_path))
    with pytest.raises(DataError, match="is not a folder"):
        list(profiles.load(tmp_path / "nowhere"))


def synthetic_host(noise=0.05):
    """Timings of a whole calibration, made by a host of known coefficients."""
    rng = np.random.default_rng(6)
    host = probe()
    drawn = [c for c in calibration.plan(probe(), shapes=25) if c.family != "layer"]
    seconds = np.empty(len(drawn))
    for index, case in enumerate(drawn):
        one = {name: np.array([value]) for name, value in case.shape.items()}
        rows = Samples(case.family, case.dtype, one, np.ones(1), np.zeros(1))
        seconds[index] = fitting.predict(host, rows, find(host, case.family, case.dtype).values)[0]
    return host, drawn, seconds * np.exp(rng.normal(0, noise, len(drawn)))


def test_calibration_recovers_a_host_and_survives_storage(tmp_path, monkeypatch):
    host, drawn, seconds = synthetic_host()
    device_ = calibration.fitted(host, drawn, seconds, np.zeros(len(drawn)))
    monkeypatch.setenv("TRADESPACE_HOME", str(tmp_path))
    calibration.store(device_)
    from tradespace.hardware import device as by_name

    again = by_name("host")
    assert again == device_
    cost = models.gemm(again, m=512, n=512, k=512, dtype="fp32")
    assert cost.tier == "calibrated"
    assert cost.time == pytest.approx(models.gemm(host, m=512, n=512, k=512, dtype="fp32").time, rel=0.1)
    assert cost.sigma < 0.2
    assert models.gemm(again.replace(clock=4e9), m=512, n=512, k=512).tier == "same family"


@pytest.mark.parametrize("name", ["h100-sxm-80gb", "card.toml"])
def test_what_is_calibrated_is_found_again_under_its_name(name, tmp_path, monkeypatch):
    from tradespace.hardware import device as by_name

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRADESPACE_HOME", str(tmp_path / "home"))
    card = tmp_path / "card.toml"
    card.write_text(
        'like = "h100-sxm-80gb"\n[quantities]\nclock = { value = "1.5GHz", source = "us", kind = "guess" }\n'
    )
    before = by_name(name)
    gemm = shipped()["a100-sxm-80gb"]["families"]["gemm"]
    made = dataclasses.replace(before, calibration={"gemm": gemm})
    stored = calibration.store(made)
    assert by_name(name) == made != before
    assert find(by_name(name), "gemm", "bf16").values == find(by_name("a100-sxm-80gb"), "gemm", "bf16").values
    calibration.store(made.replace(made.name, clock=1e9), stored)
    with pytest.warns(UserWarning, match="no longer the device that was calibrated"):
        assert by_name(name) == before
    stored.write_text("{")
    with pytest.raises(DataError, match=f"optimize calibrate {before.name}"):
        by_name(name)


def test_unstable_timings_are_refused_with_advice():
    host, drawn, seconds = synthetic_host()
    with pytest.raises(DataError, match="quieter machine"):
        calibration.fitted(host, drawn, seconds, np.ones(len(drawn)))


def test_a_fit_that_is_off_by_half_is_not_kept_and_said():
    host, drawn, seconds = synthetic_host()
    before = calibration.fitted(host, drawn, seconds, np.zeros(len(drawn)))
    noise = np.exp(np.random.default_rng(5).normal(0, 3, len(drawn)))
    hit = np.array([case.family == "gemm" for case in drawn])
    with pytest.warns(UserWarning, match=r"not calibrated: gemm fp32 \(off by \d+%"):
        after = calibration.fitted(
            before, drawn, np.where(hit, seconds * noise, seconds), np.zeros(len(drawn))
        )
    assert after.calibration["gemm"] == before.calibration["gemm"]
    assert after.calibration.keys() == before.calibration.keys()
    with pytest.raises(DataError, match="Nothing is kept"):
        calibration.fitted(host, drawn, seconds * noise, np.zeros(len(drawn)))


def touched(host, case):
    """Bytes a case moves through the first cache: what decides the level it lives in."""
    shapes = {name: np.array([value]) for name, value in case.shape.items()}
    features = Samples(case.family, case.dtype, shapes, np.ones(1), np.ones(1)).features(host)
    return float(features.traffic["l1"][0])


@pytest.mark.parametrize(
    "caches",
    [
        {},
        {"l1": 2.0**15, "l2": 2.0**20},
        {"l1": 2.0**15, "l2": 2.0**18, "l3": 2.0**20},
        {"l1": 48 * 2.0**10, "l2": 2.0**21, "l3": 300 * 2.0**20},
        {"l1": 2.0**16, "l2": 2.0**21, "l3": 2.0**30},
    ],
    ids=["none reported", "no L3", "1 MiB", "300 MiB", "1 GiB"],
)
def test_sampled_shapes_touch_every_memory_level(caches, monkeypatch):
    monkeypatch.setattr("tradespace.hardware.host._caches", lambda: caches)
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**24}[name])
    host = probe()
    for family in ("elementwise", "softmax", "layer_norm"):
        drawn = [case for case in calibration.plan(host, 25, (family,)) if case.dtype == "fp32"]
        working = [touched(host, case) for case in drawn]
        inner = [host.level(level).capacity for level in ("l1", "l2", "l3")]
        counts = np.histogram(working, bins=[0, *inner, np.inf])[0]
        assert np.all(counts > 0), (family, counts)
