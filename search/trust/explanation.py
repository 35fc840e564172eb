"""An explained answer: what it says in words, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import units
from ...problems.goal import ResolvedGoal
from ...problems.problem import Problem
from ..result import Result
from .alternatives import Alternative
from .robustness import WITHIN, Robustness
from .sensitivity import Reach, Sobol
from .worth import Worth

FILE = "explanation.json"
SETTLED = 0.95
FEW = 100
"""Draws up to which the interval of a share is told."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """An explained answer: everything in it is plain data or says what was computed how."""

    run: str
    result: Result
    goal: ResolvedGoal
    problem: Problem
    why: str
    own: Mapping[str, str | list[dict[str, Any]]]
    worths: tuple[Worth, ...]
    reaches: tuple[Reach, ...]
    indexes: tuple[Sobol, ...]
    others: tuple[Alternative, ...]
    robustness: Robustness | None
    runner_up: str = ""
    notes: tuple[str, ...] = field(default=())
    interrupted: bool = False

    def record(self) -> dict[str, Any]:
        """As one object of plain data (`optimize explain --json`)."""
        return {
            "run": self.run,
            "problem": self.result.problem,
            "goal": self.goal.describe(),
            "best": {"point": self.result.best, "metrics": self.result.metrics},
            "certificate": self.result.certificate.record(),
            "solver": self.result.solver,
            "why": self.why,
            "sections": [{"title": t, "sentences": list(s)} for t, s in self.sections()],
            "own": dict(self.own),
            "limits": [worth.record() for worth in self.worths],
            "one_at_a_time": [vars(reach) for reach in self.reaches],
            "sobol": [vars(index) for index in self.indexes],
            "alternatives": [other.record() for other in self.others],
            "robustness": None if self.robustness is None else self.robustness.record(),
            "runner_up": self.runner_up,
            "notes": list(self.notes),
        }

    def sections(self) -> list[tuple[str, tuple[str, ...]]]:
        """The explanation in words: (title, sentences)."""
        parts: list[tuple[str, tuple[str, ...]]] = [("Solver", (self.why,))]
        own = tuple(f"{title}: {told}" for title, told in self.own.items() if isinstance(told, str))
        if own:
            parts.append(("What the problem says", own))
        slack = tuple(self._slack())
        if slack:
            parts.append(("Limits", slack))
        if self.worths:
            parts.append(("What each limit is worth", tuple(self._worth())))
        if self.reaches or self.indexes:
            parts.append(("What matters", tuple(self._matters())))
        if self.others:
            parts.append(("Nearest alternatives", tuple(self._others())))
        if self.robustness is not None:
            parts.append(("How sure the choice is", tuple(self._sure())))
        return parts

    def _slack(self) -> list[str]:
        told = []
        priced = {(w.limit.metric, w.limit.sense): w for w in self.worths if not w.held}
        for limit in self.goal.limits:
            if not np.isfinite(limit.bound):
                continue
            spare = limit.sign * (limit.bound - self.result.metrics[limit.metric])
            worth = priced.get((limit.metric, limit.sense))
            left = units.show(spare, limit.unit, 3)
            share = abs(spare / limit.bound) if limit.bound else 0.0
            part = f" ({units.percent(share)})" if spare and share else ""
            state = f"slack {left}{part}" if limit.bound or spare else "met, with nothing to spare"
            if worth is not None and not worth.binding and worth.seen:
                pass  # the run looked for nothing beyond the limit
            elif worth is not None and not worth.binding:
                state = f"does not bind; {state}"
            elif worth is not None:
                state = (
                    f"holds the answer back, though {left}{part} of it is left"
                    if worth.jumps
                    else f"binds; {state}"
                )
            told.append(f"{limit}: {state}")
        return told

    def _worth(self) -> list[str]:
        told = []
        for worth in self.worths:
            told.append(". ".join(part for part in (worth.sentence(), worth.hint()) if part))
        return told

    def _matters(self) -> list[str]:
        told = []
        target = self.goal.objectives[0].metric.replace("_", " ")
        if self.reaches:
            top = [f"{r.name} ({_signed(r.all_low)} to {_signed(r.all_high)})" for r in self.reaches[:3]]
            told.append(f"one change from the answer moves {target} most through {', '.join(top)}")
        if self.indexes:
            top = [
                f"{s.name} {units.percent(max(s.total, 0))} (alone {units.percent(_alone(s))})"
                for s in self.indexes[:3]
            ]
            told.append(
                f"over the whole space, of the variance of {target} these take part in most: {', '.join(top)}"
            )
        return told

    def _others(self) -> list[str]:
        told = []
        for other in self.others:
            prices = [
                (o.metric.replace("_", " ") if not self.goal.single else "", other.prices[o.metric])
                for o in self.goal.objectives
            ]
            words = [
                f"{name} {_size(p)} {'worse' if p > 0 else 'better'}".strip()
                for name, p in prices
                if _size(p)
            ]
            said = ", ".join(words) or f"just as good{self._beside(other)}"
            if other.better:
                said += ", nothing asked for worse: a better answer, which the search did not reach"
            told.append(f"{other.words}: {said}")
        return list(dict.fromkeys(told))

    def _beside(self, other: Alternative) -> str:
        """What else sets an equally good alternative apart: the metric that differs most."""
        apart = []
        for name, now in self.result.metrics.items():
            change = (other.metrics[name] - now) / (abs(now) or 1.0)
            if name not in other.prices and abs(change) > 5e-5:
                apart.append((abs(change), f", {name.replace('_', ' ')} {_signed(change)}"))
        return max(apart)[1] if apart else ""

    def _sure(self) -> list[str]:
        r = self.robustness
        assert r is not None
        if not r.stated:
            return ["the referee states no model error, so there is nothing to draw"]
        if not r.moved:
            return [f"none of {self._draws()} moves an objective or breaks a limit: the choice stands"]
        percent = units.percent
        if r.candidates < 2:
            return [
                f"no other candidate is known to compare with; every limit is met in {percent(r.feasible)} "
                f"of {self._draws()}"
            ]
        limited = any(np.isfinite(v.bound) for v in self.goal.limits)
        held = f", and meets every limit in {self._share(r.feasible)}" if limited else ""
        ranges = "; the ranges are of 95 % confidence" if r.draws <= FEW else ""
        told = [
            f"the answer stays best in {self._share(r.best)} of {self._draws()}, within "
            f"{percent(WITHIN)} of the best in {self._share(r.within)}{held} (against {r.candidates - 1} "
            f"other candidates{ranges})"
        ]
        if r.regret_95:
            mean, tail = percent(r.regret_mean or 0.0), percent(r.regret_95)
            told.append(f"expected regret {mean}; in 95 % of the draws at most {tail}")
        if r.runner_up is not None:
            told.append(f"runner-up, best in {percent(r.rivals[0][1])} of the draws: {self.runner_up}")
        told.append(self._measure(r))
        if r.broken:
            count = sum(r.broken.values())
            told.append(f"{count:,} draws were refused by the problem: {next(iter(r.broken))}")
        return told

    def _draws(self) -> str:
        """What was drawn, and how often."""
        assert self.robustness is not None
        return f"{self.robustness.draws:,} {self.drawn}"

    @property
    def drawn(self) -> str:
        """What one draw changes: the errors of models, or only the seed of a simulation."""
        chance = self.problem.stochastic and self.robustness is not None and not self.robustness.sources
        return "simulations on fresh seeds" if chance else "draws of the model errors"

    def _share(self, share: float) -> str:
        """A share of the draws; of few draws with Wilson's interval."""
        assert self.robustness is not None
        if self.robustness.draws > FEW:
            return units.percent(share)
        low, high = wilson(share, self.robustness.draws)
        return f"{units.percent(share)} ({100 * low:.0f} to {100 * high:.0f} %)"

    def _measure(self, r: Robustness) -> str:
        if r.right >= SETTLED:
            share = f"in {units.percent(r.right)} of the draws"
            return (
                f"no measurement is needed: one choice is within {units.percent(WITHIN)} of the best {share}"
            )
        if not r.measure:
            now = units.percent(r.right)
            return f"no measurement would settle it: a choice is right in {now}, whatever is known"
        name, after = r.measure[0]
        how = self.problem.measurement(name)
        text = f"measure {name}{f' ({how})' if how else ''}: the chance of a right choice rises from "
        text += f"{units.percent(r.right)} to {units.percent(after)}"
        if r.runner_up is not None:
            text += f"; it decides between the answer and {self.runner_up}"
        for further, reached in r.measure[1:]:
            text += f"; with {further} as well {units.percent(reached)}"
        return text


def wilson(share: float, draws: int) -> tuple[float, float]:
    """The 95 % interval of a probability of which a share of some draws is known (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(round(share * draws), draws).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _signed(change: float) -> str:
    """A relative change with its sign; nothing is 0 %, and from tenfold on it is a factor."""
    if change >= 9:
        return f"{1 + change:.3g} times"
    return "0 %" if abs(change) < 5e-5 else f"{100 * change:+.3g} %"


def _size(change: float) -> str:
    """How large a relative change is; empty where it is none."""
    return "" if abs(change) < 5e-5 else f"{100 * abs(change):.3g} %"


def _alone(index: Sobol) -> float:
    """A first-order index, which is at most the total; estimates of both have errors."""
    return min(max(index.first, 0.0), max(index.total, 0.0))
