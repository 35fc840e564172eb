"""Options that several commands share, and the application they belong to."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ... import units
from ...errors import BudgetError, GoalError

RUNS = Path(os.environ.get("TRADESPACE_RUNS", "runs"))
DEFAULT_SECONDS, DEFAULT_EVALUATIONS = 60.0, 10_000
LARGEST = 2**63 - 1


def whole(flag: str, least: int = 1, most: int = LARGEST) -> Callable[[Any], int]:
    """Reads an option that counts: 2000, 2k or 2e3, within `least` and `most`."""

    def read(text: Any) -> int:
        try:
            number = units.parse_count(str(text))
        except GoalError:
            number = None
        if number is None or not least <= number <= most:
            within = f"from {least} to {most:,}" if most < LARGEST else f"of at least {least}"
            raise BudgetError(f"{flag} must be a whole number {within}, got '{text}'.")
        return number

    return read


def time(text: Any) -> float:
    """Reads --seconds: 90, 5min or 1h."""
    try:
        seconds = units.parse(str(text), "s")
    except GoalError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BudgetError(f"--seconds must be a positive time, such as 90, 5min or 1h, got '{text}'.")
    return seconds


def number(flag: str, example: str) -> Callable[[Any], float]:
    """Reads an option that is a number."""

    def read(text: Any) -> float:
        try:
            return units.parse(str(text), "")
        except GoalError:
            raise BudgetError(f"{flag} must be a number, such as {example}, got '{text}'.") from None

    return read


def share(flag: str, example: str) -> Callable[[Any], float]:
    """Reads an option that is a share: 0.05 or 5%."""

    def read(text: Any) -> float:
        try:
            return units.parse(str(text), "1")
        except GoalError:
            raise BudgetError(f"{flag} must be a share, such as {example}, got '{text}'.") from None

    return read


app = typer.Typer(
    name="optimize",
    help="Search problems over shared cost models: one referee, many solvers, certificates.\n\n"
    "Start with:  optimize list  ·  optimize show matmul-tile  ·  optimize run matmul-tile",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
RunsFolder = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of all runs.")]
ProblemName = Annotated[
    str, typer.Argument(metavar="PROBLEM", help="A name of 'optimize list', or FILE.py:CLASS.")
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id (7f3a), its folder, or 'last'.")]
Minimize = Annotated[
    list[str] | None,
    typer.Option("--minimize", metavar="METRIC", help="Replace the objectives; may be repeated."),
]
Maximize = Annotated[
    list[str] | None,
    typer.Option("--maximize", metavar="METRIC", help="Replace the objectives; may be repeated."),
]
LimitText = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", metavar="'METRIC<=VALUE'", help="Set a limit, such as 'peak<=24GiB'; may be repeated."
    ),
]
NoLimit = Annotated[
    list[str] | None, typer.Option("--no-limit", metavar="METRIC", help="Drop a default limit.")
]
Pick = Annotated[
    str | None, typer.Option("--pick", metavar="METRIC|ROW", help="Which member of the front is the answer.")
]
Evals = Annotated[
    int | None,
    typer.Option(
        "--evals",
        metavar="N",
        parser=whole("--evals"),
        help=f"Rows to score \\[default: {DEFAULT_EVALUATIONS:,} for samplers, unless --seconds is given].",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="S",
        parser=time,
        help=f"Wall time, over all sittings \\[default: {DEFAULT_SECONDS:.0f}, unless --evals is given].",
    ),
]
Gap = Annotated[
    float | None,
    typer.Option(
        "--gap",
        metavar="G",
        parser=share("--gap", "0.01 or 1%"),
        help="Relative gap that counts as proven; 0.01 or 1% \\[default: 1e-6].",
    ),
]
Workers = Annotated[
    int,
    typer.Option("--workers", metavar="N", parser=whole("--workers"), help="Processes that evaluate rows."),
]
ExecutorAt = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="ADDRESS",
        help="Evaluate rows elsewhere: dask://HOST:PORT, or MODULE:FUNCTION that makes an executor.",
    ),
]
Fix = Annotated[
    list[str] | None, typer.Option("--fix", metavar="NAME=VALUE", help="Pin a variable; may be repeated.")
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Where the Optuna study goes, such as sqlite:///x.db; none for no study "
        "\\[default: a journal in --runs].",
    ),
]
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}
