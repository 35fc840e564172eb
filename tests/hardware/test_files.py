"""A device file changes what it says, keeps the rest, and every mistake in it is one sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradespace.costmodels import gemm
from tradespace.errors import DataError, TradespaceError
from tradespace.hardware import device
from tradespace.hardware.record import Device
from tradespace.problems.parameters import from_plain, to_plain

CAPPED = """
name = "capped"
like = "h100-sxm-80gb"
[quantities]
"dram.bandwidth" = { value = "3.0TB/s", source = "a copy kernel", kind = "measured" }
power = { value = 500, source = "the rack", kind = "measured" }
"""
WHOLE = """
kind = "accelerator"
levels = ["shared", "l2", "dram"]
core_levels = ["shared"]
[quantities]
clock = { value = "1GHz", unit = "Hz", source = "s", kind = "guess" }
cores = { value = 4, source = "s", kind = "guess" }
launch = { value = "1us", unit = "s", source = "s", kind = "guess" }
special = { value = 1e10, unit = "op/s", source = "s", kind = "guess" }
"peak.bf16" = { value = "8Tflop/s", unit = "flop/s", source = "s", kind = "guess" }
"shared.capacity" = { value = "1MiB", unit = "B", source = "s", kind = "guess" }
"shared.bandwidth" = { value = "1TB/s", unit = "B/s", source = "s", kind = "guess" }
"l2.capacity" = { value = "4MiB", unit = "B", source = "s", kind = "guess" }
"l2.bandwidth" = { value = "400GB/s", unit = "B/s", source = "s", kind = "guess" }
"dram.capacity" = { value = "8GiB", unit = "B", source = "s", kind = "guess" }
"dram.bandwidth" = { value = "50GB/s", unit = "B/s", source = "s", kind = "guess" }
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_file_like_a_known_device_changes_only_what_it_says(tmp_path):
    mine, base = device(written(tmp_path, CAPPED)), device("h100-sxm-80gb")
    changed = {name for name in base.quantities if mine.quantity(name) != base.quantity(name)}
    values = {n for n in changed if mine.known(n) != base.known(n)}
    assert values == {"dram.bandwidth", "power"}
    assert mine.bandwidth == 3.0e12
    assert mine.name == "capped"
    product = {"m": 4096, "n": 4096, "k": 64}
    assert gemm(mine, **product).time > gemm(base, **product).time
    assert gemm(mine, **product).tier == "same family"


def test_a_whole_file_is_a_device_that_the_models_take(tmp_path):
    mine = device(written(tmp_path, WHOLE))
    time = float(gemm(mine, m=4096, n=4096, k=4096).time)
    assert time >= 2 * 4096**3 / 8e12
    assert mine.name == "mine"


def test_a_device_file_is_recorded_by_content(tmp_path):
    mine = device(written(tmp_path, CAPPED))
    (tmp_path / "mine.toml").unlink()
    assert from_plain(Device, to_plain(mine)) == mine


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("h100-sxm-80gb", "h100", "unknown device"),
        ("dram.bandwidth", "dram.bandwith", "did you mean 'dram.bandwidth'"),
        ("3.0TB/s", "3.0TB", "must fit 'B/s'"),
        ('"measured"', '"heard"', "must be one of datasheet"),
        ("value = 500, ", "", "lacks its value"),
        ("value = 500", "value = -500", "must be finite and not negative"),
        ("[quantities]", "[quantity]", "did you mean 'quantities'"),
        ("name =", "name", "is not TOML"),
        ('like = "h100-sxm-80gb"', "", "must say like"),
        ('like = "h100-sxm-80gb"', 'like = "l4-24gb"\nlevels = ["dram"]', "beside 'like'"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path, old, new, says):
    with pytest.raises(DataError, match=says):
        device(written(tmp_path, CAPPED.replace(old, new)))


def test_a_whole_file_without_a_level_says_which(tmp_path):
    lines = [line for line in WHOLE.splitlines() if "dram.capacity" not in line]
    with pytest.raises(DataError, match=r"lacks dram\.capacity"):
        device(written(tmp_path, "\n".join(lines)))


def test_a_whole_file_without_the_levels_of_its_kind_says_which(tmp_path):
    with pytest.raises(DataError, match=r'must hold those of a cpu.*"l3"'):
        device(written(tmp_path, WHOLE.replace('"accelerator"', '"cpu"')))


def test_a_missing_file_is_said():
    with pytest.raises(DataError, match="no device file"):
        device("nowhere.toml")


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_a_device_or_one_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.raises(TradespaceError):
        device(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("like = 5", "must be the name of a device"),
        ('like = "SELF"', "leads back to the file itself"),
        ("kind = [1]", "or kind = one of"),
        (WHOLE.replace('unit = "Hz"', "unit = 3"), "unit of clock .* must be a text"),
        (WHOLE.replace('kind = "guess" }', "kind = [] }", 1), "kind of clock .* must be one of"),
    ],
)
def test_a_part_of_another_type_is_one_sentence(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        device(written(tmp_path, text.replace("SELF", str(tmp_path / "mine.toml"))))
