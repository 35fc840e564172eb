"""Ctrl-C waits where compiled code would swallow it, and then takes effect."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tradespace.solvers.uninterrupted import uninterrupted

ROOT = Path(__file__).resolve().parents[2]
STRUCK = """
import signal
import numpy as np
from numpy.lib.npyio import NpzFile
from scipy.stats import qmc
from tradespace.solvers.uninterrupted import sobol_tables

signal.signal(signal.SIGINT, signal.default_int_handler)
read = NpzFile.__getitem__

def strike(self, key):
    signal.raise_signal(signal.SIGINT)
    return read(self, key)

NpzFile.__getitem__ = strike
try:
    sobol_tables()
except KeyboardInterrupt:
    print("interrupted")
print(qmc.Sobol(3, scramble=False).random(4).tolist())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_effect_after_the_block(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.default_int_handler)
    done = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(number)
            done.append("all of it")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert done
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_an_interruption_does_not_spoil_sobols_sequence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STRUCK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    told, points = done.stdout.splitlines()
    assert told == "interrupted"
    assert points == "[[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.75, 0.25, 0.25], [0.25, 0.75, 0.75]]"
