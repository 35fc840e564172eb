"""Where a result came from: seed, versions, problem identity, machine, command line."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..problems.problem import Problem

PACKAGES = ("numpy", "scipy", "pyomo", "highspy", "deap", "optuna", "moocore", "torch")


def provenance(problem: Problem, seed: int) -> dict[str, Any]:
    """Everything needed to ask for the same answer again, as plain data."""
    from .. import __version__

    return {
        "seed": seed,
        "tradespace": __version__,
        "commit": commit(),
        "digest": problem.digest,
        "identity": problem.identity(),
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Installed versions of the packages that shape results."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The checkout's commit, with "+" where it has changes; None for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=root, capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
