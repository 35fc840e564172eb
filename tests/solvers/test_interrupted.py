"""Ctrl-C at every step of a solve: the solve ends, and so does the next one of the same process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRUCK = """
import signal, sys
import highspy
import numpy as np
from tradespace.solvers import highs, uninterrupted

signal.signal(signal.SIGINT, signal.default_int_handler)
files = ("highspy/highs.py", "threading.py", highs.__file__, uninterrupted.__file__)


def struck(at):
    '''A solve with SIGINT before step number `at` of what Python does in it: steps done, how it ended.'''
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.addVar(0.0, 4.5)
    solver.changeColIntegrality(0, highspy.HighsVarType.kInteger)
    solver.changeColCost(0, -1.0)
    steps = 0

    def trace(frame, event, _):
        nonlocal steps
        if not frame.f_code.co_filename.endswith(files):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            steps += 1
            if steps == at:
                signal.raise_signal(signal.SIGINT)
        return trace

    sys.settrace(trace)
    try:
        ended = highs._run(solver, None)
    except KeyboardInterrupt:
        ended = None
    finally:
        sys.settrace(None)
    handler = signal.getsignal(signal.SIGINT)
    assert handler is signal.default_int_handler, (at, handler)
    return steps >= at > 0, ended, solver.getModelStatus() == highspy.HighsModelStatus.kOptimal


ends = {True: 0, None: 0}
for at in range(1, 10_000):  # until the solve has fewer steps
    reached, ended, _ = struck(at)
    if not reached:
        break
    ends[ended] += 1
    assert struck(0) == (False, False, True), at
print(at, ends[True])
"""


def test_ctrl_c_at_any_step_of_a_solve_leaves_no_lock_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STRUCK], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    steps, told = map(int, done.stdout.split())
    assert steps > told > 100
