"""A scene: 3D Gaussians with opacity and view-dependent colour, validated once, told apart by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError

Array = npt.NDArray[Any]
BANDS = (1, 4, 9, 16)  # coefficients of spherical harmonics up to degree 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N Gaussians in world coordinates, as float32.

    means (N, 3); scales (N, 3), standard deviations along the own axes (linear, not their logarithms);
    quaternions (N, 4), w x y z, brought to length one here; opacities (N,) within [0, 1];
    harmonics (N, K, 3), coefficients of real spherical harmonics for red, green and blue with K = 1, 4, 9
    or 16: colour = 0.5 + sum of basis(direction) x coefficient.

    Raises DataError for NaN, zero quaternions, negative scales, opacities outside [0, 1], wrong shapes.

    >>> one = Gaussians(np.zeros((1, 3)), np.ones((1, 3)), [[2, 0, 0, 0]], [0.5], np.zeros((1, 1, 3)))
    >>> len(one), one.quaternions.tolist(), one.degree
    (1, [[1.0, 0.0, 0.0, 0.0]], 0)
    """

    means: Array
    scales: Array
    quaternions: Array
    opacities: Array
    harmonics: Array

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, np.ascontiguousarray(getattr(self, field.name), np.float32))
        self._check_shapes()
        for field in fields(self):
            self._check_finite(field.name)
        self._refuse("scales", (self.scales < 0).any(axis=1), "must not be negative")
        self._refuse("opacities", (self.opacities < 0) | (self.opacities > 1), "must lie within 0 and 1")
        length = np.linalg.norm(self.quaternions.astype(np.float64), axis=1, keepdims=True)
        self._refuse("quaternions", length[:, 0] < 1e-12, "must not be zero")
        length[np.abs(length - 1) < 1e-6] = 1  # so that what is of length one keeps its bits, and its digest
        object.__setattr__(self, "quaternions", (self.quaternions / length).astype(np.float32))
        for field in fields(self):
            getattr(self, field.name).flags.writeable = False

    def _check_shapes(self) -> None:
        count = len(self.means)
        wanted = {"means": (count, 3), "scales": (count, 3), "quaternions": (count, 4), "opacities": (count,)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} of {count:,} Gaussians must have shape {shape}, "
                                f"got {getattr(self, name).shape}.")  # fmt: skip
        shape = self.harmonics.shape
        if len(shape) != 3 or shape[0] != count or shape[1] not in BANDS or shape[2] != 3:
            raise DataError(f"harmonics of {count:,} Gaussians must have shape ({count}, K, 3) with K one of "
                            f"{BANDS}, got {shape}.")  # fmt: skip

    def _check_finite(self, name: str) -> None:
        values = getattr(self, name)
        if not np.isfinite(values).all():
            bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            self._refuse(name, bad, "must be finite numbers")

    def _refuse(self, name: str, bad: Any, rule: str) -> None:
        if bad.any():
            first = int(np.argmax(bad))
            got = np.array2string(getattr(self, name)[first].ravel()[:4], precision=4)
            raise DataError(f"{name} {rule}; {int(bad.sum()):,} of {len(bad):,} Gaussians break this, "
                            f"the first is number {first} with {got}.")  # fmt: skip

    @classmethod
    def of_valid(
        cls, means: Array, scales: Array, quaternions: Array, opacities: Array, harmonics: Array
    ) -> Gaussians:
        """Those of some Gaussians that are valid; the others are left out."""
        with np.errstate(invalid="ignore"):
            valid = (scales >= 0).all(axis=1) & (opacities >= 0) & (opacities <= 1)
            valid &= np.linalg.norm(quaternions.astype(np.float64), axis=1) >= 1e-12
            for values in (means, scales, quaternions, harmonics):
                valid &= np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        return cls(means[valid], scales[valid], quaternions[valid], opacities[valid], harmonics[valid])

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics: 0 (one colour) to 3."""
        return BANDS.index(self.harmonics.shape[1])

    def take(self, index: Any) -> Gaussians:
        """The Gaussians at these positions (integers, a mask or a slice), in that order."""
        return Gaussians(*(getattr(self, field.name)[index] for field in fields(self)))

    def concatenate(self, other: Gaussians) -> Gaussians:
        """These Gaussians followed by others; the smaller degree of colour is filled with zeros."""
        most = max(self.harmonics.shape[1], other.harmonics.shape[1])
        first, second = (
            np.pad(g.harmonics, ((0, 0), (0, most - g.harmonics.shape[1]), (0, 0))) for g in (self, other)
        )
        names = ("means", "scales", "quaternions", "opacities")
        joined = {n: np.concatenate([getattr(self, n), getattr(other, n)]) for n in names}
        return Gaussians(**joined, harmonics=np.concatenate([first, second]))

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify the content."""
        state = hashlib.sha256()
        for field in fields(self):
            values = getattr(self, field.name)
            state.update(f"{field.name}{values.shape}".encode())
            state.update(values.data if values.size else b"")
        return state.hexdigest()[:16]

    def identity(self) -> dict[str, str]:
        """What a problem that takes the scene as parameter is told apart by."""
        return {"gaussians": self.digest}

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """1st and 99th percentile of the means, (3,) each: the extent without stragglers."""
        if not len(self):
            return np.zeros(3, np.float32), np.zeros(3, np.float32)
        low, high = np.percentile(self.means, [1, 99], axis=0).astype(np.float32)
        return low, high
