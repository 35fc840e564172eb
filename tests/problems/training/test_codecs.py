"""Codecs: errors within their bound, fused and eager alike, sizes as stated, unbiased at random."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tradespace.problems.training.execution import codecs  # noqa: E402

NAMES = tuple(codecs.CODECS)


def activations(name: str, elements: int = 512 * 48) -> torch.Tensor:
    x = torch.randn(elements, generator=torch.Generator().manual_seed(0))
    if name == "bits":
        return (x > 0.5) / 0.9
    return x.abs() if name == "uint4" else x


@pytest.mark.parametrize("elements", [512 * 48, 48])
@pytest.mark.parametrize("name", NAMES)
def test_error_is_half_a_step_of_the_group_at_most_and_the_size_is_as_stated(
    name: str, elements: int
) -> None:
    x, made = activations(name, elements), codecs.codec(name, 48)
    code = made.encode(x)
    back = made.decode(code)
    levels = {"int8": 127, "uint4": 15}.get(name, 7)
    groups = torch.nn.functional.pad(x, (0, -len(x) % 64)).view(-1, 64)
    bound = (groups.abs().amax(1, keepdim=True) * (1.01 / levels / 2)).expand_as(groups).reshape(-1)[: len(x)]
    assert code.size == made.stored(len(x), 4)
    assert torch.equal(back, x) if made.lossless else bool(((back - x).abs() <= bound).all())


@pytest.mark.parametrize("name", NAMES)
def test_fused_and_eager_code_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = activations(name)
    fused = codecs.codec(name, 48)
    fast = fused.decode(fused.encode(x))
    monkeypatch.setattr(codecs, "_fused", lambda x: False)
    eager = codecs.codec(name, 48)
    slow = eager.decode(eager.encode(x))
    apart = (fast - slow).abs()  # a quotient on the border of two codes may fall on either side
    assert float((apart > 1e-4 * x.abs().max()).float().mean()) < 1e-3
    assert float(apart.max()) <= float(x.abs().max()) / 7


@pytest.mark.parametrize("name", ["int8", "int4", "uint4"])
def test_random_rounding_has_no_bias(name: str) -> None:
    x, made = activations(name, 4096), codecs.codec(name, 64, stochastic=True)
    draws = 200
    mean = sum(made.decode(made.encode(x)) for _ in range(draws)) / draws
    single = float((made.decode(made.encode(x)) - x).norm())
    assert float((mean - x).norm()) < 3 * single / draws**0.5


def test_outliers_apart_where_they_stand_cut_the_error() -> None:
    channels = activations("int4").view(-1, 48).clone()
    channels[:, 5] *= 100
    spikes = activations("int4").clone()
    spikes[:: 48 * 4 + 7] *= 100
    errors = {
        (kind, name): float((made.decode(made.encode(x)) - x)[x.abs() < 10].norm())
        for kind, x in (("channels", channels.reshape(-1)), ("tokens", spikes))
        for name in ("int4", "int4+channels", "int4+tokens")
        for made in [codecs.codec(name, 48)]
    }
    assert errors["channels", "int4+channels"] < 0.2 * errors["channels", "int4"]
    assert errors["tokens", "int4+tokens"] < 0.2 * errors["tokens", "int4"]
    assert errors["tokens", "int4+channels"] > 0.5 * errors["tokens", "int4"]


def test_outlier_channels_are_found_again_every_few_codes() -> None:
    made = codecs.Int4Channels(48, refresh=2)
    first = torch.ones(4, 48)
    first[:, 3] = 50
    later = torch.ones(4, 48)
    later[:, 9] = 50
    kept = []
    for x in (first, later, later):
        made.encode(x.reshape(-1))
        kept.append(3 in made.channels.tolist())
    assert kept == [True, True, False]


@pytest.mark.parametrize("width", [8, 48, 352, 1030])
def test_rows_of_any_kind_survive_and_a_spike_is_kept_exactly(width: int) -> None:
    rows = torch.randn(67, width, generator=torch.Generator().manual_seed(1))
    rows[3] = 0
    rows[5] = -2.5
    rows[7:] *= torch.logspace(-6, 6, 60)[:, None]
    spikes = torch.arange(67) % 4 == 1
    rows[spikes, width // 3] = 1e4 * rows[spikes].abs().amax(1)
    for name in ("int4+tokens", "int4+channels", "int4"):
        made = codecs.codec(name, width)
        back = made.decode(made.encode(rows.reshape(-1))).view(67, width)
        flat = torch.nn.functional.pad(rows.reshape(-1), (0, -rows.numel() % 64)).view(-1, 64)
        bound = flat.abs().amax(1, keepdim=True).expand_as(flat).reshape(-1)[: rows.numel()].view_as(rows)
        assert bool(((back - rows).abs() <= bound * (1.01 / 14)).all())
        if name == "int4+tokens":
            assert torch.equal(back[spikes, width // 3], rows[spikes, width // 3])


@pytest.mark.parametrize("kind", [torch.bool, torch.float32, torch.bfloat16, torch.float64, torch.int8])
def test_two_values_of_any_type_pack_without_loss_and_a_third_is_not_coded(kind: torch.dtype) -> None:
    made = codecs.codec("bits", 8)
    signs = torch.randn(1000, generator=torch.Generator().manual_seed(2)) > 0
    for x in (signs.to(kind), torch.ones(70).to(kind), torch.where(signs, 1, -1).to(kind)):
        assert torch.equal(made.decode(made.encode(x)), x)
    if kind != torch.bool:
        assert made.encode(torch.arange(65).to(kind)) is None
