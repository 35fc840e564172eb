"""`optimize explain` and `optimize report` end to end."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from .conftest import Cli

QUICK = ("--draws", 40, "--resolves", 2, "--sobol", 64)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Outline(HTMLParser):
    """Headings, and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag if tag in {"h1", "h2", "h3"} else ""
        for name, value in attrs:
            if (
                name in {"src", "href", "xlink:href", "data"}
                and value
                and not value.startswith(("#", "data:"))
            ):
                self.fetched.append(value)

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.heads.append(data)
            self._inside = ""


@pytest.mark.parametrize("shown", [(), ("--json",)])
def test_ctrl_c_during_the_draws_keeps_those_made_and_exits_with_130(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, shown: tuple[str, ...]
) -> None:
    from tradespace.search.cli.explain_command import Bars

    def struck(bars: Bars, what: str, done: int, total: int) -> None:
        if what == "draws of the model errors" and done == 12:
            raise KeyboardInterrupt

    assert cli("run", "matmul-tile", "--solver", "random", "--evals", 60).code == 0
    monkeypatch.setattr(Bars, "__call__", struck)
    told = cli("explain", "last", "--draws", 40, "--resolves", 0, "--sobol", 0, "--no-worth", *shown)
    assert told.code == 130
    (folder,) = Path("runs/matmul-tile").iterdir()
    notes = json.loads((folder / "explanation.json").read_text())["notes"]
    assert "Ctrl-C ended the draws after 12 of 40" in notes
    assert not shown or told.json["notes"] == notes
    assert "Traceback" not in told.out + told.err


def test_explain_prints_stores_and_pictures(cli: Cli) -> None:
    assert cli("run", "memory-plan", "--operators", 14, "--limit", "peak<=700MiB").code == 0
    told = cli("explain", "last", *QUICK)
    assert told.code == 0
    for words in (
        "What each limit is worth",
        "peak <= 700 MiB",
        "holds the answer back",
        "Nearest alternatives",
        "auto chose",
    ):
        assert words in told.out
    (folder,) = Path("runs/memory-plan").iterdir()
    assert (folder / "figures" / "explain-worth-peak.png").is_file()
    data = cli("explain", "last", "--no-worth", *QUICK, "--json").json
    assert data["limits"] == []
    assert data["robustness"]["moved"] is False
    stored = json.loads((folder / "explanation.json").read_text())
    assert stored["run"] == data["run"]


def test_the_page_of_a_run_is_whole_and_fetches_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("run", "adacc", "--layers", 2, "--batch", 2, "--memory", "3.3GiB", "--seconds", 10).code == 0
    before = cli("report", "last", "--out", "plain.html")
    assert "--explain" in before.out
    assert "Not made yet" in Path("plain.html").read_text()
    assert cli("explain", "last", *QUICK).code == 0
    made = cli("report", "last", "--json").json
    text = Path(made["file"]).read_text()
    assert made["bytes"] == len(text.encode())
    outline = Outline()
    outline.feed(text)
    wanted = {
        "Question",
        "Answer",
        "Certificate",
        "Search",
        "Explanation",
        "How sure the choice is",
        "Figures",
    }
    assert wanted | {"Provenance"} <= set(outline.heads)
    assert outline.fetched == []
    assert "script" not in outline.tags
    assert outline.tags.count("svg") >= 3
    if CHROMIUM is None:
        pytest.skip("Chromium is not here: the page was read, not rendered")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'browser'}", "--no-pdf-header-footer",
         f"--print-to-pdf={tmp_path / 'page.pdf'}", Path(made["file"]).resolve().as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") >= 2


def test_an_earlier_explanation_is_not_shown_for_another_answer(cli: Cli) -> None:
    assert cli("run", "matmul-tile", "--m", 512, "--n", 512).code == 0
    assert cli("explain", "last", *QUICK).code == 0
    (folder,) = Path("runs/matmul-tile").iterdir()
    stored = json.loads((folder / "explanation.json").read_text())
    stored["best"]["point"]["stages"] += 1
    (folder / "explanation.json").write_text(json.dumps(stored))
    assert cli("report", "last").code == 0
    assert "of an earlier answer" in (folder / "report.html").read_text()


def test_what_cannot_be_explained_or_written_is_said(cli: Cli) -> None:
    assert "holds no run" in cli("explain", "last").err
    assert cli("run", "knapsack", "--items", 8, "--limit", "weight<=-1").code == 1
    refused = cli("explain", "last")
    assert refused.code == 2
    assert "found no feasible point" in refused.err
    assert cli("report", "last", "--out", "page.pdf").code == 2
    assert cli("report", "last").code == 0  # an infeasible run has a page, without an explanation
    (folder,) = Path("runs/knapsack").iterdir()
    (folder / "result.json").unlink()
    for command in ("explain", "report"):
        said = cli(command, "last")
        assert said.code == 2
        assert "failed or was stopped" in said.err


def test_run_robust_prints_quantiles_and_leaves_1_where_nothing_is_sure_enough(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "tiles.py").write_text(
        "import numpy as np\nimport tradespace as ts\n\n\n"
        "class Tiles(ts.Problem):\n"
        "    room: float = 1.04\n"
        "    tile = ts.Int(1, 3)\n"
        "    time = ts.Metric('s', 'min')\n"
        "    size = ts.Metric('B', at_most='room')\n\n"
        "    def evaluate(self, x):\n"
        "        return {'time': 4.0 - x.tile, 'size': ts.Estimate(0.3 + 0.2 * x.tile, 0.2)}\n"
    )
    done = cli("run", "tiles.py:Tiles", "--robust", 0.95, "--json")
    assert done.code == 0
    assert done.json["best"]["point"] == {"tile": 2}  # tile 3 breaks the limit in a third of the draws
    assert done.json["robust"]["nominal"]["point"] == {"tile": 3}
    assert "95 % quantile" in cli("run", "tiles.py:Tiles", "--robust", 0.95).out
    unsure = cli("run", "tiles.py:Tiles", "--room", 0.55, "--robust", 0.95)
    assert unsure.code == 1
    assert "no candidate meets every limit" in unsure.err
