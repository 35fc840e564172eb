"""What a scheduler has seen and what it then serves: real arrivals, other runs, few samples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradespace.errors import DataError, SpaceError
from tradespace.problems.serving.applications import graphs
from tradespace.problems.serving.hermes import Hermes
from tradespace.problems.serving.history import source
from tradespace.problems.serving.pdgraph import prospects, stage_work
from tradespace.problems.serving.ranks import gittins_table, level_starts
from tradespace.problems.serving.readers import read_trace, write_csv
from tradespace.problems.serving.records import recorded_graphs
from tradespace.problems.serving.report import summary
from tradespace.problems.serving.shrinkage import ENOUGH, posterior, strength
from tradespace.problems.serving.trace import Stage, Trace


def write(path: Path, count: int, seed: int = 0, kinds: tuple[str, ...] = ()) -> Path:
    """Applications of the made mix as a trace: Poisson arrivals at load 0.8 of one server."""
    rng, made = np.random.default_rng(seed), graphs()
    names = kinds or tuple(made)
    chosen = [names[i] for i in rng.integers(len(names), size=count)]
    runs = [made[kind].walks(rng, 1)[0] for kind in chosen]
    work = [sum(stage_work(s, 1e-4, 0.06) for s in run if s.backend == "llm") for run in runs]
    arrival = np.cumsum(rng.exponential(float(np.mean(work)) / 0.8, count))
    write_csv(Trace.of_applications(arrival, chosen, runs), path)
    return path


# --- a trace with arrivals ----------------------------------------------------------------------------
def test_a_trace_is_served_at_its_own_times_in_its_own_mix(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 120)
    whole = read_trace(path)
    problem = Hermes(trace=path, history_share=0.6)
    later = whole.arrival > whole.arrival[0] + 0.6 * (whole.arrival[-1] - whole.arrival[0])
    assert np.allclose(problem.jobs.arrival, whole.arrival[later] - whole.arrival[later][0])
    served = [problem.source.classes[k] for k in problem.jobs.kind]
    assert served == [whole.classes[k] for k in whole.kind[later]]
    faster = problem.replace(speed=2.0)
    assert np.allclose(2 * faster.jobs.arrival, problem.jobs.arrival)
    assert np.array_equal(faster.jobs.work, problem.jobs.work)


def test_what_was_seen_is_what_came_before(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 120)
    problem = Hermes(trace=path)
    seen = [tuple(run) for runs in problem.walks.values() for run in runs]
    assert len(seen) + len(problem.jobs) == 120
    assert not {*seen} & {tuple(run) for run in problem.runs.runs}
    assert all(runs == problem.walks[kind][-3:] for kind, runs in problem.source.walks(3).items())


def test_a_class_that_was_never_seen_is_served(tmp_path: Path) -> None:
    runs = [[Stage("a", calls=((10, 20 + i),))] for i in range(20)] + [[Stage("b", calls=((10, 30),))]] * 20
    kinds = ["old"] * 20 + ["new"] * 10 + ["old"] * 10
    write_csv(Trace.of_applications(np.arange(40.0), kinds, runs), tmp_path / "t.csv")
    problem = Hermes(trace=tmp_path / "t.csv", applications=20, levels=8)
    assert problem.source.classes == ["old", "new"]
    assert all(np.isfinite(row["mean s"]) for row in summary(problem, problem.point()))


def test_a_trace_of_one_moment_is_asked_for_another_cut(tmp_path: Path) -> None:
    write_csv(Trace.of_requests([0.0, 0.0], [5, 5], [5, 5]), tmp_path / "t.csv")
    with pytest.raises(DataError, match="set history_share"):
        source(tmp_path / "t.csv", 0.5)
    with pytest.raises(SpaceError, match="'history_share' of hermes must lie between 0 and 1, got 1"):
        Hermes(history_share=1.0)


# --- recorded runs ------------------------------------------------------------------------------------
TOKENS = [{"prompt_tokens": 100 + i, "completion_tokens": 10 + i} for i in range(40)]


@pytest.mark.parametrize(
    ("name", "record", "first"),
    [
        (
            "record_side.json",
            {"time_ask": [1.0] * 6, "time_look": [0.5] * 3, "time_task": [9.0] * 3, "parallelism": [1, 2, 3],
             "token_ask": TOKENS[:6]},
            [Stage("ask", calls=((100, 10),)), Stage("look", "docker", seconds=0.5)],
        ),
        (
            "record_loop.json",
            {"time_act": [0.1] * 5, "time_thought": [1.0] * 5, "loops": [2, 3], "token_thought": TOKENS[:6]},
            [Stage("thought", calls=((100, 10),)), Stage("act", "docker", seconds=0.1),
             Stage("thought", calls=((101, 11),)), Stage("act", "docker", seconds=0.1)],
        ),
        (
            "record_log.json",
            {"request_completion_time": {"x--0": {"x--0--0": 2, "web_search_0": 1.5}, "x--1": {"x--1--0": 1}},
             "token_nums": {"x--0": {"x--0--0": TOKENS[0]}, "x--1": {"x--1--0": TOKENS[1]}}},
            [Stage("answer", calls=((100, 10),)), Stage("web_search", "search", seconds=1.5)],
        ),
    ],
)  # fmt: skip
def test_recorded_runs_of_every_form_are_read(
    tmp_path: Path, name: str, record: dict[str, Any], first: list[Stage]
) -> None:
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(json.dumps(record).encode()))
    ((kind, graph),) = recorded_graphs(path).items()
    assert kind == name.removeprefix("record_").removesuffix(".json")
    assert list(graph.runs[0]) == first
    found = source(path, 0.5)
    assert (*found.seen[kind].runs, *found.later[kind].runs) == graph.runs
    assert found.later[kind].runs


def test_sampled_stages_are_read_with_their_gaps_and_shares(tmp_path: Path) -> None:
    stage = {"stage_gap": [0.0], "parallelism": [2], "prompt_tokens": [10] * 4, "completion_tokens": [5] * 4}
    record = {"app": {"stage_list": ["a", "b"], "a": {**stage, "next_stages": {"b": 1}},
                      "b": {**stage, "stage_gap": [1.5], "next_stages": {"b": 0.25}}}}  # fmt: skip
    (tmp_path / "s.json").write_text(json.dumps(record))
    graph = recorded_graphs(tmp_path / "s.json")["app"]
    runs = graph.walks(np.random.default_rng(0), 2000)
    assert runs[0][0] == Stage("a", calls=((10, 5), (10, 5)))
    assert all(stage.seconds == 1.5 for run in runs for stage in run if stage.backend != "llm")
    assert np.mean([len(run) for run in runs]) == pytest.approx(1 + 2 / 0.75, rel=0.05)


def test_a_folder_of_records_is_a_mix_of_classes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        record = {"token_ask": TOKENS, "time_ask": [1.0] * 40, "time_task": [1.0] * 40}
        (tmp_path / f"record_{name}.json").write_text(json.dumps(record))
    problem = Hermes(trace=tmp_path, applications=60, levels=8)
    assert problem.source.classes == ["one", "two"]
    assert len(problem.jobs) == 60
    with pytest.raises(DataError, match=r"holds no record_\*\.json"):
        recorded_graphs(_made(tmp_path / "empty"))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "record", [{"token_a": 3}, {"request_completion_time": []}, {"x": {"stage_list": ["a"]}}]
)
def test_a_broken_record_is_one_sentence(tmp_path: Path, record: dict[str, Any]) -> None:
    (tmp_path / "r.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="holds no recorded runs"):
        recorded_graphs(tmp_path / "r.json")


# --- few samples --------------------------------------------------------------------------------------
def test_many_samples_stand_for_themselves_and_few_go_on_beyond_the_largest() -> None:
    rng = np.random.default_rng(0)
    many, few = rng.lognormal(0, 0.5, ENOUGH), rng.lognormal(0, 0.5, 9)
    assert posterior(many, few, 5.0, 0.5) is many
    law = posterior(few, None, 0.0, 0.5)
    assert np.mean(law > few.max()) == pytest.approx(0.1, abs=0.01)  # one in n + 1
    assert np.median(law) == pytest.approx(np.median(few), rel=0.1)
    prior = np.full(50, 100.0)
    half = posterior(few, prior, 9.0, 0.05)
    assert np.mean(half > 50) == pytest.approx(0.5, abs=0.01)


def test_rows_unlike_their_prior_trust_themselves() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.lognormal(m, 0.3, 12) for m in (0, 2, 4, 6)]
    pooled = np.concatenate(rows)
    assert strength([(row, pooled) for row in rows]) < 0.1
    alike = [rng.lognormal(1, 0.3, 12) for _ in range(8)]
    assert strength([(row, np.concatenate(alike)) for row in alike]) > 5


def test_an_application_longer_than_all_before_is_not_left_for_last() -> None:
    """Of eight alike, the next is the longest one time in nine; it has little left, and is finished."""
    runs = {
        "even": [[Stage("a", seconds=100.0 + i, backend="docker")] for i in range(8)],
        "long": [[Stage("b", seconds=1000.0 + 9 * i, backend="docker")] for i in range(8)],
    }
    known = prospects(runs)
    ages = level_starts(known.samples, 64)
    table = gittins_table(known.samples, ages)
    even, long = (known.rows_of(kind, runs[kind][0], [1.0])[0] for kind in runs)
    old = int(np.searchsorted(ages, 108.0))
    assert table[even, old] < table[long, 0]


def test_few_recorded_runs_rank_as_well_as_class_means(tmp_path: Path) -> None:
    """Halves in time, eight seeds, a dozen runs a class: no worse than shortest class mean, and no class
    worse off than it is there."""
    cuts, worst = [], []
    for seed in range(8):
        kinds = ("got_docmerge", "code_feedback", "react_alfw", "factool_code", "react_fever")
        problem = Hermes(trace=write(tmp_path / f"{seed}.csv", 130, seed, kinds))
        fcfs, means, ours = (
            problem.outcome(p).completion
            for p in ("fcfs", "sjf-mean", problem.policy_of(problem.point()["ranks"]))
        )
        counted = problem.counted
        cuts.append([1 - x[counted].mean() / fcfs[counted].mean() for x in (means, ours)])
        own = [problem.jobs.kind == k for k in np.unique(problem.jobs.kind)]
        worst.append([max(x[k].mean() / fcfs[k].mean() for k in own) for x in (means, ours)])
    (means, ours), (their_worst, our_worst) = np.mean(cuts, axis=0), np.mean(worst, axis=0)
    assert ours > means - 0.01
    assert our_worst < their_worst + 0.01
