"""The events of the soak: searches killed, interrupted, watched, on full disks, by several users at once."""

from __future__ import annotations

import contextlib
import csv
import gc
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
from soak_processes import Command, held, is_worker, listeners, small_disk
from soak_steps import ENDED, INTERRUPTED, REFUSED, Fault, Steps

import tradespace as ts
from tradespace.search.cli.console import console
from tradespace.search.folder import RunFolder
from tradespace.search.journal import open_journal
from tradespace.search.session import Session

KEPT = 8
EVENTS: dict[str, float] = {
    "kill": 44, "interrupt": 18, "users": 8, "twice": 6, "watched": 5, "afterwards": 6, "compare": 2,
    "worker": 4, "disk": 4, "dashboard": 1,
}  # fmt: skip


class Soak(Steps):
    """One soak in a folder of its own."""

    # --- one event -------------------------------------------------------------------------------
    def event(self, number: int) -> None:
        """Draw an event by its number, do it, look for what it left."""
        self.rng = np.random.default_rng([self.seed, number])
        names, weights = zip(*EVENTS.items(), strict=True)
        name = str(self.rng.choice(names, p=np.array(weights) / sum(weights)))
        self.here, self.killed = self.folder / f"event{number}", False
        self.here.mkdir(exist_ok=True)
        began = time.monotonic()
        self.ledger.events[name] += 1
        told = []
        try:
            getattr(self, name)()
        except Fault as fault:
            told.append(str(fault))
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
        told += [f"still runs: {line}" for line in self.processes.orphans()]
        litter = self.processes.litter()
        for left in litter if self.killed else ():
            self.ledger.counts[f"temporary files after SIGKILL: {left[:5]}..."] += 1
        if litter and not self.killed:
            told.append(f"temporary files left: {', '.join(litter)}")
        if os.path.lexists(f"{self.journal}.lock"):
            self.ledger.counts["journal locks left by kills"] += 1
            if not self.killed:
                told.append("the journal's lock is left")
        self.ledger.seconds[name] += int(1e3 * (time.monotonic() - began))
        for sentence in told:
            self.ledger.faulty[name] += 1
            self.ledger.faults.append(f"--first {number} --events 1  {name}: {sentence}")
            console(stderr=True).print(f"fault: {self.ledger.faults[-1]}", markup=False)
        if not told:
            self._tidy()
        if number % 5 == 0:
            gc.collect()
            self.ledger.holding.append(held())

    def _tidy(self) -> None:
        """Keep the newest finished runs for other events, remove the rest."""
        while len(self.finished) > KEPT:
            shutil.rmtree(self.finished.pop(0).parents[1], ignore_errors=True)
        if not any(self.here in run.parents for run in self.finished):
            shutil.rmtree(self.here, ignore_errors=True)

    # --- events -----------------------------------------------------------------------------------
    def kill(self) -> None:
        """Struck again and again, looked at, resumed."""
        case, expected = self.drawn()
        runs = self.here / "runs"
        run: Path | None = None
        known: set[bytes] = set()
        for _ in range(1 + int(self.rng.geometric(0.5))):
            command = self.start(["resume", str(run), "--json"] if run else case.arguments)
            early = self.rng.random() < 0.15
            if run is None and not early:
                self.appears(command, runs)
            number = self.strike(command, 0.0, 0.3 if early else 1.2 * max(expected.seconds, 0.05))
            allowed = INTERRUPTED | ({-number, REFUSED} if number != signal.SIGINT else set())
            code = self.ended(command, allowed, True)
            if code == REFUSED and "worker process died" not in command.err:
                raise Fault(f"ended with 2: {' '.join(command.err.split())[-200:]}")
            run = run or next((r.parent for r in runs.glob("*/*/run.json")), None)
            if run is not None:
                known = self.rows(run, known)
                if self.rng.random() < 0.3:
                    self.ended(self.start(["regoal", str(run), "--json"]), {0, 1, REFUSED})
        if run is None:
            self.ended(self.start(case.arguments), ENDED)
            run = next(r.parent for r in runs.glob("*/*/run.json"))
        self.go_on(case, run, expected)
        self.rows(run, known)

    def interrupt(self) -> None:
        """In this long-lived process: Ctrl-C in the middle, then resumed; threads or processes."""
        case, expected = self.drawn()
        left = int(self.rng.integers(1, 40))

        def watch(session: Session) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        workers = 1 if self.rng.random() < 0.85 else 2
        result = case.solve(
            runs=self.here / "runs", storage=str(self.journal), observer=watch, workers=workers
        )
        run = result.run_dir
        assert run is not None
        known = self.rows(run)
        if self.rng.random() < 0.3:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(2) as pool:
                ts.resume(run, storage=str(self.journal), executor=pool)
        else:
            ts.resume(run, storage=str(self.journal))
        self.rows(run, known)
        self.settled(case, run, expected)

    def users(self) -> None:
        """Several users at once on one folder of runs and one journal, some struck."""
        begun = []
        for _ in range(int(self.rng.integers(2, 4))):
            case, expected = self.drawn()
            begun.append((case, expected, self.here / f"user{len(begun)}", self.rng.random() < 0.4))
        commands = [self.start(case.arguments, runs) for case, _, runs, _ in begun]
        for command, (_, expected, runs, struck) in zip(commands, begun, strict=True):
            if struck and self.appears(command, runs):
                self.strike(command, 0.0, max(expected.seconds, 0.05))
        for command, (case, expected, runs, struck) in zip(commands, begun, strict=True):
            allowed = INTERRUPTED | {REFUSED, -9, -15} if struck else ENDED
            self.ended(command, allowed, struck=struck)
            run = next((r.parent for r in runs.glob("*/*/run.json")), None)
            if run is None:
                self.ended(self.start(case.arguments, runs), ENDED)
                run = next(r.parent for r in runs.glob("*/*/run.json"))
            if struck:
                self.go_on(case, run, expected)
            else:
                self.settled(case, run, expected)

    def twice(self) -> None:
        """Two resume one run at the same time: one is refused, or comes after the other."""
        case, expected = self.drawn()
        command = self.start(case.arguments)
        run = self.appears(command, self.here / "runs")
        self.strike(command, 0.0, max(expected.seconds, 0.05))
        self.ended(command, INTERRUPTED | {REFUSED, -9, -15}, struck=True)
        run = run or next((r.parent for r in (self.here / "runs").glob("*/*/run.json")), None)
        if run is None:
            return
        both = [self.start(["resume", str(run), "--json"]) for _ in range(2)]
        for command in both:
            if self.ended(command, {*ENDED, REFUSED}) == REFUSED and "another process" not in command.err:
                raise Fault(" ".join(command.err.split())[-200:])
        self.settled(case, run, expected)

    def watched(self) -> None:
        """Other commands read a run while it is written."""
        case, expected = self.drawn()
        command = self.start(case.arguments)
        run = self.appears(command, self.here / "runs")
        while run is not None and command.code is None:
            self.ended(self._look(run), {0, 1, REFUSED})
        self.ended(command, ENDED)
        assert run is not None
        self.settled(case, run, expected)

    def _look(self, run: Path) -> Command:
        """A command that reads a run."""
        out = self.here / f"out{int(self.rng.integers(10**6))}"
        choices = (
            ["regoal", str(run), "--json"],
            ["regoal", str(run), "--pick", "0", "--json"],
            ["export", str(run), "--out", f"{out}.csv"],
            ["export", str(run), "--rows", "--out", f"{out}.csv"],
            ["export", str(run), "--rows", "--out", f"{out}.npz"],
            ["export", str(run), "--out", f"{out}.json"],
            ["export", str(run), "--out", f"{out}.parquet"],
            ["report", str(run), "--out", f"{out}.html"],
            ["report", str(run)],
        )
        return self.start(choices[int(self.rng.integers(len(choices)))])

    def afterwards(self) -> None:
        """Regoal, export, report of a finished run, perhaps struck; what they wrote is whole or not there."""
        if not self.finished:
            self.kill()
        run = self.finished[int(self.rng.integers(len(self.finished)))]
        known = self.rows(run)
        for _ in range(3):
            command = self._look(run)
            struck = self.rng.random() < 0.4
            if struck:
                self.strike(command, 0.0, 1.0)
            allowed = INTERRUPTED | {REFUSED, -9, -15} if struck else {0, 1, REFUSED}
            self.ended(command, allowed, struck=struck)
        self._whole(self.here)
        self._whole(run)
        self.rows(run, known)

    def _whole(self, folder: Path) -> None:
        for path in folder.glob("*"):
            if path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise Fault(f"{path.name} is cut")
            if path.suffix == ".json" and path.name.startswith("out"):
                json.loads(path.read_text())
            if path.suffix == ".npz" and path.name.startswith("out"):
                RunFolder(folder).read_arrays(path.name)
            if path.suffix == ".csv" and len({len(r) for r in csv.reader(path.open(newline=""))}) > 1:
                raise Fault(f"{path.name} is cut")

    def compare(self) -> None:
        """Solvers compared, perhaps struck."""
        case, _ = self.drawn(workers=1)
        name = case.arguments[1 : case.arguments.index("--solver")]
        out = self.here / "compared"
        command = self.start(["compare", *name, "--solvers", "random,sobol,nsga2", "--seeds", "2",
                              "--evals", "150", "--out", str(out)])  # fmt: skip
        struck = self.rng.random() < 0.4
        if struck:
            self.strike(command, 0.0, 3.0)
        self.ended(command, INTERRUPTED | {-9, -15} if struck else ENDED, struck=struck)
        if not struck:
            json.loads((out / "compare.json").read_text())

    def worker(self) -> None:
        """A worker process is killed: a sentence, and the run goes on when resumed."""
        case, expected = self.drawn(workers=2)
        command = self.start(case.arguments)
        run = self.appears(command, self.here / "runs")
        time.sleep(self.rng.uniform(0.0, 0.5))
        workers = [pid for pid in self.processes.alive() if pid != command.pid and is_worker(pid)]
        if workers:
            os.kill(workers[int(self.rng.integers(len(workers)))], signal.SIGKILL)
            self.killed = True
            self.ledger.counts["workers killed"] += 1
        code = self.ended(command, {*ENDED, REFUSED})
        if code == REFUSED and "worker process died" not in command.err:
            raise Fault(" ".join(command.err.split())[-200:])
        assert run is not None
        self.go_on(case, run, expected)

    def disk(self) -> None:
        """A disk of some 10 kB that fills up, then one that is read-only (as root)."""
        case, expected = self.drawn(workers=1)
        disk = self.here / "disk"
        with small_disk(disk, f"{int(self.rng.integers(6, 60)) * 4}k") as mounted:
            if not mounted:
                self.ledger.counts["disks not mounted"] += 1
                return
            runs = disk / "runs"
            code = self.ended(self.start(case.arguments, runs), {*ENDED, REFUSED})
            run = next((r.parent for r in runs.glob("*/*/run.json")), None)
            self.ledger.counts["disks filled"] += code == REFUSED
            if run is None:
                return
            known = self.rows(run)
            (disk / "ballast").write_bytes(b"")
            with contextlib.suppress(OSError), (disk / "ballast").open("wb") as file:
                while True:
                    file.write(bytes(1_000))
                    file.flush()
            for arguments in (["resume", str(run), "--json"], ["report", str(run)], ["regoal", str(run)]):
                self.ended(self.start(arguments, runs), {*ENDED, REFUSED})
                self.rows(run, known)
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            for arguments in (["resume", str(run), "--json"], ["report", str(run)], case.arguments):
                self.ended(self.start(arguments, runs), {REFUSED})
            self.ended(self.start(["regoal", str(run), "--json"], runs), {*ENDED, REFUSED})
            self.ledger.counts["disks read-only"] += 1
            subprocess.run(["mount", "-o", "remount,rw,size=64m", str(disk)], check=True)
            (disk / "ballast").unlink()
            self.go_on(case, run, expected)
            self.finished.pop()

    def dashboard(self) -> None:
        """The dashboard over the journal of all: answers on 127.0.0.1 and nowhere else."""
        if not self.journal.is_file():
            self.kill()
        arguments = ["dashboard", "--port", "0", "--storage", str(self.journal), "--json"]
        command = self.processes.start(arguments, fresh=True)
        deadline = time.monotonic() + 60
        while not command.out.strip().endswith("}") and time.monotonic() < deadline and command.code is None:
            time.sleep(0.05)
        address = json.loads(command.out)["address"]
        with urllib.request.urlopen(f"{address}api/studies", timeout=30) as answer:
            json.loads(answer.read())
        heard = [*listeners(self.processes.alive())]
        if not heard or any(not a.startswith("127.0.0.1:") for a in heard):
            raise Fault(f"the dashboard listens on {heard}")
        command.send(signal.SIGINT)
        self.ended(command, {0, 130})

    # --- the end ----------------------------------------------------------------------------------
    def close(self) -> None:
        """The journal reads and holds the study of every run that ended."""
        self.processes.close()
        if self.journal.is_file():
            storage, _ = open_journal(self.journal)
            held = {study.study_name for study in storage.get_all_studies()}
            lacking = self.studies - held
            self.ledger.counts["studies in the journal"] = len(held)
            if lacking:
                self.ledger.faults.append(f"{len(lacking)} studies are not in the journal: {min(lacking)}")
        left = [p.name for p in self.folder.iterdir() if p.name.startswith("journal.log.")]
        odd = [n for n in left if not n.endswith(".damaged")]
        self.ledger.faults += [f"left beside the journal: {name}" for name in odd]
