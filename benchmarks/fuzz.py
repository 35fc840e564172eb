"""Damaged and hostile inputs for every reader: each is read, or refused in one sentence of ours.

    python benchmarks/fuzz.py                          # 100,000 inputs a reader
    python benchmarks/fuzz.py --inputs 2000 --readers chunk,goal
    python benchmarks/fuzz.py --readers slow           # those that the tests give fewer inputs

An input is a good one spoilt: bytes flipped, cut, repeated or put in, texts spliced with what breaks
parsers, JSON values exchanged for others. Anything but a TradespaceError is a finding: it is printed with
the seed that makes it again, and the exit code is 1. `tests/test_soundness.py` runs 1,000 inputs a reader.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from fuzz_inputs import Reader
from fuzz_readers import readers

INPUTS = 100_000


def faults(reader: Reader, inputs: int, first: int = 0) -> dict[str, int]:
    """What went wrong, once a place, each with the first seed that makes it."""
    found: dict[str, int] = {}
    places: set[str] = set()
    for seed in range(first, first + inputs):
        fault = reader.fault(reader.input(seed))
        place = ":".join((fault or "").split(":")[:2])
        if fault is not None and place not in places:
            places.add(place)
            found[fault[:200]] = seed
    return found


def main() -> int:
    """Fuzz the readers; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--readers", help="names with commas [default: all]")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    wanted = given.readers.split(",") if given.readers else None
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for reader in readers(Path(folder)):
            named = {reader.name, "slow" if reader.slow else "quick"}
            if wanted is not None and named.isdisjoint(wanted):
                continue
            began = time.process_time()
            found = faults(reader, given.inputs, given.first)
            seconds = time.process_time() - began
            print(
                f"{reader.name:16s} {given.inputs:9,} inputs {seconds:7.1f} s CPU  {len(found)} faults",
                flush=True,
            )
            for fault, seed in found.items():
                print(f"    seed {seed}: {fault}", flush=True)
            bad += len(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
