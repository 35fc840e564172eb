"""A schedule on a model in place: our own, and tiny randomly initialised transformers of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn  # noqa: E402

from tradespace.errors import SpaceError  # noqa: E402
from tradespace.problems.diffusion.attach import attach  # noqa: E402
from tradespace.problems.diffusion.diffusers_blocks import FAMILIES, BlockCall  # noqa: E402
from tradespace.problems.diffusion.dit import DiTConfig, VideoDiT  # noqa: E402
from tradespace.problems.diffusion.flow import noise  # noqa: E402
from tradespace.problems.diffusion.sampling import sample  # noqa: E402
from tradespace.problems.diffusion.schedule import Schedule  # noqa: E402
from tradespace.problems.diffusion.weights import Weights  # noqa: E402

TINY = DiTConfig(frames=4, side=16, patch=(2, 4, 4), width=48, blocks=2, heads=2, mlp_ratio=2, classes=4)
BUDGETS = (1.0, 0.5, 0.0, 0.25, 1.0, 0.5)


def shaken(model: nn.Module) -> nn.Module:
    """Weights of one seed, none of them zero, for inference."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def wan() -> tuple[nn.Module, Callable[[nn.Module, Tensor, float, int], Tensor], tuple[int, ...]]:
    """A tiny Wan 2.1, a call of it, and the shape of its latents."""
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
        text_dim=16, freq_dim=32, ffn_dim=32, num_layers=2, cross_attn_norm=True,
    )  # fmt: skip

    def call(model: nn.Module, latents: Tensor, time: float, prompt: int) -> Tensor:
        words = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(prompt))
        return model(latents, torch.tensor([time]), words, return_dict=False)[0]

    return shaken(model), call, (1, 4, 3, 8, 8)


def cogvideox() -> tuple[nn.Module, Callable[[nn.Module, Tensor, float, int], Tensor], tuple[int, ...]]:
    """A tiny CogVideoX with rotary positions, a call of it, and the shape of its latents."""
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=8,
        text_embed_dim=16, num_layers=2, sample_width=8, sample_height=8, sample_frames=9, patch_size=2,
        temporal_compression_ratio=4, max_text_seq_length=5, use_rotary_positional_embeddings=True,
    )  # fmt: skip
    angle = torch.arange(48).view(-1, 1) * torch.tensor([1.0, 0.3, 0.1, 0.05, 0.7, 0.2, 0.01, 0.4])
    rotary = tuple(f(angle).repeat_interleave(2, dim=1) for f in (torch.cos, torch.sin))

    def call(model: nn.Module, latents: Tensor, time: float, prompt: int) -> Tensor:
        words = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(prompt))
        return model(latents, words, torch.tensor([time]), image_rotary_emb=rotary, return_dict=False)[0]

    return shaken(model), call, (1, 3, 4, 8, 8)


@torch.inference_mode()
def loop(model: nn.Module, call: Any, latents: Tensor, steps: int) -> Tensor:
    """A pipeline with guidance: two calls a step."""
    for i in range(steps):
        time = 1000.0 * (1 - i / steps)
        with_prompt, without = (call(model, latents, time, prompt) for prompt in (1, 2))
        latents = latents - (without + 2.0 * (with_prompt - without)) / steps
    return latents


@pytest.mark.parametrize("family", [wan, cogvideox])
def test_all_rows_are_the_plain_model_and_fewer_rows_a_near_one(family: Any) -> None:
    model, call, shape = family()
    start = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    plain = loop(model, call, start, 6)
    with attach(model, (1.0, 1.0, 0.999, 1.0, 0.999, 1.0)):
        torch.testing.assert_close(loop(model, call, start, 6), plain, atol=1e-4, rtol=1e-4)
    with attach(model, Schedule(BUDGETS)) as attached:
        first = loop(model, call, start, 6)
        again = loop(model, call, start, 6)  # the next clip of the same pipeline
    torch.testing.assert_close(first, again)
    change = float((first - plain).norm() / (plain - start).norm())
    assert 1e-6 < change < 0.5
    assert attached.cache_bytes > 0
    torch.testing.assert_close(loop(model, call, start, 6), plain)  # nothing is left behind


@pytest.mark.parametrize("family", [wan, cogvideox])
@torch.inference_mode()
def test_a_block_computes_the_selected_rows_as_diffusers_does(family: Any) -> None:
    model, call, shape = family()
    seen: list[dict[str, Any]] = []
    block = next(m for m in model.modules() if type(m).__name__ in FAMILIES)
    function = FAMILIES[type(block).__name__]
    plain = block.forward

    def spy(*args: Any, **kwargs: Any) -> Any:
        names = ("hidden_states", "encoder_hidden_states", "temb", "rotary_emb")
        seen.append(dict(zip(names, args, strict=False)) | kwargs)
        return plain(*args, **kwargs)

    block.forward = spy
    call(model, torch.randn(shape), 500.0, 1)
    before = seen[0]
    after = before | {"hidden_states": torch.randn_like(before["hidden_states"])}
    whole = BlockCall(None, 0, Weights.paper())
    full = function(block, before, whole)
    sparse = BlockCall(whole.cache, 7, Weights.paper())
    got, expected = function(block, after, sparse), plain(**after)
    if isinstance(got, tuple):  # the text is computed whole
        torch.testing.assert_close(got[1], expected[1])
        got, expected, full = got[0], expected[0], full[0]
    rows = sparse.rows.each[0]
    assert len(rows) == 7
    torch.testing.assert_close(got[:, rows], expected[:, rows], atol=1e-5, rtol=1e-4)
    others = [i for i in range(got.shape[1]) if i not in rows.tolist()]
    added = (full - before["hidden_states"])[:, others]  # the same time, so the same gates
    torch.testing.assert_close((got - after["hidden_states"])[:, others], added, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_our_model_in_its_own_loop_is_the_sampler() -> None:
    model = shaken(VideoDiT(TINY))
    expected = sample(model, [2], [7], steps=6, schedule=BUDGETS)
    clip = noise(TINY, [7])
    with attach(model, BUDGETS) as attached:
        for i in range(6):
            clip = clip + model(clip, torch.tensor([i / 6]), torch.tensor([2])) / 6
    torch.testing.assert_close(clip, torch.from_numpy(expected.latents))
    assert attached.cache_bytes == expected.cache_bytes


def test_what_does_not_fit_is_a_sentence() -> None:
    model, call, shape = wan()
    start = torch.ones(shape)
    with (
        pytest.raises(SpaceError, match="6 budgets but the pipeline asks for step 7"),
        attach(model, BUDGETS),
    ):
        loop(model, call, start, 8)
    with pytest.raises(SpaceError, match="stopped after 4 steps"), attach(model, BUDGETS):
        loop(model, call, start, 4)
    with pytest.raises(SpaceError, match="must have attention blocks"), attach(nn.Linear(2, 2), BUDGETS):
        pass
    nested = pytest.raises(SpaceError, match="attached already")
    with nested, attach(model, BUDGETS), attach(model, BUDGETS):
        pass
    with pytest.raises(SpaceError, match="gives no gradients"), attach(model.requires_grad_(True), BUDGETS):
        call(model, start, 900.0, 1)
    from diffusers import FirstBlockCacheConfig

    model.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with pytest.raises(SpaceError, match="disable_cache"), attach(model, BUDGETS):
        pass


@torch.inference_mode()
def test_a_pipeline_of_diffusers_keeps_its_steps_whatever_it_asks() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = shaken(
        diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16,
            out_channels=16, text_dim=16, freq_dim=32, ffn_dim=32, num_layers=2, cross_attn_norm=True,
        )
    )  # fmt: skip
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()  # two calls a step, but the last
    pipeline = diffusers.WanPipeline(None, None, vae, scheduler, transformer=model)
    pipeline.set_progress_bar_config(disable=True)
    prompt, without = torch.randn(2, 1, 5, 16)

    def clip(turned_off: int) -> Tensor:
        def callback(pipeline: Any, step: int, *given: Any) -> Any:
            if step == turned_off:
                pipeline._guidance_scale = 1.0  # no guidance from here on
            return given[-1]

        return pipeline(
            prompt_embeds=prompt, negative_prompt_embeds=without, num_inference_steps=4, height=32, width=32,
            num_frames=9, output_type="latent", generator=torch.Generator().manual_seed(3),
            callback_on_step_end=callback,
        ).frames  # fmt: skip

    plain, full = clip(2), (1.0,) * 7
    with attach(model, full) as attached:
        assert torch.equal(clip(2), plain)
    assert attached.steps == 7
    with attach(model, (1.0, 0.5, 0.0, 0.5, 0.0, 1.0, 0.5)):
        first, again = clip(2), clip(2)
    assert torch.equal(first, again)
    assert 1e-6 < float((first - plain).norm() / plain.norm()) < 0.5
    with (
        pytest.raises(SpaceError, match="4 budgets but the pipeline asks for step 5"),
        attach(model, full[:4]),
    ):
        clip(9)
