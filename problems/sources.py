"""Which code a class reaches: the modules, data files and installed packages behind a referee.

Source is read, never run. From a class's body and a few of its methods, names are followed through imports of
every form (at the top, inside functions, relative, starred, lazily exported), through bases, decorators and
constants. A method of a class that is reached counts where its name is mentioned in code that is reached, as
an attribute or a string. A module counts as a whole file once anything in it is reached; what is installed
counts by its version. So an edit of any file that may change what the class computes changes its identity, and
an edit of a file that it does not reach leaves it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from .definitions import Chain, Definition, Module, parse

PACKAGE = __package__.partition(".")[0]
Target = tuple[str, str, Chain]
"""A module, its file where it is known, and a dotted name in it."""
INERT = ("abc", "enum", "typing", "collections", "dataclasses")
"""Modules whose base classes call no method by a name of its own."""
HASHED = 1 << 26
"""Bytes up to which a data file counts by its content; a larger one by its size and time of change."""


@dataclass
class Reached:
    """What some names reach. files: label -> path. versions: installed package -> version, None if absent."""

    files: dict[str, Path] = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=dict)

    def prints(self) -> dict[str, str]:
        """Label -> digest of a file's content, or version: everything that counts, in order."""
        made = {label: fingerprint(path) for label, path in self.files.items()}
        made |= {name: f"version {version or 'absent'}" for name, version in self.versions.items()}
        return dict(sorted(made.items()))


def read(path: Path) -> bytes:
    """The content of a file that counts."""
    return path.read_bytes()


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change, by which a file is read again; zeros where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def fingerprint(path: Path) -> str:
    """Digest of a file."""
    return _fingerprint(path, stamp(path))


@lru_cache(maxsize=4096)
def _fingerprint(path: Path, now: tuple[int, int]) -> str:
    if now[0] > HASHED:
        return f"{now[0]} bytes of {now[1]}"
    try:
        return hashlib.sha256(read(path)).hexdigest()[:16]
    except OSError:
        return "gone"


@lru_cache(maxsize=4096)
def _parsed(name: str, path: Path, now: tuple[int, int]) -> Module:
    return parse(name, path, read(path))


@cache
def version(package: str) -> str | None:
    """The version of an installed package by the name it is imported under; None where it is absent."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        owners = importlib.metadata.packages_distributions().get(package)
    return ", ".join(importlib.metadata.version(owner) for owner in sorted(set(owners))) if owners else None


@cache
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({os.path.realpath(paths[k]) + os.sep for k in ("stdlib", "platstdlib", "purelib", "platlib")})


def is_installed(path: Path) -> bool:
    """Whether a file belongs to an installed package or to Python."""
    parts = path.parts
    real = os.path.realpath(path)
    return "site-packages" in parts or "dist-packages" in parts or real.startswith(_installed_folders())


class Walk:
    """Follows names until nothing new is reached."""

    def __init__(self) -> None:
        self._given: dict[str, Path] = {}
        self.reached = Reached()
        self.words: set[str] = set()
        self._modules: dict[str, Module | None] = {}
        self._touched: set[str] = set()
        self._seen: set[int] = set()
        self._asked: set[tuple[str, Chain]] = set()
        self._methods: dict[str, list[tuple[Module, Definition]]] = {}
        self._listing: dict[str, list[Module]] = {}
        self._pending: list[tuple[Module, Definition]] = []
        self._loading: dict[str, Module] = {}

    def follow(self, targets: Iterable[Target], words: Iterable[str]) -> Reached:
        """All that targets reach; words: names of methods that are called."""
        targets = list(targets)
        for name, place, _ in targets:
            if place and place.endswith(".py"):
                self._given[name] = Path(place)
        for name, _, chain in targets:
            self._attribute(name, chain)
        self._mention(set(words))
        while self._pending:
            self._definition(*self._pending.pop())
        return self.reached

    # --- modules -------------------------------------------------------------------------------------
    def _find(self, name: str) -> Module | None:
        """A module to be read, or None for one that is installed, built in or not there."""
        if name not in self._modules:
            place = self._place(name)
            self._modules[name] = None if place is None else _parsed(name, place, stamp(place))
        return self._modules[name]

    def _place(self, name: str) -> Path | None:
        parent, _, last = name.rpartition(".")
        loaded = self._given.get(name) or getattr(sys.modules.get(name), "__file__", None)
        if not parent and (name in sys.stdlib_module_names or name in sys.builtin_module_names):
            return None
        if loaded:
            found: Path | None = Path(loaded)
        elif parent:
            found = next((p for folder in self._folders(parent) for p in _candidates(folder, last)), None)
        else:
            spec = PathFinder.find_spec(name) or PathFinder.find_spec(name, self._beside())
            found = Path(spec.origin) if spec and spec.has_location and spec.origin else None
        if found is None or (name.partition(".")[0] != PACKAGE and is_installed(found)):
            return None
        return found

    def _beside(self) -> list[str]:
        """Folders of the files that were given, from which their neighbours can be imported."""
        return sorted({str(path.parent) for path in self._given.values()})

    def _folders(self, package: str) -> list[str]:
        """Where the modules of a package lie."""
        loaded = getattr(sys.modules.get(package), "__path__", None)
        if loaded is not None:
            return list(loaded)
        top, *inner = package.split(".")
        spec = None if top in sys.stdlib_module_names else PathFinder.find_spec(top)
        if top in sys.modules and hasattr(sys.modules[top], "__path__"):
            folders = list(sys.modules[top].__path__)
        else:
            folders = list(spec.submodule_search_locations or ()) if spec else []
        for part in inner:
            folders = [os.path.join(folder, part) for folder in folders]
        return [f for f in folders if os.path.isdir(f)]

    def _exists(self, name: str) -> bool:
        """Whether a module of this name lies inside a package that is read."""
        if name in self._modules:
            return self._modules[name] is not None
        return self._find(name) is not None or bool(self._folders(name))

    def _touch(self, module: Module) -> None:
        """Count a module's file, what its top does when it is imported, and the packages around it."""
        if module.name in self._touched:
            return
        self._touched.add(module.name)
        self.reached.files[label(module)] = module.path
        self._pending.append((module, module.body))
        parent = module.name.rpartition(".")[0]
        if parent and (around := self._find(parent)) is not None:
            self._touch(around)
        if module.name.partition(".")[0] != PACKAGE:
            for name in module.effects:
                self._pending += [(module, d) for d in module.definitions[name] if self._own_decorator(module, d)]
            for target, attribute in module.loads:
                self._load(target, attribute)

    def _own_decorator(self, module: Module, definition: Definition) -> bool:
        """Whether something that is read, and so may keep what it decorates, decorates a definition."""
        for chain in definition.decorators:
            target = module.imports.get(chain[0])
            if target is None and chain[0] in module.definitions:
                return True
            if target is not None and self._find(target[0]) is not None:
                return True
        return False

    def _load(self, target: str, attribute: str | None) -> None:
        """A module that is imported though nothing of it may be named: it counts where importing it does more
        than define names (one that registers itself, say)."""
        for name in (target, f"{target}.{attribute}" if attribute else ""):
            if not name or name in self._loading or name in self._touched:
                continue
            module = self._find(name)
            if module is None or name.partition(".")[0] == PACKAGE:
                continue
            self._loading[name] = module
            decorated = any(
                self._own_decorator(module, d) for n in module.effects for d in module.definitions[n]
            )
            if module.acts or decorated:
                self._touch(module)
            for inner, its in module.loads:
                self._load(inner, its)

    # --- names ---------------------------------------------------------------------------------------
    def _attribute(self, name: str, chain: Chain) -> None:
        """Reach a dotted name inside a module; the whole module where there is none."""
        if (name, chain) in self._asked:
            return
        self._asked.add((name, chain))
        module = self._find(name)
        if module is None:
            if chain and self._folders(name) and self._exists(f"{name}.{chain[0]}"):  # no __init__.py
                self._attribute(f"{name}.{chain[0]}", chain[1:])
            elif (top := name.partition(".")[0]) not in sys.stdlib_module_names and top != PACKAGE:
                self.reached.versions[top] = version(top)
            return
        self._touch(module)
        if not chain:
            self._whole(module)
        elif self._named(module, chain, {}):
            pass
        elif module.package and self._exists(f"{name}.{chain[0]}"):
            self._attribute(f"{name}.{chain[0]}", chain[1:])
        elif "__getattr__" in module.definitions:
            self._whole(module)

    def _whole(self, module: Module) -> None:
        for definitions in module.definitions.values():
            self._pending += [(module, d) for d in definitions]
        for target, attribute in module.imports.values():
            self._attribute(target, (attribute,) if attribute else ())

    def _named(self, module: Module, chain: Chain, local: dict[str, tuple[str, str | None]]) -> bool:
        """Reach a dotted name as some code in a module reads it; whether the module has it."""
        head, rest = chain[0], chain[1:]
        known = head in local or head in module.definitions or head in module.imports
        for target in filter(None, (local.get(head), module.imports.get(head))):
            self._attribute(target[0], (target[1], *rest) if target[1] else rest)
        self._pending += [(module, d) for d in module.definitions.get(head, ())]
        if not known:
            for star in module.stars:
                other = self._find(star)
                if other is None:
                    self._attribute(star, chain)
                elif self._named(other, chain, {}):
                    self._touch(other)
                    known = True
        return known

    def _definition(self, module: Module, definition: Definition) -> None:
        """Reach what a definition mentions."""
        if id(definition) in self._seen:
            return
        self._seen.add(id(definition))
        self._mention(definition.words)
        for target, attribute in definition.loads:
            if (found := self._find(target)) is not None and found.acts:
                self._touch(found)
            self._load(target, attribute)
        for chain in definition.chains:
            self._named(module, chain, definition.imports)
        for star in definition.stars:
            self._attribute(star, ())
        every = definition.open_class or any(self._outside(module, base) for base in definition.bases)
        for name, methods in definition.methods.items():
            called = every or name in self.words or (name[0] == name[-1] == "_")
            wanted = self._pending if called else self._methods.setdefault(name, [])
            wanted += [(module, method) for method in methods]
        for package in definition.listed:
            for word in self.words:
                self._listed(package, word)
            self._listing.setdefault(package, [])
        self._data(module, definition)

    def _outside(self, module: Module, base: Chain, seen: frozenset[Chain] = frozenset()) -> bool:
        """Whether a class descends from an installed one, so that code that is not read may call any method."""
        if base in seen:
            return False
        for definition in module.definitions.get(base[0], ()):
            if any(self._outside(module, inner, seen | {base}) for inner in definition.bases):
                return True
        if base[0] not in module.imports:
            return False
        target, attribute = module.imports[base[0]]
        chain = (attribute, *base[1:]) if attribute else base[1:]
        while chain and (found := self._find(target)) is not None:
            if chain[0] in found.definitions or chain[0] in found.imports:
                return self._outside(found, chain, frozenset())
            target, chain = f"{target}.{chain[0]}", chain[1:]
        return target.partition(".")[0] not in {PACKAGE, *INERT}

    def _mention(self, words: Iterable[str]) -> None:
        for word in set(words) - self.words:
            self.words.add(word)
            self._pending += self._methods.pop(word, ())
            for package in self._listing:
                self._listed(package, word)

    def _listed(self, package: str, word: str) -> None:
        """A module that is imported by a computed name, where some text that is reached says which."""
        inner = word.strip(".")
        name = f"{package}.{inner}" if package else inner
        if all(part.isidentifier() for part in inner.split(".")) and self._find(name) is not None:
            self._attribute(name, ())

    # --- data ----------------------------------------------------------------------------------------
    def _data(self, module: Module, definition: Definition) -> None:
        """Files beside a module that its code names, alone or inside a folder that it names."""
        folder = module.path.parent
        beside = _names_in(str(folder))
        texts = module.words if module.locates else definition.words
        folders = [folder]
        for word in definition.words:
            if word.split("/")[0].split("\\")[0] not in beside:
                continue
            path = folder / word
            if path.is_file():
                self._file(module, path)
            elif module.locates and path.is_dir() and not (path / "__init__.py").exists():
                folders.append(path)
        for place in folders[1:]:
            named = [place / w for w in texts if w and (place / w).is_file()]
            for path in named or sorted(p for p in place.rglob("*") if p.is_file()):
                self._file(module, path)

    def _file(self, module: Module, path: Path) -> None:
        if path.suffix not in {".py", ".pyc"}:
            self.reached.files[f"{label(module)}: {os.path.relpath(path, module.path.parent)}"] = path


def label(module: Module) -> str:
    """What a module is called in an identity: its name, or its file's where that is not its own."""
    own = module.name in {"__main__", "__mp_main__"} or module.name.startswith(f"{PACKAGE}_file_")
    return module.path.stem if own else module.name


def _candidates(folder: str, name: str) -> Iterator[Path]:
    for path in (Path(folder, name, "__init__.py"), Path(folder, f"{name}.py")):
        if path.is_file():
            yield path


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def defines(name: str, place: str, head: str) -> bool:
    """Whether a file is there and defines a name at its top."""
    path = Path(place)
    return path.is_file() and head in _parsed(name, path, stamp(path)).definitions


_known: dict[tuple[frozenset[Target], frozenset[str]], tuple[Reached, dict[Path, tuple[int, int]]]] = {}


def reach(targets: frozenset[Target], words: frozenset[str]) -> Reached:
    """What names reach, kept until one of the files has changed."""
    before = _known.get((targets, words))
    if before is not None and all(stamp(path) == at for path, at in before[1].items()):
        return before[0]
    reached = Walk().follow(sorted(targets), words)
    _known[targets, words] = reached, {path: stamp(path) for path in reached.files.values()}
    return reached
