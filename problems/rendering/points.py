"""Points with colours as Gaussians: balls whose size follows the distance to the next points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import UNREADABLE, members
from ...errors import DataError
from .ply import Columns
from .synthetic import C0

Array = npt.NDArray[Any]
NEIGHBOURS = 3  # as training begins (Kerbl et al. 2023, section 5.1): mean distance to the closest three
SIZE, LARGEST = 0.35, 0.9  # but smaller, to look at: of that distance, which is cut at this quantile
OPACITY = 0.9


def of_points(means: Array, colours: Array, *, opacity: float = OPACITY) -> Columns:
    """Columns of a scene from points (N, 3) and their colours (N, 3) within 0 and 1."""
    from scipy.spatial import cKDTree

    finite = np.isfinite(means).all(axis=1)
    if not finite.all():
        raise DataError(f"{int((~finite).sum()):,} of its {len(means):,} points are not finite.")
    if len(means) > NEIGHBOURS:
        near = np.asarray(cKDTree(means).query(means, k=NEIGHBOURS + 1)[0])
        distance = near[:, 1:].mean(axis=1)
        distance = SIZE * np.minimum(distance, np.quantile(distance, LARGEST))
    else:
        distance = np.full(len(means), 0.01)
    turn = np.zeros((len(means), 4), np.float32)
    turn[:, 0] = 1
    size = np.repeat(np.maximum(distance, 1e-7)[:, None], 3, axis=1).astype(np.float32)
    light = ((colours - 0.5) / C0).astype(np.float32)[:, None, :]
    return means.astype(np.float32), size, turn, np.full(len(means), opacity, np.float32), light


def read_points(path: Path) -> Columns:
    """Points of an .npz with `means3d` (N, 3) and `colors` (N, 3), bytes or within 0 and 1."""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("means3d", "colors") if name not in file.files]
            if missing:
                raise DataError(f"it lacks the arrays {', '.join(missing)}.")
            found = members(file, ("means3d", "colors"))
            means, colours = np.asarray(found["means3d"], np.float64), found["colors"]
    except UNREADABLE as error:
        raise DataError(f"it is no array file: {error}.") from None
    if means.ndim != 2 or means.shape[1] != 3 or colours.shape != means.shape:
        raise DataError(f"means3d and colors must both be (N, 3), got {means.shape} and {colours.shape}.")
    scale = 255.0 if colours.dtype == np.uint8 else 1.0
    return of_points(means, np.asarray(colours, np.float64) / scale)
