"""Which code a class reaches: the modules, data files and installed packages behind a referee.

Source is read, never run. From a class's body and a few of its methods, names are followed through imports of
every form (at the top, inside functions, relative, starred, lazily exported), through bases, decorators and
constants. A method of a class that is reached counts where its name is mentioned in code that is reached, as
an attribute or a string. A module counts as a whole file once anything in it is reached; what is installed
counts by its version. So an edit of any file that may change what the class computes changes its identity,
and an edit of a file that it does not reach leaves it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from .definitions import Chain, Definition, Import, Module, parse

PACKAGE = __package__.partition(".")[0]
PROTOCOL = f"{__package__}.problem"
"""Where a problem's methods are listed by name; being listed there calls none."""
Stamp = tuple[int, int]
"""Size and time of change (ns) of a file."""
SETTLED = 1_000_000_000
"""Nanoseconds after which two changes of a file surely have two times: before, nothing is kept of it."""
Target = tuple[str, str, Chain]
"""A module, its file where it is known, and a dotted name in it."""
INERT = ("abc", "enum", "typing", "collections", "dataclasses")
"""Modules whose base classes call no method by a name of its own."""


@dataclass
class Found:
    """What is reached. files: label -> path. packages: names under which what is installed is imported."""

    files: dict[str, Path] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)


def read(path: Path) -> bytes:
    """The content of a file that counts."""
    return path.read_bytes()


def stamp(path: Path) -> Stamp:
    """The stamp of a file or folder; zeros where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def settled(at: Stamp) -> bool:
    """Whether a file was changed long enough ago for its stamp to tell the next change."""
    return time.time_ns() - at[1] > SETTLED


def module_at(name: str, path: Path) -> Module:
    """A module, read once while its file stays as it is."""
    at = stamp(path)
    return _parsed(name, path, at) if settled(at) else parse(name, path, read(path))


@lru_cache(maxsize=4096)
def _parsed(name: str, path: Path, at: Stamp) -> Module:
    return parse(name, path, read(path))


@cache
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(
        {os.path.realpath(paths[k]) + os.sep for k in ("stdlib", "platstdlib", "purelib", "platlib")}
    )


def is_installed(path: Path) -> bool:
    """Whether a file belongs to an installed package or to Python."""
    parts = path.parts
    real = os.path.realpath(path)
    return "site-packages" in parts or "dist-packages" in parts or real.startswith(_installed_folders())


class Walk:
    """Follows names until nothing new is reached."""

    def __init__(self) -> None:
        self._given: dict[str, Path] = {}
        self.reached = Found()
        self.words: set[str] = set()
        self._texts: set[str] = set()
        self._modules: dict[str, Module | None] = {}
        self._touched: set[str] = set()
        self._seen: set[int] = set()
        self._asked: set[tuple[str, Chain]] = set()
        self._methods: dict[str, list[tuple[Module, Definition]]] = {}
        self._listing: set[str] = set()
        self._pending: list[tuple[Module, Definition]] = []
        self._loading: dict[str, Module] = {}

    def follow(self, targets: Iterable[Target], words: Iterable[str]) -> Found:
        """All that targets reach; words: names of methods that are called."""
        targets = list(targets)
        for name, place, _ in targets:
            if place and place.endswith(".py"):
                self._given[name] = Path(place)
        for name, _, chain in targets:
            self._attribute(name, chain)
        self._mention(words, ())
        while self._pending:
            self._definition(*self._pending.pop())
        return self.reached

    # --- modules -------------------------------------------------------------------------------------
    def _find(self, name: str) -> Module | None:
        """A module to be read, or None for one that is installed, built in or not there."""
        if name not in self._modules:
            place = self._place(name) if all(name.split(".")) else None  # relative beyond the top
            self._modules[name] = None if place is None else module_at(name, place)
        return self._modules[name]

    def _place(self, name: str) -> Path | None:
        parent, _, last = name.rpartition(".")
        loaded = self._given.get(name) or getattr(sys.modules.get(name), "__file__", None)
        if not parent and (name in sys.stdlib_module_names or name in sys.builtin_module_names):
            return None
        own = None if parent or (loaded and is_installed(Path(loaded))) else self._neighbour(name)
        if own is not None:
            return own
        if loaded and Path(loaded).is_absolute() and Path(loaded).is_file():
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
        """Folders of the users' files that were given, from which their neighbours can be imported."""
        given = self._given.items()
        return sorted({str(path.parent) for name, path in given if name.partition(".")[0] != PACKAGE})

    def _neighbour(self, name: str) -> Path | None:
        """The file beside a user's own that an import of a name means, whatever other folders' files made of
        that name in this process."""
        spec = PathFinder.find_spec(name, self._beside()) if name != PACKAGE else None
        return Path(spec.origin) if spec and spec.has_location and spec.origin else None

    def _folders(self, package: str) -> list[str]:
        """Where the modules of a package lie."""
        top, *inner = package.split(".")
        own = self._neighbour(top) if self._place(top) is not None else None
        if own is not None and own.name == "__init__.py":
            return [str(own.parent.joinpath(*inner))]
        loaded = getattr(sys.modules.get(package), "__path__", None)
        if loaded is not None:
            return list(loaded)
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
                self._pending += [
                    (module, d) for d in module.definitions[name] if self._own_decorator(module, d)
                ]
            for target, attribute in module.loads:
                self._load(target, attribute)

    def _own_decorator(self, module: Module, definition: Definition) -> bool:
        """Whether something that is read, and so may keep what it decorates, decorates a definition."""
        heads = [chain[0] for chain in definition.decorators]
        sources = [target for head in heads for target, _ in module.imports.get(head, ())]
        return any(h in module.definitions for h in heads) or any(map(self._find, sources))

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
            elif (top := name.partition(".")[0]) not in {"", PACKAGE, *sys.stdlib_module_names}:
                self.reached.packages.add(top)
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
        for places in module.imports.values():
            for target, attribute in places:
                self._attribute(target, (attribute,) if attribute else ())

    def _named(self, module: Module, chain: Chain, local: Mapping[str, list[Import]]) -> bool:
        """Reach a dotted name as some code in a module reads it; whether the module has it."""
        head, rest = chain[0], chain[1:]
        known = head in local or head in module.definitions or head in module.imports
        for target, attribute in (*local.get(head, ()), *module.imports.get(head, ())):
            self._attribute(target, (attribute, *rest) if attribute else rest)
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
        self._mention(definition.words, () if module.name == PROTOCOL else definition.texts)
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
        inside = module.name.partition(".")[0] == PACKAGE  # its whole names are what users write
        for package in definition.listed - self._listing - ({""} if inside else set()):
            self._listing.add(package)
            for text in self._texts.copy():
                self._listed(package, text)
        self._data(module, definition)

    def _outside(self, module: Module, base: Chain, seen: frozenset[tuple[str, Chain]] = frozenset()) -> bool:
        """Whether a class descends from an installed one, whose code may call any method."""
        if (module.name, base) in seen:
            return False
        seen |= {(module.name, base)}
        for definition in module.definitions.get(base[0], ()):
            if any(self._outside(module, inner, seen) for inner in definition.bases):
                return True
        for target, attribute in module.imports.get(base[0], ()):
            chain = (attribute, *base[1:]) if attribute else base[1:]
            while chain and (found := self._find(target)) is not None:
                if chain[0] in found.definitions or chain[0] in found.imports:
                    if self._outside(found, chain, seen):
                        return True
                    break
                target, chain = f"{target}.{chain[0]}", chain[1:]
            else:
                if target.partition(".")[0] not in {PACKAGE, *INERT}:
                    return True
        return False

    def _mention(self, words: Iterable[str], texts: Iterable[str]) -> None:
        """Names of attributes, and texts that may be names: methods and modules called so are reached."""
        for text in set(texts) - self._texts:
            self._texts.add(text)
            for package in self._listing.copy():
                self._listed(package, text)
        for word in {*words, *texts} - self.words:
            self.words.add(word)
            self._pending += self._methods.pop(word, ())

    def _listed(self, package: str, text: str) -> None:
        """A module that is imported by a computed name, where some text that is reached says which."""
        inner = text.strip(".")
        name = f"{package}.{inner}" if package else inner
        if all(part.isidentifier() for part in inner.split(".")) and self._find(name) is not None:
            self._attribute(name, ())

    # --- data ----------------------------------------------------------------------------------------
    def _data(self, module: Module, definition: Definition) -> None:
        """Files beside a module that its code names, alone or inside a folder that it names."""
        folder = module.path.parent
        beside = _names_in(str(folder))
        texts = module.texts if module.locates else definition.texts
        folders = [folder]
        for word in definition.texts:
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
    return path.is_file() and head in module_at(name, path).definitions
