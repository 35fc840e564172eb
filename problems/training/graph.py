"""The saved tensors of a real module's step, with measured numbers: what a plan for it decides about.

Plain data, made by `execution.profiling` and kept as JSON. Time is counted in events: one an operator, a
tensor saved, a saved tensor asked for. A saved tensor is made at `created`, saved at `packed`, let go of
by the module's own code at `natural`, asked for by the backward pass at `unpacked`, and free at `died`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .actions import RETAIN

Array = npt.NDArray[Any]
STATISTICS_SHARE = 0.02
GRADIENT = "gradient"


@dataclass(frozen=True)
class Treatment:
    """One thing that may be done with a tensor.

    codec: which, where it is coded. stored: bytes from forward to backward. seconds: in the step.
    error: relative gradient error. making, reading: bytes beside input and result while it is encoded,
    and while it is decoded or computed again. kept: bytes that a codec keeps from step to step. inherited:
    what is added to the error where a tensor is computed again from this one, and inherits its loss; and
    what more where others are computed again from those.
    """

    label: str
    codec: str
    stored: int
    seconds: float
    error: float
    making: int
    reading: int
    kept: int = 0
    inherited: tuple[float, float] = (0.0, 0.0)

    def scaled(self, ratio: float) -> Treatment:
        """The same with its errors times a number."""
        first, further = self.inherited
        return replace(self, error=self.error * ratio, inherited=(first * ratio, further * ratio))


@dataclass(frozen=True)
class SavedTensor:
    """One tensor that a plan decides about; see the module's first lines.

    block: its repeated block, -1 outside. content: activation, bounded, mask, other, or gradient: that of a
    parameter (`path`), complete at `packed`, wanted by the optimiser at `unpacked`. parents: saved
    tensors (positions) from which it can be computed again. refused: why it cannot, or nothing.
    """

    buffer: int
    path: str
    producer: str
    content: str
    block: int
    size: int
    width: int
    created: int
    packed: int
    natural: int
    unpacked: int
    died: int
    parents: tuple[int, ...]
    refused: str
    treatments: tuple[Treatment, ...] = ()

    @property
    def name(self) -> str:
        """Where it is made and by what."""
        return f"{self.path or 'module'}:{self.producer}"

    def treatment(self, label: str) -> Treatment | None:
        """The treatment of a label, or None where the tensor has none."""
        return next((t for t in self.treatments if t.label == label), None)


@dataclass(frozen=True, eq=False)
class Graph:
    """A module's step. digest: of the module's classes and shapes. other: (events,) bytes alive of what no
    plan touches. forward: events of the forward pass. static: weights, module buffers, optimiser state.
    base_seconds: the step where everything is retained. blocks: repeated blocks.
    """

    name: str
    digest: str
    saved: tuple[SavedTensor, ...]
    other: Array
    forward: int
    static: int
    base_seconds: float
    blocks: int

    @property
    def activations(self) -> int:
        """Bytes saved for the backward pass that a plan decides about."""
        return sum(t.size for t in self.saved if t.content != GRADIENT)

    def with_gradients_retained(self) -> Graph:
        """The same step where plans leave the parameters' gradients alone."""
        saved = tuple(
            replace(t, treatments=t.treatments[:1]) if t.content == GRADIENT else t for t in self.saved
        )
        return replace(self, saved=saved)

    def scaled(self, ratio: float) -> Graph:
        """The same step where every error is a number of times as large."""
        saved = tuple(replace(t, treatments=tuple(w.scaled(ratio) for w in t.treatments)) for t in self.saved)
        return replace(self, saved=saved)

    def record(self) -> dict[str, Any]:
        """Plain data, which also identifies the graph."""
        data = {
            name: getattr(self, name)
            for name in ("name", "digest", "forward", "static", "base_seconds", "blocks")
        }
        return {**data, "other": self.other.tolist(), "saved": [asdict(t) for t in self.saved]}

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Graph:
        """The graph that `record` described."""
        saved = tuple(
            SavedTensor(
                **{
                    **t,
                    "parents": tuple(t["parents"]),
                    "treatments": tuple(
                        Treatment(**{**k, "inherited": tuple(map(float, k["inherited"]))})
                        for k in t["treatments"]
                    ),
                }
            )
            for t in data["saved"]
        )
        return cls(**{**data, "saved": saved, "other": np.asarray(data["other"], np.int64)})

    def choice(self, labels: tuple[str, ...], names: list[str]) -> Array:
        """Labels as positions, those a tensor does not have standing for retaining."""
        return np.array(
            [
                labels.index(name if t.treatment(name) is not None else RETAIN)
                for t, name in zip(self.saved, names, strict=True)
            ]
        )
