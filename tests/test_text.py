"""One text layer: what a file says does not depend on how it is encoded, delimited or ended."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradespace.errors import DataError
from tradespace.text import decode, parse_table, read_json, read_records, read_text
from tradespace.times import seconds

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", ['{"größe": "µs", "n": [1]}\n', "name,größe\nµ,1\n"])
def test_text_is_the_same_in_every_encoding(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_a_gzipped_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(gzip.compress('\ufeff{"a": 1}'.encode("utf-16-be")))
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"caf\xe9,1\n", r"t\.csv is no text in UTF-8 or UTF-16: byte 4 is 0xe9; save it as UTF-8\."),
        (b"a,b\n\0\0\0\0\n", "holds zero bytes"),
        (gzip.compress(b"a,b\n" * 99)[:20], "cannot be read"),
        (b"", "t.csv is empty"),
        (b"\n \n", "t.csv is empty"),
        (b'""\n', "t.csv is empty: all its cells are blank"),
        (b' "" ;\r\n', "t.csv is empty: all its cells are blank"),
        (b"sep=;\n;;\n", "t.csv is empty: all its cells are blank"),
        (b"a,b,a\n1,2,3\n", "names the column 'a' twice"),
        (b"a,b\n1,2\n1\n", "row 2 of t.csv has 1 cells, its header 2"),
        (b"a,b\n1,2,3\n", "row 1 of t.csv has 3 cells, its header 2"),
        (b'{"a": 1}\n{"a": \n', "row 2 of t.csv cannot be read as JSON"),
        (b'[{"a": 1}, 2]', "row 2 of t.csv must be a JSON object, got int"),
        (b'[{"a": 1}', "t.csv cannot be read as JSON"),
    ],
)
def test_what_is_no_text_or_table_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read_records(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no trace file"):
        read_text(tmp_path / "none.csv", "trace file")
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x y\n2.5,z\n",
        "\ufeffa;b\r\n1;x y\r\n2,5;z\r\n\r\n;\r\n".lstrip("\ufeff"),
        "sep=;\na;b\n1;x y\n2,5;z\n",
        "a\tb\n1\tx y\n2.5\tz",
        '"a", "b"\n1, "x y"\n2.5 , z\n   \n,\n',
        "\n\na|b|\n1|x y|\n2,5|z|\n",
        '{"a": "1", "b": "x y"}\n\n{"a": "2.5",\n "b": "z"}',
        '[{"a": "1", "b": "x y"}, {"a": "2.5", "b": "z"}]\n',
    ],
)
def test_rows_are_the_same_in_every_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows").write_text(text, newline="")
    assert read_records(tmp_path / "rows") == [{"a": "1", "b": "x y"}, {"a": "2.5", "b": "z"}]


def test_a_comma_is_no_point_where_commas_divide_or_words_stand() -> None:
    assert parse_table('a,b\n"1,087",2\n', "t") == (["a", "b"], [["1,087", "2"]])
    assert parse_table("a;b\n1,2;x\nthree, four;y\n", "t")[1][0] == ["1,2", "x"]


# --- times ---------------------------------------------------------------------------------------------
@pytest.fixture(params=["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"])
def machine_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("machine_zone")
@pytest.mark.parametrize(
    "stamp",
    [
        "2024-05-10 00:00:00.009930+00:00",
        "2024-05-10T00:00:00.00993Z",
        "2024-05-10 00:00:00.0099300",
        "2024-05-10T00:00:00,00993 UTC",
        "2024-05-10T05:45:00.00993+05:45",
        "2024-05-10 05:45:00.00993 +0545",
        "2024/5/9 17:00:00.00993-07",
        "1715299200.009930",
        "1715299200009.93",
        "1715299200009930",
        "1715299200009930000",
    ],
)
def test_every_form_of_one_moment_is_the_same_second(stamp: str) -> None:
    assert seconds([stamp]) == ([Decimal("1715299200.009930")], True)


@pytest.mark.usefixtures("machine_zone")
def test_stamps_without_offset_are_utc_unless_a_zone_is_given() -> None:
    stamps = ["2023-11-05 00:59:59", "2023-11-05 01:30:00", "2023-11-05 01:00:01", "2023-11-05 02:00:00"]
    utc, _ = seconds(stamps)
    assert [float(t - utc[0]) for t in utc] == [0, 1801, 2, 3601]
    there, _ = seconds(stamps, zone="America/New_York")  # where the hour after one o'clock came twice
    assert [float(t - there[0]) for t in there] == [0, 1801, 3602, 7201]
    with pytest.raises(DataError, match=r"no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'\?"):
        seconds(stamps, zone="Europe/Berln")


@pytest.mark.parametrize(
    "bad", ["05/10/2024 10:00", "yesterday", "2024-02-30", "1 000", "inf", "nan", "", None, True]
)
def test_what_is_no_time_is_refused_with_its_place(bad: object) -> None:
    for first in ("2024-05-10", "0"):
        with pytest.raises(ValueError) as caught:
            seconds([first, bad])  # type: ignore[list-item]
        assert caught.value.args == (1, bad)


@given(st.integers(0, 4_102_444_800 * 10**9), st.integers(-14 * 60, 14 * 60), st.sampled_from("T "))
def test_a_moment_is_read_to_its_last_digit(nanoseconds: int, offset: int, between: str) -> None:
    from datetime import UTC, datetime, timedelta, timezone

    whole, part = divmod(nanoseconds, 10**9)
    zone = timezone(timedelta(minutes=offset))
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=whole)).astimezone(zone)
    text = local.strftime(f"%Y-%m-%d{between}%H:%M:%S.{part:09d}%z")
    assert seconds([text]) == ([Decimal(nanoseconds).scaleb(-9)], True)
