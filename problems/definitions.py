"""A module's source as what each of its definitions mentions: names, attributes, texts and imports."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

Chain = tuple[str, ...]
"""A dotted name: `np.linalg.norm` as ("np", "linalg", "norm")."""
Import = tuple[str, str | None]
"""A module, and the name taken from it where it is not the module itself."""
LONGEST = 120


@dataclass(eq=False)
class Definition:
    """What a function, a constant or a class mentions.

    chains: names read. words: attributes. texts: strings, which may name attributes, modules or files.
    imports: names bound by imports inside it, each with all its sources. loads: all that its imports load.
    methods: of a class, each on its own. listed: packages whose modules it imports by computed names,
    "" for whole names. open_class: attributes are read by computed names, so that any method may be called.
    """

    chains: set[Chain] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    loads: set[Import] = field(default_factory=set)
    stars: list[str] = field(default_factory=list)
    bases: list[Chain] = field(default_factory=list)
    decorators: list[Chain] = field(default_factory=list)
    methods: dict[str, list[Definition]] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    open_class: bool = False


@dataclass(eq=False)
class Module:
    """A module. body: what its top does beside defining names. acts: whether that may reach other modules.
    effects: names of what is decorated. loads: what importing it imports. locates: whether it asks where it
    lies. texts: strings anywhere in it. package: whether it holds modules."""

    name: str
    path: Path
    package: bool
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    loads: set[Import] = field(default_factory=set)
    stars: list[str] = field(default_factory=list)
    body: Definition = field(default_factory=Definition)
    acts: bool = False
    effects: list[str] = field(default_factory=list)
    locates: bool = False
    texts: set[str] = field(default_factory=set)


def parse(name: str, path: Path, source: bytes) -> Module:
    """Read a module; one that is no Python source (an extension, say) defines nothing."""
    module = Module(name, path, path.name == "__init__.py")
    if path.suffix != ".py":
        return module
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return module
    module.locates = any(w in source for w in (b"__file__", b"importlib.resources", b"pkgutil", b"__spec__"))
    _top(module, tree.body)
    if module.locates:
        constants = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
        module.texts = {str(value) for value in constants if _telling(value)}
    return module


def _top(module: Module, statements: list[ast.stmt]) -> None:
    for node in statements:
        match node:
            case ast.Import() | ast.ImportFrom():
                found = Definition()
                _import(module, node, found)
                for name, places in found.imports.items():  # several where one stands in for another
                    module.imports.setdefault(name, []).extend(places)
                module.loads |= found.loads
                module.stars += found.stars
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                made = _class(module, node) if isinstance(node, ast.ClassDef) else _gather(module, [node])
                made.decorators = [c for d in node.decorator_list if (c := _chain(d))]
                module.definitions.setdefault(node.name, []).append(made)
                if made.decorators:
                    module.effects.append(node.name)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                made = _gather(module, [node])
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name in (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)):
                    module.definitions.setdefault(name, []).append(made)
                if any(isinstance(t, ast.Attribute | ast.Subscript) for t in targets):  # of something else
                    module.acts = True
                    _collect(module, node, module.body)
            case ast.If() if _is_main(node.test):
                pass
            case ast.If() if _type_checking(node.test):
                _typed(module, node.body)
                _top(module, node.orelse)
            case ast.If():
                _collect(module, node.test, module.body)
                _top(module, [*node.body, *node.orelse])
            case ast.Try():
                inner = [s for h in node.handlers for s in h.body]
                _top(module, [*node.body, *inner, *node.orelse, *node.finalbody])
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                module.acts = True
                _collect(module, node, module.body)
                _top(module, getattr(node, "body", []))  # a loop, a `with`: names are bound in it too


def _typed(module: Module, statements: list[ast.stmt]) -> None:
    """Imports for type checkers say where lazily exported names live."""
    found = Definition()
    for node in statements:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _import(module, node, found)
    for name, places in found.imports.items():
        module.imports.setdefault(name, []).extend(places)


def _class(module: Module, node: ast.ClassDef) -> Definition:
    made = Definition()
    for part in (*node.decorator_list, *node.bases, *(k.value for k in node.keywords)):
        _collect(module, part, made)
    made.bases = [c for b in node.bases if (c := _chain(b))]
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            method = _gather(module, [statement])
            made.open_class |= method.open_class
            made.methods.setdefault(statement.name, []).append(method)
        elif isinstance(statement, ast.AnnAssign):
            _collect(module, statement.annotation, made)
            _collect(module, statement.target, made)
            if statement.value is not None:
                _collect(module, statement.value, made)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            _collect(module, statement, made)
    return made


def _gather(module: Module, nodes: list[ast.stmt]) -> Definition:
    made = Definition()
    for node in nodes:
        _collect(module, node, made)
    return made


def _collect(module: Module, start: ast.AST, into: Definition) -> None:
    """Add what a piece of code mentions; annotations of functions and locals are not run."""
    pending: list[ast.AST] = [start]
    while pending:
        node = pending.pop()
        kind = type(node)
        if kind is ast.Name:
            into.chains.add((node.id,))  # type: ignore[attr-defined]
        elif kind is ast.Attribute:
            chain = _chain(node)
            if chain:
                into.chains.add(chain)
                into.words.update(chain[1:])
            else:
                into.words.add(node.attr)  # type: ignore[attr-defined]
                pending.append(node.value)  # type: ignore[attr-defined]
        elif kind is ast.Constant:
            if _telling(node.value):  # type: ignore[attr-defined]
                into.texts.add(node.value)  # type: ignore[attr-defined]
        elif kind is ast.Import or kind is ast.ImportFrom:
            _import(module, node, into)
        elif kind is ast.FunctionDef or kind is ast.AsyncFunctionDef:
            arguments = node.args  # type: ignore[attr-defined]
            pending += node.body  # type: ignore[attr-defined]
            pending += node.decorator_list  # type: ignore[attr-defined]
            pending += [d for d in (*arguments.defaults, *arguments.kw_defaults) if d is not None]
        elif kind is ast.AnnAssign:
            pending.append(node.target)  # type: ignore[attr-defined]
            if node.value is not None:  # type: ignore[attr-defined]
                pending.append(node.value)  # type: ignore[attr-defined]
        else:
            if kind is ast.Call:
                _computed(module, node, into)  # type: ignore[arg-type]
            pending += ast.iter_child_nodes(node)


def _computed(module: Module, call: ast.Call, into: Definition) -> None:
    """Attributes and modules named by a computation."""
    name = (_chain(call.func) or ("",))[-1]
    if name == "getattr" and len(call.args) > 1 and isinstance(call.args[1], ast.JoinedStr | ast.BinOp):
        into.open_class = True
    if name in {"import_module", "__import__"} and call.args:
        first = call.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            target = _absolute(
                module, first.value.lstrip("."), len(first.value) - len(first.value.lstrip("."))
            )
            into.imports[f"import {target}"] = [(target, None)]
            into.chains.add((f"import {target}",))
        else:
            into.listed.add(_absolute(module, "", 1) if len(call.args) + len(call.keywords) > 1 else "")


def _import(module: Module, node: ast.AST, into: Definition) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            into.imports.setdefault(bound, []).append((alias.name if alias.asname else bound, None))
            into.loads.add((alias.name, None))
    elif isinstance(node, ast.ImportFrom):
        source = _absolute(module, node.module or "", node.level)
        for alias in node.names:
            if alias.name == "*":
                into.stars.append(source)
                into.loads.add((source, None))
            else:
                into.imports.setdefault(alias.asname or alias.name, []).append((source, alias.name))
                into.loads.add((source, alias.name))


def _absolute(module: Module, name: str, level: int) -> str:
    """The full name of a module that is imported relatively."""
    if not level:
        return name
    base = module.name.split(".")
    base = base[: len(base) - level + (1 if module.package else 0)]
    return ".".join([*base, name] if name else base)


def _chain(node: ast.AST) -> Chain | None:
    """A dotted name, or the dotted name that is called or indexed; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def _telling(value: object) -> bool:
    """Whether a constant may name an attribute, a module or a file."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST and "\n" not in value


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and _chain(test.left) == ("__name__",)


def _type_checking(test: ast.expr) -> bool:
    return (_chain(test) or ("",))[-1] == "TYPE_CHECKING"
