"""The wheel holds every module and every data file, and works where the sources are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("hardware", "costmodels", "problems", "solvers", "search")
PROGRAM = """
import json, sys
import tradespace as ts
from tradespace.search.cli import main
result = ts.solve(ts.problem("matmul-tile", m=512, n=512, k=512))
kinds = {n: ts.device(n).kind for n in ("a100-sxm-80gb", "h100-sxm-80gb")}
json.dump({"file": ts.__file__, "kind": result.certificate.kind, "devices": kinds}, sys.stdout)
main(["new", "kept"])
"""


class Wheel(NamedTuple):
    """A built wheel, and the files of the folders it was built from."""

    path: Path
    sources: set[str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """A wheel, built from a copy so that nothing left over from an earlier build gets in."""
    pytest.importorskip("build", reason="the extra 'test' is not installed")
    pytest.importorskip("setuptools", "77", reason="the extra 'test' is not installed")
    copy = tmp_path_factory.mktemp("sources")
    for folder in (*FOLDERS, "tradespace"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    modules = {p.relative_to(copy).as_posix() for p in copy.glob("*/**/*") if p.is_file()}
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (made,) = out.glob("*.whl")
    return Wheel(made, modules)


def test_the_wheel_holds_every_file_of_the_six_folders_and_nothing_else(wheel: Wheel) -> None:
    expected = {f if f.startswith("tradespace/") else f"tradespace/{f}" for f in wheel.sources}
    names = {n for n in zipfile.ZipFile(wheel.path).namelist() if not n.split("/")[0].endswith(".dist-info")}
    assert names == expected


def test_the_wheel_carries_licence_and_command(wheel: Wheel) -> None:
    archive = zipfile.ZipFile(wheel.path)
    texts = {n.split("/", 1)[1]: n for n in archive.namelist() if ".dist-info/" in n}
    assert "licenses/LICENSE" in texts
    assert "optimize = tradespace.search.cli:main" in archive.read(texts["entry_points.txt"]).decode()


def test_the_installed_package_works_away_from_the_sources(wheel: Wheel, tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel.path).extractall(place)
    elsewhere.mkdir()
    (elsewhere / "problems.py").write_text("raise RuntimeError('a user may have a module of this name')\n")
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[0].partition("wrote")[0])
    assert Path(found["file"]).is_relative_to(place)
    assert found["kind"] == "proven"
    assert found["devices"] == {"a100-sxm-80gb": "gpu", "h100-sxm-80gb": "gpu"}
    assert (elsewhere / "kept.py").is_file()
