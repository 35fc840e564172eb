"""What a run leaves for the dashboard, read back through the dashboard's own interface."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import numpy as np
import optuna
import pytest

import tradespace as ts
from tradespace.errors import DataError, SolverUnavailable
from tradespace.search import dashboard as module
from tradespace.search.cli import main
from tradespace.search.dashboard import dashboard_application, open_newest, serve
from tradespace.search.journal import Journal, open_journal
from tradespace.search.study import MOST_FRONT, spread, staircases

pytest.importorskip("optuna_dashboard", reason="the extra 'dashboard' is not installed")
CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
API = Callable[[str], Any]


class Slope(ts.Problem):
    """One number down a slope, with a limit that cuts its best part off."""

    x = ts.Int(0, 99)
    level = ts.Choice("low", "high")

    time = ts.Metric("s", "min")
    memory = ts.Metric("B", at_most=70.0)

    def evaluate(self, x: Any) -> dict[str, Any]:
        return {"time": 1e-3 * (200.0 - x.x + 5 * (x.level == "high")), "memory": 1.0 * x.x}


class Shapes(ts.Problem):
    """A vector of each length and kind, some too long to show entry by entry."""

    short = ts.Menu(1, 2, 64, shape=3)
    codec = ts.Choice("raw", "int8", shape=40)
    sizes = ts.Int(0, 9, shape=30)
    flags = ts.Bool(shape=20)
    order = ts.Permutation(20)
    many = ts.Float(0.0, 1.0, shape=16)
    other = ts.Float(0.0, 1.0, shape=16)
    extra = ts.Int(1, 5, when={"switch": True})
    switch = ts.Bool()

    total = ts.Metric("1", "min")

    def evaluate(self, x: Any) -> dict[str, Any]:
        return {"total": x.sizes.sum(axis=1) + x.many.sum(axis=1) + (x.codec == "raw").sum(axis=1)}


class Wave(ts.Problem):
    """More than 10^6 points, so that only a front and a sample are kept."""

    a = ts.Int(1, 1100)
    b = ts.Int(1, 1000)

    up = ts.Metric("1", "min")
    down = ts.Metric("1", "min")

    def evaluate(self, x: Any) -> dict[str, Any]:
        return {"up": 1.0 * x.a + 0.001 * x.b, "down": 1.0 / x.a + 1e-6 * x.b}


def client(runs: Path, last: int = 30) -> API:
    """Answers of the dashboard's interface, without a server."""
    application, _, _ = dashboard_application(runs, last=last)

    def get(path: str) -> Any:
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ |= {"PATH_INFO": path, "wsgi.input": io.BytesIO()}
        status: list[str] = []
        body = b"".join(application(environ, lambda s, h, e=None: status.append(s)))
        assert status[0].startswith("200"), (status, body[:200])
        return json.loads(body)

    return get


@pytest.fixture(scope="module")
def slope(tmp_path_factory: pytest.TempPathFactory) -> tuple[ts.Result, dict[str, Any]]:
    runs = tmp_path_factory.mktemp("runs")
    result = ts.solve(Slope(), runs=runs)
    return result, client(runs)("/api/studies/0")


# --- rows ----------------------------------------------------------------------------------------------
def test_infeasible_rows_are_shown_as_infeasible(slope: tuple[ts.Result, dict[str, Any]]) -> None:
    result, study = slope
    assert len(study["trials"]) == 200
    for trial in study["trials"]:
        x = int(next(p["param_external_value"] for p in trial["params"] if p["name"] == "x"))
        assert trial["constraints"] == [x - 70.0]
        if x > 70:
            better = trial["values"][0] <= result.metrics["time"]
            assert trial["state"] == ("Pruned" if better else "Complete")


def test_the_best_trial_is_the_answer(slope: tuple[ts.Result, dict[str, Any]]) -> None:
    result, study = slope
    (best,) = study["best_trials"]
    assert best["values"] == [result.metrics["time"]]
    assert {a["key"]: a["value"] for a in best["user_attrs"]}["role"] == "answer"
    assert study["objective_names"] == ["time (s)"]


def test_constraints_stand_under_both_keys(tmp_path: Path) -> None:
    ts.solve(Slope(), runs=tmp_path)
    storage, _ = open_journal(tmp_path / "journal.log")
    trial = storage.get_all_trials(0)[99]
    assert trial.system_attrs["constraints"] == [trial.params["x"] - 70.0]
    assert trial.system_attrs["constraints:memory <= 70 B"] == trial.params["x"] - 70.0
    study = optuna.load_study(study_name=storage.get_all_studies()[0].study_name, storage=storage)
    assert study.best_trial.params["x"] == 70


def test_no_listed_best_trial_is_infeasible_or_off_the_front(tmp_path: Path) -> None:
    goal = ts.Goal(minimize=("time", "stored"), limits=("error<=0.02",))
    result = ts.solve(ts.problem("mixed"), "random", goal, ts.Budget(evaluations=3000), runs=tmp_path)
    study = client(tmp_path)("/api/studies/0")
    assert len(study["trials"]) <= 2_000
    best = {tuple(t["values"]) for t in study["best_trials"]}
    columns = result.front_columns
    assert best == set(zip(columns["time"].tolist(), columns["stored"].tolist(), strict=True))
    assert all(max(t["constraints"]) <= 0 for t in study["best_trials"])
    infeasible = [t for t in study["trials"] if max(t["constraints"]) > 0]
    assert {t["state"] for t in infeasible} == {"Complete", "Pruned"}


def test_where_nothing_is_feasible_no_trial_is_best(tmp_path: Path) -> None:
    ts.solve(Slope(), goal=ts.Goal(limits=("memory<=-1",)), runs=tmp_path)
    study = client(tmp_path)("/api/studies/0")
    assert study["best_trials"] == []
    assert "No feasible point" in study["note"]["body"]


def test_trials_carry_real_times_in_order(slope: tuple[ts.Result, dict[str, Any]]) -> None:
    result, study = slope
    starts = [t["datetime_start"] for t in study["trials"]]
    assert starts == sorted(starts)
    assert all(t["datetime_start"] <= t["datetime_complete"] for t in study["trials"])
    from datetime import datetime

    took = datetime.fromisoformat(study["trials"][-1]["datetime_complete"]) - datetime.fromisoformat(
        starts[0]
    )
    assert 0 < took.total_seconds() <= result.seconds + 0.5


def test_failed_rows_are_failed_trials(tmp_path: Path) -> None:
    class Holes(ts.Problem):
        x = ts.Int(0, 9)
        time = ts.Metric("s", "min")

        def evaluate(self, x: Any) -> dict[str, Any]:
            return {"time": np.where(x.x == 3, np.nan, np.where(x.x == 4, np.inf, 1.0 * x.x))}

    ts.solve(Holes(), runs=tmp_path)
    study = client(tmp_path)("/api/studies/0")
    states = {t["params"][0]["param_external_value"]: t["state"] for t in study["trials"]}
    assert states["3"] == "Fail"
    assert [t["values"] for t in study["best_trials"]] == [[0.0]]


def test_vectors_become_entries_or_summaries_and_at_most_forty_parameters(tmp_path: Path) -> None:
    ts.solve(Shapes(), "random", budget=ts.Budget(evaluations=50), runs=tmp_path)
    study = client(tmp_path)("/api/studies/0")
    names = {p["name"] for p in study["union_search_space"]}
    assert len(names) == 40
    assert {"short[0]", "short[2]", "switch", "extra", "many[15]"} <= names
    assert not any(n.startswith("order") for n in names)
    assert "more parameters are left out" in study["note"]["body"]
    extra = [[p["name"] for p in t["params"]].count("extra") for t in study["trials"]]
    assert 0 < sum(extra) < 50


def test_long_vectors_are_counted(tmp_path: Path) -> None:
    fixed = Shapes().fix(many=0.5, other=0.5)
    ts.solve(fixed, "random", budget=ts.Budget(evaluations=20), runs=tmp_path)
    storage, _ = open_journal(tmp_path / "journal.log")
    for trial in storage.get_all_trials(0):
        assert trial.params["codec: raw"] + trial.params["codec: int8"] == 40
        assert trial.params["sizes: min"] <= trial.params["sizes: mean"] <= trial.params["sizes: max"]
        assert 0 <= trial.params["flags: true"] <= 20


def test_a_long_enumeration_shows_its_front_and_a_sample(tmp_path: Path) -> None:
    result = ts.solve(Wave(), runs=tmp_path)
    study = client(tmp_path)("/api/studies/0")
    assert result.front_size > MOST_FRONT
    assert 1_000 <= len(study["trials"]) <= 2_000
    front = set(zip(result.front_columns["up"].tolist(), result.front_columns["down"].tolist(), strict=True))
    assert {tuple(t["values"]) for t in study["best_trials"]} <= front
    attributes = {a["key"]: a["value"] for a in study["user_attrs"]}
    assert attributes["rows_represented"] == "1100000"


# --- proofs --------------------------------------------------------------------------------------------
def test_a_milp_shows_its_incumbents_and_its_bound(tmp_path: Path) -> None:
    result = ts.solve(ts.problem("memory-plan"), "milp", runs=tmp_path)
    study = client(tmp_path)("/api/studies/0")
    roles: dict[str, list[Any]] = {}
    for trial in study["trials"]:
        roles.setdefault({a["key"]: a["value"] for a in trial["user_attrs"]}["role"], []).append(trial)
    (bound,) = roles["bound"]
    (answer,) = roles["answer"]
    assert bound["state"] == "Pruned"
    assert bound["values"][0] <= result.metrics["recompute_time"] * (1 + 1e-6)
    steps = [v["value"] for v in bound["intermediate_values"]]
    assert steps == sorted(steps)
    assert answer["state"] == "Complete"
    assert answer["intermediate_values"][-1]["value"] == result.metrics["recompute_time"]
    assert study["best_trials"][0]["values"] == [result.metrics["recompute_time"]]
    assert study["has_intermediate_values"]


def test_staircases_keep_only_changes() -> None:
    steps = [(0.0, None, 1.0), (0.1, 9.0, 1.0), (0.2, 9.0, 2.0), (0.3, 7.0, float("-inf"))]
    assert staircases(steps) == ([(0.1, 9.0), (0.3, 7.0)], [(0.0, 1.0), (0.2, 2.0)])


def test_a_thinned_front_keeps_its_ends() -> None:
    x = np.sort(np.random.default_rng(0).random(5_000))
    kept = spread(np.stack([x, 1 - x], axis=1), 300)
    assert len(kept) == 300
    assert {0, 4_999} <= set(kept.tolist())


# --- note, figures, artifact -----------------------------------------------------------------------------
def test_the_note_states_question_answer_certificate_and_origin(
    slope: tuple[ts.Result, dict[str, Any]],
) -> None:
    result, study = slope
    note = study["note"]["body"]
    expected = ["Minimise time, subject to memory <= 70 B", "**130 ms**", "**proven**: all 200 points scored"]
    for words in (*expected, result.provenance["digest"], "## Provenance", "slack 0"):
        assert words in note
    assert study["note"]["version"] == 1


def test_figures_are_readable_by_plotly(slope: tuple[ts.Result, dict[str, Any]], tmp_path: Path) -> None:
    import plotly.io

    ts.solve(ts.problem("matmul-tile"), runs=tmp_path)
    found = {f["id"]: f["graph_object"] for f in client(tmp_path)("/api/studies/0")["plotly_graph_objects"]}
    assert set(found) == {"front", "convergence", "sensitivity", "roofline"}
    assert len(plotly.io.from_json(found.pop("roofline")).layout.images) == 1
    for text in found.values():
        assert len(plotly.io.from_json(text).data) >= 1
        assert len(text) < 400_000
    single = {f["id"] for f in slope[1]["plotly_graph_objects"]}
    assert single == {"convergence", "sensitivity"}


def test_the_result_file_is_an_artifact(slope: tuple[ts.Result, dict[str, Any]]) -> None:
    result, study = slope
    (artifact,) = study["artifacts"]
    assert artifact["filename"] == "result.json"
    assert result.run_dir is not None
    stored = result.run_dir.parent.parent / "artifacts" / artifact["artifact_id"]
    assert json.loads(stored.read_text())["solver"] == result.solver


# --- where it goes -----------------------------------------------------------------------------------------
def test_a_study_is_named_after_problem_solver_seed_and_run(tmp_path: Path) -> None:
    result = ts.solve(Slope(), "random", budget=ts.Budget(evaluations=20), seed=3, runs=tmp_path)
    assert result.run_dir is not None
    names = [s["study_name"] for s in client(tmp_path)("/api/studies")["study_summaries"]]
    assert names == [f"slope/random/3/{result.run_dir.name}"]


def test_a_resumed_run_replaces_its_study(tmp_path: Path) -> None:
    first = ts.solve(Slope(), "random", budget=ts.Budget(evaluations=20), runs=tmp_path)
    assert first.run_dir is not None
    ts.resume(first.run_dir, problem=Slope(), budget=ts.Budget(evaluations=60))
    get = client(tmp_path)
    (summary,) = get("/api/studies")["study_summaries"]
    assert len(get(f"/api/studies/{summary['study_id']}")["trials"]) == 60


def test_any_optuna_storage_takes_a_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    result = ts.solve(Slope(), "random", budget=ts.Budget(evaluations=4), storage=url)
    assert result.notes == ()
    (name,) = optuna.get_all_study_names(url)
    assert len(optuna.load_study(study_name=name, storage=url).trials) == 4


def test_no_study_without_a_folder_or_with_none(tmp_path: Path) -> None:
    ts.solve(Slope(), runs=tmp_path, storage="none")
    assert not (tmp_path / "journal.log").exists()


def test_a_storage_that_cannot_be_written_is_told_before_the_search(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ts.DataError, match="cannot write"):
        ts.solve(Slope(), runs=tmp_path / "runs", storage=str(tmp_path / "file" / "journal.log"))
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_locked_journal_costs_a_note_not_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal.__init__, "__defaults__", (0.05,))
    with Journal(tmp_path / "journal.log").locked():
        result = ts.solve(Slope(), runs=tmp_path)
    assert result.certificate.kind == "proven"
    assert "locked by another process" in result.notes[-1]


# --- the server ------------------------------------------------------------------------------------------
@contextmanager
def served(runs: Path) -> Iterator[int]:
    application, _, _ = dashboard_application(runs)
    with serve(application, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def status(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/studies", headers={"Host": host})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_the_server_answers_this_machine_only(tmp_path: Path) -> None:
    ts.solve(Slope(), runs=tmp_path)
    with served(tmp_path) as port:
        assert status(port, f"127.0.0.1:{port}") == 200
        assert status(port, f"localhost:{port}") == 200
        assert status(port, f"elsewhere.example:{port}") == 403
        others = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)}
        for address in others - {"127.0.0.1", "127.0.1.1"}:
            with pytest.raises(OSError):
                socket.create_connection((str(address), port), timeout=2)


def test_a_port_in_use_is_said_with_another_port(tmp_path: Path) -> None:
    ts.solve(Slope(), runs=tmp_path)
    application, _, _ = dashboard_application(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DataError, match=rf"port {port} is in use.*give --port \d+"):
            serve(application, port)
    with pytest.raises(DataError, match=r"must lie in 0\.\.65535"):
        serve(application, 70_000)


def test_a_missing_journal_and_a_missing_extra_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dashboard", "--runs", str(tmp_path)])
    assert "run something first" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(SolverUnavailable, match=r"pip install 'tradespace\[dashboard\]'"):
        dashboard_application(tmp_path)


def test_the_command_names_a_cut_line_and_serves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ts.solve(Slope(), runs=tmp_path)
    journal = tmp_path / "journal.log"
    lines = journal.read_bytes().count(b"\n")
    journal.write_bytes(journal.read_bytes()[:-30])

    def stop(self: Any, poll_interval: float = 0.5) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.Server, "serve_forever", stop)
    with pytest.raises(SystemExit, match="0"):
        main(["dashboard", "--runs", str(tmp_path), "--port", "0"])
    printed = capsys.readouterr()
    assert f"line {lines} was cut in the middle" in " ".join(printed.err.split())
    assert "http://127.0.0.1:" in printed.out


def test_only_the_newest_studies_are_loaded_whole(tmp_path: Path) -> None:
    for seed in range(3):
        ts.solve(Slope(), "random", budget=ts.Budget(evaluations=10), seed=seed, runs=tmp_path)
    storage, _ = open_newest(tmp_path / "journal.log", 1)
    studies = storage.get_all_studies()
    assert [bool(storage.get_all_trials(s._study_id)[0].params) for s in studies] == [False, False, True]
    assert all("answer" in s.user_attrs for s in studies)
    note = client(tmp_path, last=1)("/api/studies/0")["note"]["body"]
    assert note.startswith("*The rows of this older run are not loaded")


def test_nothing_heavy_is_imported_by_the_help(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tradespace.search.cli import main\n"
        "try: main(['dashboard', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'optuna', 'plotly', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_draws_the_page(tmp_path: Path) -> None:
    ts.solve(ts.problem("matmul-tile"), runs=tmp_path / "runs")
    picture = tmp_path / "page.png"
    with served(tmp_path / "runs") as port:
        address = f"http://127.0.0.1:{port}/dashboard/studies/0"
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom",
            f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", "--window-size=1400,3000",
            "--virtual-time-budget=8000", address,
        ]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert time.monotonic() - began < 120
    for words in (
        "Pareto Front",
        "latency against shared memory",
        "One change from the answer",
        "result.json",
    ):
        assert words in done.stdout
