"""A carried-out plan gives plain autograd's gradient, or a sentence before a wrong one, in every situation.

A situation records a module on one batch, changes something, and runs a step: once without a plan, then by
each of four plans. Recomputing and moving must give the same bits, and leave the same buffers and random state;
codecs must stay within what was measured of them.
"""

# ruff: noqa: E501
from __future__ import annotations

import contextlib
import copy
import gc
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.autograd.graph import save_on_cpu  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from tradespace.errors import PlanWarning, SpaceError  # noqa: E402
from tradespace.problems.training import adacc  # noqa: E402
from tradespace.problems.training.execution import profiling  # noqa: E402
from tradespace.problems.training.execution.live import LiveBytes  # noqa: E402
from tradespace.problems.training.module import AdaccModule  # noqa: E402

D, T, B = 24, 12, 6
CHEAP = ("addmm", "mm", "bmm", "convolution", "lstm", "rnn", "attention", "baddbmm")


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here is what plans do, not how long it takes."""
    monkeypatch.setattr(profiling, "least_seconds", lambda run, *_: (run() and 0.0) or 1e-6)
    monkeypatch.setattr(profiling, "allocated_peak", lambda run: (run() and 0) or 0)
    torch.set_num_threads(1)


def randn(*shape: int, seed: int = 0, **how: Any) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **how)


X, Y, DATA = randn(B, T, D), randn(B, T, D, seed=1), randn(4 * B, T, D, seed=2)
IDS = torch.randint(0, 40, (B, T), generator=torch.Generator().manual_seed(3))


# --- modules ---------------------------------------------------------------------------------------------
class Block(nn.Module):
    """A layer of a transformer's kind whose middle is `inner(self, h)`."""

    def __init__(self, inner: Callable[..., Any] = lambda self, h: h, **parts: nn.Module) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(D), nn.Linear(D, 2 * D), nn.Linear(2 * D, D)
        self.position = nn.Parameter(randn(T, D, seed=4))
        self.inner, self.p, self.temperature = inner, 0.1, 1.0
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x, *more):
        h = self.a(self.norm(x + self.position[: x.shape[-2]].to(x.dtype)))
        return self.b(F.gelu(self.inner(self, h, *more)))


class Calls(nn.Module):
    """Parts, and a function of them and the arguments."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args, **kwargs):
        return self.run(self, *args, **kwargs)


def linear(inputs: int = D, outputs: int = D, **how: Any) -> nn.Linear:
    return nn.Linear(inputs, outputs, **how)


def two(self, q, k):
    return self.b(F.gelu(q * 2 + 1)) + self.c(F.gelu(self.a(k * 3)))


def attention(self, x, mask=None, scale=1.0):
    scores = self.q(x) @ self.k(x).transpose(1, 2) / 5 * scale
    if mask is not None:
        scores = scores + mask
    return F.gelu(scores).softmax(-1) @ self.v(x)


def attends(run: Callable[..., Any] = attention) -> Callable[[], nn.Module]:
    return lambda: Calls(run, q=linear(), k=linear(), v=linear())


def mean(out: Any) -> torch.Tensor:
    return out.square().mean()


def calls(*args: Any, **kwargs: Any) -> Callable[[nn.Module], None]:
    """A step: the module called so, its mean square, backward."""
    return lambda module: mean(module(*args, **kwargs)).backward()


@dataclass
class Case:
    """A situation. make: the module. batch: recorded. step: what runs. change: between the two. says: part of a
    sentence that may stand instead. codes: whether the codecs' errors measured on the recorded batch apply."""

    make: Callable[[], nn.Module]
    batch: Any
    step: Callable[[nn.Module], Any]
    change: Callable[[nn.Module], Any] | None = None
    says: str = ""
    codes: bool = True
    around: Callable[[], Any] = contextlib.nullcontext


def labels(problem: AdaccModule, kind: str) -> list[str]:
    """The plan of a kind."""

    def label(t: Any) -> str:
        wanted = {"everything": "recompute", "cheap": "recompute", "offload": "offload"}.get(kind)
        if kind == "cheap" and any(word in t.producer for word in CHEAP):
            return "retain"
        found = (wanted,) if wanted else ("int4", "int8")
        return next((w for w in found if t.treatment(w) is not None), "retain")

    return [label(t) for t in problem.step.saved]


PLANS = ("everything", "cheap", "offload", "codecs")


def state(module: nn.Module, step: Callable[[nn.Module], Any]) -> dict[str, Any]:
    """What a step leaves: gradients, buffers, the next random number, and what the step returned."""
    for p in module.parameters():
        p.grad = None
    torch.manual_seed(7)
    returned = step(module)
    found = {f"gradient of {n}": None if p.grad is None else p.grad.to_dense().clone()
             for n, p in module.named_parameters()}  # fmt: skip
    found |= {n: b.clone() for n, b in module.named_buffers()}
    found |= {f"result {i}": r.detach().clone() for i, r in enumerate(returned or ())}
    return {**found, "next random number": torch.rand(1)}


def equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(profiling.bits(a), profiling.bits(b))


def check(case: Case) -> None:
    torch.manual_seed(0)
    module = case.make()
    with case.around(), warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        try:
            problem = AdaccModule.from_module(module, case.batch, memory="1GiB", offload=True)
        except SpaceError as error:
            if not case.says or case.says not in str(error):
                raise
            return
        if case.change is not None:
            case.change(module)
        exact = state(copy.deepcopy(module), case.step)
        for kind in PLANS:
            plan = labels(problem, kind)
            trial = {n: v.clone() for n, v in module.state_dict().items()}
            hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()]
            try:
                with adacc.apply(module, plan):
                    found = state(module, case.step)
            except SpaceError as error:
                if not case.says or case.says not in str(error):
                    raise
                found = None
            assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()]
            assert torch._C._len_torch_dispatch_stack() == 0
            assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
            module.load_state_dict(trial)
            if found is None:
                continue
            assert found.keys() == exact.keys()
            if kind != "codecs":
                wrong = [n for n in exact if not equal(found[n], exact[n])]
                assert not wrong, f"{kind}: {wrong}"
                continue
            names = [n for n in exact if n.startswith("gradient") and exact[n] is not None]
            assert all(found[n] is not None for n in names)
            if case.codes:
                promised = float(problem.score({"action": plan}).metrics["error"][0]) * problem.step.blocks
                got = profiling.distance({n: found[n] for n in names}, {n: exact[n] for n in names})
                assert got <= 1.1 * promised + 1e-7, f"codecs: {got:.3g} where {promised:.3g} is promised"


# --- the table ------------------------------------------------------------------------------------------
def anneal(name: str, value: float) -> Callable[[nn.Module], None]:
    return lambda module: setattr(module, name, value)


def assign(module: nn.Module) -> None:
    module.load_state_dict({k: v * 2 for k, v in module.state_dict().items()}, assign=True)


def swap_data(module: nn.Module) -> None:
    for p in module.parameters():
        p.data = p.data * 1.5


def tie(module: nn.Module) -> None:
    module.k.weight = module.q.weight


def freeze(module: nn.Module) -> None:
    module.a.requires_grad_(False)


def refilled(through: str) -> Callable[[nn.Module], None]:
    def step(module: nn.Module) -> None:
        buffer = X.clone()
        loss = mean(module(buffer))
        if through == "torch":
            buffer.copy_(Y)
        elif through == "numpy":
            buffer.numpy()[:] = Y.numpy()
        elif through == "shuffle":
            buffer.numpy()[:] = buffer.numpy()[::-1].copy()
        else:
            buffer.data.mul_(2)
        loss.backward()

    return step


def neighbour(module: nn.Module) -> None:
    """A loader fills the other half of its buffer while this one is used."""
    buffer = DATA.clone()
    loss = mean(module(buffer[:B]))
    buffer[B:].zero_()
    loss.backward()


def hidden_input_changed(module: nn.Module) -> None:
    hidden = (X * module.norm.weight).contiguous()
    loss = mean(module(hidden))
    with torch.no_grad():
        hidden.mul_(2)
    loss.backward()


def bias_changed(module: nn.Module) -> None:
    loss = mean(module(X))
    module.a.bias.data.mul_(2)
    loss.backward()


def in_between(self, h):
    """Written between two reads, after which it is saved."""
    early = h * 2
    h.add_(1)
    return torch.sigmoid(early + h * h) * torch.sigmoid(early)


def reversible(self, x):
    one, two = (t.contiguous() for t in x.clone().chunk(2, -1))
    one = one + 0
    two = two + 0
    one.add_(torch.sigmoid(two * 2) + 0)
    two.add_(torch.sigmoid(one * 3) + 0)
    one.add_(torch.sigmoid(two * 2) + 0)
    return self.a(torch.cat([one, two], -1).tanh())


def through_numpy(self, h):
    made = h * 2
    made.detach().numpy()[:] += 1
    return made.sigmoid()


class ByNumpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        made = torch.from_numpy(x.detach().numpy() ** 2)
        ctx.save_for_backward(x, made)
        return made

    @staticmethod
    def backward(ctx, gradient):
        x, made = ctx.saved_tensors
        return 2 * gradient * x + 0 * made


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class Root(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        made = x.abs().sqrt() + 1
        ctx.save_for_backward(made)
        ctx.kept = x
        return made

    @staticmethod
    def backward(ctx, gradient):
        (made,) = ctx.saved_tensors
        return gradient * ctx.kept.sign() / (2 * (made - 1)).clamp_min(1e-3)


def part_by_part(self, h):
    out = torch.empty_like(h)
    for i, piece in enumerate(h.chunk(3, -1)):
        out[..., i * piece.shape[-1] : (i + 1) * piece.shape[-1]] = torch.sigmoid(piece) * (i + 1)
    return out.tanh()


def views(self, h):
    h = h.view(-1, 2, D).transpose(0, 1)
    a, b = h.unbind(0)
    return torch.cat([a.exp().clamp(max=3), torch.sigmoid(b)[:, ::1]], 1).view(-1, T, 2 * D)


def in_place(self, h):
    h = h * 1.5
    h[..., ::2].add_(1).mul_(0.5)
    h[:, 0] = 0.3
    return h.relu_() + torch.sigmoid(h)


def masked(value: float) -> Callable[..., Any]:
    def run(self, x):
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 5
        scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), value)
        return torch.max(scores, torch.full((), value)).softmax(-1) @ self.v(x)

    return run


def sdpa(self, x, p=0.0):
    q, k, v = (layer(x).view(B, T, 3, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
    return (
        F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p).transpose(1, 2).reshape(B, T, D)
    )


def branches(self, h):
    return h.sigmoid() * h if float(h.sum()) > self.temperature else h.tanh().exp()


def own_generator(self, h):
    mask = torch.rand(h.shape, generator=self.generator) > 0.3
    return h.tanh() * mask


def with_generator() -> nn.Module:
    block = Block(
        lambda self, h: (
            h.tanh() * (torch.rand(h.shape, generator=torch.Generator().manual_seed(self.draw())) > 0.3)
        )
    )
    block.draw = lambda: int(torch.randint(0, 1000, ()))
    return block


def running(self, h):
    self.mean.mul_(0.9).add_(0.1 * h.detach().mean((0, 1)))
    self.steps += 1
    return torch.sigmoid(h - self.mean) * h


def buffered() -> nn.Module:
    block = Block(running)
    block.register_buffer("mean", torch.zeros(2 * D))
    block.register_buffer("steps", torch.zeros((), dtype=torch.long))
    return block


def autocast(step: Callable[[nn.Module], Any]) -> Callable[[nn.Module], Any]:
    def run(module: nn.Module) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return step(module)

    return run


def bf16() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


def accumulate(module: nn.Module) -> None:
    for batch in (X, Y, X):
        (mean(module(batch)) / 3).backward()


def twice(module: nn.Module) -> None:
    (mean(module(X)) + mean(module(Y)) * 2).backward()


def chained(module: nn.Module) -> None:
    mean(module(module(X))).backward()


def retained(module: nn.Module) -> None:
    loss = mean(module(X))
    loss.backward(retain_graph=True)
    loss.backward()


def penalty(module: nn.Module) -> None:
    x = X.clone().requires_grad_()
    loss = mean(module(x))
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + slope.square().sum()).backward()


def inputs_gradient(module: nn.Module) -> tuple[torch.Tensor, ...]:
    x = X.clone().requires_grad_()
    mean(module(x)).backward()
    return (x.grad,)


def inner_gradient(self, x):
    h = self.a(x)
    with torch.enable_grad():
        inner = h.detach().requires_grad_()
        (slope,) = torch.autograd.grad(torch.sigmoid(inner).square().sum(), inner)
    return self.b((h + slope).tanh())


def checkpointed(reentrant: bool) -> Callable[..., Any]:
    def run(self, h):
        return checkpoint(lambda t: torch.sigmoid(t).square().tanh(), h, use_reentrant=reentrant)

    return run


def within_checkpoint(reentrant: bool) -> Callable[[nn.Module], None]:
    return lambda module: mean(
        checkpoint(module, X.clone().requires_grad_(), use_reentrant=reentrant)
    ).backward()


def on_cpu(step: Callable[[nn.Module], Any]) -> Callable[[nn.Module], Any]:
    def run(module: nn.Module) -> Any:
        with save_on_cpu():
            return step(module)

    return run


def saved_on_cpu(self, h):
    with save_on_cpu():
        return torch.sigmoid(h).square().tanh()


def user_hooks(module: nn.Module) -> tuple[torch.Tensor, ...]:
    seen: list[torch.Tensor] = []
    handles = [p.register_hook(lambda g: g * 2) for p in module.parameters()]
    handles.append(module.register_full_backward_hook(lambda m, i, o: seen.append(o[0])))
    calls(X)(module)
    for handle in handles:
        handle.remove()
    return tuple(seen)


def optimiser_in_backward(module: nn.Module) -> tuple[torch.Tensor, ...]:
    seen: list[torch.Tensor] = []

    def update(p: nn.Parameter) -> None:
        seen.append(p.grad.clone())
        p.grad = None

    handles = [p.register_post_accumulate_grad_hook(update) for p in module.parameters()]
    calls(X)(module)
    for handle in handles:
        handle.remove()
    return tuple(sorted(seen, key=lambda g: float(g.double().sum())))


def flat_gradients(module: nn.Module) -> tuple[torch.Tensor, ...]:
    """Gradients are parts of one tensor, as fused optimisers have it."""
    flat = torch.zeros(sum(p.numel() for p in module.parameters()))
    offset = 0
    for p in module.parameters():
        p.grad = flat[offset : offset + p.numel()].view_as(p)
        offset += p.numel()
    calls(X)(module)
    flat.mul_(0.5)
    calls(Y)(module)
    return (flat,)


def functional(module: nn.Module) -> tuple[torch.Tensor, ...]:
    weights = {n: (p * 2).detach().requires_grad_() for n, p in module.named_parameters()}
    mean(torch.func.functional_call(module, weights, (X,))).backward()
    return tuple(w.grad for w in weights.values())


def by_func_grad(module: nn.Module) -> tuple[torch.Tensor, ...]:
    weights = dict(module.named_parameters())
    made = torch.func.grad(lambda w: mean(torch.func.functional_call(module, w, (X,))))(weights)
    return tuple(made.values())


def by_vmap(module: nn.Module) -> None:
    mean(torch.func.vmap(module)(DATA.view(4, B, T, D))).backward()


def copied(module: nn.Module) -> tuple[torch.Tensor, ...]:
    twin = copy.deepcopy(module)
    calls(X)(module)
    calls(Y)(twin)
    return tuple(p.grad for p in twin.parameters())


def switched_off(module: nn.Module) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        first = module(X)
    with torch.inference_mode():
        second = module(X).clone()
    calls(X)(module)
    return first, torch.from_numpy(second.numpy())


def in_eval(module: nn.Module) -> None:
    module.eval()
    calls(X)(module)
    module.train()
    calls(X)(module)


def in_a_thread(module: nn.Module) -> None:
    worker = threading.Thread(target=calls(X), args=(module,))
    worker.start()
    worker.join()


def wrong_forward(kind: type[BaseException]) -> Callable[[nn.Module], None]:
    """The user's own forward raises, and the next step is a step."""

    def step(module: nn.Module) -> None:
        def broken(*_: Any) -> None:
            raise kind("made up")

        handle = module.b.register_forward_pre_hook(broken)
        with contextlib.suppress(kind):
            module(X)
        handle.remove()
        calls(X)(module)

    return step


def wrong_backward(module: nn.Module) -> None:
    def broken(gradient: torch.Tensor) -> None:
        raise RuntimeError("made up")

    handle = module.norm.weight.register_hook(broken)
    with contextlib.suppress(RuntimeError):
        calls(X)(module)
    handle.remove()
    for p in module.parameters():
        p.grad = None
    calls(X)(module)


def weight_shared_outside(module: nn.Module) -> None:
    out = module(X)
    mean(out @ module.b.weight).backward()


def recurrent(kind: type[nn.Module], **how: Any) -> Callable[[], nn.Module]:
    return lambda: Calls(
        lambda s, x: s.out(F.gelu(s.cell(x)[0])), cell=kind(D, D, batch_first=True, **how), out=linear()
    )


def by_cells(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    def run(self, x):
        h, out = None, []
        for t in range(T):
            h = self.cell(x[:, t], h)
            out.append(h[0] if isinstance(h, tuple) else h)
        return self.out(torch.stack(out, 1).tanh())

    return lambda: Calls(run, cell=kind(D, D), out=linear())


def embeds(**how: Any) -> Callable[[], nn.Module]:
    return lambda: Calls(lambda s, ids: s.a(F.gelu(s.e(ids) * 2)), e=nn.Embedding(40, D, **how), a=linear())


def resnet() -> nn.Module:
    def run(self, x):
        h = F.relu(self.n1(self.c1(x)), inplace=True)
        h = F.relu(self.n2(self.c2(h)) + x, inplace=True)
        return F.adaptive_avg_pool2d(F.silu(self.n3(h)), 2)

    return Calls(run, c1=nn.Conv2d(8, 8, 3, padding=1), n1=nn.BatchNorm2d(8), c2=nn.Conv2d(8, 8, 3, padding=1),
                 n2=nn.BatchNorm2d(8), n3=nn.GroupNorm(2, 8))  # fmt: skip


PICTURE, OTHER = randn(4, 8, 9, 9), randn(3, 8, 7, 11, seed=5)
HALF = torch.zeros(1, T, T)


def dropped(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, h: f(h, self.p, True)


@dataclass
class Named:
    values: torch.Tensor
    mask: torch.Tensor | None = None


def output_like(self, inputs):
    h = self.a(inputs["x"]["values"] if isinstance(inputs, dict) else inputs.values)
    return SimpleNamespace(loss=None, value=torch.sigmoid(h).square().tanh())


def odd_widths(self, x):
    h = F.gelu(self.a(x))
    return self.b(F.dropout(h.softmax(-1), 0.25, True) * h.relu())


CASES: dict[str, Case] = {
    # what varies between passes
    "as recorded": Case(Block, X, calls(X)),
    "batches are slices of one tensor": Case(Block, DATA[:B], calls(DATA[B : 2 * B])),
    "a view at an odd offset": Case(Block, X, calls(randn(B * T * D + 3, seed=9)[3:].view(B, T, D))),
    "an expanded input": Case(Block, X, calls(X[:1].expand(B, T, D)), codes=False),
    "a transposed input": Case(Block, X, calls(randn(T, B, D).transpose(0, 1))),
    "an input with strides": Case(Block, X, calls(randn(B, T, 2 * D)[..., ::2])),
    "another batch size": Case(Block, X, calls(DATA), codes=False),
    "a batch of one": Case(Block, X, calls(X[:1]), codes=False),
    "a shorter sequence": Case(Block, X, calls(X[:, : T - 3]), codes=False),
    "recorded m(x, x), used m(x, y)": Case(lambda: Calls(two, a=linear(), b=linear(), c=linear()), (X, X), calls(X, Y)),
    "recorded m(x, y), used m(x, x)": Case(lambda: Calls(two, a=linear(), b=linear(), c=linear()), (X, Y), calls(X, X)),
    "chunks of one tensor": Case(lambda: Calls(two, a=linear(), b=linear(), c=linear()), (X, Y), calls(*DATA[: 2 * B].chunk(2))),
    "keywords in another order": Case(
        lambda: Calls(two, a=linear(), b=linear(), c=linear()), {"q": X, "k": Y}, lambda m: mean(m(k=Y, q=X)).backward()),
    "mask recorded (B, T, T), used (1, T, T)": Case(attends(), (X, torch.zeros(B, T, T)), calls(X, HALF)),
    "mask recorded, used None": Case(attends(), (X, HALF), calls(X, None)),
    "None recorded, mask used": Case(attends(), X, calls(X, HALF)),
    "a number as an argument": Case(attends(), (X, None, 1.0), calls(X, None, 2.5), codes=False),
    "nested dictionaries": Case(lambda: Calls(lambda s, i: output_like(s, i).value, a=linear()), ({"x": {"values": X}},), calls({"x": {"values": Y}})),
    "a dataclass": Case(lambda: Calls(lambda s, i: output_like(s, i).value, a=linear()), (Named(X),), calls(Named(Y))),
    "temperature annealed": Case(lambda: Block(lambda s, h: h * s.temperature), X, calls(X), anneal("temperature", 3.0), codes=False),
    "dropout rate annealed": Case(lambda: Block(dropped(F.dropout)), X, calls(X), anneal("p", 0.5), codes=False),
    "dropout off": Case(lambda: Block(dropped(F.dropout)), X, calls(X), anneal("p", 0.0)),
    "inputs ask for gradients": Case(Block, X, inputs_gradient),
    "inputs asked for gradients": Case(Block, X.clone().requires_grad_(), calls(X)),
    # weights
    "weights replaced": Case(Block, X, calls(X), assign, codes=False),
    "weights replaced inside": Case(Block, X, lambda m: (assign(m), calls(X)(m))[2:], codes=False),
    "data of weights swapped": Case(Block, X, calls(X), swap_data, codes=False),
    "weights tied": Case(attends(), X, calls(X), tie, codes=False),
    "a layer frozen": Case(Block, X, calls(X), freeze, codes=False),
    "double precision after recording": Case(Block, X, calls(X.double()), nn.Module.double),
    "a parameter used outside as well": Case(Block, X, weight_shared_outside, codes=False),
    # changes before backward
    **{f"input refilled by {how}": Case(Block, X, refilled(how), says="was changed or freed")
       for how in ("torch", "numpy", "shuffle", "data")},
    "the rest of the input's tensor is refilled": Case(Block, X, neighbour),
    "a computed input is changed": Case(Block, X, hidden_input_changed, says="was changed or freed"),
    "a bias is changed through data": Case(Block, X, bias_changed, says="was changed or freed"),
    # writes in place
    "written between two reads": Case(lambda: Block(in_between), X, calls(Y)),
    "two halves change each other": Case(lambda: Calls(reversible, a=linear()), X, calls(Y)),
    "written part by part": Case(lambda: Block(part_by_part), X, calls(Y)),
    "views of views": Case(lambda: Block(views), X, calls(Y)),
    "activations and views changed": Case(lambda: Block(in_place), X, calls(Y)),
    "an input changed in place": Case(lambda: Block(), X, lambda m: [mean(Calls(lambda s, x: m(x.mul_(2)))(X.clone())).backward()][1:]),
    "changed by NumPy after it was made": Case(lambda: Block(through_numpy), X, calls(Y), says="was changed or freed"),
    "buffers written in forward": Case(buffered, X, calls(Y)),
    # functions
    "a function that uses NumPy": Case(lambda: Block(lambda s, h: ByNumpy.apply(h.tanh()) + h), X, calls(Y)),
    "a function that changes its input": Case(lambda: Block(lambda s, h: Doubled.apply(h * 1).sigmoid()), X, calls(Y)),
    "a function that saves its output": Case(lambda: Block(lambda s, h: Root.apply(h.tanh()).sigmoid()), X, calls(Y), codes=False),
    "control flow by data": Case(lambda: Block(branches), X, calls(X), anneal("temperature", 1e9), codes=False),
    "early exit": Case(lambda: Calls(lambda s, x, n=3: [x := torch.tanh(layer(x)) for layer in (s.a, s.b, s.c)[:n]][-1], a=linear(), b=linear(), c=linear()),
                       X, calls(X, 2), codes=False),
    "more layers than recorded": Case(lambda: Calls(lambda s, x, n=1: [x := torch.tanh(layer(x)) for layer in (s.a, s.b, s.c)[:n]][-1], a=linear(), b=linear(), c=linear()),
                       X, calls(X, 3), codes=False),
    # random
    **{f"{f.__name__}": Case(lambda f=f: Block(dropped(f)), X, calls(Y), codes=False)
       for f in (F.dropout, F.alpha_dropout, F.feature_alpha_dropout, F.dropout1d)},
    "RReLU": Case(lambda: Block(lambda s, h: F.rrelu(h, training=True).sigmoid()), X, calls(Y), codes=False),
    "a generator of one's own": Case(with_generator, X, calls(X), codes=False),
    "gumbel softmax": Case(lambda: Block(lambda s, h: F.gumbel_softmax(h) * h), X, calls(X), codes=False),
    # layers
    "LSTM": Case(recurrent(nn.LSTM), X, calls(Y), codes=False),
    "LSTM with dropout": Case(recurrent(nn.LSTM, num_layers=2, dropout=0.3), X, calls(Y), codes=False),
    "GRU": Case(recurrent(nn.GRU), X, calls(Y), codes=False),
    "RNN": Case(recurrent(nn.RNN), X, calls(Y), codes=False),
    "LSTMCell": Case(by_cells(nn.LSTMCell), X, calls(Y), codes=False),
    "GRUCell": Case(by_cells(nn.GRUCell), X, calls(Y), codes=False),
    "RNNCell": Case(by_cells(nn.RNNCell), X, calls(Y), codes=False),
    "a residual block of convolutions": Case(resnet, PICTURE, calls(OTHER), codes=False),
    "batch norm in eval": Case(resnet, PICTURE, calls(PICTURE), nn.Module.eval, codes=False),
    "batch norm recorded in eval": Case(lambda: resnet().eval(), PICTURE, calls(PICTURE), nn.Module.train, codes=False),
    "embedding": Case(embeds(), IDS, calls(IDS.flip(0)), codes=False),
    "sparse embedding": Case(embeds(sparse=True), IDS, calls(IDS.flip(0)), codes=False),
    "embedding with padding": Case(embeds(padding_idx=0), IDS, calls(IDS.flip(0)), codes=False),
    "embedding that writes its weights": Case(embeds(max_norm=1.0), IDS, calls(IDS.flip(0)), codes=False),
    "int32 ids": Case(embeds(), IDS.int(), calls(IDS.int())),
    "int64 ids after int32": Case(embeds(), IDS.int(), calls(IDS)),
    "fused attention with dropout": Case(attends(lambda s, x: sdpa(s, x, 0.2)), X, calls(Y), codes=False),
    "fused attention": Case(attends(sdpa), X, calls(Y)),
    "weight norm": Case(lambda: Block(lambda s, h: s.w(h).sigmoid(), w=nn.utils.parametrizations.weight_norm(linear(2 * D, 2 * D))), X, calls(Y)),
    "spectral norm": Case(lambda: Block(lambda s, h: s.w(h).sigmoid(), w=nn.utils.parametrizations.spectral_norm(linear(2 * D, 2 * D))), X, calls(Y), codes=False),
    # numbers
    **{f"scores masked with {v}": Case(attends(masked(v)), X, calls(Y))
       for v in (-1e9, torch.finfo(torch.float32).min, float("-inf"))},
    "NaN inputs": Case(Block, X, calls(torch.where(X > 1, torch.nan, X)), codes=False),
    "infinite inputs": Case(Block, X, calls(torch.where(X > 2, torch.inf, X)), codes=False),
    "complex numbers": Case(lambda: Block(lambda s, h: torch.fft.rfft(h).mul(1j).exp().abs().sigmoid().repeat(1, 1, 2)[..., : 2 * D]), X, calls(Y), codes=False),
    "complex weights": Case(lambda: Calls(lambda s, x: s.a(x).tanh().abs(), a=linear(dtype=torch.complex64)), X.to(torch.complex64), calls(Y.to(torch.complex64)), codes=False),
    "conjugates": Case(lambda: Calls(lambda s, x: (s.a(x).conj() * s.a(x)).real.sigmoid(), a=linear(dtype=torch.complex64)), X.to(torch.complex64), calls(Y.to(torch.complex64)), codes=False),
    **{f"{d}": Case(lambda d=d: Block().to(d), X.to(d), calls(Y.to(d))) for d in (torch.bfloat16, torch.float16, torch.float64)},
    "widths that do not divide": Case(lambda: Calls(odd_widths, a=linear(D, 37), b=linear(37, D)), X, calls(X[:, : T - 1]), codes=False),
    # autocast
    "autocast around both": Case(Block, X, calls(X), around=bf16),
    "autocast around use only": Case(Block, X, autocast(calls(X)), codes=False),
    "autocast around recording only": Case(Block, X, lambda m: calls(X)(m), codes=False),
    "autocast, the module twice": Case(Block, X, chained, around=bf16, codes=False),
    "autocast, two batches": Case(Block, X, twice, around=bf16, codes=False),
    "autocast, a weight outside as well": Case(Block, X, weight_shared_outside, around=bf16, codes=False),
    "autocast inside": Case(lambda: Block(lambda s, h: autocast(lambda m: (s.w(h).sigmoid() + s.w(h)).float())(s), w=linear(2 * D, 2 * D)), X, calls(Y)),
    # steps
    "accumulation": Case(Block, X, accumulate, codes=False),
    "two batches in a step": Case(Block, X, twice, codes=False),
    "the module on its own output": Case(Block, X, chained, codes=False),
    "two backward passes": Case(Block, X, retained),
    "a gradient penalty": Case(Block, X, penalty, codes=False),
    "a gradient inside forward": Case(lambda: Calls(inner_gradient, a=linear(), b=linear()), X, calls(Y),
                                      says="runs a backward pass inside its forward pass"),
    "checkpoint inside": Case(lambda: Block(checkpointed(False)), X, calls(Y)),
    "reentrant checkpoint inside": Case(lambda: Block(checkpointed(True)), X, calls(Y)),
    "checkpoint outside": Case(Block, X, within_checkpoint(False), codes=False),
    "reentrant checkpoint outside": Case(Block, X, within_checkpoint(True), codes=False),
    "save_on_cpu outside": Case(Block, X, on_cpu(calls(Y))),
    "save_on_cpu inside": Case(lambda: Block(saved_on_cpu), X, calls(Y)),
    "hooks of the user": Case(Block, X, user_hooks),
    "an optimiser in backward": Case(Block, X, optimiser_in_backward),
    "gradients that are parts of one tensor": Case(Block, X, flat_gradients, codes=False),
    "functional_call": Case(Block, X, functional, codes=False),
    "torch.func.grad": Case(Block, X, by_func_grad, codes=False),
    "vmap": Case(Block, X, by_vmap, codes=False),
    "a copy inside": Case(Block, X, copied),
    "no_grad and inference_mode": Case(Block, X, switched_off),
    "eval, then train": Case(lambda: Block(dropped(F.dropout)), X, in_eval, codes=False),
    "in a thread": Case(lambda: Block(), X, in_a_thread),
    "a forward pass that raises": Case(Block, X, wrong_forward(RuntimeError)),
    "an interrupt": Case(Block, X, wrong_forward(KeyboardInterrupt)),
    "a backward pass that raises": Case(Block, X, wrong_backward),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_plain_autograds_gradient_or_a_sentence(name: str) -> None:
    check(CASES[name])


def recorded() -> tuple[nn.Module, list[str]]:
    torch.manual_seed(0)
    module = Block()
    problem = AdaccModule.from_module(module, X, memory="1GiB", offload=True)
    return module, labels(problem, "everything")


def test_after_an_interrupt_the_next_pass_begins_afresh() -> None:
    module, plan = recorded()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with adacc.apply(module, plan):
        handle = module.b.register_forward_pre_hook(interrupted)
        with contextlib.suppress(KeyboardInterrupt):
            module(X)
        handle.remove()
        calls(X)(module)
        assert torch._C._len_torch_dispatch_stack() == 0
        assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None


def test_a_copy_made_inside_is_a_module_without_a_plan() -> None:
    module, plan = recorded()
    with adacc.apply(module, plan) as program:
        twin = copy.deepcopy(module)
        before = program.passes
        calls(X)(twin)
        assert program.passes == before
        calls(X)(module)


@pytest.mark.parametrize("name", ["as recorded", "two halves change each other", "GRU", "RReLU"])
@pytest.mark.parametrize("kind", PLANS)
def test_a_pass_without_backward_leaves_no_bytes(name: str, kind: str) -> None:
    torch.manual_seed(0)
    module, batch = CASES[name].make(), CASES[name].batch
    problem = AdaccModule.from_module(module, batch, memory="1GiB", offload=True)
    gc.disable()
    try:
        with warnings.catch_warnings(), adacc.apply(module, labels(problem, kind)):
            module(batch)
            with LiveBytes() as counter:
                out = module(batch)
                del out
                assert counter.poll() == 0
    finally:
        gc.enable()


def test_nothing_departs_where_the_pass_is_the_recorded_one() -> None:
    module, plan = recorded()
    with adacc.apply(module, plan, strict=True):
        calls(X)(module)
