"""Column generation for bin packing: a master over patterns, exact pricing, diving, restricted master.

The master covers every group with patterns of least cost. New patterns come from exact knapsacks on
smoothed duals; Farley's and Lagrange's arguments turn any duals into a bound. Diving fixes large
patterns, prices the rest again and repeats, with random choices at each restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt

from ..errors import SolverUnavailable
from .bins import Bins, Content
from .knapsack_pricing import CELLS, NODES, Pricer

Array = npt.NDArray[Any]
SMOOTHING = 0.6
REDUCED = 1e-7
ROUNDS, DIVE_ROUNDS = 5_000, 25
DISJOINT, DISJOINT_CELLS = 8, 24_000_000
SURE = 0.75
MASTER_SECONDS = 8.0
MOST_NODES = 100 * NODES


@dataclass(frozen=True, eq=False)
class Relaxation:
    """A solved master: its value, the weight of each pattern, what it leaves uncovered, its bound."""

    value: float
    weights: Array
    missing: float
    bound: float


class ColumnGeneration:
    """The master of one instance; costs are divided by the dearest bin's."""

    def __init__(self, bins: Bins, seed: int, time_left: Callable[[], float]) -> None:
        self.bins, self.time_left = bins, time_left
        self.rng = np.random.default_rng([seed, 0xB1A5])
        self.unit = float(bins.costs.max()) or 1.0
        self.costs = bins.costs / self.unit
        self.groups, self.types = len(bins.copies), len(bins.costs)
        self.slacks = self.groups + self.types
        self.workspace, self.nodes = np.zeros(CELLS), NODES
        self.pricers = self._pricers(bins.demands, bins.capacities)
        self.bound_pricers = self._pricers(bins.least, bins.capacities) if bins.rounded else self.pricers
        self.kinds: list[int] = []
        self.known: set[bytes] = set()
        self._patterns = np.zeros((256, self.groups), np.int32)
        self.master_seconds = MASTER_SECONDS
        self.master = self._master()

    def _pricers(self, demands: Array, capacities: Array) -> list[Pricer]:
        allowed = self.bins.allowed
        return [
            Pricer(demands[t], allowed[t], capacities[t], workspace=self.workspace) for t in range(self.types)
        ]

    # --- the master -----------------------------------------------------------------------------------
    def _master(self) -> Any:
        """Rows: each group covered, then the bins of each type; columns: what a row misses, at a penalty."""
        master = highspy.Highs()
        for name, value in {
            "output_flag": False,
            "threads": 1,
            "simplex_strategy": 4,
            "presolve": "off",
        }.items():
            master.setOptionValue(name, value)
        self.penalty = 10.0
        for copies in self.bins.copies:
            master.addRow(float(copies), highspy.kHighsInf, 0, np.zeros(0, np.int32), np.zeros(0))
        for most in self.bins.most_bins:
            master.addRow(0.0, float(most), 0, np.zeros(0, np.int32), np.zeros(0))
        for row in range(self.slacks):
            master.addCol(self.penalty, 0.0, highspy.kHighsInf, 1, np.array([row], np.int32), np.ones(1))
        return master

    @property
    def patterns(self) -> Array:
        """Copies of each group in each pattern, (patterns, groups)."""
        return self._patterns[: len(self.kinds)]

    def add(self, kind: int, content: Array) -> bool:
        """Add a pattern; whether it is new."""
        key = bytes([kind % 256, kind // 256]) + content.astype(np.int32).tobytes()
        if key in self.known or not content.any():
            return False
        self.known.add(key)
        if len(self.kinds) == len(self._patterns):
            self._patterns = np.concatenate([self._patterns, np.zeros_like(self._patterns)])
        self._patterns[len(self.kinds)] = content
        self.kinds.append(kind)
        rows = np.flatnonzero(content)
        index = np.append(rows, self.groups + kind).astype(np.int32)
        values = np.append(content[rows], 1).astype(float)
        self.master.addCol(float(self.costs[kind]), 0.0, highspy.kHighsInf, len(index), index, values)
        return True

    def _demand(self, copies: Array, least: Array, most: Array) -> None:
        """Set what is to be covered by how many bins of each type; only fitting patterns stay."""
        rows = np.arange(self.slacks, dtype=np.int32)
        low = np.concatenate([copies, least]).astype(float)
        high = np.concatenate([np.full(self.groups, highspy.kHighsInf), most.astype(float)])
        self.master.changeRowsBounds(len(rows), rows, low, high)
        self._fit(copies, 0)

    def _fit(self, copies: Array, start: int) -> None:
        proper = (self.patterns[start:] <= copies).all(axis=1)
        columns = np.arange(start, len(self.kinds), dtype=np.int32) + self.slacks
        if len(columns):
            upper = np.where(proper, highspy.kHighsInf, 0.0)
            self.master.changeColsBounds(len(columns), columns, np.zeros(len(columns)), upper)

    def _solve(self) -> tuple[float, Array, Array, Array]:
        """Value, weights and duals of the master; bounds hold for any duals, so none rests on its status.

        Raises SolverUnavailable where HiGHS does not solve it, from scratch neither.
        """
        self.master.run()
        if self.master.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self.master.clearSolver()
            self.master.run()
            status = self.master.getModelStatus()
            if status != highspy.HighsModelStatus.kOptimal:
                said = self.master.modelStatusToString(status)
                raise SolverUnavailable(f"HiGHS ended with '{said}' on the master of the packing.")
        solution = self.master.getSolution()
        values, duals = np.array(solution.col_value), np.array(solution.row_dual)
        return (
            float(self.master.getInfo().objective_function_value),
            values,
            duals[: self.groups],
            duals[self.groups :],
        )

    # --- pricing --------------------------------------------------------------------------------------
    def lower(self, duals: Array, profits: Array, copies: Array, least: Array, most: Array) -> float:
        """The bound that duals give, the best content of type t being worth at most profits[t].

        Duals scaled by s leave a bin of type t a reduced cost of at least cost - s profits[t]: it is paid
        for as few bins as allowed where positive, for as many where negative (Lagrange). The best s is
        at a corner; with unlimited bins this is Farley's bound.
        """
        total = float(duals @ copies)
        best = 0.0
        for scale in [1.0, *(self.costs[t] / profits[t] for t in range(self.types) if profits[t] > 0)]:
            reduced = self.costs - scale * profits
            reduced -= 1e-12 * (reduced < 1e-12)
            best = max(best, scale * total + float((reduced * np.where(reduced > 0, least, most)).sum()))
        return best

    def _price(self, duals: Array, kind_duals: Array, copies: Array, root: bool) -> tuple[Array, int, bool]:
        """Add patterns of negative reduced cost.

        Returns the best profit of each type (for the bound), the patterns added, and whether a knapsack
        ran out of steps, so that there may be more.
        """
        profits, added, open_end = np.zeros(self.types), 0, False
        for t, pricer in enumerate(self.pricers):
            left = copies.copy()
            price = self.costs[t] - kind_duals[t] + REDUCED
            for turn in range(max(1, min(DISJOINT, DISJOINT_CELLS // pricer.cells))):
                pattern = pricer.best(duals, left, self.nodes)
                if turn == 0:
                    profits[t] = pattern.upper
                    open_end |= pattern.profit <= price < pattern.upper
                    if root and self.bins.rounded:
                        profits[t] = max(
                            pattern.upper, self.bound_pricers[t].best(duals, left, self.nodes).upper
                        )
                if pattern.profit <= price:
                    break
                added += self.add(t, pattern.copies)
                left = left - np.minimum(left, pattern.copies)
        return profits, added, open_end

    def relax(
        self, copies: Array, least: Array, most: Array, *, root: bool, enough: Callable[[float, float], bool]
    ) -> Relaxation:
        """Solve the master for `copies` by column generation, with least to most bins of each type.

        root: price to the end, for a bound. enough: told the master's value and the bound, whether to
        stop before the end.
        """
        self._demand(copies, least, most)
        center, best, last = None, 0.0, len(self.kinds)
        for turn in range(ROUNDS if root else DIVE_ROUNDS):
            value, weights, duals, kind_duals = self._solve()
            duals = np.maximum(duals, 0.0)
            missing = float(weights[: self.slacks].sum())
            smooth = duals if center is None or turn < 2 else SMOOTHING * center + (1 - SMOOTHING) * duals
            self.nodes = NODES
            while True:
                profits, added, open_end = self._price(smooth, kind_duals, copies, root)
                bound = self.lower(smooth, profits, copies, least, most)
                if center is None or bound > best:
                    best, center = max(best, bound), smooth
                if added:
                    break
                if smooth is not duals:
                    smooth = duals
                elif root and open_end and self.nodes < MOST_NODES and self.time_left() > 0:
                    self.nodes *= 10
                else:
                    break
            self._fit(copies, last)
            last = len(self.kinds)
            if not added or self.time_left() <= 0 or enough(value if missing < 1e-9 else np.inf, best):
                break
        else:
            value, weights, _, _ = self._solve()
            missing = float(weights[: self.slacks].sum())
        if added and (not root or self.time_left() <= 0):
            value, weights, _, _ = self._solve()
            missing = float(weights[: self.slacks].sum())
        return Relaxation(value, weights[self.slacks :], missing, best)

    def node(self, least: Array, most: Array, enough: Callable[[float, float], bool]) -> Relaxation | None:
        """The relaxation of the whole instance with least to most bins of each type; None where no
        packing has so many."""
        copies = self.bins.copies
        relaxed = self.relax(copies, least, most, root=True, enough=enough)
        for _ in range(4):
            if relaxed.missing < 1e-7 or self.time_left() <= 0 or enough(np.inf, relaxed.bound):
                return relaxed
            self._penalize(10.0 * self.penalty)
            relaxed = self.relax(copies, least, most, root=True, enough=enough)
        return None if self._uncoverable(copies, least, most) else relaxed

    def _penalize(self, cost: float) -> None:
        self.penalty = cost
        columns = np.arange(self.slacks, dtype=np.int32)
        self.master.changeColsCost(self.slacks, columns, np.full(self.slacks, cost))

    def _uncoverable(self, copies: Array, least: Array, most: Array) -> bool:
        """Whether even with free bins nothing covers all, by the bound of the same master without costs."""
        kept, penalty = self.costs, self.penalty
        columns = np.arange(self.slacks, self.slacks + len(self.kinds), dtype=np.int32)
        self.master.changeColsCost(len(columns), columns, np.zeros(len(columns)))
        self._penalize(1.0)
        self.costs = np.zeros(self.types)
        bound = self.relax(copies, least, most, root=True, enough=lambda value, bound: bound > 1e-6).bound
        self.costs = kept
        columns = np.arange(self.slacks, self.slacks + len(self.kinds), dtype=np.int32)
        self.master.changeColsCost(len(columns), columns, self.costs[self.kinds])
        self._penalize(penalty)
        return bound > 1e-6

    def bins_used(self, relaxed: Relaxation) -> Array:
        """Bins of each type that a relaxation uses, (types,)."""
        kinds = self.kinds[: len(relaxed.weights)]
        return np.bincount(kinds, weights=relaxed.weights, minlength=self.types)

    # --- plans ----------------------------------------------------------------------------------------
    def dive(
        self, first: Relaxation, least: Array, most: Array, target: float, greed: float
    ) -> list[Content] | None:
        """Fix patterns of the relaxation, price the rest, repeat; None where the cost reaches `target`.

        least, most: bins of each type. greed: how strongly large weights are preferred; infinite takes
        the largest.
        """
        bins, plan = self.bins, list[Content]()
        copies, least, most = bins.copies.copy(), least.copy(), most.copy()
        relaxed = first
        spent = 0.0

        def hopeless(value: float) -> bool:
            return bins.round_up((spent + value) * self.unit) >= target - 1e-9 * abs(target)

        while True:
            for place in self._choose(relaxed.weights, copies, greed):
                kind, content = self.kinds[place], self.patterns[place]
                times = max(1, int(relaxed.weights[place] + 1e-6))
                while times and most[kind] > 0 and (np.minimum(content, copies) > 0).any():
                    if not (content <= copies).all() and plan:
                        break
                    plan.append((kind, np.minimum(content, copies)))
                    copies = np.maximum(copies - content, 0)
                    most[kind] -= 1
                    least[kind] = max(0, least[kind] - 1)
                    spent += float(self.costs[kind])
                    times -= 1
            if not copies.any():
                return bins.cheapest_types(plan)
            if hopeless(0.0) or self.time_left() <= 0:
                return None
            chosen = len(plan)
            relaxed = self.relax(copies, least, most, root=False, enough=lambda value, bound: hopeless(bound))
            if relaxed.missing > 1e-6 or hopeless(relaxed.value - 1e-7):
                return None
            if len(plan) == chosen and not (relaxed.weights > 1e-9).any():
                return None

    def _choose(self, weights: Array, copies: Array, greed: float) -> Array:
        """Patterns to fix now, in order: those that are whole, else one by chance and the nearly whole."""
        proper = np.flatnonzero(weights > 1e-6)
        proper = proper[(self.patterns[proper] <= copies).all(axis=1)]
        if not len(proper):
            return np.flatnonzero(weights > 1e-6)[:1]
        fraction = weights[proper]
        order = proper[np.argsort(-fraction, kind="stable")]
        whole = order[weights[order] >= 1 - 1e-6]
        if len(whole):
            return whole
        if np.isinf(greed):
            first = order[0]
        else:
            chance = fraction**greed
            first = proper[self.rng.choice(len(proper), p=chance / chance.sum())]
        sure = order[weights[order] >= SURE]
        return np.concatenate([[first], sure[sure != first]])

    def restricted(self, target: float, seconds: float, seed: int) -> list[Content] | None:
        """The best plan of the known patterns by branch and bound, where it costs less than `target`."""
        self._demand(self.bins.copies, np.zeros(self.types), self.bins.most_bins)
        master = highspy.Highs()
        master.setOptionValue("output_flag", False)
        master.passModel(self.master.getModel())
        for name, value in {
            "threads": 1, "time_limit": max(0.05, seconds), "mip_rel_gap": 0.0,
            "mip_abs_gap": 1e-6, "random_seed": seed % 2**31,
        }.items():  # fmt: skip
            master.setOptionValue(name, value)
        count = self.slacks + len(self.kinds)
        whole = np.arange(count, dtype=np.int32)
        master.changeColsIntegrality(count, whole, np.array([highspy.HighsVarType.kInteger] * count))
        missing = np.arange(self.slacks, dtype=np.int32)
        master.changeColsBounds(self.slacks, missing, np.zeros(self.slacks), np.zeros(self.slacks))
        prices = np.append(np.zeros(self.slacks), self.costs[self.kinds])
        used = np.flatnonzero(prices)
        master.addRow(0.0, target / self.unit - 1e-7, len(used), used.astype(np.int32), prices[used])
        master.run()
        if master.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        weights = np.rint(np.array(master.getSolution().col_value)[self.slacks :]).astype(int)
        return self.cover(
            [(self.kinds[p], self.patterns[p]) for p in np.flatnonzero(weights) for _ in range(weights[p])]
        )

    def cover(self, chosen: Sequence[Content]) -> list[Content] | None:
        """A plan without what is covered twice; None where something is not covered."""
        copies, plan = self.bins.copies.copy(), list[Content]()
        for kind, content in chosen:
            plan.append((kind, np.minimum(content, copies)))
            copies = np.maximum(copies - content, 0)
        return None if copies.any() else self.bins.cheapest_types([c for c in plan if c[1].any()])
