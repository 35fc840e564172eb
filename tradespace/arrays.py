"""Files of arrays: what they hold, and what NumPy raises where they are damaged."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNREADABLE = (
    EOFError,
    KeyError,
    RuntimeError,  # where a member claims to be encrypted, or is compressed in no known way
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


def members(file: np.lib.npyio.NpzFile, names: Iterable[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an open .npz, or those named. Raises one of UNREADABLE, as where a member is no array."""
    import numpy as np

    found = {name: file[name] for name in (file.files if names is None else names)}
    for name, value in found.items():
        if not isinstance(value, np.ndarray):  # NumPy gives a member without a header as bytes
            raise ValueError(f"its member '{name}' is no array")
    return found
