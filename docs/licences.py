"""Licences of every package in constraints.txt: `python docs/licences.py` writes docs/licences.md.

Licence and requirements are read from the installed packages' own metadata, so it wants an environment that
holds them all: `pip install -c constraints.txt -e '.[dev,docs,benchmarks]'`. `--check` compares only.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL)|Mozilla|Lesser|General Public", re.I)
WORDS = {
    "Apache Software License": "Apache-2.0", "BSD License": "BSD", "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Python Software Foundation License": "PSF-2.0",
    "3-Clause BSD License": "BSD-3-Clause", "ISC License (ISCL)": "ISC",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
}  # fmt: skip
HEAD = """# Licences

Tradespace is Apache-2.0. It installs the packages below and contains none of them. The table is
made from their own metadata by `python docs/licences.py`, and a test compares it with `constraints.txt`.
"Wanted by" is `base` for what every installation has, else the extras that add it.

"""


def pins() -> dict[str, str]:
    """Name and version of every line of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def found(name: str) -> Distribution | None:
    """An installed package."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def licence(package: Distribution) -> str:
    """What a package says of its licence: its expression, else its classifiers, else its first words."""
    data = package.metadata
    stated = str(data.get("License") or "").strip()
    listed = [line.rpartition(" :: ")[2] for line in data.get_all("Classifier") or [] if "License ::" in line]
    if data.get("License-Expression"):
        return str(data["License-Expression"])
    if " AND " in stated and len(stated) < 60:
        return stated
    named = [WORDS.get(name, name) for name in listed if name != "OSI Approved"]
    whole = "Permission is hereby granted, free of charge" in stated  # the text of the MIT licence
    short = "MIT" if whole else stated.splitlines()[0][:60] if stated else ""
    return " AND ".join(named) or WORDS.get(short, short) or "not stated"


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(wanted: Iterable[str]) -> set[str]:
    """Everything that these requirements install, by normal name."""
    pending, seen = [Requirement(text) for text in wanted], set()
    while pending:
        needed = pending.pop()
        key = (normal(needed.name), *sorted(needed.extras))
        package = found(needed.name)
        if key in seen or package is None:
            seen.add(key)
            continue
        seen.add(key)
        for text in package.requires or []:
            inner = Requirement(text)
            marks = [{"extra": extra} for extra in needed.extras] or [{"extra": ""}]
            if inner.marker is None or any(inner.marker.evaluate(mark) for mark in marks):
                pending.append(inner)
    return {key[0] for key in seen}


def wanted_by() -> dict[str, list[str]]:
    """The groups of pyproject.toml that install each package: base, or extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = closure(project["dependencies"])
    made = {name: ["base"] for name in base}
    for extra, wanted in project["optional-dependencies"].items():
        own = [text for text in wanted if not text.startswith("tradespace[")]
        for name in sorted(closure(own) - base):
            made.setdefault(name, []).append(extra)
    return made


def rows() -> dict[str, tuple[str, str, str]]:
    """Package -> (version, licence, wanted by)."""
    groups = wanted_by()
    made = {}
    for name, version in pins().items():
        package = found(name)
        by = ", ".join(groups.get(normal(name), [])) or "other platforms"
        made[name] = (version, licence(package) if package else "not installed", by)
    return made


def page() -> str:
    """The page."""
    table = rows()
    strict = {name: row for name, row in table.items() if COPYLEFT.search(row[1])}
    text = (
        HEAD + "## Copyleft\n\nPackages whose licence asks something of whoever passes on changes to *them*. "
    )
    text += "None is a\nGPL or AGPL; nothing here reaches the code that imports them.\n\n"
    return text + _table(strict) + f"\n## All {len(table)}\n\n" + _table(table)


def _table(listed: dict[str, tuple[str, str, str]]) -> str:
    lines = ["| package | version | licence | wanted by |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(row)} |" for name, row in listed.items())]) + "\n"


def main() -> int:
    """Write the page, or compare it; the exit code."""
    lacking = [name for name in pins() if found(name) is None]
    if lacking:
        print(f"not installed, so unknown: {', '.join(lacking)}", file=sys.stderr)
        return 2
    if "--check" in sys.argv[1:]:
        same = PAGE.read_text() == page()
        print("docs/licences.md is current" if same else "docs/licences.md is stale")
        return 0 if same else 1
    PAGE.write_text(page())
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
