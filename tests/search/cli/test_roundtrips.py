"""Every command works from start to end, for people and with --json for machines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Cli = Callable[..., Any]

RESULT_KEYS = {
    "problem", "parameters", "goal", "solver", "why", "best", "front", "certificate", "evaluations",
    "seconds", "stop_reason", "run_dir", "provenance",
}  # fmt: skip


def test_list_names_the_shipped_problems(cli: Cli) -> None:
    shown = cli("list")
    names = [entry["name"] for entry in cli("list", "--json").json]
    assert shown.code == 0
    assert {"adacc", "knapsack", "matmul-tile", "memory-plan", "mixed"} <= set(names)
    assert all(name in shown.out for name in names)


def test_list_names_the_solvers(cli: Cli) -> None:
    names = {entry["name"] for entry in cli("list", "--solvers", "--json").json}
    assert {"exhaustive", "random", "sobol", "milp"} <= names
    assert all(name in cli("list", "--solvers").out for name in names)


def test_version(cli: Cli) -> None:
    import tradespace

    assert cli("--version").out.split() == ["tradespace", tradespace.__version__]


@pytest.mark.parametrize("name", ["adacc", "knapsack", "matmul-tile", "memory-plan", "mixed"])
def test_show_describes_every_shipped_problem(cli: Cli, name: str) -> None:
    shown, data = cli("show", name), cli("show", name, "--json").json
    assert shown.code == 0
    assert data["name"] == name
    for part in ("variables", "metrics", "parameters"):
        assert data[part]
    assert all(variable["name"] in shown.out for variable in data["variables"])
    assert all(metric["name"] in shown.out for metric in data["metrics"])


def test_parameters_reach_the_problem(cli: Cli) -> None:
    data = cli("show", "knapsack", "--items", "12", "--json").json
    assert data["size"] == 2**12
    assert cli("show", "matmul-tile", "--device=h100-sxm-80gb").out.count("h100-sxm-80gb") == 1


def test_run_help_lists_the_parameters_of_a_problem(cli: Cli) -> None:
    shown = cli("run", "adacc", "--help")
    assert shown.code == 0
    assert "--memory" in shown.out
    assert "--limit" in shown.out
    assert "[default: 10,000" in shown.out


def test_devices_list_and_each_number_has_unit_source_and_kind(cli: Cli) -> None:
    listed = cli("devices", "--json").json
    names = [entry["name"] for entry in listed]
    assert {"a100-sxm-80gb", "h100-sxm-80gb"} <= set(names)
    assert all(name in cli("devices").out for name in names)
    numbers = cli("devices", "a100-sxm-80gb", "--json").json
    assert {"field", "value", "unit", "source", "kind"} <= set(numbers[0])
    assert all(row["source"] and row["kind"] for row in numbers)
    assert "dram.bandwidth" in cli("devices", "a100-sxm-80gb").out


def test_new_writes_a_problem_that_checks_and_runs(cli: Cli) -> None:
    made = cli("new", "my-cache", "--json").json
    assert made == {"file": "my_cache.py", "problem": "my_cache.py:MyCache"}
    findings = cli("check", made["problem"], "--json").json
    assert {f["level"] for f in findings} == {"ok"}
    result = cli("run", made["problem"], "--json")
    assert result.code == 0
    assert result.json["certificate"]["kind"] == "proven"
    assert len(Path("my_cache.py").read_text().splitlines()) <= 40


def test_the_json_of_a_run_has_the_promised_keys(cli: Cli) -> None:
    data = cli("run", "matmul-tile", "--json").json
    assert set(data) >= RESULT_KEYS
    assert set(data["best"]) >= {"point", "metrics", "feasible"}
    assert set(data["certificate"]) >= {"kind", "bound", "gap", "assumptions"}
    assert set(data["front"][0]) >= {"point", "metrics"}
    assert len(data["front"]) >= 20
    assert Path(data["run_dir"], "run.json").is_file()


def test_the_printed_answer_says_the_same_as_the_json(cli: Cli) -> None:
    shown, data = cli("run", "knapsack"), cli("run", "knapsack", "--json").json
    assert f"{data['best']['metrics']['value']:.0f}" in shown.out
    for word in ("goal", "solver", "metric", "answer", "certificate proven", "stopped", "stored in", "next"):
        assert word in shown.out
    assert shown.err == ""


def test_a_pipe_gets_no_bar_and_no_colour(cli: Cli) -> None:
    shown = cli("run", "knapsack", "--solver", "random", "--evals", 2_000)
    assert "\x1b" not in shown.out + shown.err
    assert shown.err == ""


def test_resume_goes_on_to_the_answer_of_one_long_run(cli: Cli) -> None:
    cli("run", "mixed", "--solver", "random", "--evals", 60, "--seed", 5, "--json")
    resumed = cli("resume", "last", "--evals", 200, "--json").json
    whole = cli("run", "mixed", "--solver", "random", "--evals", 200, "--seed", 5, "--json").json
    assert resumed["evaluations"] == whole["evaluations"] == 200
    assert resumed["evaluated_here"] <= 140
    assert resumed["best"]["point"] == whole["best"]["point"]
    assert resumed["front"] == whole["front"]


def test_resume_without_more_budget_evaluates_nothing(cli: Cli) -> None:
    before = cli("run", "knapsack", "--solver", "random", "--evals", 50, "--json").json
    again = cli("resume", "last", "--json").json
    assert again["evaluated_here"] == 0
    assert again["best"]["point"] == before["best"]["point"]


def test_regoal_answers_another_goal_from_recorded_rows(cli: Cli) -> None:
    run = cli("run", "matmul-tile", "--json").json
    identifier = run["run_dir"].rpartition("-")[2]
    again = cli(
        "regoal", identifier, "--minimize", "latency", "--limit", "shared_memory<=16KiB", "--json"
    ).json
    fresh = cli(
        "run", "matmul-tile", "--minimize", "latency", "--limit", "shared_memory<=16KiB", "--json"
    ).json
    assert again["evaluated_here"] == 0
    assert again["best"]["metrics"] == fresh["best"]["metrics"]
    assert again["best"]["metrics"]["shared_memory"] <= 16 * 1024
    assert again["certificate"]["kind"] == "proven"


def test_export_writes_front_and_rows_in_every_format(cli: Cli) -> None:
    front = cli("run", "matmul-tile", "--json").json["front_size"]
    for name in ("front.csv", "front.json", "front.npz"):
        assert cli("export", "last", "--out", name, "--json").json == {"file": name, "rows": front}
    with Path("front.csv").open() as file:
        table = list(csv.DictReader(file))
    listed = json.loads(Path("front.json").read_text())
    arrays = np.load("front.npz")
    assert len(table) == len(listed) == len(arrays["latency"]) == front
    assert [float(row["latency"]) for row in table] == [row["latency"] for row in listed]
    assert table[0]["layout"] in {"row", "column"}
    assert cli("export", "last", "--out", "rows.csv", "--rows", "--json").json["rows"] == 2_560


def test_the_goal_can_be_replaced(cli: Cli) -> None:
    data = cli("run", "knapsack", "--maximize", "comfort", "--no-limit", "weight", "--json").json
    assert data["best"]["metrics"]["comfort"] == pytest.approx(sum_of_comforts(), rel=1e-9)


def sum_of_comforts() -> float:
    """Every item has positive comfort: without a limit all are packed."""
    from tradespace.problems.tutorial.knapsack import Knapsack

    return float(Knapsack().tables()[2].sum())


def test_fix_pins_a_decision_and_keeps_it_in_the_point(cli: Cli) -> None:
    data = cli("run", "matmul-tile", "--fix", "tile_m=64", "--fix", "layout=column", "--json").json
    assert {row["point"]["tile_m"] for row in data["front"]} == {64}
    assert data["best"]["point"]["layout"] == "column"
    assert data["evaluations"] == 16 * 5


def test_pick_chooses_the_member_of_the_front(cli: Cli) -> None:
    data = cli("run", "matmul-tile", "--pick", "latency", "--json").json
    assert data["best"]["metrics"]["latency"] == min(row["metrics"]["latency"] for row in data["front"])


def test_a_start_is_scored_and_compared_with(cli: Cli) -> None:
    point = {"tile_m": 64, "tile_n": 64, "stages": 2, "layout": "column"}
    Path("mine.json").write_text(json.dumps(point))
    words = ("run", "matmul-tile", "--minimize", "latency", "--start", "mine.json")
    data = cli(*words, "--json").json
    assert data["start"]["latency"] > data["best"]["metrics"]["latency"]
    assert "than your start" in cli(*words).out
    again = cli("run", "matmul-tile", "--minimize", "latency", "--start", "last", "--json").json
    assert again["start"] == data["best"]["metrics"]


def test_dry_says_what_a_run_would_cost_and_records_nothing(cli: Cli) -> None:
    data = cli("run", "matmul-tile", "--dry", "--json").json
    assert data["solver"] == "exhaustive"
    assert data["size"] == data["rows"] == 2_560
    assert cli("run", "adacc", "--dry").code == 0
    assert not Path("runs").exists()


def test_the_same_seed_gives_the_same_answer_whatever_the_workers(cli: Cli) -> None:
    words = ("run", "knapsack", "--solver", "random", "--evals", 300, "--seed", 9, "--json")
    one, two = cli(*words).json, cli(*words, "--workers", 2).json
    assert one["best"] == two["best"]


def test_every_run_says_what_to_type_next_and_it_works(cli: Cli) -> None:
    shown = cli("run", "knapsack", "--solver", "random", "--evals", 20).out
    line = next(v for v in shown.splitlines() if v.startswith("next"))
    steps = {step.split()[1]: step.split()[1:] for step in line.removeprefix("next").split(" · ")}
    assert {"resume", "explain", "regoal", "report"} <= set(steps)
    assert cli(*steps["regoal"][:-1], "weight<=600").code == 0
    assert cli(*steps["explain"], "--draws", 20, "--sobol", 0).code == 0
    assert cli(*steps["report"]).code == 0


@pytest.mark.parametrize(
    "words", [("run", "knapsack", "--limit", "value>=1e6"), ("regoal", "last", "--limit", "value>=1e6")]
)
def test_no_feasible_answer_is_exit_code_1_with_one_sentence(cli: Cli, words: tuple[str, ...]) -> None:
    if words[0] == "regoal":
        cli("run", "knapsack", "--solver", "random", "--evals", 20)
    shown = cli(*words)
    assert shown.code == 1
    assert shown.err.startswith("error: ")
    assert "value" in shown.err
    machine = cli(*words, "--json")
    assert machine.code == 1
    assert machine.json["best"] is None or machine.json["best"]["feasible"] is False


def test_no_problem_or_no_command_is_exit_code_2_with_help(cli: Cli) -> None:
    for words in ((), ("run",)):
        shown = cli(*words)
        assert shown.code == 2
        assert "Usage" in shown.out + shown.err


SIGNS = """
import numpy as np
import tradespace as ts


class Signs(ts.Problem):
    label: str = "[red]x[/]"
    a = ts.Int(0, 9)
    loss = ts.Metric("W", "min")
    gain = ts.Metric("J", "max")

    @ts.pointwise
    def evaluate(self, x):
        if x.a == 5:
            raise ValueError("no [/] tag")
        return {"loss": np.nan if x.a == 7 else -1.0 - x.a, "gain": x.a % 4}
"""


@pytest.mark.parametrize(("start", "said"), [(3, "75.0% less"), (7, "it failed"), (6, "the same")])
def test_square_brackets_negative_values_and_a_start_that_failed(cli: Cli, start: int, said: str) -> None:
    Path("signs.py").write_text(SIGNS)
    Path("mine.json").write_text(json.dumps({"a": start}))
    shown = cli("run", "signs.py:Signs", "--start", "mine.json")
    assert shown.code == 0
    for words in ("label [red]x[/]", "ValueError: no [/] tag", said):
        assert words in shown.out
    assert "was not written" not in shown.out
