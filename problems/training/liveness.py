"""Bytes alive at every moment of a real module's step, as a linear function of its plan.

A tensor that is not retained lives in full until the module's own code lets go of it, in its stored form
until the backward pass asks for it, and in full from then until it is freed. It is made again earlier
where a recomputed tensor needs it: `early` names the moments at which that can happen, and one number in
{0, 1} each says whether it has happened by then. Moments that another one covers whatever the plan are
left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .actions import RECOMPUTE, RETAIN
from .graph import Graph

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Liveness:
    """The moments of a graph's step under one list of labels."""

    graph: Graph
    labels: tuple[str, ...]

    @cached_property
    def available(self) -> Array:
        """(tensors, labels) whether a tensor has a treatment."""
        return np.array([[t.treatment(name) is not None for name in self.labels] for t in self.graph.saved])

    def costs(self, name: str) -> Array:
        """(tensors, labels, ...) of a treatment's number; a label that a tensor does not have costs as
        retaining."""
        shape = np.shape(getattr(self.graph.saved[0].treatments[0], name)) if self.graph.saved else ()
        made = np.zeros((len(self.graph.saved), len(self.labels), *shape))
        for i, t in enumerate(self.graph.saved):
            for j, label in enumerate(self.labels):
                made[i, j] = getattr(t.treatment(label) or t.treatment(RETAIN), name)
        return made

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Tensors that would be computed again from each."""
        found: list[list[int]] = [[] for _ in self.graph.saved]
        for i, t in enumerate(self.graph.saved):
            if self.available[i, self.labels.index(RECOMPUTE)]:
                for p in t.parents:
                    found[p].append(i)
        return tuple(map(tuple, found))

    @cached_property
    def heirs(self) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int, int], ...]]:
        """Who inherits a coded tensor's loss: (tensor, child), and (tensor, child, child of the child)."""
        coded = [i for i, t in enumerate(self.graph.saved) if any(any(w.inherited) for w in t.treatments)]
        first = tuple((i, c) for i in coded for c in self.children[i])
        return first, tuple((i, m, c) for i, m in first for c in self.children[m])

    def inherits(self, choice: Array) -> tuple[Array, Array]:
        """(rows, tensors) whether a child of each is computed again, and whether a child of that one is too;
        choice (rows, tensors)."""
        dropped = choice == self.labels.index(RECOMPUTE)
        first, further = np.zeros(choice.shape, bool), np.zeros(choice.shape, bool)
        children, grandchildren = self.heirs
        for i, c in children:
            first[:, i] |= dropped[:, c]
        for i, m, c in grandchildren:
            further[:, i] |= dropped[:, m] & dropped[:, c]
        return first, further

    @cached_property
    def _errors(self) -> tuple[Array, Array]:
        return self.costs("error"), self.costs("inherited")

    def error(self, choice: Array) -> Array:
        """(rows,) relative gradient error a block, at most; choice (rows, tensors).

        Errors of tensors are measured one by one and added: no more than their sum can come of them
        together, as long as they are small.
        """
        own, inherited = self._errors
        each = np.arange(choice.shape[1])
        found = own[each, choice]
        for level, when in enumerate(self.inherits(choice)):
            found = found + np.where(when, inherited[each, choice, level], 0.0)
        return np.asarray(found.sum(axis=1) / self.graph.blocks)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Tensors, children before parents."""
        return tuple(sorted(range(len(self.graph.saved)), key=lambda i: -self.graph.saved[i].created))

    @cached_property
    def early(self) -> tuple[tuple[int, int], ...]:
        """(tensor, moment) at which a tensor can be asked for before the backward pass asks for it, in
        order."""
        saved = self.graph.saved
        found: list[set[int]] = [set() for _ in saved]
        for i in self.order:
            for c in self.children[i]:
                found[i] |= {u for u in (saved[c].unpacked, *found[c]) if u < saved[i].unpacked}
        return tuple((i, u) for i, moments in enumerate(found) for u in sorted(moments))

    @cached_property
    def _moments(self) -> tuple[Array, Array, Array]:
        graph, saved = self.graph, self.graph.saved
        events = len(graph.other)
        kept = sum(max(k.kept for k in t.treatments) for t in saved)
        always = graph.static + kept + graph.other.astype(float)
        stored, making, reading = (self.costs(name) for name in ("stored", "making", "reading"))
        chosen = np.zeros((len(saved), len(self.labels), events))
        retain = self.labels.index(RETAIN)
        for i, t in enumerate(saved):
            always[t.created : max(t.natural, t.packed + 1)] += t.size
            always[t.unpacked : t.died] += t.size
            for j in range(len(self.labels)):
                if j == retain or not self.available[i, j]:
                    chosen[i, j, max(t.natural, t.packed + 1) : t.unpacked] = t.size
                else:
                    chosen[i, j, t.packed : t.unpacked + 1] = stored[i, j]
                    chosen[i, j, t.packed] += making[i, j]
                    chosen[i, j, t.unpacked] += reading[i, j]
        drop = self.labels.index(RECOMPUTE)
        asking = {t.unpacked: t.size + reading[i, drop] for i, t in enumerate(saved)}
        asked = np.zeros((len(self.early), events))
        for k, (i, u) in enumerate(self.early):
            after = (
                self.early[k + 1][1]
                if k + 1 < len(self.early) and self.early[k + 1][0] == i
                else saved[i].unpacked
            )
            asked[k, u:after] = saved[i].size
            asked[k, u] += max(0.0, reading[i].max() - asking[u])  # it is made before what asks for it
        columns = np.concatenate([always[None], chosen.reshape(-1, events), asked]).T
        columns = columns[_uncovered(columns)]
        split = 1 + chosen.shape[0] * chosen.shape[1]
        return columns[:, 0], columns[:, 1:split].T.copy(), columns[:, split:].T.copy()

    @property
    def always(self) -> Array:
        """(moments,) bytes alive whatever the plan."""
        return self._moments[0]

    @property
    def chosen(self) -> Array:
        """(tensors x labels, moments) bytes that a choice adds."""
        return self._moments[1]

    @property
    def asked(self) -> Array:
        """(early, moments) bytes that asking early adds."""
        return self._moments[2]

    def happened(self, choice: Array) -> Array:
        """(rows, early) whether each tensor has been made again by each moment; choice (rows, tensors)."""
        saved = self.graph.saved
        gone = choice != self.labels.index(RETAIN)
        dropped = choice == self.labels.index(RECOMPUTE)
        when = np.array([t.unpacked for t in saved])[None].repeat(len(choice), 0)
        for i in self.order:
            for c in self.children[i]:
                sooner = gone[:, i] & dropped[:, c] & (when[:, c] < when[:, i])
                when[sooner, i] = when[sooner, c]
        if not self.early:
            return np.zeros((len(choice), 0), bool)
        tensors, moments = np.array(self.early).T
        return np.asarray(gone[:, tensors] & (when[:, tensors] <= moments))

    def live(self, choice: Array) -> Array:
        """(rows, moments) bytes alive; choice (rows, tensors) positions of labels that the tensors have."""
        cells = choice + len(self.labels) * np.arange(choice.shape[1])
        one = np.zeros((len(choice), len(self.chosen)))
        np.put_along_axis(one, cells, 1.0, axis=1)
        return np.asarray(self.always + one @ self.chosen + self.happened(choice) @ self.asked)


def _uncovered(rows: Array) -> Array:
    """Positions of rows that no other row reaches in every column, the largest first."""
    kept: list[int] = []
    for e in np.argsort(-rows.sum(axis=1), kind="stable"):
        if not kept or not (rows[kept] >= rows[e]).all(axis=1).any():
            kept.append(int(e))
    return np.array(sorted(kept))
