"""A problem on its way to a worker that may stand on another machine: the user's file travels with it.

A parcel is made once a search: the source of the file that defines the problem, of the modules beside it
that it has imported, and the problem itself. A worker opens a parcel once, keeps the last few, and says
so where what it has installed would score differently.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import EvaluationError
from ..problems.batch import Batch
from ..problems.problem import Problem
from ..problems.registry import module_name
from ..problems.scoring import Scores, evaluate

KEPT = 8
_opened: dict[str, Problem] = {}
_shipped: dict[str, str] = {}


@dataclass(frozen=True)
class Parcel:
    """What a worker needs to score points.

    content: the problem, as bytes that only workers of the same search open. module, files: the name of
    the user's module and, by file name, the sources that it needs; none for an installed problem. digest:
    the problem's identity where the search runs.
    """

    key: str
    content: bytes
    module: str
    files: dict[str, str]
    digest: str
    version: str


def parcel(problem: Problem) -> Parcel:
    """A problem packed. Raises EvaluationError where it cannot travel."""
    module = type(problem).__module__
    place = getattr(sys.modules.get(module), "__file__", None)
    own = place is not None and module == module_name(Path(place))
    if module == "__main__" or "<locals>" in type(problem).__qualname__:
        raise EvaluationError(
            f"{type(problem).__name__} is defined where workers cannot find it ({module}); write it at the "
            "top of a file of its own and load it with 'FILE.py:CLASS'."
        )
    files = _sources(Path(place)) if own and place else {}
    try:
        content = pickle.dumps(problem)
    except Exception as error:
        raise EvaluationError(
            f"{type(problem).__name__} cannot be sent to workers: {type(error).__name__}: {error}."
        ) from None
    key = hashlib.sha256(repr((module, sorted(files.items()), __version__)).encode() + content).hexdigest()
    return Parcel(key, content, module if own else "", files, problem.digest, __version__)


def _sources(path: Path) -> dict[str, str]:
    """A user's file, first, and the modules beside it that are loaded, by file name."""
    folder = path.resolve().parent
    found = {path.name: path.read_text()}
    for module in list(sys.modules.values()):
        place = getattr(module, "__file__", None)
        if place and place.endswith(".py") and Path(place).resolve().parent == folder:
            found.setdefault(Path(place).name, Path(place).read_text())
    return found


def score_parcel(sent: Parcel, columns: dict[str, Any], rows: int) -> Scores:
    """Score points (columns of shape (rows, ...)) on a worker."""
    problem = _opened.get(sent.key) or _open(sent)
    return evaluate(problem, Batch(problem.space, columns, rows))


def _open(sent: Parcel) -> Problem:
    if sent.module:
        _load(sent)
    problem: Problem = pickle.loads(sent.content)
    if problem.digest != sent.digest:
        raise EvaluationError(
            f"a worker has another {type(problem).__name__} or other cost models than this machine "
            f"(tradespace {__version__} there, {sent.version} here); install the same on both."
        )
    while len(_opened) >= KEPT:
        del _opened[next(iter(_opened))]
    _opened[sent.key] = problem
    return problem


def _load(sent: Parcel) -> None:
    """Load the user's module from what was sent, unless this process has it already."""
    print_of_files = hashlib.sha256(repr(sorted(sent.files.items())).encode()).hexdigest()
    if _shipped.get(sent.module) == print_of_files or (
        sent.module in sys.modules and sent.module not in _shipped
    ):
        return
    folder = Path(tempfile.mkdtemp(prefix="tradespace-"))
    for name, text in sent.files.items():
        (folder / name).write_text(text)
    if sent.module in _shipped:  # an older one: its neighbours are loaded anew as well
        for name in sent.files:
            sys.modules.pop(Path(name).stem, None)
    sys.path.insert(0, str(folder))
    first = next(iter(sent.files))
    spec = spec_from_file_location(sent.module, folder / first)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[sent.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[sent.module]
        raise EvaluationError(f"{first} raised on a worker: {type(error).__name__}: {error}") from error
    _shipped[sent.module] = print_of_files
