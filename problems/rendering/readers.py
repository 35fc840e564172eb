"""Scenes from files: the format is found out from the first bytes, and every fault is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import DataError
from .compressed_ply import read_compressed_ply
from .gaussians import Gaussians
from .ply import MOST_GAUSSIANS, TABLES, Columns, read_ply
from .points import read_points
from .polygon import read_tables
from .sog import level_files, read_sog
from .spz import read_spz

FORMATS = "a trained .ply, a compressed .ply, a .sog (or its folder or meta.json), an .spz, or points as .npz"


def read_scene(path: str | Path, *, level: int = 0, repair: bool = False) -> Gaussians:
    """A trained scene.

    path: a trained PLY (Kerbl et al.), a compressed PLY (PlayCanvas), SOG version 2 (a zip, a folder, or
    its meta.json), SPZ, points with colours (.npz, see `points`), or a folder with lod-meta.json, of which
    `level` is read (0 is the finest).
    repair: leave out Gaussians that are not valid (NaN, zero quaternions) instead of refusing the scene.

    Raises DataError for anything that cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no scene '{path}'; give {FORMATS}.")
    try:
        scenes = [_assemble(part, repair) for part in _parts(path, level)]
    except DataError as error:
        raise DataError(f"cannot read the scene '{path.name}': {error}") from None
    except (OSError, MemoryError) as error:
        raise DataError(f"cannot read the scene '{path.name}': {error or 'out of memory'}.") from None
    if len(scenes) == 1:
        return scenes[0]
    names = ("means", "scales", "quaternions", "opacities", "harmonics")
    return Gaussians(*(np.concatenate([getattr(s, n) for s in scenes]) for n in names))


def _assemble(columns: Columns, repair: bool) -> Gaussians:
    if repair:
        return Gaussians.of_valid(*columns)
    try:
        return Gaussians(*columns)
    except DataError as error:
        raise DataError(f"{str(error)[:-1]}; --repair (repair=True) leaves these out.") from None


def _parts(path: Path, level: int) -> list[Columns]:
    if path.name == "lod-meta.json":
        path = path.parent
    if path.is_dir() and (path / "lod-meta.json").is_file():
        levels = level_files(path)
        if not 0 <= level < len(levels):
            raise DataError(f"it has levels 0 to {len(levels) - 1}, not {level}.")
        folder = path.resolve()
        files = [(folder / name).resolve() for name in levels[level]]
        if any(not file.is_relative_to(folder) for file in files):
            raise DataError("its lod-meta.json names a file outside the folder.")
        if not files:
            raise DataError(f"its level {level} names no file.")
        return [read_sog(file) for file in files]
    if level:
        raise DataError(f"it has one level of detail; level {level} needs a folder with lod-meta.json.")
    if path.is_dir() or path.name == "meta.json":
        return [read_sog(path)]
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:3] == b"ply":
        elements = read_tables(path, TABLES, MOST_GAUSSIANS)
        return [(read_compressed_ply if "chunk" in elements else read_ply)(elements)]
    if path.suffix == ".npz":
        return [read_points(path)]
    if magic[:2] == b"PK":
        return [read_sog(path)]
    if magic[:2] == b"\x1f\x8b" or magic == b"NGSP":
        return [read_spz(path)]
    raise DataError(f"its first bytes {magic!r} are those of no known format; give {FORMATS}.")
