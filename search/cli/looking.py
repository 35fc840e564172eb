"""Commands that look and measure: list, show, new, check, devices, calibrate, validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import EXTRA, Json, ProblemName, app, whole


@app.command("list")
def list_command(
    solvers: Annotated[bool, typer.Option("--solvers", help="List the solvers instead.")] = False,
    json: Json = False,
) -> None:
    """List the problems that ship or are installed (or the solvers)."""
    from .listing import list_problems, list_solvers

    (list_solvers if solvers else list_problems)(json)


@app.command(context_settings=EXTRA)
def show(context: typer.Context, problem: ProblemName, json: Json = False) -> None:
    """Show a problem: parameters, variables, metrics, goal, views, size."""
    from .listing import show_problem

    show_problem(problem, context.args, json)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the problem, such as my-cache.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where to write the file.")] = Path(),
    json: Json = False,
) -> None:
    """Write a runnable 30-line problem file to start from."""
    from .authoring import write_new

    write_new(name, folder, json)


@app.command(context_settings=EXTRA)
def check(
    context: typer.Context,
    problem: ProblemName,
    points: Annotated[
        int,
        typer.Option("--points", metavar="N", parser=whole("--points", 2), help="Random points to try."),
    ] = 100,
    json: Json = False,
) -> None:
    """Check a problem: pure, vectorised, views that agree with the referee."""
    from .authoring import check_problem

    check_problem(problem, context.args, points, json)


@app.command()
def devices(
    name: Annotated[
        str | None, typer.Argument(help="A device or FILE.toml, to show each of its numbers.")
    ] = None,
    json: Json = False,
) -> None:
    """List the devices, or show each number of one with unit, source and kind."""
    from .listing import list_devices, show_device

    if name is None:
        list_devices(json)
    else:
        show_device(name, json)


Families = Annotated[
    list[str] | None, typer.Option("--family", metavar="FAMILY", help="Only this family; may be repeated.")
]


@app.command()
def calibrate(
    device: Annotated[
        str, typer.Argument(help="'host' for this CPU, or the device of the catalog whose CUDA card is here.")
    ] = "host",
    family: Families = None,
    shapes: Annotated[
        int,
        typer.Option("--shapes", metavar="N", parser=whole("--shapes", 8), help="Shapes to time a family."),
    ] = 25,
    passes: Annotated[
        int,
        typer.Option(
            "--passes",
            metavar="N",
            parser=whole("--passes", 2),
            help="Shuffled passes; the minimum counts.",
        ),
    ] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write instead of the user's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Time real kernels on this machine and fit the cost models to it (a minute or two)."""
    from .measuring import calibrate_device

    calibrate_device(device, family or [], shapes, passes, out, json)


@app.command()
def validate(
    what: Annotated[
        Literal["kernels", "serving"],
        typer.Argument(help="Operator models against kernels, or the serving simulator against a real log."),
    ] = "kernels",
    device: Annotated[str, typer.Option("--device", help="'host', or a device of the catalog.")] = "host",
    profiles: Annotated[
        Path | None,
        typer.Option("--profiles", metavar="DIR", help="Stored GPU measurements instead of kernels here."),
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="DIR", help="Of serving: the log of a vLLM benchmark.")
    ] = None,
    kv_tokens: Annotated[
        int | None,
        typer.Option(
            "--kv-tokens", min=1, help="Of serving: tokens the cache holds, where the log is silent."
        ),
    ] = None,
    family: Families = None,
    shapes: Annotated[
        int,
        typer.Option(
            "--shapes", metavar="N", parser=whole("--shapes", 8), help="Fresh shapes to time a family."
        ),
    ] = 25,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw predicted against measured (.png).")
    ] = None,
    json: Json = False,
) -> None:
    """Compare the cost models with real kernels, or the serving simulator with a real log."""
    from .measuring import validate_models, validate_serving

    if what == "serving":
        validate_serving(log, kv_tokens, json)
    else:
        validate_models(device, profiles, family or [], shapes, plot, json)
