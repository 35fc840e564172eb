"""Random searches, killed at random moments, for minutes: no corrupt run, no lost row, no leak.

    python benchmarks/soak.py                          # 20 minutes
    python benchmarks/soak.py --minutes 2 --seed 7
    python benchmarks/soak.py --seed 7 --first 41 --events 1   # the 42nd event of seed 7 again

An event draws a search (problem, parameters, solver, seed, budget, workers) and what befalls it: SIGKILL,
SIGINT or SIGTERM at a random moment, to one process or to the whole group; a killed worker; other commands
on the run meanwhile; several users on one journal; a disk that is full or read-only (as root). The same seed
draws the same events; the moment of a signal also depends on the machine. After each kill the run's folder
must open undamaged and hold every row that it held before; in the end the resumed search must give the answer
of an undisturbed one. Afterwards no process, file, lock or open port may be left. Exit code 1 where one is.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from soak_cases import warm_up
from soak_events import EVENTS, Soak
from soak_processes import held
from soak_steps import Ledger

from tradespace.search.cli.console import console, print_rows

GROWTH_MIB, GROWTH_FILES = 24.0, 3


def verdict(ledger: Ledger, minutes: float) -> int:
    """Print the tables; the exit code."""
    events = [
        {"event": n, "times": c, "faults": ledger.faulty[n], "seconds each": ledger.seconds[n] / 1e3 / c}
        for n, c in sorted(ledger.events.items())
    ]
    total = sum(ledger.events.values())
    print_rows(f"{total:,} events in {minutes:.1f} minutes", events)
    print_rows("\nCounts", [{"what": n, "count": c} for n, c in sorted(ledger.counts.items())])
    some = ledger.holding or [held()]
    quarter = -(-len(some) // 4)
    rows: list[dict[str, Any]] = []
    for name, bar in (("files", GROWTH_FILES), ("threads", 1), ("children", 0), ("resident", GROWTH_MIB)):
        values = [float(getattr(h, name)) for h in some]  # memory goes up and down by what a search needs
        first, last = median(values[quarter : 2 * quarter] or values), median(values[-quarter:])
        rows.append({"held by the long-lived process": name, "second quarter": first, "last quarter": last,
                     "most growth": bar, "verdict": "ok" if last - first <= bar else "LEAK"})  # fmt: skip
        if last - first > bar:
            ledger.faults.append(f"{name} grew from {first:g} to {last:g}")
    print_rows("\nLeaks", rows)
    out = console()
    for fault in ledger.faults:
        out.print(f"fault: {fault}", markup=False)
    out.print(f"{len(ledger.faults)} faults")
    return 1 if ledger.faults else 0


def main() -> int:
    """Soak; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first event")
    parser.add_argument("--events", type=int, help="stop after so many")
    parser.add_argument("--only", choices=[*EVENTS], help="events of this kind only")
    parser.add_argument("--keep", type=Path, help="a folder to work in, kept")
    given = parser.parse_args()
    if given.only:
        EVENTS.update({name: float(name == given.only) for name in EVENTS})
    err = console(stderr=True)
    stop: Callable[[], bool]
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        soak = Soak(folder.resolve(), given.seed)
        if given.events is None:
            warm_up(soak.user_file)
        began = said = time.monotonic()
        stop = lambda: time.monotonic() - began > 60 * given.minutes  # noqa: E731
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        bar = stack.enter_context(
            Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        )
        task = bar.add_task("soaking", total=60 * given.minutes)
        number = given.first
        try:
            while not stop() and (given.events is None or number < given.first + given.events):
                soak.event(number)
                number += 1
                words = f"{number - given.first} events, {len(soak.ledger.faults)} faults"
                bar.update(task, completed=time.monotonic() - began, description=words)
                if not err.is_terminal and time.monotonic() - said > 60:
                    said = time.monotonic()
                    err.print(f"{(said - began) / 60:.0f} minutes: {words}")
        except KeyboardInterrupt:
            err.print("stopped")
        finally:
            soak.close()
        return verdict(soak.ledger, (time.monotonic() - began) / 60)


if __name__ == "__main__":
    sys.exit(main())
