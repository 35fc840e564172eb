"""Which tokens a block computes at a step, and what the others read instead (after ASTRAEA, 2506.05096).

Read in the paper's reviews: the score w_a x LSE x change + w_b x exp(steps skipped), the top K of it by
budget, queries of the selected tokens only, values of the others from a cache. Reconstructed: the change is
the length of the difference of the block's input to the input last computed; LSE is the mean over heads of
the one last computed; LSE x change is divided by its mean over the tokens, so that the weights mean the same
in every block and at every step; the caches hold the branches before their gates. The weights, and what is
ours among them: `weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .sparse_attention import Rows, put, take
from .weights import Weights

LONGEST = 80.0
"""Steps of waiting beyond which the penalty grows no more: its exponential would be infinite."""


def places(tokens: int, device: torch.device | str = "cpu") -> Tensor:
    """A number in [0, 1) for each token, by its place alone: the first has the highest.

    >>> places(4)
    tensor([0.7500, 0.5000, 0.2500, 0.0000])
    """
    return 1.0 - torch.arange(1, tokens + 1, device=device) / tokens


def score(lse: Tensor, change: Tensor | None, skipped: Tensor, weights: Weights) -> Tensor:
    """What computing each token is worth, up to what keeps their order: all (n, tokens).

    change: may be None where `weights.w_a` is 0.
    """
    waited = skipped
    if weights.spread:
        waited = skipped + weights.spread * places(skipped.shape[-1], skipped.device)
    if weights.w_a == 0 or change is None:
        return waited  # in the order of its exponential, which overflows
    significance = lse * change
    usual = torch.linalg.vector_norm(significance, ord=1, dim=-1, keepdim=True).clamp_(min=1e-12)
    penalty = waited.clamp(max=LONGEST).exp()
    return torch.addcmul(significance, usual, penalty, value=weights.w_b / weights.w_a / lse.shape[-1])


def select(score: Tensor, k: int) -> Tensor:
    """The k best tokens of each sample, in no order: (n, tokens) -> (n, k).

    >>> sorted(select(torch.tensor([[0.1, 3.0, -1.0, 2.0]]), 2)[0].tolist())
    [1, 3]
    """
    return torch.topk(score, k, dim=-1, sorted=False).indices


def chosen_count(budget: float, tokens: int) -> int:
    """Tokens computed at a step with a budget in (0, 1]."""
    return min(tokens, max(1, round(budget * tokens)))


@dataclass
class BlockCache:
    """What a block remembers: (n, tokens, d) or (n, tokens) each.

    inputs: the block's input when the token was last computed. branches: the outputs of attention, MLP and
    what else the block adds, before their gates. lse: sum over heads. skipped: steps since the token was
    last computed.
    """

    inputs: Tensor
    branches: list[Tensor]
    lse: Tensor
    skipped: Tensor

    @classmethod
    def fresh(cls, inputs: Tensor, branches: list[Tensor], lse: Tensor) -> BlockCache:
        """After a step that computed all tokens. lse: (n, heads, tokens)."""
        total = lse.sum(dim=1)
        return cls(inputs.clone(), [b.contiguous() for b in branches], total, torch.zeros_like(total))

    @property
    def bytes(self) -> int:
        """Memory of the cache."""
        held = (self.inputs, *self.branches, self.lse, self.skipped)
        return sum(t.numel() * t.element_size() for t in held)

    def choose(self, x: Tensor, k: int, weights: Weights) -> Rows:
        """Tokens to compute, given the block's input (n, tokens, d); the others have waited one more step."""
        change = torch.linalg.vector_norm(x - self.inputs, dim=-1) if weights.w_a else None
        each = select(score(self.lse, change, self.skipped, weights), k)
        self.skipped += 1
        self.skipped.scatter_(1, each, 0)
        return Rows.of(each, x.shape[1])

    def enter(self, x: Tensor, rows: Rows) -> Tensor:
        """The chosen rows (n, k, d) of the block's input x, from now on those last computed."""
        own = take(x, rows)
        put(self.inputs, rows, own)
        return own

    def attended(self, rows: Rows, lse: Tensor) -> None:
        """The log-sum-exp (n, heads, k) of the chosen rows."""
        put(self.lse, rows, lse.sum(dim=1))
