"""Run the commands and the Python of the Markdown pages; compare the output they show, or write it anew.

    python docs/refresh.py             writes the output of the quick pages anew
    python docs/refresh.py --all       also that of the pages of problems (minutes: they reproduce papers)
    python docs/refresh.py FILE.md     that of one page
    python docs/refresh.py --check     compares only

A page is run from top to bottom in one empty folder:

- a `console` block: each line after `$` is run by bash and must succeed; the lines below it are its
  output, in which `...` stands for any number of lines;
- a `python` block is run by Python; where `<!-- file: NAME -->` stands on the line above it, that or a
  `toml` block is written to that file instead.

`docs/api.md` is written from the docstrings of the public names.

Run names, times and rates are not compared, other numbers within 2 %. Of a plan, an answer and a
metric that is limited but no objective only the first word is compared: several answers may be
equally good.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (
    *(ROOT / "README.md", DOCS / "tutorial.md", DOCS / "problems" / "index.md"),
    *sorted((DOCS / "howto").glob("*.md")),
)
SLOW = (DOCS / "explain.md", *(p for p in sorted((DOCS / "problems").glob("*.md")) if p not in PAGES))
BLOCK = re.compile(r"^(?:<!-- file: (\S+) -->\n)?```(console|python|toml)\n(.*?)^```$", re.M | re.S)
TOLERANCE = 0.02
VOLATILE = (
    (re.compile(r"^(solver [^;]*);.*"), r"\1)"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d{6}-[0-9a-f]{4}"), "RUN"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d{6}\b"), "TIME"),
    (re.compile(r"(explain|export|regoal|resume|resumes|report|run) [0-9a-f]{4}\b"), r"\1 ID"),
    (re.compile(r"(?:[\d,]+ rows )?in \d[\d.]* s\b"), "in T"),
    (re.compile(r"at most \d\S* s\b"), "at most T"),
    (re.compile(r"\d[\d,]* rows/s"), "N rows/s"),
    (re.compile(r"cost \d[\d.]* times"), "cost N times"),
    (re.compile(r"(predicted|measured) [\d,]+ us"), r"\1 T"),
)
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
LOOSE = re.compile(r"^(plan|answer)\b")
FREE = re.compile(r"^(?!.*(minimised|maximised)).* slack ")
TIGHT = re.compile(r"^(certificate|metric|front|stopped)\b")


class Stale(Exception):
    """A page shows what its commands no longer do."""


@dataclass
class Command:
    """One command of a console block and the output shown below it."""

    text: str
    shown: list[str]


def commands(body: str) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif found and found[-1].text.endswith("\\") and not found[-1].shown:
            found[-1].text += "\n" + line
        else:
            found[-1].shown.append(line)
    return found


def same(shown: str, printed: str) -> bool:
    """Whether two lines agree: words exactly, numbers within the tolerance."""
    for pattern, word in VOLATILE:
        shown, printed = pattern.sub(word, shown), pattern.sub(word, printed)
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    values = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
    return all(abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) for a, b in values)


def agrees(shown: list[str], printed: list[str]) -> str:
    """What differs between the output shown and the output printed; nothing where they agree."""
    shown, printed = [v for v in shown if v.strip()], [v for v in printed if v.strip()]
    place, gap, loose = 0, False, False
    for line in shown:
        if line.strip() == "...":
            gap = True
            continue
        loose = bool(LOOSE.match(line)) or (loose and not TIGHT.match(line))
        while place < len(printed):
            other = printed[place]
            place += 1
            if line.split()[0] == other.split()[0] if loose or FREE.match(line) else same(line, other):
                break
            if not gap:
                return f"shown:   {line}\n  printed: {other}"
        else:
            return f"shown:   {line}\n  printed: nothing like it"
        gap = False
    if place < len(printed) and not gap:
        return f"printed, not shown: {printed[place]}"
    return ""


def cut(shown: list[str], printed: list[str]) -> list[str]:
    """The printed lines, cut where the shown ones were: as many before and after `...`."""
    if "..." not in shown:
        return printed
    before, after = shown.index("..."), len(shown) - 1 - shown.index("...")
    return [*printed[:before], "...", *(printed[len(printed) - after :] if after else [])]


class Page:
    """A Markdown page run in a folder of its own."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        tools = folder / ".tools"
        tools.mkdir()
        script = tools / "optimize"
        script.write_text(
            f"#!/bin/sh\nexec '{sys.executable}' -c 'from tradespace.search.cli import main; main()' \"$@\"\n"
        )
        script.chmod(0o755)
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in {"TRADESPACE_RUNS", "COLUMNS", "FORCE_COLOR"}},
            "PATH": f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, arguments: list[str], what: str) -> list[str]:
        """Standard output and error of a process that must succeed."""
        done = subprocess.run(
            arguments, cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            raise Stale(f"{self.path.name}: exit code {done.returncode} from: {what}\n{done.stdout[-3000:]}")
        return [line.rstrip() for line in done.stdout.splitlines()]

    def replay(self, *, write: bool) -> str:
        """Run every block in order; the page with its output anew.

        Raises Stale where a block fails, or where its output differs and `write` is false.
        """
        return BLOCK.sub(lambda match: self._block(match, write), self.path.read_text())

    def _block(self, match: re.Match[str], write: bool) -> str:
        file, kind, body = match.groups()
        if file:
            (self.folder / file).write_text(body)
        if file or kind == "toml":
            return match[0]
        if kind == "python":
            self.run([sys.executable, "-c", body], body)
            return match[0]
        lines = []
        for command in commands(body):
            printed = self.run(["bash", "-c", command.text], command.text)
            while printed and not printed[0]:
                del printed[0]
            difference = agrees(command.shown, printed)
            if difference and not write:
                raise Stale(
                    f"{self.path.name} is stale (python docs/refresh.py writes it anew):\n"
                    f"  $ {command.text}\n  {difference}"
                )
            shown = cut(command.shown, printed) if difference else command.shown
            lines += ["$ " + command.text, *shown]
        return "```console\n" + "\n".join(lines) + "\n```"


def replay(path: Path, *, write: bool = False) -> None:
    """Run a page in a temporary folder; write its output anew, or raise Stale where it differs."""
    with tempfile.TemporaryDirectory() as folder:
        text = Page(path, Path(folder)).replay(write=write)
    if write:
        path.write_text(text)


API = DOCS / "api.md"
API_HEAD = """# Names in `tradespace`

Written from the docstrings by `python docs/refresh.py`; `help(tradespace.NAME)` says more. Cost models
stand in `tradespace.costmodels`, devices in `tradespace.hardware`.

| name | what it is |
|---|---|
"""


def first_sentence(value: Any) -> str:
    """The first paragraph of a docstring, in one line; of a number, its value."""
    if isinstance(value, int | float | str):
        return f"`{value!r}`"
    text = inspect.getdoc(value) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def api() -> str:
    """The page of public names."""
    import tradespace

    rows = [f"| `{name}` | {first_sentence(getattr(tradespace, name))} |" for name in tradespace.__all__]
    return API_HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    check = "--check" in sys.argv
    named = [Path(word).resolve() for word in sys.argv[1:] if word.endswith(".md")]
    if not named and not check:
        API.write_text(api())
    if not named and API.read_text() != api():
        sys.exit("docs/api.md is stale; python docs/refresh.py writes it anew")
    try:
        for page in named or (PAGES + SLOW if "--all" in sys.argv else PAGES):
            replay(page, write=not check)
    except Stale as error:
        sys.exit(str(error))
