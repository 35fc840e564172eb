"""A run as one HTML page that needs nothing else: question, answer, certificate, why, and where from.

Pictures are inline SVG (PNG where an SVG would be large), styles are in the page, nothing is fetched and
no script runs; it prints on A4 or letter.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from .. import units
from ..problems.goal import ResolvedGoal
from ..problems.parameters import declared, shown
from ..problems.problem import Problem
from .applied import kept
from .figures import convergence, front
from .folder import RunFolder
from .own import headline, heard, own_figures, summary
from .result import Result
from .session import Session
from .static import MOST_SVG, draw, png, svg
from .study import Chosen, provenance_rows
from .trust.explanation import FILE
from .values import in_words

FRONT_ROWS = 12
POINT_ROWS = 40


def page(session: Session, result: Result) -> str:
    """The page of a run's result."""
    problem, goal, folder = session.problem, session.goal, session.folder
    chosen = Chosen(session, result)
    improved = not goal.single or len(session.archive.incumbents) > 1
    parts = [
        _question(problem, goal),
        _answer(problem, goal, result),
        _certificate(result),
        _front(problem, goal, result, front(session, result, chosen)),
        _search(result, convergence(session, result) if improved else None),
        _explanation(problem, folder, result),
        _applied(folder),
        _own(problem, result),
        _provenance(problem, result),
    ]
    title = f"{result.problem} · run {folder.id if folder else ''}"
    lead = headline(problem, session.note) or (type(problem).__doc__ or "").strip().split("\n")[0]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style()}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>'
        + "\n".join(part for part in parts if part)
        + "</body></html>\n"
    )


def style() -> str:
    """The style sheet of the page."""
    return files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> str:
    """An HTML table; the columns named in `right` are set to the right."""
    kinds = [' class="n"' if head in right else "" for head in heads]
    top = "".join(f"<th{k}>{escape(h)}</th>" for h, k in zip(heads, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{_html(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _html(cell: Any) -> str:
    if isinstance(cell, Markup):
        return cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int | float):
        return f"{cell:,.4g}" if abs(cell) < 1e4 else f"{cell:,.0f}" if abs(cell) < 1e9 else f"{cell:.4g}"
    return escape("" if cell is None else str(cell))


def _sentence(text: str) -> str:
    return text + ("" if text.endswith((".", "!", "?")) else ".")


def _section(title: str, *parts: str) -> str:
    inner = "".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>{inner}</section>" if inner else ""


def picture(figure: Any, caption: str = "") -> str:
    """A matplotlib figure inline, with its caption."""
    text = svg(figure)
    if len(text) > MOST_SVG:
        content = base64.b64encode(png(figure, 144)).decode()
        text = f'<img alt="{escape(caption)}" src="data:image/png;base64,{content}">'
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{text}{told}</figure>"


def _question(problem: Problem, goal: ResolvedGoal) -> str:
    size = problem.space.size
    points = "an endless space" if size is None else f"{units.count(size)} points"
    words = goal.describe()
    told = (
        f"{words[0].upper()}{_sentence(words[1:])} Over {points}, {problem.space.scalars:,} scalar decisions."
    )
    known = declared(type(problem))
    rows = [
        (name, _parameter(value, known[name].unit), known[name].help)
        for name, value in problem.parameters.items()
        if value is not None
    ]
    rows += [(f"fixed {name}", str(value)[:120], "") for name, value in problem._pins.items()]
    listed = table(("parameter", "value", "what it is"), rows) if rows else ""
    return _section("Question", f"<p>{escape(told)}</p>", listed)


def _parameter(value: Any, unit: str) -> str:
    text = shown(value, unit)
    return text if len(text) <= 120 else text[:116] + " ..."


def _answer(problem: Problem, goal: ResolvedGoal, result: Result) -> str:
    if result.best is None:
        return _section("Answer", f"<p>No point was scored: {escape(result.stop_reason)}.</p>")
    lead = ""
    if not result.feasible:
        lead = "<p><b>No feasible point was found.</b> The least violating one:</p>"
    wanted = {o.metric: "minimised" if o.direction == "min" else "maximised" for o in goal.objectives}
    rows = []
    for name, metric in problem.metrics.items():
        value, sigma = result.metrics[name], result.sigma.get(name)
        shown = units.show(value, metric.unit) + (f" ± {100 * sigma:.2g} %" if sigma else "")
        limits = [v for v in goal.limits if v.metric == name and np.isfinite(v.bound)]
        bounds = ", ".join(f"{v.sense} {units.show(v.bound, v.unit, 5)}" for v in limits)
        slack = ", ".join(_slack(v.sign * (v.bound - value), v.unit) for v in limits)
        strong = Markup(f"<b>{escape(shown)}</b>") if name in wanted else shown
        row: list[Any] = [name.replace("_", " "), strong, wanted.get(name, ""), bounds, slack]
        if result.start:
            row.append(units.show(result.start.get(name), metric.unit))
        if result.replications:
            mean, half, seeds = result.replications[name]
            row.append(
                f"{units.show(mean, metric.unit)} ± {units.show(half, metric.unit, 2)} ({seeds} seeds)"
            )
        rows.append(row)
    heads = ["metric", "value", "", "limit", "slack"]
    heads += ["your start"] if result.start else []
    heads += ["on fresh seeds, 95 %"] if result.replications else []
    return _section("Answer", lead, table(heads, rows), _point(problem, result))


def _slack(spare: float, unit: str) -> str:
    return f"{'slack' if spare >= 0 else 'over by'} {units.show(abs(spare), unit, 3)}"


def _point(problem: Problem, result: Result) -> str:
    """The problem's own table of the plan where it has one, and the scalar variables."""
    best = result.best or {}
    faults: list[str] = []
    own = rows_table(summary(problem, best, faults.append)) if result.feasible else ""
    own += _note(faults)
    kept = [n for n, v in best.items() if not (own and isinstance(v, list))]
    domains = problem.space.domains
    rows = [(n, in_words(best[n], domains[n]), domains[n].help) for n in kept[:POINT_ROWS]]
    width = 3 if any(words for *_, words in rows) else 2
    heads = ("variable", "value", "what it is")[:width]
    more = f'<p class="note">{len(kept) - POINT_ROWS} more variables.</p>' if len(kept) > POINT_ROWS else ""
    return own + (table(heads, [row[:width] for row in rows]) + more if rows else "")


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of named cells as a table; empty columns are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [n for n in names if any(row.get(n) not in {None, ""} for row in rows)]
    numeric = [n for n in names if all(isinstance(row.get(n), int | float | type(None)) for row in rows)]
    return table(names, [[row.get(n) for n in names] for row in rows], numeric) if rows and names else ""


def _certificate(result: Result) -> str:
    certificate = result.certificate
    gap = (
        f", gap {certificate.gap:.2g}" if certificate.kind == "bound" and certificate.gap is not None else ""
    )
    assumed = (
        f"<p>Assumes {escape('; '.join(certificate.assumptions))}.</p>" if certificate.assumptions else ""
    )
    chip = f'<span class="chip {certificate.kind}">{certificate.kind}{gap}</span>'
    return _section("Certificate", f"<p>{chip} {escape(_sentence(certificate.statement))}</p>", assumed)


def _front(problem: Problem, goal: ResolvedGoal, result: Result, figure: Mapping[str, Any] | None) -> str:
    if result.front_size < 2:
        return ""
    first = goal.objectives[0]
    order = np.argsort(first.sign * result.front_columns[first.metric], kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, FRONT_ROWS).astype(int))]
    scalar = [n for n, d in problem.space.domains.items() if not d.width and d.pinned is None][:6]
    names = [o.metric for o in goal.objectives]
    rows = [
        [
            int(row),
            *(units.show(float(result.front_columns[n][row]), problem.metrics[n].unit) for n in names),
            *(problem.space.domains[n].shown(result.front_columns[n][row].item()) for n in scalar),
        ]
        for row in shown
    ]
    heads = ("row", *(n.replace("_", " ") for n in names), *scalar)
    told = f"<p>{result.front_size:,} points are best in some respect; {len(rows)} of them:</p>"
    return _section("Front", picture(draw(figure)) if figure else "", told, table(heads, rows, ("row",)))


def _search(result: Result, figure: Mapping[str, Any] | None) -> str:
    told = (
        f"Solver {result.solver} ({result.why}); {result.evaluations:,} rows in {result.seconds:.2f} s; "
        f"stopped: {result.stop_reason}."
    )
    notes = "".join(f'<p class="note">{escape(_sentence(note))}</p>' for note in result.notes)
    return _section("Search", f"<p>{escape(told)}</p>", notes, picture(draw(figure)) if figure else "")


def _explanation(problem: Problem, folder: RunFolder | None, result: Result) -> str:
    """What `optimize explain` stored, where it is of this answer."""
    if folder is None or not (folder.path / FILE).is_file():
        hint = f"Not made yet: <code>optimize explain {escape(folder.id if folder else 'RUN')}</code>."
        return _section("Explanation", f'<p class="note">{hint}</p>') if result.feasible else ""
    told = folder.read_json(FILE)
    if told.get("best", {}).get("point") != result.best:
        hint = f"The stored one is of an earlier answer: <code>optimize explain {escape(folder.id)}</code>."
        return _section("Explanation", f'<p class="note">{hint}</p>')
    figures = dict(told.get("figures", {}))
    placed = {
        "What each limit is worth": [n for n in figures if n.startswith("worth-")],
        "What matters": ["one-change", "sobol"],
        "How sure the choice is": ["robustness", "measure"],
    }
    parts = []
    for section in told["sections"]:
        lines = "".join(f"<li>{escape(_sentence(s))}</li>" for s in section["sentences"])
        parts.append(f'<div class="keep"><h3>{escape(section["title"])}</h3><ul>{lines}</ul></div>')
        if section["title"] == "What each limit is worth":
            parts.append(_worths(problem, told["limits"]))
        parts += [picture(draw(figures[n])) for n in placed.get(section["title"], ()) if n in figures]
    for title, rows in told.get("own", {}).items():
        if isinstance(rows, list):
            parts.append(f"<h3>{escape(title)}</h3>{rows_table(rows)}")
    notes = "".join(f'<p class="note">{escape(_sentence(n))}</p>' for n in told.get("notes", []))
    return _section("Explanation", *parts, notes)


def _worths(problem: Problem, limits: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for worth in limits:
        unit = problem.metrics[worth["objective"]].unit
        by = {level["share"]: level["value"] for level in worth["levels"]}
        cells = [by.get(-0.1), by.get(-0.01), worth["value"], by.get(0.01), by.get(0.1), by.get(None)]
        name = worth["limit"] + (" (held)" if worth["held_objective"] else "")
        rows.append([name, *("none known" if c is None else units.show(c, unit, 5) for c in cells)])
    heads = ("limit", "-10 %", "-1 %", "now", "+1 %", "+10 %", "without")
    named = limits[0]["objective"].replace("_", " ") if limits else ""
    return f'<p class="note">{escape(named)} with the bound moved:</p>' + table(heads, rows, heads[1:])


def _applied(folder: RunFolder | None) -> str:
    """What `optimize apply` measured last."""
    told = kept(folder) if folder is not None else None
    if folder is None or told is None:
        return ""
    words = ["optimize apply", folder.id, *(f"--{name} {value}" for name, value in told["options"].items())]
    command = f"<code>{escape(' '.join(words))}</code>"
    listed = "".join(f"<li>{escape(_sentence(str(event)))}</li>" for event in told["events"])
    return _section(
        "Applied", f"<p>{command} measured:</p>", rows_table(told["rows"]), listed and f"<ul>{listed}</ul>"
    )


def _own(problem: Problem, result: Result) -> str:
    pictures, faults = [], list[str]()
    with heard(faults.append, "the problem's own pictures"):
        for name, figure in own_figures(problem, result).items() if result.feasible else ():
            with heard(faults.append, f"the picture '{name}'"):
                pictures.append(picture(figure, name.replace("_", " ")))
    return _section("Figures", *pictures, _note(faults))


def _note(sentences: Sequence[str]) -> str:
    """Sentences of what is missing, if there are any."""
    return "".join(f'<p class="note">{escape(_sentence(sentence))}</p>' for sentence in sentences)


def _provenance(problem: Problem, result: Result) -> str:
    rows = [(what, value.strip("`")) for what, value in provenance_rows(result).items()]
    rows.append(("seed", str(result.provenance.get("seed", ""))))
    point = ""
    if result.best is not None and len(json.dumps(result.best)) < 4_000:
        point = f"<p>The answer as data: <code>{escape(json.dumps(result.best))}</code></p>"
    return _section("Provenance", table(("what", "value"), rows), point)
