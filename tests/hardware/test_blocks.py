"""Areas, leakages and energies of blocks add up, and tables never mix."""

import numpy as np
import pytest

from tradespace.costmodels.area import core_area
from tradespace.costmodels.energy import core_energy
from tradespace.errors import DataError
from tradespace.hardware.blocks import combined, exponential, fifo, mac_array, sorter, sram
from tradespace.hardware.technology import scaled, technologies, technology

SEVEN = technology("jouppi-7nm")


def test_area_leakage_and_energy_add_up():
    array, buffer = mac_array(SEVEN, rows=8, columns=8), sram(SEVEN, capacity=2**16).named("buffer")
    core = combined("core", [array, buffer])
    assert core.area == array.area + buffer.area
    assert core.leakage == array.leakage + buffer.leakage
    events = {"mac": 1e6, "buffer.read": 1e3}
    assert core_energy(core, events, 1.0) == pytest.approx(
        core_energy(array, {"mac": 1e6}, 1.0) + core_energy(buffer, {"buffer.read": 1e3}, 1.0)
    )
    assert core_area([array, buffer], overhead=1.0) == core.area


def test_bigger_blocks_are_bigger():
    for build, field in ((sram, "capacity"), (fifo, "depth"), (sorter, "lanes"), (exponential, "lanes")):
        sizes = 2.0 ** np.arange(3, 14)
        block = build(SEVEN, **{field: sizes})
        assert np.all(np.diff(block.area) > 0), build.__name__
    assert np.all(np.diff(sram(SEVEN, capacity=2.0 ** np.arange(10, 20)).events["read"]) > 0)


def test_a_sweep_of_designs_is_one_block():
    swept = mac_array(SEVEN, rows=np.array([8, 16, 32]), columns=16)
    single = [mac_array(SEVEN, rows=rows, columns=16).area for rows in (8, 16, 32)]
    assert swept.area.tolist() == single


def test_tables_never_mix():
    with pytest.raises(DataError, match="one technology table"):
        combined(
            "core", [mac_array(SEVEN, rows=1, columns=1), sram(technology("horowitz-45nm"), capacity=1024)]
        )


def test_scaling_gains_more_in_logic_than_in_memory_and_carries_its_error():
    old = technology("horowitz-45nm")
    new = scaled(old, 7)
    logic = new.energy("fp32.multiply") / old.energy("fp32.multiply")
    memory = new.sram_energy(8192) / old.sram_energy(8192)
    assert logic < 0.5 < memory < 1
    assert new.error > old.error
    assert new.kind == "derived"
    # The 7 nm table is an independent witness of the law: within its declared error band of two sigma.
    assert logic == pytest.approx(SEVEN.energy("fp32.multiply") / old.energy("fp32.multiply"), rel=0.6)


def test_every_table_names_its_source():
    for name in technologies():
        table = technology(name)
        assert table.source
        assert 0 < table.error < 1
    with pytest.raises(DataError, match="did you mean"):
        technology("jouppi-7n")
    with pytest.raises(DataError, match="no energy of"):
        technology("aladdin-40nm").energy("int8.add")


@pytest.mark.filterwarnings("ignore::tradespace.costmodels.OutsideCalibration")
def test_an_a100_draws_what_was_measured_and_hardly_more_than_its_limit():
    from tradespace.costmodels import elementwise, gemm
    from tradespace.hardware import device, names

    a100 = device("a100-sxm-80gb")
    for rate, watts in ((1.25e12, 272.0), (0.785e12, 207.0), (0.39e12, 155.0)):  # Splitwise, 2, 4, 8 cards
        drawn = a100.value("busy_power") + rate * (a100.value("dram.energy") + a100.value("l2.energy"))
        assert drawn == pytest.approx(watts, rel=0.03)
    for name in names():
        record = device(name)
        if record.power is None:
            continue
        dtype = "fp16" if "fp16" in record.dtypes else "bf16"
        for cost in (
            gemm(record, m=8192, n=8192, k=8192, dtype=dtype),
            elementwise(record, elements=2**27, dtype=dtype),
        ):
            assert 0.1 * record.power < cost.energy / cost.time < 1.1 * record.power, name
