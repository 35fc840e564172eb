"""Laws every cost model obeys, whatever its coefficients."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradespace.costmodels as models
from tradespace.costmodels.architectures import architecture
from tradespace.costmodels.cost import Cost
from tradespace.hardware import device

DEVICES = ["a100-sxm-80gb", "h100-sxm-80gb", "l4-24gb", "xeon-6462c", "a100-pcie-40gb"]
pytestmark = pytest.mark.filterwarnings("ignore::tradespace.costmodels.OutsideCalibration")
few = settings(max_examples=40, deadline=None)
sizes = st.integers(1, 20_000)
heads = st.sampled_from([(8, 8), (8, 2), (32, 8), (64, 1)])


@st.composite
def calls(draw):
    """(operator, device name, shape, the sizes that may grow)."""
    name = draw(st.sampled_from(DEVICES))
    gpu = not name.startswith("xeon")
    h, kv = draw(heads)
    attention = {"heads": h, "kv_heads": kv, "head_dim": draw(st.sampled_from([64, 128]))}
    operator, shape, growing = draw(
        st.sampled_from(
            [
                (models.gemm, ("m", "n", "k", "batch"), ("m", "n", "k", "batch")),
                (models.elementwise, ("elements",), ("elements",)),
                (models.softmax, ("rows", "width"), ("rows", "width")),
                (models.layer_norm, ("rows", "width"), ("rows", "width")),
                (models.scan, ("rows", "width"), ("rows", "width")),
                (models.quantize, ("elements",), ("elements",)),
                (models.dequantize, ("elements",), ("elements",)),
                (models.gather, ("count", "width", "table"), ("count", "width", "table")),
                (models.scatter, ("count", "width", "table"), ("count", "width", "table")),
                (models.sort, ("rows", "width"), ("rows", "width")),
                (models.attention_prefill, ("batch", "sequence"), ("batch", "sequence")),
                (models.attention_decode, ("batch", "context"), ("batch", "context")),
                *(
                    [(models.all_reduce, ("bytes", "devices"), ("bytes", "devices"))]
                    * (gpu and name != "l4-24gb")
                ),
            ]
        )
    )
    values = {key: draw(sizes) for key in shape}
    if operator in (models.attention_prefill, models.attention_decode):
        values |= attention
    return operator, name, values, draw(st.sampled_from(growing))


@few
@given(calls(), st.floats(1.0, 4.0))
def test_time_grows_with_every_size(call, factor):
    operator, name, shape, growing = call
    larger = shape | {growing: int(np.ceil(shape[growing] * factor))}
    assert operator(device(name), **larger).time >= operator(device(name), **shape).time * (1 - 1e-12)


@few
@given(calls(), st.floats(1.0, 8.0))
def test_faster_hardware_is_never_slower(call, factor):
    operator, name, shape, _ = call
    base = device(name)
    fields = [
        f for f in base.quantities if f.endswith(".bandwidth") or f.startswith("peak.") or f == "special"
    ]
    for field in fields:
        faster = base.replace(**{field.replace(".", "_"): base.value(field) * factor})
        assert operator(faster, **shape).time <= operator(base, **shape).time * (1 + 1e-12), field


@few
@given(st.sampled_from(DEVICES), sizes, sizes, sizes)
def test_a_product_is_never_faster_than_its_flops_at_the_peak(name, m, n, k):
    for dtype in ("bf16", "fp32"):
        cost = models.gemm(device(name), m=m, n=n, k=k, dtype=dtype)
        assert cost.flops == 2.0 * m * n * k
        assert cost.time >= cost.flops / device(name).peak(dtype)


@few
@given(st.sampled_from(DEVICES[:4]), st.integers(1, 64), st.integers(1, 16384), heads)
def test_attention_is_never_faster_than_its_flops_at_the_peak(name, batch, length, h):
    shape = {"heads": h[0], "kv_heads": h[1], "head_dim": 128}
    prefill = models.attention_prefill(device(name), batch=batch, sequence=length, **shape)
    decode = models.attention_decode(device(name), batch=batch, context=length, **shape)
    for cost in (prefill, decode):
        assert cost.time >= cost.flops / device(name).peak("bf16")


@pytest.mark.parametrize("name", ["a100-sxm-80gb", "h100-sxm-80gb", "v100-pcie-32gb", "t4-16gb", "l4-24gb"])
def test_large_streams_never_beat_the_memory(name):
    gpu = device(name)
    cost = models.elementwise(gpu, elements=2**30, reads=2, dtype="fp16")
    assert cost.time >= 0.999 * 3 * 2**31 / gpu.bandwidth


@few
@given(calls(), st.floats(0.01, 100.0))
def test_another_unit_of_time_scales_the_time_and_nothing_else(call, unit):
    operator, name, shape, _ = call
    base = device(name)
    fields = {}
    for field, quantity in base.quantities.items():
        if quantity.value is None:
            continue
        power = {"flop/s": -1, "B/s": -1, "Hz": -1, "op/s": -1, "W": -1, "s": 1}.get(quantity.unit, 0)
        fields[field.replace(".", "_")] = quantity.value * unit**power
    one, other = operator(base.replace(), **shape), operator(base.replace(**fields), **shape)
    assert other.time == pytest.approx(one.time * unit, rel=1e-9)
    assert other.flops == one.flops
    assert (one.energy is None) == (other.energy is None)
    assert one.energy is None or other.energy == pytest.approx(one.energy, rel=1e-9)


@few
@given(calls())
def test_nothing_costs_nothing(call):
    operator, name, shape, growing = call
    cost = operator(device(name), **(shape | {growing: 0}))
    if growing == "devices" or (growing, operator) == ("table", models.gather):
        return
    if growing == "table" or (operator is models.attention_decode and growing == "context"):
        return
    if operator in (models.gather, models.scatter) and growing == "width":
        return
    assert cost.time == 0.0
    assert cost.flops == 0.0


def test_costs_add_overlap_and_repeat():
    gpu = device("a100-sxm-80gb")
    a, b = models.gemm(gpu, m=512, n=512, k=512), models.softmax(gpu, rows=512, width=512)
    assert (a + b).time == a.time + b.time
    assert (a | b).time == max(a.time, b.time)
    assert (a | b).energy == (a + b).energy
    assert (a * 3).time == pytest.approx((a + a + a).time)
    assert sum([a, b]).flops == a.flops + b.flops
    assert (a + Cost.zero()).sigma == pytest.approx(a.sigma)
    assert (np.array([1.0, 2.0]) * a).shape == (2,)


def test_errors_of_one_family_do_not_average_out():
    gpu = device("a100-sxm-80gb")
    one = models.gemm(gpu, m=4096, n=4096, k=4096)
    many = sum([one] * 576, Cost.zero())
    assert many.sigma == pytest.approx(one.sigma)
    both = one + models.attention_prefill(gpu, batch=1, sequence=4096, heads=32, kv_heads=32, head_dim=128)
    parts = [both.errors["gemm"], both.errors["attention_prefill"]]
    assert both.sigma == pytest.approx(np.hypot(*parts) / both.time)


def test_shapes_and_designs_broadcast_with_designs_last():
    designs = device("a100-sxm-80gb").sweep(dram_bandwidth=np.linspace(1e12, 3e12, 7))
    m = np.array([1, 64, 4096])
    cost = models.gemm(designs, m=m[:, None], n=4096, k=4096)
    for field in (cost.time, cost.flops, cost.energy, cost.sigma, *cost.bytes.values()):
        assert np.shape(field) == (3, 7)
    single = [device("a100-sxm-80gb").replace(dram_bandwidth=b) for b in np.linspace(1e12, 3e12, 7)]
    for column, one in enumerate(single):
        assert cost.time[:, column] == pytest.approx(models.gemm(one, m=m, n=4096, k=4096).time)


@pytest.mark.parametrize("axes", ["shapes", "designs", "both"])
def test_chunks_change_nothing(monkeypatch, axes):
    rows = np.arange(1, 301)
    base = device("h100-sxm-80gb")
    gpu = base if axes == "shapes" else base.sweep(dram_bandwidth=np.linspace(1e12, 4e12, 300))
    m = rows[:, None] if axes == "both" else rows if axes == "shapes" else 64
    whole = models.gemm(gpu, m=m, n=2048, k=2048)
    monkeypatch.setattr("tradespace.costmodels.evaluate.CHUNK", 64)
    parts = models.gemm(gpu, m=m, n=2048, k=2048)
    assert np.array_equal(whole.time, parts.time)
    assert np.array_equal(whole.energy, parts.energy)
    assert np.array_equal(whole.sigma, parts.sigma)


def test_draws_move_a_family_together_and_centre_on_the_prediction():
    gpu = device("a100-sxm-80gb")
    drawn = models.draw(gpu, np.random.default_rng(0), draws=4000)
    small, large = (models.gemm(drawn, m=m, n=4096, k=4096).time for m in (64, 4096))
    point = models.gemm(gpu, m=4096, n=4096, k=4096)
    assert np.corrcoef(np.log(small), np.log(large))[0, 1] > 0.97
    assert np.median(large) == pytest.approx(point.time, rel=0.03)
    assert np.std(np.log(large)) == pytest.approx(point.sigma, rel=0.3)
    sizes = np.arange(1, 4096, 7)[:, None]
    assert np.all(np.diff(models.gemm(drawn, m=sizes, n=1024, k=1024).time[:, :200], axis=0) >= 0)
    other = models.softmax(drawn, rows=4096, width=4096).time
    assert abs(np.corrcoef(np.log(large), np.log(other))[0, 1]) < 0.1
    again = models.draw(gpu, np.random.default_rng(0), draws=4000)
    assert drawn == again


def test_what_draws_share_does_not_depend_on_what_a_device_deviates_in():
    gpu, rest = device("a100-sxm-80gb"), {"n": 4096, "k": 4096}
    models.gemm(gpu.deviating({"softmax": 1.0}), m=64, **rest)
    drawn = models.draw(gpu, np.random.default_rng(3))
    alone = models.gemm(drawn, m=np.array([64]), **rest).time[0]  # an array shares nothing
    assert models.gemm(drawn, m=64, **rest).time == alone != models.gemm(gpu, m=64, **rest).time


def test_outside_the_calibrated_range_the_error_doubles_and_says_so():
    gpu = device("a100-sxm-80gb")
    with pytest.warns(models.OutsideCalibration, match="outside the calibrated range"):
        far = models.gemm(gpu, m=2**20, n=2**20, k=2**16)
    assert far.outside
    assert not models.gemm(gpu, m=4096, n=4096, k=4096).outside
    assert far.sigma > 1.5 * models.gemm(gpu, m=32768, n=65536, k=16384).sigma


def test_tiers_say_where_coefficients_come_from():
    def tier(name, **fields):
        gpu = device(name).replace(**fields) if fields else device(name)
        return models.gemm(gpu, m=64, n=4096, k=4096)

    assert tier("a100-sxm-80gb").tier == "calibrated"
    assert tier("h200-sxm-141gb").tier == "same family"
    assert tier("a100-sxm-80gb", dram_bandwidth=3e12).tier == "same family"
    assert tier("jetson-orin-nx-16gb").tier == "uncalibrated"
    assert tier("a100-sxm-80gb").sigma < tier("a100-sxm-80gb", dram_bandwidth=2.04e12).sigma
    assert (tier("a100-sxm-80gb") + tier("jetson-orin-nx-16gb")).tier == "uncalibrated"
    assert (tier("a100-sxm-80gb") * 1000 + tier("jetson-orin-nx-16gb")).tier == "calibrated"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"m": -1}, "m must not be negative, got -1"),
        ({"m": 1.5}, "m must be whole numbers, got 1.5"),
        ({"m": float("nan")}, "m must be whole numbers"),
        ({"m": "64"}, "m must be a number"),
        ({"dtype": "bf17"}, "did you mean 'bf16'"),
        ({"dtype": "fp8"}, "no arithmetic peak for dtype 'fp8'"),
    ],
)
def test_bad_shapes_get_one_sentence(shape, words):
    from tradespace.errors import DataError

    with pytest.raises(DataError, match=words):
        models.gemm(device("a100-sxm-80gb"), **({"m": 64, "n": 64, "k": 64} | shape))


def test_one_product_for_prefill_and_decode_is_cheaper_than_two():
    from tradespace.costmodels import transformer

    gpu, llama = device("h100-sxm-80gb"), architecture("llama-3.1-8b")
    chunk = {"prefill_batch": 1, "prefill_length": 512}
    answer = {"decode_batch": 32, "decode_context": 2048}
    both = transformer.iteration(gpu, llama, **chunk, **answer)
    alone = transformer.iteration(gpu, llama, **chunk) + transformer.iteration(gpu, llama, **answer)
    assert both.time < 0.9 * alone.time
    assert both.flops == pytest.approx(alone.flops, rel=1e-3)


def test_a_training_step_costs_about_six_flops_a_weight_and_token():
    gpt = architecture("gpt2-xl")
    step = models.training_step(device("a100-sxm-80gb"), gpt, batch=4, sequence=1024)
    assert step.flops == pytest.approx(6 * gpt.parameters * 4096, rel=0.15)
    repeated = models.training_step(device("a100-sxm-80gb"), gpt, batch=4, sequence=1024, recomputed=1.0)
    assert 1.2 < repeated.flops / step.flops < 1.4


def test_serving_iterations_of_a_chunked_prompt_add_up_to_more_than_the_whole():
    gpu, llama = device("a100-sxm-80gb"), architecture("llama-2-7b")
    whole = models.serving_iteration(gpu, llama, prefill=2048)
    first = models.serving_iteration(gpu, llama, prefill=1024)
    second = models.serving_iteration(gpu, llama, prefill=1024, past=1024)
    assert first.flops + second.flops == pytest.approx(whole.flops, rel=0.01)
    assert whole.time < first.time + second.time < 1.5 * whole.time
    assert models.serving_iteration(gpu, llama).time == 0.0


@few
@given(st.integers(0, 4096), st.integers(0, 4096), st.integers(0, 64), st.integers(0, 100_000))
def test_the_law_in_plain_numbers_is_the_same_law(prefill, past, decode, context):
    llama = architecture("llama-3.1-8b")
    for name in ("a100-sxm-80gb", "xeon-6462c", "h100-sxm-80gb"):
        law = models.iteration_law(device(name), llama)
        context = context if decode else 0
        slow = models.serving_iteration(
            device(name), llama, prefill=prefill, past=past, decode=decode, context=context
        )
        running = 1 if prefill else 0
        pairs = np.floor(prefill * (past + 0.5 * prefill))
        fast = law(prefill + decode, running + decode, context + running * past, pairs)
        assert fast == pytest.approx(slow.time, rel=1e-9)


def test_no_import_warns_or_pulls_torch():
    import subprocess
    import sys

    code = (
        "import sys, tradespace.costmodels as m; from tradespace.costmodels import gemm, sort, transfer\n"
        "assert callable(gemm) and callable(sort) and callable(transfer)\n"
        "import tradespace.costmodels.matrix, tradespace.costmodels.transformer\n"
        "import tradespace.costmodels.validation\n"
        "assert all(callable(getattr(m, n)) for n in m.__all__ if n != 'VERSION')\n"
        "assert not {'torch', 'scipy', 'pandas'} & set(sys.modules)"
    )
    with warnings.catch_warnings():
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
