"""Names of problems, read without importing the problems.

`PROBLEM` on the command line is a shipped name, `file.py:Class` or `module:Class`; other packages add
names through the entry-point group `tradespace.problems`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import DataError, nearest
from ..extras import install_hint

if TYPE_CHECKING:
    from .problem import Problem

ENTRY_POINTS = "tradespace.problems"


@dataclass(frozen=True)
class Entry:
    """A named problem: where its class stands, and what it decides in one line."""

    name: str
    target: str
    domain: str
    summary: str


SHIPPED = (
    Entry("adacc", "tradespace.problems.training.adacc:Adacc", "training",
          "keep, compress, offload or recompute each activation of a transformer under a memory limit"),
    Entry("adacc-module", "tradespace.problems.training.module:AdaccModule", "training",
          "the same for a real PyTorch module on this machine, measured and carried out"),
    Entry("astraea", "tradespace.problems.diffusion.astraea:Astraea", "diffusion",
          "tokens computed at each step of a small video diffusion transformer that really samples"),
    Entry("astraea-shapes", "tradespace.problems.diffusion.astraea:AstraeaShapes", "diffusion",
          "the same for Wan 2.1, HunyuanVideo and OpenSora by their shapes on any device"),
    Entry("hermes", "tradespace.problems.serving.hermes:Hermes", "serving",
          "order of language-model applications of unknown length, and warm backends in time"),
    Entry("llm-mesh-placement", "tradespace.problems.serving.mesh.placement:LlmMeshPlacement", "serving",
          "which model instance sits on which node: vector packing over unlike nodes"),
    Entry("llm-mesh", "tradespace.problems.serving.mesh.problem:LlmMesh", "serving",
          "the policy by which many models share CPU and GPU nodes, token by token"),
    Entry("llm-mesh-capacity", "tradespace.problems.serving.mesh.problem:LlmMeshCapacity", "serving",
          "how many CPU and GPU nodes hold a service level, at what price"),
    Entry("sltarch", "tradespace.problems.rendering.sltarch.problem:SLTarch", "rendering",
          "level-of-detail search and splatting cores for a trained scene at a frame rate"),
    Entry("matmul-tile", "tradespace.problems.tutorial.matmul_tile:MatmulTile", "tutorial",
          "block tile of one matrix product: latency against shared memory"),
    Entry("knapsack", "tradespace.problems.tutorial.knapsack:Knapsack", "tutorial",
          "items of most value within a weight; with a second value, a front"),
    Entry("memory-plan", "tradespace.problems.tutorial.memory_plan:MemoryPlan", "tutorial",
          "keep or recompute each activation of a chain under a memory limit"),
    Entry("mixed", "tradespace.problems.tutorial.mixed:Mixed", "tutorial",
          "every kind of variable, vectors and conditions in one small problem"),
    Entry("server-packing", "tradespace.problems.tutorial.server_packing:ServerPacking", "tutorial",
          "services on rented servers of several kinds, at the least price"),
    Entry("mg1", "tradespace.problems.tutorial.mg1:MG1", "tutorial",
          "which job next: a rank table for a single server with several classes of jobs"),
    Entry("two-level", "tradespace.problems.tutorial.two_level:TwoLevel", "tutorial",
          "an algorithm whose work is dear to count, on hardware that is cheap to try"),
)  # fmt: skip


def entries() -> list[Entry]:
    """Shipped problems, then those that installed packages register, by name."""
    return [*SHIPPED, *_installed(tuple(sys.path))]


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> tuple[Entry, ...]:
    """What packages on the module path register; looked up once, since it reads every package's files."""
    from importlib.metadata import entry_points

    others = [
        Entry(point.name, point.value, point.dist.name if point.dist else "installed", "")
        for point in entry_points(group=ENTRY_POINTS)
    ]
    shipped = {entry.name for entry in SHIPPED}
    return tuple(entry for entry in others if entry.name not in shipped)


def load(name: str) -> type[Problem]:
    """The problem class behind a name, `file.py:Class` or `module:Class`.

    Raises DataError where there is none, with the nearest name, or where the user's file raises, with
    the line at fault.
    """
    if not isinstance(name, str):
        raise DataError(f"a problem is named by a text, such as 'knapsack', got {name!r:.60}.")
    known = {entry.name: entry for entry in entries()}
    target = known[name].target if name in known else name
    place, _, label = target.rpartition(":")
    if name not in known and place.endswith(".py"):
        module = load_file(Path(place))
    elif not place and (name.endswith(".py") or name.startswith((".", "/"))):
        module, label = load_file(Path(name)), ""
    elif not place:
        raise DataError(f"no problem is called '{name}'; {nearest(name, known)} (or give FILE.py:CLASS)")
    else:
        module = _import(place, name)
    return _find_class(module, label, name)


def _import(module: str, name: str) -> ModuleType:
    """An installed module; DataError where it cannot be imported, with its own line where it raised."""
    try:
        found = importlib.import_module(module)
    except Exception as error:
        spec = None
        with suppress(Exception):
            spec = importlib.util.find_spec(module)
        where = _line_at_fault(Path(spec.origin), error) if spec and spec.origin else ""
        raise DataError(
            f"the module of '{name}' cannot be imported: {type(error).__name__}: {error}"
            f"{install_hint(error)}{where}"
        ) from error
    if getattr(found, "__file__", None) is None and hasattr(found, "__path__"):
        del sys.modules[module]
        raise DataError(
            f"the module of '{name}' cannot be imported: '{module}' is a folder without Python code."
        )
    return found


def module_name(path: Path) -> str:
    """The name under which a user's file is loaded, the same in every process that has the file there."""
    place = hashlib.sha256(str(path.expanduser().resolve()).encode()).hexdigest()[:8]
    return f"tradespace_file_{path.stem}_{place}"


def load_file(path: Path) -> ModuleType:
    """A user's problem file as a module; loaded once a process, able to import its neighbours.

    Raises DataError where the file is missing or raises, naming the line at fault.
    """
    path = path.expanduser().resolve()
    name = module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise DataError(f"there is no file '{path}'; write one with 'optimize new NAME'.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _make_way(path.parent)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise DataError(
            f"{path.name} raised {type(error).__name__}: {error}{install_hint(error)}"
            f"{_line_at_fault(path, error)}"
        ) from error
    return module


_FOLDERS: list[str] = []
"""Of users' files that were loaded, the last one first."""


def _make_way(folder: Path) -> None:
    """Let a file find its own neighbours, also where a file of another folder has some of the same names."""
    sys.path[:] = [place for place in sys.path if place not in _FOLDERS]
    _FOLDERS[:] = [str(folder), *(other for other in _FOLDERS if other != str(folder))]
    sys.path += [place for place in _FOLDERS if place not in sys.path]
    for neighbour in folder.iterdir():
        top = neighbour.stem if neighbour.suffix == ".py" else neighbour.name
        if top in sys.modules and _of_another(sys.modules[top]):
            for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
                del sys.modules[name]


def _of_another(module: ModuleType) -> bool:
    """Whether a module is a mere folder, or the neighbour of a file in another folder."""
    place = getattr(module, "__file__", None)
    if place is None:
        return hasattr(module, "__path__")
    return any(Path(place).is_relative_to(folder) for folder in _FOLDERS[1:] if folder != _FOLDERS[0])


def _line_at_fault(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"\n       line {error.lineno}: {(error.text or '').strip()}"
    trace = error.__traceback__
    found = ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines = path.read_text(errors="replace").splitlines()
            found = f"\n       line {trace.tb_lineno}: {lines[trace.tb_lineno - 1].strip()}"
        trace = trace.tb_next
    return found


def _find_class(module: ModuleType, label: str, name: str) -> type[Problem]:
    from .problem import Problem

    known = {
        n: c
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, Problem) and c is not Problem
    }
    own = {n: c for n, c in known.items() if c.__module__ == module.__name__}
    if label in known:
        return known[label]
    if label:
        raise DataError(f"'{name}': the module has no problem class '{label}'; {nearest(label, known)}")
    if len(own) == 1:
        return next(iter(own.values()))
    raise DataError(
        f"'{name}' defines {len(own)} problems; name one, as in '{name}:{next(iter(own), 'CLASS')}'."
    )


def problem(name: str, **parameters: object) -> Problem:
    """A problem by its name, with some parameters: `problem("adacc", batch=16)`."""
    return load(name)(**parameters)
