"""Commands that search: run, resume, regoal, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    EXTRA,
    RUNS,
    Evals,
    ExecutorAt,
    Fix,
    Gap,
    Json,
    LimitText,
    Maximize,
    Minimize,
    NoLimit,
    Pick,
    RunName,
    RunsFolder,
    Seconds,
    Storage,
    Workers,
    app,
    share,
    whole,
)


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
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", parser=whole("--seed", 0), help="Seed of the search.")
    ] = 0,
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
            parser=share("--robust", "0.95 or 95%"),
            help="Choose by this quantile under draws of the model errors, limits met in that share (0.95).",
        ),
    ] = None,
    runs: RunsFolder = RUNS,
    storage: Storage = None,
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            metavar="NAME",
            help="Search together with other processes that give the same NAME and --storage.",
        ),
    ] = None,
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
            study=study,
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
        int | None,
        typer.Option(
            "--workers", metavar="N", parser=whole("--workers"), help="Processes that evaluate rows."
        ),
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


@app.command(context_settings=EXTRA)
def compare(
    context: typer.Context,
    problem: Annotated[
        str,
        typer.Argument(
            metavar="PROBLEM|RUN...",
            help="A name of 'optimize list', or FILE.py:CLASS; or two or more recorded runs.",
        ),
    ],
    solvers: Annotated[str, typer.Option("--solvers", metavar="A,B,C", help="Solvers to compare.")] = "auto",
    seeds: Annotated[
        int,
        typer.Option("--seeds", metavar="N", parser=whole("--seeds"), help="Runs of each, seeds 0 to N-1."),
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
    """Compare solvers on a problem: equal budgets, several seeds, anytime curves. Or recorded runs.

    Example: optimize compare matmul-tile --solvers exhaustive,random,sobol --evals 2000
    Example: optimize compare 7f3a 12ab
    """
    from .compare_command import compare_recorded, compare_solvers, is_run
    from .running import Wish

    wish = Wish(minimize, maximize, limit, no_limit)
    if (context.args and not context.args[0].startswith("--")) or is_run(problem, runs):
        sources = {n: context.get_parameter_source(n) for n in context.params}
        given = {n for n, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
        names = [problem, *context.args]
        raise typer.Exit(compare_recorded(names, wish, given, out=out, runs=runs, json=json))
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
