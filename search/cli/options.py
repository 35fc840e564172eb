"""Options that several commands share, and the application they belong to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

RUNS = Path(os.environ.get("TRADESPACE_RUNS", "runs"))
DEFAULT_SECONDS, DEFAULT_EVALUATIONS = 60.0, 10_000

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
        help=f"Rows to score \\[default: {DEFAULT_EVALUATIONS:,} for samplers, unless --seconds is given].",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="S",
        help=f"Wall time, over all sittings \\[default: {DEFAULT_SECONDS:.0f}, unless --evals is given].",
    ),
]
Gap = Annotated[
    float | None,
    typer.Option(
        "--gap",
        metavar="G",
        help="Relative gap that counts as proven; 0.01 is one percent \\[default: 1e-6].",
    ),
]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes that evaluate rows.")]
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
