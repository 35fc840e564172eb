"""Random chains of operators, recorded on one batch and run on another, give plain autograd's bits."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from tradespace.errors import PlanWarning, SpaceError  # noqa: E402
from tradespace.problems.training import adacc  # noqa: E402
from tradespace.problems.training.execution import profiling  # noqa: E402
from tradespace.problems.training.module import AdaccModule  # noqa: E402

D = 16
Operator = Callable[[nn.Module, torch.Tensor, torch.Tensor, float], torch.Tensor]


def written(h: torch.Tensor, change: Callable[[torch.Tensor], Any]) -> torch.Tensor:
    """A fresh tensor that is read, then changed, then read."""
    made = h * 1.25
    early = made * 2
    change(made)
    return torch.sigmoid(early) + made


def parts(h: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(h)
    for place, piece in enumerate(h.chunk(3, -1)):
        out.narrow(-1, place * -(-D // 3), piece.shape[-1]).copy_(torch.sigmoid(piece) * (place + 1))
    return out.tanh()


def crossed(h: torch.Tensor) -> torch.Tensor:
    one, two = (t * 1.0 for t in h.chunk(2, -1))
    one.add_(torch.sigmoid(two * 2))
    two.mul_(torch.sigmoid(one + 1))
    return torch.cat([one.exp().clamp(max=4), two], -1)


OPERATORS: dict[str, Operator] = {
    "linear": lambda m, h, x, s: m.one(h),
    "tied": lambda m, h, x, s: F.linear(h, m.one.weight.t()),
    "gelu": lambda m, h, x, s: F.gelu(h),
    "tanh": lambda m, h, x, s: h.tanh(),
    "softmax": lambda m, h, x, s: (h * s).softmax(-1),
    "norm": lambda m, h, x, s: m.norm(h),
    "square": lambda m, h, x, s: h * h.sigmoid(),
    "view": lambda m, h, x, s: h.reshape(-1, 2, D // 2).flip(1).reshape(h.shape).sigmoid(),
    "transpose": lambda m, h, x, s: (h.transpose(0, 1) * 1.5).exp().clamp(max=5).transpose(0, 1),
    "slice": lambda m, h, x, s: torch.cat([h[..., 3:].tanh(), h[..., :3].sigmoid()], -1),
    "expand": lambda m, h, x, s: h * h[:1].mean(-1, keepdim=True).expand(h.shape[0], -1, 1).sigmoid(),
    "residual": lambda m, h, x, s: h + x.to(h.dtype),
    "scaled": lambda m, h, x, s: torch.sigmoid(h * s) + s,
    "add_": lambda m, h, x, s: written(h, lambda t: t.add_(s)),
    "part_": lambda m, h, x, s: written(h, lambda t: t[..., ::2].mul_(s).sub_(1)),
    "relu_": lambda m, h, x, s: F.relu(m.one(h), inplace=True),
    "fill_": lambda m, h, x, s: written(h, lambda t: t[:, 0].fill_(s)),
    "parts": lambda m, h, x, s: parts(h),
    "crossed": lambda m, h, x, s: crossed(h),
    "dropout": lambda m, h, x, s: F.dropout(h, 0.25 + 0.25 * (s > 1), True).sigmoid(),
    "noise": lambda m, h, x, s: h.tanh() * torch.rand_like(h),
    "rrelu": lambda m, h, x, s: F.rrelu(h, training=True).tanh(),
    "half": lambda m, h, x, s: h.to(torch.bfloat16).sigmoid().to(h.dtype),
    "double": lambda m, h, x, s: h.double().tanh().to(h.dtype),
    "buffer": lambda m, h, x, s: (m.seen.mul_(0.5).add_(h.detach().mean()), torch.sigmoid(h - m.seen))[1],
    "branch": lambda m, h, x, s: h.sigmoid() if float(h.detach().sum()) > 0 else h.tanh(),
    "matmul": lambda m, h, x, s: (h @ h.transpose(1, 2)).softmax(-1) @ h,
}


class Chain(nn.Module):
    """A chain of operators; numbers are drawn when it is called."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.first, self.one, self.norm = nn.Linear(D, D), nn.Linear(D, D), nn.LayerNorm(D)
        self.register_buffer("seen", torch.zeros(()))
        self.names, self.scale = names, 1.0

    def forward(self, x, other=None):
        h = self.first(x) if other is None else self.first(x) + other
        for name in self.names:
            h = OPERATORS[name](self, h, x, self.scale + float(torch.rand(())))
        return h


BATCHES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "same": lambda data: data[:4],
    "slice": lambda data: data[4:8],
    "larger": lambda data: data,
    "transposed": lambda data: data[:4].transpose(0, 1).contiguous().transpose(0, 1),
    "expanded": lambda data: data[:1].expand(4, -1, -1),
}


def step(module: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
    for p in module.parameters():
        p.grad = None
    torch.manual_seed(5)
    out = module(**batch)
    out.float().square().mean().backward()
    return {"out": out.detach(), **{n: p.grad for n, p in module.named_parameters()}, "next": torch.rand(1)}


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.sampled_from(sorted(OPERATORS)), min_size=1, max_size=7),
    used=st.sampled_from(sorted(BATCHES)),
    scale=st.sampled_from([1.0, 0.3, 2.0]),
    aliases=st.tuples(st.booleans(), st.booleans()),
    dtype=st.sampled_from([torch.float32, torch.float32, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 99),
    keep=st.integers(1, 4),
)
def test_random_chains_have_plain_autograds_gradient(names, used, scale, aliases, dtype, seed, keep) -> None:
    torch.manual_seed(seed)
    module, data = Chain(names).to(dtype), torch.randn(9, 8, D).to(dtype)

    def batch(x: torch.Tensor, aliased: bool) -> dict[str, Any]:
        return {"other": x if aliased else x.flip(0).contiguous(), "x": x}

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", PlanWarning)
        patch.setattr(profiling, "least_seconds", lambda run, *_: (run() and 0.0) or 1e-6)
        patch.setattr(profiling, "allocated_peak", lambda run: (run() and 0) or 0)
        try:
            problem = AdaccModule.from_module(
                module, batch(data[:4], aliases[0]), memory="1GiB", offload=True
            )
        except SpaceError as error:  # plain autograd refuses it as well, or there is nothing to plan
            if not any(word in str(error) for word in ("in place", "ran differently", "nothing is saved")):
                raise
            return
        module.scale = scale
        example = batch(BATCHES[used](data), aliases[1])
        exact = step(copy.deepcopy(module), example)
        for label in ("recompute", "offload"):
            plan = [
                label if t.treatment(label) and (label == "offload" or i % keep == 0) else "retain"
                for i, t in enumerate(problem.step.saved)
            ]
            seen = module.seen.clone()
            with adacc.apply(module, plan):
                found = step(module, example)
            module.seen.copy_(seen)
            for name, value in exact.items():
                assert (found[name] is None) == (value is None)
                if value is not None:
                    assert torch.equal(profiling.bits(found[name]), profiling.bits(value)), (label, name)
