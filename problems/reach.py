"""What code counts in an identity: the digest of each file that is reached and the version of each package.

What is reached is kept, in memory and on disk, and found anew where a file or a folder of one has changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..folders import cache_folder
from . import definitions, sources
from .sources import Stamp, Target, Walk, read, settled, stamp

KEPT = 200
"""Files on disk; the oldest go."""


@dataclass(frozen=True)
class Reached:
    """prints: label -> digest of a file. packages: what is installed. files: label -> path. stamps: of the
    files and their folders, when they were read."""

    prints: dict[str, str]
    packages: list[str]
    files: dict[str, str]
    stamps: dict[str, Stamp]

    def unchanged(self) -> bool:
        """Whether every file, and every folder of one, is as it was read."""
        return all(stamp(Path(path)) == at and settled(at) for path, at in self.stamps.items())

    def identity(self) -> dict[str, str]:
        """Label -> digest of a file, or version of a package: everything that counts, in order."""
        versions = {name: f"version {version(name) or 'none'}" for name in self.packages}
        return dict(sorted((self.prints | versions).items()))


@cache
def version(package: str) -> str | None:
    """The version of an installed package by the name it is imported under; None where it is absent."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        owners = importlib.metadata.packages_distributions().get(package)
    return ", ".join(importlib.metadata.version(owner) for owner in sorted(set(owners))) if owners else None


def fingerprint(path: Path) -> str:
    """Digest of a file's content."""
    try:
        return hashlib.sha256(read(path)).hexdigest()[:16]
    except OSError:
        return "gone"


_known: dict[str, Reached] = {}


def reach(targets: frozenset[Target], words: frozenset[str]) -> Reached:
    """What targets reach; words: names of methods that are called."""
    own = [stamp(Path(module.__file__)) for module in (definitions, sources) if module.__file__]
    key = repr((sorted(targets), sorted(words), sys.path, sys.version_info[:2], own))
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    kept = _known.get(name) or _read_kept(name)
    if kept is None or not kept.unchanged():
        found = Walk().follow(sorted(targets), words)
        places = {*found.files.values(), *(path.parent for path in found.files.values())}
        kept = Reached(
            {label: fingerprint(path) for label, path in found.files.items()},
            sorted(found.packages),
            {label: str(path) for label, path in found.files.items()},
            {str(path): stamp(path) for path in sorted(places)},
        )
        _keep(name, kept)
    _known[name] = kept
    return kept


def _read_kept(name: str) -> Reached | None:
    try:
        found = json.loads((cache_folder("identity") / f"{name}.json").read_bytes())
        stamps = {str(path): (int(at[0]), int(at[1])) for path, at in found["stamps"].items()}
        return Reached(dict(found["prints"]), list(found["packages"]), dict(found["files"]), stamps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None  # not there, or damaged: found anew


def _keep(name: str, reached: Reached) -> None:
    """Keep for later processes, as far as the folder can be written and files are not just being edited."""
    if not reached.unchanged():
        return
    with suppress(OSError):
        folder = cache_folder("identity")
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_text(json.dumps(vars(reached)))
        partial.replace(folder / f"{name}.json")
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            path.unlink(missing_ok=True)
