"""Interactive figures of a run for its study: the front, convergence, sensitivity.

Each is a plain Plotly figure (`{"data": ..., "layout": ...}`), so that nothing is imported to make it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import TradespaceError
from ..problems.batch import Batch
from ..problems.domain import label_name
from ..problems.goal import Objective
from ..problems.scoring import evaluate
from .own import heard, own_figures
from .plots import ACCENT, FAINT, INK, axis_scale
from .quality import Quality, rows_before
from .result import Result
from .session import Session
from .trust.sensitivity import moves, one_at_a_time

if TYPE_CHECKING:
    from .study import Chosen

Array = npt.NDArray[Any]
Figure = dict[str, Any]
GRID, GREEN = "#e4e7eb", "#0f766e"
HOVER_VARIABLES = 8
CHECKPOINTS = 48
HEIGHT = 440


def study_figures(session: Session, result: Result, chosen: Chosen) -> dict[str, Figure]:
    """The figures that a run has something to show for, by name."""
    draws: dict[str, Callable[[], Figure | None]] = {
        "front": lambda: front(session, result, chosen),
        "convergence": lambda: convergence(session, result),
        "sensitivity": lambda: sensitivity(session, result),
    }
    made: dict[str, Figure] = {}
    for name, draw in draws.items():
        with heard(session.note, f"the picture of the {name}"):
            figure = draw()
            made |= {} if figure is None else {name: figure}
    return made | own(session, result)


def own(session: Session, result: Result) -> dict[str, Figure]:
    """The problem's own pictures; a problem that fails to draw says so in the notes."""
    from .static import as_plot

    made: dict[str, Figure] = {}
    with heard(session.note, "the problem's own pictures"):
        for name, figure in own_figures(session.problem, result).items():
            with heard(session.note, f"the picture '{name}'"):
                made[name] = as_plot(figure, name)
    return made


def layout(title: str, x: str, y: str, **more: Any) -> dict[str, Any]:
    """The frame that all figures share."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": FAINT, "ticks": "outside", "tickcolor": FAINT}
    frame = {
        "title": {"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 16}},
        "font": {"family": "Inter, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "white", "plot_bgcolor": "white", "height": HEIGHT,
        "margin": {"l": 80, "r": 24, "t": 56, "b": 96},
        "xaxis": {**axis, "title": {"text": x}, **more.pop("xaxis", {})},
        "yaxis": {**axis, "title": {"text": y}, **more.pop("yaxis", {})},
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
    }  # fmt: skip
    return frame | more


def front(session: Session, result: Result, chosen: Chosen) -> Figure | None:
    """The first two objectives against each other: sampled rows, the front, the answer, the start."""
    goal = session.goal
    if goal.single or not len(chosen.ids):
        return None
    first, second = goal.objectives[:2]
    (fx, lx), (fy, ly) = (axis_scale(_finite(chosen.scores.metrics[o.metric]), o) for o in (first, second))
    x, y = chosen.scores.metrics[first.metric] / fx, chosen.scores.metrics[second.metric] / fy
    member, feasible = chosen.role == 3, chosen.feasible
    answer = chosen.role == 5
    drawn = np.isfinite(x) & np.isfinite(y)
    words = _hover(chosen.batch)

    def trace(rows: Array, name: str, marker: dict[str, Any], **more: Any) -> dict[str, Any]:
        rows = np.flatnonzero(rows & drawn)
        return {
            "type": "scatter", "mode": "markers", "name": name, "x": x[rows], "y": y[rows],
            "marker": marker, "text": [words[i] for i in rows],
            "hovertemplate": "%{x:.4g}, %{y:.4g}<br>%{text}<extra></extra>", **more,
        }  # fmt: skip

    data = []
    if (~feasible).any():
        data.append(
            trace(
                ~feasible, "infeasible", {"color": FAINT, "size": 5, "symbol": "x-thin-open", "opacity": 0.6}
            )
        )
    rest = feasible & ~member & ~answer
    if rest.any():
        data.append(trace(rest, "scored", {"color": "#7b8794", "size": 5, "opacity": 0.55}))
    count = f"front ({result.front_size:,})"
    line = {"color": INK, "width": 1.2, "shape": "hv" if first.sign > 0 else "vh"}
    marker: dict[str, Any] = {"color": INK, "size": 7}
    if len(goal.objectives) > 2:
        third = goal.objectives[2]
        f3, l3 = axis_scale(_finite(chosen.scores.metrics[third.metric]), third)
        shade = chosen.scores.metrics[third.metric] / f3
        where = np.flatnonzero((member | answer) & drawn)
        marker = {
            "color": shade[where],
            "size": 7,
            "showscale": True,
            "colorscale": "Viridis",
            "colorbar": {"title": {"text": l3}},
        }
        data.append(trace(member | answer, count, marker))
    elif (member | answer).any():
        made = trace((member | answer) & feasible, count, marker, mode="lines+markers", line=line)
        order = np.argsort(made["x"], kind="stable")
        made |= {"x": made["x"][order], "y": made["y"][order], "text": [made["text"][i] for i in order]}
        data.append(made)
    if answer.any():
        data.append(
            trace(
                answer, "answer", {"size": 16, "symbol": "circle-open", "color": ACCENT, "line": {"width": 3}}
            )
        )
    if result.start and np.isfinite([result.start[o.metric] for o in (first, second)]).all():
        data.append({
            "type": "scatter", "mode": "markers", "name": "your start",
            "x": [result.start[first.metric] / fx], "y": [result.start[second.metric] / fy],
            "marker": {"size": 12, "symbol": "x", "color": ACCENT},
        })  # fmt: skip
    title = f"{_words(first)} against {_words(second)}"
    frame = layout(title, lx, ly)
    for axis, column, objective in (("x", x, first), ("y", y, second)):
        held = column[(feasible if feasible.any() else drawn) & drawn]
        frame[f"{axis}axis"] |= _log_axis(held)
        for limit in session.goal.limits:
            if limit.metric == objective.metric and np.isfinite(limit.bound):
                at = limit.bound / (fx if axis == "x" else fy)
                frame.setdefault("shapes", []).append(_limit_line(axis, at))
                frame.setdefault("annotations", []).append(
                    _limit_label(axis, at, str(limit), frame[f"{axis}axis"])
                )
    return {"data": data, "layout": frame}


def _limit_line(axis: str, at: float) -> dict[str, Any]:
    line = {"color": ACCENT, "width": 1.2, "dash": "dot"}
    ends = (
        {"x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper"}
        if axis == "x"
        else {"y0": at, "y1": at, "x0": 0, "x1": 1, "xref": "paper"}
    )
    return {"type": "line", "line": line, **ends}


def _limit_label(axis: str, at: float, text: str, frame: dict[str, Any]) -> dict[str, Any]:
    place = float(np.log10(at)) if frame.get("type") == "log" and at > 0 else at
    common = {"text": text, "showarrow": False, "font": {"size": 11, "color": ACCENT}}
    if axis == "x":
        return {
            **common,
            "x": place,
            "y": 1,
            "yref": "paper",
            "xanchor": "right",
            "yanchor": "top",
            "textangle": -90,
        }
    return {**common, "y": place, "x": 1, "xref": "paper", "xanchor": "right", "yanchor": "bottom"}


def _log_axis(values: Array) -> dict[str, Any]:
    """A logarithmic axis where positive values spread over more than a factor of 30."""
    values = values[np.isfinite(values)]
    if len(values) < 2 or values.min() <= 0 or values.max() <= 30 * values.min():
        return {}
    return {"type": "log", "dtick": 1 if values.max() > 1e3 * values.min() else "D2"}


def convergence(session: Session, result: Result) -> Figure | None:
    """How the answer came: the best value and the bound over time, or over scored rows."""
    goal = session.goal
    if not goal.single:
        return _hypervolume(session)
    objective = goal.objectives[0]
    incumbents = session.archive.incumbents
    if any(bound is not None for _, _, bound in session.bounds):
        return _closing(session, result, objective)
    if not incumbents or session.archive.rows < 2:
        return None
    rows = np.r_[rows_before(session, np.array([i for i, _ in incumbents])) + 1, session.archive.rows].astype(
        float
    )
    values = objective.sign * np.array([c for _, c in incumbents] + [incumbents[-1][1]])
    factor, label = axis_scale(values, objective)
    data = [_stairs(rows, values / factor, "best feasible", INK)]
    title = f"Best {_words(objective)}"
    return {
        "data": data,
        "layout": layout(
            title, "scored rows", label, xaxis={"type": "log", "dtick": 1}, yaxis=_log_axis(values / factor)
        ),
    }


def _closing(session: Session, result: Result, objective: Objective) -> Figure:
    from .study import staircases

    incumbents, bounds = staircases(session.bounds)
    end = max([result.seconds, *(t for t, _ in incumbents), *(t for t, _ in bounds)])
    value = result.metrics.get(objective.metric) if result.feasible else None
    if value is not None:
        incumbents = [*incumbents, (end, value)]
    if bounds:
        bounds = [*bounds, (end, bounds[-1][1])]
    numbers = np.array([v for _, v in [*incumbents, *bounds]])
    factor, label = axis_scale(numbers, objective)
    data = []
    for steps, name, colour in ((incumbents, "incumbent", INK), (bounds, "bound: no point is better", GREEN)):
        if steps:
            t, v = (np.array(side, float) for side in zip(*steps, strict=True))
            data.append(_stairs(t, v / factor, name, colour))
    gap = result.certificate.gap
    title = f"{_words(objective).capitalize()}: incumbent and bound"
    title += f", gap {gap:.2%}" if gap is not None and gap > 5e-5 else ""
    frame = layout(title, "seconds", label)
    if value is not None:
        frame["yaxis"]["range"] = _near(numbers / factor, value / factor)
    return {"data": data, "layout": frame}


def _near(numbers: Array, answer: float) -> list[float] | None:
    """An axis that shows the answer and what is within three times its own size of it."""
    near = numbers[np.abs(numbers - answer) <= 3 * abs(answer)]
    if not len(near) or len(near) == len(numbers):
        return None
    low, high = float(min(near.min(), answer)), float(max(near.max(), answer))
    room = 0.06 * ((high - low) or abs(answer) or 1.0)
    return [low - room, high + room]


def _stairs(x: Array, y: Array, name: str, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y, "marker": {"size": 5},
        "line": {"shape": "hv", "color": colour, "width": 2},
        "hovertemplate": "%{x:.4g}: %{y:.5g}<extra>" + name + "</extra>",
    }  # fmt: skip


def _hypervolume(session: Session) -> Figure | None:
    if session.streamed is not None or len(session.archive.ids) < 2:
        return None
    quality = Quality.of(session.goal, [session.archive.costs])
    rows, values = quality.over_rows(session, CHECKPOINTS)
    if len(rows) < 3:
        return None
    title = "Dominated volume (final front = 1)"
    data = [_stairs(rows.astype(float), values / quality.best, "front", INK)]
    return {
        "data": data,
        "layout": layout(
            title, "scored rows", "hypervolume, share of the final", xaxis={"type": "log", "dtick": 1}
        ),
    }


def sensitivity(session: Session, result: Result) -> Figure | None:
    """What the first objective does when one variable moves and the others stay at the answer."""
    problem, goal = session.problem, session.goal
    if result.best is None or problem.cost != "fast" or not result.feasible:
        return None
    objective = goal.objectives[0]
    base = problem.space.batch(result.best)
    names, moved = moves(problem, base, session.seed)
    reference = result.metrics[objective.metric]
    if moved is None or not reference or not np.isfinite(reference):
        return None
    try:
        scores = evaluate(problem, moved)
    except TradespaceError:
        return None
    from .trust.figures import reach_figure

    return reach_figure(
        tuple(one_at_a_time(names, scores, goal, reference, objective.metric)), _words(objective)
    )


def _hover(batch: Batch) -> list[str]:
    """The first scalar variables of each row, for the pointer."""
    lines = [""] * len(batch)
    domains = [d for d in batch.__space__.domains.values() if not d.width and d.pinned is None][
        :HOVER_VARIABLES
    ]
    for domain in domains:
        values: list[Any] = batch.__columns__[domain.name].tolist()
        if domain.kind == "labels":
            values = [label_name(domain.labels[v]) for v in values]
        shown = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
        lines = [f"{line}{domain.name} {text}<br>" for line, text in zip(lines, shown, strict=True)]
    return lines


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)]


def _words(objective: Objective) -> str:
    return objective.metric.replace("_", " ")
