"""Commands about an answer: explain, report, export, apply, reproduce, render, dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import EXTRA, RUNS, Json, ProblemName, RunName, RunsFolder, Storage, app, number, time, whole


@app.command()
def explain(
    run: RunName = "last",
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws",
            metavar="N",
            parser=whole("--draws", 0),
            help="Draws of the model errors \\[default: 1,000; simulators: 100].",
        ),
    ] = None,
    resolves: Annotated[
        int | None,
        typer.Option(
            "--resolves",
            metavar="N",
            parser=whole("--resolves", 0),
            help="Draws to solve anew for candidates \\[default: 30; simulators: 0].",
        ),
    ] = None,
    sobol: Annotated[
        int | None,
        typer.Option(
            "--sobol",
            metavar="N",
            parser=whole("--sobol", 0),
            help="Rows a sample of Sobol indexes \\[default: 1,024; simulators: 0].",
        ),
    ] = None,
    worth: Annotated[
        bool, typer.Option("--worth/--no-worth", help="Move each limit and solve again.")
    ] = True,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", parser=time, help="Most wall time of one re-solve.")
    ] = 10.0,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Explain a run's answer: what its limits are worth, what matters, alternatives, how sure it is."""
    from ..trust.explain import Effort
    from .explain_command import explain_run

    explain_run(run, runs, Effort(draws, resolves, sobol, worth, seconds), json)


@app.command()
def report(
    run: RunName = "last",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Instead of report.html in the run.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Explain the run first.")] = False,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Write a run as one HTML page that works offline and prints well."""
    from .report_command import report_run

    report_run(run, runs, out, explain, json)


@app.command()
def export(
    run: RunName,
    out: Annotated[
        Path, typer.Option("--out", help="File to write: .csv, .json, .npz, .parquet; .mps is the model.")
    ],
    rows: Annotated[bool, typer.Option("--rows", help="Every recorded row instead of the front.")] = False,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Write the front of a run (or all its rows, or its MILP model) to a file."""
    from .exporting import export_run

    export_run(run, runs, out, rows, json)


@app.command()
def apply(
    run: RunName = "last",
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", parser=whole("--steps"), help="Steps to run, where it is training."
        ),
    ] = None,
    text: Annotated[Path | None, typer.Option("--text", metavar="FILE", help="Text to train on.")] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", parser=whole("--seed", 0), help="Seed of what is random."),
    ] = None,
    evolve: Annotated[
        int | None,
        typer.Option(
            "--evolve",
            metavar="K",
            parser=whole("--evolve"),
            help="Also measure and solve again every K steps.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where files go; else into the run's folder.")
    ] = None,
    runs: RunsFolder = RUNS,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Carry out a run's answer for real, and print what was measured beside what was predicted."""
    from .apply_command import apply_run

    options = {"steps": steps, "text": text, "seed": seed, "evolve": evolve, "out": out}
    apply_run(run, runs, options, json, storage)


@app.command(context_settings=EXTRA)
def reproduce(
    context: typer.Context,
    problem: ProblemName,
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Also draw its pictures there, as PNG.")
    ] = None,
    json: Json = False,
) -> None:
    """Print a paper's figures beside ours, each with its workload and assumptions.

    What a reproduction can be given follows its name, such as llm-mesh --trace FILE --minutes 30.
    """
    from .reproduction import reproduce_problem

    reproduce_problem(problem, context.args, figures, json)


@app.command()
def render(
    scene: Annotated[
        Path,
        typer.Argument(
            metavar="SCENE", help="A trained scene: .ply, compressed .ply, .sog or its folder, .spz."
        ),
    ],
    camera: Annotated[
        str,
        typer.Option(
            "--camera",
            metavar="WORDS",
            help="auto, orbit:AZIMUTH,ELEVATION[,DISTANCE], at:X,Y,Z/X,Y,Z, or POSES#NUMBER (COLMAP, .npz).",
        ),
    ] = "auto",
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Pixels of the frame.")] = "800x608",
    out: Annotated[Path, typer.Option("--out", help="Picture to write: .png, .webp, or .npy.")] = Path(
        "frame.png"
    ),
    fov: Annotated[
        float | None,
        typer.Option(
            "--fov",
            metavar="DEGREES",
            parser=number("--fov", "53"),
            help="Field of view across \\[default: 53].",
        ),
    ] = None,
    orbit: Annotated[
        int | None,
        typer.Option(
            "--orbit", metavar="N", parser=whole("--orbit"), help="N frames once round the scene, numbered."
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(
            "--head",
            metavar="N",
            parser=whole("--head"),
            help="N frames of a head turning 25 degrees a second at 90 FPS.",
        ),
    ] = None,
    level: Annotated[
        int,
        typer.Option(
            "--level",
            metavar="N",
            parser=whole("--level", 0),
            help="Level of detail, of a folder that has some.",
        ),
    ] = 0,
    tile: Annotated[
        int, typer.Option("--tile", metavar="PX", parser=whole("--tile"), help="Edge of a tile.")
    ] = 16,
    extent: Annotated[
        str, typer.Option("--extent", help="Tiles a Gaussian is listed in: circle (3 sigma), box or ellipse.")
    ] = "ellipse",
    group: Annotated[
        int,
        typer.Option(
            "--group",
            metavar="G",
            parser=whole("--group"),
            help="G x G pixels share a decision: 1 (exact), 2 or 4.",
        ),
    ] = 1,
    check: Annotated[
        str | None,
        typer.Option("--check", help="Where a group decides: centre, leader or any \\[default: centre]."),
    ] = None,
    background: Annotated[
        str,
        typer.Option("--background", metavar="COLOUR", help="black, white, grey, or R,G,B within 0 and 1."),
    ] = "black",
    counts: Annotated[bool, typer.Option("--counts/--no-counts", help="Count the work too.")] = True,
    repair: Annotated[bool, typer.Option("--repair", help="Leave out Gaussians that are not valid.")] = False,
    threads: Annotated[
        int,
        typer.Option("--threads", metavar="N", parser=whole("--threads"), help="Threads that blend."),
    ] = 1,
    json: Json = False,
) -> None:
    """Draw a scene of 3D Gaussians and print what the drawing took.

    Example: optimize render guitar.compressed.ply --camera orbit:30,10 --size 400x304 --out guitar.png
    """
    from .render_command import Look, draw_scene

    chosen = check or ("pixel" if group == 1 else "centre")
    options = {"tile": tile, "extent": extent, "group": group, "check": chosen}
    look = Look(camera, size, fov, orbit, head, level, repair, background, threads, options)
    draw_scene(scene, look, out, counts, json)


@app.command()
def dashboard(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="N",
            parser=whole("--port", 0, 65_535),
            help="Port on 127.0.0.1; 0 takes a free one.",
        ),
    ] = 8080,
    runs: RunsFolder = RUNS,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="An Optuna storage instead of the journal in --runs."),
    ] = None,
    last: Annotated[
        int,
        typer.Option(
            "--last", metavar="N", parser=whole("--last"), help="Newest studies to load with their rows."
        ),
    ] = 30,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser.")] = False,
    json: Json = False,
) -> None:
    """Look at all runs in Optuna's dashboard, on this machine only."""
    from .dashboard_command import serve_dashboard

    serve_dashboard(runs, storage, port, last, browser, json)
