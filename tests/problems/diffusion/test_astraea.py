"""Schedules of the small model: tried once, repaired within limits, searched, carried out."""

import json
from importlib.resources import files

import numpy as np
import pytest

import tradespace as ts
from tradespace.problems.diffusion import budgeting, sensitivities, shares
from tradespace.problems.diffusion.astraea import Astraea, AstraeaShapes
from tradespace.problems.diffusion.schedule import Schedule
from tradespace.problems.diffusion.weights import Weights, calibrated

pytest.importorskip("torch")
import torch

from tradespace.problems.diffusion import application, flow, measured, report, reproduce, sampling, trials

GPU = ts.device("a100-sxm-80gb")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The smallest model, trained for four steps, everything it keeps in a folder of its own."""
    place = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.setenv("TRADESPACE_HOME", str(place / "configuration"))
        trials.trials.cache_clear()
        problem = Astraea(model="tiny", steps=6, prompts=2, device=GPU)
        problem.ready()
        yield problem
        trials.trials.cache_clear()


def test_the_full_run_is_itself(tiny):
    scores = tiny.score({"share": [1.0] * 5}).metrics
    assert scores["psnr"][0] == 100.0
    assert scores["ssim"][0] == pytest.approx(1.0)
    assert scores["error"][0] < 1e-9
    assert scores["kept"][0] == scores["time_share"][0] == 1.0
    assert scores["cache"][0] == 0.0


def test_what_was_tried_is_not_tried_again_even_by_another_process(tiny):
    rows = np.array([[5, 0, 3, 10, 2]])
    first = tiny.trials.quality(rows, tiny.calibration)
    before = tiny.trials.sampled
    assert (tiny.trials.quality(rows, tiny.calibration) == first).all()
    with tiny.trials.path.open("a") as file:
        file.write('{"schedule": "5,0')  # a line that a crash cut short
    again = trials.Trials(tiny.trials.model, "", tiny.steps)
    again.path = tiny.trials.path
    assert (again.quality(rows, tiny.calibration) == first).all()
    assert tiny.trials.sampled == before
    assert again.sampled == 0


def test_schedules_that_begin_alike_are_sampled_from_there_with_the_same_bits(tiny, tmp_path):
    fresh = trials.Trials(tiny.trials.model, "", 6, tmp_path)
    rows = [(10, 10, 0, 10, 5, 10), (10, 10, 0, 10, 3, 0), (10, 10, 0, 10, 3, 10), (10, 5, 5, 10, 0, 10)]
    for row in rows * 2:
        made = fresh._finished(row, (1, 7))
        alone = sampling.sample(fresh.model, [1], [7], steps=6, schedule=[v / 10 for v in row]).latents
        assert (made == alone).all()
    assert fresh.states((1, 7)).shape == (7, 2, 3, 16, 16)
    table = fresh.jumps([(1, 7)])
    again = trials.Trials(fresh.model, "", 6, tmp_path)
    assert (again.jumps([(1, 7)]) == table).all()
    assert not again._states


def test_an_empty_step_is_an_euler_step_of_double_length(tiny):
    model = tiny.trials.model
    made = sampling.sample(model, [1], [7], steps=6, schedule=[1, 0, 0, 1, 1, 0]).latents
    clip, kinds = flow.noise(model.config, [7]), torch.tensor([1])
    with torch.inference_mode():
        for start, end in ((0, 3), (3, 4), (4, 6)):
            clip = clip + (end - start) / 6 * model(clip, torch.full((1,), start / 6), kinds)
    np.testing.assert_allclose(made, clip.numpy(), atol=2e-5)


def test_prompts_of_the_search_and_of_the_test_share_neither_class_nor_seed():
    for count in (1, 4, 9):
        seen = trials.calibration_prompts(count, 8)
        for seed in range(3):
            other = trials.unseen_prompts(count, 8, seed)
            assert not {k for k, _ in seen} & {k for k, _ in other}
            assert not {s for _, s in seen} & {s for _, s in other}


@pytest.mark.parametrize(
    ("goal", "spent"),
    [
        (ts.Goal(), True),
        (ts.Goal(limits=("time_share<=0.6",)), True),
        (ts.Goal(minimize=("latency",), limits=("psnr>=20",)), False),
    ],
)
def test_repair_keeps_schedules_within_the_limits_and_spends_what_they_leave(goal, spent):
    problem = AstraeaShapes(steps=12) if "psnr>=20" not in goal.limits else Astraea(steps=12, device=GPU)
    resolved = goal.resolve(problem)
    drawn = problem.space.sample(np.random.default_rng(0), 40)
    fixed = budgeting.tenths_of(problem.repair(drawn, resolved)["share"])
    found = budgeting.costs(problem.law, fixed) if isinstance(problem, AstraeaShapes) else None
    kept = budgeting.with_first(fixed).mean(axis=1) / 10
    assert (kept <= 0.5 + 1e-12).all()
    if found is not None:
        assert resolved.violation({**found, "error": kept}).max() == 0
    untouched = budgeting.tenths_of(drawn.share).sum(axis=1) <= 50
    if spent:
        assert kept.min() > 0.38  # less than one step is left
    else:
        assert (fixed[untouched] == budgeting.tenths_of(drawn.share)[untouched]).all()


@pytest.mark.parametrize("solver", ["ga", "tpe", "random"])
def test_searches_stay_within_the_budget_and_are_no_worse_than_their_guesses(tiny, solver):
    result = ts.solve(tiny, solver, budget=ts.Budget(evaluations=12))
    assert result.feasible
    assert 0.3 < result.metrics["kept"] <= 0.5
    if solver == "ga":
        guesses = budgeting.as_points(list(tiny.within(ts.Goal().resolve(tiny)).values()))
        assert result.metrics["psnr"] >= tiny.score(guesses).metrics["psnr"].max()


def test_auto_begins_from_the_guesses_so_that_few_evaluations_are_no_worse_than_they(tiny):
    result = ts.solve(tiny, budget=ts.Budget(evaluations=6))
    assert result.solver == "ga"
    assert result.metrics["psnr"] >= tiny.score(tiny.guesses(ts.Goal().resolve(tiny))[0]).metrics["psnr"][0]


def test_screened_children_are_tried_on_one_prompt_first(tiny):
    problem = tiny.replace(screening=True)
    result = ts.solve(problem, "ga", budget=ts.Budget(evaluations=24))
    assert result.evaluations == 24
    assert 0.3 < result.metrics["kept"] <= 0.5


def test_the_knapsack_of_the_shapes_is_proven_and_agrees_with_dynamic_programming():
    problem = AstraeaShapes(steps=10, budget=0.4)
    result = ts.solve(problem, "milp")
    assert result.certificate.kind == "proven"
    error = problem.sensitivities.error
    best = budgeting.solve_knapsack(error, shares.allowance(0.4, 10))
    assert result.metrics["error"] == pytest.approx(
        error[np.arange(9), best].sum() + problem.sensitivities.constant
    )
    uniform = problem.score({"share": (shares.plain(0.4, 10)["uniform"] / 10).tolist()}).metrics
    assert result.metrics["error"] <= uniform["error"][0]


def test_views_agree_with_the_referee():
    ts.check(AstraeaShapes(model="opensora-1.2-2s", steps=8, devices=4))


def test_sensitivities_add_up_to_the_uniform_error_and_survive_a_file(tmp_path):
    rng = np.random.default_rng(0)
    count = len(sensitivities.single_steps(0.5, 8))
    made = sensitivities.Sensitivities.from_single_steps(rng.random(count), 0.5, 8, "made up")
    uniform = shares.plain(0.5, 8)["uniform"]
    base = float(np.random.default_rng(0).random(count)[0])
    assert made.error[np.arange(7), uniform].sum() + made.constant == pytest.approx(base)
    assert (np.diff(made.error, axis=1) <= 0).all()
    path = tmp_path / "own.json"
    path.write_text(json.dumps(made.record()))
    again = sensitivities.Sensitivities.load(path)
    assert again.error == pytest.approx(made.error, rel=1e-3)
    assert len(again.resampled(30).error) == 29
    problem = AstraeaShapes(steps=8, sensitivities_file=path)
    assert "transferred" not in problem.explain({})["error"]
    with pytest.raises(ts.SpaceError, match="for 8 steps, not 9"):
        ts.solve(AstraeaShapes(steps=9, sensitivities_file=path), "milp")


def test_applying_writes_a_schedule_and_frames_and_reports_unseen_prompts(tiny, tmp_path):
    share = [0.8, 0.2, 0.0, 0.4, 0.6]
    rows = tiny.apply({"share": share}, out=tmp_path / "made")
    by_name = {row["schedule"]: row for row in rows}
    assert by_name["full run"]["unseen PSNR"] == 100.0
    assert {"this schedule", "uniform", "ramp up", "greedy", "knapsack"} <= by_name.keys()
    record = json.loads((tmp_path / "made" / "schedule.json").read_text())
    assert record["budgets"] == [1.0, *share]
    assert (tmp_path / "made" / "frames.png").stat().st_size > 1000
    assert application.export(tiny, {"share": share}, tmp_path)[0]["schedule"] == "X82046"
    assert report.summary(tiny, {"share": share})[0]["schedule"] == "this schedule"


def test_steps_are_timed_by_tenths_and_more_tokens_never_cost_less(tiny):
    record = measured._timed(tiny.trials, None)
    law = measured.as_law(json.loads(json.dumps(record)))
    config = tiny.trials.model.config
    assert (np.diff(law.seconds) >= 0).all()
    assert law.seconds[0] < law.seconds[-1]
    assert law.flops[0] == 0
    assert law.flops[[5, 10]] == pytest.approx([config.flops(config.tokens // 2), config.flops()], rel=0.02)
    assert law.cache == sample_bytes(tiny)


def test_the_weights_of_the_score_are_parameters_and_part_of_what_was_tried(tiny, tmp_path):
    other = tiny.replace(w_a=1.0, w_b=0.05, spread=0.0)
    assert other.weights == Weights.paper()
    assert tiny.weights == calibrated()
    assert other.trials.path != tiny.trials.path
    share = [0.2, 0.3, 0.2, 0.3, 0.2]
    assert other.score({"share": share}).metrics["psnr"] != tiny.score({"share": share}).metrics["psnr"]
    application.export(other, {"share": share}, tmp_path)
    assert Schedule.load(tmp_path / "schedule.json").weights == Weights.paper()
    application.export(AstraeaShapes(steps=6), {"share": share}, tmp_path)
    assert Schedule.load(tmp_path / "schedule.json").weights == calibrated()
    with pytest.raises(ts.SpaceError, match="spread must be at most 1 step, got 2"):
        tiny.replace(spread=2.0)
    with pytest.raises(ts.SpaceError, match="must not both be 0"):
        tiny.replace(w_a=0.0, w_b=0.0)


def test_a_schedule_written_before_weights_had_a_spread_keeps_the_score_it_was_found_with():
    old = {"format": "tradespace astraea schedule", "budgets": [1, 0.5], "w_a": 1.0, "w_b": 0.05}
    assert Schedule.from_json(json.dumps(old)).weights == Weights.paper()
    with pytest.raises(ts.DataError, match="must hold numbers w_a, w_b and spread"):
        Schedule.from_json(json.dumps({**old, "w_a": None}))


def test_nothing_calibrated_beats_the_shipped_weights_at_every_budget():
    content = json.loads(files("tradespace.problems.diffusion").joinpath("data", "weights.json").read_text())
    table = {name: np.array(row) for name, row in content["dB at 30, 50, 70 %"].items()}
    shipped = table[json.dumps(calibrated().record())]
    assert not any((row > shipped).all() for row in table.values())
    assert (
        shipped > table[json.dumps(Weights(20.0, 1.0).record())]
    ).all()  # the paper's terms, as 1 and 0.05
    assert calibrated() == Weights.from_record(content, "the file")


def sample_bytes(problem):
    return sampling.sample(problem.trials.model, [0], [0], steps=2, schedule=[1, 0.5]).cache_bytes


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"budget": 0.0}, r"'budget' of astraea must lie in \(0, 1\], got 0"),
        ({"budget": 1.2}, r"'budget' of astraea must lie in \(0, 1\], got 1.2"),
        ({"budget": 0.04}, "at least 0.05 for 20 steps, got 0.04"),
        ({"steps": 1}, "'steps' of astraea must be at least 2, got 1"),
        ({"prompts": 0}, "'prompts' of astraea must be at least 1, got 0"),
    ],
)
def test_bad_parameters_are_one_sentence(parameters, sentence):
    with pytest.raises(ts.SpaceError, match=sentence):
        Astraea(**parameters)


def test_a_broken_table_of_sensitivities_is_one_sentence(tmp_path):
    path = tmp_path / "broken.json"
    for text, sentence in (
        ("{", "cannot be read"),
        ("{}", '"format"'),
        (
            '{"format": "tradespace astraea sensitivities", "steps": 3, "error": [[1, 2]]}',
            "a row of 11 errors",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ts.DataError, match=sentence):
            sensitivities.Sensitivities.load(path)


def test_reproduction_stands_beside_the_table_and_says_where_it_contradicts_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no trained model there
    rows = list(reproduce.reproduce())
    assert sum(row.get("paper") is not None for row in rows) > 90
    remarks = [row["quantity"] for row in rows if "ours" not in row]
    assert any("HunyuanVideo at 40 %: 1.92x fewer operations but 2.38x faster" in text for text in remarks)
    assert any("opensora-1.2-4s 3.0%" in text for text in remarks)
    with pytest.raises(ts.DataError, match=r"origin\.mp4"):
        list(reproduce.reproduce(data=tmp_path))
