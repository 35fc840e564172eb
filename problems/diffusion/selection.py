"""Which tokens a block computes at a step, and what the others read instead (after ASTRAEA, 2506.05096).

Read in the paper's reviews: the score w_a x LSE x change + w_b x exp(steps skipped), the top K of it by
budget, queries of the selected tokens only, values of the others from a cache. Reconstructed: the change is
the length of the difference of the block's input to the input last computed; LSE is the mean over heads of
the one last computed; LSE x change is divided by its mean over the tokens, so that the weights mean the same
in every block and at every step; w_a and w_b; the caches hold the branches before their gates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import SpaceError
from .sparse_attention import Rows, put, take


@dataclass(frozen=True)
class Weights:
    """w_a of the significance (1 is the average token's), w_b of the penalty exp(steps skipped). Ours."""

    w_a: float = 1.0
    w_b: float = 0.05

    def __post_init__(self) -> None:
        if not (self.w_a >= 0 and self.w_b >= 0 and self.w_a + self.w_b > 0):
            raise SpaceError(
                f"Weights: w_a and w_b must be at least 0 and not both 0, got {self.w_a} and {self.w_b}."
            )


def score(lse: Tensor, change: Tensor, skipped: Tensor, weights: Weights) -> Tensor:
    """What computing each token is worth, up to a factor for each sample: all (n, tokens)."""
    if weights.w_a == 0:
        return skipped.exp()
    significance = lse * change
    usual = torch.linalg.vector_norm(significance, ord=1, dim=-1, keepdim=True).clamp_(min=1e-12)
    return torch.addcmul(significance, usual, skipped.exp(), value=weights.w_b / weights.w_a / lse.shape[-1])


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
        change = torch.linalg.vector_norm(x - self.inputs, dim=-1)
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
