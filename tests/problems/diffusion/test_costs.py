"""What a step costs by shape, budgets on the grid, and the quality protocol."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tradespace as ts
from tradespace.problems.diffusion import law, published, quality, reproduce, shapes, shares

GPU = ts.device("a100-sxm-80gb")


@pytest.mark.parametrize("module", [law, quality, shares])
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0


def ratios(name, full_time=None):
    """Operations and seconds at the published budgets over the full run, the first step whole."""
    shape = shapes.SHAPES[name]
    step = law.shape_law(GPU, shape, full_time=full_time)
    shared = (np.array(published.BUDGETS) * shape.steps - 1) / (shape.steps - 1)
    return [
        (np.interp(shared, law.SHARES[:-1], costs[:-1]) * (shape.steps - 1) + costs[-1])
        / (costs[-1] * shape.steps)
        for costs in (step.flops, step.seconds)
    ]


@pytest.mark.parametrize("name", sorted(shapes.SHAPES))
def test_full_runs_have_the_published_operations(name):
    shape = shapes.SHAPES[name]
    full = law.shape_law(GPU, shape).flops[-1] * shape.steps
    assert full / 1e15 == pytest.approx(published.TABLE[name].pflop[0], rel=0.04)


@pytest.mark.parametrize("name", [n for n in sorted(shapes.SHAPES) if not n.startswith("hunyuan")])
def test_operations_fall_as_published(name):
    full, *budgets = published.TABLE[name].pflop
    assert ratios(name)[0] == pytest.approx(np.array(budgets) / full, abs=0.03)


def test_hunyuan_operations_fall_as_if_only_attention_shrank():
    """The published operations of this model are not those of the mechanism, though its seconds are."""
    shape = shapes.SHAPES["hunyuan-video-5s"]
    step = law.shape_law(GPU, shape)
    counted = [reproduce.attention_only(step, shape, budget) for budget in published.BUDGETS]
    assert np.array(counted) / 1e15 == pytest.approx(published.TABLE[shape.name].pflop[1:], rel=1e-3)
    seconds = np.array(published.TABLE["hunyuan-video-5s"].a100)
    assert ratios("hunyuan-video-5s")[1] == pytest.approx(seconds[1:] / seconds[0], abs=0.02)


def test_a_measured_full_run_leaves_the_rest_proportional_to_tokens():
    shape = shapes.SHAPES["opensora-1.2-2s"]
    plain, scaled = (law.shape_law(GPU, shape, full_time=t) for t in (None, 60.0))
    assert scaled.seconds[-1] * shape.steps == pytest.approx(60.0)
    assert scaled.seconds[5] - plain.seconds[5] == pytest.approx(0.5 * (scaled.seconds - plain.seconds)[-1])


@pytest.mark.parametrize("ways", [2, 8])
def test_more_devices_are_faster_but_never_by_more_than_their_number(ways):
    for shape in shapes.SHAPES.values():
        one, many = (law.shape_law(GPU, shape, ways=w).seconds[1:] for w in (1, ways))
        assert (many < one).all()
        assert (many * ways > one).all()


@given(
    st.lists(st.lists(st.floats(0, 10), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 60)
)
def test_projection_is_the_nearest_schedule_of_its_sum(rows, total):
    wide = np.array(rows)
    made = shares.project(wide, total)
    assert (made.sum(axis=1) == total).all()
    assert ((made >= 0) & (made <= 10)).all()
    assert (shares.project(made.astype(float), total) == made).all()
    # No move of one tenth from a step to another comes nearer.
    for row, tenths in zip(wide, made, strict=True):
        for a in np.flatnonzero(tenths > 0):
            for b in np.flatnonzero(tenths < 10):
                moved = tenths.copy()
                moved[a] -= 1
                moved[b] += 1
                assert np.square(row - moved).sum() >= np.square(row - tenths).sum() - 1e-6


def test_greedy_is_optimal_where_every_step_gains_less_and_less():
    rng = np.random.default_rng(0)
    error = np.cumsum(np.sort(rng.random((3, 11)), axis=1), axis=1)[:, ::-1]
    total = 12
    best = min(
        error[0, a] + error[1, b] + error[2, total - a - b]
        for a in range(11) for b in range(11) if 0 <= total - a - b <= 10
    )  # fmt: skip
    made = shares.greedy(error, total)
    assert made.sum() == total
    assert error[np.arange(3), made].sum() == pytest.approx(best)


def test_ssim_is_its_definition_window_by_window():
    rng = np.random.default_rng(3)
    one = rng.integers(256, size=(1, 13, 14, 3)).astype(np.uint8)
    other = np.clip(one + rng.normal(0, 20, one.shape), 0, 255).astype(np.uint8)
    far = np.arange(-5, 6)
    window = np.exp(-(far[:, None] ** 2 + far**2) / (2 * 1.5**2))
    window /= window.sum()
    made = []
    for y, x, c in np.ndindex(3, 4, 3):
        a, b = (v[0, y : y + 11, x : x + 11, c].astype(float) for v in (one, other))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
        cov = (window * (a - mean_a) * (b - mean_b)).sum()
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        made.append((2 * mean_a * mean_b + c1) * (2 * cov + c2)
                    / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))  # fmt: skip
    assert quality.ssim(other, one) == pytest.approx(np.mean(made), abs=1e-12)


def test_psnr_and_ssim_of_known_differences():
    rng = np.random.default_rng(0)
    reference = rng.integers(20, 200, (3, 16, 20, 3)).astype(np.uint8)
    shifted = (reference + np.array([1, 2, 4], np.uint8)[:, None, None, None]).astype(np.uint8)
    expected = np.mean([10 * np.log10(255**2 / d**2) for d in (1, 2, 4)])
    assert quality.psnr(shifted, reference) == pytest.approx(expected)
    assert quality.psnr(reference, reference) == quality.SAME
    assert quality.ssim(reference, reference) == pytest.approx(1.0)
    noisy = np.clip(reference + rng.normal(0, 40, reference.shape), 0, 255).astype(np.uint8)
    assert quality.ssim(noisy, reference) < 0.95 < quality.ssim(shifted, reference)
    with pytest.raises(ts.DataError, match="same frames, height and width"):
        quality.psnr(reference[:2], reference)
