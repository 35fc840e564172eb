"""Packing: place items in bins of least total cost, with a bound that often proves the plan.

Best-fit decreasing gives plans at once, volumes and large items a bound; column generation closes what
is left between them. Every plan is scored by the referee, whose cost must be the view's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import units
from ..errors import SpaceError, ViewMismatch
from ..problems.goal import ResolvedGoal
from ..problems.problem import Problem
from ..problems.views import PackingView
from .base import Budget, Certificate, OneShot, Run
from .bins import Bins, Content
from .partial import undecided
from .views import packing_view

if TYPE_CHECKING:
    from .column_generation import ColumnGeneration, Relaxation

RELATIVE = 1e-6
IDLE_DIVES = 40
GREEDS = (np.inf, 2.0, 1.0, 4.0)
RULES = (0, 1, 2)


class Packing(OneShot):
    """Best-fit decreasing, column generation and diving on the problem's packing view."""

    name: ClassVar[str] = "packing"

    def accepts(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> str | None:
        """Refuses a goal other than the view's metric, and limits the view does not honour."""
        view = self.prepare(problem, goal, budget)
        if view is None:
            return "the problem has no packing view"
        left = undecided(problem, view.decides)
        if left:
            return f"the view leaves {', '.join(left)} undecided"
        if not goal.single or goal.objectives[0].metric != view.metric:
            wanted = ", ".join(f"'{o.metric}'" for o in goal.objectives)
            known = " or ".join(f"'{name}'" for name in (view.metric, *view.others))
            return f"the packing view optimises {known}, not {wanted}"
        if goal.objectives[0].direction == "max":
            return f"the packing view minimises '{view.metric}'; it cannot be maximised"
        for limit in goal.limits:
            if limit.metric not in view.limits:
                return f"the packing view does not honour the limit on '{limit.metric}'"
        check_view(problem, view)
        return None

    def prepare(self, problem: Problem, goal: ResolvedGoal, budget: Budget) -> PackingView | None:
        """The view of the metric that the goal wants."""
        view = packing_view(problem)
        return view.of(goal.objectives[0].metric) if view is not None and goal.single else view

    def solve(self, run: Run) -> Certificate:
        """Quick plans and bounds, then column generation until they meet or time is spent."""
        view = self.prepare(run.problem, run.goal, run.budget)
        assert view is not None
        objective = run.goal.objectives[0]
        search = Search(Bins.of(view), run.seed, run, view, self._offer)
        try:
            search.run_all()
        except KeyboardInterrupt:
            run.interrupted = True
        if search.infeasible:
            return Certificate("proven", statement=search.infeasible, infeasible=True)
        bound = search.bound + view.constant
        return Certificate(
            "bound",
            bound,
            statement=f"no packing has {objective.metric} below {units.show(bound, objective.unit, 6)}",
        )

    def _offer(self, run: Run, view: PackingView, plan: list[tuple[int, list[int]]], cost: float) -> None:
        """Score a plan and compare; raises ViewMismatch where the referee sees another cost."""
        name = type(run.problem).__name__
        try:
            batch = run.problem.space.batch(view.decode(plan))
        except SpaceError as error:
            raise ViewMismatch(
                f"{name}: the packing view decodes to a point outside the space: {error}"
            ) from None
        scores = run.score(batch)
        referee = float(scores.metrics[view.metric][0])
        if scores.failed[0]:
            raise ViewMismatch(f"{name}: the referee fails at the plan that the packing view decodes.")
        if not abs(cost - referee) <= RELATIVE * max(abs(cost), abs(referee)):
            raise ViewMismatch(
                f"{name}: the packing view and the referee disagree on '{view.metric}': view {cost:.9g}, "
                f"referee {referee:.9g} ({len(plan)} bins)."
            )
        broken = [str(v) for v in run.goal.limits if v.excess(scores.metrics[v.metric])[0] > 0]
        if broken:
            raise ViewMismatch(
                f"{name}: a plan that fits the packing view's bins breaks {', '.join(broken)} in the referee."
            )


Offer = Callable[[Run, PackingView, list[tuple[int, list[int]]], float], None]


@dataclass
class Search:
    """The plan and the bound of one search, and what brings them together."""

    bins: Bins
    seed: int
    run: Run
    view: PackingView
    offer: Offer
    bound: float = 0.0
    best: float = np.inf
    infeasible: str = ""
    plan: list[Content] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Whether plan and bound meet."""
        gap = self.run.budget.gap or 0.0
        return bool(np.isfinite(self.best) and self.best <= self.bound + max(1e-9, gap) * abs(self.best))

    def time_left(self) -> float:
        """Seconds left, without end where none were asked; none where no plan may be scored any more."""
        left = 0.0 if self.run.evaluations_left == 0 else self.run.seconds_left
        return 1e9 if left is None else left

    def keep(self, plan: list[Content] | None) -> bool:
        """Score a plan if it is cheaper than the best."""
        if plan is None or self.run.evaluations_left == 0:
            return False
        cost = self.bins.cost(plan)
        if cost >= self.best - 1e-9 * abs(cost):
            return False
        self.best, self.plan = cost, plan
        self.offer(self.run, self.view, self.bins.assign(plan), cost + self.view.constant)
        self._progress()
        return True

    def raise_bound(self, bound: float) -> None:
        """Keep a larger bound, rounded up to a cost that bins can have.

        Nodes that could not be cheaper than the best plan are gone, so it bounds what is left from above.
        """
        rounded = min(self.bins.round_up(bound), self.best)
        if rounded > self.bound:
            self.bound = rounded
            self._progress()

    def _progress(self) -> None:
        shift = self.view.constant
        known = np.isfinite(self.best)
        self.run.progress(incumbent=self.best + shift if known else None, bound=self.bound + shift)

    def run_all(self) -> None:
        """From the quick to the thorough."""
        homeless = np.flatnonzero(~self.bins.allowed[self.bins.most_bins > 0].any(axis=0))
        if len(homeless):
            item = int(self.bins.items[homeless[0]][0])
            self.infeasible = f"item {item} fits into no bin"
            return
        self.raise_bound(max(self.bins.volume_bound(), self.bins.large_item_bound()))
        if self.bound > float(self.bins.most_bins @ self.bins.costs) * (1 + 1e-9):
            self.infeasible = "the bins that there are cannot hold all items"
            return
        plans = [
            self.bins.best_fit_decreasing(rule) for rule in RULES[: 1 if len(self.bins.costs) == 1 else None]
        ]
        for plan in plans:
            self.keep(plan)
        if self.closed or self.time_left() <= 0:
            return
        from .column_generation import ColumnGeneration

        generation = ColumnGeneration(self.bins, self.seed, self.time_left)
        for plan in plans:
            for kind, content in plan or []:
                generation.add(kind, content)
        self._close(generation)

    def _close(self, generation: ColumnGeneration) -> None:
        """Branch on the number of bins of each type, least bound first, and dive at every turn."""
        bins = self.bins
        open_nodes = [Node(self.bound, np.zeros(len(bins.costs), np.int64), bins.most_bins.astype(np.int64))]
        idle = turn = 0
        while not self.closed and self.time_left() > 0:
            if self.run.seconds_left is None and idle >= IDLE_DIVES:
                break
            node = min(open_nodes, key=lambda n: (n.bound, n.visits))
            if node.relaxed is None:
                self._solve(node, open_nodes, generation)
            elif node.visits >= 2 and (children := node.branch(generation.bins_used(node.relaxed))):
                open_nodes.remove(node)
                open_nodes += children
            if np.isfinite(self.best):
                open_nodes = [n for n in open_nodes if n.bound < self.best * (1 - 1e-9)]
            if not open_nodes:
                if not np.isfinite(self.best):
                    self.infeasible = "the bins that there are cannot hold all items"
                else:
                    self.raise_bound(self.best)
                return
            self.raise_bound(min(n.bound for n in open_nodes))
            node = min(open_nodes, key=lambda n: (n.bound, n.relaxed is None, n.visits))
            if node.relaxed is None or self.closed or self.time_left() <= 0:
                continue
            node.visits += 1
            plan = generation.dive(
                node.relaxed, node.least, node.most, self.best, GREEDS[node.visits % len(GREEDS) - 1]
            )
            idle = 0 if self.keep(plan) else idle + 1
            turn += 1
            if turn % 6 == 3 and not self.closed:
                seconds = min(generation.master_seconds, 0.3 * self.time_left())
                self.keep(generation.restricted(self.best, seconds, self.seed))

    def _solve(self, node: Node, open_nodes: list[Node], generation: ColumnGeneration) -> None:
        """Relax a node; it is dropped where no packing has so many bins."""
        bins, unit = self.bins, generation.unit
        others = min((n.bound for n in open_nodes if n is not node), default=np.inf)

        def enough(value: float, bound: float) -> bool:
            node.bound = max(node.bound, bins.round_up(bound * unit))
            self.raise_bound(min(node.bound, others))
            return self.closed or node.bound >= self.best or node.bound >= bins.round_up(value * unit)

        node.relaxed = generation.node(node.least, node.most, enough)
        if node.relaxed is None:
            open_nodes.remove(node)
        else:
            node.bound = max(node.bound, bins.round_up(node.relaxed.bound * unit))


@dataclass(eq=False)
class Node:
    """Packings with least to most bins of each type, and the bound on their cost."""

    bound: float
    least: Any
    most: Any
    relaxed: Relaxation | None = None
    visits: int = 0

    def branch(self, used: Any) -> list[Node]:
        """Two nodes about the type whose number of bins is most fractional; none where all are whole."""
        fraction = np.abs(used - np.rint(used))
        kind = int(np.argmax(fraction))
        if fraction[kind] < 1e-6:
            return []
        below, above = self.most.copy(), self.least.copy()
        below[kind], above[kind] = np.floor(used[kind]), np.ceil(used[kind])
        return [Node(self.bound, self.least, below), Node(self.bound, above, self.most)]


def check_view(problem: Problem, view: PackingView) -> None:
    """Raises ViewMismatch where the parts of a packing view do not fit together."""
    name = type(problem).__name__
    shape = np.shape(view.demands)
    if (
        len(shape) != 3
        or np.shape(view.capacities) != (shape[0], shape[2])
        or np.shape(view.costs) != (shape[0],)
    ):
        raise ViewMismatch(
            f"the packing view of {name} has demands of shape {shape}, capacities of "
            f"{np.shape(view.capacities)} and costs of {np.shape(view.costs)}; they must be (types, items, "
            "dimensions), (types, dimensions) and (types,)."
        )
    if view.counts is not None and np.shape(view.counts) != (shape[0],):
        raise ViewMismatch(
            f"counts of the packing view of {name} must have one number a bin type, got {view.counts!r}."
        )
    numbers: list[tuple[str, Any]] = [
        ("demands", np.nan_to_num(view.demands)),
        ("capacities", view.capacities),
        ("costs", view.costs),
    ]
    for label, values in numbers:
        if not (np.asarray(values) >= 0).all():
            raise ViewMismatch(f"{label} of the packing view of {name} must not be negative.")
    if view.metric not in problem.metrics:
        raise ViewMismatch(f"the packing view of {name} optimises '{view.metric}', which is no metric of it.")
