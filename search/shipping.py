"""A problem on its way to a worker process, on this machine or another: whatever it needs travels with it.

Inside this process a parcel is the problem itself. It is packed only when it is pickled, once: the source
of the file that defines the problem and of what its referee reaches beside it, and the problem. A
class that no import finds again (of a notebook, of a script, of a function) is sent by value. A worker
opens a package once, keeps the last few, and says so where what it has installed would score differently.
"""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

from .. import __version__
from ..errors import EvaluationError, TradespaceError, of_kind
from ..problems.batch import Batch
from ..problems.digest import digest, files
from ..problems.problem import Problem
from ..problems.registry import load_file, module_name
from ..problems.scoring import Scores, evaluate
from ..problems.sources import is_installed

KEPT = 8
NO_FILE = "<dynamic-code>"
"""What cloudpickle names as the file of all code; a fault could not be told by its place."""
_opened: dict[str, Problem] = {}
_shipped: dict[str, str] = {}


@dataclass(frozen=True)
class Package:
    """What a worker needs to score points.

    content: the problem, as bytes that only workers of the same search open. module, place, files: the
    name and the path of the user's module and, by file name, the sources that it needs; none for an
    installed problem, or a class sent by value. identity: the problem's identity where the search runs.
    """

    key: str
    content: bytes
    module: str
    place: str
    files: dict[str, bytes]
    by_value: bool
    identity: str
    version: str

    def open(self) -> Problem:
        """The problem in this process. Raises EvaluationError where it is another one here."""
        return _opened.get(self.key) or _open(self)


class Parcel:
    """A problem to be scored by an executor; one of threads never packs it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @cached_property
    def package(self) -> Package:
        """What travels. Raises EvaluationError where the problem cannot."""
        return pack(self.problem)

    def open(self) -> Problem:
        """The problem."""
        return self.problem

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _same, (self.package,)


def _same(package: Package) -> Package:
    return package


def pack(problem: Problem) -> Package:
    """A problem packed. Raises EvaluationError where it cannot travel."""
    cls = type(problem)
    path = user_file(cls)
    files = _sources(cls, path) if path else {}
    try:
        content = _dumps(problem)
    except Exception as error:
        raise EvaluationError(
            f"{cls.__name__} cannot be sent to worker processes: {type(error).__name__}: {error}."
        ) from None
    module, by_value = (cls.__module__ if path else ""), any(not importable(base) for base in _bases(cls))
    key = hashlib.sha256(repr((module, sorted(files.items()), __version__)).encode() + content).hexdigest()
    place = str(path) if path else ""
    return Package(key, content, module, place, files, by_value, _identity(problem, by_value), __version__)


def user_file(thing: Any) -> Path | None:
    """The file that a class or function was loaded from by path, or None."""
    path = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return Path(path) if path and thing.__module__ == module_name(Path(path)) else None


def importable(thing: Any) -> bool:
    """Whether a fresh process finds this very class or function by its module's name, or its user's file."""
    module = sys.modules.get(thing.__module__)
    found: Any = module
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    if module is None or found is not thing or thing.__module__ == "__main__":
        return False
    return user_file(thing) is not None or _findable(thing.__module__)


def _findable(name: str) -> bool:
    """Whether the import system finds the outermost package of a loaded module where it was loaded from."""
    top = name.partition(".")[0]
    found = (finder.find_spec(top, None) for finder in sys.meta_path)
    spec = next((spec for spec in found if spec is not None), None)
    loaded = getattr(sys.modules.get(top), "__spec__", None)
    return spec is not None and spec.origin == getattr(loaded, "origin", None)


def _bases(cls: type) -> list[type]:
    """A problem class and what it inherits from, up to `Problem`."""
    return [base for base in cls.__mro__ if base not in Problem.__mro__]


def _identity(problem: Problem, by_value: bool) -> str:
    """The digest; of a class sent by value without its source, which is the same and may not be found."""
    if not by_value:
        return problem.digest
    return digest({k: v for k, v in problem.identity().items() if k != "source"})


def _dumps(problem: Problem) -> bytes:
    """The problem as bytes, with the code that no import finds."""
    import cloudpickle

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        """Also the wrappers of `functools` that pickle knows by name only; code keeps its file's name."""

        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, CodeType):
                make, given = self.dispatch_table[CodeType](thing)
                return make, tuple(thing.co_filename if part == NO_FILE else part for part in given)
            if isinstance(thing, functools.cached_property):
                return _cached_property, (thing.func, thing.attrname)
            if isinstance(thing, functools._lru_cache_wrapper) and not importable(thing):
                return _lru_cache, (thing.__wrapped__, thing.cache_parameters())
            return super().reducer_override(thing)

    buffer = io.BytesIO()
    with ExitStack() as stack:
        homes = {base.__module__ for base in _bases(type(problem)) if user_file(base) is None}
        for home in [sys.modules[name] for name in homes - {"__main__"} if name in sys.modules]:
            if not _findable(home.__name__):
                cloudpickle.register_pickle_by_value(home)
                stack.callback(cloudpickle.unregister_pickle_by_value, home)
        Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(problem)
    return buffer.getvalue()


def _cached_property(function: Callable[..., Any], name: str) -> Any:
    made = functools.cached_property(function)
    made.__set_name__(object, name)
    return made


def _lru_cache(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _sources(cls: type, path: Path) -> dict[str, bytes]:
    """A user's file, first, and by place beside it what its referee reaches and what is loaded, data too."""
    folder = path.resolve().parent
    loaded = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    own = [Path(place) for place in loaded if place.endswith(".py") and Path(place).is_absolute()]
    beside = [p for place in own if place.is_file() and (p := place.resolve()).parent == folder]
    reached = [p.resolve() for label, p in files(cls).items() if label.partition(".")[0] != "tradespace"]
    found = {path.name: path.read_bytes()}
    for place in (*reached, *beside):
        if place.is_relative_to(folder) and not is_installed(place):
            found.setdefault(place.relative_to(folder).as_posix(), place.read_bytes())
    return found


def score_parcel(sent: Parcel | Package, columns: dict[str, Any], rows: int) -> Scores:
    """Score points (columns of shape (rows, ...)) where the parcel arrived."""
    problem = sent.open()
    return scored(problem, Batch(problem.space, columns, rows))


def scored(problem: Problem, batch: Batch) -> Scores:
    """Scores, or an error that any process can read: of our own kinds, never of a user's."""
    try:
        return evaluate(problem, batch)
    except TradespaceError as error:
        raise of_kind(error, str(error)) from None


def _open(sent: Package) -> Problem:
    if sent.module:
        _load(sent)
    try:
        problem: Problem = pickle.loads(sent.content)
    except ModuleNotFoundError as error:
        raise EvaluationError(f"a worker lacks the package '{error.name}'; install it there.") from None
    except TradespaceError as error:
        raise of_kind(error, str(error)) from None
    except Exception as error:
        raise EvaluationError(f"a worker cannot open the problem: {type(error).__name__}: {error}.") from None
    if _identity(problem, sent.by_value) != sent.identity:
        raise EvaluationError(
            f"a worker has another {type(problem).__name__} or other cost models than this machine "
            f"(tradespace {__version__} there, {sent.version} here); install the same on both."
        )
    while len(_opened) >= KEPT:
        del _opened[next(iter(_opened))]
    _opened[sent.key] = problem
    return problem


def _load(sent: Package) -> None:
    """Load the user's module from its own place where it is the same there, else from what was sent."""
    print_of_files = hashlib.sha256(repr(sorted(sent.files.items())).encode()).hexdigest()
    if _shipped.get(sent.module) == print_of_files or (
        sent.module in sys.modules and sent.module not in _shipped
    ):
        return
    if sent.module not in _shipped and _unchanged(Path(sent.place).parent, sent.files):
        load_file(Path(sent.place))
        return
    folder = Path(tempfile.mkdtemp(prefix="tradespace-"))
    for name, content in sent.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if sent.module in _shipped:  # an older one: its neighbours are loaded anew as well
        for name in sent.files:
            sys.modules.pop(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."), None)
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


def _unchanged(folder: Path, files: dict[str, bytes]) -> bool:
    """Whether a folder of this machine holds these very sources."""
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except (OSError, ValueError):
        return False
