"""What a mesh keeps: requests, instances of models, nodes with their two memory ledgers.

A decoding instance gives every request one token an iteration, so deadlines move together: with k
iterations done, request r is due at slack_r + TPOT k, and only the least slack matters until a request
joins or leaves. That makes an iteration constant work, whatever the batch.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .cluster import MAX_CONTEXT, NodeKind, Pace

QUEUED, PLACED, FINISHED, DROPPED, REJECTED = range(5)
WAITING, RUNNING = "waiting", "running"
ROUNDING = 1e-9
"""Seconds that sums of times may be off by."""
MARGIN = 16
"""Tokens that a request is at least expected to go on for."""


@dataclass(slots=True, eq=False)
class Request:
    """A request of a model: prompt tokens, tokens generated, deadlines.

    base: when the first token is due by the level aimed at; token k is due TPOT k later. limit: the same by
    the level itself. Both are the time of the first token once it came, where the level counts from there.
    grace: seconds of cold start, which the service level adds. slack (aim), allowance (level), joined: see
    the module's first lines. late: a token came after the level's limit. polling: will ask for a place again.
    """

    number: int
    model: int
    arrival: float
    prompt: int
    base: float = 0.0
    limit: float = 0.0
    ttft: float = 0.0
    grace: float = 0.0
    generated: int = 0
    state: int = QUEUED
    instance: Instance | None = None
    decoding: bool = False
    joined: int = 0
    slack: float = 0.0
    allowance: float = 0.0
    first_token: float = math.nan
    finish: float = math.nan
    late: bool = False
    moves: int = 0
    polling: bool = False

    @property
    def tokens(self) -> int:
        """Tokens generated so far."""
        if self.decoding:
            assert self.instance is not None
            return self.generated + self.instance.iterations - self.joined
        return self.generated

    @property
    def length(self) -> int:
        """Tokens in the cache when it runs."""
        return self.prompt + self.tokens

    def due(self, tpot: float) -> float:
        """When its next token is due."""
        return self.base + tpot * self.tokens


@dataclass(slots=True, eq=False)
class Instance:
    """One model on one node.

    prefills: requests that await their prompt's run. decoding: those in the batch. cached: their tokens.
    planned, held: bytes of cache after all resizes asked for, and now. ready: weights are there.
    action: resize, load or unload under way or waiting. peak: latest token, relative to the clock of
    iterations, since the batch last changed. resume_at, billed, worked: of a half that must rest after
    it ran. opened: when it was asked for. resizes: s that each resize took.
    """

    number: int
    model: int
    node: Node
    pace: Pace
    per_token: float
    weights: float
    prefills: dict[int, Request] = field(default_factory=dict)
    decoding: dict[int, Request] = field(default_factory=dict)
    iterations: int = 0
    cached: int = 0
    planned: float = 0.0
    held: float = 0.0
    ready: bool = False
    ready_at: float = math.inf
    resume_at: float = -math.inf
    action: Work | None = None
    closing: bool = False
    slack: float = math.inf
    peak: float = -math.inf
    idle_since: float = math.nan
    served: int = 0
    turn: int = 0
    billed: float = math.nan
    worked: float = 0.0
    opened: float = math.nan
    resizes: list[float] = field(default_factory=list)

    @property
    def load_seconds(self) -> float:
        """Seconds of its cold start: what the service level excuses, whenever a request joins it."""
        return self.weights / self.node.kind.load_rate

    @property
    def batch(self) -> int:
        """Requests of the instance."""
        return len(self.prefills) + len(self.decoding)

    @property
    def tokens(self) -> int:
        """Cached tokens of all its requests, those in wait counted as if they had run."""
        return self.cached + sum(r.prompt + r.generated for r in self.prefills.values())

    def required(self, expected: float, extra: Request | None = None) -> float:
        """Bytes for all requests to end (M_require): C max(sum(I + max(O, expected)), L_min)."""
        total = 0.0
        for group in (self.decoding, self.prefills):
            for r in group.values():
                total += r.prompt + max(r.tokens + MARGIN, expected)
        if extra is not None:
            total += extra.prompt + max(extra.generated + MARGIN, expected)
        return self.per_token * max(total, MAX_CONTEXT)

    def share(self, tpot: float, extra: Request | None = None) -> float:
        """Part of the node's time that one token for everyone takes in each TPOT."""
        batch, tokens = self.batch, self.tokens
        if extra is not None:
            batch, tokens = batch + 1, tokens + extra.prompt + extra.generated
        return self.pace.decode(batch, tokens) / tpot if batch else 0.0

    def refresh(self) -> None:
        """Fold lateness into the requests and find the least slack, after the batch changed."""
        peak = self.peak
        least = math.inf
        for r in self.decoding.values():
            if peak > r.allowance + ROUNDING:
                r.late = True
            if r.slack < least:
                least = r.slack
        self.slack, self.peak = least, -math.inf


@dataclass(slots=True, eq=False)
class Work:
    """Something for an executor to do on a node; report it back with `Mesh.complete`.

    kind: prefill, decode, load, resize or unload. seconds: what the mesh expects. request: whose
    prompt. steps: decode iterations. size: bytes of cache after a resize; reserved: while it lasts.
    Loads, resizes and unloads occupy their instance only; prefill and decode occupy the node, except where
    `Mesh.side_by_side`.
    """

    kind: str
    instance: Instance
    seconds: float
    request: Request | None = None
    steps: int = 1
    size: float = 0.0
    reserved: float = 0.0
    start: float = 0.0
    state: str = WAITING


@dataclass(slots=True, eq=False)
class Node:
    """A node and its ledgers.

    budget: bytes after all that was asked for (scale-downs count at once); it decides admission. ledger:
    bytes that may be in use now (scale-downs count until done, scale-ups from their start); it decides
    what may start. station: scale-ups and loads that wait for the ledger. running: iterations under way, by
    instance; free_at: when the last one is expected to end. lives: (s, resizes, s in them) of instances gone.
    """

    number: int
    kind: NodeKind
    instances: list[Instance] = field(default_factory=list)
    running: dict[int, Work] = field(default_factory=dict)
    free_at: float = 0.0
    budget: float = 0.0
    ledger: float = 0.0
    station: deque[Work] = field(default_factory=deque)
    turn: int = 0
    lives: list[tuple[float, int, float]] = field(default_factory=list)

    @property
    def room(self) -> float:
        """Bytes that the budget has left."""
        return self.kind.capacity - self.budget

    def share(self, tpot: float, of: Instance | None = None, extra: Request | None = None) -> float:
        """Part of its time that one token for everyone takes in each TPOT."""
        return sum(i.share(tpot, extra if i is of else None) for i in self.instances if not i.closing)
