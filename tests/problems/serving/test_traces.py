"""Traces: readers of public formats on small inputs, round trips, and bad rows by number."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.filterwarnings("ignore:1 of 3 rows")
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


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PUBLIC = [
    (
        "with and without fraction",
        AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:00.017335+00:00,2399,6\n"
        "2024-05-10 00:00:01+00:00,76,15\n2024-05-10 00:00:01.500000+00:00,76,15\n",
        [0.007405, 0.982665, 0.5],
    ),
    (
        "digits of another number",
        AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:00.500+00:00,2399,6\n",
        [0.49007],
    ),
    (
        "an hour that clocks show twice",
        AZURE + "2023-11-05 00:59:59.0,10,10\n2023-11-05 01:30:00.0,10,10\n2023-11-05 02:00:01.0,3180,8\n"
        "2023-11-05 03:00:01.0,3180,8\n",
        [1801.0, 1801.0, 3600.0],
    ),
    ("a mark", "\ufeff" + AZURE + "2023-11-16 18:17:03.97,4808,10\n2023-11-16 18:17:04.03,3180,8\n", [0.06]),
    ("spaces", AZURE.replace(",", ", ") + "2023-11-16 18:17:03.97, 4808, 10\n", []),
    ("seven digits", AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:46.6805907,9,1\n", [7e-7]),
]


@pytest.mark.parametrize(("text", "gaps"), [case[1:] for case in PUBLIC], ids=[case[0] for case in PUBLIC])
def test_arrivals_are_as_far_apart_as_their_stamps(tmp_path: Path, text: str, gaps: list[float]) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert np.diff(read_trace(tmp_path / "t.csv").arrival) == pytest.approx(gaps, abs=1e-12)


def test_rows_without_tokens_are_left_out_counted_and_said(tmp_path: Path) -> None:
    path = tmp_path / "burst.csv"
    path.write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,0,0,0,Conversation\n"
        "45,ChatGPT,0,12,12,Conversation log\n118,GPT-4,417,276,693,API log\n120,GPT-4,417,,417,API log\n"
    )
    with pytest.warns(UserWarning, match=r"3 of 4 rows of burst\.csv have no input or no output tokens"):
        trace = read_trace(path)
    assert (len(trace), trace.left_out, trace.classes) == (1, 3, ("GPT-4",))
    assert (trace.input.tolist(), trace.output.tolist()) == ([417], [276])


def test_an_array_of_json_and_block_ids_beyond_64_bits(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 600, "output_length": 3, "hash_ids": [2**63, "ab"]},
        {"timestamp": 10, "input_length": 100, "output_length": 4, "hash_ids": [2**63, 2**63 + 1]},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("a.json", "l.jsonl"):
        trace = read_trace(tmp_path / name)
        assert (trace.arrival.tolist(), trace.prefix.tolist()) == ([0.0, 0.01], [0, 1, 0, 2])
    rows[1]["hash_ids"] = [1.5]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"row 2 of a\.json: hash_ids must be a list of whole numbers"):
        read_trace(tmp_path / "a.json")


def test_hermes_and_the_mesh_take_any_form_of_trace(tmp_path: Path) -> None:
    from tradespace.problems.serving.hermes import Hermes
    from tradespace.problems.serving.mesh.workload import load

    rows = [{"timestamp": 10 * i, "input_length": 60, "output_length": 3, "hash_ids": [1]} for i in range(20)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert len(load(tmp_path / "a.json")) == 20
    assert list(Hermes(trace=tmp_path / "a.json", history=20, applications=20).graphs) == ["request"]


STAMPS = ("stamp", "T", "Z", "+05:45", "s", "ms", "us", "ns")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


def written(moment: int, form: str) -> Any:
    """Nanoseconds since 1970 in a form that trace files use."""
    if form in ("s", "ms", "us", "ns"):
        return str(Decimal(moment).scaleb({"s": -9, "ms": -6, "us": -3, "ns": 0}[form]))
    shift = timedelta(hours=5, minutes=45) if form == "+05:45" else timedelta(0)
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment // 10**9) + shift
    text = day.strftime("%Y-%m-%dT%H:%M:%S" if form == "T" else "%Y-%m-%d %H:%M:%S")
    fraction = f".{moment % 10**9:09d}".rstrip("0").rstrip(".")
    return text + fraction + (form if form in ("Z", "+05:45") else "")


@given(
    moments=st.lists(st.integers(1_600_000_000 * 10**9, 1_800_000_000 * 10**9), min_size=1, max_size=5),
    form=st.sampled_from(STAMPS),
    encoding=st.sampled_from(ENCODINGS),
    container=st.sampled_from([*",;\t|", "lines", "array"]),
    end=st.sampled_from(["\n", "\r\n"]),
    space=st.sampled_from(["", " "]),
    quoted=st.booleans(),
    blank=st.integers(0, 2),
    packed=st.booleans(),
    decimal=st.sampled_from(".,"),
)
def test_a_trace_is_the_same_however_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, moments: list[int], form: str, encoding: str, container: str,
    end: str, space: str, quoted: bool, blank: int, packed: bool, decimal: str,
) -> None:  # fmt: skip
    moments.sort()
    keys = AZURE.strip().split(",")
    rows = [(written(moment, form), 100 + i, 1 + i) for i, moment in enumerate(moments)]
    if container == "lines":
        text = end.join(json.dumps(dict(zip(keys, row, strict=True)), indent=blank or None) for row in rows)
    elif container == "array":
        text = json.dumps([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        out = io.StringIO()
        quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
        writer = csv.writer(out, delimiter=container, lineterminator=end, quoting=quoting)
        writer.writerows([keys, *rows])
        text = out.getvalue().replace(container, container + space)
        if form in ("s", "ms", "us") and container != ",":
            text = text.replace(".", decimal)
    data = (text + end * blank).encode(encoding)
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    path.write_bytes(gzip.compress(data) if packed else data)
    trace = read_trace(path)
    assert trace.arrival.tolist() == [float(Decimal(m - moments[0]).scaleb(-9)) for m in moments]
    assert trace.input.tolist() == [row[1] for row in rows]
    assert trace.output.tolist() == [row[2] for row in rows]


def test_plain_arrivals_may_be_dates(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "arrival;class;input;output;deadline\n2024-05-10 00:00:00Z;a;1;1;\n"
        "2024-05-10 02:00:01+02:00;a;1;1;2024-05-10 00:00:05Z\n"
    )
    trace = read_trace(path)
    assert trace.arrival.tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(trace.deadline, [np.nan, 5.0])


def test_an_option_says_where_stamps_without_offset_were_taken(tmp_path: Path) -> None:
    import tradespace as ts

    path = tmp_path / "t.csv"
    stamps = ("2023-11-05 00:30:00", "2023-11-05 00:30:01", "2023-11-05 02:30:00", "2023-11-05 02:30:01")
    path.write_text(AZURE + "".join(f"{stamp},10,5\n" for stamp in stamps))
    for zone, gap in (("UTC", 7199.0), ("America/New_York", 10799.0)):  # an hour came twice there
        mesh = ts.problem("llm-mesh", trace=path, trace_zone=zone, models=1, minutes=240.0)
        assert np.diff(mesh.requests.arrival).tolist() == [1.0, gap, 1.0]
        served = ts.problem(
            "hermes", trace=path, trace_zone=zone, applications=20, history=20
        ).source.recorded
        assert served is not None
        assert np.diff(served.times).tolist() == [1.0]
    with pytest.raises(DataError, match=r"no time zone 'Mars/Olympus'"):
        ts.problem("llm-mesh", trace=path, trace_zone="Mars/Olympus")
