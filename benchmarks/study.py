"""Cost of a run's Optuna study, and what the dashboard makes of it: prints figures beside their bars.

    python benchmarks/study.py [--picture page.png]

2,000 trials of a problem with 50 parameters: CPU seconds of writing the study, seconds of reading it,
the size of the page, and whether headless Chromium draws it. Then three processes write one journal.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import tradespace as ts
from tradespace.search.dashboard import dashboard_application, serve
from tradespace.search.journal import JOURNAL, StudyRecord, open_journal, write_study
from tradespace.search.session import Session
from tradespace.search.study import log_study, study_record

CPU_BAR = 1.5
CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
WORDS = ("Pareto Front", "Timeline", "time against energy", "One change from the answer", "Study Artifacts")


class Wide(ts.Problem):
    """Fifty parameters of all kinds, two objectives and a limit that a third of the points break."""

    counts = ts.Int(1, 64, shape=15)
    shares = ts.Float(0.0, 1.0, shape=15)
    formats = ts.Choice("fp32", "bf16", "fp8", "int4", shape=10)
    menus = ts.Menu(16, 32, 64, 128, 256, shape=5)
    flags = ts.Bool(shape=5)

    time = ts.Metric("s", "min")
    energy = ts.Metric("J", "min")
    memory = ts.Metric("B", at_most=2.3e9)

    def evaluate(self, x: Any) -> dict[str, Any]:
        """Sums that pull against each other."""
        bits = np.array([32, 16, 8, 4])[x.formats.position].mean(axis=1)
        work = x.counts.mean(axis=1) * (1 + x.shares.mean(axis=1))
        speed = np.log2(x.menus).sum(axis=1) * (1 + 0.1 * x.flags.sum(axis=1))
        return {
            "time": 1e-3 * work * bits / speed,
            "energy": 1e-2 * speed * (1 + x.shares[:, 0]) / bits,
            "memory": 1e6 * x.counts.sum(axis=1) * bits / 4,
        }


def solved(folder: Path) -> tuple[Session, ts.Result]:
    """A run of 2,000 rows, its study not yet written."""
    problem = Wide()
    budget = ts.Budget(evaluations=2_000)
    seen: list[Session] = []
    result = ts.solve(problem, "random", budget=budget, runs=folder, storage="none",
                      observer=lambda s: seen.__setitem__(slice(None), [s]))  # fmt: skip
    return seen[0], result


def spent(work: Any) -> tuple[float, float, Any]:
    """CPU and wall seconds of a call, and what it returned."""
    cpu, wall = time.process_time(), time.perf_counter()
    value = work()
    return time.process_time() - cpu, time.perf_counter() - wall, value


def line(what: str, found: str, bar: str, held: bool) -> None:
    """One row of the report."""
    print(f"{what:<52}{found:>18}   {bar:<18}{'holds' if held else 'MISSED'}")


def drawn(folder: Path, picture: Path | None) -> tuple[float, bool] | None:
    """Seconds Chromium took, and whether every part of the page was there; None without Chromium."""
    if CHROMIUM is None:
        return None
    application, _, _ = dashboard_application(folder)
    with serve(application, 0) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.perf_counter()
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom",
             f"--user-data-dir={profile}", "--window-size=1400,3400", "--virtual-time-budget=20000",
             *([f"--screenshot={picture}"] if picture else []),
             f"http://127.0.0.1:{server.server_port}/dashboard/studies/0"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        took = time.perf_counter() - began
        server.shutdown()
    return took, all(word in done.stdout for word in WORDS)


def page_size(folder: Path) -> tuple[float, float]:
    """Megabytes of the page's data, and CPU seconds to answer it."""
    from wsgiref.util import setup_testing_defaults

    application, _, _ = dashboard_application(folder)
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = "/api/studies/0"
    cpu, _, body = spent(lambda: b"".join(application(environ, lambda *_: None)))
    return len(body) / 1e6, cpu


def write_copies(path: Path, record: StudyRecord, process: int, copies: int) -> None:
    """One of several writers."""
    for i in range(copies):
        record.name = f"{process}/{i}"
        write_study(record, path)


def shared(record: StudyRecord, processes: int = 3, copies: int = 4) -> tuple[int, int, float]:
    """Trials found and expected after several processes wrote one journal, and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / JOURNAL
        context = multiprocessing.get_context("fork")
        writers = [
            context.Process(target=write_copies, args=(path, record, p, copies)) for p in range(processes)
        ]
        began = time.perf_counter()
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        took = time.perf_counter() - began
        storage, told = open_journal(path)
        assert not told, told
        found = sum(
            len(storage.get_all_trials(s._study_id, deepcopy=False)) for s in storage.get_all_studies()
        )
    return found, processes * copies * len(record.trials), took


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, help="keep Chromium's picture of the page here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        session, result = solved(folder)
        cpu, wall, logged = spent(lambda: log_study(session, result))
        assert logged.notes == (), logged.notes
        record = study_record(session, result, None)
        journal = folder / JOURNAL
        line(
            "study of 2,000 trials, 50 parameters (40 shown)",
            f"{cpu:.2f} s CPU",
            f"<= {CPU_BAR} s",
            cpu <= CPU_BAR,
        )
        megabytes = journal.stat().st_size / 1e6
        print(f"    wall {wall:.2f} s, {len(record.trials):,} trials, {megabytes:.1f} MB")
        for _ in range(4):
            record.name += "'"
            write_study(record, journal)
        record.name += "'"
        cpu, _, _ = spent(lambda: write_study(record, journal))
        print(f"    after five more such studies, writing alone: {cpu:.2f} s CPU")
        cpu, _, _ = spent(lambda: open_journal(journal))
        print(f"    reading a journal of six such studies: {cpu:.2f} s CPU")
        size, cpu = page_size(folder)
        print(f"    the page: {size:.1f} MB, {cpu:.2f} s CPU of the server")
        seen = drawn(folder, given.picture)
        if seen is None:
            print("    no Chromium here: the page was not drawn")
        else:
            line("page of 2,000 trials in Chromium", f"{seen[0]:.1f} s", "drawn whole", seen[1])
        found, expected, took = shared(record)
        line(
            "3 processes, 12 studies, one journal: trials",
            f"{found:,}",
            f"== {expected:,}",
            found == expected,
        )
        print(f"    {took:.1f} s wall")


if __name__ == "__main__":
    main()
