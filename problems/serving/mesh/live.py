"""The mesh on this machine: two small GPTs share one CPU thread, token by token.

Needs PyTorch. The iterations are measured first; then the same `Mesh` that the simulator drives decides
in real time what runs, and times to first token and a token are put beside the simulated ones.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ....costmodels.architectures import Architecture
from ....hardware import device
from ....units import GiB
from ..compiled import Array
from ..trace import Trace
from .cluster import Cluster, MeasuredPace, NodeKind, ServiceLevel
from .mesh import Mesh
from .policy import Policy
from .simulate import simulate
from .state import Request, Work

MODELS = (
    Architecture("tiny-wide", 4, 384, 6, 6, 64, 1536, 512, gated=False),
    Architecture("tiny-deep", 8, 256, 4, 4, 64, 1024, 512, gated=False),
)
LEVEL = ServiceLevel(floor=0.5, rate=1024.0, ceiling=2.0, tpot=0.05)


class TinyGPT:
    """A decoder with random weights and one cache a request."""

    def __init__(self, shape: Architecture) -> None:
        import torch

        self.torch, self.shape = torch, shape
        made = torch.Generator().manual_seed(0)

        def weight(*size: int) -> Any:
            return torch.randn(*size, generator=made) / size[0] ** 0.5

        h, w = shape.hidden, shape.intermediate
        self.embedding = weight(shape.vocabulary, h)
        self.blocks = [
            (weight(h, 3 * h), weight(h, h), weight(h, w), weight(w, h)) for _ in range(shape.layers)
        ]
        self.caches: dict[int, list[Any]] = {}
        self.last: dict[int, int] = {}

    def prefill(self, number: int, prompt: Any) -> None:
        """Run a prompt and keep its cache."""
        with self.torch.no_grad():
            cache: list[Any] = [None] * len(self.blocks)
            out = self._run(self.embedding[prompt], [cache], [len(prompt)])
            self.caches[number], self.last[number] = cache, int(out[-1].argmax())

    def decode(self, numbers: list[int]) -> None:
        """One token for each of a batch."""
        with self.torch.no_grad():
            tokens = self.torch.tensor([self.last[n] for n in numbers])
            out = self._run(self.embedding[tokens], [self.caches[n] for n in numbers], [1] * len(numbers))
            for n, token in zip(numbers, out.argmax(-1).tolist(), strict=True):
                self.last[n] = token

    def _run(self, x: Any, caches: list[list[Any]], counts: list[int]) -> Any:
        functional = self.torch.nn.functional
        heads, dim = self.shape.heads, self.shape.head_dim
        for layer, (qkv, out, up, down) in enumerate(self.blocks):
            q, k, v = (functional.layer_norm(x, x.shape[-1:]) @ qkv).chunk(3, -1)
            parts, start = [], 0
            for cache, count in zip(caches, counts, strict=True):
                rows = slice(start, start + count)
                split = [t[rows].view(count, heads, dim).transpose(0, 1) for t in (q, k, v)]
                keys, values = split[1], split[2]
                if cache[layer] is not None:
                    keys = self.torch.cat([cache[layer][0], keys], 1)
                    values = self.torch.cat([cache[layer][1], values], 1)
                cache[layer] = (keys, values)
                seen = functional.scaled_dot_product_attention(split[0], keys, values, is_causal=count > 1)
                parts.append(seen.transpose(0, 1).reshape(count, -1))
                start += count
            x = x + self.torch.cat(parts) @ out
            x = x + functional.gelu(functional.layer_norm(x, x.shape[-1:]) @ up) @ down
        return functional.layer_norm(x, x.shape[-1:]) @ self.embedding.T

    def drop(self, number: int) -> None:
        """Forget a request's cache."""
        self.caches.pop(number, None)
        self.last.pop(number, None)


def measure(model: TinyGPT, repeats: int = 5) -> MeasuredPace:
    """Decode and prefill times of a model, by least squares of the relative error."""
    prompt, rows, seconds = np.zeros(512, np.int64), [], []
    for batch in (1, 2, 4, 8):
        for length in (32, 256):
            for n in range(batch):
                model.prefill(n, prompt[:length])
            for _ in range(repeats):
                start = time.perf_counter()
                model.decode(list(range(batch)))
                seconds.append(time.perf_counter() - start)
                rows.append((1.0, batch, batch * length))
    decode = _fit(np.array(rows), np.array(seconds))
    rows, seconds = [], []
    for length in (16, 64, 128, 256, 512):
        for _ in range(repeats):
            start = time.perf_counter()
            model.prefill(0, prompt[:length])
            seconds.append(time.perf_counter() - start)
            rows.append((1.0, length, 0))
    prefill = _fit(np.array(rows)[:, :2], np.array(seconds))
    for n in range(8):
        model.drop(n)
    return MeasuredPace((*decode, *prefill))  # type: ignore[arg-type]


def _fit(rows: Array, seconds: Array) -> tuple[float, ...]:
    from scipy.optimize import nnls

    found, _ = nnls(rows / seconds[:, None], np.ones(len(rows)))
    return tuple(float(v) for v in found)


def live(seconds: float = 6.0, rate: float = 4.0, simulation_seed: int = 0) -> list[dict[str, Any]]:
    """Serve a random trace for real and in simulation; rows of quantity, measured, predicted, ratio."""
    import torch

    torch.set_num_threads(1)
    models = [TinyGPT(shape) for shape in MODELS]
    for model in models:
        measure(model, 2)
    paces = {("cpu", m.shape.name): measure(m) for m in models}
    rng = np.random.default_rng(simulation_seed)
    count = max(2, round(seconds * rate))
    trace = Trace.of_requests(
        np.sort(rng.uniform(0, seconds, count)), rng.integers(32, 400, count), rng.integers(16, 96, count),
        kind=rng.integers(0, len(models), count), classes=[m.shape.name for m in models], name="live",
    )  # fmt: skip
    kind = NodeKind("cpu", device("xeon-6462c"), 16 * GiB, len(models), overhead=0.0, cache=4 * GiB)
    cluster, policy = Cluster((kind,), (1,)), Policy(safety_cpu=1.2, keep_alive=1e9)
    believed = simulate(trace, cluster, MODELS, policy, LEVEL, measured=paces)
    requests = serve(trace, models, Mesh(cluster, MODELS, policy, LEVEL, paces))
    first = np.array([r.first_token for r in requests]) - trace.arrival
    pace = np.array([r.finish - r.first_token for r in requests]) / np.maximum(trace.output - 1, 1)
    pictured = (believed.finish - believed.first_token) / np.maximum(trace.output - 1, 1)
    pairs = {
        "TTFT, median (s)": (np.nanmedian(first), np.nanmedian(believed.first_token - believed.arrival)),
        "TTFT, mean (s)": (np.nanmean(first), np.nanmean(believed.first_token - believed.arrival)),
        "TPOT, median (s)": (np.nanmedian(pace), np.nanmedian(pictured)),
        "TPOT, mean (s)": (np.nanmean(pace), np.nanmean(pictured)),
        "answered": (float(np.isfinite(pace).sum()), float(np.isfinite(pictured).sum())),
    }
    return [
        {"quantity": name, "measured": float(m), "predicted": float(p), "ratio": float(m / p)}
        for name, (m, p) in pairs.items()
    ]


def serve(trace: Trace, models: list[TinyGPT], mesh: Mesh) -> list[Request]:
    """Execute a mesh's work for real until every request has ended; times are seconds from the start."""
    rng = np.random.default_rng(0)
    columns = (trace.arrival.tolist(), trace.kind.tolist(), trace.input.tolist())
    requests = [Request(i, k, a, int(n)) for i, (a, k, n) in enumerate(zip(*columns, strict=True))]
    outputs = trace.output.astype(int).tolist()
    prompts = [rng.integers(0, 512, r.prompt) for r in requests]
    start, following = time.perf_counter(), 0
    waiting: list[Work] = []
    while following < len(requests) or mesh.census()["placed"] or mesh.queue:
        now = time.perf_counter() - start
        while following < len(requests) and requests[following].arrival <= now:
            mesh.admit(requests[following], now)
            following += 1
        waiting += mesh.step(now)
        if not waiting:
            coming = requests[following].arrival if following < len(requests) else now + 1e-3
            time.sleep(max(0.0, min(coming, mesh.due, now + 0.01) - now))
            continue
        work = waiting.pop(0)
        finished: list[Request] = []
        model = models[work.instance.model]
        if work.kind == "prefill" and work.request is not None:
            model.prefill(work.request.number, prompts[work.request.number])
            ended = [work.request] if work.request.generated + 1 >= outputs[work.request.number] else []
            finished += ended
        elif work.kind == "decode":
            batch = list(work.instance.decoding.values())
            model.decode([r.number for r in batch])
            finished += [r for r in batch if r.tokens + 1 >= outputs[r.number]]
        mesh.complete(work, time.perf_counter() - start, finished, 1)
        for r in finished:
            model.drop(r.number)
    return requests
