"""What events of the soak are made of: commands started and struck, their ends and their runs judged."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from soak_cases import USER_FILE, Case, agree, draw
from soak_processes import Command, Held, Processes, listeners

from tradespace.search.folder import RunFolder
from tradespace.search.result import Result

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
ENDED = {0, 1}
INTERRUPTED = {0, 1, 130}
REFUSED = 2
IN_MAIN = re.compile(r'search/cli/\w+\.py", line \d+, in main')


class Fault(Exception):
    """Something that must not happen."""


@dataclass
class Ledger:
    """What was done and what was found."""

    events: Counter[str] = field(default_factory=Counter)
    faulty: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    holding: list[Held] = field(default_factory=list)


class Steps:
    """A soak's folder, journal and processes, and the steps of its events."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.ledger = folder, seed, Ledger()
        self.processes = Processes(folder)
        self.journal = folder / "journal.log"
        self.shared = folder / "runs"
        self.user_file = folder / "user.py"
        self.user_file.write_text(USER_FILE)
        self.finished: list[Path] = []
        self.studies: set[str] = set()
        self.rng = np.random.default_rng(0)
        self.here = folder
        self.killed = False

    def start(self, arguments: list[str], runs: Path | None = None) -> Command:
        """A command on this event's runs and the journal of all, a tenth of them fresh processes."""
        self.ledger.counts["commands"] += 1
        writes = arguments[0] in {"run", "resume"}
        places = ["--runs", str(runs or self.here / "runs")]
        places += ["--storage", str(self.journal)] if writes else []
        return self.processes.start([*arguments, *places], fresh=self.rng.random() < 0.1)

    def strike(self, command: Command, low: float, high: float) -> int:
        """A signal at a random moment; which one."""
        number = SIGNALS[int(self.rng.integers(len(SIGNALS)))]
        group = self.rng.random() < 0.4
        time.sleep(self.rng.uniform(low, high))
        for address in listeners(self.processes.alive()):
            if not address.startswith(("127.", "::1")):
                raise Fault(f"listens on {address}: {' '.join(command.arguments)}")
        self.killed |= number == signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            if command.code is None:
                if group:
                    os.killpg(command.pid, number)
                else:
                    os.kill(command.pid, number)
                self.ledger.counts[f"{number.name}{' to the group' if group else ''}"] += 1
        return number

    def ended(self, command: Command, allowed: set[int], struck: bool = False) -> int:
        """The exit code, which must be one of these. struck: a signal was sent."""
        code = command.wait()
        said = " ".join(command.err.split())[-1500:]
        words = " ".join(command.arguments[:2])
        if code is None:
            command.send(signal.SIGABRT)
            command.wait()
            raise Fault(f"'{words}' did not end; where it was: {' '.join(command.err.split())[-3000:]}")
        before_main = command.fresh is not None and not IN_MAIN.search(command.err)
        if before_main and struck and (code < 0 or "KeyboardInterrupt" in said):
            return code  # while Python was still importing
        starting = "SemLock._rebuild" in said  # a worker that started while the others were ended
        self.ledger.counts["workers that started too late and said so"] += starting
        if "Traceback" in command.err and code != -signal.SIGKILL and not starting:
            raise Fault(f"'{words}' told a traceback: {said}")
        if code not in allowed:
            raise Fault(f"'{words}' ended with {code}: {said}")
        if code == REFUSED and "error:" not in command.err and "Usage" not in command.err:
            raise Fault(f"'{words}' ended with 2 and no sentence: {said}")
        return code

    def appears(self, command: Command, runs: Path) -> Path | None:
        """The folder of the run that a command starts, once it holds what was asked."""
        while True:
            ended = command.code is not None
            for record in runs.glob("*/*/run.json"):
                return record.parent
            if ended:
                return None
            time.sleep(0.002)

    def rows(self, run: Path, before: set[bytes] | None = None) -> set[bytes]:
        """The rows that a run holds, none damaged, none gone."""
        damaged: list[str] = []
        found: set[bytes] = set()
        folder = RunFolder(run)
        folder.read_json("run.json")
        for columns in folder.read_rows(damaged):
            names = sorted(n for n in columns if n != "seconds")
            parts = [np.ascontiguousarray(columns[n]).reshape(len(columns["failed"]), -1) for n in names]
            rows = np.concatenate([p.view(np.uint8) for p in parts], axis=1)
            found.update(rows.view(f"V{rows.shape[1]}").ravel().tolist())
        if (run / "sweep.npz").is_file():
            found.update(b"chunk%d" % i for i in range(int(folder.read_arrays("sweep.npz")["cursor"])))
        if damaged:
            raise Fault(f"damaged: {damaged[0]}")
        if before is not None and before - found:
            raise Fault(f"{len(before - found)} of {len(before)} recorded rows vanished")
        return found

    def settled(self, case: Case, run: Path, expected: Result) -> None:
        """A run that has ended: the undisturbed answer, nothing half written, in the journal."""
        found = Result.load(run)
        differs = agree(expected, found, case.exact)
        if differs:
            raise Fault(f"{' '.join(case.arguments)}: {differs}")
        partial = [p.name for p in run.rglob(".*") if p.name != ".lock"]
        if partial:
            raise Fault(f"half-written files left: {', '.join(partial)}")
        unwritten = [n for n in found.notes if "not written" in n]
        if unwritten:
            raise Fault(unwritten[0])
        self.studies.add(f"{found.problem}/{found.solver}/{case.seed}/{run.name}")
        self.finished.append(run)

    def drawn(self, **wanted: Any) -> tuple[Case, Result]:
        """A search and its undisturbed answer; refusals are tried on the command line and drawn again."""
        while True:
            case = draw(self.rng, self.user_file)
            if any(getattr(case, name) != value for name, value in wanted.items()):
                continue
            expected = case.expected()
            if isinstance(expected, Result):
                return case, expected
            self.ledger.counts["searches refused"] += 1
            self.ended(self.start(case.arguments), {REFUSED})

    def go_on(self, case: Case, run: Path, expected: Result) -> None:
        """Resume to the end."""
        code = self.ended(self.start(["resume", str(run), "--json"]), ENDED)
        if (code == 0) != expected.feasible:
            raise Fault(
                f"resume ended with {code}, the answer is {'' if expected.feasible else 'in'}feasible"
            )
        self.settled(case, run, expected)
