"""Flop formulas are torch's own; every family has a kernel that runs and is timed."""

import numpy as np
import pytest

import tradespace.costmodels as models
from tradespace.costmodels import calibration, validation
from tradespace.costmodels.sampling import Case, cases
from tradespace.hardware import device

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from tradespace.costmodels.kernels.operators import build, int4  # noqa: E402
from tradespace.costmodels.kernels.timing import time_cases  # noqa: E402


def counted(family, shape):
    """Flops torch counts in the real kernel; every product and every attention has them."""
    kernel = build(family, "fp32", shape)
    # The counter knows the fused CPU attention not at all, and its products when it is written out.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        kernel()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "shape", [{"m": 7, "n": 33, "k": 65, "batch": 1}, {"m": 16, "n": 8, "k": 4, "batch": 5}]
)
def test_product_flops_equal_torch(shape):
    assert models.gemm(device("host"), **shape, dtype="fp32").flops == counted("gemm", shape)


def test_attention_flops_equal_torch():
    shape = {"batch": 2, "sequence": 96, "heads": 4, "kv_heads": 4, "head_dim": 32}
    mine = models.attention_prefill(device("host"), **shape, dtype="fp32", causal=False)
    assert mine.flops == counted("attention_prefill", shape)  # torch counts both halves of a causal mask
    shape = {"batch": 2, "context": 96, "heads": 4, "kv_heads": 4, "head_dim": 32}
    assert models.attention_decode(device("host"), **shape, dtype="fp32").flops == counted(
        "attention_decode", shape
    )


def test_layer_flops_equal_torch():
    case = Case("layer", "fp32", {"batch": 2, "sequence": 64, "hidden": 128, "heads": 2}, 0)
    from tradespace.costmodels.training import layer_step

    costs = layer_step(
        device("host"), calibration.block(case), batch=2, sequence=64, causal=False, dtype="fp32"
    ).forward
    products = sum(costs[name].flops for name in ("qkv", "attention", "out", "up", "down"))
    assert products == counted("layer", case.shape)


def test_backward_flops_of_the_products_equal_torch():
    case = Case("layer", "fp32", {"batch": 2, "sequence": 64, "hidden": 128, "heads": 2}, 0)
    from tradespace.costmodels.training import layer_step

    backward = layer_step(
        device("host"), calibration.block(case), batch=2, sequence=64, dtype="fp32"
    ).backward
    mine = sum(backward[name].flops for name in ("qkv", "out", "up", "down"))
    x = torch.randn(128, 128, requires_grad=True)
    weights = [
        torch.randn(n, k, requires_grad=True) for n, k in ((384, 128), (128, 128), (512, 128), (128, 512))
    ]
    with FlopCounterMode(display=False) as counter:
        hidden = x
        for weight in weights[:1]:
            torch.nn.functional.linear(hidden, weight).sum().backward()
        for weight in weights[1:]:
            inputs = torch.randn(128, weight.shape[1], requires_grad=True)
            torch.nn.functional.linear(inputs, weight).sum().backward()
    forward = sum(2 * 128 * weight.numel() for weight in weights)
    assert mine == counter.get_total_flops() - forward


@pytest.mark.parametrize(
    ("family", "dtypes"), calibration.PLAN, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_timed_family_runs(family, dtypes):
    for dtype in dtypes:
        smallest = min(cases(family, dtype, 6), key=lambda case: np.prod(list(case.shape.values())))
        assert build(family, dtype, smallest.shape)() is not None


def test_int4_codes_come_back_within_half_a_step():
    x = torch.randn(32, 128)
    packed, scale = int4(x)
    back = (torch.stack((packed & 15, packed >> 4), -1).flatten(1).float() - 8) * scale
    assert packed.shape == (32, 64)
    assert ((back - x).abs() <= 0.5 * scale + 1e-6).all()


def test_timing_keeps_the_threads_and_reports_every_case():
    before = torch.get_num_threads()
    seen = []
    drawn = cases("elementwise", "fp32", 3)
    timing = time_cases(drawn, passes=2, progress=lambda done, family: seen.append((done, family)))
    assert torch.get_num_threads() == before
    assert np.all(timing.seconds > 0)
    assert len(seen) == 6
    assert seen[-1] == (1.0, "elementwise")


def test_validation_on_real_kernels_ranks_them_and_draws_them():
    """A live timing on a shared machine: order is gated, accuracy is not."""
    host = calibration.calibrate(shapes=10, families=["softmax"], passes=2)
    rows = validation.run(host, families=["softmax"], shapes=10, passes=2)
    assert {row.dtype for row in rows} == {"fp32", "bf16"}
    for row in rows:
        assert row.tier == "calibrated"
        assert row.accuracy.spearman > 0.8
        assert row.noise is not None
        assert set(row.record()) >= {"n", "mape", "median", "p90", "bias", "spearman", "decades", "noise"}
    assert len(validation.scatter(rows).axes) == 1
