"""The pictures of an explanation, as plain Plotly figures (see `figures`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import units
from ..figures import GREEN, layout
from ..folder import RunFolder
from ..own import Hear, heard
from ..plots import ACCENT, FAINT, INK, axis_scale
from ..static import draw, png
from .explanation import FILE, SETTLED, Explanation
from .sensitivity import Reach, Sobol
from .worth import NO_LIMIT, Worth

Figure = dict[str, Any]
MOST_BARS = 12
MOST_WORTHS = 4


def keep(folder: RunFolder, explanation: Explanation, hear: Hear) -> None:
    """Write an explanation and its pictures into a run's folder; `hear` is told of what cannot be drawn."""
    figures: dict[str, Figure] = {}
    with heard(hear, "pictures of the explanation"):
        figures = explanation_figures(explanation)
    for name, figure in figures.items():
        with heard(hear, f"the picture '{name}'"):
            folder.write_bytes(f"figures/explain-{name}.png", png(draw(figure), 150))
    folder.write_json(FILE, {**explanation.record(), "figures": figures})


def explanation_figures(explanation: Explanation) -> dict[str, Figure]:
    """What there is to show, by name."""
    made: dict[str, Figure | None] = {}
    for worth in explanation.worths[:MOST_WORTHS]:
        made[f"worth-{worth.limit.metric}"] = worth_figure(worth)
    objective = explanation.goal.objectives[0].metric.replace("_", " ")
    made["one-change"] = reach_figure(explanation.reaches, objective)
    made["sobol"] = sobol_figure(explanation.indexes, objective)
    made["robustness"] = chances(explanation)
    made["measure"] = sources(explanation)
    return {name: figure for name, figure in made.items() if figure is not None}


def worth_figure(worth: Worth) -> Figure | None:
    """The objective against the bound: re-solves, the answer, the dual's tangent."""
    limit, objective = worth.limit, worth.objective
    points = [(limit.bound, worth.value)]
    points += [(v.bound, v.value) for v in worth.levels if v.value is not None and v.share != NO_LIMIT]
    free = next((v.value for v in worth.levels if v.share == NO_LIMIT), None)
    if free is not None and worth.enough is not None:
        points.append((worth.enough, free))
    points.sort()
    if len(points) < 3 or len({value for _, value in points}) < 2:
        return None
    x, y = (np.array(side, float) for side in zip(*points, strict=True))
    (fx, lx), (fy, ly) = axis_scale(x, _named(limit.metric, limit.unit)), axis_scale(y, objective)
    how = "recorded answers" if worth.seen else "solved again"
    data = [
        {"type": "scatter", "mode": "lines+markers", "name": how, "x": x / fx, "y": y / fy,
         "line": {"color": INK, "width": 1.5}, "marker": {"size": 6, "color": INK},
         "hovertemplate": "%{x:.4g}: %{y:.5g}<extra></extra>"},
        {"type": "scatter", "mode": "markers", "name": "now",
         "x": [limit.bound / fx], "y": [worth.value / fy],
         "marker": {"size": 14, "symbol": "circle-open", "color": ACCENT, "line": {"width": 3}}},
    ]  # fmt: skip
    if worth.price is not None and worth.price != 0:
        ends = limit.bound * np.array([0.92, 1.08])
        name = "dual of the relaxation" + (" (off here)" if worth.off and not worth.trusted else "")
        tangent = worth.value + worth.price * (ends - limit.bound + limit.sign * worth.slack)
        data.insert(
            1,
            {"type": "scatter", "mode": "lines", "name": name, "x": ends / fx,
             "y": tangent / fy, "line": {"color": GREEN, "width": 1.5, "dash": "dash"}},
        )  # fmt: skip
    words = limit.metric.replace("_", " ")
    held = "held objective" if worth.held else "limit"
    return {"data": data, "layout": layout(f"What the {held} on {words} is worth", f"bound on {lx}", ly)}


def _named(metric: str, unit: str) -> Any:
    from ...problems.goal import Objective

    return Objective(metric, "min", unit)


def reach_figure(reaches: tuple[Reach, ...], objective: str) -> Figure | None:
    """How far each entry moves the objective from the answer."""
    shown = list(reversed(reaches[:MOST_BARS]))
    if not shown:
        return None

    def bars(name: str, width: float, colour: str, ends: Callable[[Reach], tuple[float, float]]) -> Figure:
        low = np.array([min(0.0, np.nan_to_num(ends(r)[0])) for r in shown])
        high = np.array([max(0.0, np.nan_to_num(ends(r)[1])) for r in shown])
        return {
            "type": "bar", "orientation": "h", "name": name, "width": width, "marker": {"color": colour},
            "y": [r.name for r in shown], "base": 100 * low, "x": 100 * (high - low),
        }  # fmt: skip

    data = [bars("stays feasible", 0.34, INK, lambda r: (r.low, r.high))]
    beyond = any(math.isnan(r.low) or r.all_low < r.low - 1e-12 or r.all_high > r.high + 1e-12 for r in shown)
    if beyond:
        data.insert(0, bars("leaves a limit", 0.66, FAINT, lambda r: (r.all_low, r.all_high)))
    count = f" ({len(shown)} of {len(reaches)})" if len(shown) < len(reaches) else ""
    frame = _categories(f"One change from the answer{count}", f"change of {objective}, %", shown)
    return {"data": data, "layout": frame | {"barmode": "overlay", "shapes": [_zero()]}}


def _categories(title: str, label: str, shown: list[Any]) -> dict[str, Any]:
    return _named_rows(title, label, [s.name for s in shown])


def _named_rows(title: str, label: str, names: list[str]) -> dict[str, Any]:
    axis = {"categoryorder": "array", "categoryarray": names, "automargin": True, "ticks": ""}
    return layout(title, label, "", yaxis=axis)


def _zero() -> dict[str, Any]:
    return {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": ACCENT, "width": 1.5}}  # fmt: skip


def sobol_figure(indexes: tuple[Sobol, ...], objective: str) -> Figure | None:
    """Total and first-order indexes with their 95 % intervals."""
    shown = list(reversed(indexes[:MOST_BARS]))
    if not shown:
        return None
    names = [s.name for s in shown]

    def bars(name: str, width: float, colour: str, values: list[float], errors: list[float]) -> Figure:
        return {
            "type": "bar", "orientation": "h", "name": name, "width": width, "marker": {"color": colour},
            "y": names, "x": [max(v, 0.0) for v in values], "error_x": {"type": "data", "array": errors},
        }  # fmt: skip

    data = [
        bars(
            "with all it interacts with",
            0.66,
            FAINT,
            [s.total for s in shown],
            [s.total_error for s in shown],
        ),
        bars("alone", 0.34, INK, [s.first for s in shown], [s.first_error for s in shown]),
    ]
    frame = _categories(f"What {objective} depends on, over the whole space", "share of its variance", shown)
    return {"data": data, "layout": frame | {"barmode": "overlay"}}


def chances(explanation: Explanation) -> Figure | None:
    """How often the answer is best under draws, and what is best where it is not."""
    made = explanation.robustness
    if made is None or not made.moved or made.candidates < 2:
        return None
    rows = [("the answer", made.best, ACCENT)]
    rows += [
        ("runner-up" if place == 0 else f"another ({place + 1})", share, INK)
        for place, (_, share) in enumerate(made.rivals)
    ]
    rows.reverse()
    names = [name for name, _, _ in rows]
    data = [{
        "type": "bar", "orientation": "h", "y": names, "x": [100 * share for _, share, _ in rows],
        "marker": {"color": [colour for *_, colour in rows]}, "width": 0.6,
        "text": [units.percent(share) for _, share, _ in rows],
    }]  # fmt: skip
    title = f"Which is best, in {made.draws:,} {explanation.drawn}"
    return {"data": data, "layout": _named_rows(title, "% of draws", names)}


def sources(explanation: Explanation) -> Figure | None:
    """The chance of a right choice once a source of error is known."""
    made = explanation.robustness
    if made is None:
        return None
    shown = [s for s in made.sources if s.lift > 0.005 or s.share > 0.01][:MOST_BARS]
    if not shown or made.right >= SETTLED:
        return None
    shown.reverse()
    names = [s.name for s in shown]
    data = [{
        "type": "bar", "orientation": "h", "y": names, "x": [100 * s.right for s in shown],
        "width": min(0.6, 0.15 * len(shown)),
        "marker": {"color": INK}, "text": [units.percent(s.right) for s in shown],
    }]  # fmt: skip
    title = f"Chance of a right choice once a source is measured (line: {units.percent(made.right)} now)"
    frame = _categories(title, "% of draws", shown)
    line = {**_zero(), "x0": 100 * made.right, "x1": 100 * made.right}
    return {"data": data, "layout": frame | {"shapes": [line]}}
