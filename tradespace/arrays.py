"""What NumPy raises on a damaged file of arrays: readers turn it into a sentence of their own."""

from __future__ import annotations

import tokenize
import zipfile
import zlib

UNREADABLE = (
    EOFError,
    KeyError,
    RuntimeError,  # where a member claims to be encrypted, or is compressed in no known way
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
