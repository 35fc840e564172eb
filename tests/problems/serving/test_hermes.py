"""Demand graphs, the Hermes problem, prewarming, the live scheduler and the replay of a log."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tradespace as ts
from tradespace.errors import DataError, SpaceError
from tradespace.problems.serving import applications
from tradespace.problems.serving.deploy import load_scheduler, save_plan
from tradespace.problems.serving.hermes import Hermes
from tradespace.problems.serving.pdgraph import (
    PDGraph,
    Recorder,
    Unit,
    graph_of,
    prospects,
    read_graphs,
    stage_work,
)
from tradespace.problems.serving.policies import POLICIES
from tradespace.problems.serving.prewarm import trigger_age
from tradespace.problems.serving.report import figures, summary
from tradespace.problems.serving.scheduler import HermesScheduler
from tradespace.problems.serving.trace import Stage


@pytest.fixture(scope="module")
def problem() -> Hermes:
    return Hermes(applications=600, history=200, levels=24)


# --- errors of the model ------------------------------------------------------------------------------
def test_a_draw_moves_work_and_cold_starts_and_nothing_else(problem: Hermes) -> None:
    point = problem.space.batch(problem.point())
    nominal = problem.score(point).metrics

    def under(source: str, z: float = 1.0) -> tuple[Hermes, dict[str, float]]:
        drawn = problem.replace(drawn=tuple(z * (name == source) for name in problem.sources))
        return drawn, {n: float(v[0] / nominal[n][0]) for n, v in drawn.score(point).metrics.items()}

    assert problem.deviations == {}
    assert under("work of a token", 0.0)[1] == dict.fromkeys(nominal, 1.0)
    slower, moved = under("work of a token")
    language = slower.jobs.place == 0
    assert slower.jobs.work[language] == pytest.approx(np.exp(0.1) * problem.jobs.work[language])
    assert np.array_equal(slower.jobs.work[~language], problem.jobs.work[~language])
    assert np.array_equal(slower.jobs.arrival, problem.jobs.arrival)
    assert moved["mean_completion"] > 1.1  # the queue grows faster than the work
    assert under("cold start of docker")[1]["cold_wait"] > 1.0
    kind = list(problem.graphs)[3]
    own, _ = under(f"demand of {kind}")
    ratio = own.jobs.total / problem.jobs.total
    assert np.all((ratio > 1.0 + 1e-9) == (problem.jobs.kind == 3))
    assert own.prospects is problem.prospects


def test_draws_name_every_source_and_what_settles_it(problem: Hermes) -> None:
    drawn = problem.draw(np.random.default_rng(0))
    assert list(drawn.deviations) == list(problem.sources)
    assert len(problem.sources) == 3 + len(problem.graphs)
    assert all(problem.measurement(source) for source in problem.sources)
    again = drawn.fix(refresh=5)
    assert again.deviations == drawn.deviations
    with pytest.raises(SpaceError, match="'drawn' of hermes must be empty or hold 12 finite numbers"):
        problem.replace(drawn=(0.0, 1.0))


# --- demand graphs ------------------------------------------------------------------------------------
def test_walks_end_and_have_the_recorded_mean() -> None:
    graph = PDGraph("loop", {"a": Unit("a", "llm", ((2, 10, 5, 0),), ("a", "end"))}, ("a",))
    runs = graph.walks(np.random.default_rng(0), 4000)
    assert np.mean([len(r) for r in runs]) == pytest.approx(2.0, rel=0.05)
    assert stage_work(runs[0][0], 1.0, 2.0) == 2 * (10 + 2 * 5)


def test_a_window_forgets_the_oldest_runs() -> None:
    recorder = Recorder(window=3)
    for seconds in range(1, 6):
        recorder.record("a", [Stage("u", "docker", seconds=float(seconds))])
    assert [v[3] for v in recorder.graphs()["a"].units["u"].visits] == [3.0, 4.0, 5.0]


def test_an_informative_upstream_value_splits_a_row() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(1, 10, 300)
    runs = [[Stage("a", "docker", seconds=x), Stage("b", "docker", seconds=3 * x)] for x in first]
    graph = graph_of("k", runs)
    known = prospects({"k": [list(r) for r in graph.runs]})
    bins = [i for i, row in enumerate(known.rows) if row[1] == "b"]
    assert [known.rows[i][3] for i in bins] == [0, 1, 2]
    means = [known.samples[i].mean() for i in bins]
    assert means == sorted(means)
    low, high = ([Stage("a", "docker", seconds=x), Stage("b", "docker", seconds=3 * x)] for x in (1.0, 9.9))
    assert known.rows_of("k", low, [1.0, 3.0])[1] != known.rows_of("k", high, [9.9, 29.7])[1]


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        (
            {"type": "llm", "next": ["a"], "input_len": [1], "output_len": [1], "parallelism": [1]},
            "never ends",
        ),
        (
            {"type": "dokcer", "next": ["end"], "exec_time": [1]},
            "unknown backend 'dokcer'; did you mean 'docker'",
        ),
        ({"type": "docker", "next": ["b"], "exec_time": [1]}, "leads to 'b', which is no unit"),
        ({"type": "docker", "next": ["end"]}, "lacks the field 'exec_time'"),
    ],
)
def test_bad_graphs_are_named(unit: dict[str, object], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    path.write_text(json.dumps({"app": {"start": {"type": "start", "next": ["a"]}, "a": unit}}))
    with pytest.raises(DataError, match=sentence):
        read_graphs(path)


# --- the problem --------------------------------------------------------------------------------------
def test_size_aware_orders_cut_the_mean_and_the_tail(problem: Hermes) -> None:
    fcfs, ours, oracle = (problem.measure(problem.outcome(n)) for n in ("fcfs", "gittins", "oracle"))
    assert ours["mean_completion"] < 0.3 * fcfs["mean_completion"]
    assert ours["p95_completion"] < 0.25 * fcfs["p95_completion"]
    assert oracle["mean_completion"] < ours["mean_completion"]


def test_scores_are_the_same_in_any_batch_split_and_process(problem: Hermes) -> None:
    points = [problem.point(), problem.point(refresh=20), problem.point(buckets=6)]
    whole = problem.score(points).metrics["mean_completion"]
    parts = [problem.score(p).metrics["mean_completion"][0] for p in points]
    assert whole.tolist() == parts
    with ProcessPoolExecutor(1) as pool:
        again = pool.submit(_mean, problem, points[1]).result()
    assert again == whole[1]


def _mean(problem: Hermes, point: dict[str, object]) -> float:
    return float(problem.score(point).metrics["mean_completion"][0])


def test_other_seeds_are_other_applications(problem: Hermes) -> None:
    other = problem.replace(simulation_seed=1)
    assert isinstance(other, Hermes)
    assert other.jobs.arrival[0] != problem.jobs.arrival[0]
    np.testing.assert_array_equal(other.ages, problem.ages)


def test_the_gittins_solver_decides_the_table(problem: Hermes) -> None:
    fixed = problem.fix(prewarm=[0.3] * problem.external_count, refresh=0, buckets=24)
    result = ts.solve(fixed, solver="gittins")
    assert result.metrics["mean_completion"] == pytest.approx(
        float(problem.score(problem.point()).metrics["mean_completion"][0]), rel=0.05
    )


def test_a_lower_threshold_waits_less_and_idles_more(problem: Hermes) -> None:
    count = problem.external_count
    early, late = (problem.score(problem.point(prewarm=[k] * count)).metrics for k in (0.1, 0.9))
    assert early["cold_wait"][0] < late["cold_wait"][0]
    assert early["idle"][0] > late["idle"][0]


def test_every_policy_serves_everything(problem: Hermes) -> None:
    rows = summary(problem, problem.point())
    assert {r["policy"] for r in rows} == {*POLICIES, "this point"}
    assert all(np.isfinite(r["mean s"]) for r in rows)
    assert set(figures(problem, problem.point())) == {"completion", "ranks", "schedule", "prewarm"}


def test_bad_parameters_are_refused_and_overload_is_announced() -> None:
    with pytest.raises(SpaceError, match="parameter 'servers' of hermes must be at least 1, got 0"):
        Hermes(servers=0)
    with pytest.warns(UserWarning, match="load 1.2 is 1 or more"):
        Hermes(load=1.2)


def test_made_applications_span_the_published_sizes() -> None:
    graphs = applications.graphs()
    mean = {
        name: np.mean(
            [sum(stage_work(s, 1e-4, 0.06) for s in run) for run in g.walks(np.random.default_rng(0), 200)]
        )
        for name, g in graphs.items()
    }
    assert mean["got_docmerge"] > 100 * mean["react_fever"]
    assert set(mean) == set(applications.WEIGHTS)


def test_trigger_age_by_hand() -> None:
    own = np.array([2.0, 4.0, 8.0, 16.0])
    assert trigger_age(own, 1.0, 2.0, 0.25) == 0.0
    assert trigger_age(own, 1.0, 2.0, 0.3) == 2.0  # a third of what is left ends by 4
    assert trigger_age(own, 0.5, 2.0, 0.6) == np.inf


# --- live ---------------------------------------------------------------------------------------------
def test_the_scheduler_serves_short_classes_first() -> None:
    runs = {
        "short": [[Stage("s", "llm", seconds=1.0)] for _ in range(40)],
        "long": [[Stage("l", "llm", seconds=100.0)] for _ in range(40)],
    }
    known = prospects(runs, least=5)

    async def play(order: str) -> list[str]:
        scheduler = HermesScheduler(known, backends={"llm": 1}, order=order)  # type: ignore[arg-type]
        done: list[str] = []

        async def one(kind: str) -> None:
            app = scheduler.application(kind)

            async def call() -> None:
                await asyncio.sleep(0.001)
                done.append(kind)

            await scheduler.submit(app, kind[0], call)
            scheduler.finish(app)

        await asyncio.gather(*(one(k) for k in ("long", "long", "short", "short")))
        assert scheduler.mean_completion > 0
        return done

    assert asyncio.run(play("fcfs")) == ["long", "long", "short", "short"]
    assert asyncio.run(play("gittins")) == ["long", "short", "short", "long"]


def test_a_saved_plan_drives_a_scheduler(problem: Hermes, tmp_path: Path) -> None:
    save_plan(problem, problem.point(), tmp_path / "plan.json")
    scheduler = load_scheduler(tmp_path / "plan.json", backends={"llm": 1})
    known = {kind: scheduler.rank(scheduler.application(kind), unit, "llm")[0] for kind, unit in (
        ("react_fever", "think"), ("langchain_mapreduce", "map"), ("got_docmerge", "generate"))}  # fmt: skip
    assert list(known.values()) == sorted(known.values())
    unheard = scheduler.rank(scheduler.application("unheard of"), "u", "llm")[0]
    assert known["react_fever"] < unheard < known["got_docmerge"]  # taken for any application
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match="is no Hermes plan"):
        load_scheduler(tmp_path / "other.json", backends={})


def test_a_plan_keeps_the_threshold_of_each_backend(problem: Hermes, tmp_path: Path) -> None:
    """A stage whose backend is never warmed ahead is not, though another backend's threshold is low."""
    for low, high in (("dnn", "docker"), ("docker", "dnn")):
        thresholds = [{low: 0.1, high: 2}.get(place, 2) for place in problem.places]
        save_plan(problem, problem.point(prewarm=thresholds), tmp_path / "plan.json")
        scheduler = load_scheduler(tmp_path / "plan.json", backends={"llm": 1})
        warmed = {
            place
            for i, (place, _) in enumerate(problem.prospects.external)
            if np.isfinite(scheduler._trigger[i])
        }
        assert warmed == {low}


def test_applying_a_point_serves_through_the_real_scheduler(tmp_path: Path) -> None:
    few = Hermes(applications=60, history=100, levels=12, load=0.9)
    rows = few.apply(few.point(), out=str(tmp_path / "plan.json"), seconds=0.8)
    fcfs, ours = rows
    assert fcfs["applications"] == ours["applications"] == 60
    assert ours["measured mean s"] < fcfs["measured mean s"]


def test_a_scheduler_learns_from_what_it_served() -> None:
    scheduler = HermesScheduler(None, backends={"llm": 1}, recorder=Recorder())

    async def play() -> None:
        for kind, pause in [("long", 0.02), ("short", 0.001)] * 6:
            app = scheduler.application(kind)
            await scheduler.submit(app, "u", partial(asyncio.sleep, pause))
            scheduler.finish(app)

    asyncio.run(play())
    scheduler.learn()
    long, short = (scheduler.rank(scheduler.application(k), "u", "llm")[0] for k in ("long", "short"))
    assert short < long


def test_a_failing_call_frees_its_slot_and_an_unknown_backend_is_named() -> None:
    async def play() -> int:
        scheduler = HermesScheduler(None, backends={"llm": 1})
        app = scheduler.application("x")
        with pytest.raises(ZeroDivisionError):
            await scheduler.submit(app, "a", lambda: 1 // 0)
        with pytest.raises(DataError, match="unknown backend 'lm'; did you mean 'llm'"):
            await scheduler.submit(app, "a", lambda: 1, backend="lm")
        return await scheduler.submit(app, "a", lambda: 7)

    assert asyncio.run(play()) == 7


def test_recorded_containers_of_no_length_are_served(tmp_path: Path) -> None:
    rows = [f"a,f,{i + 1},{0 if i % 3 else 0.5}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["app,func,end_timestamp,duration", *rows]))
    settings = {"applications": 40, "history": 40, "levels": 8}
    with pytest.raises(SpaceError, match="no work on the servers; set pooled=True"):
        Hermes(trace=tmp_path / "t.csv", **settings).jobs  # noqa: B018
    pooled = Hermes(trace=tmp_path / "t.csv", pooled=True, **settings)
    assert all(np.isfinite(r["mean s"]) for r in summary(pooled, pooled.point()))


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"chat": 3}'])
def test_a_broken_file_of_graphs_is_one_sentence(tmp_path, content):
    path = tmp_path / "graphs.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"graphs\.json"):
        _ = Hermes(trace=path).space
