"""`optimize new` and `check`: writing a problem and making sure of it."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path

from ...errors import DataError, SpaceError
from .arguments import make_problem
from .console import console, print_json, table
from .progress import preparing

MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "error": "[red]error[/]"}


def write_new(name: str, folder: Path, json: bool) -> None:
    """Write a runnable problem file called `name`.

    Raises SpaceError for a name that is none, DataError where the file exists.
    """
    stem = name.removesuffix(".py").replace("-", "_").lower()
    if not stem.isidentifier() or keyword.iskeyword(stem):
        raise SpaceError(f"'{name}' is no name for a problem; use letters, digits and '-', such as my-cache.")
    label = "".join(part.capitalize() for part in stem.split("_"))
    path = folder / f"{stem}.py"
    text = (
        files(__package__)
        .joinpath("template.txt")
        .read_text()
        .replace("{label}", label)
        .replace("{file}", path.name)
    )
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise DataError(f"'{path}' exists already; choose another name or --folder.") from None
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror}; choose another --folder.") from None
    target = f"{path}:{label}"
    if json:
        print_json({"file": str(path), "problem": target})
        return
    console().print(f"wrote {path}\n[dim]next[/]  optimize check {target} · optimize run {target}")


def check_problem(name: str, arguments: list[str], points: int, json: bool) -> None:
    """Run every check and print the findings. Raises SpaceError where one is an error."""
    from ..check import check

    problem = make_problem(name, arguments)
    with preparing(json) as progress:
        problem.ready(progress)
    with console(stderr=True).status(f"checking {name}"):
        findings = check(problem, points=points)
    if json:
        print_json([{"level": f.level, "check": f.check, "sentence": f.sentence} for f in findings])
    else:
        made = table(f"check of {name}", "", "check", "finding")
        for finding in findings:
            made.add_row(MARKS[finding.level], *(str(c) for c in (finding.check, finding.sentence)))
        console().print(made)
    bad = [f for f in findings if f.level == "error"]
    if bad:
        raise SpaceError(
            f"{name} has {len(bad)} fault{'s' if len(bad) > 1 else ''}; the first: {bad[0].sentence}"
        )
