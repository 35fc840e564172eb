"""Where a user's files lie that can be made again: $TRADESPACE_CACHE, else the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """The folder of one kind of file kept on disk; not made."""
    root = os.environ.get("TRADESPACE_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradespace"
    return (Path(root) if root else base) / kind
