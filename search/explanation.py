"""An explained answer: what it says in words, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import units
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from .alternatives import Alternative
from .result import Result
from .robustness import WITHIN, Robustness
from .sensitivity import Reach, Sobol
from .worth import Worth

FILE = "explanation.json"
SETTLED = 0.95


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
            share = f" ({spare / abs(limit.bound):.1%})" if limit.bound else ""
            state = "" if worth is None else "binds; " if worth.binding else "does not bind; "
            told.append(f"{limit}: {state}slack {units.show(spare, limit.unit, 3)}{share}")
        return told

    def _worth(self) -> list[str]:
        told = []
        for worth in self.worths:
            text = worth.sentence()
            actual, unit = worth.gain(worth.looser[0]), worth.objective.unit
            if worth.predicted is not None and worth.binding:
                text += f". The relaxation predicts {units.show(worth.predicted, unit, 3)}"
                text += f" for the first 1 % (the re-solve: {units.show(actual, unit, 3)})"
            elif worth.price and worth.binding:
                left = units.show(worth.slack, worth.limit.unit, 3)
                text += f". The answer leaves {left}, so it moves in jumps that the relaxation does not see"
            told.append(text)
        return told

    def _matters(self) -> list[str]:
        told = []
        target = self.goal.objectives[0].metric.replace("_", " ")
        if self.reaches:
            top = [f"{r.name} ({_signed(r.all_low)} to {_signed(r.all_high)})" for r in self.reaches[:3]]
            told.append(f"one change from the answer moves {target} most through {', '.join(top)}")
        if self.indexes:
            top = [f"{s.name} {max(s.total, 0):.0%} (alone {max(s.first, 0):.0%})" for s in self.indexes[:3]]
            told.append(
                f"over the whole space, of the variance of {target} these take part in most: {', '.join(top)}"
            )
        return told

    def _others(self) -> list[str]:
        told = []
        for other in self.others:
            prices = []
            for objective in self.goal.objectives:
                price = other.prices[objective.metric]
                name = "" if self.goal.single else f" {objective.metric.replace('_', ' ')}"
                word = "worse" if price > 0 else "better"
                prices.append(f"{abs(price):.2%}{name} {word}")
            same = all(abs(p) < 5e-5 for p in other.prices.values())
            told.append(f"{other.words}: {'just as good' if same else ', '.join(prices)}")
        return told

    def _sure(self) -> list[str]:
        r = self.robustness
        assert r is not None
        if not r.moved:
            return [
                "the problem states no model error (no device that is drawn, no Estimate): nothing to draw"
            ]
        if r.candidates < 2:
            return [
                f"no other candidate is known to compare with; every limit is met in {r.feasible:.0%} of "
                f"{r.draws:,} draws of the model errors"
            ]
        told = [
            f"the answer stays best in {r.best:.0%} of {r.draws:,} draws of the model errors, within "
            f"{WITHIN:.0%} of the best in {r.within:.0%}, and meets every limit in {r.feasible:.0%} "
            f"(against {r.candidates - 1} other candidates)"
        ]
        if r.regret_mean is not None and r.regret_95 is not None:
            told.append(f"expected regret {r.regret_mean:.2%}; 95 % of the draws below {r.regret_95:.2%}")
        if r.runner_up is not None:
            told.append(f"runner-up, best in {r.rivals[0][1]:.0%} where the answer is not: {self.runner_up}")
        told.append(self._measure(r))
        if r.broken:
            count = sum(r.broken.values())
            told.append(f"{count:,} draws were refused by the problem: {next(iter(r.broken))}")
        return told

    def _measure(self, r: Robustness) -> str:
        if r.right >= SETTLED:
            share = f"in {r.right:.0%} of the draws"
            return f"no measurement is needed: one choice is within {WITHIN:.0%} of the best {share}"
        if not r.measure:
            return f"no measurement would settle it: a choice is right in {r.right:.0%}, whatever is known"
        name, after = r.measure[0]
        how = self.problem.measurement(name)
        text = f"measure {name}{f' ({how})' if how else ''}: the chance of a right choice rises from "
        text += f"{r.right:.0%} to {after:.0%}"
        if r.runner_up is not None:
            text += f"; it decides between the answer and {self.runner_up}"
        for further, reached in r.measure[1:]:
            text += f"; with {further} as well {reached:.0%}"
        return text


def _signed(change: float) -> str:
    """A relative change with its sign; nothing is 0 %."""
    return "0 %" if abs(change) < 5e-5 else f"{100 * change:+.3g} %"
