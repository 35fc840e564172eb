"""Every reader of what comes from outside: goals, runs, journals, traces, devices, scenes, clips, caches."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_inputs import ROOT, Reader, from_file

import tradespace as ts


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
        "arrival;input;output\r\n2024-05-10 00:00:00,5+05:45;10;2\r\n".encode("utf-16"),
        b'[{"TIMESTAMP": 1715299200500, "ContextTokens": 9, "GeneratedTokens": 0},'
        b' {"TIMESTAMP": 1715299200501, "ContextTokens": 9, "GeneratedTokens": 1}]',
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
    from tradespace.costmodels.profile_tables import read_table
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
    for name, form in (("text", "ascii"), ("lists", "binary_big_endian")):
        made.rewritten(folder / f"{name}.ply", form, lists="uneven")
        content = ((folder / f"{name}.ply").read_bytes(),)
        yield Reader(f"scene {name}", "bytes", content, from_file(folder, "s.ply", read_scene), slow=True)
    made.write_spz(folder / "plain.spz", scene, 2, False, b"\3\0\xbe\xad\4\0\0\0\5\0\0\0")
    plain = ((folder / "plain.spz").read_bytes(),)
    yield Reader("scene plain.spz", "bytes", plain, from_file(folder, "p.spz", read_scene), slow=True)
    np.savez(folder / "c.npz", viewmats=np.eye(4)[None], Ks=np.eye(3)[None] * 50, width=8, height=8)
    yield Reader(
        "cameras", "bytes", ((folder / "c.npz").read_bytes(),), from_file(folder, "cam.npz", read_cameras)
    )


def cache_readers(folder: Path) -> Iterator[Reader]:
    """What Tradespace keeps between runs: calibrations, laws, graphs, weights, trials, counts, sweeps."""
    from tradespace.costmodels import gemm
    from tradespace.hardware.host import host, probe
    from tradespace.problems.diffusion.sensitivities import Sensitivities, shipped
    from tradespace.search.folder import RunFolder
    from tradespace.search.run import resume

    os.environ["TRADESPACE_HOME"] = str(folder)

    def calibrated(path: Path) -> Any:
        return gemm(host(), m=64, n=64, k=64, dtype="fp32")

    record = json.loads(json.dumps(probe().record()))
    entry = {"coefficients": {"a": 1.0}, "sigma": 0.1}
    given = (record, {**record, "calibration": {"gemm": {"fp32": entry}}})
    yield Reader("calibration", "json", given, from_file(folder, "host.json", calibrated))
    table = shipped().record()
    yield Reader("sensitivities", "json", (table,), from_file(folder, "errors.json", Sensitivities.load))

    grid = ts.problem("matmul-tile", m=512)
    swept = ts.solve(grid, "exhaustive", budget=ts.Budget(evaluations=10_000), runs=folder, storage="none")
    assert swept.run_dir is not None
    front = (swept.run_dir / "result.front.npz").read_bytes()
    run = swept.run_dir

    def fronts(content: bytes) -> Any:
        (run / "result.front.npz").write_bytes(content)
        return ts.Result.load(run).front_rows()

    yield Reader("front", "bytes", (front,), fronts)
    state = {"cursor": np.array(3), "x": np.arange(4), "front": np.eye(3)}
    RunFolder(folder).write_arrays("s.npz", state)
    good = (folder / "s.npz").read_bytes()
    kept = RunFolder(folder)
    yield Reader("arrays", "bytes", (good,), from_file(folder, "a.npz", lambda p: kept.read_arrays(p.name)))
    yield from streamed_readers(folder, resume)
    yield from torch_readers(folder)


def streamed_readers(folder: Path, resume: Any) -> Iterator[Reader]:
    """The cursor of a long enumeration."""
    from tradespace.search import session

    before, session.KEPT_ROWS = session.KEPT_ROWS, 100
    try:
        made = ts.solve(ts.problem("knapsack", items=10), "exhaustive", runs=folder, storage="none").run_dir
    finally:
        session.KEPT_ROWS = before
    assert made is not None
    good = (made / "sweep.npz").read_bytes()
    run = made

    def again(content: bytes) -> Any:
        before, session.KEPT_ROWS = session.KEPT_ROWS, 100
        (run / "sweep.npz").write_bytes(content)
        try:
            return resume(run, storage="none")
        finally:
            session.KEPT_ROWS = before

    yield Reader("sweep", "bytes", (good,), again, slow=True)


def torch_readers(folder: Path) -> Iterator[Reader]:
    """Weights, trials, timed laws, recorded graphs, texts and clips: where torch and PyAV are there."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    from tradespace.problems.diffusion.description import DiTConfig
    from tradespace.problems.diffusion.dit import VideoDiT
    from tradespace.problems.diffusion.measured import kept_law
    from tradespace.problems.diffusion.training import load_weights, save_arrays
    from tradespace.problems.diffusion.trials import Trials
    from tradespace.problems.training.execution.catalogue import kept_graph
    from tradespace.problems.training.execution.modules import characters
    from tradespace.problems.training.graph import Graph

    small = DiTConfig(frames=2, side=8, patch=(2, 4, 4), width=12, blocks=1, heads=1)
    save_arrays(folder / "w.npz", dict(VideoDiT(small).state_dict()))
    good = (folder / "w.npz").read_bytes()
    load = from_file(folder, "weights.npz", lambda p: load_weights(small, p))
    yield Reader("weights", "bytes", (good,), load, slow=True)
    law = {"seconds": [0.1 * i for i in range(11)], "flops_fixed": 1.0, "flops_slope": 2.0, "sigma": 0.1,
           "cache": 5.0}  # fmt: skip
    yield Reader("law", "json", (law,), from_file(folder, "law.json", kept_law))

    known = Trials(None, "w", 3, folder)  # type: ignore[arg-type]
    fields = {"psnr": 30.0, "ssim": 0.9, "error": 0.1, "seconds": 1.0}
    line = json.dumps({"schedule": "[10,5,5]", "prompt": [0, 1], **fields})
    jumps = json.dumps({"prompt": [0, 1], "jumps": [1.0, 2.0, 3.0]})

    def tried(content: str) -> Any:
        known.path.write_text(content, encoding="utf-8", errors="replace")
        known.__dict__.pop("_known", None)
        return known._known

    yield Reader("trials", "text", (f"{line}\n{jumps}\n{line}\n",), tried)
    saved = {"buffer": 0, "path": "a", "producer": "gelu", "content": "activation", "block": 0, "size": 64,
             "width": 8, "created": 0, "packed": 1, "natural": 2, "unpacked": 3, "died": 4, "parents": [],
             "refused": "", "treatments": []}  # fmt: skip
    names = set(Graph.__dataclass_fields__)
    graph = {"name": "m", "digest": "d", "forward": 2, "static": 5, "base_seconds": 0.1, "blocks": 1,
             "other": [1, 2, 3], "saved": [saved]}  # fmt: skip
    assert names == set(graph)
    yield Reader("graph", "json", (graph,), from_file(folder, "graph.json", kept_graph))
    text = b"to be or not to be, that is the question\n" * 300
    yield Reader("text", "bytes", (text,), from_file(folder, "t.txt", characters))
    with_clips = clip_reader(folder)
    if with_clips is not None:
        yield with_clips


def clip_reader(folder: Path) -> Reader | None:
    """A small lossless video."""
    try:
        import av
    except ImportError:
        return None
    from tradespace.problems.diffusion.clips import read_clip

    av.logging.set_level(av.logging.PANIC)
    path = folder / "good.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "bgr0"
        for picture in np.random.default_rng(0).integers(256, size=(3, 16, 24, 3), dtype=np.uint8):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return Reader("clip", "bytes", (path.read_bytes(),), from_file(folder, "c.mkv", read_clip), slow=True)


def folder_readers(folder: Path) -> Iterator[Reader]:
    """Readers of several files in a folder: COLMAP models, levels of a scene, profiles, logs, runs' names."""
    from tradespace.costmodels import profiles
    from tradespace.problems.rendering.colmap import read_cameras
    from tradespace.problems.rendering.counts import FrameCounts
    from tradespace.problems.rendering.readers import read_scene
    from tradespace.problems.serving.logs import engine_of, read_log
    from tradespace.problems.serving.mesh.workload import load
    from tradespace.search.cli.arguments import make_problem
    from tradespace.search.folder import find_run

    model = folder / "model"
    model.mkdir()
    lenses = "1 PINHOLE 64 48 50 50 32 24\n2 SIMPLE_PINHOLE 64 48 50 32 24\n"
    images = "1 1 0 0 0 0 0 1 1 a.png\n0 0 -1\n2 0.9 0.1 0 0 0 0 1 2 b.png\n\n"
    (model / "images.txt").write_text(images)
    (model / "cameras.txt").write_text(lenses)

    def colmap(name: str, good: str) -> Any:
        def read(content: bytes) -> Any:
            (model / name).write_bytes(content)
            try:
                return read_cameras(model)
            finally:
                (model / name).write_text(good)

        return read

    yield Reader("cameras.txt", "bytes", (lenses.encode(),), colmap("cameras.txt", lenses))
    yield Reader("images.txt", "bytes", (images.encode(),), colmap("images.txt", images))
    binary = folder / "binary"
    binary.mkdir()
    import struct

    lens = struct.pack("<Q", 1) + struct.pack("<iiQQ", 1, 1, 64, 48) + struct.pack("<4d", 50, 50, 32, 24)
    seen = struct.pack("<Q", 1) + struct.pack("<i7di", 1, 1, 0, 0, 0, 0, 0, 1, 1) + b"a.png\0"
    seen += struct.pack("<Q", 1) + struct.pack("<ddq", 0.0, 0.0, -1)
    both = {"cameras.bin": lens, "images.bin": seen}
    for name, content in both.items():
        (binary / name).write_bytes(content)

    def colmap_binary(name: str) -> Any:
        def read(content: bytes) -> Any:
            (binary / name).write_bytes(content)
            try:
                return read_cameras(binary)
            finally:
                (binary / name).write_bytes(both[name])

        return read

    for name, content in both.items():
        yield Reader(name, "bytes", (content,), colmap_binary(name))
    points = {"means3d": np.random.default_rng(0).normal(size=(9, 3)), "colors": np.full((9, 3), 0.5)}
    np.savez(folder / "p.npz", **points)  # type: ignore[arg-type]
    good = (folder / "p.npz").read_bytes()
    yield Reader("points", "bytes", (good,), from_file(folder, "points.npz", read_scene), slow=True)
    levels = folder / "levels"
    levels.mkdir()
    meta = {"lodLevels": 2, "filenames": ["0_0/meta.json", "1_0/meta.json"],
            "tree": {"lods": {"0": {"file": 0, "offset": 0, "count": 5}}, "children": []}}  # fmt: skip
    yield Reader(
        "lod-meta", "json", (meta,), from_file(levels, "lod-meta.json", lambda p: read_scene(levels))
    )
    plain = {"meta.json": 1, "version": 2, "count": 4, "antialias": False}
    yield Reader("sog meta", "json", (plain,), from_file(folder, "meta.json", read_scene))

    log = folder / "log"
    log.mkdir()
    row = {"arrival_ts": 0.0, "queued_ts": 0.1, "first_token_ts": 0.5, "last_token_ts": 1.5,
           "input_toks": 10, "output_toks": 5}  # fmt: skip
    lines = "".join(json.dumps({**row, "queued_ts": 0.1 * i}) + "\n" for i in range(4))
    yield Reader("vllm log", "text", (lines,), _text_file(log / "requests.jsonl", lambda p: read_log(log)))
    engine = {"kv_cache": {"num_gpu_blocks": 100, "block_size": 16}, "engine_kwargs": {"max_num_seqs": 8,
              "max_num_batched_tokens": 512}}  # fmt: skip
    yield Reader(
        "vllm meta", "json", (engine,), from_file(log, "meta.json", lambda p: engine_of(read_log(log)))
    )
    functions = [{"model": 0, "arrival": [0.0, 1.0], "input": [5, 6], "output": [1, 2]}]
    yield Reader("mesh trace", "json", (functions,), from_file(folder, "m.json", lambda p: load(p, 2, 1.0)))
    import gzip

    csv = gzip.compress(b"arrival,class,input,output\n0.0,chat,100,20\n0.5,code,300,10\n")
    from tradespace.problems.serving.readers import read_trace

    yield Reader("trace.csv.gz", "bytes", (csv,), from_file(folder, "t.csv.gz", read_trace))
    nvidia = folder / "profiles" / "aiconfigurator"
    nvidia.mkdir(parents=True)
    measured = "m,n,k,latency_ms\n16,32,64,0.1\n64,32,64,0.2\n"

    def tables(path: Path) -> Any:
        return [*profiles.load(folder / "profiles")]

    yield Reader("profiles", "text", (measured,), _text_file(nvidia / "a100_sxm_gemm_bfloat16.csv", tables))
    counts = folder / "counts.npz"
    plain_counts = {"width": 4, "height": 4}
    np.savez(counts, plain=np.frombuffer(json.dumps(plain_counts).encode(), np.uint8), tile_a=np.arange(3))

    def kept(path: Path) -> Any:
        try:
            return FrameCounts.load(path)
        except Exception:
            return None  # whoever reads a cache makes it anew, whatever is wrong with it

    yield Reader("counts", "bytes", (counts.read_bytes(),), from_file(folder, "counts2.npz", kept))
    runs = folder / "runs"
    ts.solve(ts.problem("knapsack", items=3), "exhaustive", runs=runs, storage="none")

    def run_name(text: str) -> Any:
        return find_run(text.replace("\0", ""), runs)

    yield Reader("run name", "text", ("7f3a", "last", "runs/knapsack/2026-11-27T074512-7f3a"), run_name)
    options = ("--memory=40GiB", "--batch=16", "--layers=none", "--device=a100-sxm-80gb", "--offload")
    yield Reader("options", "text", options, lambda text: make_problem("adacc", [text]))


def _text_file(path: Path, read: Any) -> Any:
    return lambda text: from_file(path.parent, path.name, read)(text.encode(errors="replace"))


def readers(folder: Path) -> Iterator[Reader]:
    """Every reader, each with a folder of its own."""
    yield from goal_readers()
    makers = (run_readers, journal_reader, serving_readers, hardware_readers, scene_readers,
              cache_readers, folder_readers)  # fmt: skip
    for maker in makers:
        own = folder / maker.__name__
        own.mkdir(parents=True)
        yield from maker(own)
