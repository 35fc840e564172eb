"""Numba's compiler as a typed decorator, for kernels over tiles and Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])
Array = npt.NDArray[Any]
Scalar: TypeAlias = "float | np.floating[Any]"


def compiled(function: F) -> F:
    """Compile to machine code at the first call, kept on disk; no interpreter lock, divisions as IEEE 754."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
