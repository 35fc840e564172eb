"""The sparse step against a naive statement of it, the schedule against its file, the trained weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


from tradespace.errors import DataError, SpaceError  # noqa: E402
from tradespace.problems.diffusion import scenes  # noqa: E402
from tradespace.problems.diffusion.dit import DiTConfig, VideoDiT, modulated, parameter_count  # noqa: E402
from tradespace.problems.diffusion.flow import flow_loss  # noqa: E402
from tradespace.problems.diffusion.layers import Layer, modulations  # noqa: E402
from tradespace.problems.diffusion.sampling import sample  # noqa: E402
from tradespace.problems.diffusion.schedule import Schedule  # noqa: E402
from tradespace.problems.diffusion.selection import places, score, select  # noqa: E402
from tradespace.problems.diffusion.tokens import TokenRun, sparse_block, whole_block  # noqa: E402
from tradespace.problems.diffusion.training import Recipe, Training, pretrained, weights_path  # noqa: E402
from tradespace.problems.diffusion.weights import Weights  # noqa: E402

TINY = DiTConfig(frames=4, side=16, patch=(2, 4, 4), width=48, blocks=2, heads=2, mlp_ratio=2, classes=4)


@pytest.fixture(scope="module")
def model() -> VideoDiT:
    """Random weights, none of them zero."""
    torch.manual_seed(0)
    made = VideoDiT(TINY)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return made.eval().requires_grad_(False)


def test_the_small_model_has_two_to_four_million_parameters_and_patches_invert() -> None:
    assert 2e6 < parameter_count(VideoDiT()) < 4e6
    made = VideoDiT(TINY)
    clip = torch.randn(2, *TINY.clip_shape)
    assert torch.equal(made.clip(made.patches(clip)), clip)
    first = made.patches(clip)[0, 0].view(3, 2, 4, 4)  # channel, frame, row, column of the first corner
    assert torch.equal(first, clip[0, :2, :, :4, :4].transpose(0, 1))


def naive_block(block, x, shared, cache, rows):
    """One sample, token by token, from the definition; returns the new tokens."""
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (m[0] for m in block.modulation(shared))
    d = x.shape[-1]
    q, k, v = block.qkv(modulated(x, shift_a, scale_a)).split(d, dim=-1)
    q, k = (block.placed(block.split(t[None])).transpose(1, 2).reshape(x.shape) for t in (q, k))
    attention, mlp = (branch[0].clone() for branch in cache.branches)
    dim = d // block.heads
    for i in rows:
        heads = []
        for h in range(block.heads):
            part = slice(h * dim, (h + 1) * dim)
            probability = (k[:, part] @ q[i, part] / dim**0.5).softmax(0)
            heads.append(probability @ v[:, part])
        attention[i] = block.out(torch.cat(heads))
    middle = x + gate_a * attention
    for i in rows:
        mlp[i] = block.mlp(modulated(middle[i], shift_m[0], scale_m[0]))
    return middle + gate_m * mlp


def test_a_sparse_block_is_its_definition_and_touches_no_other_cache_row(model: VideoDiT) -> None:
    block, shared = model.blocks[0], torch.randn(1, 6, 48)
    layer, (by,) = Layer.of(block), modulations(shared, block.table[None])
    _, cache = whole_block(layer, torch.randn(1, TINY.tokens, 48), by)
    x = torch.randn(1, TINY.tokens, 48)
    weights = Weights.paper()
    change = (x - cache.inputs).square().sum(-1).sqrt()
    rows = select(score(cache.lse, change, cache.skipped, weights), 9)[0].tolist()
    expected = naive_block(block, x[0], shared, cache, rows)
    others = [i for i in range(TINY.tokens) if i not in rows]
    before = cache.branches[0].clone()
    got = sparse_block(layer, x, by, cache, 9, weights)
    torch.testing.assert_close(got[0], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(cache.branches[0][0, others], before[0, others])
    assert cache.skipped[0, rows].max() == 0
    assert cache.skipped[0, others].min() == 1


def test_a_token_that_waits_long_enough_is_selected() -> None:
    lse, change = torch.ones(1, 4), torch.tensor([[9.0, 9.0, 9.0, 0.01]])
    for weights in (Weights.paper(), Weights(1.0, 0.05, 1.0)):
        waits = [select(score(lse, change, torch.tensor([[0.0, 0, 0, n]]), weights), 3) for n in range(8)]
        assert 3 not in waits[0]
        assert 3 in waits[-1]


def test_the_score_is_the_papers_without_a_spread_and_age_without_significance() -> None:
    draws = torch.Generator().manual_seed(1)
    lse, change = torch.rand(2, 64, generator=draws) + 1, torch.rand(2, 64, generator=draws)
    skipped = torch.randint(0, 5, (2, 64), generator=draws).float()
    part = lse * change
    paper = 0.7 * part / part.mean(-1, keepdim=True) + 0.3 * skipped.exp()
    torch.testing.assert_close(score(lse, change, skipped, Weights(0.7, 0.3)).argsort(-1), paper.argsort(-1))
    waited = skipped + places(64)
    for small in (0.0, 1e-6):  # a small weight changes little: places, not significance, part equal waits
        assert torch.equal(
            score(lse, change, skipped, Weights(small, 1.0, 1.0)).argsort(-1), waited.argsort(-1)
        )
    assert score(lse, change, skipped + 500, Weights(0.1, 1.0)).isfinite().all()


def test_by_age_alone_every_token_has_its_turn_in_every_block(model: VideoDiT) -> None:
    run = TokenRun(model)  # the weights that ship
    clip, kinds = torch.randn(2, *TINY.clip_shape), torch.tensor([0, 1])
    run.velocity(clip, torch.zeros(2), kinds, 1.0, keep=True)
    for step in range(1, 9):
        run.velocity(clip, torch.full((2,), step / 9), kinds, 0.25, keep=True)
        waits = torch.stack([cache.skipped for cache in run.caches])
        assert (waits == waits[0]).all()
        assert waits.max() == min(step, 3)


def test_whole_steps_equal_the_plain_path_and_no_steps_cost_nothing(model: VideoDiT) -> None:
    plain = sample(model, [0, 3], [5, 6], steps=4)
    ones = sample(model, [0, 3], [5, 6], steps=4, schedule=[1, 1, 1, 1])
    cached = sample(model, [0, 3], [5, 6], steps=4, schedule=[1, 1, 1, 0.999])  # caches kept, all rows chosen
    alone = sample(model, [3], [6], steps=4, schedule=[1, 1, 1, 0.999])
    np.testing.assert_allclose(ones.latents, plain.latents, atol=2e-5)
    np.testing.assert_allclose(cached.latents, plain.latents, atol=2e-5)
    np.testing.assert_allclose(alone.latents[0], plain.latents[1], atol=2e-5)
    assert plain.cache_bytes == 0
    reused = sample(model, [0], [5], steps=4, schedule=[1, 0, 0, 0])
    assert reused.flops == TINY.flops()
    start, one = (sample(model, [0], [5], steps=n).latents for n in (1, 1))
    np.testing.assert_allclose(reused.latents, start, atol=1e-5)  # four steps with one velocity are one step
    np.testing.assert_allclose(one, start)


def test_caches_are_counted_to_the_byte(model: VideoDiT) -> None:
    made = sample(model, [0, 1], [5, 6], steps=3, schedule=[1, 0.5, 0.5])
    per_block = 4 * (3 * TINY.tokens * TINY.width + 2 * TINY.tokens)
    assert made.cache_bytes == TINY.blocks * per_block
    assert made.flops == 2 * (TINY.flops() + 2 * TINY.flops(TINY.tokens // 2))


def test_a_schedule_survives_its_file_and_a_bad_one_is_a_sentence(model: VideoDiT, tmp_path: Path) -> None:
    kept = Schedule((1.0, 0.3, 0.0, 0.7), Weights(1.5, 0.1, 0.5), "small")
    kept.save(tmp_path / "s.json")
    assert Schedule.load(tmp_path / "s.json") == kept
    assert Schedule.uniform(0.4, 10).mean == pytest.approx(0.4)
    with pytest.raises(SpaceError, match="4 budgets but 5 steps were asked for"):
        sample(model, [0], [0], steps=5, schedule=kept)
    with pytest.raises(SpaceError, match="first step must be 1"):
        Schedule((0.5, 1.0))
    with pytest.raises(SpaceError, match=r"within \[0, 1\], got 1.2"):
        Schedule((1.0, 1.2))
    with pytest.raises(SpaceError, match=r"within \(0, 1\], got 0"):
        Schedule.uniform(0.0, 10)
    with pytest.raises(DataError, match="JSON"):
        Schedule.from_json("[1, ")
    with pytest.raises(SpaceError, match="needs a whole step before it"):
        TokenRun(model).velocity(
            torch.zeros(1, *TINY.clip_shape), torch.zeros(1), torch.tensor([0]), 0.5, keep=True
        )


def test_scenes_differ_by_seed_and_class_and_move() -> None:
    first = scenes.scene(0, 1)
    assert np.abs(first).max() <= 1
    assert np.abs(first - scenes.scene(0, 2)).mean() > 0.01
    for kind in range(len(scenes.CLASSES)):
        clip = scenes.scene(kind, 3)
        assert np.abs(clip[0] - clip[-1]).max() > 0.5


def test_training_resumes_to_the_same_weights_and_lowers_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = Recipe(steps=12, batch=4, warmup=2)
    straight = Training(TINY, recipe)
    straight.run()
    stopped = Training(TINY, recipe, path=tmp_path / "half.npz")
    stopped.run(until=5)
    resumed = Training(TINY, recipe, path=tmp_path / "half.npz")
    assert resumed.done == 5
    resumed.run()
    for name, value in straight.averaged.items():
        torch.testing.assert_close(resumed.averaged[name], value)

    seen: list[int] = []
    long = Recipe(steps=60, batch=8, warmup=5)
    model = pretrained(TINY, lambda done, steps, loss: seen.append(done), recipe=long)
    assert seen == list(range(1, 61))
    assert weights_path(TINY, long).is_file()
    clips = torch.from_numpy(scenes.batch([0, 1, 2, 3], [9, 9, 9, 9], 4, 16))
    before = flow_loss(VideoDiT(TINY), clips, torch.arange(4), torch.Generator().manual_seed(0))
    after = flow_loss(model, clips, torch.arange(4), torch.Generator().manual_seed(0))
    assert after < 0.5 * before
    again = pretrained(TINY, recipe=long)  # from the file: no progress, equal weights
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    weights_path(TINY, long).write_bytes(b"not an archive")
    with pytest.raises(DataError, match="delete the file"):
        pretrained(TINY, recipe=long)
