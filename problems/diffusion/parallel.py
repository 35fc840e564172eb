"""One sampling by several processes: selected queries split over ranks, keys and values gathered.

Every rank projects keys and values of its share of the tokens and gathers the others'; then it attends and
runs the MLP for its share of the selected rows, and gathers the branches' outputs. The selection is made by
every rank from the same numbers, so no rank waits for another's. What is sent a block: 2 tokens x d for keys
and values, 2 selected x d for the branches.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ...errors import EvaluationError, SpaceError
from .dit import Block, VideoDiT, modulated
from .sampling import Samples, sample
from .schedule import Schedule
from .selection import BlockCache
from .sparse_attention import Rows, attend, put, take
from .tokens import TokenRun
from .weights import Weights


def share(count: int, rank: int, ranks: int) -> slice:
    """The rank's part of `count` things, as even as can be.

    >>> [share(7, r, 3) for r in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    each, left = divmod(count, ranks)
    start = rank * each + min(rank, left)
    return slice(start, start + each + (rank < left))


@dataclass
class Group:
    """The processes that sample together. sent: bytes that this rank has given to the others."""

    rank: int
    ranks: int
    sent: int = 0

    def mine(self, count: int) -> slice:
        """This rank's part of `count` things."""
        return share(count, self.rank, self.ranks)

    def gather(self, part: Tensor, count: int) -> Tensor:
        """All ranks' parts along the second axis: (n, part, d) -> (n, count, d).

        The parts differ by one row at most; the shorter are padded, because the exchange needs equal sizes.
        """
        if self.ranks == 1:
            return part
        longest = -(-count // self.ranks)
        padded = F.pad(part, (0, 0, 0, longest - part.shape[1])).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.ranks)]
        dist.all_gather(parts, padded)
        self.sent += (self.ranks - 1) * padded.numel() * padded.element_size()
        sizes = [share(count, r, self.ranks) for r in range(self.ranks)]
        return torch.cat([p[:, : s.stop - s.start] for p, s in zip(parts, sizes, strict=True)], dim=1)


def shared_block(
    group: Group,
    block: Block,
    x: Tensor,
    shared: Tensor,
    cache: BlockCache | None,
    chosen: int,
    weights: Weights,
) -> tuple[Tensor, BlockCache]:
    """A block's step, whole (cache None) or sparse, with the work split over the group.

    x: (n, tokens, d), the same on every rank; so is what comes back.
    """
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = block.modulation(shared)
    tokens, d = x.shape[1], x.shape[2]
    every = torch.arange(tokens, device=x.device).expand(len(x), tokens)
    rows = Rows.of(every, tokens) if cache is None else cache.choose(x, chosen, weights)
    if cache is not None:
        cache.enter(x, rows)
    weight, bias = block.qkv.weight, block.qkv.bias
    part = modulated(x[:, group.mine(tokens)], shift_a, scale_a)
    keys = group.gather(F.linear(part, weight[d:], bias[d:]), tokens)
    k, v = (block.split(t) for t in keys.chunk(2, dim=-1))
    count = rows.each.shape[1]
    own = Rows.of(rows.each[:, group.mine(count)], tokens)
    q = block.split(F.linear(modulated(take(x, own), shift_a, scale_a), weight[:d], bias[:d]))
    attended, lse = attend(block.placed(q, own.each), block.placed(k), v)
    made = block.out(attended.transpose(1, 2).reshape(len(x), own.each.shape[1], d))
    middle = torch.addcmul(take(x, own), gate_a, made)
    fed = block.mlp(modulated(middle, shift_m, scale_m))
    made, fed, total = group.gather(
        torch.cat([made, fed, lse.sum(dim=1).unsqueeze(-1)], dim=-1), count
    ).split([d, d, 1], dim=-1)
    if cache is None:
        cache = BlockCache.fresh(x, [made, fed], total.transpose(1, 2))
    else:
        cache.attended(rows, total.transpose(1, 2))
        for branch, values in zip(cache.branches, (made, fed), strict=True):
            put(branch, rows, values)
    attention, mlp = cache.branches
    return torch.addcmul(torch.addcmul(x, gate_a, attention), gate_m, mlp), cache


class SharedRun(TokenRun):
    """A batch's caches, its blocks computed by the group."""

    def __init__(self, model: VideoDiT, weights: Weights | None = None, *, group: Group) -> None:
        super().__init__(model, weights)
        self.group = group

    def blocks(self, x: Tensor, shared: Tensor, chosen: int, keep: bool) -> Tensor:
        """All blocks. Caches are the same on every rank."""
        whole = chosen == x.shape[1]
        made = []
        for number, block in enumerate(self.model.blocks):
            cache = None if whole else self.caches[number]
            x, cache = shared_block(self.group, block, x, shared, cache, chosen, self.weights)
            made.append(cache)
        if keep:
            self.caches = made
        return x


def sample_shared(group: Group, model: VideoDiT, *given: Any, **options: Any) -> Samples:
    """`sample` by this rank of a group; every rank gives the same arguments and gets the same clips."""

    def run(model: VideoDiT, weights: Weights) -> TokenRun:
        return SharedRun(model, weights, group=group)

    return sample(model, *given, **options, run=run)


def _worker(rank: int, ranks: int, port: int, job: dict[str, Any], answers: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    try:
        model = VideoDiT(job["config"]).eval().requires_grad_(False)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in job["weights"].items()})
        group = Group(rank, ranks)
        made = sample_shared(group, model, job["classes"], job["seeds"], **job["options"])
        answers.put((rank, made, group.sent))
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Shared:
    """What the ranks made. samples: of each rank, equal clips; sent: bytes that each gave to the others."""

    samples: tuple[Samples, ...]
    sent: tuple[int, ...]

    @property
    def spread(self) -> float:
        """Largest difference between two ranks' clips."""
        first = self.samples[0].latents
        return max(float(np.abs(s.latents - first).max(initial=0.0)) for s in self.samples)


def sample_with_processes(
    model: VideoDiT,
    classes: Sequence[int],
    seeds: Sequence[int],
    *,
    ranks: int = 2,
    steps: int = 20,
    schedule: Schedule | Iterable[float] | None = None,
    weights: Weights | None = None,
    patience: float = 600.0,
) -> Shared:
    """Sample with `ranks` processes of this machine that talk through gloo.

    patience: seconds before it gives up, EvaluationError.
    """
    import torch.multiprocessing as processes

    if not 1 <= ranks <= model.config.tokens:
        raise SpaceError(f"ranks must be within 1 to {model.config.tokens}, the tokens, got {ranks}.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options: dict[str, Any] = {"steps": steps, "weights": weights}
    options["schedule"] = None if schedule is None else list(schedule)
    if isinstance(schedule, Schedule) and weights is None:
        options["weights"] = schedule.weights
    job = {
        "config": model.config,
        "weights": {name: value.cpu().numpy() for name, value in model.state_dict().items()},
        "classes": list(classes), "seeds": list(seeds), "options": options,
    }  # fmt: skip
    context = processes.get_context("spawn")
    answers = context.SimpleQueue()
    started = processes.spawn(_worker, (ranks, port, job, answers), nprocs=ranks, join=False)
    found: dict[int, tuple[Samples, int]] = {}
    until = time.monotonic() + patience
    while len(found) < ranks:
        try:
            started.join(timeout=0.1)
        except processes.ProcessRaisedException as error:
            said = str(error).strip().splitlines()[-1]
            raise EvaluationError(f"A rank of the sampling failed: {said}") from None
        while not answers.empty():
            rank, made, sent = answers.get()
            found[rank] = made, sent
        if time.monotonic() > until:
            for process in started.processes:
                process.terminate()
            raise EvaluationError(f"Sampling with {ranks} ranks did not end within {patience:g} s.")
    while not started.join():
        pass
    return Shared(tuple(found[r][0] for r in range(ranks)), tuple(found[r][1] for r in range(ranks)))
