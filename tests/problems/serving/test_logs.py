"""Logs of real engines: read in any folder, their cache found, the simulator fitted on the first requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradespace.costmodels import IterationLaw
from tradespace.errors import DataError
from tradespace.problems.serving.engine import Engine, Replay, simulate
from tradespace.problems.serving.generate import requests
from tradespace.problems.serving.logs import engine_of, floors, held_at, published, read_log
from tradespace.problems.serving.validate import validate

LAW = IterationLaw(fixed=0.01, weights=0.015, per_decode=1e-4, per_cached=2e-7, per_token=9e-5, per_pair=4e-9)
ENGINE = Engine(LAW, blocks=800, max_running=256)
LIMITS = {"engine_kwargs": {"max_num_seqs": 256, "max_num_batched_tokens": 2048}}


@pytest.fixture(scope="module")
def overloaded() -> Replay:
    """Requests that come faster than an engine serves them and soon wait for its cache."""
    return simulate(requests(180, rate=12.0, input_mean=400, output_mean=150), ENGINE)


def write(folder: Path, real: Replay, meta: Mapping[str, Any] | None = None) -> Path:
    """A replay as a vLLM log: queued when the engine sees a request, as vLLM stamps it."""
    folder.mkdir(parents=True, exist_ok=True)
    trace, start = real.trace, 1000.0
    rows = [
        {
            "input_toks": int(trace.input[i]),
            "output_toks": int(trace.output[i]),
            "queued_ts": start + float(real.released[i]),
            "scheduled_ts": start + max(float(real.released[i]), float(real.first_token[i]) - 0.1),
            "first_token_ts": start + float(real.first_token[i]),
            "last_token_ts": start + float(real.last_token[i]),
        }
        for i in range(len(trace))
    ]
    (folder / "requests.jsonl").write_text("\n".join(map(json.dumps, rows)))
    if meta is not None:
        (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_requests_that_were_not_fitted_are_predicted(tmp_path: Path, overloaded: Replay) -> None:
    """Fitted alone, without those that share the engine with them, the first 100 miss by half and more."""
    cache = {"kv_cache": {"num_gpu_blocks": 801, "block_size": 16}}
    found = validate(write(tmp_path, overloaded, LIMITS | cache))
    error = {row["quantity"]: row["error"] for row in found.rows[:-1]}
    assert abs(error["mean latency"]) < 0.02
    assert abs(error["TTFT median"]) < 0.03
    assert abs(error["TPOT mean"]) < 0.02
    assert all("peer" not in row for row in found.rows)


def test_the_cache_of_a_log_that_is_silent_about_it_is_found(tmp_path: Path, overloaded: Replay) -> None:
    log = read_log(write(tmp_path, overloaded, LIMITS))
    engine, source, exact = engine_of(log, seen=100)
    assert not exact
    assert "waited" in source
    assert engine.blocks == pytest.approx(ENGINE.blocks, rel=0.1)


def test_the_cache_is_taken_from_where_it_stands(tmp_path: Path, overloaded: Replay) -> None:
    for meta in (
        {"kv_cache": {"num_gpu_blocks": 801, "block_size": 16}},
        {"kv_cache": {"num_kv_tokens": 801 * 16}},
        {"resolved_config": {"cache_config": {"num_gpu_blocks": 801, "block_size": 16}}},
        {"kv_cache": None, "resolved_config": {"cache_config": {"kv_cache_size_tokens": 801 * 16}}},
    ):
        engine, _, exact = engine_of(read_log(write(tmp_path, overloaded, LIMITS | meta)))
        assert exact
        assert engine.blocks == 800
        assert (engine.max_running, engine.token_budget) == (256, 2048)


def test_what_nothing_tells_is_asked(tmp_path: Path) -> None:
    idle = simulate(requests(120, rate=0.5, input_mean=100, output_mean=20), ENGINE)
    log = read_log(write(tmp_path, idle, LIMITS))
    with pytest.raises(DataError, match="give --kv-tokens"):
        engine_of(log, seen=100)
    assert engine_of(log, kv_tokens=12_800)[0].blocks == 799


def test_usage_over_time_tells_the_cache(tmp_path: Path) -> None:
    idle = simulate(requests(120, rate=2.0, input_mean=400, output_mean=150), ENGINE)
    write(tmp_path, idle, LIMITS)
    log = read_log(tmp_path)
    seconds = np.arange(1.0, log.trace.arrival[-1])
    used = [100 * held_at(log, 16, 120, float(t)) / (16 * 800) for t in seconds]
    lines = [f"{t},{u}" for t, u in zip(seconds, used, strict=True)]
    (tmp_path / "timeseries.csv").write_text("\n".join(["t,kv_cache_pct", *lines]))
    engine, source, _ = engine_of(read_log(tmp_path), seen=100)
    assert "timeseries.csv" in source
    assert engine.blocks == pytest.approx(800, rel=0.01)


def test_floors_divide_by_the_devices_that_share_a_layer(tmp_path: Path, overloaded: Replay) -> None:
    def floor(shards: int, name: str) -> IterationLaw:
        kwargs = {"tensor_parallel_size": shards, "dtype": "bfloat16"}
        meta = {"model": "/models/Llama-3.1-8B", "hardware": {"device_name": name}, "engine_kwargs": kwargs}
        return floors(read_log(write(tmp_path, overloaded, meta)))

    alone, pair = (floor(n, "NVIDIA GeForce RTX 4090") for n in (1, 2))
    assert np.allclose(alone.constants, 2 * pair.constants)
    assert 0.014 < alone.weights < 0.018
    assert floor(1, "NVIDIA L40S").weights < floor(1, "NVIDIA L4").weights
    assert not floor(1, "an unknown device").constants.any()


def test_a_log_is_found_in_the_folders_below(tmp_path: Path, overloaded: Replay) -> None:
    write(tmp_path / "a" / "vllm", overloaded, LIMITS)
    assert len(read_log(tmp_path).trace) == 180
    write(tmp_path / "b" / "vllm", overloaded, LIMITS)
    with pytest.raises(DataError, match="holds 2 logs"):
        read_log(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no requests\.jsonl"):
        read_log(tmp_path / "empty")


def test_requests_without_an_answer_are_left_out_and_counted(tmp_path: Path, overloaded: Replay) -> None:
    path = write(tmp_path, overloaded, LIMITS) / "requests.jsonl"
    failed = {"input_toks": 5, "output_toks": 0, "queued_ts": 1001.0, "first_token_ts": None}
    path.write_text(path.read_text() + "\n" + json.dumps(failed) + "\n\n")
    log = read_log(tmp_path)
    assert (len(log.trace), log.failed) == (180, 1)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "row 1 of requests.jsonl cannot be read as JSON"),
        ("[1]", "must be a JSON object"),
        ('{"output_toks": 1, "queued_ts": 0}', "input_toks is missing"),
        ('{"input_toks": 1, "output_toks": 1, "queued_ts": "x"}', "queued_ts must be a number"),
    ],
)
def test_a_broken_row_is_one_sentence(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "requests.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=sentence):
        read_log(tmp_path)


def test_a_peer_is_shown_by_the_summary_beside_its_log(tmp_path: Path, overloaded: Replay) -> None:
    write(tmp_path / "vllm", overloaded, LIMITS)
    assert published(tmp_path) == {}
    (tmp_path / "validation").mkdir()
    table = "Metric   vLLM   Sim   Diff%\n-----\nTTFT Median   200.0   210.0   +5.0%\nTPOT P90  1  2  +1%\n"
    (tmp_path / "validation" / "summary.txt").write_text(table)
    assert published(tmp_path) == pytest.approx({"TTFT median": 0.05})
