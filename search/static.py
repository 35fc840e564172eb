"""The plain Plotly figures of `figures` as static pictures: for pages that work offline and print well.

Only what those figures use is drawn: scatter lines and markers, horizontal bars, lines across the plot,
annotations and images.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.2, 4.0
MARKERS = {"x-thin-open": "x", "x": "x", "circle-open": "o", "diamond": "D"}
DASHES = {"dot": ":", "dash": "--", "solid": "-"}
PLOT_WIDTH = 900  # of a picture in the dashboard, pixels
MOST_SVG = 400_000
"""Characters of an SVG beyond which a picture is kept as pixels."""


def draw(figure: Mapping[str, Any]) -> Figure:
    """A plain Plotly figure as a matplotlib one."""
    from matplotlib.figure import Figure

    layout = figure["layout"]
    made = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = made.add_subplot()
    categories = [*layout.get("yaxis", {}).get("categoryarray", [])]
    named = False
    for trace in figure["data"]:
        named |= bool(trace.get("name"))
        if trace["type"] == "bar":
            _bars(axes, trace, categories)
        else:
            _scatter(made, axes, trace)
    x, y = layout.get("xaxis", {}), layout.get("yaxis", {})
    for axis, given in (("x", x), ("y", y)):
        if given.get("type") == "log":
            getattr(axes, f"set_{axis}scale")("log")
        if given.get("range"):
            getattr(axes, f"set_{axis}lim")(*given["range"])
        getattr(axes, f"set_{axis}label")(given.get("title", {}).get("text", ""))
    if categories:
        axes.set_ylim(-0.6, len(categories) - 0.4)
        axes.set_yticks(range(len(categories)), categories)
    for shape in layout.get("shapes", []):
        _line(axes, shape)
    for note in layout.get("annotations", []):
        _note(axes, note, x, y)
    axes.set_title(layout.get("title", {}).get("text", ""), loc="left", fontsize=11)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if named and layout.get("showlegend", True) and len(axes.get_legend_handles_labels()[0]) > 1:
        made.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return made


def _values(given: Any) -> Any:
    return np.array([np.nan if v is None else v for v in given], float)


def _scatter(made: Figure, axes: Axes, trace: Mapping[str, Any]) -> None:
    x, y = _values(trace["x"]), _values(trace["y"])
    mode, line, marker = trace.get("mode", "markers"), trace.get("line", {}), trace.get("marker", {})
    name = trace.get("name")
    colour = marker.get("color", line.get("color", INK))
    if "lines" in mode:
        step = {"hv": "steps-post", "vh": "steps-pre"}.get(line.get("shape", ""), "default")
        axes.plot(
            x, y, drawstyle=step, color=line.get("color", INK), linewidth=line.get("width", 1.5),
            linestyle=DASHES[line.get("dash", "solid")], label=name,
        )  # fmt: skip
        name = None
    if "markers" in mode:
        size = np.square(marker.get("size", 6) * 0.8)
        symbol = marker.get("symbol", "circle")
        style: dict[str, Any] = {"marker": MARKERS.get(symbol, "o"), "s": size, "label": name, "zorder": 3}
        if marker.get("showscale"):
            drawn = axes.scatter(x, y, c=_values(colour), cmap="viridis", **style)
            made.colorbar(drawn, ax=axes, label=marker["colorbar"]["title"]["text"])
        elif symbol == "circle-open":
            axes.scatter(x, y, facecolor="none", edgecolor=colour, linewidth=2, **style)
        else:
            if len(x) > 400:
                style["rasterized"] = True
            axes.scatter(x, y, color=colour, alpha=marker.get("opacity", 1.0), **style)


def _bars(axes: Axes, trace: Mapping[str, Any], categories: list[str]) -> None:
    places = [categories.index(name) for name in trace["y"]]
    width = _values(trace["x"])
    error = trace.get("error_x", {}).get("array")
    left = _values(trace["base"]) if "base" in trace else 0.0
    axes.barh(
        places, width, left=left, height=trace.get("width", 0.6),
        color=trace.get("marker", {}).get("color", INK), label=trace.get("name"),
        xerr=None if error is None else _values(error), error_kw={"ecolor": FAINT, "capsize": 2},
    )  # fmt: skip
    for place, value, text in zip(places, width, trace.get("text", ()), strict=False):
        axes.annotate(text, (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8)


def _line(axes: Axes, shape: Mapping[str, Any]) -> None:
    line = shape.get("line", {})
    style = {"color": line.get("color", INK), "linewidth": line.get("width", 1.0),
             "linestyle": DASHES[line.get("dash", "solid")]}  # fmt: skip
    if shape["x0"] == shape["x1"]:
        axes.axvline(shape["x0"], **style)
    else:
        axes.axhline(shape["y0"], **style)


def _note(axes: Axes, note: Mapping[str, Any], x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
    """A text at data or paper coordinates; Plotly gives logarithms on a logarithmic axis."""

    def place(value: float, on: Mapping[str, Any], paper: bool) -> float:
        return 10.0**value if on.get("type") == "log" and not paper else value

    papers = note.get("xref") == "paper", note.get("yref") == "paper"
    across = {
        (True, False): axes.get_yaxis_transform(),
        (False, True): axes.get_xaxis_transform(),
        (True, True): axes.transAxes,
        (False, False): axes.transData,
    }[papers]
    font = note.get("font", {})
    turned = note.get("textangle", 0)
    axes.text(
        place(note["x"], x, papers[0]), place(note["y"], y, papers[1]), note["text"], transform=across,
        color=font.get("color", INK), fontsize=0.8 * font.get("size", 11), rotation=-turned,
        ha=note.get("xanchor", "center"), va=note.get("yanchor", "center").replace("middle", "center"),
    )  # fmt: skip


def svg(figure: Figure) -> str:
    """A matplotlib figure as the text of an SVG element, without what would clash in one page."""
    buffer = io.StringIO()
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "tradespace"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure, dpi: int = 120) -> bytes:
    """A matplotlib figure as the bytes of a PNG with at most 128 colours."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    buffer.seek(0)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(128).save(small, format="PNG", optimize=True)
    return small.getvalue()


def as_plot(figure: Figure, name: str) -> dict[str, Any]:
    """A matplotlib figure as a plain Plotly figure that holds its picture."""
    content = base64.b64encode(png(figure)).decode()
    width, height = figure.get_size_inches()
    hidden = {"visible": False, "range": [0, 1], "fixedrange": True}
    image = {
        "source": f"data:image/png;base64,{content}", "xref": "paper", "yref": "paper", "x": 0, "y": 1,
        "sizex": 1, "sizey": 1, "sizing": "contain", "xanchor": "left", "yanchor": "top", "layer": "below",
    }  # fmt: skip
    return {
        "data": [],
        "layout": {
            "images": [image], "xaxis": hidden, "yaxis": hidden, "paper_bgcolor": "white",
            "plot_bgcolor": "white", "height": round(PLOT_WIDTH * height / width),
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8}, "meta": {"name": name},
        },
    }  # fmt: skip
