"""Damaged and hostile inputs for every reader: each is read, or refused in one sentence of ours.

    python benchmarks/fuzz.py                          # 100,000 inputs a reader
    python benchmarks/fuzz.py --inputs 2000 --readers chunk,goal

An input is a good one spoilt: bytes flipped, cut, repeated or put in, texts spliced with what breaks
parsers, JSON values exchanged for others. Anything but a TradespaceError is a finding: it is printed with
the seed that makes it again, and the exit code is 1. `tests/test_fuzz.py` runs 1,000 inputs a reader.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tradespace as ts
from tradespace.errors import TradespaceError

ROOT = Path(__file__).resolve().parent.parent
INPUTS = 100_000
ODD_TEXT = (
    *("", "nan", "inf", "-1", "1e999", "9" * 40, "\x00", "\ud7ff", "é", '"', "'", "{", "]", ",", "\n", "<="),
    *(
        ">=",
        "=",
        ":",
        "..",
        "%s",
        "1/0",
        "0x10",
        "1_0",
        "GiB",
        "-",
        "+",
        "e",
        "[[[[",
        "\r\n",
        "\t",
        ";",
        "null",
    ),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**70, -(2**64), 1e308, 1e-320, float("nan"), float("inf"), ""),
    *("nan", "x" * 300, [], [[]], [1], {}, {"": None}, "../../x", 0.5, "knapsack"),
)


# --- spoiling --------------------------------------------------------------------------------------------
def spoil_bytes(rng: np.random.Generator, good: bytes) -> bytes:
    """Some bytes flipped, taken out, repeated, put in; or the end cut off."""
    data = bytearray(good)
    for _ in range(1 + int(rng.geometric(0.5))):
        at, length = int(rng.integers(len(data) + 1)), int(rng.geometric(0.2))
        match int(rng.integers(6)):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << int(rng.integers(8))
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case 3:
                data[at:at] = rng.bytes(length)
            case 4:
                data[at : at + 8] = int(rng.choice([0, 1, 2**31, 2**32 - 1, 2**62])).to_bytes(8, "little")
            case _ if rng.random() < 0.3:
                del data[at:]
    return bytes(data)


def spoil_text(rng: np.random.Generator, good: str) -> str:
    """Odd texts put in, pieces taken out, exchanged or repeated."""
    text = good
    for _ in range(1 + int(rng.geometric(0.5))):
        at, to = sorted(int(v) for v in rng.integers(len(text) + 1, size=2))
        to = min(to, at + int(rng.geometric(0.1)))
        odd = ODD_TEXT[int(rng.integers(len(ODD_TEXT)))]
        text = text[:at] + (odd, odd + text[at:to], "", text[at:to] * 2)[int(rng.integers(4))] + text[to:]
    return text


def spoil_json(rng: np.random.Generator, good: Any) -> Any:
    """A value somewhere exchanged, taken out or nested."""
    value = json.loads(json.dumps(good))
    for _ in range(1 + int(rng.geometric(0.6))):
        places = [*_places(value)]
        if not places:
            break
        holder, key = places[int(rng.integers(len(places)))]
        match int(rng.integers(4)):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case _:
                holder[key] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


# --- readers ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Reader:
    """A reader with good inputs. kind: how inputs are spoilt ("bytes", "text", "json"). read: takes what
    `kind` spoils. slow: gets a tenth of the inputs."""

    name: str
    kind: str
    good: tuple[Any, ...]
    read: Callable[[Any], Any]
    slow: bool = False

    def input(self, seed: int) -> Any:
        """The spoilt input of a seed."""
        rng = np.random.default_rng([seed, sum(self.name.encode())])
        good = self.good[int(rng.integers(len(self.good)))]
        if self.kind == "json" and rng.random() < 0.2:
            return spoil_bytes(rng, json.dumps(good).encode())
        if self.kind == "json":
            return json.dumps(spoil_json(rng, good)).encode()
        return spoil_text(rng, good) if self.kind == "text" else spoil_bytes(rng, good)

    def fault(self, given: Any) -> str | None:
        """What went wrong beyond a refusal, or None."""
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self.read(given)
        except TradespaceError as error:
            sentence = str(error)
            return None if sentence.strip() else "an error without a sentence"
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if str(ROOT) in f.filename and Path(f.filename) != Path(__file__)]
            last = (ours or frames)[-1]
            return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {error}"
        return None


def from_file(folder: Path, name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """A reader of bytes through a file."""

    def through(content: bytes) -> Any:
        path = folder / name
        path.write_bytes(content)
        return read(path)

    return through


def goal_readers() -> Iterator[Reader]:
    """The grammar of limits, and values that the command line fixes."""
    from tradespace.search.cli.arguments import read_fixes

    problem = ts.problem("adacc")
    limits = ("peak<=24GiB", "step_time <= 1.5 ms", "peak >= 90kB", "peak<=memory", "step_time<=2e-3")
    yield Reader("goal", "text", limits, lambda text: ts.Goal(limits=(text,)).resolve(problem))
    knapsack = ts.problem("knapsack", items=4)

    def fix(text: str) -> Any:
        return knapsack.fix(**read_fixes([text]))

    yield Reader("fix", "text", ("packed=[true,false,true,false]", "packed=false"), fix)


def run_readers(folder: Path) -> Iterator[Reader]:
    """What a run leaves: run.json, result.json, chunks, the tail, and a point to start from."""
    from tradespace.search.result import Result
    from tradespace.search.run import start_batch
    from tradespace.search.tail import Tail

    problem = ts.problem("knapsack", items=4)
    made = ts.solve(problem, "random", budget=ts.Budget(evaluations=12), runs=folder, storage="none").run_dir
    assert made is not None
    chunk = next((made / "rows").glob("*.npz"))
    asked, answer, rows = ((made / n).read_bytes() for n in ("run.json", "result.json", f"rows/{chunk.name}"))

    def with_file(name: str, content: bytes, good: bytes) -> Any:
        (made / name).write_bytes(content)
        try:
            return ts.regoal(made, ts.Goal())
        finally:
            (made / name).write_bytes(good)

    yield Reader(
        "run.json", "json", (json.loads(asked),), lambda c: with_file("run.json", c, asked), slow=True
    )

    def resumed(content: bytes) -> Any:
        (made / "run.json").write_bytes(content)
        try:
            return ts.resume(made, budget=ts.Budget(evaluations=12), storage="none")
        finally:
            (made / "run.json").write_bytes(asked)
            (made / "result.json").write_bytes(answer)

    yield Reader("resume", "json", (json.loads(asked),), resumed, slow=True)
    yield Reader("chunk", "bytes", (rows,), lambda c: with_file(f"rows/{chunk.name}", c, rows), slow=True)
    other = folder / "results"
    other.mkdir()
    load = from_file(other, "result.json", Result.load)
    yield Reader("result.json", "json", (json.loads(answer),), load)
    tail = Tail(folder / "tail.log")
    tail.append(3, {"x.a": np.arange(6), "m.time": np.linspace(0, 1, 6), "failed": np.zeros(6, bool)})
    tail.append(3, {"x.a": np.arange(2), "m.time": np.ones(2), "failed": np.zeros(2, bool)})
    good = (folder / "tail.log").read_bytes()
    yield Reader("tail", "bytes", (good,), from_file(folder, "t.log", lambda p: [*Tail(p).read()]))
    points = ({"packed": [True, False, True, False]}, {"best": {"point": {"packed": [True] * 4}}})
    yield Reader("start", "json", points, from_file(folder, "start.json", lambda p: start_batch(problem, p)))


def journal_reader(folder: Path) -> Iterator[Reader]:
    """The journal beside the runs."""
    from tradespace.search.journal import open_journal

    ts.solve(ts.problem("knapsack", items=3), "exhaustive", runs=folder)
    good = (folder / "journal.log").read_bytes()
    head = b"".join(good.splitlines(True)[:12])

    def read(path: Path) -> Any:
        for other in folder.glob("j.log*"):
            if other != path:
                other.unlink()
        storage, _ = open_journal(path)
        return storage.get_all_studies()

    yield Reader("journal", "bytes", (head,), from_file(folder, "j.log", read), slow=True)


def serving_readers(folder: Path) -> Iterator[Reader]:
    """Traces of requests in every format, graphs of applications."""
    from tradespace.problems.serving.pdgraph import read_graphs
    from tradespace.problems.serving.readers import read_trace

    csvs = (
        b"arrival,class,input,output\n0.0,chat,100,20\n0.5,code,300,10\n1.25,chat,90,31\n",
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
        b"2023-11-16 18:17:04.0319600,3180,8\n",
        b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,"
        b"Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n",
        b"app,func,end_timestamp,duration\na1,f1,12.5,0.3\na1,f2,13.5,1.3\n",
    )
    yield Reader("trace.csv", "bytes", csvs, from_file(folder, "t.csv", read_trace))
    lines = b'{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}\n' * 3
    yield Reader("trace.jsonl", "bytes", (lines,), from_file(folder, "t.jsonl", read_trace))
    graph = {"app": {
        "start": {"type": "start", "next": ["plan"]},
        "plan": {"type": "llm", "next": ["end"], "input_len": [10, 20], "output_len": [5, 6]},
        "end": {"type": "end", "next": []},
    }}  # fmt: skip
    yield Reader("graphs", "json", (graph,), from_file(folder, "g.json", read_graphs))


def hardware_readers(folder: Path) -> Iterator[Reader]:
    """Devices of one's own, tables of measurements."""
    from tradespace.costmodels.profiles import read_table
    from tradespace.hardware.files import read_device

    device = (
        'name = "mine"\nlike = "h100-sxm-80gb"\n[quantities]\n'
        '"dram.bandwidth" = { value = "4.1TB/s", source = "letter", kind = "datasheet" }\n'
        '"power" = { value = 650, source = "rack limit", kind = "measured" }\n'
    )
    read = from_file(folder, "d.toml", lambda p: read_device(p, ts.device))
    yield Reader("device", "text", (device,), lambda text: read(text.encode(errors="replace")))

    def table(path: Path) -> Any:
        found = read_table(path)
        return found.numbers("m"), found.text("time")

    yield Reader(
        "profile", "bytes", (b"m,n,time\n16,32,1e-3\n64,128,2e-3\n",), from_file(folder, "p.csv", table)
    )


def scene_readers(folder: Path) -> Iterator[Reader]:
    """Scenes in every format, cameras, schedules."""
    from tradespace.problems.diffusion.schedule import Schedule
    from tradespace.problems.rendering.colmap import read_cameras
    from tradespace.problems.rendering.readers import read_scene

    schedule = json.loads(Schedule((1.0, 0.5, 0.25)).to_json())
    yield Reader("schedule", "json", (schedule,), from_file(folder, "s.json", Schedule.load))
    sys.path.insert(0, str(ROOT))
    try:
        from tests.problems.rendering import test_readers as made
    except ImportError:  # an installation without its tests
        return
    scene = made.SCENE.take(slice(0, 24))
    for name, write, _ in made.FORMATS:
        path = folder / name
        write(path, scene)
        read = from_file(folder, f"spoilt{path.suffix}", read_scene)
        yield Reader(f"scene {name}", "bytes", (path.read_bytes(),), read, slow=True)
    np.savez(folder / "c.npz", viewmats=np.eye(4)[None], Ks=np.eye(3)[None] * 50, width=8, height=8)
    yield Reader(
        "cameras", "bytes", ((folder / "c.npz").read_bytes(),), from_file(folder, "cam.npz", read_cameras)
    )


def readers(folder: Path) -> Iterator[Reader]:
    """Every reader, each with a folder of its own."""
    yield from goal_readers()
    makers = (run_readers, journal_reader, serving_readers, hardware_readers, scene_readers)
    for maker in makers:
        own = folder / maker.__name__
        own.mkdir(parents=True)
        yield from maker(own)


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
            if wanted is not None and reader.name not in wanted:
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
