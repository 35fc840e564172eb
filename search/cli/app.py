"""The commands of `optimize` and their options; the work is imported when a command runs."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...errors import TradespaceError

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
        help=f"Rows to score [default: {DEFAULT_EVALUATIONS:,} for samplers, unless --seconds is given].",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="S",
        help=f"Wall time, over all sittings [default: {DEFAULT_SECONDS:.0f}, unless --evals is given].",
    ),
]
Gap = Annotated[
    float | None,
    typer.Option(
        "--gap", metavar="G", help="Relative gap that counts as proven; 0.01 is one percent [default: 1e-6]."
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
        "[default: a journal in --runs].",
    ),
]
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


def version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from ... import __version__

        typer.echo(f"tradespace {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


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
    points: Annotated[int, typer.Option("--points", min=2, help="Random points to try.")] = 100,
    json: Json = False,
) -> None:
    """Check a problem: pure, vectorised, views that agree with the referee."""
    from .authoring import check_problem

    check_problem(problem, context.args, points, json)


@app.command(context_settings=EXTRA, add_help_option=False)
def run(
    context: typer.Context,
    problem: Annotated[
        str | None,
        typer.Argument(
            metavar="PROBLEM",
            help="A name of 'optimize list', or FILE.py:CLASS; its parameters follow, as in --model gpt2-xl.",
        ),
    ] = None,
    evals: Evals = None,
    seconds: Seconds = None,
    gap: Gap = None,
    solver: Annotated[
        str,
        typer.Option(
            "--solver", help="A name of 'optimize list --solvers', or FILE.py:CLASS; auto says why it chose."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the search.")] = 0,
    workers: Workers = 1,
    executor: ExecutorAt = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    limit: LimitText = None,
    no_limit: NoLimit = None,
    fix: Fix = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="FILE|RUN",
            help="Your present configuration: scored, begun from, compared with.",
        ),
    ] = None,
    pick: Pick = None,
    robust: Annotated[
        float | None,
        typer.Option(
            "--robust",
            metavar="Q",
            help="Choose by this quantile under draws of the model errors, limits met in that share (0.95).",
        ),
    ] = None,
    runs: RunsFolder = RUNS,
    storage: Storage = None,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Record every row of an enumeration above 10^6.")
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry", help="Print size, speed, solver and expected time; do not search.")
    ] = False,
    json: Json = False,
    help: Annotated[
        bool, typer.Option("--help", "-h", help="This text, and with a PROBLEM its parameters.")
    ] = False,
) -> None:
    """Search a problem and print the answer with its certificate.

    Example: optimize run adacc --model gpt2-xl --batch 16 --device a100-sxm-80gb --memory 40GiB
    """
    if help or problem is None:
        from .listing import run_help

        run_help(context.get_help(), problem)
        raise typer.Exit(0 if help else 2)
    from .running import Wish, run_problem

    wish = Wish(minimize, maximize, limit, no_limit)
    raise typer.Exit(
        run_problem(
            problem,
            context.args,
            wish,
            evals=evals,
            seconds=seconds,
            gap=gap,
            solver=solver,
            seed=seed,
            workers=workers,
            executor=executor,
            fix=fix or [],
            start=start,
            pick=pick,
            robust=robust,
            runs=runs,
            storage=storage,
            keep_all=keep_all,
            dry=dry,
            json=json,
        )
    )


@app.command()
def resume(
    run: RunName = "last",
    evals: Evals = None,
    seconds: Seconds = None,
    gap: Gap = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Processes that evaluate rows.")
    ] = None,
    executor: ExecutorAt = None,
    runs: RunsFolder = RUNS,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Continue a run from its recorded rows; with a larger budget also a finished one."""
    from .running import resume_run

    raise typer.Exit(resume_run(run, runs, evals, seconds, gap, workers, executor, storage, json))


@app.command()
def regoal(
    run: RunName,
    minimize: Minimize = None,
    maximize: Maximize = None,
    limit: LimitText = None,
    no_limit: NoLimit = None,
    pick: Pick = None,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Answer another goal from the rows a run recorded, without evaluating."""
    from .running import Wish, regoal_run

    raise typer.Exit(regoal_run(run, runs, Wish(minimize, maximize, limit, no_limit), pick, json))


@app.command()
def explain(
    run: RunName = "last",
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws", metavar="N", min=0, help="Draws of the model errors [default: 1,000; simulators: 100]."
        ),
    ] = None,
    resolves: Annotated[
        int | None,
        typer.Option(
            "--resolves",
            metavar="N",
            min=0,
            help="Draws to solve anew for candidates [default: 30; simulators: 0].",
        ),
    ] = None,
    sobol: Annotated[
        int | None,
        typer.Option(
            "--sobol",
            metavar="N",
            min=0,
            help="Rows a sample of Sobol indexes [default: 1,024; simulators: 0].",
        ),
    ] = None,
    worth: Annotated[
        bool, typer.Option("--worth/--no-worth", help="Move each limit and solve again.")
    ] = True,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.1, help="Most wall time of one re-solve.")
    ] = 10.0,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Explain a run's answer: what its limits are worth, what matters, alternatives, how sure it is."""
    from ..explain import Effort
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
        int | None, typer.Option("--steps", min=1, help="Steps to run, where it is training.")
    ] = None,
    text: Annotated[Path | None, typer.Option("--text", metavar="FILE", help="Text to train on.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of what is random.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where files go; else into the run's folder.")
    ] = None,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Carry out a run's answer for real, and print what was measured beside what was predicted."""
    from .apply_command import apply_run

    apply_run(run, runs, {"steps": steps, "text": text, "seed": seed, "out": out}, json)


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
        float | None, typer.Option("--fov", metavar="DEGREES", help="Field of view across [default: 53].")
    ] = None,
    orbit: Annotated[
        int | None, typer.Option("--orbit", metavar="N", help="N frames once round the scene, numbered.")
    ] = None,
    head: Annotated[
        int | None,
        typer.Option("--head", metavar="N", help="N frames of a head turning 25 degrees a second at 90 FPS."),
    ] = None,
    level: Annotated[
        int, typer.Option("--level", min=0, help="Level of detail, of a folder that has some.")
    ] = 0,
    tile: Annotated[int, typer.Option("--tile", metavar="PX", help="Edge of a tile.")] = 16,
    extent: Annotated[
        str, typer.Option("--extent", help="Tiles a Gaussian is listed in: circle (3 sigma), box or ellipse.")
    ] = "ellipse",
    group: Annotated[
        int, typer.Option("--group", metavar="G", help="G x G pixels share a decision: 1 (exact), 2 or 4.")
    ] = 1,
    check: Annotated[
        str | None,
        typer.Option("--check", help="Where a group decides: centre, leader or any [default: centre]."),
    ] = None,
    background: Annotated[
        str,
        typer.Option("--background", metavar="COLOUR", help="black, white, grey, or R,G,B within 0 and 1."),
    ] = "black",
    counts: Annotated[bool, typer.Option("--counts/--no-counts", help="Count the work too.")] = True,
    repair: Annotated[bool, typer.Option("--repair", help="Leave out Gaussians that are not valid.")] = False,
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=1, help="Threads that blend.")] = 1,
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


@app.command(context_settings=EXTRA)
def compare(
    context: typer.Context,
    problem: ProblemName,
    solvers: Annotated[str, typer.Option("--solvers", metavar="A,B,C", help="Solvers to compare.")] = "auto",
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="Runs of each, seeds 0 to N-1.")
    ] = 5,
    evals: Evals = None,
    seconds: Seconds = None,
    gap: Gap = None,
    workers: Workers = 1,
    minimize: Minimize = None,
    maximize: Maximize = None,
    limit: LimitText = None,
    no_limit: NoLimit = None,
    fix: Fix = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for tables and curves.")
    ] = None,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Compare solvers on a problem: equal budgets, several seeds, anytime curves.

    Example: optimize compare matmul-tile --solvers exhaustive,random,sobol --evals 2000
    """
    from .compare_command import compare_solvers
    from .running import Wish

    wish = Wish(minimize, maximize, limit, no_limit)
    raise typer.Exit(
        compare_solvers(
            problem,
            context.args,
            wish,
            solvers=solvers,
            seeds=seeds,
            evals=evals,
            seconds=seconds,
            gap=gap,
            workers=workers,
            fix=fix or [],
            out=out,
            runs=runs,
            json=json,
        )
    )


@app.command()
def dashboard(
    port: Annotated[int, typer.Option("--port", help="Port on 127.0.0.1; 0 takes a free one.")] = 8080,
    runs: RunsFolder = RUNS,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="An Optuna storage instead of the journal in --runs."),
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Newest studies to load with their rows.")] = 30,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser.")] = False,
    json: Json = False,
) -> None:
    """Look at all runs in Optuna's dashboard, on this machine only."""
    from .dashboard_command import serve_dashboard

    serve_dashboard(runs, storage, port, last, browser, json)


Families = Annotated[
    list[str] | None, typer.Option("--family", metavar="FAMILY", help="Only this family; may be repeated.")
]


@app.command()
def calibrate(
    device: Annotated[
        str, typer.Argument(help="'host' for this CPU, or the device of the catalog whose CUDA card is here.")
    ] = "host",
    family: Families = None,
    shapes: Annotated[int, typer.Option("--shapes", min=8, help="Shapes to time a family.")] = 25,
    passes: Annotated[int, typer.Option("--passes", min=2, help="Shuffled passes; the minimum counts.")] = 3,
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
    family: Families = None,
    shapes: Annotated[int, typer.Option("--shapes", min=8, help="Fresh shapes to time a family.")] = 25,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw predicted against measured (.png).")
    ] = None,
    json: Json = False,
) -> None:
    """Compare the cost models with real kernels, or the serving simulator with a real log."""
    from .measuring import validate_models, validate_serving

    if what == "serving":
        validate_serving(log, json)
    else:
        validate_models(device, profiles, family or [], shapes, plot, json)


def _noted(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as a sentence, without the line of code that it came from."""
    from .console import note

    note(str(message))


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors become one sentence and exit code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.showwarning = _noted
    try:
        return app(args=arguments, standalone_mode=True)
    except TradespaceError as error:
        from .console import fail

        fail(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
