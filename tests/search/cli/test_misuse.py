"""Every command called wrongly, ten ways and more each: exit code 2, one sentence, never a traceback."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

GARBAGE = bytes(range(256)) * 8
PROBLEM = """
import tradespace as ts

class Mine(ts.Problem):
    a = ts.Int(0, 9)
    b = ts.Bool()
    t = ts.Metric("s", "min", at_most=7)
    u = ts.Metric("B", "max")

    def evaluate(self, x):
        return {"t": 1.0 * x.a, "u": 2.0 * x.a + x.b}
"""

# command -> ways to call it, each words with what its sentence holds. R is a run, PORT a port in use; there
# are the files mine.py, taken (a text), garbage.* (bytes), the empty folder, and the folder garbage of a run.
WAYS: dict[str, list[tuple[str, str]]] = {
    "list": [
        ("--solver", "--solvers"),
        ("--nope", "--nope"),
        ("knapsack", "knapsack"),
        ("--json=1", "--json"),
        ("--solvers ga", "ga"),
        ("--solvers=yes", "--solvers"),
        ("-x", "-x"),
        ("--runs runs", "--runs"),
        ("--json extra", "extra"),
        ("--problems", "--problems"),
    ],
    "show": [
        ("", "PROBLEM"),
        ("knapsak", "'knapsack'"),
        ("nofile.py:Mine", "nofile.py"),
        ("mine.py:Mien", "'Mine'"),
        ("garbage.py:Mine", "garbage.py"),
        ("empty:Mine", "empty"),
        ("empty", "'empty'"),
        ("taken", "'taken'"),
        (":Mine", ":Mine"),
        ("knapsack --item 3", "'--items'"),
        ("knapsack --items many", "'many'"),
        ("knapsack --items -3", "items"),
        ("knapsack extra", "'extra'"),
        ("no_module:Mine", "no_module"),
        ("os:path", "os"),
    ],
    "new": [
        ("", "name"),
        ("3wishes", "3wishes"),
        ("class", "class"),
        ("mine", "exists"),
        ("a/b", "a/b"),
        ("mine.py", "exists"),
        ("my-cache --folder nowhere", "nowhere"),
        ("my-cache --folder taken", "taken"),
        ("my-cache extra", "extra"),
        ("my-cache --nope", "--nope"),
        ("my-cache --folder", "--folder"),
        ("..", ".."),
    ],
    "check": [
        ("", "PROBLEM"),
        ("knapsak", "'knapsack'"),
        ("mine.py:Mien", "'Mine'"),
        ("nofile.py:Mine", "nofile.py"),
        ("garbage.py:Mine", "garbage.py"),
        ("knapsack --points 1", "--points"),
        ("knapsack --points many", "'many'"),
        ("knapsack --points -5", "--points"),
        ("knapsack --points inf", "--points"),
        ("knapsack --points", "--points"),
        ("knapsack --item 3", "'--items'"),
        ("knapsack extra", "'extra'"),
        ("empty", "'empty'"),
    ],
    "run": [
        ("knapsak", "'knapsack'"),
        ("mine.py:Mien", "'Mine'"),
        ("garbage.py:Mine", "garbage.py"),
        ("empty:Mine", "empty"),
        ("mine.py:Mine --solver gaa", "'ga'"),
        ("mine.py:Mine --solver taken", "'taken'"),
        ("mine.py:Mine --solver milp", "milp"),
        ("mine.py:Mine --evals 0", "--evals"),
        ("mine.py:Mine --evals 1.5", "--evals"),
        ("mine.py:Mine --evals 10x", "'10x'"),
        ("mine.py:Mine --evals inf", "--evals"),
        ("mine.py:Mine --seconds -1", "--seconds"),
        ("mine.py:Mine --seconds inf", "--seconds"),
        ("mine.py:Mine --seconds 5kg", "'5kg'"),
        ("mine.py:Mine --gap 150%", "gap"),
        ("mine.py:Mine --gap small", "'small'"),
        ("mine.py:Mine --seed -1", "--seed"),
        ("mine.py:Mine --seed 1.5", "--seed"),
        ("mine.py:Mine --workers 0", "--workers"),
        ("mine.py:Mine --workers 1e9", "workers"),
        ("mine.py:Mine --executor nowhere", "nowhere"),
        ("mine.py:Mine --minimize tt", "'t'"),
        ("mine.py:Mine --minimize t --maximize t", "twice"),
        ("mine.py:Mine --limit t", "'t'"),
        ("mine.py:Mine --limit t<=5kg", "kg"),
        ("mine.py:Mine --limit v<=5", "'v'"),
        ("mine.py:Mine --no-limit v", "'v'"),
        ("mine.py:Mine --fix a", "NAME=VALUE"),
        ("mine.py:Mine --fix =3", "NAME=VALUE"),
        ("mine.py:Mine --fix a=99", "99"),
        ("mine.py:Mine --fix c=1", "'c'"),
        ("mine.py:Mine --fix a=1 --fix a=2", "second one"),
        ("mine.py:Mine --pick v", "'v'"),
        ("mine.py:Mine --pick 99", "'99'"),
        ("mine.py:Mine --start nofile", "nofile"),
        ("mine.py:Mine --start taken", "taken"),
        ("mine.py:Mine --start garbage.json", "garbage.json"),
        ("mine.py:Mine --start empty", "empty"),
        ("mine.py:Mine --robust 0.1", "0.5"),
        ("mine.py:Mine --robust x", "'x'"),
        ("mine.py:Mine --robust 0.9 --pick t", "--pick"),
        ("mine.py:Mine --runs taken", "taken"),
        ("mine.py:Mine --storage nowhere://x", "nowhere"),
        ("mine.py:Mine --study both --solver random", "--study"),
        ("mine.py:Mine --study=", "study"),
        ("mine.py:Mine --sed 3", "'--seed'"),
        ("mine.py:Mine extra", "'extra'"),
        ("mine.py:Mine --dry=1", "--dry"),
    ],
    "resume": [
        ("nope", "nope"),
        ("R extra", "extra"),
        ("R --evals -1", "--evals"),
        ("R --evals many", "'many'"),
        ("R --seconds soon", "'soon'"),
        ("R --gap 2", "gap"),
        ("R --workers 0", "--workers"),
        ("R --executor nowhere", "nowhere"),
        ("R --nope", "--nope"),
        ("R --solver ga", "--solver"),
        ("last --runs empty", "empty"),
        ("last --runs nowhere", "nowhere"),
        ("last --runs taken", "taken"),
        ("garbage", "run.json"),
        ("empty", "empty"),
        ("taken", "taken"),
        ("mine.py", "mine.py"),
    ],
    "regoal": [
        ("", "RUN"),
        ("nope", "nope"),
        ("R --minimize v", "'v'"),
        ("R --maximize", "--maximize"),
        ("R --limit t", "'t'"),
        ("R --limit t<=1 --limit t<=2", "second"),
        ("R --limit t<=1 --limit t>=2", "contradict"),
        ("R --limit t<=5kg", "kg"),
        ("R --no-limit v", "'v'"),
        ("R --pick v", "'v'"),
        ("R --pick 99", "'99'"),
        ("R --nope", "--nope"),
        ("garbage", "run.json"),
        ("empty", "empty"),
        ("last --runs taken", "taken"),
    ],
    "explain": [
        ("nope", "nope"),
        ("R extra", "extra"),
        ("R --draws -1", "--draws"),
        ("R --draws many", "'many'"),
        ("R --resolves 1.5", "--resolves"),
        ("R --sobol -1", "--sobol"),
        ("R --seconds 0", "--seconds"),
        ("R --worth=1", "--worth"),
        ("R --nope", "--nope"),
        ("garbage", "run.json"),
        ("empty", "empty"),
        ("last --runs nowhere", "nowhere"),
    ],
    "report": [
        ("nope", "nope"),
        ("R extra", "extra"),
        ("R --out page.pdf", "page.pdf"),
        ("R --out empty", "empty"),
        ("R --out taken/page.html", "taken"),
        ("R --out folder.html", "folder.html"),
        ("R --out", "--out"),
        ("R --nope", "--nope"),
        ("garbage", "result.json"),
        ("empty", "empty"),
        ("last --runs taken", "taken"),
        ("last --runs nowhere", "nowhere"),
    ],
    "export": [
        ("", "RUN"),
        ("R", "--out"),
        ("nope --out a.csv", "nope"),
        ("R --out a.xls", "a.xls"),
        ("R --out front", "front"),
        ("R --out empty", "empty"),
        ("R --out taken/a.csv", "taken"),
        ("R --out folder.csv", "folder.csv"),
        ("R --out a.mps", "MPS"),
        ("R --out a.csv extra", "extra"),
        ("R --out a.csv --nope", "--nope"),
        ("garbage --out a.csv", "result.json"),
        ("empty --out a.csv", "empty"),
        ("last --runs taken --out a.csv", "taken"),
    ],
    "apply": [
        ("nope", "nope"),
        ("R", "apply"),
        ("R extra", "extra"),
        ("R --steps 0", "--steps"),
        ("R --steps many", "'many'"),
        ("R --seed -1", "--seed"),
        ("R --evolve 0", "--evolve"),
        ("R --text nofile", "apply"),
        ("R --nope", "--nope"),
        ("garbage", "run.json"),
        ("empty", "empty"),
        ("last --runs nowhere", "nowhere"),
    ],
    "reproduce": [
        ("", "PROBLEM"),
        ("knapsak", "'knapsack'"),
        ("knapsack", "reproduce"),
        ("mine.py:Mine", "reproduce"),
        ("mine.py:Mien", "'Mine'"),
        ("nofile.py:Mine", "nofile.py"),
        ("garbage.py:Mine", "garbage.py"),
        ("llm-mesh --trce x", "'--trace'"),
        ("llm-mesh --minutes many", "'many'"),
        ("llm-mesh extra", "'extra'"),
        ("llm-mesh --minutes", "--minutes"),
        ("llm-mesh --trace nofile", "nofile"),
        ("knapsack --figures taken", "reproduce"),
        ("empty", "'empty'"),
    ],
    "render": [
        ("", "SCENE"),
        ("nofile.ply", "nofile.ply"),
        ("taken", "taken"),
        ("empty", "empty"),
        ("garbage.ply", "garbage.ply"),
        ("garbage.spz", "garbage.spz"),
        ("garbage.sog", "garbage.sog"),
        ("scene.txt", "scene.txt"),
        ("garbage.ply --out a.gif", "a.gif"),
        ("garbage.ply --size 0x0", "0x0"),
        ("garbage.ply --size big", "'big'"),
        ("garbage.ply --background mauve", "mauve"),
        ("garbage.ply --threads 0", "--threads"),
        ("garbage.ply --tile x", "--tile"),
        ("garbage.ply --orbit 0", "--orbit"),
        ("garbage.ply --fov wide", "'wide'"),
        ("garbage.ply --level -1", "--level"),
        ("garbage.ply extra", "extra"),
        ("garbage.ply --nope", "--nope"),
    ],
    "compare": [
        ("", "PROBLEM"),
        ("knapsak", "'knapsack'"),
        ("mine.py:Mine --solvers gaa", "'ga'"),
        ("mine.py:Mine --solvers ,", "solver"),
        ("mine.py:Mine --seeds 0", "--seeds"),
        ("mine.py:Mine --seeds many", "'many'"),
        ("mine.py:Mine --evals -1", "--evals"),
        ("mine.py:Mine --workers 0", "--workers"),
        ("mine.py:Mine --minimize v", "'v'"),
        ("mine.py:Mine --fix a=99", "99"),
        ("mine.py:Mine --fix a=1 --fix a=2", "second one"),
        ("mine.py:Mine --sed 3", "--sed"),
        ("mine.py:Mine --solvers milp", "milp"),
        ("mine.py:Mine --solvers random --evals 5 --seeds 1 --out taken", "taken"),
        ("R", "two or more"),
        ("R R", "twice"),
        ("R nope", "nope"),
        ("R garbage", "result.json"),
        ("R R --evals 5", "--evals"),
        ("knapsack mixed", "mixed"),
    ],
    "dashboard": [
        ("--port many", "'many'"),
        ("--port -1", "--port"),
        ("--port 70000", "--port"),
        ("--port PORT", "PORT"),
        ("--runs nowhere", "nowhere"),
        ("--runs taken", "taken"),
        ("--runs empty", "empty"),
        ("--storage nowhere://x", "nowhere"),
        ("--storage garbage.log", "garbage.log"),
        ("--storage empty", "empty"),
        ("--last 0", "--last"),
        ("--last many", "'many'"),
        ("extra", "extra"),
        ("--nope", "--nope"),
    ],
    "devices": [
        ("a100", "'a100"),
        ("nofile.toml", "nofile.toml"),
        ("garbage.toml", "garbage.toml"),
        ("folder.toml", "folder.toml"),
        ("taken", "'taken'"),
        ("empty", "'empty'"),
        ("a100-sxm-80gb extra", "extra"),
        ("--nope", "--nope"),
        ("--json=1", "--json"),
        ("empty.toml", "empty.toml"),
        ("mine.py", "mine.py"),
    ],
    "calibrate": [
        ("a100", "'a100"),
        ("a100-sxm-80gb", "CUDA"),
        ("--family gem", "gem"),
        ("--family", "--family"),
        ("--shapes 3", "--shapes"),
        ("--shapes many", "'many'"),
        ("--passes 1", "--passes"),
        ("--out empty", "empty"),
        ("--out taken/a.json", "taken"),
        ("host extra", "extra"),
        ("--nope", "--nope"),
        ("garbage.toml", "garbage.toml"),
    ],
    "validate": [
        ("kernel", "'kernel'"),
        ("kernels extra", "extra"),
        ("--device a100", "'a100"),
        ("--device h100-sxm-80gb", "CUDA"),
        ("--family gem", "gem"),
        ("--shapes 3", "--shapes"),
        ("--profiles nowhere", "nowhere"),
        ("--profiles taken", "taken"),
        ("--profiles empty", "empty"),
        ("--plot a.xyz", "a.xyz"),
        ("--plot taken/a.png", "taken"),
        ("--plot folder.png", "folder.png"),
        ("serving", "--log"),
        ("serving --log nowhere", "nowhere"),
        ("serving --log empty", "empty"),
        ("serving --log taken", "taken"),
        ("--nope", "--nope"),
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things that are not what they should be, and one run."""
    from tradespace import Budget, problem, solve

    folder = tmp_path_factory.mktemp("misuse")
    (folder / "mine.py").write_text(PROBLEM)
    (folder / "taken").write_text("a text")
    (folder / "scene.txt").write_text("a text")
    (folder / "empty.toml").write_text("")
    for name in (
        "garbage.py",
        "garbage.json",
        "garbage.toml",
        "garbage.ply",
        "garbage.spz",
        "garbage.sog",
        "garbage.log",
    ):
        (folder / name).write_bytes(GARBAGE)
    for name in ("empty", "folder.html", "folder.csv", "folder.toml", "folder.png", "garbage"):
        (folder / name).mkdir()
    for name in ("run.json", "result.json", "journal.log"):
        (folder / "garbage" / name).write_bytes(GARBAGE)
    mine = problem(f"{folder}/mine.py:Mine")
    run = solve(mine, "random", budget=Budget(8), runs=folder / "runs").run_dir
    (folder / "run").write_text(run.name.rpartition("-")[2])
    return folder


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A port that is in use."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("command", WAYS)
def test_a_command_called_wrongly_says_so_in_one_sentence(
    cli: Cli, place: Path, port: int, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradespace.search.dashboard.Server.serve_forever", lambda *_: pytest.fail("served"))
    torch = pytest.importorskip("torch") if command in {"calibrate", "validate"} else None
    if torch is not None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    names = {"R": (place / "run").read_text(), "PORT": str(port)}
    faults = []
    for words, held in WAYS[command]:
        shown = cli(command, *(names.get(word, word) for word in words.split()))
        sentence = shown.err.strip()
        said = sentence.startswith("error: ") and sentence.count("error:") == 1
        short = len(sentence.splitlines()) == 1 and "Traceback" not in shown.out + sentence
        if shown.code != 2 or not said or not short or names.get(held, held) not in sentence:
            faults.append(f"optimize {command} {words}: {shown.code} {shown.out[-300:]} {sentence[-600:]}")
    assert not faults, "\n\n".join(faults)
    assert len(WAYS[command]) >= 10
    left = {p.relative_to(place).parts[0] for p in set(place.rglob("*")) - set(before)} - {
        "__pycache__",
        "runs",
    }
    assert not left


@pytest.mark.parametrize("word", ["\udcff", "a\0b", "long"])
@pytest.mark.parametrize("command", ["run", "resume", "devices", "render"])
def test_an_argument_that_is_no_text_or_no_path_is_refused(cli: Cli, command: str, word: str) -> None:
    shown = cli(command, word.replace("long", 5000 * "x"))
    assert shown.code == 2
    assert shown.err.startswith("error: ")
    assert "Traceback" not in shown.err


def test_every_command_is_called_wrongly() -> None:
    import typer

    from tradespace.search.cli.app import app

    assert WAYS.keys() == typer.main.get_command(app).commands.keys()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
@pytest.mark.parametrize(
    "words", ["run mine.py:Mine --start secret", "render secret.ply", "devices secret.toml"]
)
def test_a_file_that_may_not_be_read_is_named(cli: Cli, words: str) -> None:
    Path("mine.py").write_text(PROBLEM)
    for name in ("secret", "secret.ply", "secret.toml"):
        Path(name).touch(mode=0)
    shown = cli(*words.split())
    assert shown.code == 2
    assert "secret" in shown.err
    assert "Traceback" not in shown.err


def test_no_command_or_an_unknown_one_is_told_with_the_nearest(cli: Cli) -> None:
    for words, held in (("rum", "'run'"), ("--nope", "--nope"), ("exprot last", "'export'")):
        shown = cli(*words.split())
        assert (shown.code, shown.err.count("error:")) == (2, 1)
        assert held in shown.err
    assert cli().code == 2
