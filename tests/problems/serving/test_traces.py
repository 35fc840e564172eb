"""Traces: readers of public formats on small inputs, round trips, and bad rows by number."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tradespace.errors import DataError
from tradespace.problems.serving.generate import requests
from tradespace.problems.serving.readers import read_trace, write_csv
from tradespace.problems.serving.trace import Stage, Trace

FILES = {
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "mooncake.jsonl": '{"timestamp": 0, "input_length": 600, "output_length": 6, "hash_ids": [4, 9]}\n'
    '{"timestamp": 1500, "input_length": 600, "output_length": 4, "hash_ids": [4, 10]}\n',
    "burst.csv": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,API\n"
    "45,GPT-4,1,0,1,API\n118,GPT-4,1087,230,1317,API\n",
    "functions.csv": "app,func,end_timestamp,duration\na,f,2.5,0.5\nb,g,2.6,2.0\n",
    "minutes.csv": "HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,2,1\n",
    "vllm.jsonl": '{"input_toks": 10, "output_toks": 5, "queued_ts": 100.5}\n'
    '{"input_toks": 9, "output_toks": 4, "queued_ts": 100.0}\n',
    "plain.csv": "arrival,input,output\n0,10,5\n1.5,20,6\n",
}


@pytest.mark.parametrize("name", FILES)
def test_public_formats_are_recognised(name: str, tmp_path: Path) -> None:
    path = tmp_path / (name + ".gz")
    with gzip.open(path, "wt") as file:
        file.write(FILES[name])
    trace = read_trace(path)
    assert len(trace) == (3 if name == "minutes.csv" else 2)
    assert (np.diff(trace.arrival) >= 0).all()


def test_prefix_blocks_are_shared(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(FILES["mooncake.jsonl"])
    trace = read_trace(path)
    assert trace.prefix.tolist() == [0, 1, 0, 2]
    assert trace.prefix_tokens == 512
    assert trace.arrival.tolist() == [0.0, 1.5]


def test_applications_survive_a_round_trip(tmp_path: Path) -> None:
    runs = [
        [Stage("plan", "llm", ((10, 3), (12, 4))), Stage("run", "docker", seconds=1.25)],
        [Stage("plan", "llm", ((11, 2),))],
    ]
    trace = Trace.of_applications([0.0, 2.5], ["agent", "chat"], runs, deadline=[np.nan, 9.0])
    write_csv(trace, tmp_path / "t.csv")
    again = read_trace(tmp_path / "t.csv")
    for column in (
        "arrival",
        "kind",
        "deadline",
        "stage_start",
        "unit",
        "backend",
        "seconds",
        "call_start",
        "input",
        "output",
    ):
        np.testing.assert_array_equal(getattr(again, column), getattr(trace, column))
    assert again.classes == trace.classes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("arrival,input,output\n1,10,5\n0,10,5\n", "row 2 of t.csv: arrival must be no earlier"),
        ("arrival,input,output\n0,10,5\n-1,10,5\n", "row 2 of t.csv: arrival must be non-negative"),
        ("arrival,input,output\n0,10,\n", "no requests: none of its rows has both input and output"),
        ("arrival,input,output\n0,-3,5\n", "row 1 of t.csv: input must be a whole number of at least 0"),
        ("arrival,input,output\n0,3,5.5\n", r"row 1 of t.csv: output must be a whole number .* got '5\.5'"),
        ("arrival,input,output\n0,ten,5\n", "input must be a number, got 'ten'"),
        ("when,input\n0,10\n", "those of no known format"),
        ("arrival,input,output\n", "has no rows"),
    ],
)
def test_bad_rows_are_named(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_trace(path)


def test_another_rate_keeps_the_order_and_the_lengths() -> None:
    trace = requests(200, rate=2.0)
    faster = trace.at_rate(8.0)
    assert faster.rate == pytest.approx(8.0)
    np.testing.assert_array_equal(faster.output, trace.output)
    assert len(trace.first(50)) == 50
