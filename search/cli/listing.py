"""`optimize list`, `show` and `devices`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import NotReady
from ...problems.registry import entries
from .console import console, print_json, rows, table

if TYPE_CHECKING:
    from ...problems.problem import Problem


def list_problems(json: bool) -> None:
    """Problems by domain."""
    listed = entries()
    if json:
        print_json(
            [{"name": e.name, "domain": e.domain, "summary": e.summary, "target": e.target} for e in listed]
        )
        return
    shown = rows(table("", "problem", "domain", "decides"), [(e.name, e.domain, e.summary) for e in listed])
    console().print(shown)
    console().print("\n[dim]next[/]  optimize show NAME · optimize run NAME · optimize new NAME")


def list_solvers(json: bool) -> None:
    """Solvers with the first line of what they do."""
    from ...solvers.portfolio import SOLVERS, make

    listed = []
    for name in SOLVERS:
        solver = make(name)
        doc = (type(solver).__doc__ or "").strip().splitlines()[0]
        listed.append((name, doc))
    if json:
        print_json([{"name": n, "summary": d} for n, d in listed])
        return
    console().print(
        rows(table("", "solver", "method"), [("auto", "the first that fits; it says why"), *listed])
    )


def show_problem(name: str, arguments: list[str], json: bool) -> None:
    """Parameters, variables, metrics, goal, views and size of a problem; nothing is computed for it."""
    from ...problems.readiness import looking

    with looking():
        _show(name, arguments, json)


def _show(name: str, arguments: list[str], json: bool) -> None:
    import inspect

    from ...problems.parameters import declared, shown
    from ...problems.problem import Problem
    from ...problems.variables import Var
    from ...units import count
    from .arguments import make_problem

    problem = make_problem(name, arguments)
    known = declared(type(problem))
    views = [
        view
        for view in ("milp_view", "packing_view", "jobs_view")
        if getattr(type(problem), view) is not getattr(Problem, view)
    ]
    auto: str | None
    digest: str | None
    try:
        domains, size, missing = dict(problem.space.domains), problem.space.size, ""
        auto, digest = _auto(problem), problem.digest
    except NotReady as unknown:
        domains, size, missing = {}, None, str(unknown)
        auto = digest = None
    variables = []
    for key, declaration in problem._declared.items():
        if isinstance(declaration, Var):
            active = ", ".join(f"{k} = {_names(v)}" for k, v in declaration.when.items())
            domain = domains[key].describe() if key in domains else missing
            variables.append((key, domain, declaration, f"active where {active}" if active else ""))
    parameters = [(p.flag, shown(getattr(problem, n), p.unit), p.takes, p.help) for n, p in known.items()]
    metrics = [
        (n, m.unit, {"min": "minimise", "max": "maximise"}.get(m.direction or "", ""), m.help)
        for n, m in problem.metrics.items()
    ]
    if json:
        print_json(
            {
                "name": name,
                "description": inspect.getdoc(type(problem)),
                "size": size,
                "parameters": [{"flag": f, "value": v, "type": t, "help": h} for f, v, t, h in parameters],
                "variables": [
                    {"name": n, "domain": d, "unit": v.unit, "help": v.help, "when": w}
                    for n, d, v, w in variables
                ],
                "metrics": [{"name": n, "unit": u, "direction": d} for n, u, d, _ in metrics],
                "goal": problem.default_goal.record(),
                "views": views,
                "auto": auto,
                "digest": digest,
            }
        )
        return
    out = console()
    out.print(f"[bold]{name}[/]  {inspect.getdoc(type(problem)) or ''}\n")
    if parameters:
        out.print(rows(table("parameters", "option", "value", "takes", ""), parameters), "")
    decided = [(n, d, "; ".join(filter(None, (v.help, w)))) for n, d, v, w in variables]
    out.print(rows(table("variables", "name", "domain", ""), decided), "")
    out.print(rows(table("metrics", "name", "unit", "goal", ""), metrics), "")
    out.print(f"[dim]goal  [/]  {problem.default_goal.describe()}")
    if not missing:
        points = "no end of points" if size is None else f"{count(size)} points"
        out.print(f"[dim]space [/]  {points}, {problem.space.scalars} scalar decisions")
    out.print(f"[dim]views [/]  {', '.join(v.removesuffix('_view') for v in views) or 'none'}")
    if auto:
        out.print(f"[dim]auto  [/]  {auto}")
    out.print(f"[dim]next  [/]  optimize run {name} · optimize check {name}")


def _auto(problem: Problem) -> str:
    """The solver that `auto` is going to take, or why there is none."""
    from ...errors import TradespaceError
    from ...solvers.base import Budget
    from ...solvers.portfolio import foreseen

    try:
        return foreseen(problem, problem.default_goal, Budget(evaluations=None, seconds=60.0))
    except NotReady:
        raise
    except TradespaceError as error:
        return str(error)


def _names(value: Any) -> str:
    from ...problems.variables import label_name

    options = value if isinstance(value, tuple | list | set | frozenset) else [value]
    return " or ".join(label_name(v) for v in options)


def run_help(text: str, name: str | None) -> None:
    """Help of `run`, and with a problem its parameters."""
    print(text)
    if name is None:
        return
    from ...problems.parameters import declared, shown
    from ...problems.registry import load

    cells = [
        (p.flag, p.takes, "" if p.required else shown(p.default, p.unit), p.help)
        for p in declared(load(name)).values()
    ]
    console().print(rows(table(f"Parameters of {name}", "option", "takes", "default", ""), cells))


def list_devices(json: bool) -> None:
    """The catalog of devices."""
    from ...hardware import device, names
    from ...units import show

    listed = []
    for name in names():
        record = device(name)
        memory, bandwidth = record.memory, record.bandwidth
        best = max(record.dtypes, key=lambda d: float(record.peak(d))) if record.dtypes else ""
        peak = (
            f"{show(float(record.peak('fp16')), 'flop/s')} fp16"
            if "fp16" in record.dtypes
            else f"{show(float(record.peak(best)), 'flop/s')} {best}"
            if best
            else ""
        )
        listed.append(
            (name, record.kind, record.family, show(float(memory), "B"), show(float(bandwidth), "B/s"), peak)
        )
    if json:
        keys = ("name", "kind", "family", "memory", "bandwidth", "peak")
        print_json([dict(zip(keys, row, strict=True)) for row in listed])
        return
    heads = ("device", "kind", "family", "memory", "bandwidth", "peak")
    console().print(rows(table("", *heads, right=heads[3:]), listed))
    console().print("\n[dim]next[/]  optimize devices NAME shows each number with its source")


def show_device(name: str, json: bool) -> None:
    """Each number of one device with unit, source and kind."""
    from ...hardware import describe

    found = describe(name)
    if json:
        print_json(
            [
                {"field": r.field, "value": r.value, "unit": r.unit, "source": r.source, "kind": r.kind}
                for r in found
            ]
        )
        return
    cells = [(r.field, _quantity(r), r.kind, r.source) for r in found]
    console().print(rows(table(name, "field", "value", "kind", "source", right=("value",)), cells))


def _quantity(row: Any) -> str:
    from ... import units
    from ...hardware import show

    if row.low is not None or row.high is not None:
        return f"{show(row)} ({units.show(row.low, row.unit)} to {units.show(row.high, row.unit)})"
    return show(row)
